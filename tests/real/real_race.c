/* SPDX-License-Identifier: MIT */

/* real_race [SECONDS]: everything at once on the real kernel: devices that write, that come and go and that pin; threads that map, unmap,
 * pin, harvest, copy and fork; signals; a second container that opens and closes. Ten times a second all stand still, and it is
 * reckoned: what the devices wrote was sent, and what was sent is what is there. */

#include "race.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static unsigned seconds, reckonings, lost, stale;
static uint64_t writes_before;

/* ---- the reckoning ---- */

static struct pages sent_until_now(struct race *r)
{
	struct pages pages;

	for (int i = 0; i < RIG_WORDS; i++)
		pages.words[i] = atomic_exchange(&r->sent[i], 0);
	return pages;
}

/* Every write changes what is there. */
static unsigned stale_pages(const struct race *r)
{
	const uint64_t *memory = (const uint64_t *)(void *)r->rig.memory;
	unsigned count = 0;

	for (uint64_t page = 0; page < PAGES; page++) {
		bool same = true;
		for (uint64_t i = page * RIG_PAGE / 8; i < (page + 1) * RIG_PAGE / 8; i++)
			same &= r->copy[i] == memory[i];
		count += !same;
	}
	return count;
}

static void collect(struct race *r, struct vfd_container *container)
{
	struct vfd_error err;
	int rc = vfd_track_harvest(container, 0, NULL, &err);

	if (rc)
		race_problem(r, "the harvest before a reckoning", rc, &err);
}

static void reckon(struct race *r)
{
	struct pages truth, sent;

	for (unsigned i = 0; i < DEVICES; i++)
		rig_halt(i);
	collect(r, r->rig.container);
	if (r->other)
		collect(r, r->other);
	race_send(r);
	truth = rig_truth(&r->rig);
	sent = sent_until_now(r);
	lost += pages_missing(&truth, &sent);
	stale += stale_pages(r);
	reckonings++;
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static uint64_t device_writes(void)
{
	uint64_t writes = 0;

	for (unsigned i = 0; i < DEVICES; i++)
		writes += rig_status(i).writes;
	return writes - writes_before;
}

static bool all_had_turns(const struct race *r)
{
	return r->maps && r->harvests && r->batches && r->pins && r->plugs && r->others && r->forks &&
	       r->signals;
}

/* On a busy machine some may have no turn for long. */
static bool enough(const struct race *r, double end)
{
	if (now() < end)
		return false;
	return now() > end + 100 || (reckonings > 2 && device_writes() > 1000 && all_had_turns(r));
}

static void reckon_again_and_again(struct race *r)
{
	for (double end = now() + seconds; !enough(r, end) && !r->stop;) {
		usleep(100000);
		pthread_rwlock_wrlock(&r->turns);
		reckon(r);
		for (unsigned i = 0; i < DEVICES; i++)
			race_run(i, reckonings);
		pthread_rwlock_unlock(&r->turns);
	}
}

/* ---- both plays ---- */

static struct race *begin(void)
{
	struct race *r = calloc(1, sizeof *r);
	pthread_rwlockattr_t who_is_first;
	int failed = 0;

	pthread_rwlockattr_init(&who_is_first);
	pthread_rwlockattr_setkind_np(&who_is_first, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	pthread_rwlock_init(&r->turns, &who_is_first);
	rig_open_with(&r->rig, VFD_FIND_MEMORY);
	failed += rig_attach(&r->rig, 0) || vfd_track_start(r->rig.container, NULL, NULL, &r->rig.err);
	for (uint64_t slot = 0; slot < SLOTS; slot++)
		failed += race_map(r, r->rig.container, slot, &r->rig.err) != 0;
	failed += rig_open_device(&r->rig, 0) != 0;
	ok(!failed, "begin");
	reckonings = lost = stale = 0;
	writes_before = 0;
	writes_before = device_writes();
	race_run(0, 1);
	return r;
}

static void end(struct race *r)
{
	if (r->other)
		ok_code(vfd_container_close(&r->other, VFD_COLLECT, &r->rig.err), 0, &r->rig.err,
			"closing the other container");
	rig_close(&r->rig);
	free(r);
}

static void say(const struct race *r)
{
	printf("# %lu remaps, %lu refused for a pin; %lu harvests; %lu batches; %lu pins; %lu devices came, "
	       "%lu "
	       "were taken back; %lu other containers; %lu forks; %lu signals\n",
	       r->maps, r->refused, r->harvests, r->batches, r->pins, r->plugs, r->unplugs, r->others,
	       r->forks, r->signals);
}

static void nothing_lost(unsigned time)
{
	struct race *r = begin();

	seconds = time;
	race_threads(r, reckon_again_and_again);
	reckon(r);
	say(r);
	ok(!r->problem, "no call failed%s%s", r->problem ? ": " : "", r->problem ? r->problem : "");
	uint64_t writes = device_writes();
	printf("# %llu device writes in %u s, reckoned %u times: %u lost, %u differ\n",
	       (unsigned long long)writes, time, reckonings, lost, stale);
	ok(!lost && !stale && writes > 1000, "%llu device writes, reckoned %u times: %u lost, %u differ",
	   (unsigned long long)writes, reckonings, lost, stale);
	ok(all_had_turns(r), "all of them had their turns");
	end(r);
}

/* Or the reckoning shows nothing */
static void one_forgets(void)
{
	struct race *r = begin();

	seconds = 1;
	r->forgetful = true;
	race_threads(r, reckon_again_and_again);
	ok(lost && stale, "a channel that forgets pages is noticed: %u lost, %u differ", lost, stale);
	end(r);
}

int main(int argc, char **argv)
{
	nothing_lost(argc > 1 ? (unsigned)atoi(argv[1]) : 3);
	one_forgets();
	return done();
}
