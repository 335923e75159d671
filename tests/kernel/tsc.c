/* SPDX-License-Identifier: MIT */

/* tsc: how many thousand cycles of the time stamp counter there are in a second here. */

#include <stdint.h>
#include <stdio.h>
#include <time.h>

#include <x86intrin.h>

static uint64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

/* Both clocks at one time: of many looks the shortest, for this program may have been interrupted. */
static uint64_t look(uint64_t *ns)
{
	uint64_t shortest = UINT64_MAX, cycles = 0;

	for (int i = 0; i < 100; i++) {
		uint64_t before = __rdtsc(), time = now(), after = __rdtsc();

		if (after - before < shortest) {
			shortest = after - before;
			cycles = before + shortest / 2;
			*ns = time;
		}
	}
	return cycles;
}

int main(void)
{
	struct timespec rest = { .tv_nsec = 50000000 };
	uint64_t ns[2], cycles = look(&ns[0]);

	nanosleep(&rest, NULL);
	cycles = look(&ns[1]) - cycles;
	printf("%llu\n", (unsigned long long)((double)cycles * 1e6 / (double)(ns[1] - ns[0])));
	return 0;
}
