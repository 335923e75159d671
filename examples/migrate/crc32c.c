/* SPDX-License-Identifier: MIT */

/* CRC32C: by the processor's own instruction where there is one, else by tables, eight bytes at a time. */

#include "crc32c.h"

#include <pthread.h>
#include <string.h>

enum { POLYNOMIAL_REFLECTED = 0x82f63b78 };

static struct {
	uint32_t table[8][256];
	int by_processor;
} crc;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void fill_tables(void)
{
	for (uint32_t i = 0; i < 256; i++) {
		uint32_t value = i;
		for (int bit = 0; bit < 8; bit++)
			value = value >> 1 ^ (value & 1 ? (uint32_t)POLYNOMIAL_REFLECTED : 0);
		crc.table[0][i] = value;
	}
	for (int t = 1; t < 8; t++)
		for (int i = 0; i < 256; i++)
			crc.table[t][i] = crc.table[t - 1][i] >> 8 ^ crc.table[0][crc.table[t - 1][i] & 0xff];
}

static void prepare(void)
{
	fill_tables();
#ifdef __x86_64__
	crc.by_processor = __builtin_cpu_supports("sse4.2");
#endif
}

/* Byte order does not matter: each byte is looked up by itself. */
static uint32_t eight_bytes(uint32_t value, const uint8_t *p)
{
	return crc.table[7][p[0] ^ (value & 0xff)] ^ crc.table[6][p[1] ^ (value >> 8 & 0xff)] ^
	       crc.table[5][p[2] ^ (value >> 16 & 0xff)] ^ crc.table[4][p[3] ^ value >> 24] ^
	       crc.table[3][p[4]] ^ crc.table[2][p[5]] ^ crc.table[1][p[6]] ^ crc.table[0][p[7]];
}

static uint32_t by_tables(uint32_t value, const uint8_t *p, size_t size)
{
	for (; size >= 8; p += 8, size -= 8)
		value = eight_bytes(value, p);
	for (; size; p++, size--)
		value = value >> 8 ^ crc.table[0][(value ^ *p) & 0xff];
	return value;
}

#ifdef __x86_64__
static uint64_t word(const uint8_t *p)
{
	uint64_t value;

	memcpy(&value, p, sizeof value);
	return value;
}

__attribute__((target("sse4.2"))) static uint32_t by_instruction(uint32_t start, const uint8_t *p,
								 size_t size)
{
	uint64_t value = start;

	for (; size >= 8; p += 8, size -= 8)
		value = __builtin_ia32_crc32di(value, word(p));
	return by_tables((uint32_t)value, p, size);
}

/* The instruction takes three cycles, and another can begin in each. */
__attribute__((target("sse4.2"))) static void four_blocks(const uint8_t *p, uint32_t *out)
{
	uint64_t a = UINT32_MAX, b = a, c = a, d = a;

	for (const uint8_t *end = p + SUM_BLOCK; p < end; p += 8) {
		a = __builtin_ia32_crc32di(a, word(p));
		b = __builtin_ia32_crc32di(b, word(p + SUM_BLOCK));
		c = __builtin_ia32_crc32di(c, word(p + 2 * SUM_BLOCK));
		d = __builtin_ia32_crc32di(d, word(p + 3 * SUM_BLOCK));
	}
	out[0] = ~(uint32_t)a;
	out[1] = ~(uint32_t)b;
	out[2] = ~(uint32_t)c;
	out[3] = ~(uint32_t)d;
}
#endif

static uint32_t update(uint32_t value, const uint8_t *p, size_t size)
{
#ifdef __x86_64__
	if (crc.by_processor)
		return by_instruction(value, p, size);
#endif
	return by_tables(value, p, size);
}

uint32_t crc32c(const void *data, size_t size)
{
	pthread_once(&once, prepare);
	return ~update(UINT32_MAX, data, size);
}

void sum_start(struct sum *sum)
{
	pthread_once(&once, prepare);
	sum->crc = UINT32_MAX;
}

static void add_block(struct sum *sum, uint32_t block)
{
	uint8_t bytes[4] = { (uint8_t)block, (uint8_t)(block >> 8), (uint8_t)(block >> 16),
			     (uint8_t)(block >> 24) };

	sum->crc = by_tables(sum->crc, bytes, sizeof bytes);
}

static size_t add_four(struct sum *sum, const uint8_t *p, size_t size)
{
#ifdef __x86_64__
	uint32_t blocks[4];

	if (size < 4 * SUM_BLOCK || !crc.by_processor)
		return 0;
	four_blocks(p, blocks);
	for (int i = 0; i < 4; i++)
		add_block(sum, blocks[i]);
	return 4 * SUM_BLOCK;
#else
	(void)sum, (void)p, (void)size;
	return 0;
#endif
}

void sum_add(struct sum *sum, const void *data, size_t size)
{
	const uint8_t *p = data;
	size_t done;

	for (; size; p += done, size -= done) {
		done = add_four(sum, p, size);
		if (done)
			continue;
		done = size < SUM_BLOCK ? size : SUM_BLOCK;
		add_block(sum, ~update(UINT32_MAX, p, done));
	}
}

uint32_t sum_end(const struct sum *sum)
{
	return ~sum->crc;
}
