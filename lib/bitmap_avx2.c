/* SPDX-License-Identifier: MIT */

/* Kernels for x86-64 with AVX2 and BMI: every processor since 2013 (Intel), 2015 (AMD), but not every virtual one. */

#ifdef __x86_64__

#include <immintrin.h>
#include <string.h>

#include "bitmap_runs.h"

#define AVX2	 __attribute__((target("avx2,bmi,bmi2,popcnt")))
#define AVX2_INL AVX2 KERNEL_INLINE

enum { LANES = 4 }; /* words in a vector */

/* One load, as in word_read(). */
AVX2_INL __m256i load(const uint64_t *words)
{
	return *(const volatile __m256i_u *)(const void *)words;
}

AVX2_INL void store(uint64_t *words, __m256i v)
{
	_mm256_storeu_si256((__m256i_u *)(void *)words, v);
}

/* Bit i of the result: a and b differ in word i. */
AVX2_INL uint64_t differ(__m256i a, __m256i b)
{
	return 0xfu ^ (unsigned)_mm256_movemask_pd(_mm256_castsi256_pd(_mm256_cmpeq_epi64(a, b)));
}

/* The bits set in each byte: a table of 16 answers, looked up for each half of a byte */
AVX2_INL __m256i count_bytes(__m256i v)
{
	const __m256i answers = _mm256_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4, 0, 1, 1, 2,
						 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4);
	const __m256i half = _mm256_set1_epi8(0xf);
	__m256i low = _mm256_and_si256(v, half), high = _mm256_and_si256(_mm256_srli_epi64(v, 4), half);

	return _mm256_add_epi8(_mm256_shuffle_epi8(answers, low), _mm256_shuffle_epi8(answers, high));
}

AVX2_INL uint64_t sum_bytes(__m256i v)
{
	__m256i four = _mm256_sad_epu8(v, _mm256_setzero_si256());
	__m128i two = _mm_add_epi64(_mm256_castsi256_si128(four), _mm256_extracti128_si256(four, 1));

	return (uint64_t)_mm_extract_epi64(two, 0) + (uint64_t)_mm_extract_epi64(two, 1);
}

AVX2_INL uint64_t count_word(uint64_t word)
{
	return (uint64_t)__builtin_popcountll(word);
}

/* 4 vectors are all `same`. */
AVX2_INL bool all_same(const uint64_t *words, __m256i same)
{
	__m256i a = _mm256_xor_si256(load(words), same), b = _mm256_xor_si256(load(words + LANES), same);
	__m256i c = _mm256_xor_si256(load(words + 2 * LANES), same);
	__m256i d = _mm256_xor_si256(load(words + 3 * LANES), same);
	__m256i any = _mm256_or_si256(_mm256_or_si256(a, b), _mm256_or_si256(c, d));

	return _mm256_testz_si256(any, any);
}

/* A whole chunk is `same`. */
AVX2_INL bool chunk_same(const uint64_t *words, __m256i same)
{
	return all_same(words, same) && all_same(words + 16, same) && all_same(words + 32, same) &&
	       all_same(words + 48, same);
}

/* ---- words ---- */

AVX2 static uint64_t nonzero(const uint64_t *src, size_t n)
{
	const __m256i zero = _mm256_setzero_si256();
	uint64_t mask = 0;
	size_t i = 0;

	if (n == WORD_BITS && chunk_same(src, zero))
		return 0;
	for (; i + LANES <= n; i += LANES)
		mask |= differ(load(&src[i]), zero) << i;
	for (; i < n; i++)
		mask |= (uint64_t)(src[i] != 0) << i;
	return mask;
}

/* merge_word(), 4 at a time */
AVX2_INL __m256i merge_vector(uint64_t *dst, __m256i v)
{
	__m256i old = load(dst), fresh = _mm256_andnot_si256(old, v);

	store(dst, _mm256_or_si256(old, v));
	return fresh;
}

/* A byte of `counts` is at most 16 * 8. */
AVX2 static uint64_t merge(uint64_t *dst, const uint64_t *src, size_t n, uint64_t *fresh)
{
	__m256i counts = _mm256_setzero_si256();
	uint64_t mask = 0, count = 0;
	size_t i = 0;

	for (; i + LANES <= n; i += LANES) {
		__m256i v = load(&src[i]);
		mask |= differ(v, _mm256_setzero_si256()) << i;
		counts = _mm256_add_epi8(counts, count_bytes(merge_vector(&dst[i], v)));
	}
	for (; i < n; i++) {
		uint64_t word = word_read(&src[i]);
		mask |= (uint64_t)(word != 0) << i;
		count += count_word(merge_word(&dst[i], word));
	}
	*fresh += count + sum_bytes(counts);
	return mask;
}

AVX2 static void and_not(uint64_t *dst, const uint64_t *src, size_t n)
{
	size_t i = 0;

	for (; i + LANES <= n; i += LANES)
		store(&dst[i], _mm256_andnot_si256(load(&src[i]), load(&dst[i])));
	for (; i < n; i++)
		dst[i] &= ~src[i];
}

AVX2 static uint64_t count(const uint64_t *src, size_t n)
{
	uint64_t even = 0, odd = 0;
	size_t i = 0;

	for (; i + 4 <= n; i += 4) {
		even += count_word(src[i]) + count_word(src[i + 2]);
		odd += count_word(src[i + 1]) + count_word(src[i + 3]);
	}
	for (; i < n; i++)
		even += count_word(src[i]);
	return even + odd;
}

AVX2 static void extract(uint64_t *dst, const uint64_t *src, unsigned shift, size_t n)
{
	const __m128i down = _mm_cvtsi32_si128((int)shift), up = _mm_cvtsi32_si128((int)(WORD_BITS - shift));
	size_t i = 0;

	if (!shift) {
		memcpy(dst, src, n * sizeof(*dst));
		return;
	}
	for (; i + LANES <= n; i += LANES)
		store(&dst[i], _mm256_or_si256(_mm256_srl_epi64(load(&src[i]), down),
					       _mm256_sll_epi64(load(&src[i + 1]), up)));
	for (; i < n; i++)
		dst[i] = src[i] >> shift | src[i + 1] << (WORD_BITS - shift);
}

/* ---- runs ---- */

AVX2_INL uint64_t lowest(uint64_t word)
{
	return _tzcnt_u64(word);
}

/* All ones for each of 4 words that is the same with the word before it one bit further down: no edge */
AVX2_INL __m256i smooth(const uint64_t *words)
{
	__m256i v = load(words), low = _mm256_srli_epi64(load(words - 1), WORD_BITS - 1);

	return _mm256_cmpeq_epi64(v, _mm256_or_si256(_mm256_slli_epi64(v, 1), low));
}

/* 16 words: each made two bytes, words 2, 3, 6, 7 ... in the upper half */
AVX2_INL __m256i smooth_16(const uint64_t *words)
{
	__m256i a = _mm256_packs_epi32(smooth(words), smooth(words + LANES));
	__m256i b = _mm256_packs_epi32(smooth(words + 2 * LANES), smooth(words + 3 * LANES));

	return _mm256_packs_epi16(a, b);
}

/* 32 words: each made a byte, and these put in order */
AVX2_INL uint64_t edges_32(const uint64_t *words)
{
	const __m256i pairs = _mm256_setr_epi8(0, 1, 8, 9, 2, 3, 10, 11, 4, 5, 12, 13, 6, 7, 14, 15, 0, 1, 8,
					       9, 2, 3, 10, 11, 4, 5, 12, 13, 6, 7, 14, 15);
	__m256i bytes = _mm256_packs_epi16(smooth_16(words), smooth_16(words + 16));

	bytes = _mm256_shuffle_epi8(_mm256_permute4x64_epi64(bytes, 0xd8), pairs);
	return ~(unsigned)_mm256_movemask_epi8(bytes);
}

AVX2_INL uint64_t edges(const uint64_t *words, size_t n)
{
	uint64_t mask = 0;

	if (n == WORD_BITS)
		return edges_32(words) | edges_32(words + 32) << 32;
	for (size_t i = 0; i < n; i++)
		mask |= (uint64_t)word_edges(&words[i]) << i;
	return mask;
}

/* For 9 bits, the lowest of which is the one before: where the 8 others begin and end to be set, a byte for each place,
 * the lowest first; an end is the last set bit, -1 if that is the one before. */
#define BIT(v, k)   ((v) >> (k)&1u)
#define EDGES(v)    (((v) ^ (v) >> 1) & 0xffu)
#define BELOW(v, k) (__builtin_popcount(EDGES(v) & ((1u << (k)) - 1)) & 7)
#define PLACE(v, k)                                                                                          \
	(BIT(EDGES(v), k) ? (uint64_t)(((k) + 255u + BIT(v, (k) + 1)) & 0xffu) << 8 * BELOW(v, k) : 0)
#define PLACES(v)                                                                                            \
	(PLACE(v, 0) | PLACE(v, 1) | PLACE(v, 2) | PLACE(v, 3) | PLACE(v, 4) | PLACE(v, 5) | PLACE(v, 6) |   \
	 PLACE(v, 7))
#define PLACES_4(v)  PLACES(v), PLACES(v + 1), PLACES(v + 2), PLACES(v + 3)
#define PLACES_16(v) PLACES_4(v), PLACES_4(v + 4), PLACES_4(v + 8), PLACES_4(v + 12)
#define PLACES_64(v) PLACES_16(v), PLACES_16(v + 16), PLACES_16(v + 32), PLACES_16(v + 48)

static const uint64_t edge_places[512] = {
	PLACES_64(0u),	 PLACES_64(64u),  PLACES_64(128u), PLACES_64(192u),
	PLACES_64(256u), PLACES_64(320u), PLACES_64(384u), PLACES_64(448u)
};

AVX2_INL void many(uint64_t *places, uint64_t word, uint64_t before, uint64_t base)
{
	const uint64_t top = word >> (WORD_BITS - 1) << (WORD_BITS - 8);
	__m256i at = _mm256_set1_epi64x((long long)base);
	uint64_t both = word ^ before;

	for (unsigned k = 0; k < 8; k++) {
		__m128i bytes = _mm_loadl_epi64((const __m128i *)(const void *)&edge_places[before & 0x1ff]);
		store(places, _mm256_add_epi64(at, _mm256_cvtepi8_epi64(bytes)));
		store(places + LANES, _mm256_add_epi64(at, _mm256_cvtepi8_epi64(_mm_srli_si128(bytes, 4))));
		places += count_word(both & 0xff);
		at = _mm256_add_epi64(at, _mm256_set1_epi64x(8));
		before = before >> 8 | top;
		both >>= 8;
	}
}

AVX2 static size_t runs(const uint64_t *words, uint64_t first, uint64_t last, struct bit_run *found,
			size_t capacity, uint64_t *next)
{
	static const struct runs_kit kit = {
		.count = count_word, .lowest = lowest, .edges = edges, .many = many
	};

	return runs_with(words, first, last, found, capacity, next, kit);
}

const struct bitmap_ops bitmap_avx2 = {
	.name = "avx2",
	.nonzero = nonzero,
	.merge = merge,
	.and_not = and_not,
	.count = count,
	.extract = extract,
	.runs = runs,
};

#endif
