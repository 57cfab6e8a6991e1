/* SPDX-License-Identifier: MIT */
#include "check.h"

#include "base/procid.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/wait.h>

static void a_process_is_itself_alone(void **state)
{
	struct procid id;

	assert_int_equal(procid_of(getpid(), &id), 0);
	assert_true(procid_is_alive(&id));
	id.start_ticks++;
	assert_false(procid_is_alive(&id));
}

static void a_zombie_and_nobody_are_not_alive(void **state)
{
	struct procid id;
	uint64_t ticks;
	siginfo_t info;
	int go[2];
	char c;
	pid_t pid;

	assert_int_equal(pipe2(go, O_CLOEXEC), 0);
	pid = fork();
	if (pid == 0) {
		close(go[1]);
		_exit(read(go[0], &c, 1) < 0);
	}
	assert_int_equal(procid_of(pid, &id), 0);
	close(go[0]);
	close(go[1]);
	assert_int_equal(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT), 0);
	assert_false(procid_is_alive(&id));
	assert_int_equal(procid_start_ticks(pid, &ticks), -ESRCH);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	assert_false(procid_is_alive(&id));
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(a_process_is_itself_alone),
		TEST(a_zombie_and_nobody_are_not_alive),
	};

	return RUN_TESTS(tests);
}
