#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# debian_test.sh SOURCE: the Debian packages: source made, unpacked elsewhere, built there; installed, used and purged. They are
# installed into this machine's own system with an overlay above it, in a mount namespace: what dpkg does there is gone with the test.
source=$(realpath "${1:?the source tree}")
. "$(dirname "$0")/../tap.sh"
export LC_ALL=C.UTF-8
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
version=$(sed -n "s/^  version: '\(.*\)',/\1/p" "$source/meson.build")
packages="drover drover-helper libdrover-dev libdrover0"

for program in dpkg-buildpackage dh lintian; do
	command -v "$program" >/dev/null && continue
	tap_skip "the Debian packages" "no $program: run 'make setup'"
	done_testing
	exit
done

makes_source() {
	mkdir -p "$work/from/drover" && cd "$work/from" &&
		tar -C "$source" --exclude='./build*' --exclude=./.git -cf - . | tar -C drover -xf - &&
		dpkg-source --build drover
}
unpacks() { dpkg-source --extract "$work/from/drover_$version.dsc" "$work/drover"; }
is_whole() { diff -r --no-dereference --exclude=.gitignore "$work/from/drover" "$work/drover"; }
builds() { # source and binaries
	cd "$work/drover" && DEB_BUILD_OPTIONS="nocheck noautodbgsym parallel=2" DEB_BUILD_PROFILES=nocheck \
		dpkg-buildpackage --no-sign
}
made_all() {
	local p
	for p in $packages; do [ -s "$work/${p}_${version}_amd64.deb" ] || { echo "no $p $version"; return 1; }; done
	[ "$(find "$work" -maxdepth 1 -name '*.deb' | wc -l)" = 4 ] && [ -s "$work/drover_$version.dsc" ]
}
is_clean() { lintian --fail-on error,warning "$work"/drover_*.changes; }
# Runs "inside" in this system, where its changes are kept in memory and lost afterwards; then lists what is left of them,
# the notes of dpkg and ldconfig aside.
in_overlay() {
	unshare --mount sh -c 'mkdir "$1/over" && mount -t tmpfs drover "$1/over" && cd "$1/over" && mkdir up work root &&
		mount -t overlay -o lowerdir=/,upperdir=up,workdir=work drover root && mount --rbind /dev root/dev &&
		mount --rbind /proc root/proc && chroot root "$1/inside" "$1"
		cd up && find . -path ./tmp -prune -o -type f -print -o -type d -print | while read -r path; do
			[ -d "$path" ] && [ -d "/$path" ] && continue
			case $path in ./var/lib/dpkg/status* | ./var/lib/dpkg/lock* | ./var/lib/dpkg/triggers/* | \
				./var/log/dpkg.log | ./etc/ld.so.cache | ./var/cache/ldconfig/* | ./var/cache/man/*) continue ;; esac
			echo "left $path"
		done' sh "$work"
}

cat >"$work/inside" <<INSIDE
#!/bin/bash
# runs in the overlay, with the packages in \$1; prints one word for each thing that holds
cd "\$1" || exit 1
export DROVER_HOME=/tmp/drover-home LC_ALL=C.UTF-8
unset DROVER_HELPER DROVER_IMAGE_BUILD LD_LIBRARY_PATH
dpkg -i *.deb && echo installed
[ "\$(/usr/bin/drover --version)" = "drover $version" ] && echo version
cc -o hello /usr/share/doc/libdrover-dev/examples/hello.c \$(pkg-config --cflags --libs drover) &&
	ldd hello | grep -q 'libdrover.so.0 => /lib/x86_64-linux-gnu/' && echo compiled
drover up box --backend fake -q && drover ls -q | grep -qx box &&
	tr '\\0' ' ' </proc/\$(cat \$DROVER_HOME/clusters/box/box/pid)/cmdline | grep -q '^/usr/libexec/drover/drover-helper ' &&
	drover rm -f box && echo helper
drover image ls | grep -q '^tiny ' && echo images
for page in /usr/share/man/man1/drover*.1.gz; do gzip -t "\$page" || exit 1; done
[ -s /usr/share/bash-completion/completions/drover ] && [ -s /usr/share/zsh/vendor-completions/_drover ] &&
	[ -s /usr/share/fish/vendor_completions.d/drover.fish ] && echo completion
dpkg --purge $packages && echo purged
INSIDE
chmod +x "$work/inside"
holds() { grep -qx "$1" "$work/said" || { cat "$work/said"; return 1; }; }
leaves_nothing() { ! grep '^left ' "$work/said"; }

ok "a source package is made" makes_source
ok "it can be unpacked elsewhere" unpacks
ok "and is whole" is_whole
ok "dpkg-buildpackage builds there" builds
ok "it makes $packages and their source, of the project's version" made_all
ok "lintian has no error and no warning" is_clean
if [ "$(id -u)" -ne 0 ] || ! unshare --mount true 2>/dev/null; then
	tap_skip "the packages install, work, and leave nothing when purged" "needs root and mount namespaces"
	done_testing
	exit
fi
in_overlay >"$work/said" 2>&1
ok "the packages install" holds installed
ok "the installed drover says its version" holds version
ok "a C program is built with libdrover-dev and finds the library" holds compiled
ok "the installed library starts the installed helper" holds helper
ok "the installed image builder lists its images" holds images
ok "the shells find the completions" holds completion
ok "the packages can be purged" holds purged
ok "purge leaves nothing" leaves_nothing
done_testing
