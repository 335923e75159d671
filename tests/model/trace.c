/* SPDX-License-Identifier: MIT */
/* Every call on its way in and out: counting, recording, hooks, log. */
#include <inttypes.h>

#include "internal.h"
#include "uapi.h"

/* A hook may make calls of its own; they do not call it again. */
static __thread bool in_hook;

static bool is_feature(const struct model_trace *trace)
{
	return trace->call == MODEL_IOCTL && trace->file == MODEL_FILE_DEVICE &&
	       trace->request == VFIO_DEVICE_FEATURE;
}

static uint32_t flags_of(const struct model_trace *trace, const void *argument)
{
	uint32_t head[2]; /* argsz, flags */

	if (!(trace->file == MODEL_FILE_CONTAINER &&
	      (trace->request == VFIO_IOMMU_DIRTY_PAGES || trace->request == VFIO_IOMMU_UNMAP_DMA)) &&
	    !is_feature(trace))
		return 0;
	return copy_in(head, argument, sizeof(head)) ? 0 : head[1];
}

static enum model_file file_of(struct model *m, int fd)
{
	const struct file *file = files_lookup(m, fd);

	if (!file)
		return MODEL_FILE_NONE;
	return file->kind == FILE_CONTAINER ? MODEL_FILE_CONTAINER
	       : file->kind == FILE_GROUP   ? MODEL_FILE_GROUP
	       : file->kind == FILE_DEVICE  ? MODEL_FILE_DEVICE
	       : file->kind == FILE_STREAM  ? MODEL_FILE_STREAM
	       : file->kind == FILE_IOMMU   ? MODEL_FILE_IOMMU
					    : MODEL_FILE_PROCESS;
}

static void run_hook(struct call *call, bool after)
{
	struct model *m = call->model;

	if (!m->state->call_hook || in_hook)
		return;
	in_hook = true;
	model_unlock(m);
	m->state->call_hook(m, &call->trace, call->number, after, m->state->call_argument);
	model_lock(m);
	in_hook = false;
}

void call_begin(struct call *call, struct model *m, enum model_call kind, int fd, unsigned long request,
		void *argument)
{
	*call = (struct call){ .model = m, .trace = { .call = kind, .request = request } };
	perturb();
	model_lock(m);
	call->trace.file = file_of(m, fd);
	if (kind == MODEL_IOCTL)
		call->trace.flags = flags_of(&call->trace, argument);
	m->state->counts.calls++;
	m->state->counts.ioctls += kind == MODEL_IOCTL;
	call->number = ++m->state->number;
	run_hook(call, false);
	faults_apply(call);
}

static void record(struct model_state *s, const struct model_trace *trace)
{
	s->trace = model_grow(s->trace, s->trace_count, &s->trace_room, sizeof(*s->trace));
	s->trace[s->trace_count++] = *trace;
}

int64_t call_end(struct call *call, int64_t result)
{
	struct model *m = call->model;

	call->trace.result = result;
	if (m->state->tracing)
		record(m->state, &call->trace);
	if (m->log)
		fprintf(m->log, "%" PRIu64 " %s%s = %" PRId64 "\n", call->number, trace_name(&call->trace),
			call->fails ? " (fault)" : "", result);
	run_hook(call, true);
	model_unlock(m);
	perturb();
	return result;
}

void model_trace_start(struct model *m)
{
	model_lock(m);
	m->state->tracing = true;
	m->state->trace_count = 0;
	m->state->number = 0;
	model_unlock(m);
}

const struct model_trace *model_trace(struct model *m, size_t *count)
{
	model_lock(m);
	*count = m->state->trace_count;
	model_unlock(m);
	return m->state->trace;
}

bool trace_is_get(const struct model_trace *trace)
{
	return trace->call == MODEL_IOCTL && trace->file == MODEL_FILE_CONTAINER &&
	       trace->request == VFIO_IOMMU_DIRTY_PAGES &&
	       trace->flags == VFIO_IOMMU_DIRTY_PAGES_FLAG_GET_BITMAP;
}

bool trace_is_unmap(const struct model_trace *trace)
{
	return trace->call == MODEL_IOCTL && trace->file == MODEL_FILE_CONTAINER &&
	       trace->request == VFIO_IOMMU_UNMAP_DMA;
}

bool trace_is_feature(const struct model_trace *trace, uint32_t feature)
{
	return is_feature(trace) && !(trace->flags & UAPI_FEATURE_PROBE) &&
	       (trace->flags & UAPI_FEATURE_MASK) == feature;
}

bool trace_has_flags(const struct model_trace *trace, uint32_t flags)
{
	uint32_t feature = flags & UAPI_FEATURE_MASK;

	if (is_feature(trace) && feature && (trace->flags & UAPI_FEATURE_MASK) != feature)
		return false;
	return (trace->flags & flags) == flags;
}
