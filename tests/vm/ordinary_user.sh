#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# The main job without root. As root it becomes nobody-in-particular first: an unused uid, and a /dev/net/tun that all may
# open, as udev makes it, in a mount namespace of this test.
cd "$(dirname "$0")" && . ./lib.sh

if [ "$(id -u)" -eq 0 ] && [ -z "${DROVER_TEST_INSIDE:-}" ]; then
	"$DROVER" image build tiny >/dev/null 2>&1
	mknod -m 0666 "$home/tun" c 10 200
	cp ../tap.sh "$home/"
	stage "$home"
	cp lib.sh ordinary_user.sh "$home/bin/"
	unshare -m bash -c '
		mount --bind "$1/tun" /dev/net/tun
		cd "$1/bin" && shift
		exec setpriv --reuid 64321 --regid 64321 --clear-groups env DROVER_TEST_INSIDE=1 "$@" \
			bash ./ordinary_user.sh' _ "$home" "${staged[@]}"
	exit
fi

ok "this is not root" test "$(id -u)" -ne 0
ok "two members boot" "$DROVER" up u -n 2 --image tiny
ok "a command runs" "$DROVER" exec u-1 -- true
ok "one reaches the other by name" "$DROVER" exec u-1 -- ping -c 1 -W 10 u-2
ok "rm removes them" "$DROVER" rm -f u
ok "nothing is left" nothing_left
done_testing
