/* SPDX-License-Identifier: MIT */
#include "check.h"

#include "base/kvm.h"

#include <errno.h>
#include <sys/wait.h>

static void no_child_is_left(void)
{
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
	assert_int_equal(errno, ECHILD);
}

static void what_is_asked_early_is_answered_as_what_is_waited_for(void **state)
{
	bool usable = kvm_is_usable();
	struct kvm_probe p = {0};

	kvm_probe_begin(&p);
	kvm_probe_begin(&p);
	assert_int_equal(kvm_probe_answer(&p), usable);
	assert_int_equal(kvm_probe_answer(&p), usable);
	kvm_probe_done(&p);
	no_child_is_left();
}

static void what_was_not_asked_is_asked_when_it_is_wanted(void **state)
{
	struct kvm_probe p = {0};

	assert_int_equal(kvm_probe_answer(&p), kvm_is_usable());
	no_child_is_left();
}

static void a_question_that_is_given_up_leaves_no_child(void **state)
{
	struct kvm_probe p = {0};

	kvm_probe_begin(&p);
	kvm_probe_done(&p);
	no_child_is_left();
	kvm_probe_done(&p);
	assert_false(kvm_probe_answer(&p));
}

/* It is the process that asked that has to go on meanwhile: where there is a device, the child is there when begin returns. */
static void asking_does_not_wait_for_the_answer(void **state)
{
	struct kvm_probe p = {0};

	if (access("/dev/kvm", R_OK | W_OK) < 0)
		skip_for("there is no /dev/kvm that may be used");
	kvm_probe_begin(&p);
	assert_int_equal(p.state, KVM_ASKED);
	kvm_probe_done(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(what_is_asked_early_is_answered_as_what_is_waited_for),
		TEST(what_was_not_asked_is_asked_when_it_is_wanted),
		TEST(a_question_that_is_given_up_leaves_no_child),
		TEST(asking_does_not_wait_for_the_answer),
	};

	return RUN_TESTS(tests);
}
