/* SPDX-License-Identifier: MIT */

/* Memory that changes. Each write is marked after it was made: marked before, it might be taken before it is there. */

#include "tool.h"

#include "../../shared-log.h"
#include "../io.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum { PAGE = 4096 };

/* Room first: a disk that is full says so now, not by a signal in the middle. */
static int open_memory(struct guest *g, const char *file, struct mig_error *err)
{
	int fd = file ? open(file, O_RDWR | O_CREAT | O_CLOEXEC, 0600) : -1, rc = 0;
	void *memory = MAP_FAILED;

	if (file && (fd < 0 || (rc = posix_fallocate(fd, 0, (off_t)g->size)))) {
		mig_fail(err, "%s: %s", file, strerror(rc ? rc : errno));
		if (fd >= 0)
			close(fd);
		return MIG_FAILED;
	}
	memory = mmap(NULL, g->size, PROT_READ | PROT_WRITE, file ? MAP_SHARED : MAP_PRIVATE | MAP_ANONYMOUS,
		      fd, 0);
	if (fd >= 0)
		close(fd);
	if (memory == MAP_FAILED)
		return mig_fail(err, "%llu bytes of memory: %s", (unsigned long long)g->size,
				strerror(errno));
	g->memory = memory;
	return 0;
}

int guest_open(struct guest *g, const struct settings *s, struct mig_error *err)
{
	*g = (struct guest){ .size = s->size,
			     .working_set = s->working_set < s->size ? s->working_set : s->size,
			     .dirty_rate = s->dirty_rate,
			     .state = { .random = 0x9e3779b97f4a7c15 } };
	return open_memory(g, s->file, err);
}

static uint64_t next_random(struct guest_state *s)
{
	s->random ^= s->random << 13;
	s->random ^= s->random >> 7;
	s->random ^= s->random << 17;
	return s->random;
}

void guest_fill(struct guest *g, unsigned zero_percent)
{
	for (uint64_t at = 0; at < g->size; at += PAGE) {
		if ((next_random(&g->state) >> 8) % 100 < zero_percent)
			continue;
		uint64_t *words = (uint64_t *)(g->memory + at);
		for (unsigned i = 0; i < PAGE / 8; i++)
			words[i] = g->state.random + i * at;
	}
}

int guest_log(struct guest *g, struct mig_error *err)
{
	struct vfd_region region = { .struct_size = sizeof region, .size = g->size, .memory = g->memory };
	struct vfd_log_options options = { .struct_size = sizeof options };
	struct vfd_error vfd;

	if (!shared_arena(&options, g->size))
		return mig_fail(err, "no memory for the log");
	if (vfd_log_create(&options, &g->log, &vfd) || vfd_region_add(g->log, &region, &vfd))
		return mig_fail_vfd(err, &vfd);
	return 0;
}

/* ---- the thread ----------------------------------------------------------------------------------------------------- */

static void write_page(struct guest *g)
{
	uint64_t at = next_random(&g->state) % (g->working_set / PAGE) * PAGE;

	for (unsigned i = 0; i < 8; i++)
		*(volatile uint64_t *)(g->memory + at + i * 512) = next_random(&g->state);
	g->state.writes++;
	if (g->log)
		vfd_log_mark(g->log, at, PAGE, NULL);
}

static void *guest_main(void *opaque)
{
	struct guest *g = opaque;
	uint64_t begin = now_ns(), done = 0;

	while (atomic_load(&g->running)) {
		uint64_t due = (uint64_t)(ms_since(begin) / 1e3 * (double)g->dirty_rate);
		for (; done < due && atomic_load(&g->running); done++)
			write_page(g);
		nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
	}
	return NULL;
}

int guest_run(struct guest *g, struct mig_error *err)
{
	if (!g->dirty_rate)
		return 0;
	atomic_store(&g->running, true);
	if (!pthread_create(&g->thread, NULL, guest_main, g))
		return 0;
	atomic_store(&g->running, false);
	return mig_fail(err, "no thread for the guest");
}

void guest_pause(struct guest *g)
{
	if (atomic_exchange(&g->running, false))
		pthread_join(g->thread, NULL);
}

/* One changed word always changes it: each step is a bijection of the hash. */
uint64_t guest_hash(const struct guest *g)
{
	uint64_t hash = 0xcbf29ce484222325, word;

	for (uint64_t at = 0; at < g->size; at += sizeof word) {
		memcpy(&word, g->memory + at, sizeof word);
		hash = (hash ^ word) * 0x9e3779b97f4a7c15;
		hash ^= hash >> 32;
	}
	return hash;
}

void guest_close(struct guest *g)
{
	guest_pause(g);
	device_close(g);
	if (g->log)
		vfd_log_destroy(&g->log, VFD_DISCARD, NULL);
	munmap(g->memory, g->size);
}

/* ---- its state as a section ------------------------------------------------------------------------------------------- */

struct cursor {
	struct guest *guest;
	size_t at;
};

static int save(void *opaque, void *data, size_t size, size_t *done, struct mig_error *err)
{
	struct cursor *c = opaque;
	size_t rest = sizeof c->guest->state - c->at;

	(void)err;
	*done = rest < size ? rest : size;
	memcpy(data, (char *)&c->guest->state + c->at, *done);
	c->at += *done;
	return 0;
}

static int load(void *opaque, const void *data, size_t size, struct mig_error *err)
{
	struct cursor *c = opaque;
	size_t rest = sizeof c->guest->state - c->at;

	if (size > rest || (!size && rest))
		return mig_fail(err, "the guest's state has %zu bytes, and %zu came", sizeof c->guest->state,
				c->at + size);
	if (size)
		memcpy((char *)&c->guest->state + c->at, data, size);
	c->at += size;
	return 0;
}

struct mig_section guest_section(struct guest *g)
{
	static struct cursor cursor; /* one guest, one migration */

	cursor = (struct cursor){ g, 0 };
	return (struct mig_section){ .name = "writer", .opaque = &cursor, .save = save, .load = load };
}
