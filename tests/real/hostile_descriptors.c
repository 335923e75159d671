/* SPDX-License-Identifier: MIT */

/* Each kind of descriptor in the place of the container, of the group and of the device: the adoption is refused, with words, and all is as before; so
 * the right ones are adopted afterwards, and nothing that the device wrote is lost. */

#include "hostile.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

static int pipe_end(void)
{
	int ends[2];

	if (pipe(ends))
		return -1;
	close(ends[1]);
	return ends[0];
}

static int some_file(void)
{
	return open("/tmp/hostile", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
}

static int path_only(void)
{
	return open("/dev/vfio/vfio", O_PATH | O_CLOEXEC);
}

static int another_container(void)
{
	return open("/dev/vfio/vfio", O_RDWR | O_CLOEXEC);
}

static int another_group(void)
{
	char path[32];

	snprintf(path, sizeof path, "/dev/vfio/%d", rig_group_number(1));
	return open(path, O_RDWR | O_CLOEXEC);
}

static int null(void)
{
	return open("/dev/null", O_RDWR | O_CLOEXEC);
}

static int directory(void)
{
	return open("/dev/vfio", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static int own_memory(void)
{
	return open("/proc/self/mem", O_RDWR | O_CLOEXEC);
}

static int test_device(void)
{
	return open(VFDTEST_PATH, O_RDWR | O_CLOEXEC);
}

static int iommufd(void)
{
	return open("/dev/iommu", O_RDWR | O_CLOEXEC);
}

static int some_socket(void)
{
	return socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
}

static int event(void)
{
	return eventfd(0, EFD_CLOEXEC);
}

static int memory_file(void)
{
	return memfd_create("hostile", MFD_CLOEXEC);
}

static int poller(void)
{
	return epoll_create1(EPOLL_CLOEXEC);
}

static int closed(void)
{
	int fd = null();

	close(fd);
	return fd;
}

static int negative(void)
{
	return -1;
}

static const struct kind {
	const char *what;
	int (*open)(void);
} kinds[] = {
	{ "a pipe", pipe_end },
	{ "a regular file", some_file },
	{ "a directory", directory },
	{ "/dev/null", null },
	{ "a socket", some_socket },
	{ "an eventfd", event },
	{ "a memfd", memory_file },
	{ "an epoll", poller },
	{ "an iommufd", iommufd },
	{ "/proc/self/mem", own_memory },
	{ "the test device's node", test_device },
	{ "a path only", path_only },
	{ "another container, without an IOMMU", another_container },
	{ "another group, in no container", another_group },
	{ "a closed descriptor", closed },
	{ "-1", negative },
};

/* ---- one of them in one place ---- */

static unsigned descriptors(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned count = 0;

	while (dir && readdir(dir))
		count++;
	if (dir)
		closedir(dir);
	return count;
}

static void refused(struct rig *rig, const struct raw *raw, const char *what, const char *place)
{
	unsigned before = descriptors();
	int rc = hostile_adopt(rig, raw, 0);

	ok(rc < 0 && rc == rig->err.code && rig->err.message[0], "%s as the %s: %s: %s", what, place,
	   vfd_strcode(rc), rc ? rig->err.message : "adopted");
	if (!rc) /* it has the others' descriptors now */
		vfd_container_close(&rig->container, VFD_DISCARD, &rig->err);
	ok(descriptors() == before, "no descriptor came or went: %u", before);
}

enum slot { CONTAINER, GROUP, DEVICE, PLACES };

static const char *const places[PLACES] = { "container", "group", "device" };

static int *slot_of(struct raw *raw, enum slot place)
{
	return place == CONTAINER ? &raw->container : place == GROUP ? &raw->group : &raw->device;
}

static void put_there(struct rig *rig, const struct raw *raw, const struct kind *kind, enum slot place)
{
	struct raw wrong = *raw;
	int fd = kind->open();

	if (fd < 0 && kind->open != negative) {
		printf("# %s: %s\n", kind->what, strerror(errno));
		return;
	}
	*slot_of(&wrong, place) = fd;
	refused(rig, &wrong, kind->what, places[place]);
	if (kind->open != closed && fd >= 0)
		ok(!close(fd), "which is still ours to close");
}

/* What is VFIO's, but in another's place */
static void swapped(struct rig *rig, struct raw *raw)
{
	for (int place = 0; place < PLACES; place++)
		for (int other = 0; other < PLACES; other++) {
			struct raw wrong = *raw;
			char what[32];
			if (place == other)
				continue;
			*slot_of(&wrong, (enum slot)place) = *slot_of(raw, (enum slot)other);
			snprintf(what, sizeof what, "its own %s", places[other]);
			refused(rig, &wrong, what, places[place]);
		}
}

/* With VFD_BACKEND_IOMMUFD: the container of type1, or anything else, is no address space. */
static void as_iommufd(struct rig *rig, int fd, const char *what)
{
	const struct vfd_adoption adoption = { .struct_size = sizeof adoption,
					       .container_fd = fd,
					       .log = rig->log,
					       .backend = VFD_BACKEND_IOMMUFD,
					       .ioas = 1 };
	unsigned before = descriptors();
	int rc = container_adopt_on(&rig_sys, &adoption, &rig->container, &rig->err);

	ok(rc < 0 && rig->err.message[0], "%s as an iommufd: %s: %s", what, vfd_strcode(rc),
	   rc ? rig->err.message : "adopted");
	ok(descriptors() == before, "no descriptor came or went: %u", before);
}

void test_descriptors(void)
{
	struct rig rig;

	hostile_begin(&rig);
	struct raw raw = raw_open(&rig);
	rig_write(0, 30, 10, 1);
	for (int place = 0; place < PLACES; place++)
		for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
			put_there(&rig, &raw, &kinds[i], (enum slot)place);
	swapped(&rig, &raw);
	for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
		int fd = kinds[i].open();
		as_iommufd(&rig, fd, kinds[i].what);
		if (kinds[i].open != closed)
			close(fd);
	}
	as_iommufd(&rig, raw.container, "its own container");
	as_iommufd(&rig, raw.group, "its own group");
	as_iommufd(&rig, raw.device, "its own device");
	rig_write(0, 1030, 3, 1);
	ok_code(hostile_adopt(&rig, &raw, 0), 0, &rig.err, "and the right ones are adopted");
	rig_write(0, 100, 5, 1);
	ok_code(vfd_container_close(&rig.container, VFD_COLLECT, &rig.err), 0, &rig.err, "and closed");
	struct pages log = rig_deliver(&rig), truth = rig_truth(&rig);
	ok_exact(&log, &truth, "after all that");
	rig_close(&rig);
}
