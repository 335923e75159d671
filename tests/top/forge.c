/* SPDX-License-Identifier: MIT */

/* An arena that nobody's log is: its table has tens of thousands of regions, and the pages of all of them are the same words, which are there.
 * usage: forge FILE */

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "log_layout.h"

enum { ARENA = 64 << 20, COUNT = 65000, TABLE = 65536, RECORD = 16 << 20, PLANES = RECORD + (4 << 20) };

static void fill(char *arena)
{
	struct superblock *super = (void *)arena;
	struct region_table *table = (void *)(arena + TABLE);

	memset(arena + PLANES, 0xff, ARENA - PLANES);
	*super = (struct superblock){ .magic = LOG_MAGIC,
				      .page_size = 4096,
				      .arena_size = ARENA,
				      .regions = TABLE,
				      .consumers = { RECORD } };
	super->check = super_check(super);
	table->count = table->capacity = COUNT;
	for (uint64_t i = 0; i < COUNT; i++)
		table->regions[i] = (struct region){ .address = i << 38,
						     .last = (i << 38) + (UINT64_C(1) << 38) - 1,
						     .inbox = PLANES,
						     .planes = { PLANES } };
}

int main(int argc, char **argv)
{
	int fd = argc > 1 ? open(argv[1], O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600) : -1;

	if (fd < 0 || ftruncate(fd, ARENA))
		return 1;
	char *arena = mmap(NULL, ARENA, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (arena == MAP_FAILED)
		return 1;
	fill(arena);
	return 0;
}
