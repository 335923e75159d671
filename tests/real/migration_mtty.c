/* SPDX-License-Identifier: MIT */

/* mtty, a serial port that the kernel has for a sample of a device that migrates. It writes no memory. */

#include "migration.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/vfio.h>
#include <string.h>
#include <unistd.h>

#define CREATE "/sys/devices/virtual/mtty/mtty/mdev_supported_types/mtty-2/create"

static const char *const names[] = { "0b1a4a5e-0000-4000-8000-000000000001",
				     "0b1a4a5e-0000-4000-8000-000000000002" };
static char data[DATA_MOST], again[DATA_MOST];

static bool create(const char *name)
{
	int fd = open(CREATE, O_WRONLY | O_CLOEXEC);
	bool made = fd >= 0 && write(fd, name, strlen(name)) > 0;

	if (fd >= 0)
		close(fd);
	return made;
}

static struct vfd_device *open_one(struct rig *rig, unsigned i)
{
	ok_code(vfd_group_attach_device(rig->container, names[i], &rig->groups[i], &rig->err), 0, &rig->err,
		"attach the group of mtty %u", i);
	ok_code(vfd_device_open(rig->groups[i], names[i], &rig->devices[i], &rig->err), 0, &rig->err,
		"open it");
	return rig->devices[i];
}

/* Registers, and bytes in its loop. */
static void type(const struct pair *pair)
{
	static const struct {
		uint64_t at;
		unsigned char value;
	} keys[] = { { 7, 0x5a }, { 3, 0x1b }, { 4, 0x10 }, { 0, 'v' }, { 0, 'f' }, { 0, 'd' }, { 1, 3 } };
	int rc = 0;

	for (size_t i = 0; !rc && i < sizeof keys / sizeof keys[0]; i++)
		rc = vfd_device_write(pair->one, VFIO_PCI_BAR0_REGION_INDEX, keys[i].at, &keys[i].value, 1,
				      &pair->rig->err);
	ok_code(rc, 0, &pair->rig->err, "registers are written, and three bytes to its loop");
}

/* What the other saves is what it was given. */
static void arrives(const struct pair *pair)
{
	struct vfd_device *one = pair->one, *other = pair->other;
	struct vfd_error *err = &pair->rig->err;
	size_t early = 0, size = 0, other_size = 0;
	char c = 0;

	type(pair);
	int rc = vfd_migration_set(&one, 1, VFD_MIG_PRE_COPY, err);
	rc = rc ? rc : read_all(one, data, &early);
	ok(rc == -ENOMSG && early, "PRE_COPY: %zu bytes, then nothing new", early);
	rc = vfd_migration_set(&one, 1, VFD_MIG_STOP_COPY, err);
	rc = rc ? rc : read_all(one, data + early, &size);
	ok(!rc && size, "STOP_COPY: %zu more, then the end", size);
	size += early;
	ok(!vfd_migration_set(&other, 1, VFD_MIG_RESUMING, err) && !write_all(other, data, size) &&
		   !vfd_migration_set(&other, 1, VFD_MIG_STOP_COPY, err) &&
		   !read_all(other, again, &other_size) && size == other_size && !memcmp(data, again, size),
	   "the other has taken %zu bytes, and saves the same", size);
	ok(!cancel(pair, other, 0) && !vfd_device_read(other, VFIO_PCI_BAR0_REGION_INDEX, 7, &c, 1, err) &&
		   c == 0x5a,
	   "its scratch register has arrived");
	ok_code(cancel(pair, one, 0), 0, err, "and the first goes on");
}

static void bad_data(const struct pair *pair)
{
	struct vfd_device *one = pair->one, *other = pair->other;
	struct vfd_error *err = &pair->rig->err;
	unsigned wrong = 0;
	size_t size = 0;

	ok(!vfd_migration_set(&one, 1, VFD_MIG_STOP_COPY, err) && !read_all(one, data, &size),
	   "its state is read");
	for (size_t cut = 0; cut < size; cut++) {
		wrong += vfd_migration_set(&other, 1, VFD_MIG_RESUMING, err) || write_all(other, data, cut) ||
			 vfd_migration_set(&other, 1, VFD_MIG_RUNNING, err) != -EINVAL ||
			 state_of(pair, other) != VFD_MIG_RESUMING;
		wrong += cancel(pair, other, VFD_MIG_RESET) != 0;
	}
	ok(!wrong, "cut short: refused at each of %zu lengths, and a reset leads out", size);
	data[size] = 0;
	ok(!vfd_migration_set(&other, 1, VFD_MIG_RESUMING, err) &&
		   write_all(other, data, size + 1) == -ENOMEM && !cancel(pair, other, VFD_MIG_RESET),
	   "too long: refused");
	data[0] ^= 1;
	ok(!vfd_migration_set(&other, 1, VFD_MIG_RESUMING, err) && write_all(other, data, size) == -EFAULT &&
		   !cancel(pair, other, VFD_MIG_RESET),
	   "not its own: refused");
}

void test_mtty(void)
{
	struct rig rig;

	if (!create(names[0]) || !create(names[1])) {
		skip("mtty", "this kernel has no module of that name (Debian's have none)");
		return;
	}
	rig_open(&rig);
	struct pair pair = { .rig = &rig, .one = open_one(&rig, 0), .other = open_one(&rig, 1) };
	every_arc(&pair, "mtty");
	arrives(&pair);
	bad_data(&pair);
	rig_close(&rig);
}
