/* SPDX-License-Identifier: MIT */

/* From a URI to descriptors. */

#include "dial.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
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

static int unix_connect(const char *path, const char *uri, const struct mig_control *control, int *fd,
			struct mig_error *err)
{
	struct sockaddr_un address;

	if (unix_address(path, &address, err))
		return MIG_FAILED;
	return dial((struct sockaddr *)&address, sizeof address, uri, control, fd, err);
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
static int tcp_lookup(const char *where, int flags, const struct mig_control *control, struct addrinfo **list,
		      struct mig_error *err)
{
	const char *colon = strrchr(where, ':');
	char host[256] = "";

	if (!colon || !colon[1] || (size_t)(colon - where) >= sizeof host)
		return mig_fail(err, "tcp:%s: HOST:PORT is needed", where);
	memcpy(host, where, (size_t)(colon - where));
	size_t length = strlen(host);
	if (length > 1 && host[0] == '[' && host[length - 1] == ']') {
		memmove(host, host + 1, length - 2);
		host[length - 2] = 0;
	}
	return dial_lookup(*host ? host : NULL, colon + 1, flags, control, list, err);
}

static int tcp_connect(const char *where, const struct mig_control *control, int *fd, struct mig_error *err)
{
	struct addrinfo *list;
	int rc = tcp_lookup(where, 0, control, &list, err);

	if (rc)
		return rc;
	rc = MIG_FAILED;
	for (struct addrinfo *a = list; a && rc == MIG_FAILED; a = a->ai_next)
		rc = dial(a->ai_addr, a->ai_addrlen, where, control, fd, err);
	freeaddrinfo(list);
	return rc;
}

static int tcp_listen(const char *where, struct mig_listener *listener, struct mig_error *err)
{
	struct addrinfo *list;
	int yes = 1, rc = tcp_lookup(where, AI_PASSIVE, NULL, &list, err);

	if (rc)
		return rc;
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

_Noreturn static void run_command(const char *command, int end)
{
	dup2(end, 0);
	dup2(end, 1);
	execl("/bin/sh", "sh", "-c", command, (char *)NULL);
	_exit(127);
}

/* As a child's child, which init waits for: nobody here knows when it ends. */
static int start_command(const char *command, int end, struct mig_error *err)
{
	int status = 0;
	pid_t pid = fork();

	if (!pid) {
		if (!(pid = fork()))
			run_command(command, end);
		_exit(pid < 0 ? errno : 0);
	}
	if (pid < 0)
		return failed(err, command);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (!WIFEXITED(status) || !WEXITSTATUS(status))
		return 0;
	errno = WEXITSTATUS(status);
	return failed(err, command);
}

static int exec_connect(const char *command, int *fd, struct mig_error *err)
{
	int ends[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends))
		return failed(err, command);
	int rc = start_command(command, ends[1], err);
	close(ends[1]);
	if (rc)
		close(ends[0]);
	else
		*fd = ends[0];
	return rc;
}

/* ---- both sides ----------------------------------------------------------------------------------------------------- */

static int open_socket(const char *uri, const struct mig_control *control, int *fd, struct mig_error *err)
{
	const char *rest;

	if ((rest = after(uri, "unix:")))
		return unix_connect(rest, uri, control, fd, err);
	if ((rest = after(uri, "tcp:")))
		return tcp_connect(rest, control, fd, err);
	if ((rest = after(uri, "exec:")))
		return exec_connect(rest, fd, err);
	return mig_fail(err, "%s: tcp:, unix:, fd:, stdio: or exec: is needed", uri);
}

static int open_link(const char *uri, const struct mig_control *control, struct mig_link *link,
		     struct mig_error *err)
{
	const char *rest;
	int fd, rc = mig_cancelled(control, err);

	if (rc)
		return rc;
	if ((rest = after(uri, "fd:")))
		return fd_link(rest, link, err);
	if (!strcmp(uri, "stdio:"))
		return *link = (struct mig_link){ 0, 1 }, 0;
	if ((rc = open_socket(uri, control, &fd, err)))
		return rc;
	tune(fd);
	*link = (struct mig_link){ fd, fd };
	return 0;
}

int mig_connect_control(const char *uri, struct mig_link *links, unsigned channels,
			struct mig_control *control, struct mig_error *err)
{
	int rc = 0;

	if (channels > 1 && !after(uri, "unix:") && !after(uri, "tcp:"))
		return mig_fail(err, "%s: there is only one channel; several need tcp: or unix:", uri);
	for (unsigned i = 0; i < channels; i++)
		links[i] = (struct mig_link){ -1, -1 };
	for (unsigned i = 0; i < channels && !rc; i++)
		rc = open_link(uri, control, &links[i], err);
	for (unsigned i = 0; i < channels && rc; i++)
		mig_close(&links[i]);
	return rc;
}

int mig_connect(const char *uri, struct mig_link *links, unsigned channels, struct mig_error *err)
{
	return mig_connect_control(uri, links, channels, NULL, err);
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
		rc = open_link(uri, NULL, &listener->link, err);
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
