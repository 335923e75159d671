/* SPDX-License-Identifier: MIT */
/* A device as VFIO shows it: open and close, regions, config space, reset. */
#include <linux/pci_regs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "internal.h"
#include "uapi.h"

#define REGION_SHIFT 40
#define REGION_MASK  ((1ull << REGION_SHIFT) - 1)
#define MEMORY_SIZE  (VFDTEST_REGION0_SIZE + VFDTEST_REGION1_SIZE)
#define COMMAND_BITS 0x0547 /* what vfio-pci lets a user write of the command register */
#define INFO_SIZE    20	    /* struct vfio_device_info without its capability offset */
#define CAPABILITIES                                                                                         \
	0x40 /* power management; then PCI Express and Advanced Features, each with a function level reset */
#define EXPRESS	 0x50
#define ADVANCED 0x60
#define POWER	 (CAPABILITIES + PCI_PM_CTRL)
#define D3HOT	 3

void device_init(struct device *d, struct group *g, unsigned index)
{
	static const uint8_t ids[] = { 0x36, 0x1b, 0x10, 0x00 };

	d->group = g;
	d->config = &g->config.devices[index];
	d->index = -1;
	d->memory = -1;
	d->removable_reset = !d->config->no_reset;
	if (d->config->log)
		d->log.config = *d->config->log;
	if (d->config->migration)
		d->migration.config = *d->config->migration;
	d->migration.state = UAPI_MIG_RUNNING;
	memcpy(d->space, ids, sizeof(ids));
	d->space[PCI_STATUS] = PCI_STATUS_CAP_LIST;
	d->space[PCI_CAPABILITY_LIST] = CAPABILITIES;
	d->space[CAPABILITIES] = PCI_CAP_ID_PM;
	d->space[CAPABILITIES + 1] = EXPRESS;
	d->space[EXPRESS] = PCI_CAP_ID_EXP;
	d->space[EXPRESS + 1] = ADVANCED;
	d->space[EXPRESS + PCI_EXP_DEVCAP + 3] = PCI_EXP_DEVCAP_FLR >> 24;
	d->space[ADVANCED] = PCI_CAP_ID_AF;
	d->space[ADVANCED + PCI_AF_CAP] = PCI_AF_CAP_FLR;
	memset(d->triggers, 0xff, sizeof(d->triggers));
}

void device_fini(struct device *d)
{
	if (d->memory >= 0)
		close(d->memory);
	device_drop_triggers(d);
	free(d->pins);
	free(d->log.ranges);
	pageset_empty(&d->log.pages);
	pageset_empty(&d->truth);
	sets_empty(&d->sets);
}

struct device *device_by_name(struct model *m, const char *name)
{
	for (unsigned i = 0; i < m->state->config.group_count; i++)
		for (unsigned j = 0; j < m->state->groups[i].device_count; j++)
			if (strcmp(m->state->groups[i].devices[j].config->name, name) == 0)
				return &m->state->groups[i].devices[j];
	return NULL;
}

static bool asleep(const struct device *d)
{
	return (d->space[POWER] & D3HOT) == D3HOT;
}

bool device_can_write(const struct device *d)
{
	return !d->quiet && !d->migration.stopped && !asleep(d) &&
	       (!d->config->pci || d->space[PCI_COMMAND] & PCI_COMMAND_MASTER);
}

/* To add it to its container's list, or to take it off, the kernel takes the container's lock, then that of the list. */
static void check_listed(struct model *m, const struct device *d)
{
	if (d->group->container && d->group->container->notifying)
		model_crash(m, "deadlock: %s opened or closed while UNMAP_DMA asks drivers to unpin",
			    d->config->name);
}

/* The first opener makes the group busy and holds its file. */
void device_ref(struct model *m, struct device *d)
{
	if (d->opens++)
		return;
	check_listed(m, d);
	d->opened++;
	d->quiet = false;
	d->group->users++;
	if (!d->cdev)
		file_get(d->group->opened);
}

void device_unref(struct model *m, struct device *d)
{
	struct group *g = d->group;

	if (--d->opens)
		return;
	check_listed(m, d);
	devlog_close(m, d); /* while it can still write */
	d->writer.running = false;
	pins_drop_all_in(m, d, 0, ~0ull);
	migration_reset(m, d);
	device_drop_triggers(d);
	d->space[PCI_COMMAND] &= (uint8_t)~PCI_COMMAND_MASTER;
	d->space[POWER] &= (uint8_t)~D3HOT;
	d->quiet = !d->config->pci;
	if (d->cdev)
		cdev_unbind(m, d);
	else
		file_put(m, g->opened);
	g->users--;
	group_finish_unplug(m, g);
}

int device_open(struct model *m, struct device *d)
{
	struct file *file = file_new(FILE_DEVICE);

	file->device = d;
	device_ref(m, d);
	return files_install(m, file);
}

int model_hold(struct model *m, const char *name)
{
	struct device *d;
	int result = -ENOTCONN;

	model_lock(m);
	d = device_by_name(m, name);
	if (d && d->opens) {
		d->held++;
		device_ref(m, d);
		result = 0;
	}
	model_unlock(m);
	return result;
}

void model_release(struct model *m, const char *name)
{
	struct device *d;

	model_lock(m);
	d = device_by_name(m, name);
	if (d && d->held) {
		d->held--;
		device_unref(m, d);
	}
	model_unlock(m);
}

/* ---- regions ---- */

static uint32_t region_count(const struct device *d)
{
	return d->config->pci ? VFIO_PCI_NUM_REGIONS : VFDTEST_REGIONS;
}

static uint64_t region_size(const struct device *d, uint64_t index)
{
	if (index == 0)
		return VFDTEST_REGION0_SIZE;
	if (index == 1)
		return VFDTEST_REGION1_SIZE;
	return d->config->pci && index == VFIO_PCI_CONFIG_REGION_INDEX ? sizeof(d->space) : 0;
}

static int memory_of(struct device *d)
{
	if (d->memory < 0) {
		d->memory = memfd_create("model-device", MFD_CLOEXEC);
		if (d->memory < 0 || ftruncate(d->memory, MEMORY_SIZE))
			abort();
	}
	return d->memory;
}

void device_save(struct device *d, void *state)
{
	if (pread(memory_of(d), state, MODEL_STATE_SIZE, 0) != MODEL_STATE_SIZE)
		abort();
}

void device_load(struct device *d, const void *state)
{
	if (pwrite(memory_of(d), state, MODEL_STATE_SIZE, 0) != MODEL_STATE_SIZE)
		abort();
}

static off_t memory_offset(uint64_t offset)
{
	return (off_t)((offset >> REGION_SHIFT ? VFDTEST_REGION0_SIZE : 0) + (offset & REGION_MASK));
}

/* A PCI device's config space is saved and restored around it, the bus master bit too; the device itself forgets its work. */
static int reset(struct model *m, struct device *d)
{
	static const char zeros[MEMORY_SIZE];

	if (!d->removable_reset)
		return -EINVAL;
	d->writer.running = false;
	pins_enter_truth(m, d);
	d->quiet = d->hushed = true;
	devlog_reset(m, d);
	migration_reset(m, d);
	d->resets++;
	return pwrite(memory_of(d), zeros, sizeof(zeros), 0) == (ssize_t)sizeof(zeros) ? 0 : -EIO;
}

/* It forgets its configuration in D3hot, unless it says that it does not, and vfio-pci brings it back as it was on the way there, bus
 * mastering too. */
static void set_power(struct model *m, struct device *d, uint8_t state)
{
	bool slept = asleep(d), keeps = d->space[POWER] & PCI_PM_CTRL_NO_SOFT_RESET;

	d->space[POWER] = (uint8_t)((d->space[POWER] & ~D3HOT) | state);
	if (!slept && state == D3HOT)
		d->asleep = d->space[PCI_COMMAND];
	if (!slept || state == D3HOT || keeps)
		return;
	devlog_reset(m, d);
	d->space[PCI_COMMAND] = d->asleep;
	d->hushed = !(d->asleep & PCI_COMMAND_MASTER);
}

/* By a bit of PCI Express, or of Advanced Features: what is in no list is no capability. */
static bool flr(const struct device *d, uint64_t at, uint8_t value)
{
	if (!(d->space[PCI_STATUS] & PCI_STATUS_CAP_LIST))
		return false;
	return (at == EXPRESS + PCI_EXP_DEVCTL + 1 && value & PCI_EXP_DEVCTL_BCR_FLR >> 8) ||
	       (at == ADVANCED + PCI_AF_CTRL && value & PCI_AF_CTRL_FLR);
}

static ssize_t space_write(struct model *m, struct device *d, const uint8_t *data, size_t size,
			   uint64_t offset)
{
	for (size_t i = 0; i < size; i++) {
		uint64_t at = offset + i;

		if (at == PCI_COMMAND)
			d->space[at] = data[i] & (COMMAND_BITS & 0xff),
			d->hushed = !(data[i] & PCI_COMMAND_MASTER);
		else if (at == PCI_COMMAND + 1)
			d->space[at] = data[i] & (COMMAND_BITS >> 8);
		else if (at == PCI_INTERRUPT_LINE)
			d->space[at] = data[i];
		else if (at == POWER)
			set_power(m, d, data[i] & D3HOT);
		else if (flr(d, at, data[i]))
			reset(m, d);
	}
	return (ssize_t)size;
}

/* How many bytes of an access are in its region, or what is wrong with it. */
static ssize_t check_access(const struct device *d, size_t size, uint64_t offset)
{
	uint64_t length = region_size(d, offset >> REGION_SHIFT), at = offset & REGION_MASK;

	if (offset >> REGION_SHIFT == VFIO_PCI_CONFIG_REGION_INDEX && (at >= length || size > length - at))
		return -EFAULT;
	if (at >= length)
		return -EINVAL;
	return (ssize_t)(size < length - at ? size : length - at);
}

ssize_t device_read(struct device *d, void *data, size_t size, uint64_t offset)
{
	ssize_t count = check_access(d, size, offset);

	if (count <= 0)
		return count;
	if (offset >> REGION_SHIFT != VFIO_PCI_CONFIG_REGION_INDEX)
		return pread(memory_of(d), data, (size_t)count, memory_offset(offset));
	return copy_out(data, d->space + (offset & REGION_MASK), (size_t)count) ? -EFAULT : count;
}

ssize_t device_write(struct model *m, struct device *d, const void *data, size_t size, uint64_t offset)
{
	ssize_t count = check_access(d, size, offset);
	uint8_t bytes[sizeof(d->space)];

	if (count <= 0)
		return count;
	if (offset >> REGION_SHIFT != VFIO_PCI_CONFIG_REGION_INDEX) {
		d->quiet = d->hushed = false;
		return pwrite(memory_of(d), data, (size_t)count, memory_offset(offset));
	}
	if (copy_in(bytes, data, (size_t)count))
		return -EFAULT;
	return space_write(m, d, bytes, (size_t)count, offset & REGION_MASK);
}

/* Region 1 can be mapped in two places only. */
static bool mappable(uint64_t offset, size_t size)
{
	uint64_t at = offset & REGION_MASK;

	if (!size || at % MODEL_PAGE_SIZE)
		return false;
	if (offset >> REGION_SHIFT == 0)
		return at < VFDTEST_REGION0_SIZE && size <= VFDTEST_REGION0_SIZE - at;
	return offset >> REGION_SHIFT == 1 && (at == 0 || at == 2 * MODEL_PAGE_SIZE) &&
	       size <= MODEL_PAGE_SIZE;
}

int device_map(struct device *d, uint64_t offset, size_t size, int prot, void **memory)
{
	void *at;

	if (!mappable(offset, size))
		return -EINVAL;
	at = mmap(NULL, size, prot, MAP_SHARED, memory_of(d), memory_offset(offset));
	if (at == MAP_FAILED)
		return -errno;
	*memory = at;
	return 0;
}

/* ---- ioctls ---- */

static int get_info(const struct device *d, void *argument)
{
	struct vfio_device_info info = { 0 };
	uint32_t argsz;

	if (copy_in(&info, argument, INFO_SIZE))
		return -EFAULT;
	argsz = info.argsz;
	if (argsz < INFO_SIZE)
		return -EINVAL;
	info.flags = (d->config->pci ? VFIO_DEVICE_FLAGS_PCI : VFIO_DEVICE_FLAGS_PLATFORM) |
		     (d->removable_reset ? VFIO_DEVICE_FLAGS_RESET : 0);
	info.num_regions = region_count(d);
	info.num_irqs = device_irq_count(d);
	return copy_out(argument, &info, argsz < sizeof(info) ? INFO_SIZE : sizeof(info));
}

struct sparse {
	struct vfio_region_info info;
	struct vfio_info_cap_header head;
	uint32_t count, pad;
	struct vfio_region_sparse_mmap_area areas[2];
};

/* As everywhere: too small a buffer is a success that says how much is needed. */
static int sparse_region(struct sparse *answer, void *argument)
{
	uint32_t argsz = answer->info.argsz;

	answer->info.flags |= VFIO_REGION_INFO_FLAG_MMAP | VFIO_REGION_INFO_FLAG_CAPS;
	answer->head.id = VFIO_REGION_INFO_CAP_SPARSE_MMAP;
	answer->head.version = 1;
	answer->count = 2;
	answer->areas[0].size = MODEL_PAGE_SIZE;
	answer->areas[1].offset = 2 * MODEL_PAGE_SIZE;
	answer->areas[1].size = MODEL_PAGE_SIZE;
	answer->info.cap_offset = argsz < sizeof(*answer) ? 0 : sizeof(answer->info);
	if (argsz >= sizeof(*answer))
		return copy_out(argument, answer, sizeof(*answer));
	answer->info.argsz = sizeof(*answer);
	return copy_out(argument, answer, sizeof(answer->info));
}

static int get_region_info(const struct device *d, void *argument)
{
	struct sparse answer = { 0 };
	uint32_t index;

	if (copy_in(&answer.info, argument, sizeof(answer.info)))
		return -EFAULT;
	index = answer.info.index;
	if (answer.info.argsz < sizeof(answer.info) || index >= region_count(d))
		return -EINVAL;
	answer.info.offset = (uint64_t)index << REGION_SHIFT;
	answer.info.size = region_size(d, index);
	answer.info.flags = answer.info.size ? VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE : 0;
	answer.info.cap_offset = 0;
	if (index == 1)
		return sparse_region(&answer, argument);
	if (index == 0)
		answer.info.flags |= VFIO_REGION_INFO_FLAG_MMAP;
	return copy_out(argument, &answer.info, sizeof(answer.info));
}

int device_ioctl(struct call *call, struct device *d, unsigned long request, void *argument)
{
	switch (request) {
	case VFIO_DEVICE_GET_INFO:
		return get_info(d, argument);
	case VFIO_DEVICE_GET_REGION_INFO:
		return get_region_info(d, argument);
	case VFIO_DEVICE_GET_IRQ_INFO:
		return device_irq_info(d, argument);
	case VFIO_DEVICE_SET_IRQS:
		return device_set_irqs(d, argument);
	case VFIO_DEVICE_RESET:
		return reset(call->model, d);
	case VFIO_DEVICE_FEATURE:
		return feature_ioctl(call, d, argument);
	default:
		return -ENOTTY;
	}
}

/* ---- knobs ---- */

void model_set_config(struct model *m, const char *name, uint8_t at, uint8_t value)
{
	struct device *d;

	model_lock(m);
	d = device_by_name(m, name);
	if (d && d->config->pci)
		d->space[at] = value;
	else
		model_crash(m, "the test wrote the configuration space of %s, which has none", name);
	model_unlock(m);
}
