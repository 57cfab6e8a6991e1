#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Kernels out of disks laid out as vendors lay them out: kernel_test.sh path/to/drover
set -u
export PATH=$PATH:/usr/sbin:/sbin
drover=$(realpath "$1")
home=$(mktemp -d)
trap 'rm -rf "$home"' EXIT
export DROVER_HOME=$home/home DROVER_IMAGE_CACHE=$home/images
. "$(dirname "$0")/../tap.sh"

partition() { # NUMBER FOLDER: an ext4 file system of the folder as partition 1 or 2 of $home/disk.raw
	mke2fs -q -t ext4 -d "$2" "$home/fs" 8M >/dev/null && dd if="$home/fs" of="$home/disk.raw" bs=1M seek=$((1 + ($1 - 1) * 8)) \
		conv=notrunc status=none
	rm -f "$home/fs"
}
disk() { # FOLDER...: one partition each
	rm -f "$home/disk.raw"
	truncate -s 20M "$home/disk.raw"
	printf 'label: gpt\nstart=2048, size=16384, type=linux, uuid=AAAAAAAA-BBBB-CCCC-DDDD-0123456789AB\nstart=18432, size=16384, type=linux\n' |
		sfdisk -q "$home/disk.raw"
	partition 1 "$1"
	[ $# = 1 ] || partition 2 "$2"
}
takes() { # FILE VERSION: that kernel and initrd, and the root of partition 1
	local image=$DROVER_IMAGE_CACHE/it
	"$drover" image rm it >/dev/null 2>&1
	"$drover" image import -q "$1" --name it || return 1
	[ "$(cat "$image/vmlinuz" "$image/initrd.img")" = "kernel $2
initrd $2" ] || { echo "other files"; cat "$image"/{vmlinuz,initrd.img}; return 1; }
	grep -q '"cmdline":"root=PARTUUID=aaaaaaaa-bbbb-cccc-dddd-0123456789ab ' "$image/image.json" || { cat "$image/image.json"; return 1; }
	[ ! -e "$image/disk.tmp" ]
}
takes_none() {
	"$drover" image rm it >/dev/null 2>&1
	"$drover" image import -q "$home/disk.raw" --name it && [ ! -e "$DROVER_IMAGE_CACHE/it/vmlinuz" ] &&
		! grep kernel "$DROVER_IMAGE_CACHE/it/image.json"
}
kernel() { # FOLDER VERSION
	mkdir -p "$1"
	echo "kernel $2" >"$1/vmlinuz-$2"
	echo "initrd $2" >"$1/initrd.img-$2"
}

root=$home/root
mkdir -p "$root/etc" "$home/bare/etc"
echo ID=debian >"$root/etc/os-release"
echo ID=debian >"$home/bare/etc/os-release"
kernel "$root/boot" 6.1.0-9-amd64
kernel "$root/boot" 6.1.0-10-amd64
echo kernel >"$root/boot/vmlinuz-6.1.0-11-amd64" # without an initial file system
disk "$root"
ok "Debian: the newest kernel that has an initial file system" takes "$home/disk.raw" 6.1.0-10-amd64
qemu-img convert -O qcow2 "$home/disk.raw" "$home/disk.qcow2"
ok "the same as qcow2" takes "$home/disk.qcow2" 6.1.0-10-amd64
kernel "$home/boot" 6.8.0-60-generic
disk "$home/bare" "$home/boot"
ok "Ubuntu: from a partition of its own, the root is the other" takes "$home/disk.raw" 6.8.0-60-generic
kernel "$home/arm/boot" 6.1.0-9-cloud-arm64
kernel "$home/arm/boot" 6.1.0-10-cloud-arm64
mkdir "$home/arm/etc" && echo ID=debian >"$home/arm/etc/os-release"
disk "$home/arm"
ok "kernels named as on arm64 are found, and ordered, likewise" takes "$home/disk.raw" 6.1.0-10-cloud-arm64
disk "$home/bare"
ok "a disk without a kernel is for firmware" takes_none
disk "$root"
printf '\001' | dd of="$home/disk.raw" bs=1 seek=1064 conv=notrunc status=none
ok "a table whose checksum is wrong is for firmware" takes_none
disk "$root"
dd if=/dev/urandom of="$home/disk.raw" bs=1M seek=1 count=8 conv=notrunc status=none
ok "a file system of noise is for firmware" takes_none
dd if=/dev/urandom of="$home/disk.raw" bs=1M count=20 status=none
ok "a disk of noise is for firmware" takes_none
done_testing
