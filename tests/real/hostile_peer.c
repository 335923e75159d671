/* SPDX-License-Identifier: MIT */

/*
 * A child that inherited the container, and uses it behind the library's back while its device writes and the library harvests. What it maps and unmaps
 * of its own disturbs nobody; that it switches tracking off is noticed, and then nothing counts as clean. (Bits that it reads are gone, and nobody can
 * see that: docs/kernel-contract.md, trap 29.)
 */

#include "hostile.h"

#include <errno.h>
#include <linux/vfio.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ROUNDS = 60, PEER_PAGE = 4096 /* its mappings are there, above all of the library's */ };

static struct rig rig;
static struct raw raw;

static void forget_pages(struct pages *pages)
{
	*pages = (struct pages){ 0 };
}

static void add_pages(struct pages *to, const struct pages *more)
{
	for (int i = 0; i < RIG_WORDS; i++)
		to->words[i] |= more->words[i];
}

/* ---- the child ---- */

static pid_t fork_peer(void (*act)(void))
{
	pid_t child = fork();

	if (child)
		return child;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (;;)
		act();
}

static void end_peer(pid_t child)
{
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
}

static void reads(void)
{
	static uint64_t words[8];
	static _Alignas(8) unsigned char arg[sizeof(struct vfio_iommu_type1_dirty_bitmap) +
					     sizeof(struct vfio_iommu_type1_dirty_bitmap_get)];
	const struct vfio_iommu_type1_dirty_bitmap head = { .argsz = sizeof arg,
							    .flags = VFIO_IOMMU_DIRTY_PAGES_FLAG_GET_BITMAP };
	const struct vfio_iommu_type1_dirty_bitmap_get get = {
		.iova = RIG_IOVA + PEER_PAGE * RIG_PAGE,
		.size = 256 * RIG_PAGE,
		.bitmap = { .pgsize = RIG_PAGE, .size = sizeof words, .data = (__u64 *)words },
	};

	memcpy(arg, &head, sizeof head);
	memcpy(arg + sizeof head, &get, sizeof get);
	ioctl(raw.container, VFIO_IOMMU_DIRTY_PAGES, arg);
}

/* Mappings of its own, and bits read of them */
static void maps_and_reads(void)
{
	raw_map(&raw, &rig, PEER_PAGE, 100);
	raw_map(&raw, &rig, PEER_PAGE + 128, 60);
	reads();
	raw_unmap(&raw, PEER_PAGE, 100);
	raw_unmap(&raw, PEER_PAGE + 128, 60);
}

static void switches_off(void)
{
	usleep((useconds_t)(rand() % 20000));
	raw_switch(&raw, VFIO_IOMMU_DIRTY_PAGES_FLAG_STOP);
}

/* ---- the library ---- */

static void begin(void)
{
	hostile_begin(&rig);
	raw = raw_open(&rig);
	ok_code(hostile_adopt(&rig, &raw, VFD_ADOPT_DUP), 0, &rig.err, "adopt by duplicates");
}

/* Its descriptors first: else they hold the device open. */
static void end(const char *what, const struct pages *log, const struct pages *truth, bool exact)
{
	raw_close(&raw);
	ok_code(vfd_container_close(&rig.container, VFD_COLLECT, &rig.err), 0, &rig.err, "%s: close", what);
	struct pages all_log = *log, all_truth = *truth, more = rig_deliver(&rig);

	add_pages(&all_log, &more);
	more = rig_truth(&rig);
	add_pages(&all_truth, &more);
	if (exact)
		ok_exact(&all_log, &all_truth, what);
	else
		ok_nothing_lost(&all_log, &all_truth, what);
	rig_close(&rig);
}

/* The library maps and unmaps too. */
static void change(unsigned round)
{
	rig_map(&rig, 600, 64, RIG_RW);
	rig_write(0, 600 + round % 60, 4, round);
	rig_unmap(&rig, 600, 64);
}

static void beside_one_who_maps(void)
{
	struct pages log, truth;
	unsigned failed = 0;

	begin();
	forget_pages(&log);
	pid_t child = fork_peer(maps_and_reads);
	for (unsigned round = 0; round < ROUNDS; round++) {
		rig_write(0, round, 3, round);
		rig_write(0, 1030 + 2 * round, 1, round);
		change(round);
		failed += vfd_track_harvest(rig.container, 0, NULL, &rig.err) != 0;
		struct pages got = rig_deliver(&rig);
		add_pages(&log, &got);
	}
	end_peer(child);
	truth = rig_truth(&rig);
	ok(!failed, "%u harvests beside a peer who maps, unmaps and reads what is his, %u failed", ROUNDS,
	   failed);
	end("a peer with mappings of his own", &log, &truth, true);
}

/* After it was noticed all that is mapped is owed; begun anew, the record counts again, until it is switched off again. Each round is reckoned alone:
 * what was written since the last reckoning is in the log at the next. */
static void beside_one_who_stops(void)
{
	struct pages none, log, truth;
	unsigned noticed = 0, lost = 0, others = 0, written = 0;

	begin();
	pid_t child = fork_peer(switches_off);
	for (unsigned round = 0; round < ROUNDS; round++) {
		rig_write(0, round * 7, 5, round);
		rig_write(0, 1024 + round, 2, round);
		usleep(500);
		int rc = vfd_track_harvest(rig.container, 0, NULL, &rig.err);
		noticed += rc == VFD_ELOST;
		others += rc && rc != VFD_ELOST;
		vfd_track_start(rig.container, NULL, NULL, &rig.err);
		/* what the record missed until it was begun anew is owed at the end, at the latest */
		if (round % 10 != 9)
			continue;
		rc = vfd_track_harvest(rig.container, VFD_HARVEST_FINAL, NULL, &rig.err);
		if (rc == VFD_ELOST)
			rc = vfd_track_harvest(rig.container, VFD_HARVEST_FINAL, NULL, &rig.err);
		others += rc && rc != VFD_ELOST;
		log = rig_deliver(&rig);
		truth = rig_truth(&rig);
		lost += pages_missing(&truth, &log);
		written += pages_count(&truth);
	}
	end_peer(child);
	ok(noticed, "tracking was switched off by a peer, and %u of %u harvests notice", noticed, ROUNDS);
	ok(!others, "%u failed otherwise", others);
	ok(written && !lost, "%u pages written meanwhile, %u lost", written, lost);
	ok_code(vfd_track_start(rig.container, NULL, NULL, &rig.err), 0, &rig.err, "begun anew, without him");
	rig_write(0, 300, 20, 1);
	forget_pages(&none);
	end("a peer who switches off", &none, &none, false);
}

/* What the library has mapped is gone: it says so, and owes it. */
static void beside_one_who_unmaps(void)
{
	struct pages none = { 0 };

	begin();
	rig_write(0, 20, 5, 1);
	ok_code(vfd_track_harvest(rig.container, 0, NULL, &rig.err), 0, &rig.err, "harvest");
	struct pages log = rig_deliver(&rig), truth = rig_truth(&rig);
	ok_exact(&log, &truth, "before");
	rig_write(0, 40, 5, 1);
	ok(raw_unmap(&raw, 0, 512), "a peer unmaps what the library has mapped");
	ok_code(vfd_track_harvest(rig.container, 0, NULL, &rig.err), 0, &rig.err, "a harvest over the hole");
	ok_code(rig_unmap(&rig, 0, 512), VFD_ESHORT, &rig.err, "unmapping it is noticed");
	printf("# %s\n", rig.err.message);
	log = rig_deliver(&rig);
	truth = rig_truth(&rig);
	ok_nothing_lost(&log, &truth, "what was written there, its bits unmapped by the peer, is assumed");
	ok_code(rig_unmap(&rig, 0, 512), 0, &rig.err, "and again: it is gone");
	ok(raw_map(&raw, &rig, 64, 64), "the peer maps something there");
	ok_code(rig_map(&rig, 0, 512, RIG_RW), -EEXIST, &rig.err, "which the library cannot know");
	printf("# %s\n", rig.err.message);
	ok(raw_unmap(&raw, 64, 64), "until it is gone");
	ok_code(rig_map(&rig, 0, 512, RIG_RW), 0, &rig.err, "then it can");
	rig_write(0, 50, 7, 1);
	end("a peer who unmaps", &none, &none, true);
}

void test_peer(void)
{
	srand(1);
	beside_one_who_maps();
	beside_one_who_stops();
	beside_one_who_unmaps();
}
