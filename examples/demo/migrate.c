/* SPDX-License-Identifier: MIT */

/* One migration. Nothing here knows which way of talking to VFIO is used. */

#include "demo.h"

#include <stdio.h>
#include <stdlib.h>

enum {
	PRECOPY_ROUNDS = 3,  /* the unplug comes in the middle of the last of them */
	WINDOW = 256 * PAGE, /* the device is asked anew before each such part of a round */
};

/* Send what is owed in a window. A page's content is read only after it was taken. */
static uint64_t send_window(const struct ops *ops, struct source *s, int fd, struct chunk window)
{
	struct chunk chunks[WIRE_CHUNKS];
	uint64_t bytes = 0;
	size_t count;

	while ((count = ops->take(s, window, chunks, WIRE_CHUNKS))) {
		wire_send(fd, s->memory, chunks, count);
		for (size_t i = 0; i < count; i++)
			bytes += chunks[i].size;
	}
	wire_flush(fd);
	ops->arrived(s, window);
	return bytes / PAGE;
}

static void show_round(const char *what, uint64_t pages, double ms)
{
	double mb = (double)pages * PAGE / 1e6;

	printf("%s%llu pages %.0f MB/s", what, (unsigned long long)pages, ms > 0 ? mb / ms * 1e3 : 0.0);
	fflush(stdout);
}

/* Send what is owed below end. */
static double send_round(const struct ops *ops, struct source *s, int fd, uint64_t end, bool plugged,
			 struct result *result)
{
	double begun = now_ms();
	uint64_t pages = 0;

	for (struct chunk w = { 0, WINDOW }; w.offset < end; w.offset += WINDOW) {
		if (w.size > s->size - w.offset)
			w.size = s->size - w.offset;
		if (plugged)
			ops->harvest(s);
		pages += send_window(ops, s, fd, w);
	}
	double ms = now_ms() - begun;
	show_round(result->rounds ? ", " : "  ", pages, ms);
	result->sent += pages;
	result->rounds++;
	return ms;
}

static void precopy(const struct ops *ops, struct source *s, int fd, struct result *result)
{
	while (result->rounds < PRECOPY_ROUNDS - 1)
		send_round(ops, s, fd, s->size, true, result);
	send_round(ops, s, fd, s->size / 2, true, result);
}

static void unplug(const struct ops *ops, struct source *s, struct result *result)
{
	double begun = now_ms();

	ops->unplug(s);
	result->unplug_ms = now_ms() - begun;
	printf(", unplugged");
}

static uint64_t compare(const struct source *s, int fd)
{
	uint64_t pages = s->size / PAGE, lost = 0;
	uint64_t *hashes = calloc(pages, sizeof *hashes);

	if (!hashes)
		die_errno("calloc");
	wire_hashes(fd, hashes, pages);
	for (uint64_t i = 0; i < pages; i++)
		lost += hashes[i] != page_hash(s->memory + i * PAGE);
	free(hashes);
	return lost;
}

struct result migrate(const struct ops *ops, struct source *s)
{
	static uint64_t seed;
	struct result result = { 0 };
	int fd = receiver_start(s->size);

	ops->plug(s);
	device_run(s, ++seed);
	precopy(ops, s, fd, &result);
	unplug(ops, s, &result);
	result.last_ms = send_round(ops, s, fd, s->size, false, &result);
	result.written = device_writes(s->device);
	result.lost = compare(s, fd);
	ops->end(s);
	receiver_end(fd);
	return result;
}
