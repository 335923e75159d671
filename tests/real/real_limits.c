/* SPDX-License-Identifier: MIT */

/* Limits told before they hurt, on the real kernel: this process has no CAP_IPC_LOCK and little locked memory, the module few mapping
 * entries. Before each map the library is asked what it will say; it must be right each time, behind an IOMMU and without one. */

#include "rig_edu.h"

#include <errno.h>
#include <linux/capability.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#define ENTRIES "/sys/module/vfio_iommu_type1/parameters/dma_entry_limit"

enum { LOCKED_PAGES = 100, ENTRY_LIMIT = 40, OWN_LOCKED_PAGES = 7 };

static struct rig rig;

static bool give_up_capability(void)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];

	if (syscall(SYS_capget, &head, data))
		return false;
	data[0].effective &= ~(1u << CAP_IPC_LOCK);
	data[0].permitted &= ~(1u << CAP_IPC_LOCK);
	data[0].inheritable &= ~(1u << CAP_IPC_LOCK);
	return !syscall(SYS_capset, &head, data);
}

static bool lock_little(void)
{
	const struct rlimit limit = { LOCKED_PAGES * RIG_PAGE, LOCKED_PAGES * RIG_PAGE };

	/* what the program has locked by itself counts too */
	return !setrlimit(RLIMIT_MEMLOCK, &limit) && !mlock(rig.memory, OWN_LOCKED_PAGES * RIG_PAGE);
}

static bool few_entries(unsigned entries)
{
	FILE *file = fopen(ENTRIES, "we");

	return file && fprintf(file, "%u", entries) > 0 && !fclose(file);
}

static struct vfd_mapping mapping_of(uint64_t page, uint64_t count, uint64_t iova)
{
	return (struct vfd_mapping){
		.struct_size = sizeof(struct vfd_mapping),
		.flags = RIG_RW,
		.iova = iova,
		.size = count * RIG_PAGE,
		.memory = rig.memory + page * RIG_PAGE,
	};
}

/* Maps until the kernel refuses; true if every answer was foretold. */
static bool map_until_full(uint64_t pages, int *refused, uint64_t *maps)
{
	for (*maps = 0;; ++*maps) {
		uint64_t page = *maps * (pages + 1);
		struct vfd_mapping mapping =
			mapping_of(page % (RIG_PAGES - pages), pages, RIG_IOVA + page * RIG_PAGE);
		int foretold = vfd_map_check(rig.container, &mapping, NULL, &rig.err);
		*refused = vfd_map(rig.container, &mapping, &rig.err);
		if (foretold != *refused)
			printf("# map %llu: foretold %s, got %s (%s)\n", (unsigned long long)*maps,
			       vfd_strcode(foretold), vfd_strcode(*refused), rig.err.message);
		if (*refused || foretold || *maps > 1000)
			return foretold == *refused;
	}
}

static void check_full(const char *what, uint64_t pages, int want, uint64_t most)
{
	uint64_t maps;
	int refused;
	bool foretold = map_until_full(pages, &refused, &maps);

	ok(foretold && refused == want && maps == most,
	   "%s: %llu maps of %llu pages, then %s, each foretold (expected %llu, then %s)", what,
	   (unsigned long long)maps, (unsigned long long)pages, vfd_strcode(refused),
	   (unsigned long long)most, vfd_strcode(want));
	printf("# %s\n", rig.err.message);
	ok_code(vfd_unmap_all(rig.container, &rig.err), 0, &rig.err, "unmap all");
}

/* Just inside and just outside of every window that the kernel names */
static void check_windows(void)
{
	struct vfd_container_info info = { .struct_size = sizeof info };
	unsigned wrong = 0, tried = 0;

	ok_code(vfd_container_info(rig.container, &info, &rig.err), 0, &rig.err, "ask for the windows");
	for (uint32_t i = 0; i < info.range_count; i++) {
		const uint64_t edges[] = { info.ranges[i].first, info.ranges[i].first - RIG_PAGE,
					   info.ranges[i].last - RIG_PAGE + 1, info.ranges[i].last + 1 };
		for (int k = 0; k < 4; k++) {
			struct vfd_mapping mapping = mapping_of(0, 1, edges[k]);
			int foretold = vfd_map_check(rig.container, &mapping, NULL, &rig.err);
			int got = vfd_map(rig.container, &mapping, &rig.err);
			tried++;
			wrong += foretold != got || (!got && k % 2) || (got == VFD_ERESERVED && !(k % 2));
		}
	}
	ok(tried && !wrong, "the edges of %u windows: %u maps, %u other than foretold", info.range_count,
	   tried, wrong);
	ok_code(vfd_unmap_all(rig.container, &rig.err), 0, &rig.err, "unmap all");
}

static void physical(void)
{
	struct edu edu = { .number = -1 };

	edu_find(&edu);
	rig_open(&rig);
	ok(lock_little(), "RLIMIT_MEMLOCK is %d pages, %d of them used already", LOCKED_PAGES,
	   OWN_LOCKED_PAGES);
	ok_code(vfd_group_attach(rig.container, edu.number, &rig.groups[0], &rig.err), 0, &rig.err,
		"attach the physical group");
	check_full("behind an IOMMU, locked memory", 8, -ENOMEM, (LOCKED_PAGES - OWN_LOCKED_PAGES) / 8);
	check_full("behind an IOMMU, to the last page", 1, -ENOSPC, ENTRY_LIMIT);
	check_full("behind an IOMMU, one map too large", LOCKED_PAGES - OWN_LOCKED_PAGES + 1, -ENOMEM, 0);
	check_full("behind an IOMMU, all at once", LOCKED_PAGES - OWN_LOCKED_PAGES, -ENOMEM, 1);
	check_windows();
	rig_close(&rig);
}

static void emulated(void)
{
	rig_open(&rig);
	ok_code(rig_attach(&rig, 0), 0, &rig.err, "attach an emulated group");
	check_full("emulated, mapping entries", 200, -ENOSPC, ENTRY_LIMIT);
	rig_close(&rig);
}

int main(void)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	ok(give_up_capability() && few_entries(ENTRY_LIMIT), "no CAP_IPC_LOCK, %d mapping entries",
	   ENTRY_LIMIT);
	physical();
	emulated();
	ok(few_entries(65535), "mapping entries as before");
	return done();
}
