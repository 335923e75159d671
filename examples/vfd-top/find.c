/* SPDX-License-Identifier: MIT */

/* Which descriptor of a program is its log: the one with a log in it. Opened anew by way of /proc, and only for reading. */

#include "top.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* A device, or a pipe, is not even opened. */
static int open_regular(const char *path)
{
	struct stat st;

	if (stat(path, &st) || !S_ISREG(st.st_mode))
		return -1;
	return open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
}

static void name_of(char *name, size_t size, const char *path)
{
	char text[256];
	ssize_t n = readlink(path, text, sizeof text - 1);

	text[n < 0 ? 0 : n] = 0;
	char *end = strstr(text, " (deleted)");
	if (end)
		*end = 0;
	snprintf(name, size, "%.63s", *text == '/' && strchr(text, ':') ? text + 1 : text);
}

static void command_of(struct target *t)
{
	char path[64];

	snprintf(path, sizeof path, "/proc/%d/comm", t->pid);
	FILE *f = fopen(path, "re");
	if (!f || !fgets(t->command, sizeof t->command, f))
		strcpy(t->command, "?");
	t->command[strcspn(t->command, "\n")] = 0;
	if (f)
		fclose(f);
}

static void consider(struct target *t, int number)
{
	char path[64];

	snprintf(path, sizeof path, "/proc/%d/fd/%d", t->pid, number);
	int fd = open_regular(path);
	if (fd < 0 || !is_log(fd)) {
		if (fd >= 0)
			close(fd);
		return;
	}
	if (t->fd >= 0) {
		t->others++;
		close(fd);
		return;
	}
	t->fd = fd;
	t->number = number;
	name_of(t->name, sizeof t->name, path);
}

/* The same file may be open more than once: the lowest number is taken, and the others are not told apart. */
static void consider_all(struct target *t, DIR *dir)
{
	const struct dirent *e;

	while ((e = readdir(dir)))
		if (*e->d_name != '.')
			consider(t, atoi(e->d_name));
}

static bool say_nothing_found(const struct target *t, int number)
{
	if (number >= 0)
		fprintf(stderr, "vfd-top: descriptor %d of process %d is no log, or one of another version\n",
			number, t->pid);
	else
		fprintf(stderr,
			"vfd-top: no descriptor of process %d (%s) is a log: it has to keep its log in a "
			"memfd, and the memfd "
			"open (vfd_log_create, arena)\n",
			t->pid, t->command);
	return false;
}

bool find_in_process(struct target *t, int pid, int number)
{
	char path[64];

	*t = (struct target){ .fd = -1, .pid = pid };
	command_of(t);
	snprintf(path, sizeof path, "/proc/%d/fd", pid);
	DIR *dir = opendir(path);
	if (!dir) {
		fprintf(stderr, "vfd-top: process %d: %s\n", pid,
			errno == ENOENT ? "there is none" : strerror(errno));
		return false;
	}
	if (number >= 0)
		consider(t, number);
	else
		consider_all(t, dir);
	closedir(dir);
	return t->fd >= 0 || say_nothing_found(t, number);
}

bool find_file(struct target *t, const char *path)
{
	*t = (struct target){ .fd = open_regular(path) };
	if (t->fd < 0) {
		fprintf(stderr, "vfd-top: %s cannot be read, or is no regular file\n", path);
		return false;
	}
	const char *last = strrchr(path, '/');
	snprintf(t->name, sizeof t->name, "%.63s", last ? last + 1 : path);
	return true;
}

/* A process that ended keeps its entry until it was waited for, without descriptors. */
bool is_alive(const struct target *t)
{
	char path[64];
	struct stat st;

	if (!t->pid)
		return true;
	snprintf(path, sizeof path, "/proc/%d/fd/%d", t->pid, t->number);
	return !lstat(path, &st);
}
