/* SPDX-License-Identifier: MIT */
/* The commands of tests/kernel/vfdtest.h, on a device of an emulated group. */
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>

#include "internal.h"

void vfdtest_fill(void *bytes, uint64_t iova, size_t size, uint64_t value)
{
	unsigned char *to = bytes;

	for (size_t i = 0; i < size; i++) {
		uint64_t word = vfdtest_word(value, (iova + i) & ~7ull);

		to[i] = ((const unsigned char *)&word)[(iova + i) & 7];
	}
}

static struct device *device_at(struct model *m, uint32_t index)
{
	return index < m->state->vfdtest_count ? m->state->vfdtests[index] : NULL;
}

/* The device, for commands that need it to be there and open. */
static int open_device(struct model *m, uint32_t index, struct device **d)
{
	*d = device_at(m, index);
	if (!*d || !(*d)->group->present)
		return -ENODEV;
	return (*d)->opens ? 0 : -ENOTCONN;
}

static bool range_bad(uint64_t iova, uint64_t size)
{
	return !size || iova + (size - 1) < iova;
}

/* The order of the module's checks: the range, the device, then flags. */
static int read_range(struct model *m, const void *argument, struct vfdtest_range *range, struct device **d,
		      uint64_t align, uint32_t flags)
{
	int error;

	if (copy_in(range, argument, sizeof(*range)))
		return -EFAULT;
	if (!device_at(m, range->device))
		return -ENODEV;
	if (range_bad(range->iova, range->size) || (range->iova | range->size) & (align - 1))
		return -EINVAL;
	error = open_device(m, range->device, d);
	if (error)
		return error;
	return range->flags & ~flags ? -EINVAL : 0;
}

/* ---- WRITE, READ ---- */

static void enter_truth(struct device *d, uint64_t iova)
{
	pageset_add(&d->truth, iova / MODEL_PAGE_SIZE, 1);
	d->sequence++;
	d->writes++;
}

/* Through a pin: the kernel does not see it. */
static int write_pinned(struct model *m, struct device *d, uint64_t iova, const void *data, size_t size)
{
	size_t count;
	const struct pin *pin = pins_from(d, iova, &count);
	uint64_t address = pin->memory_page * MODEL_PAGE_SIZE + iova % MODEL_PAGE_SIZE;

	if (user_write(address, data, size) != size)
		return -EFAULT;
	devlog_mark(d, iova, size);
	truth_wrote(m, d, address, size);
	return 0;
}

static int write_page(struct model *m, struct device *d, uint64_t iova, size_t size, uint64_t value,
		      bool pinned)
{
	char bytes[MODEL_PAGE_SIZE];
	int error;

	vfdtest_fill(bytes, iova, size, value);
	error = pinned ? write_pinned(m, d, iova, bytes, size) : access_write(m, d, iova, bytes, size);
	if (!error)
		enter_truth(d, iova);
	return error;
}

static size_t in_page(uint64_t iova, uint64_t size)
{
	uint64_t rest = MODEL_PAGE_SIZE - iova % MODEL_PAGE_SIZE;

	return (size_t)(rest < size ? rest : size);
}

static bool may_not_write(const struct device *d)
{
	return d->migration.stopped || (d->config->pci && !device_can_write(d));
}

static int do_write(struct model *m, void *argument)
{
	struct vfdtest_range range = { 0 };
	struct device *d;
	int error = read_range(m, argument, &range, &d, 1, VFDTEST_WRITE_PINNED);
	bool pinned = range.flags & VFDTEST_WRITE_PINNED;

	if (!error && pinned && !pins_cover(d, range.iova, range.size))
		error = -EINVAL;
	if (error)
		return error;
	d->quiet = false;
	if (may_not_write(d))
		return -EACCES;
	while (!error && range.size) {
		size_t part = in_page(range.iova, range.size);

		error = write_page(m, d, range.iova, part, range.value, pinned);
		range.iova += part;
		range.size -= part;
	}
	return error;
}

static int do_read(struct model *m, void *argument)
{
	struct vfdtest_range range;
	struct device *d;
	int error = read_range(m, argument, &range, &d, 1, 0);
	char bytes[MODEL_PAGE_SIZE];

	while (!error && range.size) {
		size_t part = in_page(range.iova, range.size);

		error = access_read(m, d, range.iova, bytes, part);
		range.iova += part;
		range.size -= part;
	}
	return error;
}

/* ---- pins ---- */

static int do_pin(struct model *m, void *argument)
{
	struct vfdtest_range range;
	struct device *d;
	int error = read_range(m, argument, &range, &d, MODEL_PAGE_SIZE, VFDTEST_PIN_WRITE);

	return error ? error : pins_add(m, d, range.iova, range.size, range.flags & VFDTEST_PIN_WRITE);
}

static int do_unpin(struct model *m, void *argument)
{
	struct vfdtest_range range;
	struct device *d;
	int error = read_range(m, argument, &range, &d, MODEL_PAGE_SIZE, 0);

	return error ? error : pins_drop(m, d, range.iova, range.size);
}

/* ---- the writer ---- */

static uint64_t next_random(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15ull;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ z >> 27) * 0x94d049bb133111ebull;
	return z ^ z >> 31;
}

static int do_run(struct model *m, void *argument)
{
	struct vfdtest_run run;
	struct device *d;
	int error;

	if (copy_in(&run, argument, sizeof(run)))
		return -EFAULT;
	if (!device_at(m, run.device))
		return -ENODEV;
	if (range_bad(run.iova, run.size) || (run.iova | run.size) & (MODEL_PAGE_SIZE - 1))
		return -EINVAL;
	error = open_device(m, run.device, &d);
	if (error)
		return error;
	if (run.flags)
		return -EINVAL;
	if (d->writer.running)
		return -EBUSY;
	d->quiet = false;
	d->writer =
		(struct writer){ .running = true, .iova = run.iova, .size = run.size, .random = run.seed };
	return 0;
}

/* Content always changes: the first word is a number that this device never wrote before. */
static int step(struct model *m, struct device *d)
{
	struct writer *w = &d->writer;
	uint64_t words[8];
	uint64_t page = next_random(&w->random) % (w->size / MODEL_PAGE_SIZE);
	uint64_t count = next_random(&w->random) % ARRAY_SIZE(words) + 1;
	uint64_t at = next_random(&w->random) % (MODEL_PAGE_SIZE / 8 - count + 1);
	uint64_t iova = w->iova + page * MODEL_PAGE_SIZE + at * 8;
	int error;

	for (size_t i = 0; i < count; i++)
		words[i] = (uint64_t)d->index << 56 | (d->serial + 1) << 3 | i;
	d->serial++;
	error = may_not_write(d) ? -EACCES : access_write(m, d, iova, words, (size_t)count * 8);
	if (!error)
		enter_truth(d, iova);
	return error;
}

uint64_t model_step(struct model *m, unsigned index, uint64_t count)
{
	struct device *d;
	uint64_t done = 0;

	model_lock(m);
	d = device_at(m, index);
	for (uint64_t i = 0; d && d->writer.running && i < count; i++) {
		if (step(m, d)) {
			d->writer.failures++;
			continue;
		}
		d->writer.writes++;
		done++;
	}
	model_unlock(m);
	return done;
}

static int do_halt(struct model *m, void *argument)
{
	struct vfdtest_halt halt;
	struct device *d;

	if (copy_in(&halt, argument, sizeof(halt)))
		return -EFAULT;
	d = device_at(m, halt.device);
	if (!d)
		return -ENODEV;
	if (halt.flags)
		return -EINVAL;
	d->writer.running = false;
	halt.writes = d->writer.writes;
	halt.failures = d->writer.failures;
	return copy_out(argument, &halt, sizeof(halt));
}

/* ---- truth, status, knobs ---- */

#define TRUTH_PART 4096 /* words handed out at a time */

static int hand_out(const struct device *d, const struct vfdtest_truth *ask, uint64_t *pages)
{
	uint64_t words[TRUTH_PART], total = ask->size / MODEL_PAGE_SIZE;

	for (uint64_t at = 0; at < total; at += TRUTH_PART * 64) {
		uint64_t count = total - at < TRUTH_PART * 64 ? total - at : TRUTH_PART * 64;
		size_t bytes = (size_t)bitmap_words(count) * 8;

		memset(words, 0, bytes);
		*pages += pageset_range(&d->truth, ask->iova / MODEL_PAGE_SIZE + at, count, words);
		if (user_write(ask->bitmap + at / 8, words, bytes) != bytes)
			return -EFAULT;
	}
	return 0;
}

static int do_truth(struct model *m, void *argument)
{
	struct vfdtest_truth ask;
	uint64_t pages = 0;
	struct timespec now;
	struct device *d;

	if (copy_in(&ask, argument, sizeof(ask)))
		return -EFAULT;
	d = device_at(m, ask.device);
	if (!d)
		return -ENODEV;
	if (ask.flags & ~VFDTEST_TRUTH_CLEAR || range_bad(ask.iova, ask.size) ||
	    ask.size > VFDTEST_TRUTH_MAX || (ask.iova | ask.size) & (MODEL_PAGE_SIZE - 1))
		return -EINVAL;
	pins_enter_truth(m, d);
	if (hand_out(d, &ask, &pages))
		return -EFAULT;
	ask.pages = pages;
	clock_gettime(CLOCK_MONOTONIC, &now);
	ask.time_ns = (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
	ask.sequence = d->sequence;
	if (copy_out(argument, &ask, sizeof(ask)))
		return -EFAULT;
	if (ask.flags & VFDTEST_TRUTH_CLEAR)
		pageset_clear_range(&d->truth, ask.iova / MODEL_PAGE_SIZE, ask.size / MODEL_PAGE_SIZE);
	return 0;
}

static uint64_t pins_held(const struct device *d)
{
	uint64_t held = 0;

	for (size_t i = 0; i < d->pin_count; i++)
		held += d->pins[i].count;
	return held;
}

static int do_status(struct model *m, void *argument)
{
	struct vfdtest_status status;
	const struct device *d;
	const struct group *g;
	uint32_t index;

	if (copy_in(&index, argument, sizeof(index)))
		return -EFAULT;
	d = device_at(m, index);
	if (!d)
		return -ENODEV;
	g = d->group;
	status = (struct vfdtest_status){
		.device = index,
		.state = g->going     ? VFDTEST_REMOVING
			 : g->present ? VFDTEST_PRESENT
				      : VFDTEST_ABSENT,
		.group = g->present && !g->going ? g->config.number : -1,
		.open = d->opens > 0,
		.running = d->writer.running,
		.quiet = d->quiet,
		.opens = d->opened,
		.pins = pins_held(d),
		.resets = d->resets,
		.unmaps = d->unmaps,
		.unmapping = d->unmapping,
		.requests = d->requests,
		.writes = d->writes,
		.sequence = d->sequence,
	};
	return copy_out(argument, &status, sizeof(status));
}

#define DELAY_MAX_MS 10000

static int set_knob(struct device *d, const struct vfdtest_set *set)
{
	switch (set->knob) {
	case VFDTEST_UNMAP_DELAY_MS:
		if (set->value > DELAY_MAX_MS)
			return -EINVAL;
		d->unmap_delay = set->value;
		return 0;
	case VFDTEST_RESET:
		if (set->value > 1)
			return -EINVAL;
		d->removable_reset = set->value;
		return 0;
	case VFDTEST_IRQ:
		return d->triggers[0][0] >= 0 && !eventfd_write(d->triggers[0][0], set->value) ? 0
											       : -ENOTCONN;
	default:
		return -EINVAL;
	}
}

static int do_set(struct model *m, void *argument)
{
	struct vfdtest_set set;
	struct device *d;

	if (copy_in(&set, argument, sizeof(set)))
		return -EFAULT;
	d = device_at(m, set.device);
	if (!d)
		return -ENODEV;
	if (set.knob != VFDTEST_WARN)
		return set_knob(d, &set);
	model_crash(m, "WARN raised by VFDTEST_WARN");
	return 0;
}

/* ---- plugging ---- */

/* On the model a group's devices go and come together. */
static int do_plug(struct model *m, void *argument, bool add)
{
	struct vfdtest_plug plug;
	struct device *d;

	if (copy_in(&plug, argument, sizeof(plug)))
		return -EFAULT;
	d = device_at(m, plug.device);
	if (!d)
		return -ENODEV;
	if (plug.flags)
		return -EINVAL;
	if (d->group->going)
		return -EBUSY;
	if (add && d->group->present)
		return -EEXIST;
	if (!add && !d->group->present)
		return -ENODEV;
	if (add)
		d->group->present = true;
	else
		group_unplug(m, d->group);
	return 0;
}

static int command(struct model *m, unsigned long request, void *argument)
{
	switch (request) {
	case VFDTEST_WRITE:
		return do_write(m, argument);
	case VFDTEST_READ:
		return do_read(m, argument);
	case VFDTEST_PIN:
		return do_pin(m, argument);
	case VFDTEST_UNPIN:
		return do_unpin(m, argument);
	case VFDTEST_RUN:
		return do_run(m, argument);
	case VFDTEST_HALT:
		return do_halt(m, argument);
	case VFDTEST_TRUTH:
		return do_truth(m, argument);
	case VFDTEST_STATUS:
		return do_status(m, argument);
	case VFDTEST_SET:
		return do_set(m, argument);
	case VFDTEST_REMOVE:
		return do_plug(m, argument, false);
	case VFDTEST_ADD:
		return do_plug(m, argument, true);
	default:
		return -ENOTTY;
	}
}

int model_vfdtest(struct model *m, unsigned long request, void *argument)
{
	int result;

	model_lock(m);
	result = command(m, request, argument);
	model_unlock(m);
	return result;
}
