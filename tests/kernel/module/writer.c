// SPDX-License-Identifier: GPL-2.0
/*
 * writer.c - the thread that writes all the time
 */
#include <linux/hash.h>
#include <linux/hrtimer.h>
#include <linux/kthread.h>
#include <linux/sched/mm.h>

#include "device.h"

#define WRITE_MAX	64

static u64 next_random(u64 *state)
{
	*state += 0x9e3779b97f4a7c15ULL;	/* splitmix64: any seed will do */
	return hash_64(*state ^ (*state >> 29), 64) ^ (*state >> 32);
}

static void count(struct vfdtest *dev, bool success)
{
	mutex_lock(&dev->truth_lock);
	if (success)
		dev->run_writes++;
	else
		dev->run_failures++;
	mutex_unlock(&dev->truth_lock);
}

struct access {
	u64 iova;
	size_t len;
	u64 words[WRITE_MAX / 8];
};

static void random_access(struct vfdtest *dev, const struct vfdtest_run *run, u64 *rnd, struct access *a)
{
	u64 dice = next_random(rnd);
	u64 page = page_of(run->iova) + next_random(rnd) % page_of(run->size);
	size_t slots, i;

	a->len = 8 * (1 + dice % (WRITE_MAX / 8));
	slots = (VFDTEST_PAGE_SIZE - a->len) / 8 + 1;
	a->iova = iova_of(page) + 8 * ((dice >> 8) % slots);
	a->words[0] = ++dev->number;
	for (i = 1; i < a->len / 8; i++)
		a->words[i] = dice ^ a->iova ^ i;
}

static void write_random(struct vfdtest *dev, const struct vfdtest_run *run, u64 *rnd)
{
	struct access a;

	random_access(dev, run, rnd, &a);
	if (run->flags & VFDTEST_RUN_PINNED)
		count(dev, !dma_write_pinned(dev, a.iova, a.words, a.len));
	else
		count(dev, !dma_write(dev, a.iova, a.words, a.len));
}

static bool interrupted(void)
{
	return kthread_should_stop() || kthread_should_park();
}

/* ---- bursts ------------------------------------------------------------------------ */

static void enter_truth(struct vfdtest *dev, unsigned int done, unsigned int failed)
{
	unsigned int i;
	u64 page;

	mutex_lock(&dev->truth_lock);
	for (i = 0; i < done; i++)
		for (page = dev->burst[i].page; page < dev->burst[i].end; page++) {
			truth_mark(dev, page);
			dev->writes++;
			dev->run_writes++;
		}
	dev->run_failures += failed;
	mutex_unlock(&dev->truth_lock);
}

static int write_little(struct vfdtest *dev, const struct vfdtest_run *run, u64 *rnd, struct span *s)
{
	struct access a;

	random_access(dev, run, rnd, &a);
	s->page = page_of(a.iova);
	s->end = s->page + 1;
	return truth_prepare(dev, s->page) ?: vfio_dma_rw(dev->vdev, a.iova, a.words, a.len, true);
}

static int write_pages(struct vfdtest *dev, const struct vfdtest_run *run, u64 *rnd, struct span *s)
{
	u64 end = page_of(run->iova) + page_of(run->size), page;

	s->page = page_of(run->iova) + next_random(rnd) % page_of(run->size);
	s->end = min(end, s->page + 2 + next_random(rnd) % (VFDTEST_RUN_SPAN_MAX - 1));
	for (page = s->page; page < s->end; page++) {
		int ret = truth_prepare(dev, page);

		if (ret)
			return ret;
		dev->pages[iova_of(page - s->page) / 8] = ++dev->number;
	}
	return vfio_dma_rw(dev->vdev, iova_of(s->page), dev->pages, iova_of(s->end - s->page), true);
}

static void write_burst(struct vfdtest *dev, const struct vfdtest_run *run, u64 *rnd)
{
	unsigned int left, done = 0, failed = 0;

	if (!mmget_not_zero(dev->writer_mm))
		return;
	kthread_use_mm(dev->writer_mm);
	for (left = max_t(u64, run->burst, 1); left && !interrupted(); left--) {
		struct span *s = &dev->burst[done];

		if (left % 2 ? write_little(dev, run, rnd, s) : write_pages(dev, run, rnd, s))
			failed++;
		else
			done++;
		cond_resched();
	}
	kthread_unuse_mm(dev->writer_mm);
	mmput(dev->writer_mm);
	enter_truth(dev, done, failed);
}

/* ---- the thread --------------------------------------------------------------------- */

static void rest(u64 ns)
{
	ktime_t period = ns_to_ktime(ns);

	set_current_state(TASK_IDLE);
	if (ns && !interrupted())
		schedule_hrtimeout(&period, HRTIMER_MODE_REL);
	__set_current_state(TASK_RUNNING);
	cond_resched();
}

static void write_some(struct vfdtest *dev, const struct vfdtest_run *run, u64 *rnd)
{
	u64 left;

	for (left = max_t(u64, run->burst, 1); left && !interrupted(); left--) {
		write_random(dev, run, rnd);
		cond_resched();
	}
}

static int writer_main(void *data)
{
	struct vfdtest *dev = data;
	const struct vfdtest_run run = dev->run;
	u64 rnd = run.seed;

	while (!kthread_should_stop()) {
		if (kthread_should_park())
			kthread_parkme();
		if (run.flags & VFDTEST_RUN_BURSTS)
			write_burst(dev, &run, &rnd);
		else
			write_some(dev, &run, &rnd);
		rest(run.period_ns);
	}
	return 0;
}

static bool run_makes_sense(const struct vfdtest_run *run)
{
	if (run->period_ns > KTIME_MAX)
		return false;
	if (run->flags & VFDTEST_RUN_BURSTS)
		return run->flags == VFDTEST_RUN_BURSTS && run->burst <= VFDTEST_RUN_BURST_MAX;
	return !(run->flags & ~VFDTEST_RUN_PINNED);
}

int writer_start(struct vfdtest *dev, const struct vfdtest_run *run)
{
	struct task_struct *task;

	if (!run_makes_sense(run))
		return -EINVAL;
	if (dev->writer)
		return -EBUSY;

	mutex_lock(&dev->truth_lock);
	dev->run_writes = 0;
	dev->run_failures = 0;
	mutex_unlock(&dev->truth_lock);
	dev->run = *run;

	task = kthread_create(writer_main, dev, "vfdtest/%u", dev->index);
	if (IS_ERR(task))
		return PTR_ERR(task);
	get_task_struct(task);
	dev->writer_mm = current->mm;
	mmgrab(dev->writer_mm);
	dev->quiet = false;
	dev->writer = task;
	wake_up_process(task);
	return 0;
}

void writer_stop(struct vfdtest *dev)
{
	lockdep_assert_held(&dev->lock);
	if (!dev->writer)
		return;
	kthread_stop(dev->writer);
	put_task_struct(dev->writer);
	mmdrop(dev->writer_mm);
	dev->writer = NULL;
}

/* Paused, it is between two writes and stays there. It can be stopped all the same. */
void writer_pause(struct vfdtest *dev, bool pause)
{
	lockdep_assert_held(&dev->lock);
	if (!dev->writer)
		return;
	if (pause)
		kthread_park(dev->writer);
	else
		kthread_unpark(dev->writer);
}
