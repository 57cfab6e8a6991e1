#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Bad input: a clear error each, and nothing left behind.
cd "$(dirname "$0")" && . ./lib.sh

long=$(printf 'a%.0s' {1..64})
mkdir "$home/bin" # a PATH with everything but QEMU
ln -s "$(command -v slirp4netns)" "$(command -v qemu-img)" "$home/bin/"
echo garbage >"$home/broken.qcow2"

fails "an unknown image is named, with those there are" 1 "no-such.*debian-12" "$DROVER" up x --image no-such
fails "a name with a slash is refused" 2 "invalid name 'a/b'" "$DROVER" up a/b --image tiny
fails "a name of 64 characters is refused" 2 "invalid name 'aaaa.*1 to 63" "$DROVER" up "$long" --image tiny
fails "a corrupt image file is named" 1 "broken.qcow2" "$DROVER" up x --image "$home/broken.qcow2"
fails "a missing image file is named" 1 "absent.qcow2" "$DROVER" up x --image "$home/absent.qcow2"
fails "a missing QEMU is named, with the package" 1 "qemu-system-x86" \
	env PATH="$home/bin" "$(command -v env)" "$DROVER" up x --image tiny
fails "an unknown option is a usage error" 2 "frobnicate" "$DROVER" up x --frobnicate
fails "exec in a member that is not there" 1 "nobody" "$DROVER" exec nobody -- true
ok "no member is left" bash -c '[ -z "$("$DROVER" ls -q)" ]'
ok "nothing is left" nothing_left
done_testing
