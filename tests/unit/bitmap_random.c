/* SPDX-License-Identifier: MIT */

/* Bitmap functions at random, and at lengths that a counter of 8, 16 or 32 bits is too small for.
 * With VFD_LONG in the environment: ten million random cases. */

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bitmap_oracle.h"

static const struct bitmap_ops *random_ops(void)
{
	unsigned tables = 0;

	while (bitmap_ops_at(tables))
		tables++;
	return bitmap_ops_at((unsigned)(rnd() % tables));
}

/* ---- one function, one bitmap ---- */

enum { ROOM = 160 };

static uint64_t *room;

/* Words that end at a page that cannot be read */
static uint64_t *random_words(size_t n)
{
	if (!room)
		room = guarded(ROOM);
	fill(room + ROOM - n, n);
	return room + ROOM - n;
}

/* Most are short; some are longer than two chunks. */
static uint64_t random_length(void)
{
	static const uint64_t most[] = { 64, 64, 130, 130, 130, 400, 400, 1000 };

	return 1 + rnd() % (rnd() % 32 ? most[rnd() % 8] : (ROOM - 3) * 64);
}

static bool random_look(void)
{
	uint64_t offset = rnd() % 192, length = random_length();

	return look_right(random_words((size_t)(offset + length + 63) / 64), offset, offset + length - 1);
}

static bool random_runs(void)
{
	uint64_t offset = rnd() % 192, length = random_length();

	return runs_right(random_ops(), random_words((size_t)(offset + length + 63) / 64), offset,
			  offset + length - 1, 1 + rnd() % (rnd() % 2 ? 400 : 70));
}

static bool random_get(void)
{
	uint64_t offset = rnd() % (ROOM * 64 - 64);
	unsigned n = (unsigned)(1 + rnd() % 64);
	const uint64_t *words = random_words((size_t)(offset + n + 63) / 64);

	return bitmap_get(words, offset, n) == naive_get(words, offset, n);
}

static bool random_extract(void)
{
	return extract_right((unsigned)(rnd() % 64), rnd() % 192, random_length());
}

static bool random_words_extract(void)
{
	unsigned shift = rnd() % 4 ? (unsigned)(rnd() % 64) : 0;
	size_t n = (size_t)random_length() / 64;

	return words_extract_right(random_ops(), random_words(n + (shift != 0)), n, shift);
}

/* A chunk at most */
static size_t random_size(void)
{
	return rnd() % (rnd() % 8 ? 10 : 65);
}

static bool random_merge(void)
{
	size_t n = random_size();

	return merge_right(random_ops(), random_words(n), n);
}

static bool random_and_not(void)
{
	size_t n = random_size();

	return and_not_right(random_ops(), random_words(n), n);
}

static bool random_count(void)
{
	size_t n = (size_t)random_length() / 64;

	return count_right(random_ops(), random_words(n), n);
}

static const struct {
	const char *name;
	bool (*right)(void);
} functions[] = {
	{ "next, prev, any, next_run", random_look },
	{ "runs", random_runs },
	{ "get", random_get },
	{ "extract", random_extract },
	{ "a table's extract", random_words_extract },
	{ "merge, nonzero", random_merge },
	{ "and_not", random_and_not },
	{ "count", random_count },
};

enum { FUNCTIONS = sizeof functions / sizeof functions[0] };

START_TEST(random_cases)
{
	const unsigned long cases = getenv("VFD_LONG") ? 10000000 : 50000;

	for (unsigned long i = 0; i < cases; i++)
		if (!functions[i % FUNCTIONS].right())
			ck_abort_msg("case %lu: %s", i, functions[i % FUNCTIONS].name);
}
END_TEST

/* ---- lengths that cross 2^8 and 2^16 bits ---- */

static void crossing(uint64_t offset, uint64_t length)
{
	static uint64_t *w;
	size_t n = (size_t)(offset + length + 63) / 64;
	const struct bitmap_ops *ops;

	if (!w)
		w = guarded(ORACLE_WORDS);
	uint64_t *words = w + ORACLE_WORDS - n;
	fill(words, n);
	bool right = look_right(words, offset, offset + length - 1) &&
		     extract_right((unsigned)(rnd() % 64), offset, length);
	for (unsigned i = 0; right && (ops = bitmap_ops_at(i)); i++)
		right = runs_right(ops, words, offset, offset + length - 1, 400) &&
			count_right(ops, words, n) &&
			words_extract_right(ops, words, n - 1, (unsigned)(offset % 64));
	if (!right)
		ck_abort_msg("offset %lu, length %lu", (unsigned long)offset, (unsigned long)length);
}

START_TEST(crossing_8_and_16_bits)
{
	for (unsigned bits = 8; bits <= 16; bits += 8)
		for (uint64_t length = (1u << bits) - 66; length <= (1u << bits) + 66; length++)
			for (int k = 0; k < (bits == 8 ? 20 : 1); k++)
				crossing(rnd() % 192, length);
}
END_TEST

/* ---- 2^32 bits ---- */

#define FAR	  (UINT64_C(1) << 32)
#define HUGE_BITS (FAR + TAIL * 64)

enum { TILE = 2 << 20, TILE_WORDS = TILE / 8, TAIL = 300 };

/* That many bits, without the memory for them: up to bit 2^32 it is the same TILE bytes again and again. NULL if there is no
 * room for it. */
static uint64_t *tiled(void)
{
	const size_t bytes = (size_t)(FAR / 8) + TILE;
	int fd = memfd_create("tile", 0);
	char *m =
		mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (fd < 0 || m == MAP_FAILED || ftruncate(fd, TILE))
		return NULL;
	for (size_t at = 0; at < bytes - TILE; at += TILE)
		if (mmap(m + at, TILE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0) == MAP_FAILED)
			return NULL;
	close(fd);
	return (uint64_t *)(void *)m;
}

/* Set bits only behind bit 2^32 */
static void only_far_bits(uint64_t *w)
{
	memset(w, 0, TILE);
	memset(w + FAR / 64, 0, TAIL * 8);
	for (uint64_t i = FAR + 7; i <= FAR + 199; i++)
		put(w, i, true);
}

static void look_far(const uint64_t *w)
{
	struct bit_run run;
	uint64_t found;

	ck_assert(bitmap_next(w, 5, HUGE_BITS - 1, &found) && found == FAR + 7);
	ck_assert(bitmap_prev(w, 0, HUGE_BITS - 1, &found) && found == FAR + 199);
	ck_assert(bitmap_next_run(w, 1, HUGE_BITS - 1, &run) && run.first == FAR + 7 &&
		  run.last == FAR + 199);
}

static void far_runs(const struct bitmap_ops *ops, const uint64_t *w)
{
	struct bit_run runs[3];
	uint64_t next;

	ck_assert_uint_eq(ops->runs(w, 3, HUGE_BITS - 1, runs, 3, &next), 1);
	ck_assert(runs[0].first == FAR + 7 && runs[0].last == FAR + 199 && next == HUGE_BITS);
	ck_assert_uint_eq(ops->count(w, HUGE_BITS / 64), 193);
}

/* All ones, and more of them than 32 bits count */
static void many_bits(const struct bitmap_ops *ops, uint64_t *w)
{
	struct bit_run runs[3];
	uint64_t next, found;

	memset(w, 0xff, TILE);
	memset(w + FAR / 64, 0xff, TAIL * 8);
	ck_assert_uint_eq(ops->count(w, HUGE_BITS / 64), HUGE_BITS);
	ck_assert_uint_eq(ops->runs(w, 7, HUGE_BITS - 9, runs, 3, &next), 1);
	ck_assert(runs[0].first == 7 && runs[0].last == HUGE_BITS - 9 && next == HUGE_BITS - 8);
	put(w, FAR + 70, false);
	ck_assert_uint_eq(ops->runs(w, 7, HUGE_BITS - 9, runs, 3, &next), 2);
	ck_assert(runs[0].last == FAR + 69 && runs[1].first == FAR + 71 && runs[1].last == HUGE_BITS - 9);
	ck_assert(bitmap_prev(w, 0, FAR + 70, &found) && found == FAR + 69);
}

static void far_copies(const struct bitmap_ops *ops, uint64_t *dst, uint64_t *src)
{
	const size_t words = (size_t)(FAR / 64) + 3;

	fill(src, TILE_WORDS);
	fill(src + FAR / 64, TAIL);
	memset(dst + FAR / 64, 0, TAIL * 8);
	ops->extract(dst, src, 7, words);
	for (size_t i = FAR / 64 - TILE_WORDS; i < words; i++)
		ck_assert(dst[i] == (src[i] >> 7 | src[i + 1] << 57));
	ck_assert(!dst[words]);
}

static void far_extract(uint64_t *dst, const uint64_t *src)
{
	bitmap_extract(dst, 9, src, 1, FAR + 5 * 64);
	for (size_t i = FAR / 64 - TILE_WORDS + 1; i < FAR / 64 + 5; i++)
		ck_assert(dst[i] == (src[i] << 8 | src[i - 1] >> 56));
	ck_assert(dst[FAR / 64 + 5] == (naive_get(src, FAR + 5 * 64 - 8, 9) & 0x1ff));
	ck_assert(!dst[FAR / 64 + 6]);
	ck_assert(bitmap_get(src, FAR - 3, 64) == naive_get(src, FAR - 3, 64));
}

START_TEST(beyond_32_bits)
{
	uint64_t *src = tiled(), *dst = tiled();
	const struct bitmap_ops *ops;

	ck_assert(src && dst);
	only_far_bits(src);
	look_far(src);
	for (unsigned i = 0; (ops = bitmap_ops_at(i)); i++) {
		only_far_bits(src);
		far_runs(ops, src);
		many_bits(ops, src);
		far_copies(ops, dst, src);
	}
	far_extract(dst, src);
}
END_TEST

/* Of the address space; what a test of this needs, tried in a process of its own. */
static bool room_beyond_32_bits(void)
{
	int status;
	pid_t child = fork();

	if (!child)
		_exit(!tiled() || !tiled());
	return waitpid(child, &status, 0) == child && WIFEXITED(status) && !WEXITSTATUS(status);
}

const char *add_random_cases(Suite *suite)
{
	TCase *tcase = tcase_create("random");

	tcase_set_timeout(tcase, getenv("VFD_LONG") ? 1800 : 120);
	tcase_add_test(tcase, random_cases);
	tcase_add_test(tcase, crossing_8_and_16_bits);
	suite_add_tcase(suite, tcase);
	if (!room_beyond_32_bits())
		return "beyond_32_bits";
	tcase_add_test(tcase, beyond_32_bits);
	return NULL;
}
