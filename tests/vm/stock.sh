#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# An image that we did not build: from a URL, started by its own boot loader, set up by its own cloud-init.
cd "$(dirname "$0")" && . ./lib.sh

catalogue=$DROVER_IMAGE_CACHE
export DROVER_IMAGE_CACHE=$home/images # a cache of this test's own
http=

serve() { # the port of a server on loopback for $home/www, in the file $home/port
	python3 -c '
import functools, http.server, sys
handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=sys.argv[1])
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
print(server.server_address[1], flush=True)
server.serve_forever()' "$home/www" >"$home/port" 2>/dev/null &
	http=$!
	line_comes "$home/port" . "$http"
}
is_without_way_out() { ! "$DROVER" exec s-1 -- curl -sS -m 5 http://192.0.2.1 2>&1 | grep -v 'unreachable\|timed out\|Connection timeout'; }
end_server() { kill "$http"; wait "$http" 2>/dev/null; true; }

ok "the image debian-12-cloudinit is built or there" \
	env DROVER_IMAGE_CACHE="$catalogue" "$DROVER" image build debian-12-cloudinit
mkdir "$home/www" && ./stock_disk.sh "$catalogue/debian-12-cloudinit" "$home/www/stock.raw"
serve
url=http://127.0.0.1:$(cat "$home/port")/stock.raw

ok "a member boots from a URL, by its boot loader" "$DROVER" up s-1 --image "$url" --cpus 1 --no-egress
end_server
ok "cloud-init has set the host name" out_is s-1 "$DROVER" exec s-1 -- hostname
ok "cloud-init is content" out_is "status: done" "$DROVER" exec s-1 -- sh -c 'cloud-init status --wait >/dev/null; cloud-init status'
ok "timeline tells when cloud-init ran" bash -c '"$DROVER" timeline s-1 --json | grep -q "\"cloud-init\""'
ok "the user is drover, with sudo" out_is 0 "$DROVER" exec s-1 -- sudo id -u
ok "the kernel is the disk's" bash -c '"$DROVER" exec s-1 -- cat /proc/cmdline | grep -q BOOT_IMAGE=/vmlinuz'
ok "the disk has the size that is the default" out_is $((10 << 30)) \
	"$DROVER" exec s-1 -- sh -c 'echo $(($(cat /sys/block/vda/size) * 512))'
ok "without egress there is no way out" is_without_way_out
ok "ssh with strict host keys logs in" out_is drover "$DROVER" ssh s-1 -- id -un
ok "the image is listed as downloaded, and takes the room of its data alone" \
	bash -c '[ "$(du -sm "$DROVER_IMAGE_CACHE" | cut -f1)" -lt 1000 ] && "$DROVER" image ls | grep -q "^stock.raw-.*downloaded"'
name=$("$DROVER" image ls -q | grep stock)
fails "an image in use is not removed, its user is named" 1 "in use by member s-1" "$DROVER" image rm "$name"
ok "down" "$DROVER" down s-1
ok "the stopped member starts again without the server" "$DROVER" up s-1
ok "without a way out still, the option not given" is_without_way_out
ok "rm" "$DROVER" rm -f s-1
ok "the image goes when nobody uses it" "$DROVER" image rm "$name"
fails "a server that is gone is named" 1 "$url" "$DROVER" up s-1 --image "$url"
ok "a file is imported under a name" "$DROVER" image import "$home/www/stock.raw" --name mine
ok "an imported image is listed" bash -c '"$DROVER" image ls | grep -q "^mine .*imported"'
fails "another digest than the one given is refused" 1 "SHA-256" \
	"$DROVER" image import "$home/www/stock.raw" --name other --sha256 "$(printf '0%.0s' {1..64})"
ok "no half of it stays" bash -c '[ -z "$(ls -A "$DROVER_IMAGE_CACHE" | grep tmp)" ]'

# boots_by_its_kernel LAYOUT FORMAT: a disk as a vendor lays it out, without a boot loader
boots_by_its_kernel() {
	ok "$1: an image with kernels is imported as $2" "$DROVER" image import "$home/kernel.$2" --name "$1"
	ok "$1: the newest of them is taken" \
		cmp "$DROVER_IMAGE_CACHE/$1/vmlinuz" "$catalogue/debian-12-cloudinit/vmlinuz"
	ok "$1: a member boots by it" "$DROVER" up s-2 --image "$1" --cpus 1
	ok "$1: the command line names its root by partition UUID" \
		bash -c '"$DROVER" exec s-2 -- cat /proc/cmdline | grep -q ^root=PARTUUID='
	ok "$1: and that is its root" out_is /dev/vda1 "$DROVER" exec s-2 -- findmnt -no SOURCE /
	ok "$1: its host name is from the seed" out_is s-2 "$DROVER" exec s-2 -- hostname
	ok "$1: rm of it" "$DROVER" rm -f s-2
}
./stock_kernel_disk.sh "$catalogue/debian-12-cloudinit" "$home/kernel.raw" debian
boots_by_its_kernel debian raw
./stock_kernel_disk.sh "$catalogue/debian-12-cloudinit" "$home/ubuntu.raw" ubuntu
qemu-img convert -O qcow2 "$home/ubuntu.raw" "$home/kernel.qcow2" && rm "$home/ubuntu.raw"
boots_by_its_kernel ubuntu qcow2
ok "nothing is left" nothing_left
done_testing
