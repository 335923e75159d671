/* SPDX-License-Identifier: MIT */

/* From a URI to descriptors. */

#include "migrate.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static const char *after(const char *uri, const char *scheme)
{
	size_t length = strlen(scheme);

	return strncmp(uri, scheme, length) ? NULL : uri + length;
}

static int failed(struct mig_error *err, const char *uri)
{
	return mig_fail(err, "%s: %s", uri, strerror(errno));
}

/* A large buffer saves switches between the two; a dead host shows itself after minutes at most. */
static void tune(int fd)
{
	int yes = 1, buffer = 4 << 20;

	setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &buffer, sizeof buffer);
	setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &yes, sizeof yes);
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
}

/* ---- unix: ---------------------------------------------------------------------------------------------------------- */

static int unix_address(const char *path, struct sockaddr_un *address, struct mig_error *err)
{
	*address = (struct sockaddr_un){ .sun_family = AF_UNIX };
	if (!*path || strlen(path) >= sizeof address->sun_path)
		return mig_fail(err, "unix:%s: a path of 1 to %zu bytes is needed", path,
				sizeof address->sun_path - 1);
	strcpy(address->sun_path, path);
	return 0;
}

static int unix_connect(const char *path, const char *uri, struct mig_error *err)
{
	struct sockaddr_un address;

	if (unix_address(path, &address, err))
		return -1;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd >= 0 && !connect(fd, (struct sockaddr *)&address, sizeof address))
		return fd;
	failed(err, uri);
	if (fd >= 0)
		close(fd);
	return -1;
}

static int unix_listen(const char *path, struct mig_listener *listener, struct mig_error *err)
{
	struct sockaddr_un address;

	if (unix_address(path, &address, err))
		return MIG_FAILED;
	listener->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (listener->fd < 0 || bind(listener->fd, (struct sockaddr *)&address, sizeof address) ||
	    listen(listener->fd, MIG_CHANNELS))
		return failed(err, path);
	strcpy(listener->path, path);
	return 0;
}

/* ---- tcp: ----------------------------------------------------------------------------------------------------------- */

/* HOST:PORT, [HOST]:PORT, or :PORT for any address. */
static struct addrinfo *tcp_lookup(const char *where, int flags, struct mig_error *err)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = flags }, *found = NULL;
	const char *colon = strrchr(where, ':');
	char host[256] = "";

	if (!colon || !colon[1] || (size_t)(colon - where) >= sizeof host) {
		mig_fail(err, "tcp:%s: HOST:PORT is needed", where);
		return NULL;
	}
	memcpy(host, where, (size_t)(colon - where));
	size_t length = strlen(host);
	if (length > 1 && host[0] == '[' && host[length - 1] == ']') {
		memmove(host, host + 1, length - 2);
		host[length - 2] = 0;
	}
	int rc = getaddrinfo(*host ? host : NULL, colon + 1, &hints, &found);
	if (rc)
		mig_fail(err, "tcp:%s: %s", where, gai_strerror(rc));
	return rc ? NULL : found;
}

static int tcp_connect(const char *where, struct mig_error *err)
{
	struct addrinfo *list = tcp_lookup(where, 0, err);
	int fd = -1;

	for (struct addrinfo *a = list; a && fd < 0; a = a->ai_next) {
		fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
		if (fd < 0 || !connect(fd, a->ai_addr, a->ai_addrlen))
			continue;
		failed(err, where);
		close(fd);
		fd = -1;
	}
	if (list)
		freeaddrinfo(list);
	return fd;
}

static int tcp_listen(const char *where, struct mig_listener *listener, struct mig_error *err)
{
	struct addrinfo *list = tcp_lookup(where, AI_PASSIVE, err);
	int yes = 1, rc = 0;

	if (!list)
		return MIG_FAILED;
	listener->fd = socket(list->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (listener->fd >= 0)
		setsockopt(listener->fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
	if (listener->fd < 0 || bind(listener->fd, list->ai_addr, list->ai_addrlen) ||
	    listen(listener->fd, MIG_CHANNELS))
		rc = failed(err, where);
	freeaddrinfo(list);
	return rc;
}

/* ---- what is open already, and another program ------------------------------------------------------------------------ */

/* "N" or "IN,OUT". */
static int fd_link(const char *numbers, struct mig_link *link, struct mig_error *err)
{
	char *end;
	long in = strtol(numbers, &end, 10), out = in;
	bool good = end > numbers && in >= 0;

	if (good && *end == ',') {
		const char *second = end + 1;
		out = strtol(second, &end, 10);
		good = end > second && out >= 0;
	}
	if (!good || *end || in > INT32_MAX || out > INT32_MAX)
		return mig_fail(err, "fd:%s: N or IN,OUT is needed", numbers);
	*link = (struct mig_link){ (int)in, (int)out };
	return 0;
}

static int exec_connect(const char *command, struct mig_error *err)
{
	int ends[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends)) {
		failed(err, command);
		return -1;
	}
	pid_t pid = fork();
	if (!pid) {
		dup2(ends[1], 0);
		dup2(ends[1], 1);
		execl("/bin/sh", "sh", "-c", command, (char *)NULL);
		_exit(127);
	}
	close(ends[1]);
	if (pid > 0)
		return ends[0];
	failed(err, command);
	close(ends[0]);
	return -1;
}

/* ---- both sides ----------------------------------------------------------------------------------------------------- */

static int open_link(const char *uri, struct mig_link *link, struct mig_error *err)
{
	const char *rest;
	int fd;

	if ((rest = after(uri, "fd:")))
		return fd_link(rest, link, err);
	if (!strcmp(uri, "stdio:"))
		return *link = (struct mig_link){ 0, 1 }, 0;
	if ((rest = after(uri, "unix:")))
		fd = unix_connect(rest, uri, err);
	else if ((rest = after(uri, "tcp:")))
		fd = tcp_connect(rest, err);
	else if ((rest = after(uri, "exec:")))
		fd = exec_connect(rest, err);
	else
		return mig_fail(err, "%s: tcp:, unix:, fd:, stdio: or exec: is needed", uri);
	if (fd < 0)
		return MIG_FAILED;
	tune(fd);
	*link = (struct mig_link){ fd, fd };
	return 0;
}

int mig_connect(const char *uri, struct mig_link *links, unsigned channels, struct mig_error *err)
{
	if (channels > 1 && !after(uri, "unix:") && !after(uri, "tcp:"))
		return mig_fail(err, "%s: there is only one channel; several need tcp: or unix:", uri);
	for (unsigned i = 0; i < channels; i++) {
		if (!open_link(uri, &links[i], err))
			continue;
		while (i)
			mig_close(&links[--i]);
		return MIG_FAILED;
	}
	return 0;
}

int mig_listen(const char *uri, struct mig_listener *listener, struct mig_error *err)
{
	const char *rest;
	int rc;

	*listener = (struct mig_listener){ .fd = -1, .link = { -1, -1 } };
	if ((rest = after(uri, "unix:")))
		rc = unix_listen(rest, listener, err);
	else if ((rest = after(uri, "tcp:")))
		rc = tcp_listen(rest, listener, err);
	else if (after(uri, "exec:"))
		rc = mig_fail(err, "%s: exec: is for the source", uri);
	else
		rc = open_link(uri, &listener->link, err);
	if (rc)
		mig_unlisten(listener);
	return rc;
}

int mig_accept(struct mig_listener *listener, struct mig_link *link, struct mig_error *err)
{
	if (listener->fd < 0) {
		*link = listener->link;
		listener->link = (struct mig_link){ -1, -1 };
		return link->in < 0 ? mig_fail(err, "there is no second connection") : 0;
	}
	int fd;
	do
		fd = accept4(listener->fd, NULL, NULL, SOCK_CLOEXEC);
	while (fd < 0 && errno == EINTR);
	if (fd < 0)
		return failed(err, "accept");
	tune(fd);
	*link = (struct mig_link){ fd, fd };
	return 0;
}

void mig_unlisten(struct mig_listener *listener)
{
	mig_close(&listener->link);
	if (listener->fd >= 0)
		close(listener->fd);
	if (*listener->path)
		unlink(listener->path);
	*listener = (struct mig_listener){ .fd = -1, .link = { -1, -1 } };
}

void mig_close(struct mig_link *link)
{
	if (link->out >= 0 && link->out != link->in)
		close(link->out);
	if (link->in >= 0)
		close(link->in);
	*link = (struct mig_link){ -1, -1 };
}
