/* SPDX-License-Identifier: MIT */
#ifndef TESTS_MODEL_IOMMUFD_H
#define TESTS_MODEL_IOMMUFD_H

/* /dev/iommu: what its files share. An IOAS is a struct container of kind MODEL_IOAS, whose type1 has the mappings and never tracks. */

#include "internal.h"

enum object_kind {
	OBJECT_IOAS,
	OBJECT_HWPT,
	OBJECT_DEVICE,
};

/* A page table of an IOMMU. */
struct hwpt {
	struct container *ioas;
	unsigned users;	      /* devices in it */
	int iommu;	      /* which IOMMU: only its devices can be in it */
	bool can, on;	      /* set dirty bits */
	struct pageset dirty; /* pages of IOVA: of an entry of several pages the first */
};

struct object {
	uint32_t id;
	enum object_kind kind;
	struct container *ioas;
	struct hwpt *hwpt;
	struct device *device;
};

/* What a descriptor of /dev/iommu stands for. */
struct iommu {
	unsigned refs; /* descriptors, devices bound */
	uint32_t last_id;
	struct object *objects;
	size_t count, room;
};

struct object *iommu_find(struct iommu *iommu, uint32_t id);
struct object *iommu_add(struct iommu *iommu, enum object_kind kind);
void iommu_remove(struct model *m, struct iommu *iommu, struct object *object);

/* iommufd_dirty.c */
int hwpt_set_dirty(struct call *call, struct iommu *iommu, const void *argument);
int hwpt_get_dirty(struct call *call, struct iommu *iommu, const void *argument);
/* Bits in first..last of all tables of the IOAS are gone. */
void hwpts_drop(struct model *m, struct iommu *iommu, const struct container *ioas, uint64_t first,
		uint64_t last);
void hwpt_drop(struct model *m, struct hwpt *hwpt, uint64_t first, uint64_t last);
/* What could be delivered now. */
void hwpt_held(const struct hwpt *hwpt, struct pageset *set);

#endif
