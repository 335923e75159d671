/* SPDX-License-Identifier: MIT */

/* Our own definitions of the kernel's interface, against the headers that this is compiled with: sizes, offsets, numbers. tests/abi.sh
 * compiles and runs it, once for each kernel's headers. */

#include <linux/iommufd.h>
#include <linux/vfio.h>
#include <stddef.h>
#include <stdio.h>
#include <vfiodirty/container.h>

#include "uapi_iommufd.h"

static unsigned checks, failures;

static void same(unsigned long long ours, unsigned long long theirs, const char *what)
{
	checks++;
	failures += ours != theirs;
	printf("%sok %u - %s: %#llx", ours == theirs ? "" : "not ", checks, what, ours);
	printf(ours == theirs ? "\n" : ", not %#llx\n", theirs);
}

#define SAME(ours, theirs) same(ours, theirs, #theirs)
#define SIZE(ours, theirs) same(sizeof(struct ours), sizeof(struct theirs), "sizeof struct " #theirs)
#define AT(ours, a, theirs, b)                                                                               \
	same(offsetof(struct ours, a) << 8 | sizeof(((struct ours *)0)->a),                                  \
	     offsetof(struct theirs, b) << 8 | sizeof(((struct theirs *)0)->b), #theirs "." #b)
#define FIELD(ours, theirs, name) AT(ours, name, theirs, name)

static void address_spaces(void)
{
	SAME(UAPI_IOMMU_DESTROY, IOMMU_DESTROY);
	SIZE(uapi_iommu_destroy, iommu_destroy);
	FIELD(uapi_iommu_destroy, iommu_destroy, id);
	SAME(UAPI_IOAS_ALLOC, IOMMU_IOAS_ALLOC);
	SIZE(uapi_ioas_alloc, iommu_ioas_alloc);
	FIELD(uapi_ioas_alloc, iommu_ioas_alloc, out_ioas_id);
	SAME(UAPI_IOMMU_OPTION, IOMMU_OPTION);
	SIZE(uapi_iommu_option, iommu_option);
	FIELD(uapi_iommu_option, iommu_option, option_id);
	FIELD(uapi_iommu_option, iommu_option, op);
	FIELD(uapi_iommu_option, iommu_option, object_id);
	FIELD(uapi_iommu_option, iommu_option, val64);
	SAME(UAPI_OPTION_HUGE_PAGES, IOMMU_OPTION_HUGE_PAGES);
	same(0, IOMMU_OPTION_OP_SET, "IOMMU_OPTION_OP_SET");
	SAME(UAPI_IOAS_ALLOW_IOVAS, IOMMU_IOAS_ALLOW_IOVAS);
	SIZE(uapi_ioas_allow_iovas, iommu_ioas_allow_iovas);
	FIELD(uapi_ioas_allow_iovas, iommu_ioas_allow_iovas, ioas_id);
	FIELD(uapi_ioas_allow_iovas, iommu_ioas_allow_iovas, num_iovas);
	FIELD(uapi_ioas_allow_iovas, iommu_ioas_allow_iovas, allowed_iovas);
	SAME(UAPI_IOAS_IOVA_RANGES, IOMMU_IOAS_IOVA_RANGES);
	SIZE(uapi_ioas_iova_ranges, iommu_ioas_iova_ranges);
	FIELD(uapi_ioas_iova_ranges, iommu_ioas_iova_ranges, ioas_id);
	FIELD(uapi_ioas_iova_ranges, iommu_ioas_iova_ranges, num_iovas);
	FIELD(uapi_ioas_iova_ranges, iommu_ioas_iova_ranges, allowed_iovas);
	FIELD(uapi_ioas_iova_ranges, iommu_ioas_iova_ranges, out_iova_alignment);
	same(sizeof(struct vfd_iova_range), sizeof(struct iommu_iova_range), "struct iommu_iova_range");
}

static void mappings(void)
{
	SAME(UAPI_IOAS_MAP, IOMMU_IOAS_MAP);
	SIZE(uapi_ioas_map, iommu_ioas_map);
	FIELD(uapi_ioas_map, iommu_ioas_map, flags);
	FIELD(uapi_ioas_map, iommu_ioas_map, ioas_id);
	FIELD(uapi_ioas_map, iommu_ioas_map, user_va);
	FIELD(uapi_ioas_map, iommu_ioas_map, length);
	FIELD(uapi_ioas_map, iommu_ioas_map, iova);
	SAME(UAPI_IOAS_MAP_FIXED, IOMMU_IOAS_MAP_FIXED_IOVA);
	SAME(UAPI_IOAS_MAP_WRITE, IOMMU_IOAS_MAP_WRITEABLE);
	SAME(UAPI_IOAS_MAP_READ, IOMMU_IOAS_MAP_READABLE);
	SAME(UAPI_IOAS_UNMAP, IOMMU_IOAS_UNMAP);
	SIZE(uapi_ioas_unmap, iommu_ioas_unmap);
	FIELD(uapi_ioas_unmap, iommu_ioas_unmap, ioas_id);
	FIELD(uapi_ioas_unmap, iommu_ioas_unmap, iova);
	FIELD(uapi_ioas_unmap, iommu_ioas_unmap, length);
}

static void tables(void)
{
	SAME(UAPI_GET_HW_INFO, IOMMU_GET_HW_INFO);
	SIZE(uapi_hw_info, iommu_hw_info);
	FIELD(uapi_hw_info, iommu_hw_info, dev_id);
	FIELD(uapi_hw_info, iommu_hw_info, data_len);
	FIELD(uapi_hw_info, iommu_hw_info, out_data_type);
	FIELD(uapi_hw_info, iommu_hw_info, out_capabilities);
	SAME(UAPI_HW_CAP_DIRTY, IOMMU_HW_CAP_DIRTY_TRACKING);
	SAME(UAPI_HWPT_ALLOC, IOMMU_HWPT_ALLOC);
	FIELD(uapi_hwpt_alloc, iommu_hwpt_alloc, flags);
	FIELD(uapi_hwpt_alloc, iommu_hwpt_alloc, dev_id);
	FIELD(uapi_hwpt_alloc, iommu_hwpt_alloc, pt_id);
	FIELD(uapi_hwpt_alloc, iommu_hwpt_alloc, out_hwpt_id);
	FIELD(uapi_hwpt_alloc, iommu_hwpt_alloc, data_uptr);
	SAME(UAPI_HWPT_ALLOC_DIRTY, IOMMU_HWPT_ALLOC_DIRTY_TRACKING);
	SAME(UAPI_HWPT_SET_DIRTY, IOMMU_HWPT_SET_DIRTY_TRACKING);
	SIZE(uapi_hwpt_set_dirty, iommu_hwpt_set_dirty_tracking);
	FIELD(uapi_hwpt_set_dirty, iommu_hwpt_set_dirty_tracking, flags);
	FIELD(uapi_hwpt_set_dirty, iommu_hwpt_set_dirty_tracking, hwpt_id);
	SAME(UAPI_HWPT_DIRTY_ENABLE, IOMMU_HWPT_DIRTY_TRACKING_ENABLE);
	SAME(UAPI_HWPT_GET_DIRTY, IOMMU_HWPT_GET_DIRTY_BITMAP);
	SIZE(uapi_hwpt_get_dirty, iommu_hwpt_get_dirty_bitmap);
	FIELD(uapi_hwpt_get_dirty, iommu_hwpt_get_dirty_bitmap, hwpt_id);
	FIELD(uapi_hwpt_get_dirty, iommu_hwpt_get_dirty_bitmap, iova);
	FIELD(uapi_hwpt_get_dirty, iommu_hwpt_get_dirty_bitmap, length);
	FIELD(uapi_hwpt_get_dirty, iommu_hwpt_get_dirty_bitmap, page_size);
	FIELD(uapi_hwpt_get_dirty, iommu_hwpt_get_dirty_bitmap, data);
	SAME(UAPI_HWPT_GET_DIRTY_PEEK, IOMMU_HWPT_GET_DIRTY_BITMAP_NO_CLEAR);
}

/* Some structs of VFIO grow, and say by argsz how far: of those only the fields. */
static void devices(void)
{
	SAME(UAPI_DEVICE_BIND, VFIO_DEVICE_BIND_IOMMUFD);
	FIELD(uapi_device_bind, vfio_device_bind_iommufd, iommufd);
	FIELD(uapi_device_bind, vfio_device_bind_iommufd, out_devid);
	SAME(UAPI_DEVICE_ATTACH, VFIO_DEVICE_ATTACH_IOMMUFD_PT);
	FIELD(uapi_device_attach, vfio_device_attach_iommufd_pt, pt_id);
	SAME(UAPI_DEVICE_DETACH, VFIO_DEVICE_DETACH_IOMMUFD_PT);
	FIELD(uapi_device_detach, vfio_device_detach_iommufd_pt, flags);
	FIELD(uapi_log_control, vfio_device_feature_dma_logging_control, page_size);
	FIELD(uapi_log_control, vfio_device_feature_dma_logging_control, num_ranges);
	FIELD(uapi_log_control, vfio_device_feature_dma_logging_control, ranges);
	SIZE(uapi_log_report, vfio_device_feature_dma_logging_report);
	FIELD(uapi_log_report, vfio_device_feature_dma_logging_report, page_size);
	FIELD(uapi_log_report, vfio_device_feature_dma_logging_report, bitmap);
	SAME(UAPI_FEATURE_LOG_START, VFIO_DEVICE_FEATURE_DMA_LOGGING_START);
	SAME(UAPI_FEATURE_LOG_STOP, VFIO_DEVICE_FEATURE_DMA_LOGGING_STOP);
	SAME(UAPI_FEATURE_LOG_REPORT, VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT);
	SIZE(uapi_mig_state, vfio_device_feature_mig_state);
	AT(uapi_mig_state, state, vfio_device_feature_mig_state, device_state);
	FIELD(uapi_mig_state, vfio_device_feature_mig_state, data_fd);
	SAME(UAPI_FEATURE_MIG_STATE, VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE);
	SAME(UAPI_MIG_PRE_COPY_P2P, VFIO_DEVICE_STATE_PRE_COPY_P2P);
	SAME(UAPI_MIG_GET_PRECOPY_INFO, VFIO_MIG_GET_PRECOPY_INFO);
	SIZE(uapi_precopy_info, vfio_precopy_info);
}

int main(void)
{
	address_spaces();
	mappings();
	tables();
	devices();
	printf("1..%u\n", checks);
	return failures != 0;
}
