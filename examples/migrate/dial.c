/* SPDX-License-Identifier: MIT */

/* Connecting. The kernel would wait about two minutes for a TCP host that does not answer, and for ever for a listener of a UNIX socket
 * whose queue is full. */

#include "dial.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

enum { SLICE_MS = 100, RETRY_MS = 10 };

/* To connect again tells how the first time went. A full queue (EAGAIN) cannot be polled for. */
static int wait_until_connected(int fd, const struct sockaddr *address, socklen_t size,
				const struct mig_control *control, struct mig_error *err)
{
	struct pollfd p = { .fd = fd, .events = POLLOUT };
	int cancelled;

	while (!(cancelled = mig_cancelled(control, err)) && connect(fd, address, size) && errno != EISCONN) {
		if (errno == EAGAIN)
			poll(NULL, 0, RETRY_MS);
		else if (errno == EINPROGRESS || errno == EALREADY || errno == EINTR)
			poll(&p, 1, SLICE_MS);
		else
			return MIG_FAILED;
	}
	return cancelled;
}

int dial(const struct sockaddr *address, socklen_t size, const char *name, const struct mig_control *control,
	 int *fd, struct mig_error *err)
{
	int rc = MIG_FAILED, s = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (s >= 0)
		rc = wait_until_connected(s, address, size, control, err);
	if (rc == MIG_FAILED)
		mig_fail(err, "%s: %s", name, strerror(errno));
	if (rc && s >= 0)
		close(s);
	else
		*fd = s;
	return rc;
}
