/* SPDX-License-Identifier: MIT */

/* Calls that race the last detach: the kernel has no lock against that and would use freed memory (tests/kernel/race.c), so the
 * library has one. Whether it holds is for the debug kernel to say. */

#include "emulated.h"

#include <pthread.h>
#include <stdatomic.h>

enum { CYCLES = 60, CALLERS = 3 };

struct race {
	struct rig rig;
	atomic_bool over;
	atomic_uint calls;
};

static void *call_on(void *arg)
{
	struct race *race = arg;
	struct vfd_error err;

	while (!race->over) {
		vfd_track_harvest(race->rig.container, 0, NULL, &err);
		vfd_unmap(race->rig.container, RIG_IOVA + 512 * RIG_PAGE, 512 * RIG_PAGE, &err);
		race->calls += 2;
	}
	return NULL;
}

/* Discarding, the UNSET comes at once. */
static unsigned come_and_go(struct rig *rig)
{
	unsigned cycles = 0;

	while (cycles < CYCLES && !rig_attach(rig, 0)) {
		rig_map(rig, 512, 512, RIG_RW); /* what is unmapped meanwhile */
		if (vfd_group_detach(&rig->groups[0], cycles % 2 ? VFD_COLLECT : VFD_DISCARD, &rig->err))
			break;
		cycles++;
	}
	return cycles;
}

void test_race(void)
{
	static struct race race;
	pthread_t callers[CALLERS];

	rig_open(&race.rig);
	rig_map_all(&race.rig);
	ok_code(vfd_track_start(race.rig.container, NULL, NULL, &race.rig.err), 0, &race.rig.err, "start");
	for (int i = 0; i < CALLERS; i++)
		pthread_create(&callers[i], NULL, call_on, &race);
	unsigned cycles = come_and_go(&race.rig);
	race.over = true;
	for (int i = 0; i < CALLERS; i++)
		pthread_join(callers[i], NULL);
	ok(cycles == CYCLES && race.calls > CYCLES, "calls race the last detach: %u detaches, %u calls",
	   cycles, race.calls);
	rig_close(&race.rig);
}
