#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# The verbs beside protocol 2, each with a real guest: console, stats, pause, resume, dial, kill, shutdown.
cd "$(dirname "$0")" && . ./lib.sh

shutdown_all() {
	python3 - "$home" <<-'PY'
	import os, sys
	sys.path.insert(0, "../protocol")
	import harness
	path = os.path.join(sys.argv[1], "run", harness.socket_key("v-1") + ".sock")
	with harness.Conn(path) as c:
	    harness.expect("shutdown", {}, c.request({"cmd": "shutdown"}).reply())
	PY
}

export PYTHONDONTWRITEBYTECODE=1
ok "image tiny is built or there" "$DROVER" image build tiny
ok "a member boots" "$DROVER" up v --image tiny --mem 256M --cpus 1
ok "every verb does what it says" python3 verbs.py "$home" v
ok "the killed one and its helper left nothing" nothing_left
ok "two members boot" "$DROVER" up v -n 2 --image tiny --mem 256M --cpus 1
ok "shutdown is acknowledged" shutdown_all
ok "and then nothing is left of either" nothing_left

# Neither the power button nor QMP nor SIGTERM reaches a stopped process: what is left is SIGKILL, after the grace.
qemu_pid() { processes | grep qemu-system | cut -d' ' -f1; }
freeze() { kill -STOP "$(qemu_pid)"; }
dumps_no_core() { grep -Eq '^Max core file size +0 +0 ' "/proc/$(qemu_pid)/limits"; }
ok "a member boots again" "$DROVER" up v --image tiny --mem 256M --cpus 1
ok "its QEMU would leave no core file" dumps_no_core
ok "its QEMU hangs" freeze
ok "down ends it all the same, within its bound" timeout "$patience" "$DROVER" down v
ok "nothing is left of the hung one" nothing_left
done_testing
