/* SPDX-License-Identifier: MIT */
#include "rig.h"

#include <stdarg.h>
#include <stdio.h>

static unsigned count, failed;

static bool say(bool good, const char *what, va_list args)
{
	failed += !good;
	printf("%sok %u - ", good ? "" : "not ", ++count);
	vprintf(what, args);
	putchar('\n');
	fflush(stdout);
	return good;
}

bool ok(bool good, const char *what, ...)
{
	va_list args;

	va_start(args, what);
	say(good, what, args);
	va_end(args);
	return good;
}

bool ok_code(int rc, int want, const struct vfd_error *err, const char *what, ...)
{
	va_list args;

	va_start(args, what);
	say(rc == want, what, args);
	va_end(args);
	if (rc != want)
		printf("# got %s, want %s: %s\n", vfd_strcode(rc), vfd_strcode(want),
		       rc && err ? err->message : "");
	return rc == want;
}

void skip(const char *what, const char *why)
{
	printf("ok %u - %s # SKIP %s\n", ++count, what, why);
	fflush(stdout);
}

int done(void)
{
	printf("1..%u\n", count);
	fflush(stdout);
	return failed ? 1 : 0;
}
