#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# The cloud-hypervisor backend as a user meets it, with fake_program.py in place of the program: no VM runs here.
cd "$(dirname "$0")/../vm" && . ./lib.sh
export DROVER_HYPERVISOR="$PWD/../cloud-hypervisor/fake_program.py" DROVER_ACCEL=kvm

# up_fails MODE PATTERN: no member boots, the reason is told, nothing is left.
up_fails() {
	FAKE_CH=$1 fails "$1: the reason is told" 1 "$2" "$DROVER" up x --image tiny --backend cloud-hypervisor
	ok "$1: nothing is left" nothing_left
}
# boot MODE: a member's life as the wire has it; the guest that is played takes no login, for which a client would wait.
boot() {
	python3 - "$home" "$1" <<'EOF'
import glob, json, os, signal, socket, subprocess, sys
home, mode = sys.argv[1:]
ready, told = os.pipe()
helper = subprocess.Popen([os.environ["DROVER_HELPER"], "--members", "x", "--backend", "cloud-hypervisor", "--ready-fd",
                           str(told)], pass_fds=[told], env=dict(os.environ, FAKE_CH=mode))
os.close(told)
assert os.read(ready, 100) == b"ready\n"
def ask(**request):
    s = socket.socket(socket.AF_UNIX)
    s.connect(glob.glob(home + "/run/*.sock")[0])
    s.sendall(json.dumps(request).encode() + b"\n")
    return json.loads(s.makefile().readline())
def good(**request):
    reply = ask(**request)
    assert "error" not in reply, (request, reply)
    return reply
tiny = os.environ["DROVER_IMAGE_CACHE"] + "/tiny/"
start = {"kernel_path": tiny + "vmlinuz", "initrd_path": tiny + "initrd.img", "cmdline": "quiet"}
if mode == "firmware":
    start = {"disk_path": home + "/blank.raw"}
good(cmd="createnetwork", egress=False)
good(cmd="reserve", name="x")
good(cmd="boot-member", spec={"name": "x", "cpus": 1, "memory_bytes": 1 << 28,
                              "serial_log_path": home + "/serial.log", **start})
refused = ask(cmd="capture", dir=home, all=True)
assert refused["code"] == "unsupported" and "'cloud-hypervisor' cannot fork a running VM" in refused["error"], refused
print(good(cmd="pause"), good(cmd="resume"), good(cmd="stats"))
def crash():
    """kill -9 of the helper, whose init starts another; the next request waits for that one."""
    init = subprocess.check_output(["pgrep", "-P", str(helper.pid), "-x", "drover-init"], text=True).strip()
    os.kill(int(subprocess.check_output(["pgrep", "-P", init, "-x", "drover-helper"])), signal.SIGKILL)
    return good(cmd="status")["status"]["state"]
if mode == "crash":
    assert crash() == "running"
    good(cmd="pause")
    assert crash() == "paused"
    good(cmd="resume")
    good(cmd="stats")
good(cmd="stop")
assert helper.wait() == 0
log = open(home + "/serial.log").read()
assert "hello from boot 1" in log, log
assert mode != "reboot" or "hello from boot 2" in log, log
EOF
}
# having FIRMWARE COMMAND...: where /usr/share has no more than that of cloud-hypervisor's ("": none)
having() {
	# shellcheck disable=SC2016,SC2046
	unshare $([ "$(id -u)" = 0 ] && echo -m || echo -rm) bash -ec 'mount -t tmpfs none /usr/share
		mkdir /usr/share/cloud-hypervisor
		[ -z "$1" ] || echo firmware >"/usr/share/cloud-hypervisor/$1"
		shift
		exec "$@"' _ "$@"
}
# without_libcurl COMMAND...: each name that it is looked for by is of an empty file
without_libcurl() {
	# shellcheck disable=SC2016,SC2046
	unshare $([ "$(id -u)" = 0 ] && echo -m || echo -rm) bash -ec '
		for file in $(ldconfig -p | awk "\$1 ~ /^libcurl(-gnutls)?\.so\.4/ { print \$NF }"); do
			mount --bind /dev/null "$(readlink -f "$file")"
		done
		exec "$@"' _ "$@"
}
export -f boot
export home

ok "image tiny is there" "$DROVER" image build tiny
up_fails old 'version 36\.0\.0; 41 or newer is needed'
up_fails refuse 'did not take the VM: The VM could not be created: the disk is.broken'
up_fails die 'cloud-hypervisor ended with exit status 3: cannot open the firmware'
up_fails panic "the guest's kernel panicked: Kernel panic - not syncing: played"
up_fails reboots 'the guest has reset itself 3 times and was not ready; the console.s last: .*hello from boot 2 . hello from boot 3'
PATH=$PATH:/sbin fails "without libcurl: that is told when a member is to boot" 1 'HTTP is spoken by libcurl, which is not installed$' \
	without_libcurl "$DROVER" up x --image tiny --backend cloud-hypervisor
ok "without libcurl: nothing is left" nothing_left
up_fails login-panic "the guest's kernel panicked: Kernel panic - not syncing: played|x: its kernel panicked: .*: played"
up_fails login-die 'cloud-hypervisor ended with exit status 3: the guest is no more'
up_fails login-reboot 'cloud-hypervisor ended with exit status 3: the guest is no more'
ok "a member boots, pauses, resumes, counts and stops" boot ''
ok "nothing is left" nothing_left
ok "the console goes on when the guest has reset itself" boot reboot
ok "nothing is left" nothing_left
ok "a helper that is killed is followed by one that has the member" boot crash
ok "nothing is left" nothing_left
ok "a guest that hears no button is stopped all the same" boot mute-button
ok "nothing is left" nothing_left
truncate -s 8M "$home/blank.raw"
fails "a disk without a kernel boots by firmware: where that is missing, the places are named" 1 \
	"is not installed \(/usr/share/cloud-hypervisor/CLOUDHV.fd or /usr/share/cloud-hypervisor/hypervisor-fw\)" \
	having '' "$DROVER" up x --image "$home/blank.raw" --backend cloud-hypervisor
ok "nothing is left" nothing_left
ok "and no member" eval '! "$DROVER" ls x'
for firmware in CLOUDHV.fd hypervisor-fw; do
	ok "with $firmware it boots" having "$firmware" bash -c 'boot firmware'
	ok "nothing is left" nothing_left
done
fails "a mount is refused, and the way out named" 1 'hint: use a fixture, or the backend qemu' \
	"$DROVER" up x --image tiny --backend cloud-hypervisor --mount "$home:/srv"
DROVER_ACCEL='' DROVER_HYPERVISOR=/nowhere/ch fails "a program that is not there is named" 1 \
	'no program /nowhere/ch' "$DROVER" up x --image tiny --backend cloud-hypervisor
DROVER_ACCEL=tcg fails "it does not translate" 1 'by KVM only' "$DROVER" up x --image tiny --backend cloud-hypervisor
done_testing
