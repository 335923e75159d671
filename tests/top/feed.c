/* SPDX-License-Identifier: MIT */

/* A log for vfd-top to look at, of which all numbers are known.
 * usage: feed [FILE]: the arena is in that file, else in a memfd. Says "ready" and its pid; then, for each line: "round": 200 pages more by
 * kvm; "storm": regions, marks and batches come and go for two seconds. */

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <vfiodirty.h>

enum { PAGE = 4096, ARENA = 8 << 20, PAGES = 4096 };

static struct vfd_error err;
static struct vfd_log *vfd_log;
static char *const memory = (char *)(uintptr_t)0x20000000; /* never touched */

static void check(int rc)
{
	if (!rc)
		return;
	fprintf(stderr, "feed: %s: %s\n", err.operation, err.message);
	exit(1);
}

static void make_log(const char *path)
{
	int fd = path ? open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600)
		      : memfd_create("feed-log", MFD_CLOEXEC);
	struct vfd_log_options options = { .struct_size = sizeof options, .arena_size = ARENA };

	if (fd < 0 || ftruncate(fd, ARENA))
		exit(1);
	options.arena = mmap(NULL, ARENA, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (options.arena == MAP_FAILED)
		exit(1);
	check(vfd_log_create(&options, &vfd_log, &err));
}

static void add_region(uint64_t address, uint64_t pages, char *at)
{
	struct vfd_region region = {
		.struct_size = sizeof region, .address = address, .size = pages * PAGE, .memory = at
	};

	check(vfd_region_add(vfd_log, &region, &err));
}

/* Pages first.. by someone who reports */
static void report(const char *who, uint64_t first, uint64_t n)
{
	static uint64_t words[PAGES / 64];
	struct vfd_bitmap bitmap = {
		.struct_size = sizeof bitmap,
		.provenance = VFD_REPORTED,
		.page_size = PAGE,
		.bits = PAGES,
		.words = words,
		.who = who,
	};

	memset(words, 0, sizeof words);
	for (uint64_t i = first; i < first + n; i++)
		words[i / 64] |= UINT64_C(1) << i % 64;
	check(vfd_log_merge(vfd_log, &bitmap, NULL, &err));
}

/* 100 pages by kvm, 7 of them in a batch; 30 in the other region by nobody in particular, 10 of them noted only. */
static void begin(void)
{
	struct vfd_batch batch;
	struct vfd_count count;

	add_region(0, PAGES, memory);
	add_region(UINT64_C(1) << 30, 512, memory + PAGES * PAGE);
	report("kvm", 0, 100);
	check(vfd_take(vfd_log_consumer(vfd_log), 0, UINT64_MAX, 7, &batch, &err));
	check(vfd_log_mark(vfd_log, UINT64_C(1) << 30, 20 * PAGE, &err));
	check(vfd_consumer_count(vfd_log_consumer(vfd_log), 0, UINT64_MAX, &count, &err));
	check(vfd_log_mark(vfd_log, (UINT64_C(1) << 30) + 20 * PAGE, 10 * PAGE, &err));
}

static void storm_once(uint64_t i)
{
	struct vfd_consumer *main_consumer = vfd_log_consumer(vfd_log);
	uint64_t address = (UINT64_C(2) << 30) + i % 16 * PAGE * 128;
	struct vfd_batch batch;

	add_region(address, 64, memory + (PAGES + 512 + i % 16 * 128) * PAGE);
	check(vfd_log_mark(vfd_log, address, 64 * PAGE, &err));
	report("kvm", i % 1000, 50);
	check(vfd_take(main_consumer, 0, UINT64_MAX, 20, &batch, &err));
	if (batch.id)
		check(vfd_commit(main_consumer, &batch, 0, UINT64_MAX, &err));
	check(vfd_region_remove(vfd_log, address, VFD_DISCARD, &err));
}

int main(int argc, char **argv)
{
	char line[32];
	uint64_t next = 100;

	make_log(argc > 1 ? argv[1] : NULL);
	begin();
	printf("ready %d\n", getpid());
	fflush(stdout);
	while (fgets(line, sizeof line, stdin)) {
		if (!strcmp(line, "round\n")) {
			report("kvm", next, 200);
			next += 200;
		}
		time_t end = time(NULL) + 3;
		for (uint64_t i = 0; !strcmp(line, "storm\n") && time(NULL) < end; i++)
			storm_once(i);
	}
	return 0; /* without an end to the log */
}
