/* SPDX-License-Identifier: MIT */

/* A 16550A, as far as kernels look at it: what is sent is gone at once, what arrives waits in a FIFO. */

#include "vmm.h"

#include <unistd.h>

enum { DATA, INTERRUPTS, IDENTIFY, LINE, MODEM, LINE_STATUS, MODEM_STATUS, SCRATCH };
enum { WANT_RECEIVED = 1, WANT_SENT = 2 };		       /* INTERRUPTS */
enum { NOTHING = 1, SENT = 2, RECEIVED = 4, HAS_FIFO = 0xc0 }; /* IDENTIFY */
enum { DIVISOR = 0x80 };				       /* LINE */
enum { LOOP = 0x10 };					       /* MODEM */
enum { READY = 1, EMPTY = 0x60 };			       /* LINE_STATUS */
enum { CONNECTED = 0xb0 };				       /* MODEM_STATUS */

static uint8_t pending(const struct serial_state *s)
{
	if (s->interrupts & WANT_RECEIVED && s->count)
		return RECEIVED;
	if (s->interrupts & WANT_SENT && s->transmit_pending)
		return SENT;
	return NOTHING;
}

static void update(struct serial *s)
{
	vm_irq_line(s->vm, s->irq, pending(&s->state) != NOTHING);
}

bool serial_input(struct serial *s, uint8_t byte)
{
	struct serial_state *state = &s->state;

	if (state->count == sizeof state->input)
		return false;
	state->input[(state->head + state->count++) % sizeof state->input] = byte;
	update(s);
	return true;
}

static uint8_t take(struct serial_state *s)
{
	uint8_t byte = s->input[s->head];

	if (!s->count)
		return 0;
	s->head = (uint16_t)((s->head + 1) % sizeof s->input);
	s->count--;
	return byte;
}

static void send(struct serial *s, uint8_t byte)
{
	if (s->state.modem & LOOP)
		serial_input(s, byte);
	else if (s->output)
		s->output(s->vm, byte);
	else if (write(STDOUT_FILENO, &byte, 1) < 0)
		return; /* nobody listens to the console: that is no reason to stop */
	s->state.transmit_pending = true;
}

/* Looped back, the outputs are the inputs: by that a kernel knows that this is a UART. */
static uint8_t modem_status(const struct serial_state *s)
{
	if (!(s->modem & LOOP))
		return CONNECTED;
	return (uint8_t)((s->modem & 1) << 5 | (s->modem & 2) << 3 | (s->modem & 12) << 4);
}

static uint8_t identify(struct serial_state *s)
{
	uint8_t what = pending(s);

	if (what == SENT)
		s->transmit_pending = false;
	return (uint8_t)(what | (s->fifo & 1 ? HAS_FIFO : 0));
}

static uint8_t get(struct serial_state *s, uint16_t which)
{
	if (which < 2 && s->line & DIVISOR)
		return s->divisor[which];
	switch (which) {
	case DATA:
		return take(s);
	case INTERRUPTS:
		return s->interrupts;
	case IDENTIFY:
		return identify(s);
	case LINE:
		return s->line;
	case MODEM:
		return s->modem;
	case LINE_STATUS:
		return (uint8_t)(EMPTY | (s->count ? READY : 0));
	case MODEM_STATUS:
		return modem_status(s);
	default:
		return s->scratch;
	}
}

static void put(struct serial *s, uint16_t which, uint8_t byte)
{
	struct serial_state *state = &s->state;

	if (which < 2 && state->line & DIVISOR) {
		state->divisor[which] = byte;
	} else if (which == DATA) {
		send(s, byte);
	} else if (which == INTERRUPTS) {
		state->transmit_pending |= !(state->interrupts & WANT_SENT) && byte & WANT_SENT;
		state->interrupts = byte & 15;
	} else if (which == IDENTIFY) {
		state->fifo = byte;
		if (byte & 2)
			state->count = 0;
	} else if (which == LINE) {
		state->line = byte;
	} else if (which == MODEM) {
		state->modem = byte & 31;
	} else if (which == SCRATCH) {
		state->scratch = byte;
	}
}

void serial_port(struct serial *s, uint16_t port, bool write, uint8_t *data)
{
	if (write)
		put(s, port, *data);
	else
		*data = get(&s->state, port);
	update(s);
}
