/* SPDX-License-Identifier: MIT */

/* The destination against streams that no source would send: nothing is run, and why is said. */

#include "tape.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "../suite.h"

static struct tape good, bad;
static struct played played;

/* An assertion that costs nothing when it holds: Check's write each to a file. */
#define MUST(what, ...)                                                                                      \
	do {                                                                                                 \
		if (!(what))                                                                                 \
			ck_abort_msg(__VA_ARGS__);                                                           \
	} while (0)

static void setup(void)
{
	tape_record(&good);
}

static void copy_good(void)
{
	tape_open(&bad);
	memcpy(bad.bytes, good.bytes, good.size);
	bad.size = good.size;
}

static void refused(const char *what, size_t where)
{
	tape_play(&bad, &played);
	MUST(!played.ran && played.result, "%s %zu: it runs", what, where);
	MUST(*played.error.message, "%s %zu: no reason", what, where);
}

/* Also by a sender who makes his sums right. */
static void refused_mended(const char *reason)
{
	tape_mend(bad.bytes, bad.size, true);
	tape_play(&bad, &played);
	ck_assert(!played.ran);
	ck_assert_msg(strstr(played.error.message, reason), "%s", played.error.message);
}

START_TEST(test_good)
{
	tape_play(&good, &played);
	ck_assert_msg(played.ran, "%s", played.error.message);
	ck_assert_uint_eq(played.state, 5);
	ck_assert_uint_eq(played.memory[0], 1);
	ck_assert_uint_ne(played.memory[15 * PAGE_BLOCK + 1], 0);
}
END_TEST

static bool in_data(size_t at)
{
	size_t starts[TAPE_FRAMES], count = tape_frames(&good, starts), frame = 0;

	while (frame + 1 < count && starts[frame + 1] <= at)
		frame++;
	const uint8_t *h = good.bytes + starts[frame];
	return at >= starts[frame] + FRAME_HEADER + (h[16] | (size_t)h[17] << 8);
}

/* Of the blocks one bit a byte: their sums do not know bytes apart. */
START_TEST(test_flips)
{
	copy_good();
	for (size_t at = 0; at < good.size; at++) {
		for (unsigned bit = in_data(at) ? at % 8 : 0; bit < 8; bit += in_data(at) ? 8 : 1) {
			bad.bytes[at] = (uint8_t)(bad.bytes[at] ^ 1u << bit);
			refused("a flip at", at);
			bad.bytes[at] = good.bytes[at];
		}
	}
}
END_TEST

START_TEST(test_truncation)
{
	copy_good();
	for (bad.size = 0; bad.size < good.size; bad.size++)
		refused("an end at", bad.size);
}
END_TEST

static void append(const uint8_t *bytes, size_t size)
{
	memcpy(bad.bytes + bad.size, bytes, size);
	bad.size += size;
}

static size_t starts[TAPE_FRAMES + 1], frames;

static void find_frames(void)
{
	frames = tape_frames(&good, starts);
	starts[frames] = good.size;
	ck_assert_uint_eq(frames, 12);
}

static void append_frame(size_t i)
{
	append(good.bytes + starts[i], starts[i + 1] - starts[i]);
}

/* Every other order of two frames, every frame left out, every frame twice; as they are, and renumbered with sums that are right. */
START_TEST(test_order)
{
	find_frames();
	for (size_t a = 0; a < frames; a++)
		for (size_t b = a; b < frames; b++) {
			tape_open(&bad);
			for (size_t i = 0; i < frames; i++)
				if (i != a || a != b) /* a == b: left out */
					append_frame(i == a ? b : i == b ? a : i);
			refused("frames exchanged", a * 100 + b);
		}
	for (size_t a = 0; a < frames; a++) {
		tape_open(&bad);
		for (size_t i = 0; i < frames; i++) {
			append_frame(i);
			if (i == a)
				append_frame(i);
		}
		if (a + 1 < frames) /* what comes after RUN is not read */
			refused("a frame twice", a);
	}
}
END_TEST

/* What may run then is a whole guest: each block came, the state ended. */
START_TEST(test_order_mended)
{
	static const char *const left_out[] = { "HELLO",	   "ROUND 2",  "never came", "never came",
						"before its turn", NULL,       "bytes",	     "END came",
						"device",	   "END came", "no place" };

	find_frames();
	for (size_t a = 0; a + 1 < frames; a++) {
		tape_open(&bad);
		for (size_t i = 0; i < frames; i++)
			if (i != a)
				append_frame(i);
		if (left_out[a])
			refused_mended(left_out[a]);
	}
}
END_TEST

/* A number somewhere in a frame, and what is said of it. */
static const struct {
	size_t frame, offset; /* of the header */
	unsigned bytes;
	uint64_t value;
	const char *reason;
} numbers[] = {
	{ 0, 0, 4, 0, "no migration stream" },
	{ 0, 4, 1, 2, "version 2" },
	{ 0, 5, 1, 0, "type 0" },
	{ 0, 5, 1, 9, "type 9" },
	{ 0, 5, 1, 255, "type 255" },
	{ 0, 5, 1, FRAME_ACK, "ACK frame of" },
	{ 1, 6, 2, 1, "channel 1" },
	{ 0, 32, 4, 1, "reserved" },
	{ 0, 40 + 16, 4, 0, "0 channels" },
	{ 0, 40 + 16, 4, 9, "9 channels" },
	{ 0, 40 + 20, 4, 0, "0 regions" },
	{ 0, 40 + 20, 4, 65, "65 regions" },
	{ 0, 40 + 20, 4, UINT32_MAX, "regions" },
	{ 0, 40 + 20, 4, 1, "do not hold" },
	{ 0, 40 + 24, 4, 65, "65 sections" },
	{ 0, 40 + 24, 4, UINT32_MAX, "sections" },
	{ 0, 40 + 28, 4, 65, "65 devices" },
	{ 0, 40 + 28, 4, 2, "2 devices" },
	{ 0, 40 + 32, 8, 1, "reserved" },
	{ 0, 40 + 40, 8, 4096, "region 0" },
	{ 0, 40 + 48, 8, 4096, "region 0" },
	{ 0, 40 + 72, 1, 'x', "\"cpu\"" },
	{ 1, 40, 4, 2, "ROUND 2" },
	{ 1, 44, 4, 2, "ROUND 1" },
	{ 1, 44, 4, 1, "ROUND 2" },
	{ 2, 40, 8, 1, "a run of" },
	{ 2, 40, 8, 8 * PAGE_BLOCK, "in no region" },
	{ 2, 40, 8, 7 * PAGE_BLOCK, "in no region" },
	{ 2, 40, 8, (1 << 20) + 7 * PAGE_BLOCK, "in no region" },
	{ 2, 40, 8, (1 << 20) - PAGE_BLOCK, "in no region" },
	{ 2, 40, 8, UINT64_MAX - PAGE_BLOCK + 1, "in no region" },
	{ 2, 48, 4, 0, "a run of 0" },
	{ 2, 48, 4, 1, "bytes of data" },
	{ 2, 48, 4, UINT32_MAX, "bytes of data" },
	{ 2, 52, 4, 2, "kind 2" },
	{ 2, 52, 4, 1, "bytes of data" },
	{ 3, 48, 4, UINT32_MAX, "in no region" },
	{ 3, 48, 4, 9, "in no region" },
	{ 3, 48, 4, 6, "never came" },
	{ 4, 44, 4, 0, "before its turn" },
	{ 6, 40, 4, 1, "device takes" },
	{ 6, 40, 4, 2, "section 2" },
	{ 8, 40, 4, 0, "after its end" },
	{ 6, 40, 4, UINT32_MAX, "section 4294967295" },
	{ 6, 44, 4, 1, "5 bytes" }, /* whole, then the next piece */
	{ 6, 44, 4, 2, "section 0" },
	{ 11, 5, 1, FRAME_CANCEL, "keeps the guest" },
	{ 11, 5, 1, FRAME_END, "keeps the guest" },
	{ 10, 5, 1, FRAME_RUN, "no place" },
	{ 10, 5, 1, FRAME_CANCEL, "cancelled" },
};

START_TEST(test_numbers)
{
	copy_good();
	find_frames();
	uint8_t *at = bad.bytes + starts[numbers[_i].frame] + numbers[_i].offset;
	for (unsigned i = 0; i < numbers[_i].bytes; i++)
		at[i] = (uint8_t)(numbers[_i].value >> 8 * i);
	if (numbers[_i].frame == 6 && numbers[_i].offset == 44 && numbers[_i].value == 1)
		refused_mended("after its end");
	else if (numbers[_i].offset == 6)
		refused_mended("channel");
	else
		refused_mended(numbers[_i].reason);
}
END_TEST

/* Sizes that a header claims; what follows is as it was. */
static const struct {
	size_t frame;
	uint32_t meta, data;
} sizes[] = {
	{ 0, UINT32_MAX, 0 },
	{ 0, FRAME_META + 1, 0 },
	{ 0, 39, 0 },
	{ 0, 120, 1 },
	{ 1, 9, 0 },
	{ 2, 0, 0 },
	{ 2, RUN_SIZE * 257, 0 },
	{ 2, 17, 8192 },
	{ 2, 32, UINT32_MAX },
	{ 2, 32, FRAME_DATA + 1 },
	{ 6, 8, FRAME_DATA + 1 },
	{ 10, 1, 0 },
};

START_TEST(test_sizes)
{
	struct frame f = { 0 };

	copy_good();
	find_frames();
	uint8_t *header = bad.bytes + starts[sizes[_i].frame];
	ck_assert_int_eq(frame_decode(header, &f, &played.error), 0);
	f.meta_size = sizes[_i].meta;
	f.data_size = sizes[_i].data;
	frame_encode(&f, header);
	refused("sizes of row", (size_t)_i);
	ck_assert_msg(strstr(played.error.message, "frame") || strstr(played.error.message, "list of runs"),
		      "%s", played.error.message);
}
END_TEST

static uint64_t seed = 88172645463325252;

static uint64_t rnd(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed;
}

/* Whatever it is, either it is refused or it is a whole guest; and nothing is touched that is not the guest's (AddressSanitizer). */
START_TEST(test_random)
{
	for (int round = 0; round < 20000; round++) {
		copy_good();
		find_frames();
		for (uint64_t changes = 1 + rnd() % 4; changes; changes--)
			bad.bytes[starts[rnd() % frames] + rnd() % 64 % (good.size - starts[frames - 1])] =
				(uint8_t)rnd();
		tape_mend(bad.bytes, bad.size, rnd() & 1);
		tape_play(&bad, &played);
		MUST(played.ran || *played.error.message, "round %d: no reason", round);
		MUST(!played.ran || played.state == 5, "round %d: half a guest", round);
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("migrate_stream");
	TCase *tcase = tcase_create("hostile");

	tcase_add_checked_fixture(tcase, setup, NULL);
	tcase_set_timeout(tcase, 120);
	tcase_add_test(tcase, test_good);
	tcase_add_test(tcase, test_flips);
	tcase_add_test(tcase, test_truncation);
	tcase_add_test(tcase, test_order);
	tcase_add_test(tcase, test_order_mended);
	tcase_add_loop_test(tcase, test_numbers, 0, (int)(sizeof numbers / sizeof *numbers));
	tcase_add_loop_test(tcase, test_sizes, 0, (int)(sizeof sizes / sizeof *sizes));
	tcase_add_test(tcase, test_random);
	suite_add_tcase(suite, tcase);
	return run_all(suite);
}
