/* SPDX-License-Identifier: MIT */
/* The dirty bitmap of one mapping, and how it is handed to the caller: update_user_bitmap, as it is. */
#include <stdlib.h>

#include "internal.h"

#define BITMAP_PAGES_MAX 0x7fffffffull
#define BITMAP_BYTES_MAX (1ull << 28)

int bitmap_size_ok(uint64_t pages, uint64_t size)
{
	return pages && size && size <= BITMAP_BYTES_MAX && size >= bitmap_words(pages) * 8 ? 0 : -EINVAL;
}

/* One word more than the pages need: room for the shift. */
int bitmap_alloc(struct type1 *t, struct mapping *map)
{
	uint64_t pages = map->size / type1_page_size(t);

	if (pages > BITMAP_PAGES_MAX)
		return -EINVAL;
	map->words = (size_t)bitmap_words(pages) + 1;
	map->bitmap = calloc(map->words, 8);
	return map->bitmap ? 0 : -ENOMEM;
}

void bitmap_free(struct mapping *map)
{
	free(map->bitmap);
	map->bitmap = NULL;
	map->words = 0;
}

static bool fits(struct model *m, const struct mapping *map, uint64_t bits)
{
	if (bitmap_words(bits) <= map->words)
		return true;
	model_crash(m, "kernel memory overrun: the page size changed under the bitmap of mapping %#llx",
		    (unsigned long long)map->iova);
	return false;
}

void bitmap_mark(struct model *m, struct type1 *t, struct mapping *map, uint64_t offset, uint64_t size)
{
	uint64_t page = type1_page_size(t), first = offset / page, end = (offset + size - 1) / page + 1;

	if (map->bitmap && size && fits(m, map, end))
		bitmap_set_range(map->bitmap, first, end - first);
}

void bitmap_populate_pins(struct model *m, struct container *c, struct mapping *map)
{
	for (unsigned i = 0; i < c->group_count; i++)
		for (unsigned j = 0; j < c->groups[i]->device_count; j++) {
			size_t count;
			const struct pin *pin = pins_from(&c->groups[i]->devices[j], map->iova, &count);

			for (; count && pin->iova_page * MODEL_PAGE_SIZE - map->iova < map->size;
			     pin++, count--)
				bitmap_mark(m, c->type1, map, pin->iova_page * MODEL_PAGE_SIZE - map->iova,
					    MODEL_PAGE_SIZE);
		}
}

void bitmap_populate_full(struct model *m, struct type1 *t)
{
	for (size_t i = 0; i < t->count; i++)
		bitmap_mark(m, t, t->maps[i], 0, t->maps[i]->size);
	for (size_t i = 0; i < t->top_count; i++)
		bitmap_mark(m, t, t->tops[i], 0, t->tops[i]->size);
}

/* Move the bits in place to where they belong in the caller's word, and take over what that word has. When the copy after this
 * fails, the bitmap stays as it is now: shifted (trap 15). */
static int shift_in_place(struct mapping *map, uint64_t shift, uint64_t bits, uint64_t user_word)
{
	uint64_t stray;

	bitmap_shift_left(map->bitmap, shift, bits + shift);
	if (user_read(&stray, user_word, 8) != 8)
		return -EFAULT;
	map->bitmap[0] |= stray;
	return 0;
}

static int copy_words(const struct mapping *map, uint64_t to, uint64_t words, bool fault, uint64_t *written)
{
	uint64_t bytes = (fault ? words / 2 : words) * 8;

	*written = user_write(to, map->bitmap, (size_t)bytes) / 8;
	return fault || *written < words ? -EFAULT : 0;
}

int bitmap_deliver(struct model *m, struct type1 *t, struct mapping *map, uint64_t base, uint64_t data,
		   bool fault)
{
	uint64_t page = type1_page_size(t), bits = map->size / page, offset = (map->iova - base) / page;
	uint64_t shift = offset % 64, to = data + offset / 64 * 8, words = bitmap_words(bits + shift),
		 written = 0, got;
	int error = 0;

	if (!fits(m, map, bits + shift))
		return -EIO;
	if (t->non_pinned && map->iommu_mapped)
		bitmap_set_range(map->bitmap, 0, bits);
	if (shift)
		error = shift_in_place(map, shift, bits, to);
	if (!error)
		error = copy_words(map, to, words, fault, &written);
	if (error && shift)
		truth_dropped_bits(m, map, map->bitmap, shift, bits, page);
	got = written * 64 > shift ? written * 64 - shift : 0;
	truth_returned(m, map, map->bitmap, shift, got < bits ? got : bits, page);
	if (!error) {
		t->last_index = offset / 64 + words - 1;
		t->last_word = map->bitmap[words - 1];
	}
	return error;
}
