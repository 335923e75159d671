/* SPDX-License-Identifier: MIT */

/*
 * Without privileges, on the real kernel: root gives a user the nodes of two groups and nothing else, and this program executes itself again as that
 * user, who has no capabilities and may lock little memory. docs/system-calls.md says that this is enough.
 */

#include "rig_edu.h"

#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

/* What rig_map_all() maps, once behind an IOMMU; and what the test device pins, when it is no mapping that is charged */
enum { NOBODY = 65534, MAPPED_PAGES = 1984, PINNED_PAGES = 7, LOCKED_PAGES = MAPPED_PAGES + PINNED_PAGES };

#define CLOSED "/dev/vfio/closed" /* as /dev/vfio/vfio, but root's */

/* ---- root's part ---- */

static bool give(int group)
{
	char path[32];

	snprintf(path, sizeof path, "/dev/vfio/%d", group);
	return !chown(path, NOBODY, NOBODY);
}

/* The test device's own node too: it is no part of VFIO. */
static bool give_nodes(int pci_group)
{
	struct stat node;

	return !stat("/dev/vfio/vfio", &node) &&
	       !mknod(CLOSED, S_IFCHR | 0600, makedev(major(node.st_rdev), minor(node.st_rdev))) &&
	       !chown(VFDTEST_PATH, NOBODY, NOBODY) && give(rig_group_number(0)) && give(pci_group);
}

static bool become_nobody(void)
{
	const struct rlimit limit = { LOCKED_PAGES * RIG_PAGE, LOCKED_PAGES * RIG_PAGE };

	return !setrlimit(RLIMIT_MEMLOCK, &limit) && !setgroups(0, NULL) &&
	       !setresgid(NOBODY, NOBODY, NOBODY) && !setresuid(NOBODY, NOBODY, NOBODY) &&
	       !prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
}

/* After that the kernel counts it as any program of that user: it may look into its own /proc. */
static int as_nobody(char *program)
{
	struct edu edu = { .number = -1 };
	char *arguments[] = { program, "nobody", NULL };

	edu_find(&edu);
	if (give_nodes(edu.number) && become_nobody())
		execv("/proc/self/exe", arguments);
	ok(false, "become nobody: %s", strerror(errno));
	return done();
}

/* ---- nobody's ---- */

static struct rig rig;

static bool has_nothing(void)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = { 0 };
	bool none = !syscall(SYS_capget, &head, data);

	for (int i = 0; i < _LINUX_CAPABILITY_U32S_3; i++)
		none &= !data[i].effective && !data[i].permitted && !data[i].inheritable;
	return none && getuid() == NOBODY && geteuid() == NOBODY && getegid() == NOBODY &&
	       !getgroups(0, NULL) && prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1;
}

static void refused(int rc, const char *what)
{
	ok_code(rc, -EACCES, &rig.err, "%s", what);
	ok(rc && strstr(rig.err.message, "access to"), "and it is said what to do: %s",
	   rc ? rig.err.message : "");
}

static void what_is_refused(void)
{
	const struct vfd_container_options options = { .struct_size = sizeof options,
						       .log = rig.log,
						       .path = CLOSED };
	struct vfd_container_info info = { .struct_size = sizeof info };
	struct vfd_container *container = NULL;

	refused(vfd_container_open(&options, &container, &rig.err), "a container's node that is not ours");
	refused(rig_attach(&rig, 1), "another group's node");
	ok_code(vfd_container_info(rig.container, &info, &rig.err), 0, &rig.err, "info");
	ok(info.attached == 1, "the group that is attached stays: %u", info.attached);
}

static void round_of(uint64_t page, uint64_t count, const char *what)
{
	rig_write(0, page, count, 1);
	ok_code(vfd_track_harvest(rig.container, 0, NULL, &rig.err), 0, &rig.err, "harvest: %s", what);
	struct pages log = rig_deliver(&rig), truth = rig_truth(&rig);
	ok_exact(&log, &truth, what);
}

/* A duplicate keeps the device open, and the library looks who holds it: in /proc/self */
static void held_open(void)
{
	int copy = dup(vfd_device_fd(rig.devices[0]));

	ok_code(vfd_group_detach(&rig.groups[0], VFD_COLLECT, &rig.err), -EBUSY, &rig.err,
		"a device that is held open");
	ok(strstr(rig.err.message, "descriptor"), "and who holds it: %s", rig.err.message);
	close(copy);
}

static void emulated(void)
{
	rig_begin(&rig);
	what_is_refused();
	round_of(3, 20, "tracked");
	ok(!rig_pin(0, 600, PINNED_PAGES), "the device pins memory within the limit");
	round_of(100, 5, "pinned");
	rig_write(0, 700, 9, 2);
	ok_code(rig_unmap(&rig, 512, 512), 0, &rig.err, "unmap what was written and pinned");
	ok_code(rig_map(&rig, 512, 512, RIG_RW), 0, &rig.err, "map it again");
	round_of(800, 3, "mapped again");
	rig_write(0, 40, 4, 3);
	held_open();
	ok_code(vfd_group_detach(&rig.groups[0], VFD_COLLECT, &rig.err), 0, &rig.err, "detach");
	struct pages log = rig_deliver(&rig), truth = rig_truth(&rig);
	ok_exact(&log, &truth, "detached");
	rig_close(&rig);
}

/* The kernel charges each page of a mapping behind an IOMMU. */
static void one_page_too_many(void)
{
	struct vfd_mapping mapping = { .struct_size = sizeof mapping,
				       .flags = RIG_RW,
				       .iova = RIG_IOVA + RIG_PAGES * RIG_PAGE,
				       .size = (PINNED_PAGES + 1) * RIG_PAGE,
				       .memory = rig.memory };
	struct vfd_map_cost cost = { .struct_size = sizeof cost };

	ok_code(vfd_map_check(rig.container, &mapping, &cost, &rig.err), -ENOMEM, &rig.err,
		"a page too many is foretold");
	ok(cost.locked_available == PINNED_PAGES * RIG_PAGE, "%llu bytes can still be locked",
	   (unsigned long long)cost.locked_available);
	ok_code(vfd_map(rig.container, &mapping, &rig.err), -ENOMEM, &rig.err, "and refused");
	ok(strstr(rig.err.message, "RLIMIT_MEMLOCK"), "with the reason: %s", rig.err.message);
}

static void audit(void)
{
	struct vfd_audit_result result = { .struct_size = sizeof result };
	struct vfd_audit *a = NULL;
	int rc = vfd_audit_create(rig.container, 0, &a, &rig.err);

	if (rc == VFD_EUNSUPPORTED) {
		skip("audit", rig.err.message);
		return;
	}
	ok_code(rc, 0, &rig.err, "an audit needs no privilege");
	if (!rc)
		ok_code(vfd_audit_check(a, VFD_AUDIT_FINAL, NULL, 0, &result, &rig.err), 0, &rig.err,
			"it is made");
	if (!rc)
		ok_code(vfd_audit_destroy(&a, &rig.err), 0, &rig.err, "and ends");
}

static void physical(void)
{
	struct edu edu = { 0 };

	if (!edu_find(&edu)) {
		skip("a device behind an IOMMU", "none is bound to vfio-pci");
		return;
	}
	rig_open(&rig);
	ok_code(vfd_group_attach(rig.container, edu.number, &edu.group, &rig.err), 0, &rig.err,
		"attach a group behind an IOMMU");
	rig_map_all(&rig);
	one_page_too_many();
	ok_code(vfd_track_start(rig.container, NULL, NULL, &rig.err), 0, &rig.err, "start");
	edu_open(&rig, &edu);
	memset(rig.memory, 0x5a, RIG_PAGE);
	edu_copy(&edu, 0, 600);
	ok(rig.memory[600 * RIG_PAGE] == 0x5a, "its device writes RAM");
	audit();
	ok_code(vfd_group_detach(&edu.group, VFD_COLLECT, &rig.err), 0, &rig.err, "detach it");
	struct pages log = rig_deliver(&rig), wrote = { 0 };
	wrote.words[600 / 64] = UINT64_C(1) << 600 % 64;
	ok_nothing_lost(&log, &wrote, "what it wrote");
	ok(pages_count(&log) == MAPPED_PAGES, "for it all that is mapped is owed: %u pages",
	   pages_count(&log));
	rig_close(&rig);
}

int main(int argc, char **argv)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (argc < 2)
		return as_nobody(argv[0]);
	ok(has_nothing(), "user %d, no groups, no capabilities, no way back; %d pages may be locked", NOBODY,
	   LOCKED_PAGES);
	emulated();
	physical();
	return done();
}
