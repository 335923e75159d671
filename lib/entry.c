/* SPDX-License-Identifier: MIT */

/* What every public call on a container or device begins and ends with. */

#include "container.h"

#include <stdarg.h>
#include <stdio.h>

int container_check(struct vfd_container *container, const char *operation, struct vfd_error *err)
{
	if (!container)
		return fail(err, VFD_EINVALID, operation,
			    "the container is NULL: never opened, or closed already");
	if (forked(&container->guard) && container->ended)
		return fail(err, VFD_ESTATE, operation,
			    "the container is closed: this is called by what its last messages are told to");
	if (forked(&container->guard))
		return fail(err, VFD_EFORKED, operation,
			    "the container belongs to the parent process; a child may only call "
			    "vfd_container_release");
	return 0;
}

int container_enter(struct vfd_container *container, const char *operation, struct vfd_error *err)
{
	int rc = container_check(container, operation, err);

	if (!rc)
		gate_enter(&container->gate);
	return rc;
}

/* Behind all locks, for the program's function may call anything; but noted as one who hands over before the gate is let go of, for whoever
 * closes the container waits for those. A child that was forked in the function has nothing to tell. */
static __attribute__((noinline, cold)) void tell_behind(struct vfd_container *container,
							void (*let_go)(struct gate *gate))
{
	struct messages *messages = &container->space.messages;
	struct message_call call;
	bool first = messages_begin(messages, &call);

	let_go(&container->gate);
	while (first && messages_next(messages, &call)) {
		call.fn(&call.message, call.opaque);
		if (forked(&container->guard) && !container->ended)
			return;
	}
}

void container_leave(struct vfd_container *container)
{
	if (messages_wait(&container->space.messages))
		tell_behind(container, gate_leave);
	else
		gate_leave(&container->gate);
}

/* What happens behind a closed gate is rare and short, and may lose the record at any step: whoever salvages the log of a process that was
 * killed meanwhile assumes everything. */
int container_close_gate(struct vfd_container *container, const char *operation, struct vfd_error *err)
{
	int rc = container_check(container, operation, err);

	if (rc)
		return rc;
	gate_close(&container->gate);
	container->intent = log_intent_begin(container->space.log, RANGE_ALL);
	return 0;
}

void container_open_gate(struct vfd_container *container)
{
	space_note_debt(&container->space);
	log_intent_end(container->intent);
	if (messages_wait(&container->space.messages))
		tell_behind(container, gate_open);
	else
		gate_open(&container->gate);
}

int device_enter(struct vfd_device *device, const char *operation, struct vfd_error *err)
{
	if (!device)
		return fail(err, VFD_EINVALID, operation,
			    "the device is NULL: never opened, or closed already");
	int rc = container_enter(device->group->container, operation, err);
	if (rc)
		return rc;
	pthread_mutex_lock(&device->mutex);
	if (device->fd >= 0)
		return 0;
	device_leave(device);
	return fail(err, VFD_ESTATE, operation,
		    "a detach closed the device; give the handle to vfd_device_close");
}

void device_leave(struct vfd_device *device)
{
	struct vfd_container *container = device->group->container;

	pthread_mutex_unlock(&device->mutex);
	container_leave(container);
}

int refuse_loss(struct vfd_container *container, const char *operation, struct vfd_error *err,
		const char *format, ...)
{
	char text[VFD_ERROR_TEXT];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof text, format, args);
	va_end(args);
	message(&container->space.messages, VFD_LEVEL_WARNING, (struct note){ .kind = VFD_MSG_REFUSED },
		"%s refused: %s", operation, text);
	return fail(err, VFD_EDIRTY, operation, "%s", text);
}

int check_log(const struct vfd_log *log, struct vfd_error *err)
{
	if (log && log_forked(log))
		return fail(err, VFD_EFORKED, "open container",
			    "the log belongs to the parent process: create one here");
	return 0;
}

int check_orders(unsigned flags, const struct vfd_log *log, const char *operation, struct vfd_error *err)
{
	if (flags & ~(unsigned)(VFD_FIND_MEMORY | VFD_FIND_LOG))
		return fail(err, VFD_EINVALID, operation, "unknown flags %#x", flags);
	if ((flags & VFD_FIND_LOG) && !log)
		return fail(err, VFD_EINVALID, operation,
			    "VFD_FIND_LOG, but there is no log: nothing has a log address");
	return 0;
}

int check_destroy_flags(unsigned flags, const char *operation, struct vfd_error *err)
{
	if (flags & ~(unsigned)(VFD_COLLECT | VFD_DISCARD))
		return fail(err, VFD_EINVALID, operation, "unknown flags %#x", flags);
	if (flags == (VFD_COLLECT | VFD_DISCARD))
		return fail(err, VFD_EINVALID, operation, "VFD_COLLECT and VFD_DISCARD exclude each other");
	return 0;
}
