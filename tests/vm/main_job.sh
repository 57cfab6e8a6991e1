#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# The main job: two Debian machines boot side by side, see each other by name, run commands, and are gone.
cd "$(dirname "$0")" && . ./lib.sh

fetches() {
	"$DROVER" exec web-2 -- sh -c 'seq 1 20000 > /tmp/data; nohup nc -l -N -p 8080 < /tmp/data >/dev/null 2>&1 & while ! ss -ltn | grep -q :8080; do :; done' &&
		out_is "$(seq 1 20000 | sha256sum)" "$DROVER" exec web-1 -- sh -c 'nc -d web-2 8080 | sha256sum'
}
# Less than OpenSSH's window, far more than the connection takes while the guest stands still: all of it arrives, and its end.
outruns_a_paused_guest() {
	local line in
	coproc COUNT { exec "$DROVER" exec web-1 -- sh -c 'echo ready; exec wc -c'; }
	exec {in}>&"${COUNT[1]}" && eval "exec ${COUNT[1]}>&-"
	read -r -t $patience line <&"${COUNT[0]}" && [ "$line" = ready ] && "$DROVER" pause web-1 || return 1
	head -c 300000 /dev/zero >&"$in" &
	exec {in}>&-
	"$DROVER" resume web-1 && read -r -t $patience line <&"${COUNT[0]}" && [ "$line" = 300000 ]
}

ok "image debian-12 is built or there" "$DROVER" image build debian-12
ok "two members boot" "$DROVER" up web -n 2 --cpus 1 --mem 512
ok "ls names both, running" out_is $'web-1\nweb-2' "$DROVER" ls -q
ok "a command runs in web-1" out_is web-1 "$DROVER" exec web-1 -- hostname
ok "a command runs in web-2" out_is web-2 "$DROVER" exec web-2 -- hostname
ok "the guest is a Debian 12" "$DROVER" exec web-1 -- grep -q bookworm /etc/os-release
ok "web-1 reaches web-2 by name" "$DROVER" exec web-1 -- ping -c 1 -W 10 web-2
ok "web-2 reaches web-1 by name" "$DROVER" exec web-2 -- ping -c 1 -W 10 web-1
ok "a file comes over TCP from one to the other, whole" fetches
fails "the exit status is passed on" 7 '^$' "$DROVER" exec web-1 -- sh -c 'exit 7'
fails "stderr stays stderr" 0 '^oops$' "$DROVER" exec web-1 -- sh -c 'echo oops >&2'
ok "stdin is passed in" bash -c '[ "$(echo hello | "$DROVER" exec web-1 -- cat)" = hello ]'
ok "input that a paused guest cannot take arrives when it goes on" outruns_a_paused_guest
ok "ssh with strict host keys logs in" out_is drover "$DROVER" ssh web-1 -- id -un
ok "the user has sudo" out_is 0 "$DROVER" exec web-1 -- sudo id -u
ok "the serial log has the kernel's lines" bash -c '"$DROVER" logs web-1 | grep -q .'
fails "a second up of a running member says so and succeeds" 0 '' "$DROVER" up web-1
ok "down stops both" "$DROVER" down web
ok "nothing runs" nothing_left
ok "rm removes both" "$DROVER" rm -f web
ok "no member is left" out_is "" "$DROVER" ls -q
ok "the README's example says who runs" \
	bash -c '"${DROVER_EXAMPLE:?}" | tee /dev/stderr | grep -c "^hello-[12]: Linux hello-[12] " | grep -qx 2'
ok "nothing is left of the example" nothing_left
done_testing
