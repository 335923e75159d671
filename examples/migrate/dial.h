/* SPDX-License-Identifier: MIT */
#ifndef MIGRATE_DIAL_H
#define MIGRATE_DIAL_H

#include "migrate.h"

#include <netdb.h>
#include <sys/socket.h>

/* Waiting for a connection, until it is cancelled. 0, MIG_FAILED or MIG_CANCELLED, with a message. */

/* A socket that is connected, and nonblocking, in *fd. name: what the message calls it. */
int dial(const struct sockaddr *address, socklen_t size, const char *name, const struct mig_control *control,
	 int *fd, struct mig_error *err);

/* As getaddrinfo() finds it, for a stream; host may be NULL. */
int dial_lookup(const char *host, const char *service, int flags, const struct mig_control *control,
		struct addrinfo **found, struct mig_error *err);

#endif
