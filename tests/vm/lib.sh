# SPDX-License-Identifier: MIT
# What every script of this folder uses: TAP, a home of its own, and the proof that nothing is left.
# shellcheck shell=bash

. ../tap.sh
home=$(mktemp -d /tmp/drover-vm.XXXXXX)
export DROVER_HOME=$home
export DROVER_IMAGE_CACHE=${DROVER_IMAGE_CACHE:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/drover/images}
DROVER=${DROVER:?the command under test}

# fails CLAIM STATUS PATTERN COMMAND...: exit status and a line on stderr are both as said.
fails() {
	local claim=$1 status=$2 pattern=$3 err rc held=1
	shift 3
	err=$("$@" 2>&1 >/dev/null </dev/null)
	rc=$?
	[ "$rc" -eq "$status" ] && grep -Eq -- "$pattern" <<<"$err" && held=0
	tap_result "$held" "$claim" || echo "# exit $rc instead of $status, or no /$pattern/ in: $err"
}

# documented COMMAND ARGS...: it succeeds, and every field of its JSON stands in its page.
documented() { "$DROVER" "$@" >"$home/documented" && ../documented.py "../../man/drover-$1.1.scd" <"$home/documented"; }

# Processes that have this home in their command line, this script and its children aside, or were started by one of its
# helpers.
processes() {
	local p pid
	for p in /proc/[0-9]*; do
		pid=${p#/proc/}
		[ "$pid" = $$ ] || [ "$pid" = "$BASHPID" ] && continue
		grep -qs -- "$home" "$p/cmdline" || grep -qsz "^DROVER_OWNER=.* $home\$" "$p/environ" || continue
		echo "$pid $(tr '\0' ' ' <"$p/cmdline")"
	done
	return 0
}

# Every helper, VM, DHCP server and way out of this home is gone, and so are sockets and pidfiles. Ends are waited for;
# a supervisor, which sweeps last, is known by its pidfile.
nothing_left() {
	local rest
	# shellcheck disable=SC2046
	ended $(processes | cut -d' ' -f1; grep -hs . "$home"/clusters/*/*/pid) # which have no newline at their end
	rest=$(processes; find "$home/run" "$home/clusters" \( -type s -o -name pid -o -name owner \) 2>/dev/null)
	[ -z "$rest" ] || { echo "left: $rest"; return 1; }
}

# A command on a host of which little memory is left: 40 MB.
with_little_memory() {
	sed 's/^MemAvailable:.*/MemAvailable:     40960 kB/' /proc/meminfo >"$home/meminfo"
	unshare -m sh -c 'mount --bind "$1" /proc/meminfo && shift && exec "$@"' _ "$home/meminfo" "$@"
}

# stage DIR [IMAGE]: the programs and the image (tiny) where an ordinary user reaches them, whoever may read the tree that is tested;
# $staged has what env then needs to run them.
stage() {
	mkdir -p "$1/bin" "$1/cache"
	cp -r "$DROVER_IMAGE_CACHE/${2:-tiny}" "$1/cache/"
	cp -r "$(dirname "$(dirname "$DROVER")")"/client/*.so* "$1/bin/" 2>/dev/null
	cp "$DROVER" "$DROVER_HELPER" "$1/bin/"
	chown -R 64321:64321 "$1"
	chmod 755 "$home" "$1"
	staged=(HOME="$1" LD_LIBRARY_PATH="$1/bin" DROVER_IMAGE_CACHE="$1/cache" DROVER="$1/bin/drover"
		DROVER_HELPER="$1/bin/drover-helper")
}

# without_root IMAGE [COMMAND]: runs this script, when it is root's, as nobody-in-particular instead: an unused uid, and a
# /dev/net/tun that all may open, as udev makes it, in a mount namespace of this test. Before that COMMAND, as root.
without_root() {
	[ "$(id -u)" -eq 0 ] && [ -z "${DROVER_TEST_INSIDE:-}" ] || return 0
	"$DROVER" image build "$1" >/dev/null 2>&1
	mknod -m 0666 "$home/tun" c 10 200
	cp ../tap.sh "$home/"
	stage "$home" "$1"
	cp lib.sh "$(basename "$0")" "$home/bin/"
	${2:-}
	unshare -m bash -c '
		mount --bind "$1/tun" /dev/net/tun
		cd "$1/bin" && script=$2 && shift 2
		exec setpriv --reuid 64321 --regid 64321 --clear-groups env DROVER_TEST_INSIDE=1 "$@" \
			bash "./$script"' _ "$home" "$(basename "$0")" "${staged[@]}"
	exit
}

finish() {
	local pid
	for pid in $(processes | cut -d' ' -f1); do
		kill -9 "$pid" 2>/dev/null
	done
	rm -rf "$home"
}
trap finish EXIT
