/* SPDX-License-Identifier: MIT */

/* The readers of capability chains, against answers that no kernel would give: every buffer ends where an unmapped page begins. */

#include "caps.h"
#include "uapi.h"
#include "random.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "../suite.h"

enum { ROOM = 4096, RANDOM_INPUTS = 1500000 };

static uint64_t seed = 88172645463325252;

static uint64_t rnd(void)
{
	return xorshift(&seed);
}

/* `size` bytes that end at the page; the page before them cannot be read either if they fill one. */
static unsigned char *room_for(size_t size)
{
	static unsigned char *pages;

	if (!pages) { /* each test is a process of its own */
		pages = mmap(NULL, 3 * ROOM, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		ck_assert(pages != MAP_FAILED);
		ck_assert_int_eq(mprotect(pages + ROOM, ROOM, PROT_READ | PROT_WRITE), 0);
	}
	return pages + 2 * ROOM - size;
}

/* An assertion that costs nothing when it holds: Check's write each to a file. */
#define MUST(what)                                                                                           \
	do {                                                                                                 \
		if (!(what))                                                                                 \
			ck_abort_msg("%s", #what);                                                           \
	} while (0)

/* What may be said of any answer. */
static void check_caps(const unsigned char *answer, size_t size)
{
	struct caps caps;

	memset(&caps, 0xee, sizeof caps);
	caps_parse(answer, size, &caps);
	MUST(caps.range_count <= VFD_INFO_RANGES);
	MUST(caps.range_count <= caps.range_total);
	uint64_t page_size = caps_page_size(&caps);
	MUST(page_size == 0 || (page_size & (page_size - 1)) == 0);
}

static void check_region(const unsigned char *answer, size_t size)
{
	struct vfd_device_region region = { 0 };

	caps_parse_region(answer, size, &region);
	MUST(region.area_count <= VFD_DEVICE_AREAS);
}

/* ---- well-formed ---- */

struct chain {
	unsigned char *bytes;
	size_t size;
	uint32_t *link; /* where the next one's offset goes */
};

static void *append(struct chain *c, uint16_t id, size_t size)
{
	struct vfio_info_cap_header *cap = (void *)(c->bytes + c->size);

	memset(cap, 0, size);
	cap->id = id;
	*c->link = (uint32_t)c->size;
	c->link = &cap->next;
	c->size += size;
	return cap;
}

static struct vfio_iommu_type1_info_cap_iova_range *append_ranges(struct chain *c, uint32_t count)
{
	size_t size =
		sizeof(struct vfio_iommu_type1_info_cap_iova_range) + count * sizeof(struct vfio_iova_range);
	struct vfio_iommu_type1_info_cap_iova_range *cap =
		append(c, VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE, size);

	cap->nr_iovas = count;
	for (uint32_t i = 0; i < count; i++)
		cap->iova_ranges[i] = (struct vfio_iova_range){ i * 100, i * 100 + 99 };
	return cap;
}

static struct chain begin(unsigned char *bytes)
{
	struct vfio_iommu_type1_info *info = (void *)bytes;

	memset(bytes, 0, sizeof *info);
	info->flags = VFIO_IOMMU_INFO_PGSIZES | VFIO_IOMMU_INFO_CAPS;
	info->iova_pgsizes = 0x201000;
	return (struct chain){ bytes, sizeof *info, &info->cap_offset };
}

START_TEST(well_formed)
{
	_Alignas(8) unsigned char bytes[ROOM];
	struct chain c = begin(bytes);
	struct caps caps;

	append(&c, 77, 40); /* one that we do not know */
	struct uapi_cap_migration *migration =
		append(&c, VFIO_IOMMU_TYPE1_INFO_CAP_MIGRATION, sizeof *migration);
	migration->pgsize_bitmap = 4096;
	migration->max_dirty_bitmap_size = 1 << 28;
	append_ranges(&c, 3);
	struct vfio_iommu_type1_info_dma_avail *avail =
		append(&c, VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL, sizeof *avail);
	avail->avail = 65535;
	unsigned char *exact = room_for(c.size);
	memcpy(exact, bytes, c.size);
	caps_parse(exact, c.size, &caps);
	ck_assert_uint_eq(caps.page_sizes, 0x201000);
	ck_assert_uint_eq(caps_page_size(&caps), 0x1000);
	ck_assert_uint_eq(caps.dirty_page_sizes, 4096);
	ck_assert_uint_eq(caps.dirty_bitmap_limit, 1 << 28);
	ck_assert_uint_eq(caps.entries_available, 65535);
	ck_assert_uint_eq(caps.range_total, 3);
	ck_assert_uint_eq(caps.range_count, 3);
	ck_assert_uint_eq(caps.ranges[2].first, 200);
	ck_assert_uint_eq(caps.ranges[2].last, 299);

	for (size_t size = 0; size <= c.size; size++) { /* cut off anywhere */
		unsigned char *cut = room_for(size);
		memcpy(cut, bytes, size);
		check_caps(cut, size);
	}
}
END_TEST

START_TEST(absent)
{
	_Alignas(8) unsigned char bytes[64];
	struct caps caps;

	begin(bytes);
	caps_parse(bytes, sizeof(struct vfio_iommu_type1_info), &caps);
	ck_assert_uint_eq(caps.dirty_page_sizes, 0);
	ck_assert_uint_eq(caps.entries_available, UINT64_MAX);
	ck_assert_uint_eq(caps.range_total, 0);
}
END_TEST

START_TEST(more_ranges_than_room)
{
	_Alignas(8) unsigned char bytes[ROOM];
	struct chain c = begin(bytes);
	struct caps caps;

	append_ranges(&c, 100);
	caps_parse(bytes, c.size, &caps);
	ck_assert_uint_eq(caps.range_total, 100);
	ck_assert_uint_eq(caps.range_count, VFD_INFO_RANGES);
}
END_TEST

/* It says four thousand million, and has three. */
START_TEST(lying_counts)
{
	_Alignas(8) unsigned char bytes[ROOM];
	struct chain c = begin(bytes);
	struct caps caps;

	append_ranges(&c, 3)->nr_iovas = UINT32_MAX;
	unsigned char *exact = room_for(c.size);
	memcpy(exact, bytes, c.size);
	caps_parse(exact, c.size, &caps);
	ck_assert_uint_eq(caps.range_count, 3);
	ck_assert_uint_eq(caps.range_total, UINT32_MAX);
}
END_TEST

START_TEST(sparse_regions)
{
	_Alignas(8) unsigned char bytes[ROOM] = { 0 };
	struct vfio_region_info *info = (void *)bytes;
	struct vfd_device_region region = { 0 };

	info->flags = VFIO_REGION_INFO_FLAG_MMAP | VFIO_REGION_INFO_FLAG_CAPS;
	info->size = 0x4000;
	struct chain c = { bytes, sizeof *info, &info->cap_offset };
	struct vfio_region_info_cap_sparse_mmap *sparse =
		append(&c, VFIO_REGION_INFO_CAP_SPARSE_MMAP,
		       sizeof *sparse + 20 * sizeof(struct vfio_region_sparse_mmap_area));
	sparse->nr_areas = 20;
	for (unsigned i = 0; i < 20; i++)
		sparse->areas[i] = (struct vfio_region_sparse_mmap_area){ i, i + 1 };
	caps_parse_region(bytes, c.size, &region);
	ck_assert_uint_eq(region.area_count, VFD_DEVICE_AREAS);
	ck_assert_uint_eq(region.areas[3].size, 4);
	sparse->nr_areas = 0; /* sparse, and nothing can be mapped */
	caps_parse_region(bytes, c.size, &region);
	ck_assert_uint_eq(region.area_count, 0);
	info->flags = VFIO_REGION_INFO_FLAG_MMAP; /* no list: all of it */
	caps_parse_region(bytes, c.size, &region);
	ck_assert_uint_eq(region.area_count, 1);
	ck_assert_uint_eq(region.areas[0].size, 0x4000);
}
END_TEST

/* ---- hostile ---- */

/* Small numbers where offsets and counts are, so that chains go on: into themselves, backwards, over the end. */
static void scribble(unsigned char *bytes, size_t size)
{
	for (size_t i = 0; i + 8 <= size; i += 8) {
		uint64_t word = rnd();
		switch (word & 7) {
		case 0: /* id and next */
			word = (rnd() % 5) | (rnd() % (size + 16)) << 32;
			break;
		case 1:
			word = rnd() % (size + 16);
			break;
		case 2:
			word = 0;
			break;
		case 3:
			word = UINT64_MAX >> rnd() % 64;
			break;
		default:
			break;
		}
		memcpy(bytes + i, &word, 8);
	}
	for (size_t i = size / 8 * 8; i < size; i++)
		bytes[i] = (unsigned char)rnd();
}

/* The head as it should be, most of the time: else nothing behind it is looked at. */
static void plausible_head(unsigned char *bytes, size_t size)
{
	uint32_t flags = UINT32_MAX, offset = (uint32_t)(rnd() % (size + 8));

	if (size >= 8 && rnd() % 8)
		memcpy(bytes + 4, &flags, 4);
	if (size >= sizeof(struct vfio_iommu_type1_info) && rnd() % 8)
		memcpy(bytes + offsetof(struct vfio_iommu_type1_info, cap_offset), &offset, 4);
	if (size >= sizeof(struct vfio_region_info) && rnd() % 2)
		memcpy(bytes + offsetof(struct vfio_region_info, cap_offset), &offset, 4);
}

START_TEST(random_bytes)
{
	for (unsigned i = 0; i < RANDOM_INPUTS; i++) {
		size_t size = rnd() % 200;
		unsigned char *bytes = room_for(size);
		scribble(bytes, size);
		plausible_head(bytes, size);
		check_caps(bytes, size);
		check_region(bytes, size);
	}
}
END_TEST

/* A good answer with one byte wrong. */
START_TEST(one_byte_wrong)
{
	_Alignas(8) unsigned char good[ROOM];
	struct chain c = begin(good);

	append(&c, VFIO_IOMMU_TYPE1_INFO_CAP_MIGRATION, sizeof(struct uapi_cap_migration));
	append_ranges(&c, 3);
	append(&c, VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL, sizeof(struct vfio_iommu_type1_info_dma_avail));
	unsigned char *bytes = room_for(c.size);
	for (size_t at = 0; at < c.size; at++)
		for (unsigned value = 0; value < 256; value++) {
			memcpy(bytes, good, c.size);
			bytes[at] = (unsigned char)value;
			check_caps(bytes, c.size);
			check_region(bytes, c.size);
		}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("caps");
	TCase *tcase = tcase_create("caps");

	tcase_set_timeout(tcase, 120);
	tcase_add_test(tcase, well_formed);
	tcase_add_test(tcase, absent);
	tcase_add_test(tcase, more_ranges_than_room);
	tcase_add_test(tcase, lying_counts);
	tcase_add_test(tcase, sparse_regions);
	tcase_add_test(tcase, random_bytes);
	tcase_add_test(tcase, one_byte_wrong);
	suite_add_tcase(suite, tcase);
	return run_all(suite);
}
