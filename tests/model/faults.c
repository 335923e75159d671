/* SPDX-License-Identifier: MIT */
/* Which calls can fail how: the one table of errnos, the enumeration of single faults, and the armed ones. */
#include <stdlib.h>
#include <string.h>

#include <vfiodirty/error.h>
#include "internal.h"
#include "uapi_iommufd.h"

#define ERRNOS_MAX 9

/* From the contract: what the kernel may answer although the caller did nothing wrong, or cannot know that it did. */
static const struct rule {
	enum model_call call;
	enum model_file file;
	unsigned long request;
	uint32_t flags; /* all of them, if the request has flags; 0 is the rest */
	const char *name;
	int errnos[ERRNOS_MAX]; /* 0 ends */
} rules[] = {
	{ MODEL_OPEN, 0, 0, 0, "open", { ENOENT, EACCES, EPERM, EBUSY, ENODEV, EMFILE, ENOMEM } },
	{ MODEL_DUP, 0, 0, 0, "dup", { EMFILE } },
	{ MODEL_CLOSE, 0, 0, 0, "close", { 0 } },
	{ MODEL_READ, 0, 0, 0, "read", { EINTR, EAGAIN, EIO, EFAULT, ENODEV } },
	{ MODEL_WRITE, 0, 0, 0, "write", { EINTR, EAGAIN, EIO, EFAULT, EINVAL, ENOMEM, ENODEV } },
	{ MODEL_PREAD, 0, 0, 0, "pread", { EIO, EFAULT } },
	{ MODEL_PWRITE, 0, 0, 0, "pwrite", { EIO, EFAULT } },
	{ MODEL_READ_FILE, 0, 0, 0, "read_file", { ENOENT, EACCES } },
	{ MODEL_READ_LINK, 0, 0, 0, "read_link", { ENOENT, EACCES } },
	{ MODEL_EXISTS, 0, 0, 0, "exists", { ENOENT, EACCES } },
	{ MODEL_FIND_ENTRY, 0, 0, 0, "find_entry", { ENOENT, EACCES } },
	{ MODEL_MAP_FILE, 0, 0, 0, "map_file", { EINVAL, ENOMEM, EPERM } },
	{ MODEL_MAP_SCRATCH, 0, 0, 0, "map_scratch", { ENOMEM } },
	{ MODEL_POPULATE, 0, 0, 0, "populate", { ENOMEM } },
	{ MODEL_UNMAP, 0, 0, 0, "unmap", { 0 } },
	{ MODEL_USERFAULTFD, 0, 0, 0, "userfaultfd", { EPERM, ENOSYS, EMFILE, ENOMEM } },

#define CONTAINER MODEL_IOCTL, MODEL_FILE_CONTAINER
	{ CONTAINER, VFIO_GET_API_VERSION, 0, "GET_API_VERSION", { 0 } },
	{ CONTAINER, VFIO_CHECK_EXTENSION, 0, "CHECK_EXTENSION", { 0 } },
	{ CONTAINER, VFIO_SET_IOMMU, 0, "SET_IOMMU", { EINVAL, ENODEV, EPERM, EBUSY, ENOMEM } },
	{ CONTAINER, VFIO_IOMMU_GET_INFO, 0, "GET_INFO", { EFAULT, EINVAL, ENOMEM } },
	{ CONTAINER, VFIO_IOMMU_MAP_DMA, 0, "MAP_DMA", { EFAULT, EINVAL, EEXIST, ENOSPC, ENOMEM } },
	{ CONTAINER,
	  VFIO_IOMMU_UNMAP_DMA,
	  VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP,
	  "UNMAP_DMA+bitmap",
	  { EFAULT, EINVAL } },
	{ CONTAINER, VFIO_IOMMU_UNMAP_DMA, 0, "UNMAP_DMA", { EFAULT, EINVAL } },
	{ CONTAINER,
	  VFIO_IOMMU_DIRTY_PAGES,
	  VFIO_IOMMU_DIRTY_PAGES_FLAG_START,
	  "START",
	  { EFAULT, EINVAL, ENOMEM, EACCES } },
	{ CONTAINER, VFIO_IOMMU_DIRTY_PAGES, VFIO_IOMMU_DIRTY_PAGES_FLAG_STOP, "STOP", { EFAULT, EINVAL } },
	{ CONTAINER,
	  VFIO_IOMMU_DIRTY_PAGES,
	  VFIO_IOMMU_DIRTY_PAGES_FLAG_GET_BITMAP,
	  "GET_BITMAP",
	  { EFAULT, EINVAL } },
	{ CONTAINER, VFIO_IOMMU_DIRTY_PAGES, 0, "DIRTY_PAGES", { EFAULT, EACCES } },

#define GROUP MODEL_IOCTL, MODEL_FILE_GROUP
	{ GROUP, VFIO_GROUP_GET_STATUS, 0, "GROUP_GET_STATUS", { EFAULT, ENODEV } },
	{ GROUP,
	  VFIO_GROUP_SET_CONTAINER,
	  0,
	  "SET_CONTAINER",
	  { EFAULT, EINVAL, ENODEV, EPERM, EBUSY, EBADFD, ENOMEM } },
	{ GROUP, VFIO_GROUP_UNSET_CONTAINER, 0, "UNSET_CONTAINER", { EINVAL, EBUSY } },
	{ GROUP,
	  VFIO_GROUP_GET_DEVICE_FD,
	  0,
	  "GET_DEVICE_FD",
	  { EFAULT, ENODEV, EINVAL, EPERM, EMFILE, EBUSY, ENOMEM, EIO } },

#define DEVICE MODEL_IOCTL, MODEL_FILE_DEVICE
	{ DEVICE, VFIO_DEVICE_GET_INFO, 0, "DEVICE_GET_INFO", { EFAULT, EINVAL, ENOMEM } },
	{ DEVICE, VFIO_DEVICE_GET_REGION_INFO, 0, "GET_REGION_INFO", { EFAULT, EINVAL, ENOMEM } },
	{ DEVICE, VFIO_DEVICE_GET_IRQ_INFO, 0, "GET_IRQ_INFO", { EFAULT, EINVAL } },
	{ DEVICE, VFIO_DEVICE_SET_IRQS, 0, "SET_IRQS", { EFAULT, EINVAL, ENOMEM, EBADF, ENOSPC } },
	{ DEVICE, VFIO_DEVICE_RESET, 0, "DEVICE_RESET", { EINVAL, EIO, EAGAIN, ENOTTY } },

	{ DEVICE, UAPI_DEVICE_BIND, 0, "BIND_IOMMUFD", { EFAULT, EINVAL, EBUSY, ENODEV, ENOMEM, EPERM } },
	{ DEVICE, UAPI_DEVICE_ATTACH, 0, "ATTACH_IOMMUFD_PT", { EFAULT, ENOMEM, EBUSY } },
	{ DEVICE, UAPI_DEVICE_DETACH, 0, "DETACH_IOMMUFD_PT", { EFAULT } },

/* Without those that say: this IOMMU cannot, which is no fault. */
#define IOMMU MODEL_IOCTL, MODEL_FILE_IOMMU
	{ IOMMU, UAPI_IOMMU_DESTROY, 0, "IOMMU_DESTROY", { EFAULT, EBUSY } },
	{ IOMMU, UAPI_IOAS_ALLOC, 0, "IOAS_ALLOC", { EFAULT, ENOMEM } },
	{ IOMMU, UAPI_IOAS_IOVA_RANGES, 0, "IOVA_RANGES", { EFAULT, ENOMEM, ENOENT } },
	{ IOMMU, UAPI_IOAS_MAP, 0, "IOAS_MAP", { EFAULT, EINVAL, EEXIST, ENOSPC, ENOMEM } },
	{ IOMMU, UAPI_IOAS_UNMAP, 0, "IOAS_UNMAP", { EFAULT, EINVAL, ENOENT, EBUSY, EDEADLOCK, ENOMEM } },
	{ IOMMU, UAPI_HWPT_ALLOC, 0, "HWPT_ALLOC", { EFAULT, ENOMEM } },
	{ IOMMU, UAPI_HWPT_SET_DIRTY, 0, "SET_DIRTY_TRACKING", { EFAULT, ENOMEM } },
	{ IOMMU,
	  UAPI_HWPT_GET_DIRTY,
	  0,
	  "GET_DIRTY_BITMAP",
	  { EFAULT, EINVAL, ENOENT, ENOMEM, EOVERFLOW, EOPNOTSUPP } },

#define PROCESS MODEL_IOCTL, MODEL_FILE_PROCESS
	{ PROCESS, UFFDIO_API, 0, "UFFDIO_API", { EINVAL, EFAULT } },
	{ PROCESS, UFFDIO_REGISTER, 0, "UFFDIO_REGISTER", { EBUSY, EINVAL, ENOMEM } },
	{ PROCESS, UFFDIO_UNREGISTER, 0, "UFFDIO_UNREGISTER", { EINVAL, ENOMEM } },
	{ PROCESS, UAPI_PAGEMAP_SCAN, 0, "PAGEMAP_SCAN", { EFAULT, ENOMEM, EINTR } },

#define FEATURE DEVICE, VFIO_DEVICE_FEATURE
	{ FEATURE, UAPI_FEATURE_PROBE, "FEATURE probe", { EFAULT, EINVAL, ENOTTY, EIO } },
	{ FEATURE,
	  UAPI_FEATURE_LOG_START,
	  "LOG_START",
	  { EFAULT, EINVAL, E2BIG, EOVERFLOW, ENOMEM, EOPNOTSUPP, EIO, ENOTCONN, ENOTTY } },
	{ FEATURE, UAPI_FEATURE_LOG_STOP, "LOG_STOP", { EFAULT, EINVAL, EIO } },
	{ FEATURE,
	  UAPI_FEATURE_LOG_REPORT,
	  "LOG_REPORT",
	  { EFAULT, EINVAL, EOVERFLOW, ENOMEM, EOPNOTSUPP, EIO, ENOTCONN } },
	{ FEATURE,
	  UAPI_FEATURE_SET | UAPI_FEATURE_MIG_STATE,
	  "MIG_STATE set",
	  { EFAULT, EINVAL, EIO, ENOMEM, ENOTCONN, EMFILE } },
	{ FEATURE, UAPI_FEATURE_MIG_STATE, "MIG_STATE get", { EFAULT, EINVAL, EIO } },
	{ FEATURE, 0, "FEATURE", { EFAULT, EINVAL, ENOTTY, EIO } },
	{ MODEL_IOCTL,
	  MODEL_FILE_STREAM,
	  UAPI_MIG_GET_PRECOPY_INFO,
	  0,
	  "PRECOPY_INFO",
	  { EFAULT, EINVAL, EIO, ENODEV } },
};

static const struct rule *rule_for(const struct model_trace *trace)
{
	for (size_t i = 0; i < ARRAY_SIZE(rules); i++) {
		const struct rule *rule = &rules[i];

		if (rule->call != trace->call)
			continue;
		if (rule->call != MODEL_IOCTL ||
		    (rule->file == trace->file && rule->request == trace->request &&
		     trace_has_flags(trace, rule->flags)))
			return rule;
	}
	return NULL;
}

const char *trace_name(const struct model_trace *trace)
{
	const struct rule *rule = rule_for(trace);

	return rule ? rule->name : "ioctl";
}

static bool trace_is_set_state(const struct model_trace *trace)
{
	return trace_is_feature(trace, UAPI_FEATURE_MIG_STATE) && trace->flags & UAPI_FEATURE_SET;
}

/* Done, but the answer could not be written. */
static bool trace_answers_late(const struct model_trace *trace)
{
	return trace->call == MODEL_IOCTL &&
	       ((trace->file == MODEL_FILE_IOMMU &&
		 (trace->request == UAPI_IOAS_MAP || trace->request == UAPI_IOAS_UNMAP)) ||
		(trace->file == MODEL_FILE_DEVICE && trace->request == UAPI_DEVICE_ATTACH));
}

/* The last partial step of a call that fails with an errno; see model_fault. */
static unsigned last_step(const struct model_trace *trace, int error)
{
	if (trace_is_feature(trace, UAPI_FEATURE_LOG_REPORT) && (error == EIO || error == EFAULT))
		return trace->mappings;
	if (trace_is_set_state(trace))
		return trace->mappings;
	if (error != EFAULT)
		return 0;
	if (trace_is_feature(trace, UAPI_FEATURE_LOG_START) || trace_answers_late(trace))
		return 1;
	if (trace_is_get(trace))
		return trace->mappings;
	if (!trace_is_unmap(trace))
		return 0;
	return trace->flags & VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP ? trace->mappings + 1 : 1;
}

/* Of REPORT's many steps: nothing, one page, all of them. */
static unsigned next_step(const struct model_trace *trace, unsigned step)
{
	if (step == 1 && trace_is_feature(trace, UAPI_FEATURE_LOG_REPORT) && trace->mappings > 2)
		return trace->mappings;
	return step + 1;
}

/* ---- enumeration ---- */

struct list {
	struct model_fault *faults;
	size_t count, room;
};

static void add(struct list *list, uint64_t nth, int error, unsigned step)
{
	list->faults = model_grow(list->faults, list->count, &list->room, sizeof(*list->faults));
	list->faults[list->count++] = (struct model_fault){ .nth = nth, .error = error, .step = step };
}

static void add_call(struct list *list, const struct model_trace *trace, uint64_t nth)
{
	const struct rule *rule = rule_for(trace);

	for (size_t i = 0; rule && i < ERRNOS_MAX && rule->errnos[i]; i++)
		for (unsigned step = 0; step <= last_step(trace, rule->errnos[i]);
		     step = next_step(trace, step))
			add(list, nth, rule->errnos[i], step);
	if (trace->call == MODEL_PREAD || trace->call == MODEL_PWRITE || trace->call == MODEL_READ ||
	    trace->call == MODEL_WRITE)
		add(list, nth, 0, 1);
}

size_t model_single_faults(struct model *m, struct model_fault **faults)
{
	struct list list = { 0 };

	model_lock(m);
	for (size_t i = 0; i < m->state->trace_count; i++)
		add_call(&list, &m->state->trace[i], i + 1);
	model_unlock(m);
	*faults = list.faults;
	return list.count;
}

/* The call is looked up in the trace of this model: give the one that recorded it. */
void model_fault_text(struct model *m, const struct model_fault *fault, char *text, size_t size)
{
	const struct model_state *s = m->state;
	const char *name = fault->call == MODEL_ANY ? "any call" : "call";
	struct model_trace wanted = { .call = fault->call, .request = fault->request, .flags = fault->flags };

	model_lock(m);
	if (fault->call == MODEL_ANY && fault->nth && fault->nth <= s->trace_count)
		name = trace_name(&s->trace[fault->nth - 1]);
	else if (fault->call != MODEL_ANY)
		for (int file = (int)fault->file; file <= MODEL_FILE_IOMMU; file++) {
			wanted.file = (enum model_file)file;
			if (!rule_for(&wanted))
				continue;
			name = trace_name(&wanted);
			break;
		}
	model_unlock(m);
	snprintf(text, size, "%s (call %llu): %s at step %u", name, (unsigned long long)fault->nth,
		 fault->error ? vfd_strcode(-fault->error) : "short", fault->step);
}

/* ---- armed faults ---- */

void model_fault(struct model *m, struct model_fault fault)
{
	struct model_state *s = m->state;

	if (!fault.nth)
		fault.nth = 1;
	if (!fault.times)
		fault.times = 1;
	model_lock(m);
	if (s->armed_count < ARRAY_SIZE(s->armed))
		s->armed[s->armed_count++] = (struct armed){ .fault = fault };
	else
		model_crash(m, "the test armed more than %zu faults", ARRAY_SIZE(s->armed));
	model_unlock(m);
}

void model_fault_clear(struct model *m)
{
	model_lock(m);
	m->state->armed_count = 0;
	model_unlock(m);
}

uint64_t model_fault_fired(struct model *m)
{
	uint64_t fired;

	model_lock(m);
	fired = m->state->fired;
	model_unlock(m);
	return fired;
}

static bool matches(const struct model_fault *fault, const struct model_trace *trace)
{
	if (fault->call != MODEL_ANY && fault->call != trace->call)
		return false;
	if (fault->request && fault->request != trace->request)
		return false;
	if (fault->file != MODEL_FILE_NONE && fault->file != trace->file)
		return false;
	if (fault->request == VFIO_DEVICE_FEATURE && fault->file == MODEL_FILE_NONE &&
	    trace->file == MODEL_FILE_DEVICE)
		return false;
	return trace_has_flags(trace, fault->flags);
}

/* Partial steps exist where the kernel has half-done states; everything else fails before it begins. */
static unsigned real_step(const struct model_trace *trace, const struct model_fault *fault)
{
	if (!fault->error)
		return 1;
	if (trace_is_feature(trace, UAPI_FEATURE_LOG_REPORT) || trace_is_set_state(trace))
		return fault->step;
	if (fault->error != EFAULT)
		return 0;
	return trace_is_get(trace) || trace_is_unmap(trace) || trace_answers_late(trace) ||
			       trace_is_feature(trace, UAPI_FEATURE_LOG_START)
		       ? fault->step
		       : 0;
}

void faults_apply(struct call *call)
{
	struct model_state *s = call->model->state;

	for (size_t i = 0; i < s->armed_count; i++) {
		struct armed *armed = &s->armed[i];

		if (!matches(&armed->fault, &call->trace) || ++armed->seen < armed->fault.nth)
			continue;
		if (!call->fails) {
			call->fails = true;
			call->error = armed->fault.error;
			call->step = real_step(&call->trace, &armed->fault);
			s->fired++;
		}
		if (armed->seen == armed->fault.nth + armed->fault.times - 1) {
			*armed = s->armed[--s->armed_count];
			i--;
		}
	}
}

bool call_refused(const struct call *call)
{
	return call->fails && call->error && !call->step;
}
