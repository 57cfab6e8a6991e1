#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Bad input: a clear error each, and nothing left behind.
cd "$(dirname "$0")" && . ./lib.sh

long=$(printf 'a%.0s' {1..64})
mkdir "$home/bin" # a PATH with everything but QEMU
ln -s "$(command -v slirp4netns)" "$(command -v qemu-img)" "$home/bin/"
echo garbage >"$home/broken.qcow2"

# A command as an ordinary user of a host without user namespaces: such a host is a user namespace that allows no more.
without_namespaces() {
	local pid
	stage "$home/host"
	mkfifo "$home/in" "$home/out"
	unshare -U --keep-caps bash -c 'echo; read -r _; echo 0 >/proc/sys/user/max_user_namespaces
		exec setpriv --reuid 64321 --regid 64321 --clear-groups env "$@"' \
		_ "${staged[@]}" DROVER_HOME="$home/host/h" "$@" <"$home/in" >"$home/out" &
	pid=$!
	exec 5>"$home/in" 6<"$home/out"
	rm "$home/in" "$home/out"
	read -r _ <&6
	echo "0 0 65536" >"/proc/$pid/uid_map"
	echo "0 0 65536" >"/proc/$pid/gid_map"
	echo >&5
	exec 5>&-
	cat <&6
	exec 6<&-
	wait "$pid"
}
# A command with a home of so many bytes.
in_small_home() { # SIZE COMMAND...
	local size=$1
	shift
	mkdir -p "$home/small"
	unshare -m bash -c 'mount -t tmpfs -o size="$1" small "$2/small" && shift && DROVER_HOME=$1/small && shift &&
		export DROVER_HOME && "$@" 2>&1 >/dev/null; rc=$?
		"$DROVER" ls 2>&1; "$DROVER" rm -f --all >/dev/null 2>&1; exit $rc' _ "$size" "$home" "$@" >&2
}

guest_fills_disk() {
	local said rc=0
	said=$(in_small_home 60m bash -c '"$DROVER" up x --image debian-12 --cpus 1 && ! "$DROVER" exec x -- sudo dd if=/dev/urandom of=/big bs=1M count=80 oflag=direct' 2>&1) || rc=$?
	echo "$said"
	[ "$rc" -eq 0 ] && grep -q '^x .*error' <<<"$said" &&
		grep -q '^drover: x: .*the file system that holds .*/small/clusters/x/x/disk.qcow2 is full' <<<"$said"
}

# The store fills up while a member is stopped.
start_in_full_store() {
	in_small_home 16m bash -c '"$DROVER" up -q x --image tiny --mem 256M --cpus 1 && "$DROVER" down x || exit 1
		dd if=/dev/zero of="$DROVER_HOME/fill" bs=4k 2>/dev/null
		said=$("$DROVER" up -q x 2>&1) && exit 1
		rm "$DROVER_HOME/fill"
		grep -Eq "$DROVER_HOME/.*(No space left|is full)" <<<"$said" || { echo "$said"; exit 1; }
		"$DROVER" up -q x'
}

fails "an unknown image is named, with those there are" 1 "no-such.*debian-12" "$DROVER" up x --image no-such
fails "a name with a slash is refused" 2 "invalid name 'a/b'" "$DROVER" up a/b --image tiny
fails "a name of 64 characters is refused" 2 "invalid name 'aaaa.*1 to 63" "$DROVER" up "$long" --image tiny
fails "a corrupt image file is named" 1 "broken.qcow2" "$DROVER" up x --image "$home/broken.qcow2"
fails "a missing image file is named" 1 "absent.qcow2" "$DROVER" up x --image "$home/absent.qcow2"
fails "a missing QEMU is named, with the package" 1 "qemu-system-x86" \
	env PATH="$home/bin" "$(command -v env)" "$DROVER" up x --image tiny
fails "an unknown option is a usage error" 2 "frobnicate" "$DROVER" up x --frobnicate
fails "exec in a member that is not there" 1 "nobody" "$DROVER" exec nobody -- true
ok "image tiny is built or there" "$DROVER" image build tiny
if [ "$(id -u)" -eq 0 ]; then
	fails "a host without user namespaces is told how to allow them" 1 "sysctl -w user.max_user_namespaces" \
		without_namespaces "$home/host/bin/drover" up x --image tiny --backend qemu
fi
ok "image debian-12 is built or there" "$DROVER" image build debian-12
fails "a disk too full for a member's disk is told" 1 "[Nn]o space left.*/small" \
	in_small_home 64k "$DROVER" up x --image debian-12
ok "a disk that the guest fills is told with its file, and the member is in error" guest_fills_disk
ok "a store that is full when a member starts is told with a file, and it starts when there is room" start_in_full_store
ok "no member is left" bash -c '[ -z "$("$DROVER" ls -q)" ]'
ok "nothing is left" nothing_left
done_testing
