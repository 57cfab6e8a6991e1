#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# stock_kernel_disk.sh IMAGE-DIRECTORY OUT.raw: a disk with kernels in /boot as Debian has them, and no boot loader at all, of the
# root file system of an image of ours. Its initial file system finds the root by PARTUUID alone. Needs no root.
set -eu
export PATH=$PATH:/usr/sbin:/sbin
image=$1 out=$2
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

cat >"$dir/init" <<'END'
#!/bin/busybox sh
bb=/bin/busybox
$bb mount -t devtmpfs dev /dev
$bb mount -t proc proc /proc
while read -r module; do $bb insmod "/lib/modules/$module.ko"; done </lib/modules/order
until [ -b /dev/vda1 ]; do $bb usleep 100000; done
set -- $($bb dd if=/dev/vda bs=1 skip=1040 count=16 2>/dev/null | $bb hexdump -ve '1/1 "%02x "')
guid=$4$3$2$1-$6$5-$8$7-$9${10}-${11}${12}${13}${14}${15}${16}
$bb grep -q "root=PARTUUID=$guid " /proc/cmdline || { echo "no such root"; $bb poweroff -f; }
$bb mount -t ext4 /dev/vda1 /root
$bb umount /proc
$bb mount -o move /dev /root/dev
exec $bb switch_root -c /dev/console /root /sbin/init
END
chmod 755 "$dir/init"
# what comes later in an initial file system replaces what came before
{ cat "$image/initrd.img"; (cd "$dir" && echo init | cpio --quiet -o -H newc -R 0:0); } >"$dir/initrd"
qemu-img convert -O raw "$image/disk.qcow2" "$dir/root"
echo old >"$dir/old"
debugfs -w -f - "$dir/root" >/dev/null 2>&1 <<END
write $image/vmlinuz /boot/vmlinuz-6.1.0-10-cloud-amd64
write $dir/initrd /boot/initrd.img-6.1.0-10-cloud-amd64
write $dir/old /boot/vmlinuz-6.1.0-9-cloud-amd64
write $dir/old /boot/initrd.img-6.1.0-9-cloud-amd64
write $dir/old /boot/vmlinuz-6.1.0-11-without-initrd
END
sectors=$(($(stat -c %s "$dir/root") / 512))
truncate -s $(((sectors + 4096) * 512)) "$out"
sfdisk -q "$out" <<END
label: gpt
start=2048, size=$sectors, type=linux, name=root
END
dd if="$dir/root" of="$out" bs=1M seek=1 conv=notrunc,sparse status=none
