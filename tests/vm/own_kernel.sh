#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# A kernel of the user's own: here the image's, from another place.
cd "$(dirname "$0")" && . ./lib.sh

"$DROVER" image build tiny >/dev/null 2>&1
mkdir "$home/build"
cp "$DROVER_IMAGE_CACHE/tiny/vmlinuz" "$home/build/bzImage"
cp "$DROVER_IMAGE_CACHE/tiny/initrd.img" "$home/build/initrd"
{ echo; echo TRAILER; } >>"$home/build/initrd" # other bytes than the image's, and the same to the kernel
words() { "$DROVER" exec k-1 -- cat /proc/cmdline | grep -q "$1"; }
started_with() { # FILE
	local pid
	for pid in $(processes | grep qemu-system | cut -d' ' -f1); do
		tr '\0' '\n' <"/proc/$pid/cmdline" | grep -qx -- "$1" && return
	done
	return 1
}

cd "$home/build"
ok "a member boots with a kernel and an initial file system of the user's" \
	"$DROVER" up k-1 --image tiny --cpus 1 --kernel ./bzImage --initrd initrd --append "drover.test=1 panic=5"
ok "its kernel has read the words that were added" words "mitigations=off.* drover.test=1 panic=5"
ok "that kernel is what QEMU was started with" started_with "$home/build/bzImage"
ok "and that initial file system" started_with "$home/build/initrd"
ok "down" "$DROVER" down k-1
cd /
echo "not a kernel" >"$home/build/bzImage"
fails "a kernel that was spoiled meanwhile is named" 1 "member k-1: .*/build/bzImage is not a kernel" "$DROVER" up k-1
cp "$DROVER_IMAGE_CACHE/tiny/vmlinuz" "$home/build/bzImage"
ok "with the kernel that is there now it boots, from another directory" "$DROVER" up k-1
ok "with the same words" words "drover.test=1 panic=5"
ok "down again" "$DROVER" down k-1
ok "another boot takes the image's own, and other words" "$DROVER" up k-1 --kernel image --append other=1
ok "those words are there, the others are not" eval 'words " other=1" && ! words drover.test'
ok "QEMU was started with the image's kernel" started_with "$DROVER_IMAGE_CACHE/tiny/vmlinuz"
ok "rm" "$DROVER" rm -f k-1

# DROVER_TEST_KERNEL: a bzImage or vmlinux that has an initial file system built in (docs/verification.md says how one is made).
given_no_initrd() {
	local pid
	for pid in $(processes | grep qemu-system | cut -d' ' -f1); do
		tr '\0' '\n' <"/proc/$pid/cmdline" | grep -qx -- -initrd && return 1
	done
	[ -n "${pid-}" ]
}
claim="a kernel that has an initial file system built in boots without another"
if [ -n "${DROVER_TEST_KERNEL-}" ]; then
	ok "$claim" "$DROVER" up k-3 --image tiny --kernel "$DROVER_TEST_KERNEL" --initrd none
	ok "QEMU was given none" given_no_initrd
	ok "down with it" "$DROVER" down k-3
	ok "it has none at its next boot" eval '"$DROVER" up k-3 && given_no_initrd'
	ok "rm of that too" "$DROVER" rm -f k-3
else
	tap_skip "$claim" "DROVER_TEST_KERNEL names none"
fi

"$DROVER" image build debian-12-cloudinit >/dev/null 2>&1
image=$DROVER_IMAGE_CACHE/debian-12-cloudinit
fails "where a disk of the user's has its root must be said" 1 "nobody knows where .*disk.qcow2 has its root" \
	"$DROVER" up k-2 --image "$image/disk.qcow2" --kernel "$image/vmlinuz"
ok "a disk of the user's boots with a kernel of the user's" "$DROVER" up k-2 --image "$image/disk.qcow2" --cpus 1 \
	--kernel "$image/vmlinuz" --initrd "$image/initrd.img" --append "root=/dev/vda rw"
ok "by that kernel, without a boot loader" out_is "console=ttyS0 root=/dev/vda rw" \
	"$DROVER" exec k-2 -- sed 's/ no_timer_check norandmaps$//' /proc/cmdline
ok "rm of it" "$DROVER" rm -f k-2
ok "nothing is left" nothing_left
done_testing
