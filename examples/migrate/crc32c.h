/* SPDX-License-Identifier: MIT */
#ifndef MIGRATE_CRC32C_H
#define MIGRATE_CRC32C_H

#include <stddef.h>
#include <stdint.h>

enum { SUM_BLOCK = 4096 };

/* CRC32C (Castagnoli, reflected, initial value and final XOR of all ones) of one piece. */
uint32_t crc32c(const void *data, size_t size);

/* The sum of a frame's data: CRC32C of the CRC32Cs (little-endian) of its blocks of 4096 bytes, the last of which may be shorter.
 * Blocks do not wait for each other, so a processor works on four at a time. */
struct sum {
	uint32_t crc; /* of the blocks' CRCs so far */
};
void sum_start(struct sum *sum);
/* Whole blocks, except for the last piece. */
void sum_add(struct sum *sum, const void *data, size_t size);
uint32_t sum_end(const struct sum *sum);

#endif
