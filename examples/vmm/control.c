/* SPDX-License-Identifier: MIT */

/* Line commands on a UNIX socket: one line there, one line back, which begins with "ok" or "error". Each connection has a thread,
 * so that one can be cancelled from another. */

#include "vmm.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { LINE = 1024, REST_MS = 1000 };

struct client {
	struct vm *vm;
	FILE *stream;
};

static int say_status(struct vm *vm, char *text, size_t size)
{
	pthread_mutex_lock(&vm->lock);
	snprintf(text, size, "%s device=%s memory=%llu vcpus=%u migration=%s",
		 vm->paused ? "paused" : "running", vm->device ? vm->device->name : "none",
		 (unsigned long long)vm->ram.size, vm->vcpu_count,
		 vm->moving	   ? vm->progress
		 : vm->unconfirmed ? "unconfirmed"
				   : "none");
	pthread_mutex_unlock(&vm->lock);
	return 0;
}

static int do_unplug(struct vm *vm, struct vfd_error *err)
{
	if (!vm->device)
		return device_unplug(vm, err); /* what is left of one, or none */
	return agent_ask(vm, "unplug", "unplugged", AGENT_SECONDS, err) ?: device_unplug(vm, err);
}

/* Without the agent's word it stays: the guest may have found it by itself. */
static int do_plug(struct vm *vm, const char *name, struct vfd_error *err)
{
	struct vfd_error said;
	int rc = device_plug(vm, name, err);

	if (!rc && agent_ask(vm, "plug", "plugged", AGENT_SECONDS, &said))
		rc = fail(err, "%s is attached, but %s", name, said.message);
	return rc;
}

/* URI [bandwidth=BYTES] [downtime=MS] [force] [verify] */
static int do_migrate(struct vm *vm, char *words, char *text, size_t size, struct vfd_error *err)
{
	struct migrate_options o = { 0 };
	char *next, *uri = strtok_r(words, " ", &next);

	for (char *word; (word = strtok_r(NULL, " ", &next));) {
		if (!strncmp(word, "bandwidth=", 10))
			o.bandwidth = strtoull(word + 10, NULL, 10);
		else if (!strncmp(word, "downtime=", 9))
			o.downtime_ms = strtoull(word + 9, NULL, 10);
		else if (!strcmp(word, "force"))
			o.force = true;
		else if (!strcmp(word, "verify"))
			o.verify = true;
		else
			return fail(err, "migrate URI [bandwidth=BYTES/S] [downtime=MS] [force] [verify]");
	}
	return uri ? migrate_away(vm, uri, &o, text, size, err) : fail(err, "migrate where to?");
}

static int do_cancel(struct vm *vm, struct vfd_error *err)
{
	return migrate_cancel(vm) ? 0 : fail(err, "no migration is under way");
}

static int change(struct vm *vm, const char *word, char *rest, char *text, size_t size, struct vfd_error *err)
{
	if (vm->unconfirmed && strcmp(word, "resume") && strcmp(word, "quit"))
		return fail(
			err,
			"a migration was not confirmed, and the guest may run there. If it does, quit; only "
			"if it does not and never will, resume");
	if (!strcmp(word, "dirty-rate"))
		return dirty_rate(vm, text, size, err);
	if (!strcmp(word, "unplug"))
		return do_unplug(vm, err);
	if (!strcmp(word, "plug") && rest)
		return do_plug(vm, rest, err);
	if (!strcmp(word, "migrate") && rest)
		return do_migrate(vm, rest, text, size, err);
	if (!strcmp(word, "pause"))
		return vcpus_pause(vm), 0;
	if (!strcmp(word, "resume"))
		return migrate_resume(vm, err);
	if (!strcmp(word, "quit"))
		return vm->leaving = true, 0;
	return fail(err, "unknown command: status, dirty-rate, migrate URI, cancel, pause, resume, unplug, "
			 "plug DEVICE, "
			 "quit");
}

/* While one of them changes something, the others may look and cancel only. *last: with the answer to this one all ends. */
static int command(struct vm *vm, char *line, char *text, size_t size, bool *last, struct vfd_error *err)
{
	char *rest = strchr(line, ' ');

	if (rest)
		*rest++ = 0;
	if (!strcmp(line, "status"))
		return say_status(vm, text, size);
	if (!strcmp(line, "cancel"))
		return do_cancel(vm, err);
	if (pthread_mutex_trylock(&vm->busy))
		return fail(err,
			    "another command is under way: status and cancel are all that can be said now");
	bool left = vm->leaving;
	int rc = left ? fail(err, "the guest has left") : change(vm, line, rest, text, size, err);
	*last = vm->leaving && !left;
	pthread_mutex_unlock(&vm->busy);
	return rc;
}

/* The next line: of LINE bytes as many as there is room for, but all are counted. false: there is none. */
static bool next_line(FILE *stream, char *line, size_t *length)
{
	int c;

	for (*length = 0; (c = getc(stream)) != EOF && c != '\n'; ++*length)
		if (*length < LINE - 1)
			line[*length] = (char)c;
	line[*length < LINE ? *length : LINE - 1] = 0;
	return *length || c != EOF;
}

/* Half a line is no command. */
static int line_command(struct vm *vm, char *line, size_t length, char *text, bool *last,
			struct vfd_error *err)
{
	text[0] = 0;
	if (length >= LINE)
		return fail(err, "a command of %zu bytes: %d are the most", length, LINE - 1);
	line[strcspn(line, "\r")] = 0;
	return command(vm, line, text, LINE, last, err);
}

static void *serve(void *opaque)
{
	struct client *c = opaque;
	char line[LINE], text[LINE];
	size_t length;
	struct vfd_error err;
	bool last = false;

	while (!last && next_line(c->stream, line, &length))
		if (line_command(c->vm, line, length, text, &last, &err))
			dprintf(fileno(c->stream), "error %s\n", err.message);
		else
			dprintf(fileno(c->stream), "ok%s%s\n", *text ? " " : "", text);
	if (last)
		vm_end(c->vm, 0);
	fclose(c->stream);
	free(c);
	return NULL;
}

static bool begin(struct vm *vm, int fd)
{
	struct client *c = calloc(1, sizeof *c);
	FILE *stream = fdopen(fd, "r");
	pthread_t thread;

	if (c && stream) {
		*c = (struct client){ vm, stream };
		errno = pthread_create(&thread, NULL, serve, c);
		if (!errno)
			return !pthread_detach(thread);
	}
	free(c);
	if (stream)
		fclose(stream);
	else
		close(fd);
	return false;
}

/* Whatever goes wrong with one who asks, the guest goes on. false: there is no room for him; not for a moment. */
static bool accept_client(struct vm *vm, int listener)
{
	int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);

	if (fd < 0 && (errno == EINTR || errno == ECONNABORTED || errno == EAGAIN))
		return true;
	if (fd >= 0 && begin(vm, fd))
		return true;
	fprintf(stderr, "vfd-vmm: control: %s\n", strerror(errno));
	return false;
}

static bool pass_input(struct vm *vm)
{
	uint8_t bytes[64];
	ssize_t count = read(STDIN_FILENO, bytes, sizeof bytes);

	pthread_mutex_lock(&vm->lock);
	for (ssize_t i = 0; i < count; i++)
		serial_input(&vm->console, bytes[i]);
	pthread_mutex_unlock(&vm->lock);
	return count > 0;
}

/* Until the end of the guest. */
void control_serve(struct vm *vm, int listener, bool input)
{
	struct pollfd fds[] = { { vm->ended, POLLIN, 0 },
				{ listener, POLLIN, 0 },
				{ input ? STDIN_FILENO : -1, POLLIN, 0 } };

	bool full = false; /* who waits to be let in would wake us all the time */

	while (!vm->ending) {
		fds[1].fd = full ? -1 : listener;
		if (poll(fds, 3, full ? REST_MS : -1) < 0) {
			if (errno != EINTR)
				die("poll: %s", strerror(errno));
			continue;
		}
		full = fds[1].revents & POLLIN && !accept_client(vm, listener);
		if (fds[2].revents && !pass_input(vm))
			fds[2].fd = -1;
	}
}

static struct sockaddr_un address_of(const char *path)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };

	if (strlen(path) >= sizeof a.sun_path)
		die("%s: too long for a socket", path);
	strcpy(a.sun_path, path);
	return a;
}

int control_listen(const char *path)
{
	struct sockaddr_un a = address_of(path);
	int fd = check(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket");

	unlink(path);
	check(bind(fd, (struct sockaddr *)&a, sizeof a), path);
	check(listen(fd, 4), path);
	return fd;
}

/* The other end: one command, its answer printed. */
int control_ask(const char *path, const char *line)
{
	struct sockaddr_un a = address_of(path);
	int fd = check(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket");
	char text[LINE + 16];

	check(connect(fd, (struct sockaddr *)&a, sizeof a), path);
	FILE *stream = fdopen(fd, "r");
	if (!stream || dprintf(fd, "%s\n", line) < 0 || !fgets(text, sizeof text, stream))
		die("%s: no answer", path);
	fputs(text, stdout);
	return strncmp(text, "ok", 2) != 0;
}
