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

/* ---- VFIO_DEVICE_FEATURE: a head, and behind it what the feature says. Older headers lack most of it. ---- */

struct uapi_feature {
	uint32_t argsz; /* of the head and what follows */
	uint32_t flags; /* the number of a feature, and what to do with it */
};

#define UAPI_FEATURE_MASK	   0xffffu
#define UAPI_FEATURE_GET	   (1u << 16)
#define UAPI_FEATURE_SET	   (1u << 17)
#define UAPI_FEATURE_PROBE	   (1u << 18)

#define UAPI_FEATURE_MIGRATION	   1u /* struct uapi_migration */
#define UAPI_FEATURE_MIG_STATE	   2u /* struct uapi_mig_state */
#define UAPI_FEATURE_LOG_START	   6u /* struct uapi_log_control */
#define UAPI_FEATURE_LOG_STOP	   7u /* nothing */
#define UAPI_FEATURE_LOG_REPORT	   8u /* struct uapi_log_report */
#define UAPI_FEATURE_MIG_DATA_SIZE 9u /* struct uapi_mig_data_size */

struct uapi_log_range {
	uint64_t iova;
	uint64_t length;
};

struct uapi_log_control {   /* DMA_LOGGING_START */
	uint64_t page_size; /* wanted; what comes back may be larger */
	uint32_t num_ranges;
	uint32_t reserved;
	uint64_t ranges; /* address of an array of struct uapi_log_range */
};

struct uapi_log_report { /* DMA_LOGGING_REPORT */
	uint64_t iova;
	uint64_t length;
	uint64_t page_size; /* bytes per bit */
	uint64_t bitmap;    /* address of native 64-bit words; the kernel trusts that they are enough */
};

struct uapi_migration {
	uint64_t flags;
};

#define UAPI_MIGRATION_STOP_COPY (1u << 0)
#define UAPI_MIGRATION_P2P	 (1u << 1)
#define UAPI_MIGRATION_PRE_COPY	 (1u << 2)

struct uapi_mig_state { /* MIG_DEVICE_STATE */
	uint32_t state;
	int32_t data_fd; /* -1: none */
};

enum uapi_mig {
	UAPI_MIG_ERROR,
	UAPI_MIG_STOP,
	UAPI_MIG_RUNNING,
	UAPI_MIG_STOP_COPY,
	UAPI_MIG_RESUMING,
	UAPI_MIG_RUNNING_P2P,
	UAPI_MIG_PRE_COPY,
	UAPI_MIG_PRE_COPY_P2P,
};

struct uapi_mig_data_size {
	uint64_t stop_copy_length; /* bytes, an estimate */
};

/* On the data descriptor, not the device. */
struct uapi_precopy_info {
	uint32_t argsz;
	uint32_t flags;
	uint64_t initial_bytes;
	uint64_t dirty_bytes;
};

#define UAPI_MIG_GET_PRECOPY_INFO _IO(VFIO_TYPE, VFIO_BASE + 21)

_Static_assert(sizeof(struct uapi_log_control) == 24, "the kernel reads 24 bytes");
_Static_assert(sizeof(struct uapi_log_report) == 32, "the kernel reads 32 bytes");
_Static_assert(sizeof(struct uapi_precopy_info) == 24, "the kernel writes 24 bytes");

/* ---- what older headers lack, under its own name ---- */

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
