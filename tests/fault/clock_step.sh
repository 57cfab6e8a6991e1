#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# The wall clock is set, by years on and back, under a helper and a boot that waits: what has a deadline keeps it. A library
# that is loaded first plays the clock, as the host's own is everybody's. Over the fake backend.
#   clock_step.sh DROVER HELPER
. "$(dirname "$0")/lib.sh"

cat >"$scratch/clock.c" <<'END'
/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
/* The wall clock is off by as many seconds as $CLOCK_FILE is long. */
static long off(void)
{
	const char *path = getenv("CLOCK_FILE");
	int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	off_t n = fd < 0 ? 0 : lseek(fd, 0, SEEK_END);

	if (fd >= 0)
		close(fd);
	return n > 0 ? (long)n : 0;
}
int clock_gettime(clockid_t id, struct timespec *t)
{
	int r = (int)syscall(SYS_clock_gettime, id, t);

	if (r == 0 && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE))
		t->tv_sec += off();
	return r;
}
int gettimeofday(struct timeval *restrict t, void *restrict zone)
{
	struct timespec now;

	(void)zone;
	clock_gettime(CLOCK_REALTIME, &now);
	t->tv_sec = now.tv_sec;
	t->tv_usec = now.tv_nsec / 1000;
	return 0;
}
time_t time(time_t *ret)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	if (ret)
		*ret = now.tv_sec;
	return now.tv_sec;
}
END
# SECONDS: how far it is off from now on
off() { truncate -s "$1" "$CLOCK_FILE"; }
under() { LD_PRELOAD=$scratch/clock.so timeout $patience "$drover" "$@"; }
booting() { # waits until that is told
	: >"$scratch/events" # before somebody waits for what comes into it
	"$drover" events >>"$scratch/events" 2>&1 &
	local events=$!
	line_comes "$scratch/events" 'far-2 .*starting' "$events"
	local status=$?
	kill "$events"
	return "$status"
}
stepped() {
	local up then
	off 1G # some 34 years
	then=$(date -u -d "+$((1 << 30)) seconds" +%Y)
	DROVER_FAKE_BOOT_MS=2000 under up far -n 2 --backend fake --quiet >"$scratch/up" 2>&1 &
	up=$!
	booting || return 1
	off 2G
	wait "$up" || { cat "$scratch/up"; return 1; }
	grep "\"created_at\": \"$then-" "$DROVER_HOME/clusters/far/far-1/config.json" || return 1
	[ "$(under ls far | tee "$scratch/ls" | grep -c '^far-.*running')" -eq 2 ] || { cat "$scratch/ls"; return 1; }
	off 0
	[ "$(under ls far | tee "$scratch/ls" | grep -c '^far-.*running')" -eq 2 ] || { cat "$scratch/ls"; return 1; }
	"$drover" audit >/dev/null && under down far && under up far -n 2 --backend fake --quiet && under rm -f far
}
if command -v cc >/dev/null && cc -shared -fPIC -O1 -o "$scratch/clock.so" "$scratch/clock.c"; then
	export CLOCK_FILE=$scratch/clock
	ok "a wall clock that is set by years, on and back, ends no boot and no helper" stepped
	ok "nothing is left of that, or of its end" nothing_left
else
	n=$((n + 1))
	echo "ok $n - a wall clock that is set by years, on and back, ends no boot and no helper # SKIP no compiler"
fi

done_testing
