/* SPDX-License-Identifier: MIT */

/* The control socket, and who asks there. */

#include "vmm.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <check.h>

#include "../suite.h"

#undef fail /* Check has one, too */

enum { MOST = 1023, ANSWER_MS = 20000 };

static struct vm vm;
static char directory[] = "/tmp/vmm-control-XXXXXX", path[64];
static int listener;
static pthread_t server;
static bool moves;			     /* a migration is good */
static atomic_int first;		     /* of those that were let in; 0: none yet */
static atomic_int pauses, refusal, refusals; /* of accept(): which, how often */

/* ---- the system ---- */

int __real_accept4(int fd, struct sockaddr *address, socklen_t *size, int flags);
int __wrap_accept4(int fd, struct sockaddr *address, socklen_t *size, int flags);

int __wrap_accept4(int fd, struct sockaddr *address, socklen_t *size, int flags)
{
	if (atomic_load(&refusals) <= 0) {
		int client = __real_accept4(fd, address, size, flags), none = 0;
		atomic_compare_exchange_strong(&first, &none, client);
		return client;
	}
	atomic_fetch_sub(&refusals, 1);
	errno = atomic_load(&refusal);
	return -1;
}

/* ---- the other parts ---- */

int fail(struct vfd_error *err, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(err->message, sizeof err->message, format, args);
	va_end(args);
	return -1;
}

void die(const char *format, ...)
{
	fprintf(stderr, "the guest would have died: %s\n", format);
	_exit(1);
}

int check(int rc, const char *what)
{
	if (rc < 0)
		die("%s", what);
	return rc;
}

void vm_end(struct vm *v, int code)
{
	uint64_t one = 1;

	v->code = code;
	v->ending = true;
	check((int)write(v->ended, &one, sizeof one), "eventfd");
}

void vcpus_pause(struct vm *v)
{
	(void)v;
	atomic_fetch_add(&pauses, 1);
}

bool serial_input(struct serial *s, uint8_t byte)
{
	(void)s, (void)byte;
	return true;
}

int dirty_rate(struct vm *v, char *text, size_t size, struct vfd_error *err)
{
	(void)v, (void)text, (void)size;
	return fail(err, "not here");
}

int device_plug(struct vm *v, const char *name, struct vfd_error *err)
{
	(void)v, (void)name, (void)err;
	return 0;
}

int device_unplug(struct vm *v, struct vfd_error *err)
{
	(void)v;
	return fail(err, "not here");
}

int agent_ask(struct vm *v, const char *command, const char *want, unsigned seconds, struct vfd_error *err)
{
	(void)v, (void)command, (void)want, (void)seconds;
	return fail(err, "the agent is silent");
}

int migrate_away(struct vm *v, const char *uri, const struct migrate_options *options, char *text,
		 size_t size, struct vfd_error *err)
{
	(void)uri, (void)options;
	if (!moves)
		return fail(err, "not here");
	while (send(atomic_load(&first), "x", 1, MSG_DONTWAIT) == 1) /* whoever asks is slow to read */
		;
	v->leaving = true;
	snprintf(text, size, "moved");
	return 0;
}

int migrate_resume(struct vm *v, struct vfd_error *err)
{
	(void)v, (void)err;
	return 0;
}

bool migrate_cancel(struct vm *v)
{
	(void)v;
	return false;
}

/* ---- tests ---- */

static void *serve(void *opaque)
{
	control_serve(&vm, listener, false);
	return opaque;
}

static void begin(void)
{
	signal(SIGPIPE, SIG_IGN); /* as main() does */
	ck_assert_ptr_nonnull(mkdtemp(directory));
	snprintf(path, sizeof path, "%s/socket", directory);
	pthread_mutex_init(&vm.lock, NULL);
	pthread_mutex_init(&vm.busy, NULL);
	vm.ended = eventfd(0, EFD_CLOEXEC);
	listener = control_listen(path);
	ck_assert_int_eq(pthread_create(&server, NULL, serve, NULL), 0);
}

static void end(void)
{
	vm_end(&vm, 0);
	pthread_join(server, NULL);
	unlink(path);
	rmdir(directory);
}

static int dial(void)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	strcpy(a.sun_path, path);
	ck_assert_int_eq(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
	return fd;
}

static void say(int fd, const char *text, size_t size)
{
	ck_assert_int_eq(write(fd, text, size), (ssize_t)size);
}

/* The next line that comes back. */
static const char *hear(int fd)
{
	static char line[2048];
	struct pollfd p = { .fd = fd, .events = POLLIN };
	size_t length = 0;

	do {
		ck_assert_msg(poll(&p, 1, ANSWER_MS) == 1, "no answer");
		ck_assert_int_eq(read(fd, line + length, 1), 1);
	} while (line[length++] != '\n' && length < sizeof line - 1);
	line[length] = 0;
	return line;
}

/* "pause" behind so many spaces, which are part of the line. */
static void say_long(int fd, size_t length)
{
	char line[4 * MOST];

	memset(line, ' ', length);
	memcpy(line + MOST, "pause", length > MOST + 5 ? 5 : length - MOST);
	line[length] = '\n';
	say(fd, line, length + 1);
}

static const size_t lengths[] = { MOST + 1, MOST + 5, 2 * MOST, 2 * MOST + 1, 3 * MOST + 5 };

/* It is one line, and nothing of it is a command. */
START_TEST(test_long_line)
{
	char wanted[80];

	begin();
	int fd = dial();
	say_long(fd, lengths[_i]);
	snprintf(wanted, sizeof wanted, "error a command of %zu bytes: %d are the most\n", lengths[_i], MOST);
	ck_assert_str_eq(hear(fd), wanted);
	say(fd, "pause\r\n", 7);
	ck_assert_str_eq(hear(fd), "ok\n");
	ck_assert_int_eq(atomic_load(&pauses), 1);
	close(fd);
	end();
}
END_TEST

START_TEST(test_longest_line)
{
	char line[MOST + 1];

	begin();
	int fd = dial();
	memset(line, 'x', MOST);
	memcpy(line, "pause ", 6);
	line[MOST] = '\n';
	say(fd, line, sizeof line);
	ck_assert_str_eq(hear(fd), "ok\n");
	close(fd);
	end();
}
END_TEST

static const int accept_errors[] = { EMFILE, ENFILE, ENOMEM, ENOBUFS, ECONNABORTED, EINTR, EAGAIN };

/* Nobody can be let in; then he can. */
START_TEST(test_accept_fails)
{
	begin();
	atomic_store(&refusal, accept_errors[_i]);
	atomic_store(&refusals, 2);
	int fd = dial();
	say(fd, "pause\n", 6);
	ck_assert_str_eq(hear(fd), "ok\n");
	ck_assert_int_eq(atomic_load(&refusals), 0);
	close(fd);
	end();
}
END_TEST

START_TEST(test_plug_without_agent)
{
	begin();
	int fd = dial();
	say(fd, "plug x\n", 7);
	ck_assert_str_eq(hear(fd), "error x is attached, but the agent is silent\n");
	close(fd);
	end();
}
END_TEST

static const char *const refused[] = { "migrate x", "plug x", "unplug", "pause", "dirty-rate" };

/* The guest may run elsewhere: whatever could make it run here, but the user's own word, is refused. */
START_TEST(test_unconfirmed)
{
	begin();
	vm.paused = vm.unconfirmed = true;
	int fd = dial();
	dprintf(fd, "%s\n", refused[_i]);
	ck_assert_ptr_nonnull(strstr(hear(fd), "error a migration was not confirmed"));
	say(fd, "status\n", 7);
	ck_assert_ptr_nonnull(
		strstr(hear(fd), "ok paused device=none memory=0 vcpus=0 migration=unconfirmed"));
	ck_assert_int_eq(atomic_load(&pauses), 0);
	say(fd, "resume\n", 7);
	ck_assert_str_eq(hear(fd), "ok\n");
	close(fd);
	end();
}
END_TEST

static bool has_ended(void)
{
	struct pollfd p = { .fd = vm.ended, .events = POLLIN };

	return poll(&p, 1, 0) == 1;
}

/* All up to the end of the line. */
static void hear_last_answer(int fd)
{
	char last[9] = "", wanted[] = "ok moved";
	struct pollfd p = { .fd = fd, .events = POLLIN };

	for (char c = 0; c != '\n';) {
		ck_assert_msg(poll(&p, 1, ANSWER_MS) == 1, "no answer");
		ck_assert_int_eq(read(fd, &c, 1), 1);
		if (c == '\n')
			break;
		memmove(last, last + 1, 7);
		last[7] = c;
	}
	ck_assert_str_eq(last, wanted);
}

/* Who has the guest moved is told so before all ends, whatever others ask meanwhile. */
START_TEST(test_last_answer)
{
	moves = true;
	begin();
	int fd = dial();
	say(fd, "status\n", 7);
	hear(fd);
	int other = dial();
	say(fd, "migrate x\n", 10);
	do { /* twice: what a question does behind its answer is done when the next one is answered */
		say(other, "pause\n", 6);
	} while (!strstr(hear(other), "has left"));
	say(other, "pause\n", 6);
	ck_assert_str_eq(hear(other), "error the guest has left\n");
	ck_assert(!has_ended());
	hear_last_answer(fd);
	struct pollfd p = { .fd = vm.ended, .events = POLLIN };
	ck_assert_int_eq(poll(&p, 1, ANSWER_MS), 1);
	close(fd);
	close(other);
	end();
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("vmm_control");
	TCase *tcase = tcase_create("control socket");

	tcase_set_timeout(tcase, 60);
	tcase_add_loop_test(tcase, test_long_line, 0, (int)(sizeof lengths / sizeof *lengths));
	tcase_add_test(tcase, test_longest_line);
	tcase_add_loop_test(tcase, test_accept_fails, 0, (int)(sizeof accept_errors / sizeof *accept_errors));
	tcase_add_test(tcase, test_plug_without_agent);
	tcase_add_loop_test(tcase, test_unconfirmed, 0, (int)(sizeof refused / sizeof *refused));
	tcase_add_test(tcase, test_last_answer);
	suite_add_tcase(suite, tcase);
	return run_all(suite);
}
