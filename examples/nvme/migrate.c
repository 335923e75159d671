/* SPDX-License-Identifier: MIT */

/* The memory is copied in rounds while the controller reads blocks into random places of it. What the rounds send is compared with
 * what the completions covered, which is recorded apart; the copy with the memory. */

#include "nvme.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include <linux/vfio.h>

struct migration {
	struct nvme *n;
	struct vfd_consumer *consumer;
	uint8_t *copy;			  /* by log address */
	uint64_t pages;			  /* of the log */
	uint8_t *covered;		  /* by page: a completion of this round */
	uint64_t started, done, deadline; /* reads; nanoseconds */
	uint64_t sent, allowed_covered, allowed_pinned;
};

bool start_random(struct nvme *n, struct workload *w)
{
	w->random ^= w->random << 13;
	w->random ^= w->random >> 7;
	w->random ^= w->random << 17;
	uint64_t most = NVME_LARGEST / n->block_size;
	uint64_t count = 1 + (w->random >> 8) % (most < w->blocks ? most : w->blocks);
	uint64_t block = (w->random >> 16) % (w->blocks - count + 1);
	uint64_t places = (n->data.size - count * n->block_size) / 512 + 1;

	return nvme_start(n, NVME_READ, block, (uint32_t)count,
			  n->data.start + (w->random >> 24) % places * 512, nvme_now());
}

static void mark_pages(const struct migration *m, uint8_t *pages, const struct nvme_request *r)
{
	uint64_t first = m->n->data.log_address + (uint64_t)(r->buffer - m->n->data.start);
	uint64_t last = first + (uint64_t)r->blocks * m->n->block_size - 1;

	for (uint64_t page = first / NVME_PAGE; page <= last / NVME_PAGE; page++)
		pages[page] = 1;
}

static uint64_t count_pages(const struct migration *m, const uint8_t *pages)
{
	uint64_t count = 0;

	for (uint64_t i = 0; i < m->pages; i++)
		count += pages[i];
	return count;
}

/* In flight now, and the completion queues. */
static uint64_t pinned_now(const struct migration *m)
{
	bool idle[NVME_DEPTH] = { false };
	uint8_t *pages = zeroed(m->pages, 1);

	for (uint32_t i = m->n->free; i < NVME_DEPTH; i = m->n->requests[i].next)
		idle[i] = true;
	for (uint32_t i = 0; i < NVME_DEPTH; i++)
		if (!idle[i])
			mark_pages(m, pages, &m->n->requests[i]);
	uint64_t count = count_pages(m, pages) + m->n->completions.size / NVME_PAGE;
	free(pages);
	return count;
}

/* Content is read after the take: what the device writes from then on is owed again. */
static uint64_t send_owed(struct migration *m)
{
	struct vfd_batch batch;
	struct vfd_run run;
	size_t count;

	check(vfd_take(m->consumer, 0, UINT64_MAX, UINT64_MAX, &batch, &nvme_error));
	if (!batch.id)
		return 0;
	for (;;) {
		check(vfd_batch_runs(m->consumer, &batch, &run, 1, &count, &nvme_error));
		if (!count)
			break;
		memcpy(m->copy + run.address, run.memory, run.size);
	}
	check(vfd_commit(m->consumer, &batch, 0, UINT64_MAX, &nvme_error));
	return batch.pages;
}

static void finish(struct migration *m)
{
	const struct nvme_request *r;

	while ((r = nvme_poll(m->n))) {
		mark_pages(m, m->covered, r);
		m->done++;
	}
}

/* Requests stay in flight while the round harvests, takes and copies. */
static void send_round(struct migration *m, unsigned flags, uint64_t number)
{
	uint64_t covered = count_pages(m, m->covered);

	check(vfd_track_harvest(m->n->container, flags, NULL, &nvme_error));
	uint64_t pinned = pinned_now(m), sent = send_owed(m);
	m->sent += sent;
	m->allowed_covered += covered;
	m->allowed_pinned += pinned;
	memset(m->covered, 0, m->pages);
	printf("round %2llu: %6llu pages sent, %6llu covered by completions, %3llu pinned\n",
	       (unsigned long long)number, (unsigned long long)sent, (unsigned long long)covered,
	       (unsigned long long)pinned);
}

/* Until so many are done, and then as many in flight as can be: the device writes while the round harvests, takes and copies. */
static void read_until(struct migration *m, struct workload *w, uint64_t goal)
{
	do {
		while (m->started < w->reads && start_random(m->n, w))
			m->started++;
		finish(m);
		if (nvme_now() > m->deadline)
			die("%s: %llu of %llu reads were done in ten minutes", m->n->address,
			    (unsigned long long)m->done, (unsigned long long)w->reads);
	} while (m->done < goal);
	while (m->started < w->reads && start_random(m->n, w))
		m->started++;
}

static void rounds(struct migration *m, struct workload *w)
{
	uint64_t begin = nvme_now();

	m->deadline = begin + UINT64_C(600000000000);
	for (uint64_t i = 1; i <= w->rounds; i++) {
		read_until(m, w, w->reads * i / w->rounds);
		send_round(m, 0, i);
	}
	printf("%llu reads of random length into random memory in %.1f s\n", (unsigned long long)m->done,
	       (double)(nvme_now() - begin) / 1e9);
}

/* As struct vfio_iommu_type1_dirty_bitmap with its data. */
struct question {
	uint32_t argsz, flags;
	struct vfio_iommu_type1_dirty_bitmap_get get;
};

/* Shown only: behind a real IOMMU it is always "everything", which is why the library does not ask. */
static void print_kernels_answer(const struct nvme *n)
{
	struct question ask = { .argsz = sizeof ask, .flags = VFIO_IOMMU_DIRTY_PAGES_FLAG_GET_BITMAP };
	uint64_t pages = n->data.size / NVME_PAGE, words = (pages + 63) / 64, count = 0;
	uint64_t *bits = zeroed(words, 8);
	struct vfd_translation where;

	check(vfd_translate(n->pins, n->data.start, &where, &nvme_error));
	ask.get.iova = where.iova;
	ask.get.size = n->data.size;
	ask.get.bitmap.pgsize = NVME_PAGE;
	ask.get.bitmap.size = words * 8;
	ask.get.bitmap.data = (void *)bits;
	if (ioctl(vfd_container_fd(n->container), VFIO_IOMMU_DIRTY_PAGES, &ask))
		die("the kernel does not answer");
	for (uint64_t i = 0; i < words; i++)
		count += (uint64_t)__builtin_popcountll(bits[i]);
	printf("the kernel's own answer: %llu of %llu pages of data, at every look\n",
	       (unsigned long long)count, (unsigned long long)pages);
	free(bits);
}

static int verdict(const char *what, bool good)
{
	printf("%s: %s\n", good ? "ok" : "FAILED", what);
	return !good;
}

static int check_plan(const struct nvme *n)
{
	struct vfd_plan plan = { .struct_size = sizeof plan };
	char text[4096];

	check(vfd_track_plan(n->container, &plan, &nvme_error));
	check(vfd_plan_text(&plan, text, sizeof text, NULL, &nvme_error));
	fputs(text, stdout);
	return verdict("the plan says pins, exact, nothing deferred",
		       plan.exact && plan.entry_count == 1 && plan.entries[0].source == VFD_SOURCE_PINS &&
			       !plan.deferred_bytes);
}

static uint64_t differing(const struct migration *m)
{
	const struct nvme_memory *parts[] = { &m->n->completions, &m->n->data };
	uint64_t count = 0;

	for (unsigned p = 0; p < 2; p++)
		for (uint64_t at = 0; at < parts[p]->size; at += NVME_PAGE)
			count += !!memcmp(parts[p]->start + at, m->copy + parts[p]->log_address + at,
					  NVME_PAGE);
	return count;
}

static int judge(struct migration *m)
{
	uint64_t differ = differing(m);

	printf("all rounds: %llu pages sent, %llu covered, %llu pinned; the copy differs in %llu of %llu "
	       "pages\n",
	       (unsigned long long)m->sent, (unsigned long long)m->allowed_covered,
	       (unsigned long long)m->allowed_pinned, (unsigned long long)differ,
	       (unsigned long long)m->pages);
	int failed = verdict("the copy is identical", !differ);
	return failed +
	       verdict("sent is at most 1.05 times covered, and what was pinned",
		       (double)m->sent <= 1.05 * (double)m->allowed_covered + (double)m->allowed_pinned);
}

int migrate(struct nvme *n, const struct workload *workload)
{
	uint64_t size = n->completions.size + n->data.size;
	struct migration m = { .n = n,
			       .consumer = vfd_log_consumer(n->log),
			       .copy = zeroed(size, 1),
			       .pages = size / NVME_PAGE,
			       .covered = zeroed(size / NVME_PAGE, 1) };
	struct workload w = *workload;

	check(vfd_track_start(n->container, NULL, NULL, &nvme_error));
	int failed = check_plan(n);
	check(vfd_mark_initial(m.consumer, &nvme_error));
	printf("first copy: %llu pages\n", (unsigned long long)send_owed(&m));
	rounds(&m, &w);
	nvme_stop(n);
	send_round(&m, VFD_HARVEST_FINAL, w.rounds + 1);
	print_kernels_answer(n);
	failed += judge(&m);
	nvme_unpin(n);
	send_owed(&m); /* the queues, which no pin holds any more */
	free(m.copy);
	free(m.covered);
	return failed;
}
