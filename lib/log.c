/* SPDX-License-Identifier: MIT */

/* A log's life, and what every call on a log begins with. */

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "log_internal.h"
#include "options.h"

/* ---- entering ---- */

int fail_null(const char *argument, const char *operation, struct vfd_error *err)
{
	return fail(err, VFD_EINVALID, operation, "%s is NULL", argument);
}

/* The guard comes before the gate: in a child, a thread that does not exist there may be inside for ever. */
static int check_log(const struct vfd_log *log, const char *operation, struct vfd_error *err)
{
	if (!log)
		return fail_null("log", operation, err);
	if (forked(&log->guard))
		return fail(err, VFD_EFORKED, operation,
			    "this process forked off after the log was created: only vfd_log_release is "
			    "allowed here");
	return 0;
}

static int check_live(const struct vfd_consumer *consumer, const char *operation, struct vfd_error *err)
{
	return consumer->live ? 0 : fail(err, VFD_EINVALID, operation, "the consumer was removed");
}

int log_enter(struct vfd_log *log, const char *operation, struct vfd_error *err)
{
	int ret = check_log(log, operation, err);

	if (!ret)
		gate_enter(&log->gate);
	return ret;
}

void log_leave(struct vfd_log *log)
{
	gate_leave(&log->gate);
}

int consumer_enter(struct vfd_consumer *consumer, const char *operation, struct vfd_error *err)
{
	if (!consumer)
		return fail_null("consumer", operation, err);
	int ret = log_enter(consumer->log, operation, err);
	if (!ret && (ret = check_live(consumer, operation, err)))
		log_leave(consumer->log);
	return ret;
}

int log_enter_alone(struct vfd_log *log, const char *operation, struct vfd_error *err)
{
	int ret = check_log(log, operation, err);

	if (!ret)
		gate_close(&log->gate);
	return ret;
}

void log_leave_alone(struct vfd_log *log)
{
	gate_open(&log->gate);
}

int consumer_enter_alone(struct vfd_consumer *consumer, const char *operation, struct vfd_error *err)
{
	if (!consumer)
		return fail_null("consumer", operation, err);
	int ret = log_enter_alone(consumer->log, operation, err);
	if (!ret && (ret = check_live(consumer, operation, err)))
		log_leave_alone(consumer->log);
	return ret;
}

int check_flags(unsigned flags, unsigned known, const char *operation, struct vfd_error *err)
{
	if (flags & ~known)
		return fail(err, VFD_EINVALID, operation,
			    "flags 0x%x are not for this call: allowed are 0x%x", flags & ~known, known);
	return 0;
}

int check_range(const struct vfd_log *log, struct range where, const char *operation, struct vfd_error *err)
{
	if (where.first > where.last)
		return fail(err, VFD_EINVALID, operation, "first 0x%" PRIx64 " lies behind last 0x%" PRIx64,
			    where.first, where.last);
	if (!is_aligned(where.first, log->page_size) || !is_aligned(where.last + 1, log->page_size))
		return fail_range(err, VFD_EALIGN, operation, where.first, where.last,
				  "first 0x%" PRIx64 " and last + 1 0x%" PRIx64
				  " must be multiples of the log's page, %" PRIu64 " bytes",
				  where.first, where.last + 1, log->page_size);
	return 0;
}

/* ---- text ---- */

struct size_text size_text(uint64_t bytes)
{
	static const char *const units[] = { "bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
	struct size_text size;
	unsigned unit = 0;

	while (unit < 6 && bytes >= 1024 && !(bytes % 1024 && bytes < 1024 * 1024)) {
		bytes /= 1024;
		unit++;
	}
	snprintf(size.text, sizeof(size.text), "%" PRIu64 " %.5s", bytes, units[unit]);
	return size;
}

void copy_name(char name[NAME_BYTES], const char *text)
{
	size_t n = strnlen(text, NAME_BYTES - 1);

	memset(name, 0, NAME_BYTES);
	memcpy(name, text, n);
}

/* ---- creating ---- */

static int check_arena(const struct vfd_log_options *o, struct vfd_error *err)
{
	const char *op = "vfd_log_create";

	if (!o->arena)
		return o->arena_size ? fail(err, VFD_EINVALID, op, "arena_size is set, but arena is NULL")
				     : 0;
	if (!is_aligned((uintptr_t)o->arena, 4096))
		return fail(err, VFD_EINVALID, op, "arena %p is not 4096-aligned", o->arena);
	if (o->arena_size < arena_minimum())
		return fail(err, VFD_ELIMIT, op,
			    "the arena has %" PRIu64 " bytes, but a log needs at least %" PRIu64,
			    o->arena_size, arena_minimum());
	if (o->arena_size > UINTPTR_MAX - (uintptr_t)o->arena)
		return fail(err, VFD_EINVALID, op, "arena_size %" PRIu64 " wraps around", o->arena_size);
	for (size_t i = 0; i < sizeof(struct superblock); i++)
		if (((const unsigned char *)o->arena)[i])
			return fail(err, VFD_EINVALID, op, "the arena is not zero-filled: byte %zu is set",
				    i);
	return 0;
}

static int check_options(struct vfd_log_options *o, struct vfd_error *err)
{
	const char *op = "vfd_log_create";
	int ret = check_flags(o->flags, VFD_LOG_IDENTITY, op, err);

	if (ret)
		return ret;
	if (!o->page_size)
		o->page_size = 4096;
	if (!is_power_of_two(o->page_size) || o->page_size < 512 || o->page_size > UINT64_C(1) << 30)
		return fail(err, VFD_EINVALID, op,
			    "page_size %" PRIu64 " is not a power of two from 512 to 1 GiB", o->page_size);
	return check_arena(o, err);
}

/* Anywhere but the same place for every log, so that a batch id of another log is refused. No secret. */
static uint64_t sequence_start(const struct vfd_log *log)
{
	struct timespec now = { 0 };

	clock_gettime(CLOCK_MONOTONIC, &now);
	uint64_t mix = (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec + ((uintptr_t)log << 20);
	mix *= UINT64_C(0x9e3779b97f4a7c15);
	return mix >> 8;
}

static int create_super(struct vfd_log *log, const struct vfd_log_options *o, struct vfd_error *err)
{
	uint64_t at = 0;

	log->arena_size = o->arena_size;
	log->base = (uintptr_t)o->arena;
	if (o->arena)
		arena_format(log);
	else if (!(at = segment_new(log, sizeof(struct superblock))))
		return fail_segment(log, sizeof(struct superblock), "the superblock", "vfd_log_create", err);

	log->super = at_offset(log, at);
	log->super->page_size = o->page_size;
	log->super->flags = o->flags;
	log->super->arena_size = o->arena_size;
	log->super->check = super_check(log->super);
	log->super->batch_sequence = sequence_start(log);
	return regions_create(log, "vfd_log_create", err);
}

static void init_locks(struct vfd_log *log)
{
	gate_init(&log->gate);
	for (unsigned i = 0; i < MAX_CONSUMERS; i++) {
		pthread_mutex_init(&log->consumers[i].batches, NULL);
		pthread_mutex_init(&log->consumers[i].causes, NULL);
	}
	for (unsigned i = 0; i < STRIPE_LOCKS; i++)
		pthread_mutex_init(&log->stripes[i].mutex, NULL);
}

static void end_locks(struct vfd_log *log)
{
	for (unsigned i = 0; i < STRIPE_LOCKS; i++)
		pthread_mutex_destroy(&log->stripes[i].mutex);
	for (unsigned i = 0; i < MAX_CONSUMERS; i++) {
		pthread_mutex_destroy(&log->consumers[i].causes);
		pthread_mutex_destroy(&log->consumers[i].batches);
	}
	gate_end(&log->gate);
}

static struct vfd_log *new_handle(const struct vfd_log_options *o, struct vfd_error *err)
{
	struct vfd_log *log = aligned_alloc(CACHE_LINE, sizeof(*log));

	if (!log) {
		fail(err, VFD_ENOMEMORY, "vfd_log_create", "no memory for the handle");
		return NULL;
	}
	memset(log, 0, sizeof(*log));
	int ret = forkguard_init(&log->guard);
	if (ret) {
		fail(err, VFD_ENOMEMORY, "vfd_log_create", "no memory for the fork guard: %s",
		     vfd_strerror(ret));
		free(log);
		return NULL;
	}
	init_locks(log);
	log->ops = bitmap_ops_best();
	log->page_size = o->page_size;
	log->page_shift = word_first(o->page_size);
	log->identity = o->flags & VFD_LOG_IDENTITY;
	return log;
}

/* In a child too: no locks */
static void free_handle(struct vfd_log *log)
{
	segments_release(log);
	forkguard_end(&log->guard);
	free(log->places);
	free(log);
}

static int create(const struct vfd_log_options *o, struct vfd_log **out, struct vfd_error *err)
{
	struct vfd_log *log = new_handle(o, err);
	int ret;

	if (!log)
		return VFD_ENOMEMORY;
	if ((ret = create_super(log, o, err)) ||
	    (ret = consumer_create(log, 0, "main", "vfd_log_create", err))) {
		end_locks(log);
		free_handle(log);
		return ret;
	}
	keep_order();
	log->super->magic = LOG_MAGIC;
	*out = log;
	return 0;
}

int vfd_log_create(const struct vfd_log_options *options, struct vfd_log **log, struct vfd_error *err)
{
	struct vfd_log_options o = { 0 };
	int ret = 0;

	if (!log)
		return fail_null("log", "vfd_log_create", err);
	if (options)
		ret = copy_options(&o, sizeof(o),
				   offsetof(struct vfd_log_options, arena_size) + sizeof(o.arena_size),
				   options, "struct vfd_log_options", err);
	if (!ret)
		ret = check_options(&o, err);
	return ret ? ret : create(&o, log, err);
}

/* ---- ending ---- */

int check_clean(struct vfd_log *log, unsigned consumer, struct range where, const char *operation,
		struct vfd_error *err)
{
	const char *name = consumer_record(log, consumer)->name;
	struct vfd_count count;

	fold_range(log, where);
	count_range(log, consumer, where, &count);
	if (count.owed)
		return fail_range(
			err, VFD_EDIRTY, operation, where.first, where.last,
			"%" PRIu64
			" page%s (%s) still owed to consumer '%s': take and commit, or pass VFD_DISCARD",
			count.owed, count.owed == 1 ? "" : "s", size_text(count.owed * log->page_size).text,
			name);
	if (count.taken)
		return fail_range(
			err, VFD_EDIRTY, operation, where.first, where.last,
			"%" PRIu64
			" page%s (%s) in open batches of consumer '%s': commit, or pass VFD_DISCARD",
			count.taken, count.taken == 1 ? "" : "s",
			size_text(count.taken * log->page_size).text, name);
	return 0;
}

static int check_destroy(struct vfd_log *log, unsigned flags, struct vfd_error *err)
{
	const char *op = "vfd_log_destroy";
	int ret = check_flags(flags, VFD_DISCARD, op, err);

	unsigned users = atomic_load(&log->users);

	if (!ret && users)
		return fail(err, VFD_ESTATE, op, "containers that still use the log: %u; close them first",
			    users);
	for (unsigned i = 0; i < MAX_CONSUMERS && !ret && !(flags & VFD_DISCARD); i++)
		if (log->consumers[i].live)
			ret = check_clean(log, i, RANGE_ALL, op, err);
	return ret;
}

int vfd_log_destroy(struct vfd_log **log, unsigned flags, struct vfd_error *err)
{
	if (!log)
		return fail_null("the pointer to the log", "vfd_log_destroy", err);
	int ret = log_enter_alone(*log, "vfd_log_destroy", err);
	if (ret)
		return ret;
	ret = check_destroy(*log, flags, err);
	if (!ret)
		(*log)->super->magic =
			LOG_MAGIC_DEAD; /* an arena outlives us: it is no log any more, nor empty */
	log_leave_alone(*log);
	if (ret)
		return ret;
	end_locks(*log);
	free_handle(*log);
	*log = NULL;
	return 0;
}

int vfd_log_release(struct vfd_log **log, struct vfd_error *err)
{
	const char *op = "vfd_log_release";

	if (!log || !*log)
		return fail_null("log", op, err);
	if (!forked(&(*log)->guard))
		return fail(err, VFD_ESTATE, op,
			    "this process created the log: end it with vfd_log_destroy; release is for a "
			    "child after fork()");
	/* neither locked nor destroyed: locks may be held by threads of the parent */
	free_handle(*log);
	*log = NULL;
	return 0;
}

/* ---- getters ---- */

uint64_t vfd_log_page_size(const struct vfd_log *log)
{
	return log && !forked(&log->guard) ? log->page_size : 0;
}

struct vfd_consumer *vfd_log_consumer(struct vfd_log *log)
{
	return log && !forked(&log->guard) ? &log->consumers[0] : NULL;
}
