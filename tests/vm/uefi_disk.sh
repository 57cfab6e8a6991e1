#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# uefi_disk.sh IMAGE-DIRECTORY OUT.raw: a disk that only UEFI firmware can start: an EFI system partition with systemd's boot
# loader and the kernel of an image of ours. Needs no root.
set -eu
export PATH=$PATH:/usr/sbin:/sbin
image=$1 out=$2
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

truncate -s $(((2048 + 131072 + 2048) * 512)) "$out"
sfdisk -q "$out" <<EOF
label: gpt
start=2048, size=131072, type=uefi, name=esp
EOF
mkfs.vfat -h 2048 -C "$dir/esp" 65536 >/dev/null
cat >"$dir/linux.conf" <<EOF
title linux
linux /vmlinuz
initrd /initrd.img
options $(sed -n 's/.*"cmdline": *"\([^"]*\)".*/\1/p' "$image/image.json") by=uefi
EOF
echo "timeout 0" >"$dir/loader.conf"
mmd -i "$dir/esp" ::/EFI ::/EFI/BOOT ::/loader ::/loader/entries
mcopy -i "$dir/esp" /usr/lib/systemd/boot/efi/systemd-bootx64.efi ::/EFI/BOOT/BOOTX64.EFI
mcopy -i "$dir/esp" "$image/vmlinuz" "$image/initrd.img" ::/
mcopy -i "$dir/esp" "$dir/loader.conf" ::/loader/
mcopy -i "$dir/esp" "$dir/linux.conf" ::/loader/entries/
dd if="$dir/esp" of="$out" bs=512 seek=2048 conv=notrunc,sparse status=none
