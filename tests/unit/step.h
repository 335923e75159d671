/* SPDX-License-Identifier: MIT */
#ifndef TESTS_UNIT_STEP_H
#define TESTS_UNIT_STEP_H

/* Whether a process can be stopped after each of its instructions, in a time that anyone waits for. */

#include <stdbool.h>
#include <stdio.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#ifdef __SANITIZE_ADDRESS__
enum { MANY_INSTRUCTIONS = 1 };
#else
enum { MANY_INSTRUCTIONS = 0 };
#endif

/* Not under an emulator of user mode, and not everywhere. */
static bool can_trace(void)
{
	int status = 0;
	pid_t child = fork();

	if (!child)
		_exit(ptrace(PTRACE_TRACEME, 0, NULL, NULL) ? 1 : 0);
	return waitpid(child, &status, 0) == child && status == 0;
}

/* False: what was to be tested is said to be skipped. */
static bool can_step(const char *what)
{
	const char *why = MANY_INSTRUCTIONS ? "ten times the instructions with AddressSanitizer: minutes"
			  : can_trace()	    ? NULL
					    : "the kernel refuses ptrace()";

	if (why)
		printf("# SKIPPED %s: %s\n", what, why);
	return !why;
}

#endif
