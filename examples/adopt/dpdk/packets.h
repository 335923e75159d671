/* SPDX-License-Identifier: MIT */
#ifndef PACKETS_H
#define PACKETS_H

/* A DPDK application, nothing of libvfiodirty: its ports are wired to each other, it sends packets from each, and keeps the last ones
 * that it received where the network device put them, in memory of its own. (Who serves a virtual machine does so: the memory is the
 * guest's.) */

#include <stdbool.h>
#include <stdint.h>

enum {
	BUFFERS = 1024,
	BUFFER_SIZE = 4096, /* of which a packet uses a half: so each packet has a page */
	MEMORY_SIZE = BUFFERS * BUFFER_SIZE,
	DESCRIPTORS = 64, /* of each ring */
	SPARE = 64,	  /* buffers in no ring, for the driver to take */
	PORTS = 4,	  /* at most */
};

struct rte_mbuf;
struct rte_mempool;

struct packets {
	uint8_t *memory;
	uint64_t iova; /* where devices see it */
	unsigned ports;
	struct rte_mempool *receive, *send;
	struct rte_mbuf *kept[BUFFERS]; /* a ring: the last packets received */
	unsigned oldest, count, most;	/* most: that are kept */
	uint64_t sent, received, wrong;
	/* Called when a buffer goes to the driver, which may let its device write it, and when it comes back with a packet. */
	void (*given)(void *arg, unsigned buffer);
	void (*taken)(void *arg, unsigned buffer);
	void *arg;
};

/* The environment is initialised. */
void packets_open(struct packets *p);
/* Receives what has arrived, and sends some more. */
void packets_turn(struct packets *p);
/* Which buffer a packet lies in. */
unsigned packets_buffer(const struct packets *p, const struct rte_mbuf *packet);
/* The devices write no more. */
void packets_stop(struct packets *p);
void packets_close(struct packets *p);

_Noreturn void die(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
