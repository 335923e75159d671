/* SPDX-License-Identifier: MIT */
#include "migration.h"

#include <errno.h>
#include <stdio.h>

static char data[DATA_MOST];

uint32_t state_of(const struct pair *pair, struct vfd_device *device)
{
	struct vfd_migration_info info = { .struct_size = sizeof info };

	if (vfd_migration_info(device, &info, &pair->rig->err))
		return UINT32_MAX;
	return info.state;
}

unsigned writers(const struct pair *pair)
{
	struct vfd_container_info info = { .struct_size = sizeof info };

	vfd_container_info(pair->rig->container, &info, &pair->rig->err);
	return info.writers;
}

bool is_stopped(uint32_t state)
{
	return state == VFD_MIG_STOP || state == VFD_MIG_STOP_COPY || state == VFD_MIG_RESUMING;
}

int read_all(struct vfd_device *device, char *to, size_t *size)
{
	struct vfd_error err;
	size_t done = 1;
	int rc = 0;

	for (*size = 0; !rc && done; *size += rc ? 0 : done)
		rc = vfd_migration_read(device, to + *size, DATA_MOST - *size, &done, &err);
	return rc;
}

int write_all(struct vfd_device *device, const char *from, size_t size)
{
	struct vfd_error err;
	size_t done = 0;
	int rc = 0;

	for (size_t at = 0; !rc && at < size; at += done)
		rc = vfd_migration_write(device, from + at, size - at, &done, &err);
	return rc;
}

int cancel(const struct pair *pair, struct vfd_device *device, unsigned flags)
{
	return vfd_migration_cancel(&device, 1, flags, &pair->rig->err);
}

static int feed(const struct pair *pair)
{
	struct vfd_device *other = pair->other;
	size_t size = 0;
	int rc = vfd_migration_set(&other, 1, VFD_MIG_STOP_COPY, &pair->rig->err);

	if (!rc)
		rc = read_all(other, data, &size);
	if (!rc)
		rc = write_all(pair->one, data, size);
	return rc ? rc : cancel(pair, other, 0);
}

int go(const struct pair *pair, uint32_t state)
{
	struct vfd_device *one = pair->one;
	int rc = vfd_migration_set(&one, 1, state, &pair->rig->err);

	return !rc && state == VFD_MIG_RESUMING ? feed(pair) : rc;
}

/* It is there, and counts as able to write unless it is stopped; and so it is. */
static bool believed(const struct pair *pair, uint32_t state, unsigned all)
{
	bool works = state == VFD_MIG_RUNNING || state == VFD_MIG_PRE_COPY;

	return state_of(pair, pair->one) == state && writers(pair) == all - is_stopped(state) &&
	       (!pair->works || pair->works() == works);
}

static bool arc(const struct pair *pair, uint32_t from, uint32_t to, unsigned all)
{
	struct vfd_device *one = pair->one;
	bool none = from == VFD_MIG_STOP_COPY && to >= VFD_MIG_PRE_COPY;

	if (cancel(pair, one, VFD_MIG_RESET) || go(pair, from) || !believed(pair, from, all))
		return false;
	int rc = vfd_migration_set(&one, 1, to, &pair->rig->err);
	return rc == (none ? VFD_ESTATE : 0) && believed(pair, none ? from : to, all);
}

void every_arc(const struct pair *pair, const char *what)
{
	unsigned all = writers(pair);

	for (uint32_t from = 1; from < STATES; from++) {
		char wrong[64] = "";
		for (uint32_t to = 1; to < STATES; to++)
			if (!arc(pair, from, to, all))
				snprintf(wrong, sizeof wrong, ", but not to %s (it is in %s)",
					 vfd_migration_state_name(to),
					 vfd_migration_state_name(state_of(pair, pair->one)));
		ok(!wrong[0], "%s: from %s to every state%s", what, vfd_migration_state_name(from), wrong);
	}
	ok_code(cancel(pair, pair->one, VFD_MIG_RESET), 0, &pair->rig->err, "%s: and back", what);
}
