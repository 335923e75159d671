/* SPDX-License-Identifier: MIT */

/* Queues, and requests for blocks. The buffer of a request is pinned while it is in flight: for writing if it is a read. */

#include "nvme.h"

/* The device must find the command when it hears the bell. */
void nvme_send(struct nvme_queue *q, const struct nvme_command *command)
{
	q->commands[q->tail] = *command;
	q->tail = (uint16_t)((q->tail + 1) % q->size);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	*q->commands_doorbell = q->tail;
}

bool nvme_completed(struct nvme_queue *q, struct nvme_completion *completion)
{
	if ((q->completions[q->head].status & 1) != q->phase)
		return false;
	__atomic_thread_fence(__ATOMIC_ACQUIRE); /* the rest of it, and the data, are read after the phase */
	*completion = q->completions[q->head];
	q->head = (uint16_t)((q->head + 1) % q->size);
	q->phase ^= !q->head;
	*q->completions_doorbell = q->head;
	return true;
}

/* Where the device finds the buffer. */
static uint64_t pin(struct nvme *n, struct nvme_request *r, uint8_t opcode)
{
	struct vfd_translation found;

	if (n->forget_pins) {
		check(vfd_translate(n->pins, r->buffer, &found, &nvme_error));
		return found.iova;
	}
	check(vfd_pin(n->pins, r->buffer, (uint64_t)r->blocks * n->block_size,
		      opcode == NVME_READ ? VFD_PIN_WRITE : VFD_PIN_READ, &r->pin, &nvme_error));
	return r->pin.iova;
}

bool nvme_start(struct nvme *n, uint8_t opcode, uint64_t block, uint32_t blocks, uint8_t *buffer,
		uint64_t now)
{
	uint32_t id = n->free;

	if (id == NVME_DEPTH)
		return false;
	struct nvme_request *r = &n->requests[id];
	n->free = r->next;
	*r = (struct nvme_request){ .buffer = buffer, .block = block, .blocks = blocks, .started = now };
	n->in_flight++;
	uint64_t iova = pin(n, r, opcode);
	struct nvme_command command = {
		.opcode = opcode,
		.id = (uint16_t)id,
		.namespace = 1,
		.prp1 = iova,
		.prp2 = (iova | (NVME_PAGE - 1)) + 1,
		.words = { (uint32_t)block, (uint32_t)(block >> 32), blocks - 1 },
	};
	if (command.prp2 >= iova + (uint64_t)blocks * n->block_size)
		command.prp2 = 0;
	nvme_send(&n->io, &command);
	return true;
}

const struct nvme_request *nvme_poll(struct nvme *n)
{
	struct nvme_completion done;

	if (!nvme_completed(&n->io, &done))
		return NULL;
	if (done.status >> 1 || done.id >= NVME_DEPTH)
		die("%s: request %u failed, status %#x", n->address, done.id, done.status >> 1);
	struct nvme_request *r = &n->requests[done.id];
	if (!n->forget_pins)
		check(vfd_unpin(n->pins, &r->pin, 1, &nvme_error));
	r->next = n->free;
	n->free = done.id;
	n->in_flight--;
	return r;
}

void nvme_wait_all(struct nvme *n)
{
	uint64_t end = nvme_now() + UINT64_C(30000000000);

	while (n->in_flight)
		if (!nvme_poll(n) && nvme_now() > end)
			die("%s: %u requests are lost", n->address, n->in_flight);
}
