/* SPDX-License-Identifier: MIT */

/* A line to an agent in the guest, COM2: "unplug" and "plug" are asked, "unplugged" and "plugged" are the answers,
 * or "failed", when it cannot. */

#include "vmm.h"

#include <errno.h>
#include <string.h>
#include <time.h>

/* Collects a line. Under the lock. */
void agent_output(struct vm *vm, uint8_t byte)
{
	if (byte == '\r')
		return;
	if (byte == '\n') {
		vm->incoming[vm->incoming_length] = 0;
		strcpy(vm->answer, vm->incoming);
		vm->incoming_length = 0;
		pthread_cond_broadcast(&vm->changed);
	} else if (vm->incoming_length + 1 < sizeof vm->incoming) {
		vm->incoming[vm->incoming_length++] = (char)byte;
	}
}

static bool wait_for(struct vm *vm, const char *want, unsigned seconds)
{
	struct timespec end;

	clock_gettime(CLOCK_REALTIME, &end);
	end.tv_sec += seconds;
	while (strcmp(vm->answer, want) && strcmp(vm->answer, "failed") && !vm->ending)
		if (pthread_cond_timedwait(&vm->changed, &vm->lock, &end) == ETIMEDOUT)
			break;
	return !strcmp(vm->answer, want);
}

int agent_ask(struct vm *vm, const char *command, const char *want, unsigned seconds, struct vfd_error *err)
{
	bool good = true;

	pthread_mutex_lock(&vm->lock);
	vm->answer[0] = 0;
	for (const char *c = command; *c && good; c++)
		good = serial_input(&vm->agent, (uint8_t)*c);
	good = good && serial_input(&vm->agent, '\n') && wait_for(vm, want, seconds);
	int rc = good ? 0
		      : fail(err, "the guest's agent did not answer \"%s\" to \"%s\", but \"%s\"", want,
			     command, vm->answer);
	pthread_mutex_unlock(&vm->lock);
	return rc;
}
