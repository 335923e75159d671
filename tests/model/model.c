/* SPDX-License-Identifier: MIT */
/* Building the model, and what all its files need. */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "internal.h"
#include "sys_model.h"

static const struct model_config default_config = {
	.group_count = 1,
	.groups = { { .number = 7, .kind = MODEL_EMULATED, .devices = { { .name = "vfdtest.0" } } } },
};

void model_lock(struct model *m)
{
	pthread_mutex_lock(&m->state->lock);
}

void model_unlock(struct model *m)
{
	pthread_mutex_unlock(&m->state->lock);
}

void model_pause(struct model *m, unsigned microseconds)
{
	model_unlock(m);
	usleep(microseconds);
	model_lock(m);
}

void *model_alloc(size_t count, size_t size)
{
	void *memory = calloc(count ? count : 1, size);

	if (!memory)
		abort();
	return memory;
}

void *model_grow(void *array, size_t count, size_t *room, size_t size)
{
	if (count < *room)
		return array;
	*room = *room + *room / 2 + 16;
	array = realloc(array, *room * size);
	if (!array)
		abort();
	return array;
}

/* Only the first is kept: the rest may follow from it. */
void model_crash(struct model *m, const char *format, ...)
{
	va_list arguments;

	if (m->state->crashed[0])
		return;
	va_start(arguments, format);
	vsnprintf(m->state->crashed, sizeof(m->state->crashed), format, arguments);
	va_end(arguments);
}

const char *model_crashed(struct model *m)
{
	const char *text;

	model_lock(m);
	text = m->state->crashed[0] ? m->state->crashed : NULL;
	model_unlock(m);
	return text;
}

static void physical_defaults(struct model_group_config *config)
{
	if (!config->page_sizes)
		config->page_sizes = 1ull << 12 | 1ull << 21 | 1ull << 30;
	if (config->ranges[0].last)
		return;
	config->ranges[0].last = 0xfedfffff;
	config->ranges[1].first = 0xfef00000;
	config->ranges[1].last = (1ull << 48) - 1;
}

static void group_init(struct model_state *s, struct group *g, const struct model_group_config *config)
{
	g->config = *config;
	g->present = true;
	if (config->kind == MODEL_PHYSICAL)
		physical_defaults(&g->config);
	for (unsigned i = 0; i < MODEL_MAX_DEVICES && g->config.devices[i].name; i++) {
		struct device *d = &g->devices[g->device_count++];

		device_init(d, g, i);
		if (config->kind == MODEL_EMULATED) {
			d->index = (int)s->vfdtest_count;
			s->vfdtests[s->vfdtest_count++] = d;
		}
	}
}

struct model *model_new(const struct model_config *config)
{
	struct model *m = model_alloc(1, sizeof(*m));
	struct model_state *s = model_alloc(1, sizeof(*s));

	m->sys = sys_model;
	m->state = s;
	pthread_mutex_init(&s->lock, NULL);
	s->config = config ? *config : default_config;
	if (!s->config.dma_entry_limit)
		s->config.dma_entry_limit = 65535;
	for (unsigned i = 0; i < s->config.group_count; i++)
		group_init(s, &s->groups[i], &s->config.groups[i]);
	return m;
}

static void drop_leaks(struct model *m)
{
	struct model_state *s = m->state;

	while (s->area_count)
		areas_remove(m, s->areas[0].memory, s->areas[0].size);
	for (size_t i = 0; i < s->fd_room; i++)
		if (s->fds[i])
			files_close(m, MODEL_FIRST_FD + (int)i);
	for (unsigned i = 0; i < s->config.group_count; i++)
		for (unsigned j = 0; j < s->groups[i].device_count; j++)
			while (s->groups[i].devices[j].held) {
				s->groups[i].devices[j].held--;
				device_unref(m, &s->groups[i].devices[j]);
			}
}

void model_free(struct model *m)
{
	struct model_state *s;

	if (!m)
		return;
	s = m->state;
	s->call_hook = NULL;
	s->window_hook = NULL;
	m->teardown_delay = 0;
	model_lock(m);
	drop_leaks(m);
	for (unsigned i = 0; i < s->config.group_count; i++)
		for (unsigned j = 0; j < s->groups[i].device_count; j++)
			device_fini(&s->groups[i].devices[j]);
	model_unlock(m);
	sets_empty(&s->sets);
	pageset_empty(&s->watched);
	pageset_empty(&s->not_written);
	pageset_empty(&s->foreign);
	pthread_mutex_destroy(&s->lock);
	free(s->fds);
	free(s->areas);
	free(s->trace);
	free(s);
	free(m);
}

struct model_counts model_counts(struct model *m)
{
	struct model_counts counts;

	model_lock(m);
	counts = m->state->counts;
	for (const struct container *c = m->state->containers; c; c = c->next)
		counts.containers++;
	counts.iommus = m->state->iommus;
	for (unsigned i = 0; i < m->state->config.group_count; i++)
		for (unsigned j = 0; j < m->state->groups[i].device_count; j++)
			counts.triggers += device_trigger_count(&m->state->groups[i].devices[j]);
	model_unlock(m);
	return counts;
}

static struct container *container_behind(struct model *m, int fd)
{
	struct file *file = files_lookup(m, fd);

	return file && file->kind == FILE_CONTAINER ? file->container : NULL;
}

static const struct iommu *iommu_behind(struct model *m, int fd)
{
	const struct file *file = files_lookup(m, fd);

	return file && file->kind == FILE_IOMMU ? file->iommu : NULL;
}

bool model_tracking(struct model *m, int fd)
{
	const struct container *c;
	bool tracking;

	model_lock(m);
	c = container_behind(m, fd);
	tracking = c ? c->type1 && c->type1->tracking : iommu_tracking(iommu_behind(m, fd));
	model_unlock(m);
	return tracking;
}

uint64_t model_mapping_count(struct model *m, int fd)
{
	const struct container *c;
	uint64_t count = 0;

	model_lock(m);
	c = container_behind(m, fd);
	if (c && c->type1)
		count = c->type1->count + c->type1->top_count;
	else if (!c)
		count = iommu_mapping_count(iommu_behind(m, fd));
	model_unlock(m);
	return count;
}

void model_on_call(struct model *m, model_call_hook *hook, void *argument)
{
	m->state->call_hook = hook;
	m->state->call_argument = argument;
}

void model_on_window(struct model *m, model_window_hook *hook, void *argument)
{
	m->state->window_hook = hook;
	m->state->window_argument = argument;
}
