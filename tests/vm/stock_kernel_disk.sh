#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# stock_kernel_disk.sh IMAGE-DIRECTORY OUT.raw debian|ubuntu: a disk laid out as those vendors' cloud images, with kernels and no boot
# loader at all, of the root file system of an image of ours. Debian: partition 1 is the root, with /boot in it, behind 14 (for GRUB)
# and 15 (EFI). Ubuntu 24.04: /boot is partition 16, an ext4 of the label BOOT. The initial file system finds the root by PARTUUID
# alone. Needs no root.
set -eu
export PATH=$PATH:/usr/sbin:/sbin
image=$1 out=$2 layout=$3
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
boot=$dir/root folder=/boot version=6.1.0-10-cloud-amd64 older=6.1.0-9-cloud-amd64 without=6.1.0-11-without-initrd
if [ "$layout" = ubuntu ]; then
	boot=$dir/boot folder='' version=6.8.0-60-generic older=6.8.0-59-generic without=6.8.0-61-generic
	mke2fs -q -t ext4 -L BOOT "$boot" 64M >/dev/null
fi
debugfs -w -f - "$boot" >/dev/null 2>&1 <<END
write $image/vmlinuz $folder/vmlinuz-$version
write $dir/initrd $folder/initrd.img-$version
write $dir/old $folder/vmlinuz-$older
write $dir/old $folder/initrd.img-$older
write $dir/old $folder/vmlinuz-$without
END
sectors=$(($(stat -c %s "$dir/root") / 512))
truncate -s $(((sectors + 393216 + 4096) * 512)) "$out"
{
	cat <<-END
		label: gpt
		disk1: start=393216, size=$sectors, type=linux
		disk14: start=2048, size=6144, type=21686148-6449-6E6F-744E-656564454649
		disk15: start=8192, size=253952, type=uefi
	END
	[ "$layout" = debian ] || echo 'disk16: start=262144, size=131072, type=linux'
} | sfdisk -q "$out"
dd if="$dir/root" of="$out" bs=1M seek=192 conv=notrunc,sparse status=none
[ "$layout" = debian ] || dd if="$boot" of="$out" bs=1M seek=128 conv=notrunc,sparse status=none
