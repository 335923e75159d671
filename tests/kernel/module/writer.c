// SPDX-License-Identifier: GPL-2.0
/*
 * writer.c - the thread that writes all the time
 */
#include <linux/hash.h>
#include <linux/hrtimer.h>
#include <linux/kthread.h>

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

static void write_random(struct vfdtest *dev, const struct vfdtest_run *run, u64 *rnd)
{
	u64 dice = next_random(rnd);
	u64 page = page_of(run->iova) + next_random(rnd) % page_of(run->size);
	size_t len = 8 * (1 + dice % (WRITE_MAX / 8));
	size_t slots = (VFDTEST_PAGE_SIZE - len) / 8 + 1;
	u64 iova = iova_of(page) + 8 * ((dice >> 8) % slots);
	u64 words[WRITE_MAX / 8];
	size_t i;

	words[0] = ++dev->number;
	for (i = 1; i < len / 8; i++)
		words[i] = dice ^ iova ^ i;
	if (run->flags & VFDTEST_RUN_PINNED)
		count(dev, !dma_write_pinned(dev, iova, words, len));
	else
		count(dev, !dma_write(dev, iova, words, len));
}

static bool interrupted(void)
{
	return kthread_should_stop() || kthread_should_park();
}

static void rest(u64 ns)
{
	ktime_t period = ns_to_ktime(ns);

	set_current_state(TASK_IDLE);
	if (ns && !interrupted())
		schedule_hrtimeout(&period, HRTIMER_MODE_REL);
	__set_current_state(TASK_RUNNING);
	cond_resched();
}

static int writer_main(void *data)
{
	struct vfdtest *dev = data;
	const struct vfdtest_run run = dev->run;
	u64 rnd = run.seed, left;

	while (!kthread_should_stop()) {
		if (kthread_should_park())
			kthread_parkme();
		for (left = max_t(u64, run.burst, 1); left && !interrupted(); left--) {
			write_random(dev, &run, &rnd);
			cond_resched();
		}
		rest(run.period_ns);
	}
	return 0;
}

int writer_start(struct vfdtest *dev, const struct vfdtest_run *run)
{
	struct task_struct *task;

	if ((run->flags & ~VFDTEST_RUN_PINNED) || run->period_ns > KTIME_MAX)
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
