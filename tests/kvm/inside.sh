#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# What nested.sh runs as root inside its member: drover by KVM. Prints TAP, and when each claim was begun.
#
# usage: inside.sh claims [PATTERN]     those of all cases whose names match
#        inside.sh list [PATTERN]       only their names
#        inside.sh bench [ROUNDS [HYPERVISOR]]
#        inside.sh warm [ROUNDS]        a benchmark
set -u -o pipefail
export PATH=/opt/drover/bin:$PATH:/usr/sbin LD_LIBRARY_PATH=/opt/drover/lib
export DROVER=/opt/drover/bin/drover DROVER_HELPER=/opt/drover/bin/drover-helper
export DROVER_IMAGE_CACHE=/opt/drover/cache DROVER_HOME=/var/tmp/drover

n=0
mode=${1-claims}
missing=
# ok CLAIM COMMAND...: with the time that it took
ok() {
	local claim=$1 out status=0 began=$EPOCHREALTIME
	shift
	[ "$mode" != list ] || { echo "$claim"; return; }
	[ -z "$missing" ] || { skip "$claim" "$missing"; return; }
	n=$((n + 1))
	printf '# %d:%02d %s ...\n' $((SECONDS / 60)) $((SECONDS % 60)) "$claim"
	out=$("$@" 2>&1) || status=$?
	began=$(awk -v a="$began" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.1f", b - a }')
	if [ "$status" -eq 0 ]; then
		echo "ok $n - $claim ($began s)"
	else
		echo "not ok $n - $claim ($began s)"
		tail -n 30 <<<"$out" | sed 's/^/# /'
	fi
}
# skip CLAIM REASON
skip() {
	n=$((n + 1))
	if [ "$mode" = list ]; then echo "$1"; else echo "ok $n - $1 # SKIP $2"; fi
}

kvm_is_there() { modprobe kvm-amd nested=1 && modprobe tun && [ -w /dev/kvm ]; }
# A VM that never runs, as long as this script does. With a first VM and after a last one Linux patches its scheduler, which now
# and then is the end of a guest with two CPUs whose kernel is translated (docs/verification.md).
kept=
keep_a_vm() {
	[ "$mode" != list ] && [ -z "$kept" ] || return 0
	qemu-system-x86_64 -S -nodefaults -no-user-config -machine none -accel kvm -display none </dev/null >/dev/null 2>&1 &
	kept=$!
}
trap '[ -z "$kept" ] || kill -9 "$kept"' EXIT
out_is() { local want=$1; shift; [ "$("$@")" = "$want" ]; }
out_is_without_nesting() {
	local want=$1 status
	shift
	modprobe -r kvm-amd && modprobe kvm-amd nested=0 && out_is "$want" env "$@" nested_answer
	status=$?
	modprobe -r kvm-amd && modprobe kvm-amd nested=1 && return "$status"
}
runs_by_kvm() {
	local pid
	for pid in $(pgrep -f qemu-system-x86_64); do
		tr '\0' ' ' <"/proc/$pid/cmdline" | grep -q -- '-accel kvm -cpu host' && return 0
	done
	return 1
}
# This kernel's shmem_enabled is never: a memfd would have none.
has_huge_pages() { [ "$(awk '/^ShmemPmdMapped:/ { n += $2 } END { print n }' "/proc/$(pgrep -f guest=q)/smaps")" -gt 65536 ]; }
guest_says_kvm() { drover exec "$1" -- sh -c 'dmesg 2>/dev/null || sudo dmesg' | grep -i 'hypervisor detected: kvm'; }
# contract KIND: the suite's own lines go to a file; all its tests have to be there
contract() {
	local tap=/var/tmp/contract.$1 began=$SECONDS
	test_contract "$1" 2>"$tap.log" >"$tap"
	echo "$1: $((SECONDS - began)) s"
	grep -E '^not ok' "$tap" && { tail -n 20 "$tap.log"; return 1; }
	[ "$(grep -c '^ok' "$tap")" = "$(sed -n 's/^1\.\.//p' "$tap")" ]
}
address() { drover ls "$1" | awk -v name="$1" '$1 == name { print $3 }'; }
reach_each_other() { drover exec a -- ping -c 1 -W 10 b && drover exec b -- ping -c 1 -W 10 a; }
# An address of this machine's that only a way out leads to.
reach_the_world() {
	ip address replace 192.0.2.7/32 dev lo
	(echo here is the world | timeout 60 nc -l -N 192.0.2.7 8080) &
	drover exec a -- sh -c 'nc -w 20 192.0.2.7 8080 </dev/null' | grep -q 'here is the world'
}
# Linux 6.1, of Debian 12, is stricter about mounts than newer ones.
host_programs_reach_them() {
	drover net exec a -- sh -c 'grep -qx "nameserver 10.83.0.1" /etc/resolv.conf && [ -d /proc/self ] && ping -c 1 -W 10 b'
}
# Started beside b: alone it would be a cluster, and have a network, of its own.
same_address_again() {
	local before
	before=$(address a)
	[ -n "$before" ] && drover down a && drover up a b --image tiny --cpus 1 --backend cloud-hypervisor &&
		[ "$(address a)" = "$before" ] && reach_each_other
}
boot_ids() { drover exec a -- cat /proc/sys/kernel/random/boot_id && drover exec b -- cat /proc/sys/kernel/random/boot_id; }
# kill -9 of the helper: the same processes and guests are there under the next one, which can do all that the first could.
go_on_under_the_next_helper() {
	local helper hypervisors boots
	helper=$(pgrep -P "$(pgrep -P "$(cat "$DROVER_HOME"/clusters/*/a/pid)" -x drover-init)" -x drover-helper) || return 1
	hypervisors=$(pgrep -x cloud-hyperviso)
	boots=$(boot_ids) || return 1
	kill -9 "$helper" && timeout 10 tail --pid="$helper" -f /dev/null || return 1
	[ "$(boot_ids)" = "$boots" ] && [ "$(pgrep -x cloud-hyperviso)" = "$hypervisors" ] &&
		drover pause a && drover resume a && drover stats a && drover exec b -- ping -c 1 -W 10 a
}
# A disk without a kernel that can be read boots by firmware: that is refused, with the places where it is looked for.
firmware_is_missed() {
	local said
	truncate -s 64M /var/tmp/blank.raw && drover image import /var/tmp/blank.raw --name blank || return 1
	said=$(drover up f --image blank --backend cloud-hypervisor 2>&1) && return 1
	echo "$said"
	grep -q "cloud-hypervisor's is not installed (/usr/share/cloud-hypervisor/" <<<"$said" && ! drover ls f
}
# An unused uid, which may use /dev/kvm as members of the group kvm may, and no more.
as_somebody() {
	mkdir -p /var/tmp/somebody && chown 64321:64321 /var/tmp/somebody && chgrp 64321 /dev/kvm && chmod 660 /dev/kvm || return 1
	env -C /var/tmp/somebody HOME=/var/tmp/somebody DROVER_HOME=/var/tmp/somebody/home setpriv --reuid 64321 --regid 64321 \
		--clear-groups "$@"
}
somebody_uses_it() {
	chmod -R a+rX "$DROVER_IMAGE_CACHE" && as_somebody drover up u --image tiny --cpus 1 --backend cloud-hypervisor &&
		[ "$(ps -o uid= -p "$(pgrep -x cloud-hyperviso)" | tr -d ' ')" = 64321 ] &&
		as_somebody drover exec u -- true && as_somebody drover rm -f u && ! pgrep -x cloud-hyperviso
}
# Landlock: a file that is not of its member is denied to a hypervisor that may read all as root. It asks for version 3 of it.
has_landlock() { [ "$(printf '%s\n' 6.2 "$(uname -r)" | sort -V | head -n 1)" = 6.2 ]; }
where_landlock_is() {
	if has_landlock; then ok "$@"; else skip "$1" "Linux $(uname -r) is older than 6.2"; fi
}
is_confined() {
	local order='{"path":"/var/tmp/other.raw","image_type":"Raw"}' said
	truncate -s 1M /var/tmp/other.raw || return 1
	said=$(printf 'PUT /api/v1/vm.add-disk HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s' \
		"${#order}" "$order" | timeout 20 nc -U "$(echo "$DROVER_HOME"/run/*/vm0.api)" | grep -m 1 'could not be added')
	echo "$said"
	grep -q 'other.raw.*Permission denied' <<<"$said"
}
# The kernel of the image, as a build has it: vmlinux.
boots_vmlinux() {
	drover up v --image tiny --cpus 1 --backend "$1" --kernel /opt/drover/vmlinux &&
		[ "$(drover exec v -- uname -s)" = Linux ] && drover rm -f v
}
# The run's command says when it has begun; then its client is killed, and the hypervisor's end is waited for.
die_with_their_client() {
	local pid hypervisor line
	exec 5< <(exec drover run x --image tiny --cpus 1 --backend cloud-hypervisor -- sh -c 'echo begun; exec sleep 600')
	pid=$!
	read -r line <&5
	hypervisor=$(pgrep -x cloud-hyperviso)
	kill -9 "$pid"
	exec 5<&-
	[ "$line" = begun ] && [ -n "$hypervisor" ] && timeout 10 tail --pid="$hypervisor" -f /dev/null &&
		[ -z "$(ip -brief link show type tun)" ]
}

# fails_with PATTERN COMMAND...: it fails, and says so
fails_with() {
	local pattern=$1 said
	shift
	said=$("$@" 2>&1) && return 1
	echo "$said"
	grep -Eq -- "$pattern" <<<"$said"
}
up_by_ch() { drover up "$1" --image tiny --cpus 1 --backend cloud-hypervisor "${@:2}"; }
panics_at_boot() {
	fails_with "the guest's kernel panicked: Kernel panic - not syncing: VFS: Unable to mount root fs" \
		up_by_ch p --append "rdinit=/nowhere $1" && ! drover ls p && ! pgrep -x cloud-hyperviso
}
panics_later() {
	local said="its kernel panicked: Kernel panic - not syncing: sysrq"
	drover exec r -- sh -c 'echo c >/proc/sysrq-trigger' </dev/null >/dev/null 2>&1 &
	timeout 60 grep -m 1 'end Kernel panic - not syncing: sysrq' < <(drover logs -f r 2>/dev/null) &&
		drover ls r 2>&1 | grep "^drover: r: $said" && drover kill r && drover rm -f r
}
# From inside; the console goes on, and nobody was told that the member is anything but running.
resets_itself() {
	local before
	before=$(drover exec r -- cat /proc/sys/kernel/random/boot_id) || return 1
	drover exec r -- reboot -f </dev/null >/dev/null 2>&1 &
	timeout 60 grep -m 2 'Not backgrounding' < <(drover logs -f r 2>/dev/null) && drover wait r &&
		[ "$(drover exec r -- cat /proc/sys/kernel/random/boot_id)" != "$before" ] &&
		drover ls r | grep -q '^r *running' && [ "$(pgrep -xc cloud-hyperviso)" = 1 ]
}
resets_again_and_again() {
	fails_with "the guest has reset itself 3 times and was not ready" up_by_ch p --append "rdinit=/bin/reboot -- -f" &&
		! pgrep -x cloud-hyperviso
}

# follows FILE PATTERN: a line comes
follows() { timeout 60 grep -Eq -m 1 "$2" < <(exec tail -n +1 -F "$1") || { cat "$1"; return 1; }; }
# Two at once, of which each shows what is typed into the other; then one is killed.
consoles_share_the_line() {
	local pids=()
	mkfifo /var/tmp/typed.1 /var/tmp/typed.2
	drover console u </var/tmp/typed.1 >/var/tmp/shown.1 2>&1 &
	pids+=("$!")
	drover console u </var/tmp/typed.2 >/var/tmp/shown.2 2>&1 &
	pids+=("$!")
	exec 5>/var/tmp/typed.1 6>/var/tmp/typed.2
	echo 'echo x$((6 * 7))x' >&5
	follows /var/tmp/shown.1 x42x && follows /var/tmp/shown.2 x42x || return 1
	kill -9 "${pids[0]}"
	echo 'echo y$((7 * 7))y' >&6
	follows /var/tmp/shown.2 y49y || return 1
	printf '~.' >&6
	exec 5>&- 6>&-
	timeout 20 tail --pid="${pids[1]}" -f /dev/null
}
events_tell_its_life() {
	local pid
	drover events u >/var/tmp/events 2>&1 &
	pid=$!
	follows /var/tmp/events 'u .*running' && drover pause u && follows /var/tmp/events 'u .*paused' && drover resume u || return 1
	drover exec u -- reboot -f </dev/null >/dev/null 2>&1 &
	follows /var/tmp/events 'u .*reset' && drover wait -c true u || return 1
	kill "$pid"
}
console_is_followed() {
	drover logs -f u >/var/tmp/followed &
	local pid=$!
	drover exec u -- sh -c 'echo said-$((6 * 7)) >/dev/console' && follows /var/tmp/followed said-42 && kill "$pid"
}
copies_there_and_back() {
	mkdir -p /var/tmp/tree/sub && seq 1 100000 >/var/tmp/tree/sub/numbers && ln -s sub/numbers /var/tmp/tree/link &&
		drover cp /var/tmp/tree u:/tmp/tree && drover cp u:/tmp/tree /var/tmp/back && diff -r /var/tmp/tree /var/tmp/back
}
# All bytes, there and back, through its SSH server.
carries_ssh() {
	local line port
	coproc FORWARD { exec drover forward u 0:22; }
	local pid=$FORWARD_PID
	read -r -t 30 line <&"${FORWARD[0]}" && port=${line#*:} && port=${port%% *} && drover ssh-config >/var/tmp/ssh_config || return 1
	seq 1 50000 | ssh -F /var/tmp/ssh_config -o ProxyCommand=none -o ProxyUseFdpass=no -o HostName=127.0.0.1 -p "$port" u cat |
		cmp - <(seq 1 50000) || return 1
	kill -TERM "$pid"
	wait "$pid"
	[ $? -eq 143 ]
}
restarts_with_other_sizes() {
	local before
	before=$(address u)
	drover restart u --mem 320M --cpus 2 && [ "$(drover exec u -- nproc)" = 2 ] && [ "$(address u)" = "$before" ]
}
# To QEMU, which then keeps its points, and back.
changes_its_hypervisor() {
	drover down u && [ ! -e "$(echo "$DROVER_HOME"/clusters/*/u/points.qcow2)" ] && drover up u --backend qemu && drover snapshot save u here &&
		drover snapshot rm u here && drover down u && drover up u --backend cloud-hypervisor && drover exec u -- true
}

# bench ROUNDS [HYPERVISOR]: against the hypervisor started by hand, for each that there is. One guest at a time: the member has
# two CPUs, and its host perhaps no more.
bench() {
	local hypervisor
	for hypervisor in ${2-qemu cloud-hypervisor}; do
		[ "$hypervisor" = qemu ] || command -v "$hypervisor" >/dev/null || continue
		boot tiny "$1" "$hypervisor" 0
	done
}

# warm ROUNDS: starts from templates, resets and forks, with fewer copies than on the host: it is small and slow here.
warm() {
	mkdir -p /opt/drover/build/{src/{cli,helper},bench}
	ln -sf "$(command -v bench-warm-start)" /opt/drover/build/bench/
	ln -sf "$DROVER" /opt/drover/build/src/cli/
	ln -sf "$DROVER_HELPER" /opt/drover/build/src/helper/
	warm_start /opt/drover/build tiny "$1" 4
	command warm /opt/drover/build tiny "$1" 2
}

case_nesting() {
	ok "guests of this machine can run VMs" out_is yes nested_answer
	ok "but not when KVM is loaded without nesting" out_is_without_nesting no
	ok "unless they are translated" out_is_without_nesting yes DROVER_ACCEL=tcg
}
case_qemu() {
	ok "a member boots by QEMU" drover up q --image tiny --cpus 1 --backend qemu
	ok "the probe chose KVM for it" runs_by_kvm
	ok "its kernel says KVM" guest_says_kvm q
	ok "its memory is in huge pages" has_huge_pages
	ok "it stops" drover down q
}
case_qemu_vmlinux() { ok "QEMU boots a vmlinux" boots_vmlinux qemu; }
case_ch_cluster() {
	ok "two members boot by cloud-hypervisor" drover up a b --image tiny --cpus 1 --backend cloud-hypervisor
	ok "its kernel says KVM" guest_says_kvm a
	ok "they reach each other by name" reach_each_other
	ok "they reach the world" reach_the_world
	ok "programs of the host run in their network, with its names" host_programs_reach_them
	ok "one has its address again after a stop" same_address_again
	ok "one is paused and goes on" eval 'drover pause a && drover resume a && drover exec a -- true'
	ok "they go on under the next helper when theirs is killed" go_on_under_the_next_helper
	where_landlock_is "Landlock keeps one from other files" is_confined
	ok "they stop" drover down a b
}
case_ch_vmlinux() { ok "cloud-hypervisor boots a vmlinux" boots_vmlinux cloud-hypervisor; }
case_ch_user() { ok "an ordinary user runs one" somebody_uses_it; }
case_ch_firmware() { ok "an image that boots by firmware is refused in words" firmware_is_missed; }
case_ch_client() { ok "one dies with its client" die_with_their_client; }
case_ch_ends() {
	ok "a kernel that panics is told at once, in its words" panics_at_boot ''
	ok "one that reboots by its panic, too" panics_at_boot panic=-1
	ok "a guest that resets itself again and again is given up" resets_again_and_again
}
case_ch_reset() {
	ok "a member boots" up_by_ch r
	ok "it resets itself, and is there again" resets_itself
	where_landlock_is "and Landlock keeps it from other files still" is_confined
	ok "its counters are told" eval 'drover stats r && drover stats --json r | grep -q cpu'
	ok "its kernel panics later, which ls tells" panics_later
}
case_ch_use() {
	ok "doctor finds nothing amiss" drover doctor
	ok "a member boots" up_by_ch u
	ok "two consoles share its line, and one outlives the other" consoles_share_the_line
	ok "events tell that it is paused, and that it resets itself" events_tell_its_life
	ok "its console is followed, after the reset too" console_is_followed
	ok "a tree is copied there and back" copies_there_and_back
	ok "a port of the host carries ssh to it" carries_ssh
	ok "it restarts with other sizes and the same address" restarts_with_other_sizes
	ok "it goes over to QEMU, with a point, and back" changes_its_hypervisor
	ok "it goes" drover rm -f u
}
case_ch_debian() {
	ok "Debian boots by cloud-hypervisor, from its disk" drover up d --image debian-12 --backend cloud-hypervisor
	ok "its kernel says KVM" guest_says_kvm d
	ok "it stops" drover down d
}
case_ch_contract() { ok "the contract holds for cloud-hypervisor by KVM" contract cloud-hypervisor; }
case_ch_remote_contract() { ok "the contract holds through a helper" contract remote-cloud-hypervisor; }
case_qemu_contract() { ok "the contract holds for QEMU by KVM" contract qemu; }
cases=(nesting qemu qemu_vmlinux ch_cluster ch_vmlinux ch_user ch_firmware ch_client ch_ends ch_reset ch_use ch_debian ch_contract ch_remote_contract
	qemu_contract)

ok "KVM is there" kvm_is_there
case $mode in
bench | warm)
	keep_a_vm
	"$mode" "${2-5}" "${@:3}"
	exit
	;;
esac
for name in "${cases[@]}"; do
	[[ $name =~ ${2-} ]] || continue
	missing=
	[ "$name" = nesting ] || keep_a_vm # which loads KVM anew
	[[ $name != ch_* ]] || command -v cloud-hypervisor >/dev/null ||
		missing="no cloud-hypervisor in PATH, and DROVER_HYPERVISOR names none"
	"case_$name"
done
exit 0 # the lines say what failed
