/* SPDX-License-Identifier: MIT */
#include "pin_hint.h"

HOT int translate(struct vfd_pinset *set, enum by by, uint64_t address, struct vfd_translation *out,
		  struct vfd_error *err)
{
	struct pin_hint *hint;
	int rc = check_set(set, "translate", err);

	if (!rc && !out)
		rc = fail(err, VFD_EINVALID, "translate", "out is NULL");
	if (!rc)
		rc = find_hint(set, by, address, 0, false, &hint, err);
	if (rc)
		return rc;
	uint64_t offset = address - hint_start(hint, by);
	*out = (struct vfd_translation){
		.iova = hint->iova + offset,
		.memory = (void *)(uintptr_t)(hint->memory + offset),
		.size = hint->last - offset + 1,
		.generation = hint->generation,
	};
	return 0;
}

int vfd_translate(struct vfd_pinset *set, const void *memory, struct vfd_translation *out,
		  struct vfd_error *err)
{
	return translate(set, BY_PROCESS, (uintptr_t)memory, out, err);
}

int vfd_translate_iova(struct vfd_pinset *set, uint64_t iova, struct vfd_translation *out,
		       struct vfd_error *err)
{
	return translate(set, BY_DEVICE, iova, out, err);
}

uint64_t vfd_pinset_generation(const struct vfd_pinset *set)
{
	return set ? generation_of(set) : 0;
}
