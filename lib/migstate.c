/* SPDX-License-Identifier: MIT */
#include "migstate.h"

struct flags {
	struct uapi_feature head;
	struct uapi_migration body;
};

struct state {
	struct uapi_feature head;
	struct uapi_mig_state body;
};

struct data_size {
	struct uapi_feature head;
	struct uapi_mig_data_size body;
};

static int feature(const struct sys *sys, int fd, void *arg)
{
	int rc = sys->ioctl(sys, fd, VFIO_DEVICE_FEATURE, arg);

	return rc < 0 ? rc : 0;
}

/* Without STOP_COPY there is no state but RUNNING. */
uint64_t migstate_offered(const struct sys *sys, int fd)
{
	struct flags arg = { .head = { sizeof arg, UAPI_FEATURE_GET | UAPI_FEATURE_MIGRATION } };

	if (feature(sys, fd, &arg) || !(arg.body.flags & UAPI_MIGRATION_STOP_COPY))
		return 0;
	return arg.body.flags;
}

int migstate_get(const struct sys *sys, int fd, uint32_t *state)
{
	struct state arg = { .head = { sizeof arg, UAPI_FEATURE_GET | UAPI_FEATURE_MIG_STATE } };
	int rc = feature(sys, fd, &arg);

	*state = rc ? MIGSTATE_UNKNOWN : arg.body.state;
	return rc;
}

/* After an error the struct says what was asked for, and no descriptor was made. */
int migstate_set(const struct sys *sys, int fd, uint32_t state, int *stream)
{
	struct state arg = {
		.head = { sizeof arg, UAPI_FEATURE_SET | UAPI_FEATURE_MIG_STATE },
		.body = { state, -1 },
	};
	int rc = feature(sys, fd, &arg);

	*stream = rc ? -1 : arg.body.data_fd;
	return rc;
}

uint64_t migstate_data_size(const struct sys *sys, int fd)
{
	struct data_size arg = { .head = { sizeof arg, UAPI_FEATURE_GET | UAPI_FEATURE_MIG_DATA_SIZE } };

	return feature(sys, fd, &arg) ? UINT64_MAX : arg.body.stop_copy_length;
}

uint64_t migstate_needs(uint32_t state)
{
	switch (state) {
	case UAPI_MIG_STOP:
	case UAPI_MIG_RUNNING:
	case UAPI_MIG_STOP_COPY:
	case UAPI_MIG_RESUMING:
		return UAPI_MIGRATION_STOP_COPY;
	case UAPI_MIG_RUNNING_P2P:
		return UAPI_MIGRATION_STOP_COPY | UAPI_MIGRATION_P2P;
	case UAPI_MIG_PRE_COPY:
		return UAPI_MIGRATION_STOP_COPY | UAPI_MIGRATION_PRE_COPY;
	case UAPI_MIG_PRE_COPY_P2P:
		return UAPI_MIGRATION_STOP_COPY | UAPI_MIGRATION_P2P | UAPI_MIGRATION_PRE_COPY;
	default:
		return UINT64_MAX;
	}
}

const char *migstate_name(uint32_t state)
{
	static const char *const names[] = { "ERROR",	 "STOP",	"RUNNING",  "STOP_COPY",
					     "RESUMING", "RUNNING_P2P", "PRE_COPY", "PRE_COPY_P2P" };

	return state < sizeof names / sizeof names[0] ? names[state] : "a state that nobody knows";
}
