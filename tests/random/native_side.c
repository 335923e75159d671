/* SPDX-License-Identifier: MIT */

/* Sides on iommufd: devices behind IOMMUs that set dirty bits. They have no pins, and nobody is told when they write where nothing is
 * mapped. What they wrote is kept here, for the kernel's mock devices cannot say. */

#include "play.h"

#include <errno.h>
#include <string.h>

#include "model/model.h"

static bool writable(const struct side *side, uint64_t page)
{
	for (unsigned i = 0; i < side->before_count; i++) {
		const struct shadow *m = &side->before[i];
		if (page >= m->iova && page - m->iova < m->count)
			return m->writable;
	}
	return false;
}

/* Page by page. The first that is not there ends it. */
static int write_pages(struct side *side, const struct vfdtest_range *range)
{
	uint64_t first = (range->iova - PLAY_IOVA) / PLAY_PAGE;
	uint64_t last = (range->iova + range->size - 1 - PLAY_IOVA) / PLAY_PAGE;

	for (uint64_t page = first; page <= last; page++) {
		if (page >= PLAY_IOVA_PAGES || !writable(side, page) ||
		    side->dma(side, range->device, PLAY_IOVA + page * PLAY_PAGE, range->value))
			return -EFAULT;
		side->written[range->device].words[page / 64] |= UINT64_C(1) << page % 64;
	}
	return 0;
}

static int tell_truth(struct side *side, struct vfdtest_truth *truth)
{
	struct pages *written = &side->written[truth->device];

	memcpy((void *)(uintptr_t)truth->bitmap, written->words, sizeof written->words);
	truth->pages = pages_count(written);
	*written = (struct pages){ 0 };
	return 0;
}

static int command_native(struct side *side, unsigned long request, void *arg)
{
	if (request == VFDTEST_WRITE)
		return write_pages(side, arg);
	return request == VFDTEST_TRUTH ? tell_truth(side, arg) : 0;
}

void native_side(struct side *side, dma_write *dma)
{
	side->backend = VFD_BACKEND_IOMMUFD;
	side->dma = dma;
	side->command = command_native;
	side->names[0] = "mock0";
	side->names[1] = "mock1";
}

/* ---- the model ---- */

static int dma_model(struct side *side, unsigned index, uint64_t iova, uint64_t value)
{
	return model_dma_write(side->context, side->names[index], iova, 8, value);
}

/* One that was reset works when its driver has told it to. */
static void set_to_work(struct side *side, unsigned index)
{
	uint32_t zero = 0;

	side->sys->pwrite(side->sys, side->devices[index]->fd, &zero, sizeof zero, 0);
}

void native_model_side(struct side *side, struct model *model)
{
	model_side(side, model);
	native_side(side, dma_model);
	side->resumed = set_to_work;
}
