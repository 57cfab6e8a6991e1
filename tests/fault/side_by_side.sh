#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# What a start does at once. The programs that it runs are there as ever, but each waits for the other to have been started
# (opening a fifo waits for who opens its other end), so a start that runs one after the other fails. QEMU's place has a
# program that ends: no guest is needed.
#   side_by_side.sh DROVER HELPER
. "$(dirname "$0")/lib.sh"
export PATH=$PATH:/usr/sbin:/sbin DROVER_IMAGE_CACHE=$scratch/images

for program in dnsmasq slirp4netns qemu-img; do
	command -v "$program" >/dev/null && continue
	echo "1..0 # SKIP no $program"
	exit 0
done
mkdir -p "$scratch/bin" "$DROVER_IMAGE_CACHE/bare"
mkfifo "$scratch/both"
cat >"$DROVER_IMAGE_CACHE/bare/image.json" <<'END'
{"name": "bare", "disk": null, "disk_format": "qcow2", "kernel": "vmlinuz", "initrd": "initrd.img", "cmdline": "",
"user": "root", "provision": "credentials", "memory_mb": 64, "recipe": 1, "description": "nothing that boots"}
END
echo "no kernel" | tee "$DROVER_IMAGE_CACHE"/bare/vmlinuz >"$DROVER_IMAGE_CACHE"/bare/initrd.img
program() { # NAME, its script on stdin
	{ echo "#!/bin/sh"; cat; } >"$scratch/bin/$1"
	chmod +x "$scratch/bin/$1"
}
program dnsmasq <<END
: <"$scratch/both"
exec $(command -v dnsmasq) "\$@"
END
program qemu-img <<END
: >"$scratch/both"
exec $(command -v qemu-img) "\$@"
END
program qemu-system-x86_64 <<END
echo this is no QEMU
exit 3
END

# The start gets as far as QEMU.
comes_to_qemu() {
	local said
	said=$(PATH=$scratch/bin:$PATH timeout $patience "$drover" up a --image bare 2>&1)
	echo "$said"
	grep -q 'exit status 3: this is no QEMU' <<<"$said"
}
ok "the files of a member are made while the network is" comes_to_qemu
ok "nothing is left" nothing_left

# The network fails while the files are made.
program dnsmasq <<END
: <"$scratch/both"
exit 1
END
fails_by_network() {
	local said
	said=$(PATH=$scratch/bin:$PATH timeout $patience "$drover" up a --image bare 2>&1)
	echo "$said"
	grep -q 'dnsmasq does not start' <<<"$said" && ! "$drover" ls a 2>/dev/null && [ ! -e "$DROVER_HOME/clusters/a/a/points.qcow2" ]
}
ok "a network that fails meanwhile takes them back" fails_by_network
ok "nothing is left of that" nothing_left
done_testing
