/* SPDX-License-Identifier: MIT */

/* What the launcher was told; and which findings nobody wants to hear of. */

#include "guard.h"

#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct settings settings = { .exit_code = -1 };

enum { RULES = 256 };

static struct {
	char kind[24], pattern[200];
} rules[RULES];
static unsigned rule_count;

static void read_rules(const char *path)
{
	FILE *file = fopen(path, "re");
	char line[300];

	if (!file) {
		say("vfd-guard: %s: cannot be read\n", path);
		return;
	}
	while (fgets(line, sizeof line, file) && rule_count < RULES)
		if (line[0] != '#' && sscanf(line, " %23[^: \n] : %199[^\n]", rules[rule_count].kind,
					     rules[rule_count].pattern) == 2)
			rule_count++;
	fclose(file);
}

static void copy(char *to, size_t size, const char *name)
{
	const char *value = getenv(name);

	if (value)
		snprintf(to, size, "%s", value);
}

static bool flag(const char *name)
{
	return getenv(name) != NULL;
}

void settings_read(void)
{
	const char *code = getenv("VFD_GUARD_EXIT_CODE");

	settings.json = flag("VFD_GUARD_JSON");
	settings.abort = flag("VFD_GUARD_ABORT");
	settings.stats = flag("VFD_GUARD_STATS");
	settings.no_symbols = flag("VFD_GUARD_NO_SYMBOLS");
	settings.exit_code = code ? atoi(code) : -1;
	copy(settings.log, sizeof settings.log, "VFD_GUARD_LOG");
	copy(settings.keep, sizeof settings.keep, "VFD_GUARD_COLLECT");
	copy(settings.suppressions, sizeof settings.suppressions, "VFD_GUARD_SUPPRESSIONS");
	keeping = settings.keep[0];
	if (settings.suppressions[0])
		read_rules(settings.suppressions);
}

static bool frame_fits(const char *pattern, const struct frame *f)
{
	return !fnmatch(pattern, f->function, 0) || !fnmatch(pattern, f->module, 0) ||
	       !fnmatch(pattern, f->line, 0);
}

bool suppressed(const char *kind, const struct frame *frames, unsigned count)
{
	for (unsigned r = 0; r < rule_count; r++)
		for (unsigned i = 0; i < count && !fnmatch(rules[r].kind, kind, 0); i++)
			if (frame_fits(rules[r].pattern, &frames[i]))
				return true;
	return false;
}
