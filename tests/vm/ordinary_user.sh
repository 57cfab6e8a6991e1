#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# The main job without root.
cd "$(dirname "$0")" && . ./lib.sh
make_unreadable() {
	install -m 0600 /dev/null "$home/roots-kernel"
	export UNREADABLE=$home/roots-kernel
}
without_root tiny make_unreadable

ok "this is not root" test "$(id -u)" -ne 0
ok "two members boot" "$DROVER" up u -n 2 --image tiny
ok "a command runs" "$DROVER" exec u-1 -- true
ok "one reaches the other by name" "$DROVER" exec u-1 -- ping -c 1 -W 10 u-2

# boot PATH: the helper's answer to a member whose kernel is PATH, asked on the socket of one that lives.
boot() {
	python3 - "$home/run" "$1" <<-'PY'
	import glob, json, socket, sys
	def call(request):
	    with socket.socket(socket.AF_UNIX) as s:
	        s.settimeout(120)
	        s.connect(glob.glob(sys.argv[1] + "/*.sock")[0])
	        s.sendall(json.dumps(request).encode())
	        return s.makefile().read()
	call({"cmd": "reserve", "name": "u-3"})
	print(call({"cmd": "boot-member", "spec": {"name": "u-3", "cpus": 1,
	      "memory_bytes": 1 << 28, "kernel_path": sys.argv[2]}}))
	PY
}
says_denied() { boot "$1" | tee /dev/stderr | grep -q "\"error\":\"[^\"]*$1.*\"code\":\"permission_denied\""; }
ok "a kernel that this user may not read fails its member, by path and code" says_denied "${UNREADABLE:-/etc/shadow}"
ok "the others run on" "$DROVER" exec u-2 -- true
ok "a program of the host reaches it from inside the network" "$DROVER" net exec u -- busybox ping -c 1 -W 10 u-2
ok "a template is made, and two members go on from it" "$DROVER" up v -n 2 --image tiny --mem 256M --cpus 1 --warm
ok "as who they are" out_is v-2 "$DROVER" exec v-2 -- hostname
ok "rm removes them" "$DROVER" rm -f --all
ok "nothing is left" nothing_left
done_testing
