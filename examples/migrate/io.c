/* SPDX-License-Identifier: MIT */

/* Reading and writing descriptors, never for ever: a wait ends when the other side is silent for too long, or when it is told to. */

#include "io.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { SLICE_MS = 100 }; /* how often a wait looks whether it should end */

uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

int io_stopped(const struct io *io, struct mig_error *err)
{
	if (io->stop[0] && atomic_load(io->stop[0])) {
		mig_fail(err, "cancelled");
		return MIG_CANCELLED;
	}
	if (io->stop[1] && atomic_load(io->stop[1]))
		return mig_fail(err, "another channel failed");
	return 0;
}

static int wait_for(struct io *io, int fd, short events, struct mig_error *err)
{
	uint64_t begin = now_ns();
	struct pollfd p = { .fd = fd, .events = events };
	int rc = 0, stopped;

	while ((rc = poll(&p, 1, SLICE_MS)) <= 0) {
		if (rc < 0 && errno != EINTR)
			return mig_fail(err, "poll: %s", strerror(errno));
		if ((stopped = io_stopped(io, err)))
			return stopped;
		if (io->stall_ms && now_ns() - begin > io->stall_ms * 1000000)
			return mig_fail(err, "the other side %s for %llu ms",
					events & POLLIN ? "was silent" : "took nothing",
					(unsigned long long)io->stall_ms);
	}
	return 0;
}

/* What is left after `done` bytes. */
static void advance(struct iovec **pieces, size_t *count, size_t done)
{
	while (*count && done >= (*pieces)->iov_len) {
		done -= (*pieces)->iov_len;
		++*pieces;
		--*count;
	}
	if (!*count)
		return;
	(*pieces)->iov_base = (char *)(*pieces)->iov_base + done;
	(*pieces)->iov_len -= done;
}

static bool again(ssize_t n)
{
	return n < 0 && (errno == EAGAIN || errno == EINTR);
}

/* The kernel takes at most 1024 pieces (IOV_MAX). */
static int some(size_t count)
{
	return (int)(count < 1024 ? count : 1024);
}

static int closed(struct mig_error *err)
{
	return mig_fail(err, "the other side has closed the connection");
}

static int read_pieces(struct io *io, struct iovec *pieces, size_t count, struct mig_error *err)
{
	int stopped = io_stopped(io, err);

	if (stopped)
		return stopped;
	advance(&pieces, &count, 0);
	while (count) {
		ssize_t n = readv(io->link.in, pieces, some(count));
		if (again(n)) {
			int rc = wait_for(io, io->link.in, POLLIN, err);
			if (rc)
				return rc;
			continue;
		}
		if (!n)
			return closed(err);
		if (n < 0)
			return mig_fail(err, "reading from the other side: %s", strerror(errno));
		advance(&pieces, &count, (size_t)n);
	}
	return 0;
}

/* A socket whose other end is gone is no reason for a signal. */
static ssize_t write_some(const struct io *io, struct iovec *pieces, size_t count)
{
	struct msghdr m = { .msg_iov = pieces, .msg_iovlen = (size_t)some(count) };
	ssize_t n = sendmsg(io->link.out, &m, MSG_NOSIGNAL | MSG_DONTWAIT);

	if (n < 0 && errno == ENOTSOCK)
		return writev(io->link.out, pieces, some(count));
	return n;
}

static int write_pieces(struct io *io, struct iovec *pieces, size_t count, struct mig_error *err)
{
	advance(&pieces, &count, 0);
	while (count) {
		ssize_t n = write_some(io, pieces, count);
		if (again(n)) {
			int rc = wait_for(io, io->link.out, POLLOUT, err);
			if (rc)
				return rc;
			continue;
		}
		if (n < 0)
			return mig_fail(err, "writing to the other side: %s", strerror(errno));
		atomic_fetch_add(&io->written, (unsigned long long)n);
		advance(&pieces, &count, (size_t)n);
	}
	return 0;
}

static bool readable(struct io *io)
{
	struct pollfd p = { .fd = io->link.in, .events = POLLIN };

	return poll(&p, 1, 0) > 0;
}

int io_hung_up(const struct io *io, struct mig_error *err)
{
	struct pollfd p = { .fd = io->link.in, .events = POLLRDHUP };

	if (poll(&p, 1, 0) > 0 && p.revents & (POLLRDHUP | POLLHUP | POLLERR))
		return closed(err);
	return 0;
}

static void make_nonblocking(int fd)
{
	int flags = fcntl(fd, F_GETFL);

	if (flags >= 0)
		fcntl(fd, F_SETFL, flags | O_NONBLOCK);
}

void io_open(struct io *io, const struct mig_link *link, uint64_t stall_ms)
{
	*io = (struct io){ .read = read_pieces,
			   .write = write_pieces,
			   .readable = readable,
			   .link = *link,
			   .stall_ms = stall_ms };
	make_nonblocking(link->in);
	make_nonblocking(link->out);
}

void io_linger(struct io *io, unsigned ms)
{
	char waste[1 << 14];
	struct pollfd p = { .fd = io->link.in, .events = POLLIN };
	uint64_t begin = now_ns();

	shutdown(io->link.out, SHUT_WR);
	while (ms_since(begin) < ms && poll(&p, 1, SLICE_MS) >= 0)
		if (p.revents && read(io->link.in, waste, sizeof waste) <= 0)
			return;
}
