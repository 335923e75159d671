/* SPDX-License-Identifier: MIT */
#ifndef LIB_UAPI_H
#define LIB_UAPI_H

/* Kernel ABI: what the installed headers have, and what they get wrong or may lack. */

#include <stdint.h>

#include <linux/fs.h>
#include <linux/userfaultfd.h>
#include <linux/vfio.h>

/* linux/vfio.h has a raw pointer in struct vfio_bitmap: 20 bytes on i386, where the kernel reads 24. These have the
 * kernel's layout everywhere. */
struct uapi_bitmap {
	uint64_t pgsize; /* bytes per bit */
	uint64_t size;	 /* bytes at data */
	uint64_t data;	 /* address of native 64-bit words */
};

struct uapi_unmap { /* VFIO_IOMMU_UNMAP_DMA with VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP */
	uint32_t argsz;
	uint32_t flags;
	uint64_t iova;
	uint64_t size;
	struct uapi_bitmap bitmap;
};

struct uapi_dirty_get { /* VFIO_IOMMU_DIRTY_PAGES with VFIO_IOMMU_DIRTY_PAGES_FLAG_GET_BITMAP */
	uint32_t argsz;
	uint32_t flags;
	uint64_t iova;
	uint64_t size;
	struct uapi_bitmap bitmap;
};

/* Here the header has a 64-bit field behind three of 32: i386 aligns it to 4 bytes, the kernel to 8. */
struct uapi_cap_migration { /* VFIO_IOMMU_TYPE1_INFO_CAP_MIGRATION */
	struct vfio_info_cap_header header;
	uint32_t flags;
	uint32_t padding;
	uint64_t pgsize_bitmap;
	uint64_t max_dirty_bitmap_size;
};

_Static_assert(sizeof(struct uapi_cap_migration) == 32, "the kernel writes 32 bytes");
_Static_assert(sizeof(struct uapi_unmap) == 48, "the kernel reads 48 bytes");
_Static_assert(sizeof(struct uapi_dirty_get) == 48, "the kernel reads 48 bytes");

/* The size of struct vfio_iommu_type1_dma_unmap without its flexible array. */
#define UAPI_UNMAP_PLAIN_SIZE 24

#ifndef VFIO_NOIOMMU_IOMMU
#define VFIO_NOIOMMU_IOMMU 8
#endif

#ifndef VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL
#define VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL 3
#endif

/* ---- PAGEMAP_SCAN of /proc/self/pagemap, and the userfaultfd that goes with it: Linux 6.7 ---- */

struct uapi_scan {
	uint64_t size;
	uint64_t flags;
	uint64_t start, end;
	uint64_t walk_end; /* filled in: how far it came */
	uint64_t vec, vec_len;
	uint64_t max_pages;
	uint64_t category_inverted, category_mask, category_anyof_mask;
	uint64_t return_mask;
};

struct uapi_scanned {
	uint64_t start, end;
	uint64_t categories;
};

_Static_assert(sizeof(struct uapi_scan) == 96, "the kernel reads 96 bytes");

#define UAPI_PAGEMAP_SCAN      _IOWR('f', 16, struct uapi_scan)
#define UAPI_SCAN_WP_MATCHING  (UINT64_C(1) << 0) /* write-protect what was written, in the same step */
#define UAPI_PAGE_IS_WPALLOWED (UINT64_C(1) << 0)
#define UAPI_PAGE_IS_WRITTEN   (UINT64_C(1) << 1)
#define UAPI_PAGE_IS_PRESENT   (UINT64_C(1) << 3)

#ifndef UFFD_USER_MODE_ONLY
#define UFFD_USER_MODE_ONLY 1
#endif

#ifndef UFFD_FEATURE_WP_ASYNC
#define UFFD_FEATURE_WP_ASYNC (1 << 15)
#endif

#endif
