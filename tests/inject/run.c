/* SPDX-License-Identifier: MIT */
#include "run.h"

#include <fcntl.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

enum { SILENT = 99 }; /* exit code of a life that ended well, and said nothing */

/* False: it did not say what became of it. */
static bool read_line(int fd, struct outcome *out)
{
	FILE *from = fdopen(fd, "re");

	if (from && fgets(out->line, sizeof out->line, from))
		out->line[strcspn(out->line, "\n")] = 0;
	int said = sscanf(out->line, "pages %u lost %u stale %u added %u left %d failed %u undone %u",
			  &out->pages, &out->lost, &out->stale, &out->added, &out->left, &out->failed,
			  &out->undone);
	if (from)
		fclose(from);
	return said == 7;
}

/* strace ends as its program did, a signal included. */
static struct outcome run(char *const *arguments)
{
	struct outcome out = { .code = -1 };
	posix_spawn_file_actions_t actions;
	int ends[2], status;
	pid_t pid;

	if (pipe2(ends, O_CLOEXEC))
		return out;
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
	int rc = posix_spawn(&pid, arguments[0], &actions, NULL, arguments, environ);
	posix_spawn_file_actions_destroy(&actions);
	close(ends[1]);
	bool said = read_line(ends[0], &out);
	if (!rc && waitpid(pid, &status, 0) == pid)
		out.code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
	if (!out.code && !said)
		out.code = SILENT;
	return out;
}

static char *text(const char *constant)
{
	return (char *)(uintptr_t)constant; /* execve promises not to write */
}

struct outcome run_traced(const struct programs *p)
{
	char *arguments[] = { text(p->strace), "-f",	      "-y",	      "-X",
			      "raw",	       "-o",	      text(p->trace), "-e",
			      "trace=" TRACED, text(p->life), text(p->kind),  text(p->policy),
			      text(p->device), NULL };

	return run(arguments);
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* Up to the length, whatever numbers there are: the other device has another group. */
static bool is_like(const char *a, const char *b, size_t length)
{
	const char *end = a + length;

	while (a < end && *a && *b) {
		if (is_digit(*a) && is_digit(*b)) {
			a += strspn(a, "0123456789");
			b += strspn(b, "0123456789");
		} else if (*a++ != *b++) {
			return false;
		}
	}
	return a >= end || *a == *b;
}

/* Of ioctls the request is compared, of others all that is neither an address nor what came back. */
static bool is_same(const struct site *site, const char *call, const char *arguments)
{
	const char *here = strstr(site->argument, ", "), *there = strstr(arguments, ", ");

	if (strcmp(call, site->call))
		return false;
	if (!strcmp(call, "ioctl"))
		return here && there && strtoul(here + 2, NULL, 0) == strtoul(there + 2, NULL, 0);
	if (!strncmp(call, "pread", 5) || !strncmp(call, "read", 4))
		return is_like(site->argument, arguments, strcspn(site->argument, ","));
	here = strstr(site->argument, "0x7");
	return is_like(site->argument, arguments,
		       here ? (size_t)(here - site->argument) : strlen(site->argument));
}

static void look_for(const char *path, const struct site *site, bool *injected, bool *elsewhere)
{
	const char *call, *arguments;
	char line[1024];
	FILE *file = fopen(path, "re");

	*injected = *elsewhere = false;
	while (file && fgets(line, sizeof line, file)) {
		if (!strstr(line, "(INJECTED)") || *injected)
			continue;
		*injected = true;
		*elsewhere = !line_parse(line, &call, &arguments) || !is_same(site, call, arguments);
	}
	if (file)
		fclose(file);
}

struct outcome run_injected(const struct programs *p, const struct site *site, int error, unsigned times,
			    bool *injected, bool *elsewhere)
{
	char trace[32], inject[96];
	char *arguments[] = { text(p->strace), "-f",
			      "--seccomp-bpf", "-X",
			      "raw",	       "-o",
			      text(p->trace),  "-e",
			      trace,	       "-e",
			      inject,	       text(p->life),
			      text(p->kind),   text(p->policy),
			      text(p->device), NULL };

	snprintf(trace, sizeof trace, "trace=%s", site->call);
	snprintf(inject, sizeof inject, "inject=%s:error=%d:when=%u..%u", site->call, error, site->nth,
		 site->nth + times - 1);
	unlink(p->trace);
	struct outcome out = run(arguments);
	look_for(p->trace, site, injected, elsewhere);
	return out;
}
