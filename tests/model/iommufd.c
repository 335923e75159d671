/* SPDX-License-Identifier: MIT */
/* /dev/iommu: address spaces, page tables, and the devices that are bound and attached. */
#include "iommufd.h"

#include <stdlib.h>
#include <string.h>

#include "uapi_iommufd.h"

/* ---- objects ---- */

struct object *iommu_find(struct iommu *iommu, uint32_t id)
{
	for (size_t i = 0; i < iommu->count; i++)
		if (iommu->objects[i].id == id)
			return &iommu->objects[i];
	return NULL;
}

struct object *iommu_add(struct iommu *iommu, enum object_kind kind)
{
	struct object *object;

	iommu->objects = model_grow(iommu->objects, iommu->count, &iommu->room, sizeof(*iommu->objects));
	object = &iommu->objects[iommu->count++];
	*object = (struct object){ .id = ++iommu->last_id, .kind = kind };
	return object;
}

static void free_hwpt(struct model *m, struct hwpt *h)
{
	hwpt_drop(m, h, 0, ~0ull);
	container_put(m, h->ioas);
	pageset_empty(&h->dirty);
	free(h);
}

void iommu_remove(struct model *m, struct iommu *iommu, struct object *object)
{
	struct object gone = *object;

	*object = iommu->objects[--iommu->count];
	if (gone.kind == OBJECT_HWPT)
		free_hwpt(m, gone.hwpt);
	if (gone.kind == OBJECT_IOAS) {
		gone.ioas->open = false;
		container_put(m, gone.ioas);
	}
}

struct iommu *iommu_new(struct model *m)
{
	struct iommu *iommu = model_alloc(1, sizeof(*iommu));

	iommu->refs = 1;
	m->state->iommus++;
	return iommu;
}

/* Page tables before the address spaces that they belong to. */
void iommu_put(struct model *m, struct iommu *iommu)
{
	if (--iommu->refs)
		return;
	for (int kind = OBJECT_HWPT; kind >= OBJECT_IOAS; kind--)
		for (size_t i = iommu->count; i-- > 0;)
			if (iommu->objects[i].kind == (enum object_kind)kind)
				iommu_remove(m, iommu, &iommu->objects[i]);
	free(iommu->objects);
	free(iommu);
	m->state->iommus--;
}

/* ---- address spaces ---- */

static struct container *ioas_of(struct iommu *iommu, uint32_t id)
{
	struct object *object = iommu_find(iommu, id);

	return object && object->kind == OBJECT_IOAS ? object->ioas : NULL;
}

static int ioas_alloc(struct model *m, struct iommu *iommu, void *argument)
{
	struct uapi_ioas_alloc ask;
	struct container *c;
	struct object *object;

	if (copy_in(&ask, argument, sizeof(ask)))
		return -EFAULT;
	if (ask.size < sizeof(ask))
		return -EINVAL;
	if (ask.flags)
		return -EOPNOTSUPP;
	c = container_new(m);
	c->kind = MODEL_IOAS;
	c->driver = true;
	if (!c->type1)
		c->type1 = type1_open(m, true);
	object = iommu_add(iommu, OBJECT_IOAS);
	object->ioas = c;
	ask.out_ioas_id = object->id;
	return copy_out(argument, &ask, sizeof(ask));
}

static int set_option(struct iommu *iommu, const void *argument)
{
	struct uapi_iommu_option ask;
	struct container *c;

	if (copy_in(&ask, argument, sizeof(ask)))
		return -EFAULT;
	if (ask.option_id != UAPI_OPTION_HUGE_PAGES || ask.op || ask.val64 > 1)
		return -EOPNOTSUPP;
	c = ioas_of(iommu, ask.object_id);
	if (!c)
		return -ENOENT;
	if (c->type1->count)
		return -EINVAL;
	c->small = !ask.val64;
	return 0;
}

/* Also before a device came: then it is everything. */
static int iova_ranges(struct iommu *iommu, void *argument)
{
	struct vfio_iova_range ranges[MODEL_MAX_RANGES * MODEL_MAX_GROUPS + 1] = { { .end = ~0ull } };
	struct uapi_ioas_iova_ranges ask;
	struct container *c;
	uint32_t room, count = 1;

	if (copy_in(&ask, argument, sizeof(ask)))
		return -EFAULT;
	c = ioas_of(iommu, ask.ioas_id);
	if (!c)
		return -ENOENT;
	if (c->type1->had_physical)
		count = type1_ranges(c, ranges);
	room = ask.num_iovas;
	ask.num_iovas = count;
	ask.out_iova_alignment = c->type1->physical ? type1_page_size(c->type1) : 1;
	if (copy_out((void *)(uintptr_t)ask.allowed_iovas, ranges,
		     (room < count ? room : count) * sizeof(*ranges)) ||
	    copy_out(argument, &ask, sizeof(ask)))
		return -EFAULT;
	return count > room ? -EMSGSIZE : 0;
}

static int allow_iovas(struct iommu *iommu, const void *argument)
{
	struct vfio_iova_range ranges[MODEL_MAX_RANGES];
	struct uapi_ioas_allow_iovas ask;
	struct container *c;

	if (copy_in(&ask, argument, sizeof(ask)))
		return -EFAULT;
	if (ask.reserved)
		return -EOPNOTSUPP;
	c = ioas_of(iommu, ask.ioas_id);
	if (!c)
		return -ENOENT;
	if (ask.num_iovas > MODEL_MAX_RANGES)
		return -ENOMEM;
	if (copy_in(ranges, (const void *)(uintptr_t)ask.allowed_iovas, ask.num_iovas * sizeof(*ranges)))
		return -EFAULT;
	for (uint32_t i = 0; i < ask.num_iovas; i++) {
		if (ranges[i].start > ranges[i].end)
			return -EINVAL;
		if (!type1_range_allowed(c, ranges[i].start, ranges[i].end))
			return -EADDRINUSE;
	}
	memcpy(c->allowed, ranges, ask.num_iovas * sizeof(*ranges));
	c->allowed_count = ask.num_iovas;
	return 0;
}

static int check_map(const struct container *c, const struct uapi_ioas_map *ask)
{
	uint64_t last;

	if (!(ask->flags & (UAPI_IOAS_MAP_READ | UAPI_IOAS_MAP_WRITE)) || !ask->length)
		return -EINVAL;
	if (__builtin_add_overflow(ask->iova, ask->length - 1, &last))
		return -EOVERFLOW;
	if ((ask->iova | ask->length | ask->user_va) & (type1_page_size(c->type1) - 1))
		return -EINVAL;
	if (type1_find(c->type1, ask->iova, ask->length))
		return -EEXIST;
	return type1_range_allowed(c, ask->iova, last) ? 0 : -EINVAL;
}

static int ioas_map(struct call *call, struct iommu *iommu, const void *argument)
{
	struct uapi_ioas_map ask;
	struct container *c;
	int error;

	if (copy_in(&ask, argument, sizeof(ask)))
		return -EFAULT;
	c = ioas_of(iommu, ask.ioas_id);
	if (!c)
		return -ENOENT;
	error = check_map(c, &ask);
	if (!error)
		error = type1_add(
			call->model, c->type1,
			&(struct vfio_iommu_type1_dma_map){
				.flags = (ask.flags & UAPI_IOAS_MAP_READ ? VFIO_DMA_MAP_FLAG_READ : 0) |
					 (ask.flags & UAPI_IOAS_MAP_WRITE ? VFIO_DMA_MAP_FLAG_WRITE : 0),
				.iova = ask.iova,
				.vaddr = ask.user_va,
				.size = ask.length,
			});
	return !error && call->fails ? -call->error : error; /* done, but the answer could not be written */
}

/* Somebody in the address space could write until now, between the caller's GET and this: for the caller all of it is in doubt. */
static bool is_loud(const struct container *c)
{
	for (unsigned i = 0; i < c->group_count; i++)
		for (unsigned j = 0; j < c->groups[i]->device_count; j++) {
			const struct device *d = &c->groups[i]->devices[j];

			if (d->ioas == c && d->hwpt && !d->hushed)
				return true;
		}
	return false;
}

static void unmap_one(struct model *m, struct iommu *iommu, struct container *c, size_t index)
{
	struct type1 *t = c->type1;
	struct mapping *map = t->maps[index];

	for (unsigned i = 0; i < c->group_count; i++)
		for (unsigned j = 0; j < c->groups[i]->device_count; j++)
			pins_drop_all_in(m, &c->groups[i]->devices[j], map->iova,
					 map->iova + (map->size - 1));
	if (is_loud(c) && m->state->recording)
		truth_spoiled(m, map);
	hwpts_drop(m, iommu, c, map->iova, map->iova + (map->size - 1)); /* no unmap reports (trap 41) */
	memmove(t->maps + index, t->maps + index + 1, (t->count - index - 1) * sizeof(*t->maps));
	t->count--;
	type1_remove(m, t, map);
}

static int ioas_unmap(struct call *call, struct iommu *iommu, void *argument)
{
	struct uapi_ioas_unmap ask;
	struct container *c;
	uint64_t done = 0;
	size_t index;

	if (copy_in(&ask, argument, sizeof(ask)))
		return -EFAULT;
	c = ioas_of(iommu, ask.ioas_id);
	if (!c)
		return -ENOENT;
	if (type1_cuts(c->type1, ask.iova, ask.length))
		return -ENOENT;
	index = type1_first_index(c->type1, ask.iova);
	while (index < c->type1->count && c->type1->maps[index]->iova - ask.iova < ask.length) {
		done += c->type1->maps[index]->size;
		unmap_one(call->model, iommu, c, index);
	}
	if (!done)
		return -ENOENT;
	if (call->fails)
		return -call->error;
	ask.length = done;
	return copy_out(argument, &ask, sizeof(ask));
}

/* ---- page tables ---- */

static int hwpt_alloc(const struct model *m, struct iommu *iommu, void *argument)
{
	struct uapi_hwpt_alloc ask;
	struct object *device, *object;
	struct container *c;
	bool dirty;

	if (copy_in(&ask, argument, sizeof(ask)))
		return -EFAULT;
	device = iommu_find(iommu, ask.dev_id);
	if (!device || device->kind != OBJECT_DEVICE || device->device->group->config.kind != MODEL_PHYSICAL)
		return -ENOENT;
	c = ioas_of(iommu, ask.pt_id);
	if (!c)
		return -EINVAL;
	dirty = ask.flags & UAPI_HWPT_ALLOC_DIRTY;
	if (dirty && m->state->config.age == MODEL_NO_DIRTY)
		return -EOPNOTSUPP;
	if (dirty && !device->device->group->config.dirty_bits)
		return -EOPNOTSUPP;
	int which = device->device->group->config.iommu;
	object = iommu_add(iommu, OBJECT_HWPT);
	object->hwpt = model_alloc(1, sizeof(*object->hwpt));
	*object->hwpt = (struct hwpt){ .ioas = c, .iommu = which, .can = dirty };
	c->refs++;
	ask.out_hwpt_id = object->id;
	return copy_out(argument, &ask, sizeof(ask));
}

static int get_hw_info(const struct model *m, struct iommu *iommu, void *argument)
{
	struct uapi_hw_info ask;
	const struct object *device;

	if (copy_in(&ask, argument, sizeof(ask)))
		return -EFAULT;
	device = iommu_find(iommu, ask.dev_id);
	if (!device || device->kind != OBJECT_DEVICE || device->device->group->config.kind != MODEL_PHYSICAL)
		return -ENOENT;
	if (m->state->config.age == MODEL_NO_DIRTY) /* its struct ends before the capabilities */
		return 0;
	ask.out_capabilities = device->device->group->config.dirty_bits ? UAPI_HW_CAP_DIRTY : 0;
	return copy_out(argument, &ask, sizeof(ask));
}

/* What a kernel of that age does not know. */
static bool is_unknown(const struct model *m, unsigned long request)
{
	enum model_iommufd_age age = m->state->config.age;

	if (age >= MODEL_NO_DIRTY && (request == UAPI_HWPT_SET_DIRTY || request == UAPI_HWPT_GET_DIRTY))
		return true;
	return age >= MODEL_NO_HWPT && (request == UAPI_GET_HW_INFO || request == UAPI_HWPT_ALLOC);
}

static int destroy(struct model *m, struct iommu *iommu, const void *argument)
{
	struct uapi_iommu_destroy ask;
	struct object *object;

	if (copy_in(&ask, argument, sizeof(ask)))
		return -EFAULT;
	object = iommu_find(iommu, ask.id);
	if (!object)
		return -ENOENT;
	if (object->kind == OBJECT_DEVICE || (object->kind == OBJECT_HWPT && object->hwpt->users) ||
	    (object->kind == OBJECT_IOAS && object->ioas->refs > 1))
		return -EBUSY;
	iommu_remove(m, iommu, object);
	return 0;
}

int iommu_ioctl(struct call *call, struct iommu *iommu, unsigned long request, void *argument)
{
	if (is_unknown(call->model, request))
		return -ENOTTY;
	switch (request) {
	case UAPI_IOAS_ALLOC:
		return ioas_alloc(call->model, iommu, argument);
	case UAPI_IOMMU_OPTION:
		return set_option(iommu, argument);
	case UAPI_IOAS_ALLOW_IOVAS:
		return allow_iovas(iommu, argument);
	case UAPI_IOAS_IOVA_RANGES:
		return iova_ranges(iommu, argument);
	case UAPI_IOAS_MAP:
		return ioas_map(call, iommu, argument);
	case UAPI_IOAS_UNMAP:
		return ioas_unmap(call, iommu, argument);
	case UAPI_HWPT_ALLOC:
		return hwpt_alloc(call->model, iommu, argument);
	case UAPI_GET_HW_INFO:
		return get_hw_info(call->model, iommu, argument);
	case UAPI_HWPT_SET_DIRTY:
		return hwpt_set_dirty(call, iommu, argument);
	case UAPI_HWPT_GET_DIRTY:
		return hwpt_get_dirty(call, iommu, argument);
	case UAPI_IOMMU_DESTROY:
		return destroy(call->model, iommu, argument);
	default:
		return -ENOTTY;
	}
}

/* A fault refused the call before it did anything, which its caller cannot know. */
void iommu_refused(struct call *call, struct iommu *iommu, const void *argument)
{
	struct uapi_hwpt_get_dirty get;
	struct uapi_ioas_unmap unmap;
	struct uapi_ioas_map map;

	if (!call->model->state->recording)
		return;
	if (call->trace.request == UAPI_IOAS_MAP && (call->error == ENOMEM || call->error == EFAULT) &&
	    !copy_in(&map, argument, sizeof(map)))
		truth_glimpsed(call->model, map.user_va, map.length);
	if (call->trace.request == UAPI_HWPT_GET_DIRTY && !copy_in(&get, argument, sizeof(get))) {
		const struct object *object = iommu_find(iommu, get.hwpt_id);

		if (object && object->hwpt)
			type1_suspect(call->model, object->hwpt->ioas->type1, get.iova, get.length, false);
	}
	if (call->trace.request == UAPI_IOAS_UNMAP && !copy_in(&unmap, argument, sizeof(unmap))) {
		const struct container *c = ioas_of(iommu, unmap.ioas_id);

		if (c)
			type1_suspect(call->model, c->type1, unmap.iova, unmap.length, false);
	}
}

void iommu_held(const struct iommu *iommu, struct pageset *set)
{
	for (size_t i = 0; i < iommu->count; i++)
		if (iommu->objects[i].kind == OBJECT_HWPT)
			hwpt_held(iommu->objects[i].hwpt, set);
}

bool iommu_tracking(const struct iommu *iommu)
{
	for (size_t i = 0; iommu && i < iommu->count; i++)
		if (iommu->objects[i].kind == OBJECT_HWPT && iommu->objects[i].hwpt->on)
			return true;
	return false;
}

uint64_t iommu_mapping_count(const struct iommu *iommu)
{
	uint64_t count = 0;

	for (size_t i = 0; iommu && i < iommu->count; i++)
		if (iommu->objects[i].kind == OBJECT_IOAS)
			count += iommu->objects[i].ioas->type1->count;
	return count;
}

/* ---- devices ---- */

void cdev_detach(struct model *m, struct device *d)
{
	struct container *c = d->ioas;
	struct group *g = d->group;
	bool last = true;

	if (!c)
		return;
	if (d->hwpt)
		d->hwpt->users--;
	d->ioas = NULL;
	d->hwpt = NULL;
	for (unsigned i = 0; i < g->device_count; i++)
		last &= !g->devices[i].ioas;
	if (last) {
		pins_drop_all_in(m, d, 0, ~0ull);
		ioas_leave(m, c, g);
	}
	container_put(m, c);
}

/* The whole group is in one table, and that is of its IOMMU. */
static bool fits(const struct device *d, const struct hwpt *h)
{
	const struct group *g = d->group;

	for (unsigned i = 0; i < g->device_count; i++)
		if (&g->devices[i] != d && g->devices[i].ioas && g->devices[i].hwpt != h)
			return false;
	return !h || (h->iommu == g->config.iommu && g->config.kind == MODEL_PHYSICAL &&
		      (!h->can || g->config.dirty_bits));
}

/* Whether its IOMMU reaches all that must stay usable. */
static bool reaches_allowed(const struct container *c, const struct model_group_config *config)
{
	uint32_t reached = 0;

	for (uint32_t i = 0; i < c->allowed_count; i++)
		for (unsigned j = 0; j < MODEL_MAX_RANGES && config->ranges[j].last; j++)
			reached += c->allowed[i].start >= config->ranges[j].first &&
				   c->allowed[i].end <= config->ranges[j].last;
	return config->kind == MODEL_EMULATED || reached == c->allowed_count;
}

static int enter(struct model *m, struct device *d, struct container *c, struct hwpt *h)
{
	int error = 0;

	if (!fits(d, h))
		return -EINVAL;
	if (!reaches_allowed(c, &d->group->config))
		return -EADDRINUSE;
	cdev_detach(m, d); /* what was before is replaced */
	if (!d->group->container)
		error = ioas_join(m, c, d->group);
	if (error)
		return error;
	d->ioas = c;
	d->hwpt = h;
	c->refs++;
	if (h)
		h->users++;
	return 0;
}

static int attach(struct call *call, struct device *d, void *argument)
{
	struct uapi_device_attach ask;
	const struct object *object;
	int error;

	if (copy_in(&ask, argument, sizeof(ask)))
		return -EFAULT;
	if (ask.argsz < sizeof(ask) || ask.flags)
		return -EINVAL;
	object = iommu_find(d->iommu, ask.pt_id);
	if (!object)
		return -ENOENT;
	if (object->kind == OBJECT_DEVICE)
		return -EINVAL;
	if (object->kind == OBJECT_HWPT && d->group->config.kind == MODEL_EMULATED)
		return -ENOENT;
	error = object->kind == OBJECT_HWPT ? enter(call->model, d, object->hwpt->ioas, object->hwpt)
					    : enter(call->model, d, object->ioas, NULL);
	if (error || !call->fails)
		return error;
	cdev_detach(call->model, d); /* the answer could not be written */
	return -call->error;
}

static int bind(struct model *m, struct file *file, void *argument)
{
	struct device *d = file->device;
	struct uapi_device_bind ask;
	const struct file *other;
	struct object *object;

	if (copy_in(&ask, argument, sizeof(ask)))
		return -EFAULT;
	if (ask.argsz < sizeof(ask) || ask.flags || ask.iommufd < 0 || file->bound)
		return -EINVAL;
	other = files_lookup(m, ask.iommufd);
	if (!other)
		return -EBADF;
	if (other->kind != FILE_IOMMU)
		return -EBADFD;
	if (d->group->opened || d->opens)
		return -EBUSY;
	d->cdev = file->bound = true;
	d->hushed = false;
	d->iommu = other->iommu;
	d->iommu->refs++;
	object = iommu_add(d->iommu, OBJECT_DEVICE);
	object->device = d;
	ask.out_devid = object->id;
	device_ref(m, d);
	return copy_out(argument, &ask, sizeof(ask));
}

/* The last descriptor is closed. */
void cdev_unbind(struct model *m, struct device *d)
{
	struct iommu *iommu = d->iommu;

	cdev_detach(m, d);
	for (size_t i = 0; i < iommu->count; i++)
		if (iommu->objects[i].device == d) {
			iommu_remove(m, iommu, &iommu->objects[i]);
			break;
		}
	d->cdev = false;
	d->iommu = NULL;
	iommu_put(m, iommu);
}

/* 1: not one of these. */
int cdev_ioctl(struct call *call, struct file *file, unsigned long request, void *argument)
{
	if (!file->cdev)
		return 1;
	if (request == UAPI_DEVICE_BIND)
		return bind(call->model, file, argument);
	if (!file->bound)
		return -EINVAL;
	if (request == UAPI_DEVICE_ATTACH)
		return attach(call, file->device, argument);
	if (request != UAPI_DEVICE_DETACH)
		return 1;
	if (call->fails)
		return -call->error;
	cdev_detach(call->model, file->device);
	return 0;
}

int cdev_open_node(struct model *m, struct device *d)
{
	struct file *file = file_new(FILE_DEVICE);

	file->device = d;
	file->cdev = true;
	return files_install(m, file);
}
