#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# A running cluster becomes a file, and goes on from it in another store: processes, connections, names.
cd "$(dirname "$0")" && . ./lib.sh && . ./talk.sh

file=$home/cluster.drover
there=$home/there # another store, which has no key of the first

# A process that counts the lines of /tmp/tick into /dev/shm/count.
counter() {
	guest s-1 'mkfifo /tmp/tick; setsid sh -c "exec 3<>/tmp/tick; n=0; while read -r line <&3; do n=\$((n + 1)); echo \$n >/tmp/new; mv /tmp/new /dev/shm/count; echo \$n >/tmp/told; done" >/dev/null 2>&1 </dev/null & mkfifo /tmp/told'
}
counts_to() { [ "$(guest "$1" "echo tick >/tmp/tick; timeout $patience cat /tmp/told")" = "$2" ]; }
boot_ids() { for i in 1 2; do guest "$1-$i" 'hostname; cat /proc/sys/kernel/random/boot_id' || return 1; done; }
same_boot() { diff "$home/boots" <(boot_ids "$1"); }
lets_in() { [ "$(guest "$1" 'grep -c ssh- ~/.ssh/authorized_keys')" = "$2" ]; } # so many keys
is_private() { [ "$(stat -c %a "$file")" = 600 ] && ! find "$home" -maxdepth 1 -name 'cluster.drover.*' | grep .; }
nothing_there() {
	[ -z "$(find "$there/clusters" "$there/captures" -mindepth 1 -not -name .lock 2>/dev/null)" ] ||
		{ find "$there"; return 1; }
}
# Whether the key of a store opens a member of this one.
opens() { # STORE MEMBER
	"$DROVER" ssh-config >"$home/config" && sed -i "s|IdentityFile=.*|IdentityFile=$1/id_ed25519|" "$home/config" &&
		ssh -F "$home/config" "$2" true
}
keep_out() { ! opens "$1" "$2" 2>"$home/refused" && grep 'Permission denied' "$home/refused"; }
no_came_key() { [ -z "$(find "$there/clusters" -name 'login_key*')" ]; }
through_a_pipe() { "$DROVER" snapshot export s - | DROVER_HOME=$there "$DROVER" snapshot import -q -n 2 - p; }
cut_off() { head -c $(($(stat -c %s "$file") * $1 / 100)) "$file" >"$home/cut"; }
damage() { # one byte in the middle
	cp "$file" "$home/cut" && printf 'x' | dd of="$home/cut" bs=1 seek=$(($(stat -c %s "$file") / 2)) conv=notrunc status=none
}
other_qemu() {
	mkdir "$home/bin" && printf '#!/bin/sh\necho QEMU emulator version 1.2.3\n' >"$home/bin/qemu-system-x86_64" &&
		chmod 755 "$home/bin/qemu-system-x86_64"
}

# An export that gets a signal as soon as it has begun: its exit status, and nothing is beside the file that it did not write.
ends_by() { # SIGNAL STATUS
	python3 - "$DROVER" "$home/captures" "$home/ended" "$1" "$2" <<'EOF'
import ctypes, glob, os, signal, subprocess, sys
libc = ctypes.CDLL(None)
fd = libc.inotify_init()
libc.inotify_add_watch(fd, sys.argv[2].encode(), 0x40000100)  # IN_CREATE of a directory: the capture's
export = subprocess.Popen([sys.argv[1], "snapshot", "export", "s", sys.argv[3]], stdout=subprocess.DEVNULL)
os.read(fd, 4096)
export.send_signal(getattr(signal, sys.argv[4]))
status = export.wait()
left = glob.glob(sys.argv[3] + "*")
sys.exit(f"ended with {status}, left {left}" if status != int(sys.argv[5]) or left else 0)
EOF
}

# A command that is to write below $home/small, where there is so much room (0: none); 3: it has left something.
on_small() { # SIZE COMMAND...
	mkdir -p "$home/small"
	unshare -m bash -c 'room=$1 small=$2 && shift 2
		if [ "$room" = 0 ]; then
			mount -t tmpfs -o size=4k small "$small" && echo full >"$small/fill"
		else
			mount -t tmpfs -o size="$room" small "$small"
		fi || exit 4
		"$@"
		rc=$?
		[ -z "$(find "$small" -type f -not -name fill -not -name .lock)" ] || { find "$small" >&2; exit 3; }
		exit $rc' _ "$1" "$home/small" "${@:2}"
}

ok "image tiny is there" "$DROVER" image build tiny
ok "two members boot" "$DROVER" up s -n 2 --image tiny --mem 256M --cpus 1
ok "a connection between them" connect
ok "a process counts" counter
ok "to one" counts_to s-1 1
boot_ids s >"$home/boots"
ok "the cluster becomes a file" "$DROVER" snapshot export s "$file"
echo "# two members of 256 MB are a file of $(($(stat -c %s "$file") >> 20)) MB"
ok "that is its owner's alone, and nothing else is there" is_private
ok "the key of the file is not let in any more" lets_in s-1 1
ok "the original goes on" counts_to s-1 2
ok "and loses nothing" carries s two
fails "a name that no directory has is refused" 1 "cannot write .*No such file" "$DROVER" snapshot export s "$home/none/x"

export DROVER_HOME=$there
for share in 1 50 99; do
	cut_off $share
	fails "a file that ends after $share % is refused" 1 "not all of it|cut off or damaged" "$DROVER" snapshot import "$home/cut" n
done
ok "that leaves nothing" nothing_there
damage
fails "one with a wrong byte is refused" 1 "cut off or damaged|check sums" "$DROVER" snapshot import "$home/cut" n
fails "another file is refused" 1 "not a file of 'drover snapshot export'" "$DROVER" snapshot import export.sh n
ok "a host with another QEMU" other_qemu
fails "is refused, with both versions" 1 "written under 'QEMU emulator version [0-9.]+.*this host has 'QEMU emulator version 1.2.3'" \
	env PATH="$home/bin:$PATH" "$DROVER" snapshot import "$file" n
ok "that leaves nothing too" nothing_there
ok "in another store it goes on" "$DROVER" snapshot import -q "$file" n
ok "without a boot, under its names inside" same_boot n
ok "the process counts on" counts_to n-1 2
ok "the connection carries more" carries n three
ok "names resolve" guest n-1 'ping -c 1 -W 20 s-2'
ok "the key of this store alone is let in" lets_in n-1 1
ok "and opens it" opens "$there" n-1
ok "the key of the first store does not" keep_out "$home" n-1
ok "the one that came along is gone" no_came_key
ok "a member boots anew, by the kernel that came along" bash -c '"$0" down n-2 && "$0" up -q n-2' "$DROVER"
ok "it is removed" "$DROVER" rm -f --all

export DROVER_HOME=$home
ok "through a pipe it becomes two" through_a_pipe
export DROVER_HOME=$there
ok "that go on from there" counts_to p-1-1 3
ok "each for itself" counts_to p-2-1 3
ok "they are removed" "$DROVER" rm -f --all
ok "and nothing is left of them" nothing_there
export DROVER_HOME=$home
ok "in the store that it came from it goes on too" "$DROVER" snapshot import -q "$file" same
ok "where the key of the store stays let in, once" lets_in same-1 1
ok "an export that is interrupted says so and leaves no file" ends_by SIGINT 130
ok "nor its key in the members" lets_in s-1 1
fails "a full disk that it is for is told with the file's name, and holds nothing of it" 1 "$home/small/x: no space left" \
	on_small 0 "$DROVER" snapshot export s "$home/small/x"
fails "so is one that fills meanwhile" 1 "$home/small/x: no space left" on_small 8m "$DROVER" snapshot export s "$home/small/x"
fails "and that which a timeline is for" 1 "cannot write $home/small/t.svg: No space left" \
	on_small 0 "$DROVER" timeline s -o "$home/small/t.svg"
fails "and a store that an import fills" 1 "write $home/small/captures/.*/memory: No space left" \
	on_small 8m env DROVER_HOME="$home/small" "$DROVER" snapshot import "$file" n
ok "no key of these is left in the members" lets_in s-1 1
ok "one that is killed leaves no file either" ends_by SIGKILL -9
ok "and what it captured goes" "$DROVER" prune
ok "rm" "$DROVER" rm -f --all
ok "nothing is left" nothing_left
done_testing
