/* SPDX-License-Identifier: MIT */
#include "nvme.h"

#include <stdio.h>

/* Words of a block: its number and the generation, in turns. */
static uint64_t word_of(uint64_t block, uint64_t generation, uint32_t word)
{
	return word % 2 ? generation + word : block;
}

static uint32_t words(const struct nvme *n)
{
	return n->block_size / (uint32_t)sizeof(uint64_t);
}

static void fill(const struct nvme *n, uint8_t *buffer, uint64_t block, uint64_t generation)
{
	for (uint32_t i = 0; i < words(n); i++)
		((uint64_t *)(void *)buffer)[i] = word_of(block, generation, i);
}

static bool holds(const struct nvme *n, const uint8_t *buffer, uint64_t block, uint64_t generation)
{
	for (uint32_t i = 0; i < words(n); i++)
		if (((const uint64_t *)(const void *)buffer)[i] != word_of(block, generation, i))
			return false;
	return true;
}

/* As much as a queue full of requests can carry, from the start of the data memory. */
static uint64_t window(const struct nvme *n, uint64_t left)
{
	uint64_t most = (uint64_t)NVME_DEPTH * (NVME_LARGEST / n->block_size);

	return left < most ? left : most;
}

static void transfer(struct nvme *n, uint8_t opcode, uint64_t block, uint64_t count)
{
	uint64_t each = NVME_LARGEST / n->block_size;

	for (uint64_t i = 0; i < count; i += each)
		nvme_start(n, opcode, block + i, (uint32_t)(count - i < each ? count - i : each),
			   n->data.start + i * n->block_size, 0);
	nvme_wait_all(n);
}

static void write_all(struct nvme *n, uint64_t blocks, uint64_t generation)
{
	for (uint64_t block = 0, count; block < blocks; block += count) {
		count = window(n, blocks - block);
		for (uint64_t i = 0; i < count; i++)
			fill(n, n->data.start + i * n->block_size, block + i, generation);
		transfer(n, NVME_WRITE, block, count);
	}
}

static uint64_t read_all(struct nvme *n, uint64_t blocks, uint64_t generation)
{
	uint64_t wrong = 0;

	for (uint64_t block = 0, count; block < blocks; block += count) {
		count = window(n, blocks - block);
		for (uint64_t i = 0; i < count * n->block_size; i++)
			n->data.start[i] = 0xff; /* what an earlier read left must not count */
		transfer(n, NVME_READ, block, count);
		for (uint64_t i = 0; i < count; i++)
			wrong += !holds(n, n->data.start + i * n->block_size, block + i, generation);
	}
	return wrong;
}

int read_back(struct nvme *n, uint64_t blocks, uint64_t generation)
{
	uint64_t wrong = read_all(n, blocks, generation);

	printf("read %llu blocks, generation %#llx: %llu differ\n", (unsigned long long)blocks,
	       (unsigned long long)generation, (unsigned long long)wrong);
	return wrong != 0;
}

int verify(struct nvme *n, uint64_t blocks, uint64_t generation)
{
	write_all(n, blocks, generation);
	uint64_t wrong = read_all(n, blocks, generation);
	printf("wrote and read %llu blocks, generation %#llx: %llu differ\n", (unsigned long long)blocks,
	       (unsigned long long)generation, (unsigned long long)wrong);
	return wrong != 0;
}
