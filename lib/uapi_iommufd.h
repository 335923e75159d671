/* SPDX-License-Identifier: MIT */
#ifndef LIB_UAPI_IOMMUFD_H
#define LIB_UAPI_IOMMUFD_H

/* Kernel ABI of /dev/iommu, and of VFIO devices that are bound to it: the installed headers may be older than the kernel. */

#include "uapi.h"

#define UAPI_IOMMUFD(number) _IO(';', 0x80 + (number))

/* ---- /dev/iommu: size is that of the struct, and says how much of it there is ---- */

struct uapi_iommu_destroy {
	uint32_t size;
	uint32_t id;
};

struct uapi_ioas_alloc {
	uint32_t size;
	uint32_t flags;
	uint32_t out_ioas_id;
};

struct uapi_ioas_allow_iovas {
	uint32_t size;
	uint32_t ioas_id;
	uint32_t num_iovas;
	uint32_t reserved;
	uint64_t allowed_iovas; /* address of struct vfd_iova_range[] */
};

struct uapi_ioas_iova_ranges {
	uint32_t size;
	uint32_t ioas_id;
	uint32_t num_iovas; /* in: room; out: how many there are, also with EMSGSIZE */
	uint32_t reserved;
	uint64_t allowed_iovas; /* address of an array of struct vfd_iova_range */
	uint64_t out_iova_alignment;
};

struct uapi_ioas_map {
	uint32_t size;
	uint32_t flags;
	uint32_t ioas_id;
	uint32_t reserved;
	uint64_t user_va;
	uint64_t length;
	uint64_t iova;
};

struct uapi_ioas_unmap {
	uint32_t size;
	uint32_t ioas_id;
	uint64_t iova;
	uint64_t length; /* out: bytes unmapped */
};

struct uapi_iommu_option {
	uint32_t size;
	uint32_t option_id;
	uint16_t op; /* 0: set */
	uint16_t reserved;
	uint32_t object_id;
	uint64_t val64;
};

struct uapi_hwpt_alloc {
	uint32_t size;
	uint32_t flags;
	uint32_t dev_id;
	uint32_t pt_id; /* of the IOAS */
	uint32_t out_hwpt_id;
	uint32_t reserved;
	uint32_t data_type;
	uint32_t data_len;
	uint64_t data_uptr;
};

struct uapi_hw_info {
	uint32_t size;
	uint32_t flags;
	uint32_t dev_id;
	uint32_t data_len; /* 0: not the IOMMU's own data */
	uint64_t data_uptr;
	uint32_t out_data_type;
	uint32_t out_more; /* the width of PASIDs, since 6.13 */
	uint64_t out_capabilities;
};

struct uapi_hwpt_set_dirty {
	uint32_t size;
	uint32_t flags; /* 1: on */
	uint32_t hwpt_id;
	uint32_t reserved;
};

struct uapi_hwpt_get_dirty {
	uint32_t size;
	uint32_t hwpt_id;
	uint32_t flags;
	uint32_t reserved;
	uint64_t iova;
	uint64_t length;
	uint64_t page_size; /* bytes per bit */
	uint64_t data;	    /* address of native 64-bit words; the kernel trusts that they are enough */
};

#define UAPI_IOMMU_DESTROY	 UAPI_IOMMUFD(0)
#define UAPI_IOAS_ALLOC		 UAPI_IOMMUFD(1)
#define UAPI_IOAS_ALLOW_IOVAS	 UAPI_IOMMUFD(2)
#define UAPI_IOAS_IOVA_RANGES	 UAPI_IOMMUFD(4)
#define UAPI_IOAS_MAP		 UAPI_IOMMUFD(5)
#define UAPI_IOAS_UNMAP		 UAPI_IOMMUFD(6)
#define UAPI_IOMMU_OPTION	 UAPI_IOMMUFD(0x7)
#define UAPI_HWPT_ALLOC		 UAPI_IOMMUFD(9)
#define UAPI_GET_HW_INFO	 UAPI_IOMMUFD(0xa)
#define UAPI_HWPT_SET_DIRTY	 UAPI_IOMMUFD(0xb)
#define UAPI_HWPT_GET_DIRTY	 UAPI_IOMMUFD(0xc)

#define UAPI_IOAS_MAP_FIXED	 (1u << 0)
#define UAPI_IOAS_MAP_WRITE	 (1u << 1)
#define UAPI_IOAS_MAP_READ	 (1u << 2)

#define UAPI_OPTION_HUGE_PAGES	 1u /* of an IOAS: entries of more than a page where they fit */

#define UAPI_HW_CAP_DIRTY	 (UINT64_C(1) << 0)

#define UAPI_HWPT_ALLOC_DIRTY	 (1u << 1)
#define UAPI_HWPT_DIRTY_ENABLE	 1u
#define UAPI_HWPT_GET_DIRTY_PEEK 1u /* the kernel's name: NO_CLEAR */

/* ---- a device's own node ---- */

struct uapi_device_bind {
	uint32_t argsz;
	uint32_t flags;
	int32_t iommufd;
	uint32_t out_devid;
};

struct uapi_device_attach {
	uint32_t argsz;
	uint32_t flags;
	uint32_t pt_id; /* of an IOAS or a HWPT; out: the HWPT that it came to */
};

struct uapi_device_detach {
	uint32_t argsz;
	uint32_t flags;
};

#define UAPI_DEVICE_BIND   _IO(VFIO_TYPE, VFIO_BASE + 18)
#define UAPI_DEVICE_ATTACH _IO(VFIO_TYPE, VFIO_BASE + 19)
#define UAPI_DEVICE_DETACH _IO(VFIO_TYPE, VFIO_BASE + 20)

_Static_assert(sizeof(struct uapi_ioas_alloc) == 12, "the kernel reads 12 bytes");
_Static_assert(sizeof(struct uapi_ioas_iova_ranges) == 32, "the kernel reads 32 bytes");
_Static_assert(sizeof(struct uapi_ioas_map) == 40, "the kernel reads 40 bytes");
_Static_assert(sizeof(struct uapi_ioas_unmap) == 24, "the kernel reads 24 bytes");
_Static_assert(sizeof(struct uapi_iommu_option) == 24, "the kernel reads 24 bytes");
_Static_assert(sizeof(struct uapi_hwpt_alloc) == 40, "the kernel reads at least 40 bytes");
_Static_assert(sizeof(struct uapi_hw_info) == 40, "the kernel reads at least 32 bytes");
_Static_assert(sizeof(struct uapi_hwpt_get_dirty) == 48, "the kernel reads 48 bytes");

#endif
