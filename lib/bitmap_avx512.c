/* SPDX-License-Identifier: MIT */

/* Kernels for x86-64 with AVX-512 as of 2019: counting bits in vectors, shifting across words, moving chosen bytes together. */

#ifdef __x86_64__

#include <immintrin.h>
#include <string.h>

#include "bitmap_runs.h"

#define AVX512                                                                                               \
	__attribute__((target("avx512f,avx512bw,avx512vl,avx512vbmi2,avx512vpopcntdq,bmi,bmi2,popcnt")))
#define AVX512_INL AVX512 KERNEL_INLINE

enum { LANES = 8 }; /* words in a vector */

/* One load, as in word_read(). */
AVX512_INL __m512i load(const uint64_t *words)
{
	return *(const volatile __m512i_u *)(const void *)words;
}

AVX512_INL void store(uint64_t *words, __m512i v)
{
	_mm512_storeu_si512(words, v);
}

/* The first n lanes, at most 8 */
AVX512_INL __mmask8 lanes(size_t n)
{
	return (__mmask8)((1u << n) - 1);
}

AVX512_INL __m512i load_some(const uint64_t *words, __mmask8 some)
{
	return _mm512_maskz_loadu_epi64(some, words);
}

/* ---- words ---- */

AVX512 static uint64_t nonzero(const uint64_t *src, size_t n)
{
	uint64_t mask = 0;
	size_t i = 0;

	for (; i + LANES <= n; i += LANES) {
		__m512i v = load(&src[i]);
		mask |= (uint64_t)_mm512_test_epi64_mask(v, v) << i;
	}
	for (; i < n; i++)
		mask |= (uint64_t)(src[i] != 0) << i;
	return mask;
}

AVX512 static uint64_t merge(uint64_t *dst, const uint64_t *src, size_t n, uint64_t *fresh)
{
	__m512i counts = _mm512_setzero_si512();
	uint64_t mask = 0, count = 0;
	size_t i = 0;

	for (; i + LANES <= n; i += LANES) {
		__m512i v = load(&src[i]), old = load(&dst[i]);
		mask |= (uint64_t)_mm512_test_epi64_mask(v, v) << i;
		store(&dst[i], _mm512_or_si512(old, v));
		counts = _mm512_add_epi64(counts, _mm512_popcnt_epi64(_mm512_andnot_si512(old, v)));
	}
	for (; i < n; i++) {
		uint64_t word = word_read(&src[i]);
		mask |= (uint64_t)(word != 0) << i;
		count += (uint64_t)__builtin_popcountll(merge_word(&dst[i], word));
	}
	*fresh += count + (uint64_t)_mm512_reduce_add_epi64(counts);
	return mask;
}

AVX512 static void and_not(uint64_t *dst, const uint64_t *src, size_t n)
{
	size_t i = 0;

	for (; i + LANES <= n; i += LANES)
		store(&dst[i], _mm512_andnot_si512(load(&src[i]), load(&dst[i])));
	for (; i < n; i++)
		dst[i] &= ~src[i];
}

AVX512 static uint64_t count(const uint64_t *src, size_t n)
{
	__m512i counts = _mm512_setzero_si512();
	size_t i = 0;

	for (; i + LANES <= n; i += LANES)
		counts = _mm512_add_epi64(counts, _mm512_popcnt_epi64(load(&src[i])));
	counts = _mm512_add_epi64(counts, _mm512_popcnt_epi64(load_some(&src[i], lanes(n - i))));
	return (uint64_t)_mm512_reduce_add_epi64(counts);
}

AVX512 static void extract(uint64_t *dst, const uint64_t *src, unsigned shift, size_t n)
{
	const __m512i by = _mm512_set1_epi64((long long)shift);
	size_t i = 0;

	if (!shift) {
		memcpy(dst, src, n * sizeof(*dst));
		return;
	}
	for (; i + LANES <= n; i += LANES)
		store(&dst[i], _mm512_shrdv_epi64(load(&src[i]), load(&src[i + 1]), by));
	for (; i < n; i++)
		dst[i] = src[i] >> shift | src[i + 1] << (WORD_BITS - shift);
}

/* ---- runs ---- */

AVX512_INL uint64_t count_word(uint64_t word)
{
	return (uint64_t)__builtin_popcountll(word);
}

AVX512_INL uint64_t lowest(uint64_t word)
{
	return _tzcnt_u64(word);
}

/* word_edges() of 8 words: each against the same one bit further up, the last bit of the word before coming in */
AVX512_INL uint64_t edges_8(__m512i words, __m512i before)
{
	return _mm512_cmpneq_epi64_mask(words, _mm512_shldi_epi64(words, before, 1));
}

AVX512_INL uint64_t edges(const uint64_t *words, size_t n)
{
	uint64_t mask = 0;
	size_t i = 0;

	for (; i + LANES <= n; i += LANES)
		mask |= edges_8(load(&words[i]), load(words + i - 1)) << i;
	for (; i < n; i++)
		mask |= (uint64_t)word_edges(&words[i]) << i;
	return mask;
}

/* A byte for each bit of the word: its place, or for the first clear one after a run the place before. Those of the edges are moved
 * together, and widened. */
AVX512_INL void many(uint64_t *places, uint64_t word, uint64_t before, uint64_t base)
{
	const __m512i one = _mm512_set1_epi8(1), at = _mm512_set1_epi64((long long)base);
	const __m512i place = _mm512_set_epi8(63, 62, 61, 60, 59, 58, 57, 56, 55, 54, 53, 52, 51, 50, 49, 48,
					      47, 46, 45, 44, 43, 42, 41, 40, 39, 38, 37, 36, 35, 34, 33, 32,
					      31, 30, 29, 28, 27, 26, 25, 24, 23, 22, 21, 20, 19, 18, 17, 16,
					      15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
	uint64_t both = word ^ before, ends = both & before;
	__m512i bytes = _mm512_maskz_compress_epi8(both, _mm512_mask_sub_epi8(place, ends, place, one));
	unsigned n = (unsigned)count_word(both);

	for (unsigned k = 0; k < n; k += LANES) {
		store(places + k, _mm512_add_epi64(at, _mm512_cvtepi8_epi64(_mm512_castsi512_si128(bytes))));
		bytes = _mm512_maskz_compress_epi64(0xfe, bytes);
	}
}

AVX512 static size_t runs(const uint64_t *words, uint64_t first, uint64_t last, struct bit_run *found,
			  size_t capacity, uint64_t *next)
{
	static const struct runs_kit kit = {
		.count = count_word, .lowest = lowest, .edges = edges, .many = many
	};

	return runs_with(words, first, last, found, capacity, next, kit);
}

const struct bitmap_ops bitmap_avx512 = {
	.name = "avx512",
	.nonzero = nonzero,
	.merge = merge,
	.and_not = and_not,
	.count = count,
	.extract = extract,
	.runs = runs,
};

#endif
