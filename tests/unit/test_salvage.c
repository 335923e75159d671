/* SPDX-License-Identifier: MIT */

/* What someone else finds in the arena of a dead log: each state that a page can be in; whatever else an arena may hold; and after a
 * kill at any instant, while threads mark, take and commit, and regions and consumers come and go. */

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "log_internal.h"

#include "heir.h"
#include "random.h"

#include "../suite.h"

#define PAGE	    UINT64_C(4096)
#define LOG_ADDRESS UINT64_C(0x40000000)
#define OK	    HEIR_OK
#define REFUSED(wanted, call)                                                                                \
	do {                                                                                                 \
		ck_assert_int_eq((call), (wanted));                                                          \
		ck_assert_int_eq(heir_err.code, (wanted));                                                   \
		ck_assert(heir_err.message[0]);                                                              \
	} while (0)

enum { ARENA = 4 << 20, PAGES = 1024, WORDS = PAGES / 64 };

static void child_was_killed(pid_t child)
{
	int status;

	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert_msg(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL, "the child ended with %#x", status);
}

/* ---- what is in an arena ---- */

static struct vfd_log *dead;
static struct vfd_consumer *second;
static char *arena, dead_memory[PAGES * PAGE] __attribute__((aligned(4096)));

static void dead_begin(void)
{
	arena = shared(ARENA);
	struct vfd_log_options o = { .struct_size = sizeof o, .arena = arena, .arena_size = ARENA };
	struct vfd_region region = { .struct_size = sizeof region,
				     .address = LOG_ADDRESS,
				     .size = PAGES * PAGE,
				     .memory = dead_memory };
	OK(vfd_log_create(&o, &dead, &heir_err));
	OK(vfd_region_add(dead, &region, &heir_err));
	OK(vfd_consumer_add(dead, "second", &second, &heir_err));
	heir_begin(LOG_ADDRESS, PAGES * PAGE);
}

static void dead_end(void)
{
	if (dead)
		OK(vfd_log_destroy(&dead, VFD_DISCARD, &heir_err));
	heir_end(PAGES * PAGE);
	munmap(arena, ARENA);
}

static void mark(uint64_t page, uint64_t count)
{
	OK(vfd_log_mark(dead, LOG_ADDRESS + page * PAGE, count * PAGE, &heir_err));
}

static void report(uint64_t page)
{
	report_page(dead, LOG_ADDRESS + page * PAGE);
}

static struct vfd_batch take(struct vfd_consumer *consumer, uint64_t page, uint64_t count)
{
	struct vfd_batch batch;

	OK(vfd_take(consumer, LOG_ADDRESS + page * PAGE, LOG_ADDRESS + (page + count) * PAGE - 1, UINT64_MAX,
		    &batch, &heir_err));
	return batch;
}

static int salvage(const char *consumer)
{
	return vfd_log_salvage(heir, arena, ARENA, consumer, &found, &heir_err);
}

/* "3 5-7", of what the heir owes */
static void heir_has(const char *wanted)
{
	uint64_t owed[WORDS] = { 0 };
	char text[4096] = "";
	size_t at = 0;

	heir_owes(LOG_ADDRESS, owed);
	for (uint64_t i = 0, j; i < PAGES; i = j + 1) {
		for (j = i; j < PAGES && has_bit(owed, j); j++)
			;
		if (j > i)
			at += (size_t)snprintf(text + at, sizeof text - at, "%s%d-%d", at ? " " : "", (int)i,
					       (int)j - 1);
	}
	ck_assert_str_eq(text, wanted);
}

/* Owed, marked and nobody's yet, taken in the list and in the plane, resolved. */
START_TEST(every_state_is_found)
{
	dead_begin();
	report(3);
	report(7);
	struct vfd_batch committed = take(vfd_log_consumer(dead), 7, 1);
	OK(vfd_commit(vfd_log_consumer(dead), &committed, 0, UINT64_MAX, &heir_err));
	mark(100, 4);
	take(vfd_log_consumer(dead), 100, 2); /* in the list */
	report(64);
	take(vfd_log_consumer(dead), 64, 1); /* before it: in the plane */
	mark(200, 1);			     /* in the inbox */
	OK(salvage("main"));
	heir_has("3-3 64-64 100-103 200-200");
	ck_assert_uint_eq(found.regions, 1);
	ck_assert_uint_eq(found.pages, 7);
	ck_assert_uint_eq(found.interrupted, 0);
	OK(salvage(NULL)); /* the second was owed page 7 too */
	heir_has("3-3 7-7 64-64 100-103 200-200");
	ck_assert_uint_eq(found.pages, 1);
	OK(salvage(NULL));
	ck_assert_uint_eq(found.pages, 0);
	dead_end();
}
END_TEST

static const struct vfd_cause *cause_of(const struct vfd_cause *causes, size_t n, unsigned provenance)
{
	for (size_t i = 0; i < n; i++)
		if (causes[i].provenance == provenance)
			return &causes[i];
	ck_abort_msg("no cause of provenance %u", provenance);
}

START_TEST(reports_keep_saying_why)
{
	struct vfd_cause causes[8];
	size_t n;

	dead_begin();
	report(3);
	mark(10, 2);
	OK(vfd_mark_initial(vfd_log_consumer(dead), &heir_err)); /* folds the inbox */
	OK(salvage("main"));
	OK(vfd_consumer_causes(vfd_log_consumer(heir), causes, 8, &n, &heir_err));
	const struct vfd_cause *c = cause_of(causes, n, VFD_SOFTWARE);
	ck_assert_str_eq(c->who, "caller");
	ck_assert_uint_eq(c->first, LOG_ADDRESS + 10 * PAGE);
	ck_assert_uint_eq(c->last, LOG_ADDRESS + 12 * PAGE - 1);
	ck_assert_str_eq(cause_of(causes, n, VFD_INITIAL)->who, "initial");
	ck_assert_uint_eq(cause_of(causes, n, VFD_REPORTED)->pages, 1);
	ck_assert_uint_eq(found.pages, PAGES);
	dead_end();
}
END_TEST

/* A table of causes that was cut off in the middle of a change says too little: what nobody explains is assumed. */
START_TEST(what_nobody_explains_is_assumed)
{
	struct vfd_cause causes[8];
	size_t n;

	dead_begin();
	mark(10, 2);
	fold_range(dead, RANGE_ALL);
	consumer_record(dead, 0)->cause_count = 0;
	OK(salvage("main"));
	heir_has("10-11");
	OK(vfd_consumer_causes(vfd_log_consumer(heir), causes, 8, &n, &heir_err));
	ck_assert_uint_eq(n, 1);
	ck_assert_uint_eq(causes[0].provenance, VFD_ASSUMED);
	ck_assert_uint_eq(causes[0].reason, VFD_WHY_INTERRUPTED);
	dead_end();
}
END_TEST

/* No summary is believed: the process may have been killed before it wrote them. */
START_TEST(summaries_are_not_believed)
{
	dead_begin();
	const struct region *region = region_table(dead);
	planes_of(dead, region, 0).owed.bits[1] = 1;
	planes_of(dead, region, 0).taken.bits[2] = 2;
	inbox_of(dead, region).bits[3] = 4;
	OK(salvage("main"));
	heir_has("64-64 129-129 194-194");
	dead_end();
}
END_TEST

START_TEST(a_question_on_its_way_is_assumed)
{
	struct range where = { LOG_ADDRESS + 5 * PAGE, LOG_ADDRESS + 7 * PAGE - 1 };

	dead_begin();
	log_intent_end(log_intent_begin(dead, RANGE_ALL));
	OK(salvage(NULL));
	ck_assert_uint_eq(found.interrupted, 0);
	struct log_intent intent = log_intent_begin(dead, where);
	struct log_intent more = log_intent_begin(dead, where);
	ck_assert_ptr_ne(intent.at, more.at);
	OK(salvage(NULL));
	heir_has("5-6");
	ck_assert_uint_eq(found.interrupted, 2);
	ck_assert_uint_eq(found.pages, 2);
	ck_assert_uint_eq(found.pages_assumed, 2);
	log_intent_end(intent);
	log_intent_end(more);
	dead_end();
}
END_TEST

/* Nobody waits for room: some last as long as a debt does, and those who hold one may begin another. */
START_TEST(more_questions_than_room_mean_everything)
{
	enum { MORE = MAX_INTENTS + 3 };
	struct log_intent intents[MORE];

	dead_begin();
	for (int i = 0; i < MORE; i++)
		intents[i] = log_intent_begin(dead, (struct range){ LOG_ADDRESS, LOG_ADDRESS + PAGE - 1 });
	OK(salvage(NULL));
	heir_has("0-1023");
	ck_assert_uint_eq(found.interrupted, MORE);
	for (int i = 0; i < MORE; i++)
		log_intent_end(intents[i]);
	OK(salvage(NULL));
	ck_assert_uint_eq(found.interrupted, 0);
	struct log_intent all = log_intent_begin(dead, RANGE_ALL);
	OK(salvage(NULL));
	ck_assert_uint_eq(found.interrupted, 1);
	log_intent_end(all);
	dead_end();
}
END_TEST

START_TEST(regions_come_and_go_whole)
{
	dead_begin();
	for (uint64_t i = 1; i <= 40; i++) {
		struct vfd_region r = { .struct_size = sizeof r,
					.address = LOG_ADDRESS + (i % 2 ? 2000 + i : 3000 - i) * PAGE,
					.size = PAGE,
					.memory = (void *)(uintptr_t)(PAGE * (0x100000 + 2 * i)) };
		OK(vfd_region_add(dead, &r, &heir_err));
	}
	REFUSED(VFD_ENOREGION, salvage(NULL));
	for (uint64_t i = 1; i <= 40; i++)
		OK(vfd_region_remove(dead, LOG_ADDRESS + (i % 2 ? 2000 + i : 3000 - i) * PAGE, 0, &heir_err));
	mark(9, 1);
	OK(salvage(NULL));
	heir_has("9-9");
	dead_end();
}
END_TEST

/* ---- refusals ---- */

START_TEST(what_is_no_dead_log_is_refused)
{
	static char empty[1 << 16] __attribute__((aligned(4096)));

	dead_begin();
	REFUSED(VFD_EINVALID, vfd_log_salvage(NULL, arena, ARENA, NULL, NULL, &heir_err));
	REFUSED(VFD_EINVALID, vfd_log_salvage(heir, NULL, ARENA, NULL, NULL, &heir_err));
	REFUSED(VFD_EINVALID, vfd_log_salvage(heir, arena + 64, ARENA - 64, NULL, NULL, &heir_err));
	REFUSED(VFD_EINVALID, vfd_log_salvage(heir, arena, ARENA - 4096, NULL, NULL, &heir_err));
	REFUSED(VFD_EINVALID, vfd_log_salvage(heir, arena, 64, NULL, NULL, &heir_err));
	REFUSED(VFD_EINVALID, vfd_log_salvage(heir, empty, sizeof empty, NULL, NULL, &heir_err));
	REFUSED(VFD_EINVALID, salvage("third"));
	REFUSED(VFD_ESTATE, vfd_log_salvage(dead, arena, ARENA, NULL, NULL, &heir_err));
	found.struct_size = 3;
	REFUSED(VFD_EINVALID, salvage(NULL));
	found.struct_size = sizeof found;
	OK(vfd_log_destroy(&dead, 0, &heir_err));
	REFUSED(VFD_ESTATE, salvage(NULL));
	dead_end();
}
END_TEST

static void refused_of_its_kind(uint64_t page_size, uint32_t flags, const char *why)
{
	static char other[1 << 17] __attribute__((aligned(4096)));
	struct vfd_log_options o = { .struct_size = sizeof o,
				     .flags = flags,
				     .page_size = page_size,
				     .arena = other,
				     .arena_size = sizeof other };
	struct vfd_log *log;

	dead_begin();
	OK(vfd_log_create(&o, &log, &heir_err));
	REFUSED(VFD_EINVALID, vfd_log_salvage(heir, other, sizeof other, NULL, NULL, &heir_err));
	ck_assert_msg(strstr(heir_err.message, why), "%s", heir_err.message);
	OK(vfd_log_destroy(&log, 0, &heir_err));
	dead_end();
}

START_TEST(another_page_size_is_refused)
{
	refused_of_its_kind(65536, 0, "65536");
}
END_TEST

/* An IOVA is no log address, and nothing says of which mapping it was. */
START_TEST(another_key_is_refused)
{
	struct vfd_log_options o = { .struct_size = sizeof o, .flags = VFD_LOG_IDENTITY };
	struct vfd_log *log;

	refused_of_its_kind(4096, VFD_LOG_IDENTITY, "IOVA");
	dead_begin();
	OK(vfd_log_create(&o, &log, &heir_err));
	REFUSED(VFD_EINVALID, vfd_log_salvage(log, arena, ARENA, NULL, NULL, &heir_err));
	ck_assert_msg(strstr(heir_err.message, "log address"), "%s", heir_err.message);
	OK(vfd_log_destroy(&log, 0, &heir_err));
	dead_end();
}
END_TEST

/* The checksum is right: it is of what never changes. */
static void refused_table(uint64_t regions)
{
	const uint64_t before = dead->super->regions;

	dead->super->regions = regions;
	REFUSED(VFD_EINVALID, salvage(NULL));
	ck_assert_msg(strstr(heir_err.message, "region table's offset"), "%s", heir_err.message);
	dead->super->regions = before;
}

static void refused_count(uint64_t count)
{
	struct region_table *table = table_in_force(dead);
	const uint64_t before = table->count;

	table->count = count;
	REFUSED(VFD_EINVALID, salvage(NULL));
	ck_assert_msg(strstr(heir_err.message, "number of regions"), "%s", heir_err.message);
	table->count = before;
}

/* Each of them would be read: whoever wrote the arena would say for how long. */
static void refused_twice(void)
{
	struct region_table *table = table_in_force(dead);

	table->regions[1] = table->regions[0];
	table->count = 2;
	REFUSED(VFD_EINVALID, salvage(NULL));
	ck_assert_msg(strstr(heir_err.message, "the region at"), "%s", heir_err.message);
	table->count = 1;
}

/* What would be skipped is pages that nobody misses. */
static void refused_offset(uint64_t *at, uint64_t offset, const char *what)
{
	const uint64_t before = *at;

	*at = offset;
	REFUSED(VFD_EINVALID, salvage(NULL));
	ck_assert_msg(strstr(heir_err.message, what), "%s", heir_err.message);
	*at = before;
}

START_TEST(impossible_numbers_are_refused)
{
	dead_begin();
	mark(3, 30);
	refused_table(0);
	refused_table(dead->super->regions + 8);
	refused_table(ARENA);
	refused_table(UINT64_MAX - 63);
	refused_count(UINT64_MAX / sizeof(struct region));
	refused_count(ARENA / sizeof(struct region) + 1);
	refused_count(ARENA / sizeof(struct region));
	refused_twice();
	refused_offset(&dead->super->consumers[1], ARENA, "consumer's offset");
	refused_offset(&dead->super->consumers[2], 1, "consumer's offset");
	refused_offset(&region_table(dead)->inbox, 0, "the region at");
	OK(salvage(NULL));
	dead_end();
}
END_TEST

/* Whatever an arena holds, nothing outside of it is read: a page that cannot be touched lies on both sides. */
START_TEST(a_hostile_arena_harms_nobody)
{
	enum { SIZE = 1 << 17, EDGE = 4096 };
	static char before[SIZE];
	char *m = mmap(NULL, SIZE + 2 * EDGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct vfd_log_options o = { .struct_size = sizeof o, .arena = m + EDGE, .arena_size = SIZE };
	struct vfd_region region = {
		.struct_size = sizeof region, .address = LOG_ADDRESS, .size = 64 * PAGE, .memory = dead_memory
	};
	unsigned fine = 0, refused = 0;

	mprotect(m, EDGE, PROT_NONE);
	mprotect(m + EDGE + SIZE, EDGE, PROT_NONE);
	OK(vfd_log_create(&o, &dead, &heir_err));
	OK(vfd_region_add(dead, &region, &heir_err));
	mark(3, 30);
	memcpy(before, m + EDGE, SIZE);
	heir_begin(LOG_ADDRESS, PAGES * PAGE);
	srand(1);
	for (unsigned i = 0; i < 20000; i++) {
		memcpy(m + EDGE, before, SIZE);
		for (int n = 1 + rand() % 3; n; n--) { /* where numbers are, most of the time */
			uint64_t *w = (uint64_t *)(void *)(m + EDGE) + rand() % (rand() % 4 ? 400 : SIZE / 8);
			*w = rand() % 2 ? *w ^ UINT64_C(1) << rand() % 64
					: (uint64_t)rand() << rand() % 40 << rand() % 20;
		}
		if (vfd_log_salvage(heir, m + EDGE, SIZE, NULL, NULL, &heir_err))
			refused++;
		else
			fine++;
	}
	ck_assert(fine && refused);
	memcpy(m + EDGE, before, SIZE);
	OK(vfd_log_destroy(&dead, VFD_DISCARD, &heir_err));
	heir_end(PAGES * PAGE);
	munmap(m, SIZE + 2 * EDGE);
}
END_TEST

/* ---- killed at any instant ---- */

enum { MANY = 1 << 16, MARKERS = 2 };

/* Of each page: what was written, up to where it was marked, what was sent */
struct ledger {
	_Atomic uint32_t written[MANY], marked[MANY], sent[MANY];
	_Atomic uint64_t marks, batches;
};

static struct ledger *ledger;

static uint64_t next(uint64_t *seed, uint64_t below)
{
	return xorshift(seed) % below;
}

/* Each its own pages, so that a count says it all */
static void *marker(void *arg)
{
	uint64_t seed = 7 + (uintptr_t)arg + (uint64_t)getpid() * 977, near = next(&seed, MANY);

	for (;;) {
		near = next(&seed, 8) ? (near + next(&seed, 200)) % MANY : next(&seed, MANY);
		uint64_t page = near / MARKERS * MARKERS + (uintptr_t)arg;
		uint32_t count = ++ledger->written[page];
		if (vfd_log_mark(dead, page * PAGE, PAGE, NULL))
			abort();
		ledger->marked[page] = count;
		ledger->marks++;
	}
	return NULL;
}

static void send(const struct vfd_run *run)
{
	for (uint64_t p = run->address / PAGE; p < (run->address + run->size) / PAGE; p++)
		ledger->sent[p] = ledger->written[p];
}

/* What is rolled back was not sent. */
static void end_batch(uint64_t *seed, struct vfd_consumer *consumer, struct vfd_batch *batch)
{
	struct vfd_run runs[32];
	size_t n = 1;
	bool sent = next(seed, 3);

	while (sent && n && !vfd_batch_runs(consumer, batch, runs, 32, &n, NULL))
		for (size_t i = 0; i < n; i++)
			send(&runs[i]);
	if (sent ? vfd_commit(consumer, batch, 0, UINT64_MAX, NULL)
		 : vfd_rollback(consumer, batch, 0, UINT64_MAX, NULL))
		abort();
	ledger->batches++;
}

static void *sender(void *arg)
{
	struct vfd_consumer *consumer = vfd_log_consumer(dead);
	uint64_t seed = 99 + (uint64_t)getpid();
	struct vfd_batch batch;

	(void)arg;
	for (;;) {
		uint64_t first = next(&seed, 4) ? 0 : next(&seed, MANY) * PAGE;
		if (vfd_take(consumer, first, UINT64_MAX, 1 + next(&seed, 5000), &batch, NULL))
			abort();
		if (batch.id)
			end_batch(&seed, consumer, &batch);
	}
	return NULL;
}

/* The table of regions and that of consumers change meanwhile. */
static void *changer(void *arg)
{
	struct vfd_region r = {
		.struct_size = sizeof r, .address = MANY * PAGE, .size = PAGE, .memory = dead_memory
	};
	struct vfd_consumer *passing;

	(void)arg;
	for (;;) {
		if (vfd_region_add(dead, &r, NULL) || vfd_consumer_add(dead, "passing", &passing, NULL) ||
		    vfd_consumer_remove(&passing, VFD_DISCARD, NULL) ||
		    vfd_region_remove(dead, r.address, VFD_DISCARD, NULL))
			abort();
		nanosleep(&(struct timespec){ .tv_nsec = 300000 }, NULL);
	}
	return NULL;
}

static void live_with_threads(uint64_t arena_size)
{
	struct vfd_log_options o = { .struct_size = sizeof o, .arena = arena, .arena_size = arena_size };
	struct vfd_region r = { .struct_size = sizeof r,
				.size = MANY * PAGE,
				.memory = mmap(NULL, MANY * PAGE, PROT_NONE,
					       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0) };
	void *(*const work[])(void *) = { changer, sender };
	pthread_t thread;

	if (vfd_log_create(&o, &dead, NULL) || vfd_region_add(dead, &r, NULL))
		abort();
	for (uintptr_t i = 0; i < MARKERS; i++)
		pthread_create(&thread, NULL, marker, (void *)i);
	pthread_create(&thread, NULL, work[0], NULL);
	work[1](NULL);
}

static unsigned check_ledger(uint64_t arena_size)
{
	static uint64_t owed[MANY / 64 + 1];
	unsigned to_come = 0;

	memset(owed, 0, sizeof owed);
	heir_begin(0, (MANY + 1) * PAGE);
	OK(vfd_log_salvage(heir, arena, arena_size, "main", &found, &heir_err));
	heir_owes(0, owed);
	for (uint64_t p = 0; p < MANY; p++) {
		bool missing = ledger->sent[p] < ledger->marked[p];
		if (missing && !has_bit(owed, p)) /* ck_assert makes a system call, each time */
			ck_abort_msg("page %d is lost: written %u, marked %u, sent %u", (int)p,
				     ledger->written[p], ledger->marked[p], ledger->sent[p]);
		to_come += missing;
	}
	heir_end((MANY + 1) * PAGE);
	return to_come;
}

START_TEST(killed_at_any_instant)
{
	enum { SIZE = 1 << 20 };
	const char *text = getenv("VFD_KILLS");
	unsigned long least = text ? strtoul(text, NULL, 10) : 150, kills = 0, busy = 0;
	uint64_t seed = (uint64_t)getpid() | 1, marks = 0, batches = 0;

	arena = shared(SIZE);
	ledger = shared(sizeof *ledger);
	/* at a moment with pages to come more often than half of them; on a busy machine that takes more */
	while (kills < least || (busy <= least / 2 && kills < 20 * least)) {
		memset(arena, 0, SIZE);
		memset(ledger, 0, sizeof *ledger);
		pid_t child = fork();
		ck_assert_int_ge(child, 0);
		if (!child)
			live_with_threads(SIZE);
		while (!ledger->batches)
			sched_yield();
		nanosleep(&(struct timespec){ .tv_nsec = (long)next(&seed, 1500000) }, NULL);
		kill(child, SIGKILL);
		child_was_killed(child);
		busy += check_ledger(SIZE) > 0;
		kills++;
		marks += ledger->marks;
		batches += ledger->batches;
	}
	printf("# %lu kills, %lu with pages to come, %lu marks, %lu batches\n", kills, busy,
	       (unsigned long)marks, (unsigned long)batches);
	ck_assert_uint_gt(busy, least / 2);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = { every_state_is_found,
				       reports_keep_saying_why,
				       what_nobody_explains_is_assumed,
				       summaries_are_not_believed,
				       a_question_on_its_way_is_assumed,
				       more_questions_than_room_mean_everything,
				       regions_come_and_go_whole,
				       what_is_no_dead_log_is_refused,
				       impossible_numbers_are_refused,
				       another_page_size_is_refused,
				       another_key_is_refused,
				       a_hostile_arena_harms_nobody,
				       killed_at_any_instant };
	Suite *suite = suite_create("salvage");
	TCase *tcase = tcase_create("salvage");

	tcase_set_timeout(tcase, 900);
	for (size_t i = 0; i < sizeof tests / sizeof tests[0]; i++)
		tcase_add_test(tcase, tests[i]);
	suite_add_tcase(suite, tcase);
	return run_all(suite);
}
