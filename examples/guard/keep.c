/* SPDX-License-Identifier: MIT */

/* --collect: what is about to be destroyed is read first, and appended to a file. */

#include "guard.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/vfio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "calls.h"

bool keeping;

/* What stands before each bitmap in the file: vfd-guard(1). */
struct kept {
	char magic[8]; /* "VFDGUARD" */
	uint32_t version, pid;
	uint64_t nanoseconds; /* CLOCK_REALTIME */
	uint64_t iova, page_size, pages;
	uint64_t words; /* that follow, 8 bytes each: bit 0 of the first is the page at iova */
	char kind[16];	/* of loss */
	char file[64];
};

static int get_type1(const struct loss *loss, const struct range *r, uint64_t *bits, uint64_t bytes)
{
	struct {
		uint32_t argsz, flags;
		struct vfio_iommu_type1_dirty_bitmap_get get;
	} g = { .argsz = sizeof g, .flags = VFIO_IOMMU_DIRTY_PAGES_FLAG_GET_BITMAP };

	g.get.iova = r->first;
	g.get.size = r->last - r->first + 1;
	g.get.bitmap.pgsize = loss->page;
	g.get.bitmap.size = bytes;
	g.get.bitmap.data = (void *)bits;
	return real_ioctl(loss->asker->fd, VFIO_IOMMU_DIRTY_PAGES, &g);
}

static int get_iommufd(const struct loss *loss, const struct range *r, uint64_t *bits)
{
	struct abi_get_dirty g = { .size = sizeof g,
				   .hwpt_id = loss->table->id,
				   .iova = r->first,
				   .length = r->last - r->first + 1,
				   .page_size = loss->page,
				   .data = (uintptr_t)bits };

	return real_ioctl(loss->asker->fd, ABI_GET_DIRTY, &g);
}

static int get_log(const struct loss *loss, const struct range *r, uint64_t *bits)
{
	struct {
		uint32_t argsz, flags;
		struct vfio_device_feature_dma_logging_report report;
	} g = { .argsz = sizeof g,
		.flags = VFIO_DEVICE_FEATURE_GET | VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT };

	g.report.iova = r->first;
	g.report.length = r->last - r->first + 1;
	g.report.page_size = loss->page;
	g.report.bitmap = (uintptr_t)bits;
	return real_ioctl(loss->asker->fd, VFIO_DEVICE_FEATURE, &g);
}

static void write_down(const struct loss *loss, const struct range *r, uint64_t *bits, uint64_t pages,
		       uint64_t words)
{
	struct kept kept = { .magic = "VFDGUAR",
			     .version = 1,
			     .pid = (uint32_t)getpid(),
			     .iova = r->first,
			     .page_size = loss->page,
			     .pages = pages,
			     .words = words };
	struct iovec parts[2] = { { &kept, sizeof kept }, { bits, (size_t)words * 8 } };
	struct timespec t;
	int fd = open(settings.keep, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);

	kept.magic[7] = 'D';
	clock_gettime(CLOCK_REALTIME, &t);
	kept.nanoseconds = (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
	memcpy(kept.kind, loss->kind, strnlen(loss->kind, sizeof kept.kind - 1));
	memcpy(kept.file, loss->file->name, sizeof kept.file);
	if (fd < 0 || writev(fd, parts, 2) != (ssize_t)(sizeof kept + words * 8))
		say("vfd-guard: %s: cannot be written; the bits are lost\n", settings.keep);
	if (fd >= 0)
		close(fd);
}

static void read_one(struct range *r, void *arg)
{
	struct loss *loss = arg;
	uint64_t pages = (r->last - r->first) / loss->page + 1, words = (pages + 63) / 64, *bits;
	int result;

	if (!range_dirty(loss->record, r))
		return;
	bits = calloc((size_t)words, sizeof *bits);
	if (!bits)
		result = -1;
	else if (loss->table)
		result = get_iommufd(loss, r, bits);
	else if (loss->asker->kind == DEVICE)
		result = get_log(loss, r, bits);
	else
		result = get_type1(loss, r, bits, words * 8);
	if (result < 0) {
		loss->failed_pages += pages;
	} else {
		for (uint64_t i = 0; i < words; i++)
			loss->exact_pages += (uint64_t)__builtin_popcountll(bits[i]);
		write_down(loss, r, bits, pages, words);
	}
	free(bits);
}

void keep(struct loss *loss, struct range *set)
{
	if (keeping && loss->pages)
		range_each(set, 0, UINT64_MAX, read_one, loss);
}

void keep_between(struct loss *loss, uint64_t first, uint64_t last)
{
	range_each(loss->record->ranges, first, last, read_one, loss);
}

int kept_in_vain(struct loss *loss, int result)
{
	int error = errno;

	loss->kind = "kept";
	loss->why =
		"the call failed, and destroyed nothing; but --collect had read these pages before it, and "
		"has them alone";
	if (loss->exact_pages)
		loss_report(loss);
	errno = error;
	return result;
}
