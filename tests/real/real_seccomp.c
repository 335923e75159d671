/* SPDX-License-Identifier: MIT */

/* A whole life on the real kernel with only those system calls that docs/system-calls.md lists (and docs/check.sh compares it with seccomp_calls.c).
 * What else is called is named, and is a failure. */

#include "rig.h"
#include "seccomp_calls.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static struct rig rig;

/* ---- the filter's word ---- */

static void on_refusal(int number, siginfo_t *info, void *context)
{
	char text[64];
	int length =
		snprintf(text, sizeof text, "not ok - system call %d is not on the list\n", info->si_syscall);

	(void)number, (void)context;
	_exit(write(STDOUT_FILENO, text, (size_t)length) < 0
		      ? 2
		      : 1); /* nothing that might call what is refused */
}

static bool filter(void)
{
	struct sigaction action = { .sa_sigaction = on_refusal, .sa_flags = SA_SIGINFO };

	return !sigaction(SIGSYS, &action, NULL) && !seccomp_install();
}

/* ---- a life ---- */

static void round_trip(uint64_t page, const char *what)
{
	rig_write(0, page, 7, 1);
	ok_code(vfd_track_harvest(rig.container, 0, NULL, &rig.err), 0, &rig.err, "harvest: %s", what);
	struct pages truth = rig_truth(&rig), log = rig_deliver(&rig);
	ok_exact(&log, &truth, what);
}

static void ask(void)
{
	struct vfd_container_info info = { .struct_size = sizeof info };
	struct vfd_migration_info migration = { .struct_size = sizeof migration };
	struct vfd_mapping mapping = { .struct_size = sizeof mapping,
				       .flags = RIG_RW,
				       .iova = RIG_IOVA + 2 * RIG_PAGES * RIG_PAGE,
				       .size = RIG_PAGE,
				       .memory = rig.memory };
	struct vfd_map_cost cost = { .struct_size = sizeof cost };
	uint32_t word = 0;

	ok_code(vfd_container_info(rig.container, &info, &rig.err), 0, &rig.err, "info");
	ok_code(vfd_map_check(rig.container, &mapping, &cost, &rig.err), 0, &rig.err,
		"what a mapping costs: limits, and what is locked");
	mapping.memory = NULL;
	ok(vfd_map(rig.container, &mapping, &rig.err),
	   "a mapping of memory that is not there is refused, and explained");
	ok_code(vfd_migration_info(rig.devices[0], &migration, &rig.err), 0, &rig.err, "how it migrates");
	ok_code(vfd_device_read(rig.devices[0], 0, 0, &word, sizeof word, &rig.err), 0, &rig.err,
		"read a register");
}

/* Kernels before 6.7 have none; it has to be refused with a reason. */
static void audit(void)
{
	struct vfd_audit_result result = { .struct_size = sizeof result };
	struct vfd_audit *a = NULL;
	int rc = vfd_audit_create(rig.container, 0, &a, &rig.err);

	if (rc) {
		skip("audit", rig.err.message);
		return;
	}
	ok_code(vfd_audit_check(a, VFD_AUDIT_FINAL, NULL, 0, &result, &rig.err), 0, &rig.err, "audit");
	ok_code(vfd_audit_destroy(&a, &rig.err), 0, &rig.err, "audit ends");
}

/* A duplicate keeps the device open: the library looks who holds it. */
static void held_open(void)
{
	int copy = dup(vfd_device_fd(rig.devices[0]));

	ok_code(vfd_group_detach(&rig.groups[0], VFD_COLLECT, &rig.err), -EBUSY, &rig.err,
		"a device that is held open");
	close(copy);
	ok_code(vfd_group_detach(&rig.groups[0], VFD_COLLECT, &rig.err), 0, &rig.err, "and is not");
	rig.devices[0] = NULL;
}

int main(void)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	rig_status(0); /* the rig's own descriptor */
	if (!ok(filter(), "only what is listed can be called: %zu system calls", seccomp_count()))
		return done();
	rig_open(&rig);
	rig_begin(&rig);
	round_trip(3, "tracked");
	ask();
	audit();
	ok_code(vfd_device_quiesce(rig.devices[0], &rig.err), 0, &rig.err, "quiesce");
	ok_code(vfd_device_resume(rig.devices[0], &rig.err), 0, &rig.err, "resume");
	round_trip(80, "resumed");
	held_open();
	rig_close(&rig);
	ok(true, "closed");
	return done();
}
