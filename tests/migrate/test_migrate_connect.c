/* SPDX-License-Identifier: MIT */

/* A source that waits for its connections, and is told to stop. */

#include "migrate.h"

#include <arpa/inet.h>
#include <check.h>
#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../suite.h"

enum { CHANNELS = 4, LATER_MS = 200, SOON_MS = 10000 };

/* ---- a resolver that does not answer ---------------------------------------------------------------------------------- */

/* In the place of libc's: a name is found when somebody shouts. */
static struct {
	pthread_mutex_t mutex;
	pthread_cond_t cond;
	bool answers;
	int asked, answered, freed;
} resolver = { .mutex = PTHREAD_MUTEX_INITIALIZER, .cond = PTHREAD_COND_INITIALIZER };

static struct sockaddr_in nowhere = { .sin_family = AF_INET };
static struct addrinfo found = { .ai_family = AF_INET,
				 .ai_socktype = SOCK_STREAM,
				 .ai_addr = (struct sockaddr *)&nowhere,
				 .ai_addrlen = sizeof nowhere };

int getaddrinfo(const char *restrict node, const char *restrict service,
		const struct addrinfo *restrict hints, struct addrinfo **restrict result)
{
	(void)hints;
	nowhere.sin_port = htons((uint16_t)atoi(service));
	if (inet_pton(AF_INET, node, &nowhere.sin_addr) != 1) {
		pthread_mutex_lock(&resolver.mutex);
		resolver.asked++;
		while (!resolver.answers)
			pthread_cond_wait(&resolver.cond, &resolver.mutex);
		resolver.answered++;
		pthread_cond_broadcast(&resolver.cond);
		pthread_mutex_unlock(&resolver.mutex);
	}
	*result = &found;
	return 0;
}

void freeaddrinfo(struct addrinfo *list)
{
	ck_assert_ptr_eq(list, &found);
	pthread_mutex_lock(&resolver.mutex);
	resolver.freed++;
	pthread_cond_broadcast(&resolver.cond);
	pthread_mutex_unlock(&resolver.mutex);
}

/* ---- cancelling ----------------------------------------------------------------------------------------------------- */

static struct mig_control control;

static void *cancel_later(void *unused)
{
	(void)unused;
	poll(NULL, 0, LATER_MS);
	mig_cancel(&control);
	return NULL;
}

static double now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

/* More connections than there is room for; the destination accepts none. */
static void connect_in_vain(const char *uri)
{
	struct mig_link links[CHANNELS];
	struct mig_error err = { "" };
	double begin = now_ms();
	pthread_t thread;

	ck_assert_int_eq(pthread_create(&thread, NULL, cancel_later, NULL), 0);
	int rc = mig_connect_control(uri, links, CHANNELS, &control, &err);
	double took = now_ms() - begin;
	pthread_join(thread, NULL);
	ck_assert_msg(rc == MIG_CANCELLED, "%s: %d, %s", uri, rc, err.message);
	ck_assert_str_eq(err.message, "cancelled");
	ck_assert(took >= LATER_MS - 50 && took < SOON_MS);
	for (int i = 0; i < CHANNELS; i++)
		ck_assert_int_eq(links[i].in, -1);
}

/* Whose queue holds one. */
static int listen_narrowly(const struct sockaddr *address, socklen_t size)
{
	int fd = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

	ck_assert_int_eq(bind(fd, address, size), 0);
	ck_assert_int_eq(listen(fd, 0), 0);
	return fd;
}

START_TEST(tcp_that_does_not_answer)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
	socklen_t size = sizeof address;
	char uri[64];

	int fd = listen_narrowly((struct sockaddr *)&address, sizeof address);
	ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&address, &size), 0);
	snprintf(uri, sizeof uri, "tcp:127.0.0.1:%d", ntohs(address.sin_port));
	connect_in_vain(uri);
	close(fd);
}
END_TEST

START_TEST(unix_that_does_not_accept)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	char uri[sizeof address.sun_path + 8];

	snprintf(address.sun_path, sizeof address.sun_path, "/tmp/migrate-connect-%d", (int)getpid());
	unlink(address.sun_path);
	int fd = listen_narrowly((struct sockaddr *)&address, sizeof address);
	snprintf(uri, sizeof uri, "unix:%s", address.sun_path);
	connect_in_vain(uri);
	close(fd);
	unlink(address.sun_path);
}
END_TEST

/* Nothing can end the question: whoever asked it cleans up behind it, when the answer comes after all. */
START_TEST(name_that_is_not_found)
{
	connect_in_vain("tcp:somewhere:1");
	pthread_mutex_lock(&resolver.mutex);
	ck_assert_int_eq(resolver.asked, 1);
	ck_assert_int_eq(resolver.answered, 0);
	resolver.answers = true;
	pthread_cond_broadcast(&resolver.cond);
	while (!resolver.freed)
		pthread_cond_wait(&resolver.cond, &resolver.mutex);
	ck_assert_int_eq(resolver.answered, 1);
	pthread_mutex_unlock(&resolver.mutex);
}
END_TEST

static const char *const uris[] = { "tcp:127.0.0.1:1", "tcp:somewhere:1", "unix:/no/such/socket", "stdio:" };

/* Nothing is begun. */
START_TEST(cancelled_before)
{
	struct mig_link link;
	struct mig_error err = { "" };

	mig_cancel(&control);
	ck_assert_int_eq(mig_connect_control(uris[_i], &link, 1, &control, &err), MIG_CANCELLED);
	ck_assert_int_eq(resolver.asked, 0);
}
END_TEST

/* The addresses of a name are tried, and what the last of them says is told. */
START_TEST(found_and_refused)
{
	struct mig_link link;
	struct mig_error err = { "" };

	resolver.answers = true;
	ck_assert_int_eq(inet_pton(AF_INET, "127.0.0.1", &nowhere.sin_addr), 1);
	ck_assert_int_eq(mig_connect_control("tcp:somewhere:1", &link, 1, &control, &err), MIG_FAILED);
	ck_assert_str_eq(err.message, "somewhere:1: Connection refused");
	ck_assert_int_eq(resolver.freed, 1);
}
END_TEST

/* The destination comes to it late. */
static void *accept_late(void *opaque)
{
	struct mig_listener *listener = opaque;
	struct mig_error err;
	struct mig_link link;

	for (int i = 0; i < CHANNELS; i++) {
		poll(NULL, 0, LATER_MS);
		ck_assert_int_eq(mig_accept(listener, &link, &err), 0);
		mig_close(&link);
	}
	return NULL;
}

START_TEST(unix_that_accepts_late)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	char uri[sizeof address.sun_path + 8];
	struct mig_link links[CHANNELS];
	struct mig_error err = { "" };
	pthread_t thread;

	snprintf(address.sun_path, sizeof address.sun_path, "/tmp/migrate-connect-%d", (int)getpid());
	unlink(address.sun_path);
	struct mig_listener listener = { .fd = listen_narrowly((struct sockaddr *)&address, sizeof address),
					 .link = { -1, -1 } };
	snprintf(uri, sizeof uri, "unix:%s", address.sun_path);
	ck_assert_int_eq(pthread_create(&thread, NULL, accept_late, &listener), 0);
	ck_assert_msg(!mig_connect_control(uri, links, CHANNELS, &control, &err), "%s", err.message);
	pthread_join(thread, NULL);
	for (int i = 0; i < CHANNELS; i++)
		mig_close(&links[i]);
	mig_unlisten(&listener);
	unlink(address.sun_path);
}
END_TEST

/* ---- another program -------------------------------------------------------------------------------------------------- */

/* It ends when it likes, and leaves nothing behind that this one would have to wait for: children are its user's affair. */
START_TEST(command_leaves_no_child)
{
	struct mig_link link;
	struct mig_error err = { "" };
	char byte;

	ck_assert_int_eq(mig_connect_control("exec:printf x", &link, 1, &control, &err), 0);
	ck_assert_int_eq(read(link.in, &byte, 1), 1);
	ck_assert_int_eq(byte, 'x');
	ck_assert_int_eq(read(link.in, &byte, 1), 0);
	mig_close(&link);
	ck_assert_int_eq(waitpid(-1, NULL, WNOHANG), -1);
	ck_assert_int_eq(errno, ECHILD);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("migrate_connect");
	TCase *tcase = tcase_create("connect");

	tcase_set_timeout(tcase, 30);
	tcase_add_test(tcase, tcp_that_does_not_answer);
	tcase_add_test(tcase, unix_that_does_not_accept);
	tcase_add_test(tcase, name_that_is_not_found);
	tcase_add_loop_test(tcase, cancelled_before, 0, (int)(sizeof uris / sizeof *uris));
	tcase_add_test(tcase, found_and_refused);
	tcase_add_test(tcase, unix_that_accepts_late);
	tcase_add_test(tcase, command_leaves_no_child);
	suite_add_tcase(suite, tcase);
	return run_all(suite);
}
