/* SPDX-License-Identifier: MIT */

/* vfd-guard: run a program with the shim before its libc, or say why that cannot be. */

#include <errno.h>
#include <getopt.h>
#include <libgen.h>
#include <limits.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "launch.h"

static const char usage_text[] =
	"usage: vfd-guard [OPTION...] [--] PROGRAM [ARGUMENT...]\n"
	"\n"
	"Runs a program, and reports each call that destroys a record of dirty pages which nobody "
	"collected.\n"
	"\n"
	"  --log FILE           reports go to the end of this file, not to standard error\n"
	"  --json               one JSON object a line\n"
	"  --abort              abort() at the first loss\n"
	"  --exit-code N        the program's exit code if there was one\n"
	"  --collect FILE       collect first: the bits are read before they are destroyed, and kept in this "
	"file\n"
	"  --suppressions FILE  lines KIND:PATTERN; what they fit is only counted\n"
	"  --stats              at the end say what was seen, also if nothing was lost\n"
	"  --no-symbols         do not start addr2line\n"
	"  --help               this\n"
	"\n"
	"Exit: the program's; 2: wrong use; 126: the program cannot be followed, and was not started; 127: "
	"there is none.\n";

static _Noreturn void usage(FILE *to, int code)
{
	fputs(usage_text, to);
	exit(code);
}

_Noreturn void die(int code, const char *format, ...)
{
	va_list args;

	fputs("vfd-guard: ", stderr);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputs("\n", stderr);
	exit(code);
}

static void set(const char *name, const char *value)
{
	if (setenv(name, value, 1))
		die(2, "setenv: %s", strerror(errno));
}

/* The program may change its directory. */
static void set_path(const char *name, const char *path)
{
	char here[PATH_MAX], whole[2 * PATH_MAX];

	if (path[0] == '/' || !getcwd(here, sizeof here)) {
		set(name, path);
		return;
	}
	snprintf(whole, sizeof whole, "%s/%s", here, path);
	if (strlen(whole) > 255)
		die(2, "%s: too long a path", path);
	set(name, whole);
}

static void set_code(const char *text)
{
	char *end;
	long code = strtol(text, &end, 10);

	if (!*text || *end || code < 0 || code > 255)
		usage(stderr, 2);
	set("VFD_GUARD_EXIT_CODE", text);
}

static void set_suppressions(const char *path)
{
	if (access(path, R_OK))
		die(2, "%s: %s", path, strerror(errno));
	set_path("VFD_GUARD_SUPPRESSIONS", path);
}

enum { LOG = 256, JSON, ABORT, CODE, COLLECT, SUPPRESSIONS, STATS, NO_SYMBOLS, HELP };

static const struct option options[] = {
	{ "log", required_argument, NULL, LOG },
	{ "json", no_argument, NULL, JSON },
	{ "abort", no_argument, NULL, ABORT },
	{ "exit-code", required_argument, NULL, CODE },
	{ "collect", required_argument, NULL, COLLECT },
	{ "suppressions", required_argument, NULL, SUPPRESSIONS },
	{ "stats", no_argument, NULL, STATS },
	{ "no-symbols", no_argument, NULL, NO_SYMBOLS },
	{ "help", no_argument, NULL, HELP },
	{ 0 },
};

static void apply(int option, const char *value)
{
	switch (option) {
	case LOG:
		return set_path("VFD_GUARD_LOG", value);
	case JSON:
		return set("VFD_GUARD_JSON", "1");
	case ABORT:
		return set("VFD_GUARD_ABORT", "1");
	case CODE:
		return set_code(value);
	case COLLECT:
		return set_path("VFD_GUARD_COLLECT", value);
	case SUPPRESSIONS:
		return set_suppressions(value);
	case STATS:
		return set("VFD_GUARD_STATS", "1");
	case NO_SYMBOLS:
		return set("VFD_GUARD_NO_SYMBOLS", "1");
	case HELP:
		usage(stdout, 0);
	default:
		usage(stderr, 2);
	}
}

/* Beside this program where it was built, and where it was installed. */
static void find_shim(char *path, size_t size)
{
	char self[PATH_MAX];
	ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);

	if (length < 0)
		die(126, "/proc/self/exe: %s", strerror(errno));
	self[length] = 0;
	char *dir = dirname(self);
	snprintf(path, size, "%s/vfd-guard.so", dir);
	if (access(path, R_OK))
		snprintf(path, size, "%s/../" GUARD_LIBDIR "/vfd-guard.so", dir);
	if (access(path, R_OK))
		die(126, "%s: %s: is vfd-guard installed as a whole?", path, strerror(errno));
}

static void preload(void)
{
	char shim[2 * PATH_MAX], all[4 * PATH_MAX];
	const char *others = getenv("LD_PRELOAD");

	find_shim(shim, sizeof shim);
	if (strpbrk(shim, " :"))
		die(126, "%s: LD_PRELOAD takes no path with a space or a colon", shim);
	snprintf(all, sizeof all, "%s%s%s", shim, others ? ":" : "", others ? others : "");
	set("LD_PRELOAD", all);
}

int main(int argc, char **argv)
{
	char path[PATH_MAX];
	int option;

	while ((option = getopt_long(argc, argv, "+", options, NULL)) != -1)
		apply(option, optarg);
	if (optind == argc)
		usage(stderr, 2);
	find_program(argv[optind], path, sizeof path);
	check_program(path);
	preload();
	execv(path, argv + optind);
	die(errno == ENOENT ? 127 : 126, "%s: %s", path, strerror(errno));
}
