/* SPDX-License-Identifier: MIT */
#include "packets.h"

#include <string.h>
#include <sys/mman.h>

#define ALLOW_EXPERIMENTAL_API /* rte_pktmbuf_pool_create_extbuf() */
#include <rte_cycles.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>
#include <rte_vfio.h>

enum {
	ROOM = RTE_MBUF_DEFAULT_BUF_SIZE,
	HEADER = 14,   /* of Ethernet */
	TYPE = 0x88b5, /* for local experiments */
	BURST = 16,
};

/* ---- setting up ---------------------------------------------------------------------- */

/* Below what DPDK maps in its mode "IOVA as VA", which begins at 4 GiB; process addresses have more bits than some IOMMUs. */
static void map_memory(struct packets *p)
{
	p->memory = mmap(NULL, MEMORY_SIZE, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	p->iova = UINT64_C(1) << 30;
	if (p->memory == MAP_FAILED)
		die("no memory");
	if (rte_vfio_container_dma_map(RTE_VFIO_DEFAULT_CONTAINER_FD, (uintptr_t)p->memory, p->iova,
				       MEMORY_SIZE))
		die("rte_vfio_container_dma_map: %s", rte_strerror(rte_errno));
}

/* Without a cache, so that the buffers take turns. */
static void make_pools(struct packets *p)
{
	const struct rte_pktmbuf_extmem memory = {
		.buf_ptr = p->memory,
		.buf_iova = p->iova,
		.buf_len = MEMORY_SIZE,
		.elt_size = BUFFER_SIZE,
	};

	p->receive =
		rte_pktmbuf_pool_create_extbuf("receive", BUFFERS, 0, 0, ROOM, SOCKET_ID_ANY, &memory, 1);
	p->send = rte_pktmbuf_pool_create("send", 4 * DESCRIPTORS * PORTS, 0, 0, ROOM, SOCKET_ID_ANY);
	if (!p->receive || !p->send)
		die("rte_pktmbuf_pool_create: %s", rte_strerror(rte_errno));
}

static void start_port(struct packets *p, uint16_t port)
{
	static const struct rte_eth_conf plain;
	int rc = rte_eth_dev_configure(port, 1, 1, &plain);

	rc = rc ? rc : rte_eth_rx_queue_setup(port, 0, DESCRIPTORS, rte_socket_id(), NULL, p->receive);
	rc = rc ? rc : rte_eth_tx_queue_setup(port, 0, DESCRIPTORS, rte_socket_id(), NULL);
	rc = rc ? rc : rte_eth_dev_start(port);
	rc = rc ? rc : rte_eth_promiscuous_enable(port);
	if (rc)
		die("port %u: %s", port, rte_strerror(-rc));
}

static void wait_for_link(uint16_t port)
{
	struct rte_eth_link link;

	for (int i = 0; i < 100; i++) {
		if (!rte_eth_link_get_nowait(port, &link) && link.link_status)
			return;
		rte_delay_ms(100);
	}
	die("port %u has no link", port);
}

void packets_open(struct packets *p)
{
	*p = (struct packets){ .ports = rte_eth_dev_count_avail() };
	if (p->ports < 2 || p->ports > PORTS)
		die("%u ports: this wants 2 to %u, wired to each other", p->ports, PORTS);
	p->most = BUFFERS - p->ports * DESCRIPTORS - SPARE;
	map_memory(p);
	make_pools(p);
	for (uint16_t port = 0; port < p->ports; port++)
		start_port(p, port);
	for (uint16_t port = 0; port < p->ports; port++)
		wait_for_link(port);
}

/* ---- packets: each is random numbers that begin with its own -------------------------- */

static uint64_t next_random(uint64_t x)
{
	x = (x ^ x >> 29) * UINT64_C(0x9e3779b97f4a7c15);
	return x ^ x >> 32;
}

static uint16_t length_of(uint64_t number)
{
	return (uint16_t)(64 + next_random(number) % 181 * 8);
}

static void fill(uint8_t *body, uint64_t number)
{
	uint64_t word = number;

	for (unsigned at = 0; at < length_of(number); at += 8) {
		memcpy(body + at, &word, sizeof word);
		word = next_random(word + at + 1);
	}
}

static bool as_sent(const struct rte_mbuf *packet)
{
	const uint8_t *data = rte_pktmbuf_mtod(packet, const uint8_t *);
	uint8_t expected[2048];
	uint64_t number;

	memcpy(&number, data + HEADER, sizeof number);
	uint16_t length = length_of(number);
	if (packet->data_len != HEADER + length)
		return false;
	fill(expected, number);
	return !memcmp(data + HEADER, expected, length);
}

static struct rte_mbuf *make_packet(struct packets *p)
{
	struct rte_mbuf *packet = rte_pktmbuf_alloc(p->send);
	uint64_t number = p->sent + 1;

	if (!packet)
		return NULL;
	uint8_t *data = (void *)rte_pktmbuf_append(packet, (uint16_t)(HEADER + length_of(number)));
	memset(data, 0xff, HEADER - 2); /* to all */
	data[6] = 2;			/* from a local address */
	data[HEADER - 2] = TYPE >> 8;
	data[HEADER - 1] = TYPE & 0xff;
	fill(data + HEADER, number);
	return packet;
}

/* ---- one turn --------------------------------------------------------------------------- */

unsigned packets_buffer(const struct packets *p, const struct rte_mbuf *packet)
{
	return (unsigned)((const uint8_t *)packet->buf_addr - p->memory) / BUFFER_SIZE;
}

/* It may be in a ring, and written, as soon as the pool has it. */
static void give_back(struct packets *p, struct rte_mbuf *packet)
{
	if (p->given)
		p->given(p->arg, packets_buffer(p, packet));
	rte_pktmbuf_free(packet);
}

static void keep(struct packets *p, struct rte_mbuf *packet)
{
	if (p->taken)
		p->taken(p->arg, packets_buffer(p, packet));
	p->received++;
	p->wrong += !as_sent(packet);
	if (p->count == p->most) {
		give_back(p, p->kept[p->oldest]);
		p->oldest = (p->oldest + 1) % BUFFERS;
		p->count--;
	}
	p->kept[(p->oldest + p->count++) % BUFFERS] = packet;
}

static void send_one(struct packets *p, uint16_t port)
{
	struct rte_mbuf *packet = make_packet(p);

	if (packet && rte_eth_tx_burst(port, 0, &packet, 1))
		p->sent++;
	else
		rte_pktmbuf_free(packet);
}

void packets_turn(struct packets *p)
{
	struct rte_mbuf *burst[BURST];

	for (uint16_t port = 0; port < p->ports; port++) {
		uint16_t count = rte_eth_rx_burst(port, 0, burst, BURST);
		for (uint16_t i = 0; i < count; i++)
			keep(p, burst[i]);
		for (unsigned i = 0; i < BURST / 4; i++)
			send_one(p, port);
	}
}

/* ---- the end ---------------------------------------------------------------------------- */

void packets_stop(struct packets *p)
{
	for (uint16_t port = 0; port < p->ports; port++)
		if (rte_eth_dev_stop(port))
			die("port %u does not stop", port);
}

void packets_close(struct packets *p)
{
	for (uint16_t port = 0; port < p->ports; port++)
		rte_eth_dev_close(port);
	if (rte_vfio_container_dma_unmap(RTE_VFIO_DEFAULT_CONTAINER_FD, (uintptr_t)p->memory, p->iova,
					 MEMORY_SIZE))
		die("rte_vfio_container_dma_unmap: %s", rte_strerror(rte_errno));
}
