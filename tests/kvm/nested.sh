#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# KVM for real, on a host without it: a member with nested virtualisation (QEMU translates AMD's svm), and in it drover
# with QEMU by KVM and, when cloud-hypervisor is in PATH or DROVER_HYPERVISOR names it, with that too. The member runs the
# programs of this host, which therefore is what the member is: Debian 12.
#
# usage: [CASES=PATTERN] nested.sh     the claims; only those of the cases whose names match: see cases in inside.sh
#        DROVER_TEST_NESTED_KERNEL=DIR of a package with another kernel for the member, unpacked by dpkg -x
#        nested.sh bench [ROUNDS [HYPERVISOR]]   bench/boot in the member instead (tools/bench kvm)
#        nested.sh warm [ROUNDS]       bench/warm_start and bench/warm there (tools/bench kvm-warm)
cd "$(dirname "$0")/../vm" && . ./lib.sh
set -o pipefail

mode=${1-claims}
hypervisor=${DROVER_HYPERVISOR:-$(command -v cloud-hypervisor)}
kernel=${DROVER_TEST_NESTED_KERNEL-}
bundle=$home/bundle

# What Debian's Python, for the benchmarks in it, finds beside itself.
pack_python() {
	tar -C /usr/lib --exclude=__pycache__ --exclude=test --exclude='config-*' -c \
		"$(basename "$(readlink -f /usr/bin/python3)")" | tar -C "$bundle/lib" -x
}

# vmlinux FILE: what a bzImage has inside (Linux, Documentation/arch/x86/boot.rst); Debian's is packed by lz4.
vmlinux() {
	local file=$1
	at() { od -An -t "u$2" -j "$(($1))" -N "$2" "$file" | tr -d ' '; }
	local start=$((($(at 0x1f1 1) + 1) * 512 + $(at 0x248 4)))
	head -c $((start + $(at 0x24c 4) - 4)) "$file" | tail -c +$((start + 1)) | lz4 -dc
}

# Programs, the libraries that they need beside the C library, QEMU's firmware, the images.
pack() {
	local file paths=() python=()
	[ "$mode" != warm ] || python=(/usr/bin/python3 "${DROVER_BENCH_WARM_START:?the program of bench/warm_start}")
	for file in "$DROVER" "$DROVER_HELPER" "${DROVER_TEST_CONTRACT:?the suite}" "${DROVER_TEST_NESTED:?the program}" \
		qemu-system-x86_64 qemu-img dnsmasq slirp4netns "${python[@]}"; do
		paths+=("$(PATH=$PATH:/usr/sbin command -v "$file")")
	done
	mkdir -p "$bundle"/{bin,lib,cache,share/qemu}
	install "${paths[@]}" ../kvm/inside.sh ../../bench/{boot,warm,warm_start} "$bundle/bin/" || return 1
	if [ -n "$hypervisor" ]; then
		install "$hypervisor" "$bundle/bin/cloud-hypervisor" || return 1
	fi
	ldd "${paths[@]}" | awk '$3 ~ "^/" { print $3 }' | sort -u |
		grep -Ev '/(libc|libm|libpthread|libdl|librt|libresolv)\.so' |
		xargs cp -L -t "$bundle/lib/" || return 1
	# loaded by name, with what it needs
	file=$(ldconfig -p | awk '$1 == "libcurl.so.4" && /x86-64/ { print $NF; exit }')
	{ echo "$file"; ldd "$file" | awk '$3 ~ "^/" { print $3 }'; } |
		grep -Ev '/(libc|libm|libpthread|libdl|librt|libresolv)\.so' | xargs cp -L -t "$bundle/lib/" || return 1
	for file in bios-256k.bin linuxboot_dma.bin pvh.bin kvmvapic.bin; do
		cp -L "$(find -L /usr/share/qemu /usr/share/seabios -name "$file" 2>/dev/null | head -n 1)" \
			"$bundle/share/qemu/" || return 1
	done
	[ "${#python[@]}" = 0 ] || pack_python || return 1
	vmlinux "$DROVER_IMAGE_CACHE/tiny/vmlinuz" >"$bundle/vmlinux" || return 1
	cp -r "$DROVER_IMAGE_CACHE"/{tiny,debian-12} "$bundle/cache/" || return 1
	[ -z "$kernel" ] || pack_kernel
}

# Another kernel for the member: its modules, and the initial file system of the image with those that it loads exchanged.
pack_kernel() {
	local name module modules
	modules=$(echo "$kernel"/lib/modules/*)
	mkdir -p "$bundle/modules" "$home/initrd" && cp -r "$modules" "$bundle/modules/" &&
		(cd "$home/initrd" && cpio -id --quiet <"$DROVER_IMAGE_CACHE/debian-12/initrd.img") || return 1
	mv "$home/initrd/lib/modules" "$home/old" && mkdir "$home/initrd/lib/modules" || return 1
	while read -r name; do
		module=$(find "$modules" -name "$name.ko*")
		[ -n "$module" ] || continue # this kernel has it built in
		case $module in
		*.xz) xz -dc "$module" ;;
		*) cat "$module" ;;
		esac >"$home/initrd/lib/modules/$name.ko" && echo "$name" >>"$home/initrd/lib/modules/order" || return 1
	done <"$home/old/order"
	(cd "$home/initrd" && find . | cpio -o --quiet -H newc) >"$home/initrd.img"
}

# The member shows the bundle where it can be written to: its copy on the disk holds only what is changed.
boot() {
	local options=()
	# Without clearcpuid QEMU 7.2's translator lets Linux 6.12 panic.
	[ -z "$kernel" ] || options=(--kernel "$(echo "$kernel"/boot/vmlinuz-*)" --initrd "$home/initrd.img" --append clearcpuid=cx16)
	"$DROVER" up host --image debian-12 --cpus 2 --mem 3072 --fixture "$bundle:/opt/bundle" "${options[@]}"
}
show() {
	"$DROVER" exec host -- sudo sh -e -c 'mkdir -p /opt/drover /var/tmp/changed/upper /var/tmp/changed/work
		[ ! -d /opt/bundle/modules ] || { cp -r /opt/bundle/modules/* /lib/modules/ && depmod; }
		mount -t overlay -o lowerdir=/opt/bundle,upperdir=/var/tmp/changed/upper,workdir=/var/tmp/changed/work bundle /opt/drover'
}

# The inner script's lines become this one's. Those that it did not come to, whatever ended it, fail by name.
inside() {
	local line reached=0 status=0 claims=()
	[ "$mode" != claims ] || readarray -t claims < <(bash ../kvm/inside.sh list "${CASES-}")
	while IFS= read -r line; do
		case $line in
		"ok "*"# SKIP"*) line=${line#ok *- }; tap_skip "nested: ${line% # SKIP *}" "${line##* # SKIP }" ;;
		"ok "*) tap_result 0 "nested: ${line#ok *- }" ;;
		"not ok "*) tap_result 1 "nested: ${line#not ok *- }" ;;
		*) echo "# ${line#\# }"; continue ;;
		esac
		reached=$((reached + 1))
	done < <("$DROVER" exec host -- sudo timeout 3300 bash /opt/drover/bin/inside.sh "$@" 2>&1)
	wait "$!" || status=$?
	tap_result "$status" "the inner script ends well" || echo "# exit $status"
	for line in "${claims[@]:reached}"; do tap_result 1 "nested: not reached: $line"; done
}

# step CLAIM COMMAND...: says when it begins, as the inner script does
step() {
	printf '# %d:%02d %s ...\n' $((SECONDS / 60)) $((SECONDS % 60)) "$1"
	ok "$@"
}

step "the images are there" eval '"$DROVER" image build tiny && "$DROVER" image build debian-12'
step "guests of this host can run VMs" out_is yes "$DROVER_TEST_NESTED"
step "what drover needs is packed" pack
step "a member boots, and has it" boot
step "it can write there" show
if [ "$mode" = claims ]; then inside claims "${CASES-}"; else inside "$@"; fi
step "the member goes" "$DROVER" rm -f host
step "nothing is left" nothing_left
done_testing
