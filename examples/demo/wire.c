/* SPDX-License-Identifier: MIT */

/* A stream of messages: what, how many chunks, the chunks, their bytes. Large messages: each switch between the processes costs. */

#include "demo.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PAGES, ASK_ARRIVED, ASK_HASHES };

struct message {
	uint32_t what, count;
};

static pid_t receiver;

/* What is left of an array of pieces after `done` bytes. */
static void advance(struct msghdr *m, size_t done)
{
	while (m->msg_iovlen && done >= m->msg_iov->iov_len) {
		done -= m->msg_iov->iov_len;
		m->msg_iov++;
		m->msg_iovlen--;
	}
	if (!m->msg_iovlen)
		return;
	m->msg_iov->iov_base = (char *)m->msg_iov->iov_base + done;
	m->msg_iov->iov_len -= done;
}

static void send_pieces(int fd, struct iovec *pieces, size_t count)
{
	struct msghdr m = { .msg_iov = pieces, .msg_iovlen = count };

	while (m.msg_iovlen) {
		ssize_t n = sendmsg(fd, &m, MSG_NOSIGNAL);
		if (n < 0 && errno != EINTR)
			die_errno("send to the other process");
		advance(&m, n > 0 ? (size_t)n : 0);
	}
}

/* False at the end of the stream. */
static bool receive_pieces(int fd, struct iovec *pieces, size_t count)
{
	struct msghdr m = { .msg_iov = pieces, .msg_iovlen = count };

	while (m.msg_iovlen) {
		ssize_t n = recvmsg(fd, &m, MSG_WAITALL);
		if (n < 0 && errno != EINTR)
			die_errno("receive from the other process");
		if (!n)
			return false;
		advance(&m, n > 0 ? (size_t)n : 0);
	}
	return true;
}

static void send_all(int fd, const void *data, size_t size)
{
	send_pieces(fd, &(struct iovec){ (void *)data, size }, 1);
}

static bool receive_all(int fd, void *data, size_t size)
{
	return receive_pieces(fd, &(struct iovec){ data, size }, 1);
}

/* FNV-1a by words with a final mix: each step is a bijection of the state, so one changed word always changes the hash. */
uint64_t page_hash(const uint8_t *page)
{
	uint64_t hash = 0xcbf29ce484222325ull, word;

	for (size_t i = 0; i < PAGE; i += sizeof word) {
		memcpy(&word, page + i, sizeof word);
		hash = (hash ^ word) * 0x9e3779b97f4a7c15ull;
		hash ^= hash >> 32;
	}
	return hash;
}

static void send_hashes(int fd, const uint8_t *memory, uint64_t size)
{
	uint64_t pages = size / PAGE;
	uint64_t *hashes = calloc(pages, sizeof *hashes);

	if (!hashes)
		die_errno("calloc");
	for (uint64_t i = 0; i < pages; i++)
		hashes[i] = page_hash(memory + i * PAGE);
	send_all(fd, hashes, pages * sizeof *hashes);
	free(hashes);
}

static void receive_pages(int fd, uint8_t *memory, uint64_t size, uint32_t count)
{
	struct chunk chunks[WIRE_CHUNKS];
	struct iovec pieces[WIRE_CHUNKS];

	if (count > WIRE_CHUNKS || !receive_all(fd, chunks, count * sizeof *chunks))
		die("the receiver was sent half a message");
	for (uint32_t i = 0; i < count; i++) {
		if (chunks[i].offset > size || chunks[i].size > size - chunks[i].offset)
			die("the receiver was sent pages that it has not");
		pieces[i] = (struct iovec){ memory + chunks[i].offset, chunks[i].size };
	}
	if (!receive_pieces(fd, pieces, count))
		die("the sender died");
}

static void receive(int fd, uint8_t *memory, uint64_t size)
{
	struct message m;

	while (receive_all(fd, &m, sizeof m)) {
		if (m.what == PAGES)
			receive_pages(fd, memory, size, m.count);
		else if (m.what == ASK_HASHES)
			send_hashes(fd, memory, size);
		else
			send_all(fd, &m, sizeof m);
	}
}

static _Noreturn void receiver_main(int fd, uint64_t size)
{
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (memory == MAP_FAILED)
		die_errno("memory of the receiver");
	receive(fd, memory, size);
	_exit(0);
}

int receiver_start(uint64_t size)
{
	int ends[2], buffer = 1 << 20;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends))
		die_errno("socketpair");
	setsockopt(ends[0], SOL_SOCKET, SO_SNDBUFFORCE, &buffer, sizeof buffer); /* faster if allowed */
	receiver = fork();
	if (receiver < 0)
		die_errno("fork");
	if (!receiver) {
		close(ends[0]);
		receiver_main(ends[1], size);
	}
	close(ends[1]);
	return ends[0];
}

void receiver_end(int fd)
{
	int status = 0;

	close(fd);
	if (waitpid(receiver, &status, 0) != receiver || status)
		die("the receiver failed");
}

void wire_send(int fd, uint8_t *memory, const struct chunk *chunks, size_t count)
{
	struct message m = { PAGES, (uint32_t)count };
	struct iovec pieces[2 + WIRE_CHUNKS] = {
		{ &m, sizeof m },
		{ (void *)chunks, count * sizeof *chunks },
	};

	for (size_t i = 0; i < count; i++)
		pieces[2 + i] = (struct iovec){ memory + chunks[i].offset, chunks[i].size };
	send_pieces(fd, pieces, 2 + count);
}

static void ask(int fd, uint32_t what, void *answer, size_t size)
{
	struct message m = { .what = what };

	send_all(fd, &m, sizeof m);
	if (!receive_all(fd, answer, size))
		die("the receiver died");
}

void wire_flush(int fd)
{
	struct message answer;

	ask(fd, ASK_ARRIVED, &answer, sizeof answer);
}

void wire_hashes(int fd, uint64_t *hashes, uint64_t pages)
{
	ask(fd, ASK_HASHES, hashes, pages * sizeof *hashes);
}
