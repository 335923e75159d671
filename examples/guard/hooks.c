/* SPDX-License-Identifier: MIT */

/* What is put before libc: the calls that open, share, use and end VFIO's files. All but those go straight on. */

#undef _FILE_OFFSET_BITS /* each name as it is, pwrite and pwrite64 */

#include "guard.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/vfio.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define HOOK __attribute__((visibility("default")))
#ifdef __GLIBC__
typedef unsigned long request_t;
#else
typedef int request_t;
#endif

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
/* In the guard already: what it calls itself, and a signal handler that came in between, goes straight on. */
static __thread bool inside __attribute__((tls_model("initial-exec")));
static pid_t me; /* whose state this is. A child of vfork shares it, and must not touch it. */
static unsigned areas;

static struct {
	int (*ioctl)(int, request_t, ...);
	int (*close)(int);
	int (*dup)(int);
	int (*dup2)(int, int);
	int (*dup3)(int, int, int);
	int (*fcntl)(int, int, ...);
	int (*fcntl64)(int, int, ...);
	int (*close_range)(unsigned, unsigned, int);
	void (*closefrom)(int);
	void *(*mmap)(void *, size_t, int, int, int, off_t);
	int (*munmap)(void *, size_t);
	ssize_t (*pwrite)(int, const void *, size_t, off_t);
	long (*syscall)(long, ...);
	void (*_exit)(int);
	int (*execve)(const char *, char *const *, char *const *);
	int (*execv)(const char *, char *const *);
	int (*execvp)(const char *, char *const *);
	int (*execvpe)(const char *, char *const *, char *const *);
	int (*fexecve)(int, char *const *, char *const *);
} real;

#define RESOLVE(name) (*(void **)&real.name = real.name ? *(void **)&real.name : dlsym(RTLD_NEXT, #name))
#define REAL(name)    ((real.name ? 0 : (RESOLVE(name), 0)), real.name)

static void enter(void)
{
	inside = true;
	pthread_mutex_lock(&lock);
}

static void leave(void)
{
	int error = errno;

	pthread_mutex_unlock(&lock);
	inside = false;
	errno = error;
}

static bool follow(void)
{
	return !inside && me == getpid();
}

int real_ioctl(int fd, unsigned long request, void *arg)
{
	return REAL(ioctl)(fd, (request_t)request, arg);
}

int kernel_ioctl(int fd, unsigned long request, void *arg)
{
	int result;

	leave();
	result = real_ioctl(fd, request, arg);
	int error = errno;
	enter();
	errno = error;
	return result;
}

/* ---- ioctl ---------------------------------------------------------------------------------------------------------------- */

static int ioctl_on(struct file *file, int fd, unsigned long request, void *arg)
{
	switch ((int)file->kind) {
	case CONTAINER:
		return container_ioctl(file, fd, request, arg);
	case GROUP:
		return group_ioctl(file, fd, request, arg);
	case DEVICE:
		return device_ioctl(file, fd, request, arg);
	default:
		return iommufd_ioctl(file, fd, request, arg);
	}
}

/* The lock is not held in the kernel: another thread may close the file there, and it goes when all calls are back. */
static int followed_ioctl(int fd, unsigned long request, void *arg)
{
	struct file *file = file_of(fd);
	int error = errno, result;

	if (!file)
		file = file_identify(fd);
	errno = error;
	if (!file)
		return kernel_ioctl(fd, request, arg);
	file->calls++;
	result = ioctl_on(file, fd, request, arg);
	error = errno;
	file->calls--;
	after_release(file);
	errno = error;
	return result;
}

HOOK int ioctl(int fd, request_t number, ...)
{
	unsigned long request = (unsigned long)number & 0xffffffff;
	va_list args;
	void *arg;
	int result;

	va_start(args, number);
	arg = va_arg(args, void *);
	va_end(args);
	if (_IOC_TYPE(request) != VFIO_TYPE ||
	    inside) /* no child of vfork does VFIO, and getpid() would cost */
		return REAL(ioctl)(fd, number, arg);
	enter();
	result = followed_ioctl(fd, request, arg);
	leave();
	return result;
}

HOOK long syscall(long number, ...)
{
	long a[6];
	va_list args;

	va_start(args, number);
	for (int i = 0; i < 6; i++)
		a[i] = va_arg(args, long);
	va_end(args);
	if (number == SYS_ioctl)
		return ioctl((int)a[0], (request_t)a[1], (void *)a[2]);
	if (number == SYS_close)
		return close((int)a[0]);
	return REAL(syscall)(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

/* ---- descriptors ------------------------------------------------------------------------------------------------------------ */

/* Around whatever takes a descriptor out. */
static struct file *release_begins(int fd, struct loss *loss, const char *call)
{
	struct file *file = file_of(fd);

	if (file)
		before_release(file, loss, call);
	return file;
}

static void release_ends(int fd, struct file *file, struct loss *loss)
{
	if (!file)
		return;
	if (loss_any(loss))
		loss_report(loss);
	file_unbind(fd);
	after_release(file);
}

HOOK int close(int fd)
{
	struct loss loss;
	struct file *file;
	int result;

	if (!file_known(fd) || !follow())
		return REAL(close)(fd);
	enter();
	file = release_begins(fd, &loss, "close");
	result = REAL(close)(fd); /* with the lock: the number may be another's at once */
	int error = errno;
	release_ends(fd, file, &loss);
	errno = error;
	leave();
	return result;
}

static void same_file(int from, int to)
{
	enter();
	struct file *file = file_of(from);
	if (file && to >= 0)
		file_bind(to, file);
	leave();
}

HOOK int dup(int fd)
{
	int result = REAL(dup)(fd);

	if (result >= 0 && file_known(fd) && follow())
		same_file(fd, result);
	return result;
}

static int followed_dup(int from, int to, int flags, const char *call)
{
	struct loss loss;
	struct file *file = NULL;
	int result;

	enter();
	if (from != to)
		file = release_begins(to, &loss, call);
	result = flags < 0 ? REAL(dup2)(from, to) : REAL(dup3)(from, to, flags);
	int error = errno;
	if (result >= 0 && from != to) {
		release_ends(to, file, &loss);
		if (file_of(from))
			file_bind(to, file_of(from));
	}
	errno = error;
	leave();
	return result;
}

HOOK int dup2(int from, int to)
{
	if ((!file_known(from) && !file_known(to)) || !follow())
		return REAL(dup2)(from, to);
	return followed_dup(from, to, -1, "dup2");
}

HOOK int dup3(int from, int to, int flags)
{
	if ((!file_known(from) && !file_known(to)) || !follow())
		return REAL(dup3)(from, to, flags);
	return followed_dup(from, to, flags, "dup3");
}

static int followed_fcntl(int fd, int command, int result)
{
	if (result >= 0 && (command == F_DUPFD || command == F_DUPFD_CLOEXEC) && file_known(fd) && follow())
		same_file(fd, result);
	return result;
}

HOOK int fcntl(int fd, int command, ...)
{
	va_list args;
	void *arg;

	va_start(args, command);
	arg = va_arg(args, void *);
	va_end(args);
	return followed_fcntl(fd, command, REAL(fcntl)(fd, command, arg));
}

HOOK int fcntl64(int fd, int command, ...)
{
	va_list args;
	void *arg;

	va_start(args, command);
	arg = va_arg(args, void *);
	va_end(args);
	return followed_fcntl(fd, command, (REAL(fcntl64) ? real.fcntl64 : REAL(fcntl))(fd, command, arg));
}

HOOK int close_range(unsigned first, unsigned last, int flags)
{
	for (unsigned fd = first; !(flags & 4 /* CLOSE_RANGE_CLOEXEC */) && file_highest() >= 0 &&
				  fd <= last && fd <= (unsigned)file_highest();
	     fd++)
		if (file_known((int)fd))
			close((int)fd);
	return REAL(close_range) ? real.close_range(first, last, flags)
				 : (int)REAL(syscall)(436, first, last, flags);
}

HOOK void closefrom(int first)
{
	for (int fd = first < 0 ? 0 : first; fd <= file_highest(); fd++)
		if (file_known(fd))
			close(fd);
	if (REAL(closefrom))
		real.closefrom(first);
}

/* ---- mapped areas ------------------------------------------------------------------------------------------------------------- */

/* They hold the device open when its descriptor is gone. Areas are few. */
static struct area {
	struct area *next;
	struct file *file;
	uintptr_t first, last;
} * all_areas;

static void add_area(int fd, void *address, size_t size)
{
	struct area *a = malloc(sizeof *a);
	struct file *file;

	enter();
	file = file_of(fd);
	if (a && file) {
		*a = (struct area){ all_areas, file, (uintptr_t)address, (uintptr_t)address + size - 1 };
		all_areas = a;
		file->areas++;
		__atomic_add_fetch(&areas, 1, __ATOMIC_RELAXED);
	}
	leave();
}

static void *followed_mmap(int fd, void *address, size_t size)
{
	if (address != MAP_FAILED && fd >= 0 && file_known(fd) && follow())
		add_area(fd, address, size);
	return address;
}

HOOK void *mmap(void *where, size_t size, int prot, int flags, int fd, off_t offset)
{
	return followed_mmap(fd, REAL(mmap)(where, size, prot, flags, fd, offset), size);
}

static void drop_area(struct area **at, const char *call)
{
	struct area *a = *at;
	struct loss loss;

	before_release(a->file, &loss, call);
	if (loss_any(&loss))
		loss_report(&loss);
	*at = a->next;
	a->file->areas--;
	__atomic_sub_fetch(&areas, 1, __ATOMIC_RELAXED);
	after_release(a->file);
	free(a);
}

/* Whole areas: who cuts one keeps the rest. */
static void drop_areas(uintptr_t first, uintptr_t last)
{
	struct area **at = &all_areas;

	enter();
	while (*at) {
		if ((*at)->first >= first && (*at)->last <= (last | 4095))
			drop_area(at, "munmap");
		else
			at = &(*at)->next;
	}
	leave();
}

HOOK int munmap(void *address, size_t size)
{
	if (__atomic_load_n(&areas, __ATOMIC_RELAXED) && size && follow())
		drop_areas((uintptr_t)address, (uintptr_t)address + size - 1);
	return REAL(munmap)(address, size);
}

HOOK ssize_t pwrite(int fd, const void *data, size_t size, off_t offset)
{
	ssize_t result;

	if (!file_known(fd) || !follow())
		return REAL(pwrite)(fd, data, size, offset);
	enter();
	struct file *file = file_of(fd);
	if (file && file->kind == DEVICE)
		device_written(file, data, size, (uint64_t)offset, false);
	leave();
	result = REAL(pwrite)(fd, data, size, offset);
	enter();
	file = file_of(fd);
	if (file && file->kind == DEVICE && result > 0)
		device_written(file, data, (size_t)result, (uint64_t)offset, true);
	leave();
	return result;
}

#ifdef __GLIBC__ /* on 64 bits the same; musl has one name */
HOOK void *mmap64(void *where, size_t size, int prot, int flags, int fd, off64_t offset)
{
	return mmap(where, size, prot, flags, fd, (off_t)offset);
}

HOOK ssize_t pwrite64(int fd, const void *data, size_t size, off64_t offset)
{
	return pwrite(fd, data, size, (off_t)offset);
}
#endif

/* ---- the end of a program ------------------------------------------------------------------------------------------------------ */

static bool ended;

static int end(const char *call, int code)
{
	if (!follow() || ended)
		return code;
	enter();
	ended = true;
	guard_end(call, false);
	report_sum(call);
	leave();
	return findings && settings.exit_code >= 0 ? settings.exit_code : code;
}

HOOK void _exit(int code)
{
	code = end("_exit", code);
	REAL(_exit)(code);
	__builtin_unreachable();
}

HOOK void _Exit(int code)
{
	_exit(code);
}

/* After all of the program's own. */
__attribute__((destructor)) static void at_exit(void)
{
	int code = end("exit", -1);

	if (code < 0)
		return;
	fflush(NULL);
	REAL(_exit)(code);
}

static void before_exec(void)
{
	if (!follow())
		return;
	enter();
	guard_end("exec", true);
	if (findings)
		report_sum("exec");
	leave();
}

HOOK int execve(const char *path, char *const *argv, char *const *env)
{
	before_exec();
	return REAL(execve)(path, argv, env);
}

HOOK int execv(const char *path, char *const *argv)
{
	before_exec();
	return REAL(execv)(path, argv);
}

HOOK int execvp(const char *file, char *const *argv)
{
	before_exec();
	return REAL(execvp)(file, argv);
}

HOOK int execvpe(const char *file, char *const *argv, char *const *env)
{
	before_exec();
	return REAL(execvpe)(file, argv, env);
}

HOOK int fexecve(int fd, char *const *argv, char *const *env)
{
	before_exec();
	return REAL(fexecve)(fd, argv, env);
}

/* ---- the beginning ------------------------------------------------------------------------------------------------------------- */

static void lock_for_fork(void)
{
	pthread_mutex_lock(&lock);
}

static void unlock_in_parent(void)
{
	pthread_mutex_unlock(&lock);
}

/* The child has all that its parent had, and answers for what it does with it from here on. */
static void begin_child(void)
{
	pthread_mutex_unlock(&lock);
	me = getpid();
	findings = 0;
	report_child();
}

__attribute__((constructor)) static void begin(void)
{
	inside = true;
	me = getpid();
	RESOLVE(ioctl), RESOLVE(close), RESOLVE(pwrite), RESOLVE(mmap), RESOLVE(munmap), RESOLVE(_exit);
	settings_read();
	say_begin();
	say_flush();
	pthread_atfork(lock_for_fork, unlock_in_parent, begin_child);
	inside = false;
}
