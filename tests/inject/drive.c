/* SPDX-License-Identifier: MIT */

/*
 * inject_drive STRACE LIFE STRIDE SEED KIND...: run in the guest, as root. Each kind of life once without a fault, and strace lists its system calls; then for
 * each of those calls, and each errno that it can have, a life in which it fails so: strace keeps the call from the kernel. Of these one of STRIDE,
 * beginning with SEED; and of each SPARSE of them one also in a program that gives up at once, and one that comes as often as a program tries.
 * Two at a time, each with devices of its own.
 */

#include "run.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { WORKERS = 2, NAMES = 48, SPARSE = 5, IN_A_ROW = 3 };

/* ---- TAP ---- */

static unsigned checks, bad;

static void ok(bool good, const char *what, ...) __attribute__((format(printf, 2, 3)));

static void ok(bool good, const char *what, ...)
{
	va_list args;

	bad += !good;
	printf("%sok %u - ", good ? "" : "not ", ++checks);
	va_start(args, what);
	vprintf(what, args);
	va_end(args);
	putchar('\n');
	fflush(stdout);
}

/* ---- what lives come to ---- */

struct tally {
	uint64_t faults, not_injected, elsewhere;
	uint64_t lost, stale, left,
		bad_end;		    /* lives that lost pages, ..., and all whose exit code is not 0 */
	uint64_t failed, unnoticed, undone; /* calls; lives without one; steps that failed at each try */
	uint64_t added;			    /* pages */
};

static void add(struct tally *to, const struct tally *t)
{
	uint64_t *sum = (uint64_t *)to;
	const uint64_t *more = (const uint64_t *)t;

	for (size_t i = 0; i < sizeof *t / sizeof *sum; i++)
		sum[i] += more[i];
}

static void count(struct tally *t, const struct outcome *out, bool injected, bool elsewhere)
{
	t->faults++;
	t->not_injected += !injected;
	t->elsewhere += elsewhere;
	t->lost += !!out->lost;
	t->stale += !!out->stale;
	t->left += !!out->left;
	t->bad_end += out->code != 0;
	t->failed += out->failed;
	t->unnoticed += !out->failed;
	t->undone += out->undone;
	t->added += out->added;
}

static void explain(const struct programs *p, const struct site *site, int error, const struct outcome *out)
{
	printf("# %s, %s: call %u of %s (%s: %s) is %s: exit code %d: %s\n", p->kind, p->policy, site->nth,
	       site->call, site->name, site->argument, strerror(error), out->code, out->line);
}

/* ---- all faults of one kind of life, some of them ---- */

struct plan {
	const char *kind;
	struct site sites[SITES];
	size_t count;
	unsigned name[SITES]; /* of a site: which row of the tallies */
	unsigned names;
	unsigned stride, seed;
	struct tally (*tallies)[NAMES]; /* of each worker */
};

static void try_fault(const struct plan *plan, const struct programs *p, size_t i, int error, unsigned times,
		      struct tally *t)
{
	bool injected, elsewhere;
	struct outcome out = run_injected(p, &plan->sites[i], error, times, &injected, &elsewhere);

	count(&t[plan->name[i]], &out, injected, elsewhere);
	if (out.code || !injected || getenv("VFD_VERBOSE"))
		explain(p, &plan->sites[i], error, &out);
}

/* Three times EINVAL from a container is what its kernel says when the IOMMU is gone, and is believed. */
static bool may_repeat(const struct site *site, int error)
{
	return strcmp(site->call, "ioctl") || error != EINVAL;
}

/* The nth of those that were chosen: some in other ways too. */
static void try_ways(const struct plan *plan, struct programs *p, unsigned nth, size_t i, int error)
{
	struct tally *t = plan->tallies[p->device[0] - '0'];

	p->policy = "again";
	try_fault(plan, p, i, error, 1, t);
	if (nth % SPARSE == 0 && may_repeat(&plan->sites[i], error))
		try_fault(plan, p, i, error, IN_A_ROW, t);
	p->policy = "give-up";
	if (nth % SPARSE == SPARSE / 2)
		try_fault(plan, p, i, error, 1, t);
}

static void work(const struct plan *plan, struct programs p, unsigned worker)
{
	unsigned all = plan->seed, chosen = 0;

	snprintf(p.device, sizeof p.device, "%u", worker);
	snprintf(p.trace, sizeof p.trace, "/tmp/inject.%u", worker);
	for (size_t i = 0; i < plan->count; i++)
		for (const int *error = plan->sites[i].errnos; *error; error++) {
			if (all++ % plan->stride)
				continue;
			if (chosen % WORKERS == worker)
				try_ways(plan, &p, chosen, i, *error);
			chosen++;
		}
}

static bool all_worked(const pid_t *workers)
{
	bool good = true;

	for (unsigned w = 0; w < WORKERS; w++) {
		int status = -1;
		good &= waitpid(workers[w], &status, 0) == workers[w] && !status;
	}
	return good;
}

static bool share_out(const struct plan *plan, const struct programs *p)
{
	pid_t workers[WORKERS];

	fflush(stdout);
	for (unsigned w = 0; w < WORKERS; w++) {
		workers[w] = fork();
		if (workers[w])
			continue;
		setlinebuf(stdout);
		work(plan, *p, w);
		_exit(0);
	}
	return all_worked(workers);
}

static void name_sites(struct plan *plan)
{
	for (size_t i = 0; i < plan->count; i++) {
		size_t j = 0;
		while (strcmp(plan->sites[j].name, plan->sites[i].name))
			j++;
		plan->name[i] = j < i || plan->names == NAMES ? plan->name[j] : plan->names++;
	}
}

static const char *name_of(const struct plan *plan, unsigned name)
{
	for (size_t i = 0; i < plan->count; i++)
		if (plan->name[i] == name)
			return plan->sites[i].name;
	return "?";
}

static void say(const char *kind, const char *name, const struct tally *t)
{
	ok(!t->lost && !t->stale && !t->left && !t->bad_end,
	   "%s: %s: %" PRIu64 " faults: %" PRIu64 " lost pages, %" PRIu64 " differ, %" PRIu64
	   " left descriptors, %" PRIu64 " ended badly; %" PRIu64 " calls "
	   "failed, %" PRIu64 " faults "
	   "were of no consequence, %" PRIu64 " steps undone, %" PRIu64 " pages added",
	   kind, name, t->faults, t->lost, t->stale, t->left, t->bad_end, t->failed, t->unnoticed, t->undone,
	   t->added);
}

static void sum_up(const struct plan *plan, struct tally *total)
{
	for (unsigned n = 0; n < plan->names; n++) {
		struct tally sum = { 0 };
		for (unsigned w = 0; w < WORKERS; w++)
			add(&sum, &plan->tallies[w][n]);
		if (sum.faults)
			say(plan->kind, name_of(plan, n), &sum);
		add(total, &sum);
	}
}

/* ---- without a fault ---- */

/* Whatever is added then is behind an IOMMU: everything. */
static void list_calls(struct plan *plan, const struct programs *p)
{
	size_t ignored, possible = 0;
	struct outcome out = run_traced(p);

	plan->count = sites_read(p->trace, plan->sites, &ignored);
	for (size_t i = 0; i < plan->count; i++)
		for (const int *error = plan->sites[i].errnos; *error; error++)
			possible++;
	ok(!out.code && !out.failed && out.pages && plan->count &&
		   (!out.added || !strcmp(p->kind, "physical")),
	   "%s: without a fault: %u pages written, %u lost, %u added", p->kind, out.pages, out.lost,
	   out.added);
	printf("# %s: %zu system calls can fail in %zu ways, one of %u is taken; %zu calls are the test's "
	       "own\n",
	       p->kind, plan->count, possible, plan->stride, ignored);
	if (out.code)
		printf("# %s\n", out.line);
}

/* Can it fail? A program that drops what it was given is found out. */
static void forgetful(const struct programs *p)
{
	setenv("VFD_FORGET", "1", 1);
	struct outcome out = run_traced(p);
	unsetenv("VFD_FORGET");
	ok(out.code && out.lost && out.stale,
	   "%s: a program that forgets one delivery is noticed: %u pages lost, %u differ", p->kind, out.lost,
	   out.stale);
}

static void try_kind(struct plan *plan, struct programs *p, struct tally *total)
{
	size_t size = WORKERS * sizeof *plan->tallies;

	p->kind = plan->kind;
	p->policy = "again";
	plan->tallies = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (plan->tallies == MAP_FAILED)
		exit(2);
	forgetful(p);
	list_calls(plan, p);
	name_sites(plan);
	if (!share_out(plan, p))
		ok(false, "%s: a worker died", p->kind);
	sum_up(plan, total);
	munmap(plan->tallies, size);
}

int main(int argc, char **argv)
{
	struct programs p = { .device = "0", .trace = "/tmp/inject.list" };
	struct tally total = { 0 };
	time_t begin = time(NULL);

	if (argc < 6 || atoi(argv[3]) < 1)
		return fprintf(stderr, "usage: inject_drive STRACE LIFE STRIDE SEED KIND...\n"), 2;
	p.strace = argv[1];
	p.life = argv[2];
	for (int i = 5; i < argc; i++) {
		static struct plan plan;
		plan = (struct plan){ .kind = argv[i],
				      .stride = (unsigned)atoi(argv[3]),
				      .seed = (unsigned)atoi(argv[4]) };
		try_kind(&plan, &p, &total);
	}
	/* whether a device has bits just now decides how often it is asked: a few may come elsewhere, or too late */
	ok(total.faults && (total.not_injected + total.elsewhere) * 20 <= total.faults,
	   "strace says (INJECTED), and of the call that was meant: %" PRIu64 " faults, of which %" PRIu64
	   " were not "
	   "injected, %" PRIu64 " elsewhere",
	   total.faults, total.not_injected, total.elsewhere);
	ok(total.failed && total.unnoticed < total.faults, "calls of the library failed: %" PRIu64,
	   total.failed);
	printf("# %" PRIu64 " faults by strace: %" PRIu64 " lost pages, %" PRIu64
	       " left descriptors, %" PRIu64 " ended badly; %" PRIu64 " calls of "
	       "the library failed\n",
	       total.faults, total.lost + total.stale, total.left, total.bad_end, total.failed);
	printf("# they took %u s\n", (unsigned)(time(NULL) - begin));
	printf("1..%u\n", checks);
	return bad ? 1 : 0;
}
