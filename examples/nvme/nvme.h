/* SPDX-License-Identifier: MIT */
#ifndef NVME_H
#define NVME_H

/* A small NVMe driver in user space. Its device cannot report what it writes, but the driver pins all of it, so its pages are known
 * exactly. One admin queue, one I/O queue, completions polled; one thread. Numbers of the NVMe specification 1.4 are in nvme.c. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <vfiodirty.h>

enum {
	NVME_PAGE = 4096,
	NVME_DEPTH = 32,	  /* requests in flight, at most */
	NVME_LARGEST = NVME_PAGE, /* bytes of a request: two pages wherever it begins, so no PRP list */
	NVME_WRITE = 1,
	NVME_READ = 2,
};

struct nvme_command {
	uint8_t opcode, flags;
	uint16_t id;
	uint32_t namespace;
	uint64_t reserved, metadata;
	uint64_t prp1,
		prp2; /* where the data lies, as the device sees it: up to the end of a page, and the next page */
	uint32_t words[6];
};

struct nvme_completion {
	uint32_t result, reserved;
	uint16_t submission_head, submission_queue;
	uint16_t id;
	uint16_t status; /* bit 0: the phase, which turns over each time round */
};

struct nvme_queue {
	struct nvme_command *commands;
	volatile struct nvme_completion *completions; /* the device writes these */
	volatile uint32_t *commands_doorbell, *completions_doorbell;
	uint16_t size, tail, head, phase;
};

struct nvme_request {
	struct vfd_pin pin; /* its buffer, while it is in flight */
	uint8_t *buffer;
	uint64_t block;
	uint32_t blocks;
	uint32_t next;	  /* free request after this one */
	uint64_t started; /* the caller's */
};

/* Memory that the device sees. */
struct nvme_memory {
	uint8_t *start;
	uint64_t size;
	uint64_t log_address;
};

struct nvme {
	const char *address;
	struct vfd_log *log;
	struct vfd_container *container;
	struct vfd_group *group;
	struct vfd_device *device;
	struct vfd_pinset *pins;
	uint8_t *registers;
	struct nvme_memory commands; /* the device reads it; nobody migrates it: the driver makes it anew */
	struct nvme_memory
		completions; /* completion queues and the answer to IDENTIFY: the device writes it */
	struct nvme_memory data;
	struct vfd_pin commands_pin, completions_pin;
	struct nvme_queue admin, io;
	struct nvme_request requests[NVME_DEPTH];
	uint32_t free, in_flight;
	uint32_t block_size;
	uint64_t blocks;
	bool forget_pins; /* to show what pins are good for: buffers are not pinned */
};

/* nvme.c: attach, map, reset, identify, make the I/O queue. data_size is a multiple of pages. */
void nvme_open(struct nvme *n, const char *address, uint64_t data_size);
/* The two parts of that: memory and its log; the controller. */
void nvme_allocate(struct nvme *n, const char *address, uint64_t data_size);
void nvme_attach(struct nvme *n);
/* No request may be in flight. Afterwards the device cannot write. */
void nvme_stop(struct nvme *n);
/* After nvme_stop(). The pages of the queues are marked once more, when they are unpinned. */
void nvme_unpin(struct nvme *n);
/* After nvme_unpin(). What the device wrote is in the log, and another process can have it. */
void nvme_detach(struct nvme *n);
/* flags: VFD_DISCARD if pages may still be owed. */
void nvme_close(struct nvme *n, unsigned flags);

/* memory.c */
struct nvme_memory nvme_memory(struct vfd_log *log, uint64_t log_address,
			       uint64_t size); /* log NULL: in none */
void nvme_map(struct nvme *n, const struct nvme_memory *memory, unsigned flags);

/* io.c: queues */
void nvme_send(struct nvme_queue *q, const struct nvme_command *command);
bool nvme_completed(struct nvme_queue *q, struct nvme_completion *completion);

/* io.c: requests. false: NVME_DEPTH are in flight. */
bool nvme_start(struct nvme *n, uint8_t opcode, uint64_t block, uint32_t blocks, uint8_t *buffer,
		uint64_t now);
/* One that is done, until the next nvme_start(); NULL: none yet. */
const struct nvme_request *nvme_poll(struct nvme *n);
void nvme_wait_all(struct nvme *n);

/* verify.c: each block holds its own number and a generation. Writes blocks 0 to `blocks` - 1, reads and compares. 0 or 1. */
int verify(struct nvme *n, uint64_t blocks, uint64_t generation);
/* The second half of that. */
int read_back(struct nvme *n, uint64_t blocks, uint64_t generation);

struct workload {
	uint64_t blocks; /* reads stay below */
	uint64_t reads, rounds, random;
};

/* A read of random length from a random block into random memory. */
bool start_random(struct nvme *n, struct workload *w);
void bench(struct nvme *n, const struct workload *w);
/* audit.c: does this driver keep its promise? 0, or 1 if the device writes what is not pinned. */
int audit(struct nvme *n, const struct workload *w);
int migrate(struct nvme *n, const struct workload *w);

/* move.c: this driver, its memory and its work go on in another process. 0 or 1. */
int move_there(struct nvme *n, const struct workload *w, uint64_t generation, const char *uri);
int move_here(struct nvme *n, const char *uri);

uint64_t nvme_now(void);
void *zeroed(uint64_t count, size_t size); /* free() it */
extern struct vfd_error nvme_error;
void check(int rc);
_Noreturn void die(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
