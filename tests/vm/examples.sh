#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# The examples of README.md and of the pages in man/, each line as it stands there, with tiny where no image is named.
cd "$(dirname "$0")" && . ./lib.sh
pages=$(realpath ../../man)
readme=$(realpath ../../README.md)
mkdir -p "$home/bin" "$home/user" && cd "$home/user" || exit 1

# What the examples take for granted: a tree that was built, tests, a kernel, somebody else's host.
cat >"$home/bin/drover" <<'EOF'
#!/bin/bash
case $1 in
up | run)
	[[ " $* " == *" --image "* ]] || set -- "$1" --image tiny "${@:2}"
	set -- "$1" --cpus 1 "${@:2}" # which boots in three quarters of the time
	;;
esac
exec "$DROVER" "$@"
EOF
printf '#!/bin/sh\nshift\nDROVER_HOME=%s/ci exec "$@"\n' "$home" >"$home/bin/ssh-ci"
printf '#!/bin/sh\n[ "$1" = bzImage ]\n' >"$home/bin/make"
chmod +x "$home/bin/"*
export PATH=$home/bin:$PATH
mkdir -p build arch/x86/boot
echo server >build/server
echo text >x
printf '#!/bin/sh\n[ "$DROVER_MEMBER_COUNT" -gt 0 ]\n' >my-test
echo 'drover exec web-1 -- touch /run/one' >test-one
echo 'drover exec web-1 -- test ! -e /run/one' >test-two
chmod +x my-test
ok "image tiny is there" "$DROVER" image build tiny
cp "$DROVER_IMAGE_CACHE/tiny/vmlinuz" arch/x86/boot/bzImage

serve() { for m in $("$DROVER" ls -q web); do "$DROVER" exec "$m" -- sh -c 'pidof httpd >/dev/null || httpd -h /' || return 1; done; }
three() { drover up -q web -n 3 >/dev/null && serve; }

# What has to be so before a line, and after it.
declare -A before=(
	["drover wait web-1 --console 'login: \$'"]="drover exec web-1 -- sh -c 'printf \"\nlogin: \n\" >/dev/console'"
	["drover wait web-1 -c 'systemctl is-active --quiet nginx' -t 60"]="drover exec web-1 -- sh -c 'printf \"#!/bin/sh\n\" >/bin/systemctl && chmod +x /bin/systemctl'"
	["drover restart web-1 --mem 4G"]="drover snapshot rm web clean 2>/dev/null || true"
	["drover cp web-1:/tmp/results results"]="drover exec web-1 -- sh -c 'mkdir -p /tmp/results && echo 1 >/tmp/results/one'"
	["drover cp web-1:/etc/hostname ."]="drover exec web-1 -- sh -c 'hostname >/etc/hostname'"
	["drover wait web-2 --state stopped"]="drover down web-2"
	["drover up web --kernel arch/x86/boot/bzImage --append \"slub_debug=FZ\""]="drover down web"
)
declare -A after=(
	["drover wait web-2 --state stopped"]="drover up -q web-2 && serve"
	["drover snapshot export web - | ssh ci drover snapshot import - web"]="DROVER_HOME=$home/ci drover exec web-1 -- true && DROVER_HOME=$home/ci drover rm -f web"
	["drover exec try-4-1 -- ping -c1 web-2"]="drover rm -f try-1 try-2 try-3 try-4"
	["drover fork web:clean fresh"]="drover rm -f fresh"
	["drover cp web-1:/tmp/results results"]="test -s results/one"
	["drover cp web-1:/etc/hostname ."]="grep -qx web-1 hostname"
	["drover timeline web -o boot.svg"]="grep -q '<svg' boot.svg"
	["drover up web --kernel arch/x86/boot/bzImage --append \"slub_debug=FZ\""]="drover exec web-1 -- grep -q slub_debug=FZ /proc/cmdline"
	["drover restart web-1 --mem 4G"]="drover exec web-1 -- awk '/MemTotal/ { exit !(\$2 > 3500000) }' /proc/meminfo"
)

# one LINE: the line, between what belongs to it; what it is to be run with in the place of a program follows it
one() {
	local line=$1
	eval "${before[$line]:-true}" || { echo "before it"; return 1; }
	eval "${line/| ssh ci /| ssh-ci ci }" </dev/null || return 1
	eval "${after[$line]:-true}" || { echo "after it"; return 1; }
}
# forward LINE: until it is ended
forward() {
	local there held=1
	exec 3< <(exec ${1/ 8080:/ 0:})
	there=$!
	read -r line <&3 && curl -s -o /dev/null "http://${line%% *}/" && held=0
	kill "$there"
	exec 3<&-
	return $held
}
# The lines of a page's examples, or of the README's, without what is said of them.
examples() {
	sed -n -e '/^# EXAMPLES/,/^# [^E]/{/^```/,/^```/{/^```/!p}}' -e 's/^\$ \(drover [^#]*[^# ]\)\( *#.*\)\?$/\1/p' "$1"
}

for page in README cp exec ls net timeline wait forward snapshot fork restart down image up run drover; do
	file=$pages/drover-$page.1.scd
	[ "$page" != drover ] || file=$pages/drover.1.scd
	[ "$page" != README ] || file=$readme
	[ "$(examples "$file" | wc -l)" -gt 0 ] || ok "$page has examples" false
	ok "three machines for the examples of $page" three
	while read -r line <&4; do
		case $line in
		*example.org* | *"--image mine") tap_skip "$page: $line" "no such image; tests/vm/stock.sh imports one" ;;
		*" tcpdump "*) tap_skip "$page: $line" "it has no end" ;;
		"drover net exec web -- ping"*)
			if command -v ping >/dev/null; then ok "$page: $line" one "$line"; else tap_skip "$page: $line" "no ping here"; fi ;;
		"drover rm web") ok "$page: $line" one "$line -f" ;; # nobody is there to say yes
		"drover forward"*) ok "$page: $line" forward "$line" ;;
		*) ok "$page: $line" one "$line" ;;
		esac
	done 4< <(examples "$file")
done
with_examples=$(grep -l '^# EXAMPLES' "$pages"/*.scd | wc -l)
ok "no page's examples were left out" [ "$with_examples" = 15 ]
points_first() {
	three && "$DROVER" snapshot save web kept || return 1
	! "$DROVER" restart web-1 --mem 1G -q 2>said || { echo "it was restarted"; return 1; }
	grep -qx "drover: member web-1 keeps its sizes while its cluster has points" said &&
		grep -qx "hint: the points are listed by 'drover snapshot ls web' and forgotten by 'drover snapshot rm web POINT'" said || { cat said; return 1; }
	[ "$("$DROVER" ls --json web-1 | jq -r '.[].state')" = running ]
}
ok "a restart with other sizes is refused before the member is stopped, when there are points" points_first
ok "rm" "$DROVER" rm -f --all
ok "nothing is left" nothing_left
done_testing
