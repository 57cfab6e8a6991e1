#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# save and load: memory and disk of a real guest go back to a point, in place. Debian, because tiny has no disk to keep
# points in.
cd "$(dirname "$0")" && . ./lib.sh
set -o pipefail

# ask REQUEST: one request to the helper; prints the reply and how long it took, fails on an error.
ask() {
	python3 - "$home"/run/*.sock "$1" <<'EOF'
import socket, sys, time
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])
began = time.monotonic()
s.sendall(sys.argv[-1].encode() + b"\n")
reply = s.makefile().readline().strip()
print(reply, "%.3f s" % (time.monotonic() - began))
sys.exit('"error"' in reply)
EOF
}
guest() { "$DROVER" exec s-1 -- sh -c "$1"; }
says() { [ "$(guest "$1")" = "$2" ] || { echo "'$1' gave '$(guest "$1")', not '$2'"; return 1; }; }
refused() { local out; out=$(ask "$1") && { echo "$out"; return 1; }; grep -q "\"code\":\"$2\"" <<<"$out" || { echo "$out"; return 1; }; }
saved() { ask '{"cmd":"save","point":"clean"}' | tee "$home/save.out"; }
loaded() { ask '{"cmd":"load","point":"clean"}' | tee "$home/load.out"; }
write() { guest "echo $1 >/dev/shm/memory; echo $1 >file; sync"; }
memory() { says "cat /dev/shm/memory" "$1"; }
file() { says "cat file" "$1"; }
both() { memory "$1" && file "$1"; }

ok "image debian-12 is there" "$DROVER" image build debian-12
ok "a member boots" "$DROVER" up s -n 1 --image debian-12 --cpus 1 --mem 512M
ok "it has a state" write before
ok "the state is saved" saved
ok "the guest goes on" both before
ok "it changes" write after
ok "the change is seen" both after
boot_id=$(guest 'cat /proc/sys/kernel/random/boot_id')
ok "the point is loaded" loaded
ok "memory and file are as they were" both before
ok "without a boot" says "cat /proc/sys/kernel/random/boot_id" "$boot_id"
ok "a point that is not there is refused" refused '{"cmd":"load","point":"other"}' not_found
ok "a name that is none is refused" refused '{"cmd":"save","point":"a b"}' invalid_name
ok "and the guest goes on" both before
sed 's/^/# /' "$home/save.out" "$home/load.out"
ok "rm" "$DROVER" rm -f s
ok "nothing is left" nothing_left
done_testing
