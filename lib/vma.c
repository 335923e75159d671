/* SPDX-License-Identifier: MIT */
#include "vma.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct vma {
	struct range where;
	char access[5]; /* "rw-p" */
	char file[128]; /* empty: none, or one that needs no disk */
};

static bool parse(const char *line, struct vma *vma)
{
	uint64_t end = 0;

	vma->file[0] = 0;
	int fields = sscanf(line, "%" SCNx64 "-%" SCNx64 " %4s %*s %*s %*s %127[^\n]", &vma->where.first,
			    &end, vma->access, vma->file);
	vma->where.last = end - 1;
	if (vma->file[0] != '/' || !strncmp(vma->file, "/memfd:", 7))
		vma->file[0] = 0;
	return fields >= 3;
}

static enum vma_what judge(const struct vma *vma, bool write)
{
	if (vma->access[0] != 'r')
		return VMA_NO_ACCESS;
	if (write && vma->access[1] != 'w')
		return VMA_READ_ONLY;
	return vma->file[0] ? VMA_FILE : VMA_FINE;
}

/* The worst that there is, the first of its kind; a file only if there is nothing worse. Returns whether that is the end of it. */
static bool note(struct vma_look *seen, enum vma_what what, uint64_t at, const char *file)
{
	if (seen->what == VMA_FINE) {
		*seen = (struct vma_look){ .what = what, .at = at };
		snprintf(seen->file, sizeof seen->file, "%s", what == VMA_FILE ? file : "");
	} else if (what != VMA_FINE && what != VMA_FILE) {
		*seen = (struct vma_look){ .what = what, .at = at };
	}
	return what != VMA_FINE && what != VMA_FILE;
}

struct vma_look vma_look(struct range memory, bool write)
{
	struct vma_look seen = { .at = memory.first };
	uint64_t at = memory.first;
	char *line = NULL;
	size_t room = 0;
	struct vma vma;
	FILE *maps = fopen("/proc/self/maps", "re");
	bool end = !maps;

	while (!end && at <= memory.last && getline(&line, &room, maps) > 0) {
		if (!parse(line, &vma) || vma.where.last < at)
			continue;
		end = vma.where.first > at ? note(&seen, VMA_HOLE, at, "")
					   : note(&seen, judge(&vma, write), at, vma.file);
		at = vma.where.last + 1;
	}
	if (!end && at <= memory.last)
		note(&seen, VMA_HOLE, at, "");
	free(line);
	if (maps)
		fclose(maps);
	return seen;
}
