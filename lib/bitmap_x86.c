/* SPDX-License-Identifier: MIT */

/* Which kernels this processor can run. */

#ifdef __x86_64__

#include <cpuid.h>

#include "bitmap_kernels.h"

/* What it has: of leaf 1 in ecx, of leaf 7 in ebx and ecx, and which registers the system saves (XCR0). */
struct features {
	unsigned in_1, in_7, more_7, saved;
};

static const struct features for_avx2 = {
	.in_1 = bit_OSXSAVE | bit_AVX | bit_POPCNT,
	.in_7 = bit_AVX2 | bit_BMI | bit_BMI2,
	.saved = 0x6,
};

static const struct features for_avx512 = {
	.in_1 = bit_OSXSAVE | bit_AVX | bit_POPCNT,
	.in_7 = bit_AVX2 | bit_BMI | bit_BMI2 | bit_AVX512F | bit_AVX512BW | bit_AVX512VL,
	.more_7 = bit_AVX512VBMI2 | bit_AVX512VPOPCNTDQ,
	.saved = 0xe6,
};

/* Not __builtin_cpu_supports: that wants a constructor. */
static struct features ask(void)
{
	struct features f = { 0 };
	unsigned a, b, c, d, high;

	if (!__get_cpuid(1, &a, &b, &c, &d))
		return f;
	f.in_1 = c;
	if (c & bit_OSXSAVE)
		__asm__ volatile("xgetbv" : "=a"(f.saved), "=d"(high) : "c"(0));
	if (__get_cpuid_count(7, 0, &a, &b, &c, &d)) {
		f.in_7 = b;
		f.more_7 = c;
	}
	return f;
}

static bool has(const struct features *f, const struct features *need)
{
	return !(need->in_1 & ~f->in_1 || need->in_7 & ~f->in_7 || need->more_7 & ~f->more_7 ||
		 need->saved & ~f->saved);
}

const struct bitmap_ops *bitmap_ops_native(unsigned i)
{
	const struct features f = ask();

	if (i == 0 && has(&f, &for_avx2))
		return &bitmap_avx2;
	return i == 1 && has(&f, &for_avx512) ? &bitmap_avx512 : NULL;
}

#endif
