/* SPDX-License-Identifier: MIT */
#ifndef GUARD_CALLS_H
#define GUARD_CALLS_H

/* What the files of calls share: counts, and kernel ABI that installed headers may be too old for. */

#include <linux/ioctl.h>
#include <stdbool.h>
#include <stdint.h>

extern uint64_t count_maps, count_unmaps, count_starts, count_stops, count_gets;

/* Can the kernel write there? Where that cannot be found out: yes. */
bool memory_writable(uint64_t address, uint64_t size);

/* ---- devices of an iommufd ------------------------------------------------------------------------------------------- */

struct abi_bind {
	uint32_t argsz, flags;
	int32_t iommufd;
	uint32_t out_devid;
};

struct abi_attach {
	uint32_t argsz, flags, pt_id;
};

#define ABI_DEVICE_BIND_IOMMUFD	     _IO(';', 118)
#define ABI_DEVICE_ATTACH_IOMMUFD_PT _IO(';', 119)
#define ABI_DEVICE_DETACH_IOMMUFD_PT _IO(';', 120)

/* ---- /dev/iommu ------------------------------------------------------------------------------------------------------ */

struct abi_destroy {
	uint32_t size, id;
};

struct abi_ioas_alloc {
	uint32_t size, flags, out_ioas_id;
};

struct abi_ioas_copy {
	uint32_t size, flags, dst_ioas_id, src_ioas_id;
	uint64_t length, dst_iova, src_iova;
};

struct abi_ioas_map {
	uint32_t size, flags, ioas_id, reserved; /* MAP_FILE: the file's descriptor */
	uint64_t from, length, iova;
};

struct abi_ioas_unmap {
	uint32_t size, ioas_id;
	uint64_t iova, length;
};

struct abi_hwpt_alloc {
	uint32_t size, flags, dev_id, pt_id, out_hwpt_id, reserved;
};

struct abi_set_dirty {
	uint32_t size, flags, hwpt_id, reserved;
};

struct abi_get_dirty {
	uint32_t size, hwpt_id, flags, reserved;
	uint64_t iova, length, page_size, data;
};

#define ABI_DESTROY	  _IO(';', 0x80)
#define ABI_IOAS_ALLOC	  _IO(';', 0x81)
#define ABI_IOAS_COPY	  _IO(';', 0x83)
#define ABI_IOAS_MAP	  _IO(';', 0x85)
#define ABI_IOAS_UNMAP	  _IO(';', 0x86)
#define ABI_HWPT_ALLOC	  _IO(';', 0x89)
#define ABI_SET_DIRTY	  _IO(';', 0x8b)
#define ABI_GET_DIRTY	  _IO(';', 0x8c)
#define ABI_IOAS_MAP_FILE _IO(';', 0x8f)
#define ABI_MAP_WRITABLE  2u
#define ABI_DIRTY_ENABLE  1u

#endif
