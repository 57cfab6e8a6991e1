#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# stock_disk.sh IMAGE-DIRECTORY OUT.raw: a disk as vendors ship them: a partition table, a boot loader that only firmware can
# start, the root file system of an image of ours. Needs no root.
set -eu
export PATH=$PATH:/usr/sbin:/sbin
image=$1 out=$2
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

qemu-img convert -O raw "$image/disk.qcow2" "$dir/root"
root_sectors=$(($(stat -c %s "$dir/root") / 512))
boot_start=$((2048 + root_sectors))
truncate -s $(((boot_start + 65536 * 2 + 2048) * 512)) "$out"
sfdisk -q "$out" <<EOF
label: gpt
start=2048, size=$root_sectors, type=linux, name=root
start=$boot_start, size=131072, type=uefi, name=boot, attrs=LegacyBIOSBootable
EOF
dd if="$dir/root" of="$out" bs=1M seek=1 conv=notrunc,sparse status=none

mkfs.vfat -h "$boot_start" -C "$dir/boot" 65536 >/dev/null
cat >"$dir/syslinux.cfg" <<'EOF'
DEFAULT linux
PROMPT 0
SERIAL 0
LABEL linux
  LINUX /vmlinuz
  INITRD /initrd.img
  APPEND root=/dev/vda1 rootfstype=ext4 rw console=ttyS0 quiet net.ifnames=0 systemd.show_status=0
EOF
mcopy -i "$dir/boot" "$image/vmlinuz" "$image/initrd.img" "$dir/syslinux.cfg" ::/
syslinux -i "$dir/boot"
dd if="$dir/boot" of="$out" bs=512 seek="$boot_start" conv=notrunc,sparse status=none
dd if=/usr/lib/syslinux/mbr/gptmbr.bin of="$out" bs=440 count=1 conv=notrunc status=none
