/* SPDX-License-Identifier: MIT */

/* Kernels for aarch64, where counting bits is an instruction of the vector unit only. The rest is portable. */

#ifdef __aarch64__

#include <arm_neon.h>

#include "bitmap_kernels.h"

enum { LANES = 2 }; /* words in a vector */

static uint64_t nonzero(const uint64_t *src, size_t n)
{
	uint64x2_t any = vdupq_n_u64(0);

	for (size_t i = 0; i + LANES <= n; i += LANES)
		any = vorrq_u64(any, vld1q_u64(&src[i]));
	if (!(vgetq_lane_u64(any, 0) | vgetq_lane_u64(any, 1)) && !(n % LANES && src[n - 1]))
		return 0;
	return bitmap_nonzero_words(src, n);
}

/* merge_word(), 2 at a time */
KERNEL_INLINE uint64x2_t merge_vector(uint64_t *dst, uint64x2_t v)
{
	uint64x2_t old = vld1q_u64(dst), fresh = vbicq_u64(v, old);

	vst1q_u64(dst, vorrq_u64(old, v));
	return fresh;
}

/* Add the bits set in v. Pairs of bytes, since 32 vectors can have 256 bits set in one byte. */
KERNEL_INLINE uint16x8_t add_count(uint16x8_t counts, uint64x2_t v)
{
	return vpadalq_u8(counts, vcntq_u8(vreinterpretq_u8_u64(v)));
}

static uint64_t merge(uint64_t *dst, const uint64_t *src, size_t n, uint64_t *fresh)
{
	uint16x8_t counts = vdupq_n_u16(0);
	uint64x2_t mask = vdupq_n_u64(0), bit = vcombine_u64(vcreate_u64(1), vcreate_u64(2));
	uint64_t rest = 0;
	size_t i = 0;

	for (; i + LANES <= n; i += LANES) {
		uint64x2_t v = vld1q_u64(&src[i]);
		mask = vorrq_u64(mask, vandq_u64(vtstq_u64(v, v), bit));
		bit = vshlq_n_u64(bit, LANES);
		counts = add_count(counts, merge_vector(&dst[i], v));
	}
	if (i < n) {
		uint64_t word = word_read(&src[i]);
		rest = (uint64_t)(word != 0) << i;
		*fresh += word_count(merge_word(&dst[i], word));
	}
	*fresh += vaddlvq_u16(counts);
	return rest | vgetq_lane_u64(mask, 0) | vgetq_lane_u64(mask, 1);
}

/* At most WORD_BITS words: a lane of `counts` holds 65535. */
static uint64_t count_chunk(const uint64_t *src, size_t n)
{
	uint16x8_t counts = vdupq_n_u16(0);
	size_t i = 0;

	for (; i + LANES <= n; i += LANES)
		counts = add_count(counts, vld1q_u64(&src[i]));
	return vaddlvq_u16(counts) + (i < n ? word_count(src[i]) : 0);
}

static uint64_t count(const uint64_t *src, size_t n)
{
	uint64_t bits = 0;

	for (; n > WORD_BITS; n -= WORD_BITS, src += WORD_BITS)
		bits += count_chunk(src, WORD_BITS);
	return bits + count_chunk(src, n);
}

/* Every aarch64 Linux has the vector unit. */
const struct bitmap_ops *bitmap_ops_native(unsigned i)
{
	static const struct bitmap_ops neon = {
		.name = "neon",
		.nonzero = nonzero,
		.merge = merge,
		.and_not = bitmap_and_not,
		.count = count,
		.extract = bitmap_extract_words,
		.runs = bitmap_runs,
	};

	return i ? NULL : &neon;
}

#endif
