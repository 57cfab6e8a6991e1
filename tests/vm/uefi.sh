#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Disks that are started by firmware: which one, by what is on the disk or by option, and what is refused.
cd "$(dirname "$0")" && . ./lib.sh

catalogue=$DROVER_IMAGE_CACHE
ok "image tiny is built or there" "$DROVER" image build tiny
export DROVER_IMAGE_CACHE=$home/images
./uefi_disk.sh "$catalogue/tiny" "$home/uefi.raw"
qemu-img convert -O qcow2 "$home/uefi.raw" "$home/uefi.qcow2"

# The guest is tiny's, which takes its keys as credentials and knows no cloud-init.
import() {
	"$DROVER" image import "$home/uefi.qcow2" --name uefi-only &&
		sed -i 's/"provision": *"cloud-init"/"provision":"credentials"/; s/"user": *"drover"/"user":"root"/' \
			"$home/images/uefi-only/image.json"
}
firmware_is() { grep -q "\"firmware\": \"$2\"" "$home/clusters/$1/$1/config.json"; }
runs_uefi() { "$DROVER" exec "$1" -- grep -q 'by=uefi' /proc/cmdline; }

ok "a disk with nothing for a BIOS is imported" import
ok "a member of it boots" "$DROVER" up e --image uefi-only --mem 512M --cpus 1
ok "by UEFI, as its configuration says" firmware_is e uefi
ok "and by the disk's own boot loader" runs_uefi e
ok "it keeps variables" test -s "$home/clusters/e/e/efi.qcow2"
ok "it is removed" "$DROVER" rm -f e

fails "a disk without boot loader is not left to firmware" 1 "tiny has no disk that firmware could start" \
	env DROVER_IMAGE_CACHE="$catalogue" "$DROVER" up f --image tiny --firmware uefi
ok "nothing is left" nothing_left
done_testing
