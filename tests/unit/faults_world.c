/* SPDX-License-Identifier: MIT */
#include "faults_world.h"

#include "modes.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MESSAGES_MOST = 12 };

void world_fail(struct world *w, const char *format, ...)
{
	static unsigned said;
	va_list args;

	w->failures++;
	if (said++ >= MESSAGES_MOST)
		return;
	printf("FAIL %s: ", w->what);
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	putchar('\n');
}

/* ---- sets of pages of the region ---- */

static struct pages model_set(struct world *w, enum model_set set)
{
	struct pages pages = { 0 };

	if (w->logging)
		model_device_pages(w->model, w->physical, set, w->memory, WORLD_PAGES * WORLD_PAGE,
				   pages.words);
	else
		model_pages(w->model, set, w->memory, WORLD_PAGES * WORLD_PAGE, pages.words);
	return pages;
}

static struct pages join(struct pages a, const struct pages *b)
{
	for (int i = 0; i < WORLD_WORDS; i++)
		a.words[i] |= b->words[i];
	return a;
}

/* What a kernel's record holds or may have said: on iommufd a device that logs is in a page table too, which is asked when its log
 * cannot be had. */
static struct pages model_said(struct world *w, enum model_set set)
{
	struct pages said = model_set(w, set), tables = { 0 };

	if (w->logging && w->recorded)
		model_pages(w->model, set, w->memory, WORLD_PAGES * WORLD_PAGE, tables.words);
	return join(said, &tables);
}

static void add_range(struct pages *pages, uint64_t first, uint64_t count)
{
	for (uint64_t page = first; page < first + count; page++)
		pages->words[page / 64] |= UINT64_C(1) << page % 64;
}

/* How many pages of a are not in b; *first: the first of them. */
static unsigned missing(const struct pages *a, const struct pages *b, unsigned *first)
{
	unsigned count = 0;

	for (unsigned i = WORLD_WORDS; i-- > 0;) {
		uint64_t only = a->words[i] & ~b->words[i];
		count += (unsigned)__builtin_popcountll(only);
		if (only)
			*first = i * 64 + (unsigned)__builtin_ctzll(only);
	}
	return count;
}

static struct pages without(struct pages a, const struct pages *b)
{
	for (int i = 0; i < WORLD_WORDS; i++)
		a.words[i] &= ~b->words[i];
	return a;
}

static void add_batch(struct world *w, struct vfd_consumer *consumer, struct vfd_batch *batch,
		      struct pages *pages)
{
	struct vfd_run runs[16];
	size_t count;

	while (!vfd_batch_runs(consumer, batch, runs, 16, &count, &w->err) && count)
		for (size_t i = 0; i < count; i++)
			add_range(pages, (runs[i].address - WORLD_LOG) / WORLD_PAGE,
				  runs[i].size / WORLD_PAGE);
}

typedef int resolve(struct vfd_consumer *consumer, const struct vfd_batch *batch, uint64_t first,
		    uint64_t last, struct vfd_error *err);

/* What is owed: take all of it, look, and give it back or commit it. */
static struct pages owed(struct world *w, resolve *end)
{
	struct vfd_consumer *consumer = vfd_log_consumer(w->log);
	struct pages pages = { 0 };
	struct vfd_batch batch;
	struct vfd_error err;

	if (vfd_take(consumer, 0, UINT64_MAX, UINT64_MAX, &batch, &err))
		world_fail(w, "take: %s", err.message);
	else if (batch.id) {
		add_batch(w, consumer, &batch, &pages);
		if (end(consumer, &batch, 0, UINT64_MAX, &err))
			world_fail(w, "commit or rollback: %s", err.message);
	}
	return pages;
}

/* ---- what the library knows ---- */

struct looking {
	struct pages *pages;
	bool deferred_only;
};

static void look_at(struct space *space, struct mapping *m, void *arg)
{
	struct looking *looking = arg;
	uint64_t page = (m->log_address - WORLD_LOG) / WORLD_PAGE;

	if (!looking->deferred_only || space_owes_all(space, m))
		add_range(looking->pages, page, range_size(m->where) / WORLD_PAGE);
}

static struct pages mapped(struct world *w, bool deferred_only)
{
	struct pages pages = { 0 };
	struct looking looking = { &pages, deferred_only };

	if (w->container && w->container->space.tracking)
		space_each_tracked(&w->container->space, look_at, &looking);
	return pages;
}

/* ---- the law ---- */

static bool faulty(const struct world *w)
{
	return model_fault_fired(w->model) || w->starved;
}

/* What such a map had mapped, and does not show any more, a group that counts as physical may have written. */
static bool taken_back_in_doubt(const struct world *w)
{
	return w->doubt && model_fault_fired(w->model) > 1;
}

/* Two answers said so, and it is believed: then all that was mapped is dirty. */
static bool seems_gone(const struct world *w)
{
	return w->container && !w->container->space.attached && model_fault_fired(w->model) > 1 &&
	       model_mapping_count(w->model, vfd_container_fd(w->container));
}

static void check_law(struct world *w, const char *call)
{
	struct pages log = owed(w, vfd_rollback);
	struct pages truth = model_set(w, MODEL_TRUTH), returned = model_set(w, MODEL_RETURNED);
	struct pages held = model_said(w, MODEL_HELD), spoiled = model_said(w, MODEL_SPOILED);
	struct pages deferred = mapped(w, true), all = mapped(w, false), kept = log;
	unsigned first = 0, count;

	if (w->container || (w->fds[0] >= 0 && !w->adopted))
		kept = join(join(log, &held), &deferred);
	if ((((w->physical && !w->logging) || w->doubt) && !w->recorded) || seems_gone(w))
		w->all_dirty = join(w->all_dirty, &all);
	if (w->logging ||
	    w->recorded) /* what the library could not help deferring: without a fault nothing */
		w->all_dirty = join(w->all_dirty, &deferred);
	truth = join(truth, &w->unpaid);
	count = w->began ? missing(&truth, &kept, &first) : 0;
	if (count)
		world_fail(w, "after %s: %u pages LOST, the first is %u", call, count, first);
	struct pages recorded = join(log, &deferred);
	count = missing(&returned, &recorded, &first);
	if (count)
		world_fail(w,
			   "after %s: %u pages that the kernel returned are not in the log, the first is %u",
			   call, count, first);
	struct pages said = model_said(w, MODEL_RETURNED);
	struct pages fair = join(join(join(said, &spoiled), &w->spoiled), &w->all_dirty);
	count = missing(&log, &fair, &first);
	if (count && !taken_back_in_doubt(w))
		world_fail(w, "after %s: %u pages in the log that nothing can have spoiled, the first is %u",
			   call, count, first);
	if (model_crashed(w->model))
		world_fail(w, "after %s: the kernel died: %s", call, model_crashed(w->model));
}

void world_consume(struct world *w)
{
	struct pages truth = model_set(w, MODEL_TRUTH), spoiled = model_said(w, MODEL_SPOILED);
	struct pages log = owed(w, vfd_commit);

	truth = join(truth, &w->unpaid);
	w->unpaid = without(truth, &log);
	w->spoiled = join(w->spoiled, &spoiled);
	model_forget(w->model);
}

/* Without a fault what was written is known by name, not assumed: all of it was asked for before the kernel took it away. */
static void check_reported(struct world *w, const char *call)
{
	struct pages log = owed(w, vfd_rollback), truth = model_set(w, MODEL_TRUTH);
	struct vfd_count count = { 0 };
	unsigned first, written;

	if ((w->physical && !w->logging && !w->recorded) || w->assumes || faulty(w))
		return;
	truth = join(truth, &w->unpaid);
	struct pages not_yet = without(truth, &log), arrived = without(truth, &not_yet);
	written = missing(&arrived, &(struct pages){ 0 }, &first);
	vfd_consumer_count(vfd_log_consumer(w->log), 0, UINT64_MAX, &count, NULL);
	if (count.reported < written)
		world_fail(w, "after %s: %u written pages are in the log, but only %llu are reported", call,
			   written, (unsigned long long)count.reported);
}

/* After a call that failed too. A page table that the kernel would not switch off records for nobody. */
static void check_state(struct world *w, const char *call)
{
	if (!w->recorded && w->container && model_tracking(w->model, w->container->fd) &&
	    !w->container->space.tracking)
		world_fail(w, "after %s: the kernel tracks, but the library believes that it does not", call);
}

/* Tracking begins when vfd_track_start() has returned, and not when the first of several records has begun: what was written meanwhile may
 * have been seen by a log that then failed, and by no page table yet. It never begins if the call failed. What is in the log stays there. */
static void track_started(struct world *w)
{
	struct pages log = owed(w, vfd_rollback), truth = model_set(w, MODEL_TRUTH);

	truth = join(truth, &w->unpaid);
	struct pages not_there = without(truth, &log);
	w->unpaid = without(truth, &not_there);
	model_forget_written(w->model);
}

static void look_whether_tracked(struct world *w, const char *call)
{
	bool was = w->tracked;

	w->tracked = w->container && w->container->space.tracking;
	w->began |= w->tracked;
	if (!was && !strncmp(call, "vfd_track_start", 15))
		track_started(w);
}

void world_before(struct world *w)
{
	w->inside = true;
}

bool world_after(struct world *w, int rc, const char *call)
{
	w->inside = false;
	look_whether_tracked(w, call);
	check_law(w, call);
	check_state(w, call);
	check_reported(w, call);
	if (!rc)
		return false;
	if (!faulty(w))
		world_fail(w, "%s is %s without a fault: %s", call, vfd_strcode(rc), w->err.message);
	w->gave_up = w->policy == GIVE_UP;
	return true;
}

bool world_after_retry(struct world *w, int rc, const char *call)
{
	w->inside = false;
	look_whether_tracked(w, call);
	check_law(w, call);
	check_state(w, call);
	w->gave_up = rc != 0;
	w->retries_failed += rc != 0;
	if (rc)
		printf("# %s: second try of %s is %s: %s\n", w->what, call, vfd_strcode(rc), w->err.message);
	return rc != 0;
}

/* ---- the devices at work ---- */

static bool write_dma(struct world *w, const char *device)
{
	return !model_dma_write(w->model, device, w->writes * 37 % WORLD_PAGES * WORLD_PAGE, 8, w->writes);
}

static void write_somewhere(struct model *model, const struct model_trace *call, uint64_t number, bool after,
			    void *arg)
{
	struct world *w = arg;

	(void)number;
	w->kernel += after ? -1u : 1u;
	if (after) {
		w->doubt |= call->call == MODEL_READ_FILE && call->result < 0;
		return;
	}
	w->writes += model_step(model, 0, 4) + model_step(model, 1, 4);
	if (w->physical)
		w->writes += write_dma(w, w->physical);
	for (int i = 0; i < WORLD_GROUPS && w->dma[i]; i++)
		w->writes += write_dma(w, w->dma[i]);
}

/* Whoever was reset works when its driver has told it to. */
static void wake(struct world *w, unsigned index)
{
	const struct sys *sys = &w->model->sys;
	uint32_t zero = 0;

	if (w->devices[index])
		sys->pwrite(sys, w->devices[index]->fd, &zero, sizeof zero, 0);
}

void world_run(struct world *w, unsigned index)
{
	if (w->recorded) {
		wake(w, index);
		return;
	}
	struct vfdtest_run run = { .device = index, .size = WORLD_PAGES * WORLD_PAGE, .seed = index + 1 };

	model_vfdtest(w->model, VFDTEST_RUN, &run);
}

void world_pin(struct world *w, unsigned index, uint64_t iova, uint64_t count)
{
	struct vfdtest_range range = {
		.device = index,
		.flags = VFDTEST_PIN_WRITE,
		.iova = iova * WORLD_PAGE,
		.size = count * WORLD_PAGE,
	};

	model_vfdtest(w->model, VFDTEST_PIN, &range);
}

void world_unpin(struct world *w, unsigned index, uint64_t iova, uint64_t count)
{
	struct vfdtest_range range = { .device = index,
				       .iova = iova * WORLD_PAGE,
				       .size = count * WORLD_PAGE };

	model_vfdtest(w->model, VFDTEST_UNPIN, &range);
}

/* ---- calls with many arguments ---- */

int world_open(struct world *w)
{
	struct vfd_container_options options = { .struct_size = sizeof options,
						 .log = w->log,
						 .backend = mode_backend() };

	return container_open_on(&w->model->sys, &options, &w->container, &w->err);
}

int world_map(struct world *w, uint64_t iova, uint64_t page, uint64_t count, uint32_t flags)
{
	struct vfd_mapping mapping = {
		.struct_size = sizeof mapping,
		.flags = flags,
		.iova = iova * WORLD_PAGE,
		.size = count * WORLD_PAGE,
		.memory = w->memory + page * WORLD_PAGE,
	};

	return vfd_map(w->container, &mapping, &w->err);
}

static struct vfd_mapping mapping_of(struct world *w, uint64_t iova, uint64_t page, uint64_t count)
{
	return (struct vfd_mapping){
		.struct_size = sizeof(struct vfd_mapping),
		.flags = VFD_MAP_READ | VFD_MAP_WRITE,
		.iova = iova * WORLD_PAGE,
		.size = count * WORLD_PAGE,
		.memory = w->memory + page * WORLD_PAGE,
	};
}

int world_cut(struct world *w, uint64_t iova, uint64_t page, uint64_t count, uint64_t granule)
{
	struct vfd_mapping mapping = mapping_of(w, iova, page, count);

	mapping.granule = granule * WORLD_PAGE;
	return vfd_map(w->container, &mapping, &w->err);
}

int world_list(struct world *w, uint64_t iova, uint64_t page)
{
	struct vfd_mapping list[] = { mapping_of(w, iova + 100, page + 80, 20), mapping_of(w, iova, page, 20),
				      mapping_of(w, iova + 80, page + 60, 20) };

	return vfd_map_list(w->container, list, 3, NULL, &w->err);
}

int world_unmap(struct world *w, uint64_t iova, uint64_t count)
{
	w->assumes |= w->recorded; /* torn, if a device is running */
	return vfd_unmap(w->container, iova * WORLD_PAGE, count * WORLD_PAGE, &w->err);
}

/* ---- beginning and end ---- */

static void make_log(struct world *w)
{
	struct vfd_region region = {
		.struct_size = sizeof region,
		.address = WORLD_LOG,
		.size = WORLD_PAGES * WORLD_PAGE,
	};

	static unsigned char *kept; /* thousands of worlds come and go; what it holds is nothing to them */

	if (!kept)
		kept = calloc(1, region.size + WORLD_PAGE);
	w->memory = kept ? kept + (WORLD_PAGE - (uintptr_t)kept % WORLD_PAGE) : NULL;
	if (!w->memory)
		abort();
	region.memory = w->memory;
	if (vfd_log_create(NULL, &w->log, &w->err) || vfd_region_add(w->log, &region, &w->err))
		abort();
}

void world_begin(struct world *w, const struct lifecycle *life, enum policy policy)
{
	*w = (struct world){ .policy = policy, .fds = { -1, -1, -1 }, .eventfd = -1 };
	snprintf(w->what, sizeof w->what, "%s", life->name);
	w->model = model_new(mode_config(life->config));
	w->recorded = mode == MODE_IOMMUFD;
	for (unsigned i = 0; w->recorded && i < life->config->group_count; i++)
		w->dma[i] = life->config->groups[i].devices[0].name;
	make_log(w);
	if (life->prepare)
		life->prepare(w);
	model_on_call(w->model, write_somewhere, w);
}

static void close_container(struct world *w)
{
	int rc = w->container ? vfd_container_close(&w->container, VFD_COLLECT, &w->err) : 0;

	if (!rc)
		return;
	world_fail(w, "close with VFD_COLLECT is %s: %s", vfd_strcode(rc), w->err.message);
	if (vfd_container_close(&w->container, VFD_DISCARD, &w->err))
		world_fail(w, "even VFD_DISCARD fails: %s", w->err.message);
}

static void check_leaks(struct world *w)
{
	struct model_counts counts = model_counts(w->model);

	if (counts.descriptors || counts.areas || counts.scratch || counts.triggers || counts.containers ||
	    counts.iommus)
		world_fail(w, "left over: %u descriptors, %u areas, %u scratch, %u triggers, %u containers",
			   counts.descriptors, counts.areas, counts.scratch, counts.triggers,
			   counts.containers);
}

void world_end(struct world *w)
{
	model_fault_clear(w->model);
	close_container(w);
	check_law(w, "the end");
	for (int i = 2; i >= 0; i--)
		if (w->fds[i] >= 0)
			w->model->sys.close(&w->model->sys, w->fds[i]);
	check_leaks(w);
	if (vfd_log_destroy(&w->log, VFD_DISCARD, &w->err))
		world_fail(w, "destroying the log: %s", w->err.message);
	model_free(w->model);
	if (w->eventfd >= 0)
		close(w->eventfd);
}
