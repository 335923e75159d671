/* SPDX-License-Identifier: MIT */

/* Devices: when one can write, and what their own logs hold. */

#include "guard.h"

#include <errno.h>
#include <linux/vfio.h>
#include <string.h>

#include "calls.h"

/* ---- loud and silent ------------------------------------------------------------------------------------------------ */

struct record *device_record(struct file *file)
{
	struct file *owner = file->owner;
	struct table *table;

	if (!owner)
		return NULL;
	if (owner->kind == GROUP)
		return owner->owner ? &owner->owner->record : NULL;
	table = table_find(owner, file->device.table);
	return table && table->space ? &table->record : NULL;
}

static void record_loud(struct record *record)
{
	if (record)
		record->loud++;
}

static void record_silent(struct record *record)
{
	if (!record || !record->loud)
		return;
	record->loud--;
	record->last = now();
}

void device_loud(struct file *file)
{
	file->device.by_reset = false;
	if (file->device.loud)
		return;
	file->device.loud = true;
	record_loud(device_record(file));
	record_loud(&file->device.log);
}

void device_silent(struct file *file)
{
	if (!file->device.loud)
		return;
	file->device.loud = false;
	record_silent(device_record(file));
	record_silent(&file->device.log);
}

/* It leaves a page table (0: none), and comes into another. */
static void move(struct file *file, uint32_t id)
{
	struct table *table;

	if (file->device.loud)
		record_silent(device_record(file));
	file->device.table = id;
	table = file->owner && file->owner->kind == IOMMUFD ? table_find(file->owner, id) : NULL;
	if (table && !table->devices_known) {
		table->devices_known = true;
		record_silent(&table->record);
	}
	if (file->device.loud)
		record_loud(device_record(file));
}

/* Bus mastering, in the command register; and a write to a device that was reset may wake it. */
void device_written(struct file *file, const void *data, size_t size, uint64_t offset, bool done)
{
	uint64_t command = file->device.config + 4;
	bool known = file->device.config && offset <= command && command - offset < size;
	bool on = known && ((const uint8_t *)data)[command - offset] & 4;

	if (!done && (on || file->device.by_reset))
		device_loud(file);
	if (done && known && !on)
		device_silent(file);
}

/* ---- migration -------------------------------------------------------------------------------------------------------- */

static int set_state(struct file *file, int fd, unsigned long request, struct vfio_device_feature *feature)
{
	uint32_t state;
	bool silent;
	int result;

	memcpy(&state, feature->data, sizeof state);
	silent = state == VFIO_DEVICE_STATE_STOP || state == VFIO_DEVICE_STATE_STOP_COPY ||
		 state == VFIO_DEVICE_STATE_RESUMING;
	if (!silent)
		device_loud(file);
	result = kernel_ioctl(fd, request, feature);
	if (result < 0)
		device_loud(file); /* in whatever state it is now */
	else if (silent)
		device_silent(file);
	return result;
}

/* ---- its own log ------------------------------------------------------------------------------------------------------ */

static struct loss log_loss(struct file *file, const char *kind, const char *call, const char *why)
{
	struct loss loss = { .kind = kind, .call = call, .why = why, .file = file, .asker = file };

	loss_measure(&loss, &file->device.log, 0, UINT64_MAX);
	if (loss_any(&loss))
		keep(&loss, file->device.log.ranges);
	return loss;
}

static void watch(struct record *log, const struct vfio_device_feature_dma_logging_control *c,
		  uint64_t moment)
{
	const struct vfio_device_feature_dma_logging_range *r = (const void *)(uintptr_t)c->ranges;

	record_end(log);
	log->page = c->page_size ? c->page_size : 4096;
	for (uint32_t i = 0; i < c->num_ranges; i++)
		record_map(log, r[i].iova, r[i].length, true);
	record_start(log, moment);
}

static int log_start(struct file *file, int fd, unsigned long request, struct vfio_device_feature *feature)
{
	struct loss loss = log_loss(file, "log-again", "VFIO_DEVICE_FEATURE DMA_LOGGING_START",
				    "the device's log begins anew, and what it held is gone");
	uint64_t moment = now();
	int result = kernel_ioctl(fd, request, feature);

	if (result < 0)
		return kept_in_vain(&loss, result);
	count_starts++;
	if (loss_any(&loss))
		loss_report(&loss);
	watch(&file->device.log, (const void *)feature->data, moment);
	return result;
}

static int log_stop(struct file *file, int fd, unsigned long request, struct vfio_device_feature *feature)
{
	struct loss loss = log_loss(file, "log-stop", "VFIO_DEVICE_FEATURE DMA_LOGGING_STOP",
				    "the device's log is discarded");
	int result = kernel_ioctl(fd, request, feature);

	if (result < 0)
		return kept_in_vain(&loss, result);
	count_stops++;
	if (loss_any(&loss))
		loss_report(&loss);
	record_end(&file->device.log);
	return result;
}

static int log_report(struct file *file, int fd, unsigned long request, struct vfio_device_feature *feature)
{
	const struct vfio_device_feature_dma_logging_report *r = (const void *)feature->data;
	struct loss loss = { .call = "VFIO_DEVICE_FEATURE DMA_LOGGING_REPORT", .file = file };
	uint64_t last = r->iova + r->length - 1, page = r->page_size, moment = now();
	bool bad = page && !memory_writable(r->bitmap, (r->length / page + 63) / 64 * 8);
	int result;

	loss_measure(&loss, &file->device.log, r->iova, last);
	result = kernel_ioctl(fd, request, feature);
	count_gets += result == 0;
	if (result == 0 && !bad) {
		record_collected(&file->device.log, r->iova, last, moment);
		return result;
	}
	loss.kind = bad ? "bad-buffer" : "half-read";
	loss.why = bad ? "the bitmap cannot be written: what the log held is cleared, and went nowhere"
		       : "it failed, and may have cleared what it did not deliver: all of it is to be taken "
			 "for dirty";
	if (loss_any(&loss))
		loss_report(&loss);
	return result;
}

static int feature_ioctl(struct file *file, int fd, unsigned long request,
			 struct vfio_device_feature *feature)
{
	switch (feature->flags) {
	case VFIO_DEVICE_FEATURE_SET | VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE:
		return set_state(file, fd, request, feature);
	case VFIO_DEVICE_FEATURE_SET | VFIO_DEVICE_FEATURE_DMA_LOGGING_START:
		return log_start(file, fd, request, feature);
	case VFIO_DEVICE_FEATURE_SET | VFIO_DEVICE_FEATURE_DMA_LOGGING_STOP:
		return log_stop(file, fd, request, feature);
	case VFIO_DEVICE_FEATURE_GET | VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT:
		return log_report(file, fd, request, feature);
	default:
		return kernel_ioctl(fd, request, feature);
	}
}

/* ---- the rest --------------------------------------------------------------------------------------------------------- */

static int reset(struct file *file, int fd, unsigned long request, void *arg)
{
	int result = kernel_ioctl(fd, request, arg);

	/* Stores to mapped registers cannot be seen, and may wake it. */
	if (result == 0 && !file->areas) {
		device_silent(file);
		file->device.by_reset = true;
	}
	return result;
}

static int region_info(struct file *file, int fd, unsigned long request, struct vfio_region_info *info)
{
	int result = kernel_ioctl(fd, request, info);

	if (result == 0 && file->device.pci && info->index == VFIO_PCI_CONFIG_REGION_INDEX)
		file->device.config = info->offset;
	return result;
}

static int device_info(struct file *file, int fd, unsigned long request, struct vfio_device_info *info)
{
	int result = kernel_ioctl(fd, request, info);

	if (result == 0)
		file->device.pci = info->flags & VFIO_DEVICE_FLAGS_PCI;
	return result;
}

static int bind_iommufd(struct file *file, int fd, unsigned long request, struct abi_bind *bind)
{
	int result = kernel_ioctl(fd, request, bind);
	struct file *owner = result == 0 ? file_of(bind->iommufd) : NULL;

	if (result == 0 && !owner)
		owner = file_identify(bind->iommufd);
	if (owner && !file->owner) {
		file->owner = owner;
		owner->below++;
	}
	return result;
}

/* attach: NULL for DETACH */
static int attach_iommufd(struct file *file, int fd, unsigned long request, struct abi_attach *attach,
			  bool in)
{
	int result;

	if (in)
		move(file, attach->pt_id); /* before it can write there */
	result = kernel_ioctl(fd, request, attach);
	if (!in && result == 0)
		move(file, 0);
	return result;
}

int device_ioctl(struct file *file, int fd, unsigned long request, void *arg)
{
	switch (request) {
	case VFIO_DEVICE_FEATURE:
		return feature_ioctl(file, fd, request, arg);
	case VFIO_DEVICE_RESET:
		return reset(file, fd, request, arg);
	case VFIO_DEVICE_GET_REGION_INFO:
		return region_info(file, fd, request, arg);
	case VFIO_DEVICE_GET_INFO:
		return device_info(file, fd, request, arg);
	case ABI_DEVICE_BIND_IOMMUFD:
		return bind_iommufd(file, fd, request, arg);
	case ABI_DEVICE_ATTACH_IOMMUFD_PT:
		return attach_iommufd(file, fd, request, arg, true);
	case ABI_DEVICE_DETACH_IOMMUFD_PT:
		return attach_iommufd(file, fd, request, arg, false);
	default:
		return kernel_ioctl(fd, request, arg);
	}
}
