/* SPDX-License-Identifier: MIT */

/* vfd-state: the state of a device that migrates, out of it and into another one like it:
 *
 *	vfd-state save 0000:3b:00.0 >state
 *	ssh other vfd-state load 0000:3b:00.0 <state
 *
 * The device is opened for that, so it has just been reset: what a VMM does with one that has been at work is the same, between its last
 * harvest and the end. */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <vfiodirty.h>

static const char usage_text[] =
	"usage: vfd-state info|save|load DEVICE\n"
	"\n"
	"  info  can it migrate, and how?\n"
	"  save  write its state to the standard output\n"
	"  load  read its state from the standard input, and let it run\n"
	"\n"
	"DEVICE is a name as in /sys/bus/pci/devices (or mdev, or platform). vfd-info lists them.\n"
	"Exit: 0; 1: refused, by whom and why is said; 2: wrong use.\n";

static struct vfd_error err;

static void check(int rc)
{
	if (!rc)
		return;
	fprintf(stderr, "vfd-state: %s: %s\n", err.operation, err.message);
	exit(1);
}

static void check_file(int good, const char *what)
{
	if (good)
		return;
	fprintf(stderr, "vfd-state: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void show(struct vfd_device *device)
{
	struct vfd_migration_info info = { .struct_size = sizeof info };

	check(vfd_migration_info(device, &info, &err));
	printf("%s: %s%s%s%s\n", vfd_device_name(device), info.flags ? "it migrates" : "it cannot migrate",
	       info.flags & VFD_MIG_CAN_P2P ? ", P2P" : "",
	       info.flags & VFD_MIG_CAN_PRE_COPY ? ", PRE_COPY" : "",
	       info.flags ? "" : " by itself: unplug it");
	if (info.flags && info.stop_copy_bytes != UINT64_MAX)
		printf("about %llu bytes in STOP_COPY; it is in %s\n",
		       (unsigned long long)info.stop_copy_bytes, vfd_migration_state_name(info.state));
}

/* All there is now: in PRE_COPY until there is nothing new, in STOP_COPY to the end. */
static void save_some(struct vfd_device *device)
{
	static char data[1 << 16];
	size_t size = 1;

	while (size) {
		int rc = vfd_migration_read(device, data, sizeof data, &size, &err);
		if (rc == -ENOMSG)
			return;
		check(rc);
		check_file(fwrite(data, 1, size, stdout) == size, "writing");
	}
}

/* While it runs first, if it can: what is read then is not read while it is stopped. */
static void save(struct vfd_device *device)
{
	struct vfd_migration_info info = { .struct_size = sizeof info };

	check(vfd_migration_info(device, &info, &err));
	if (info.flags & VFD_MIG_CAN_PRE_COPY) {
		check(vfd_migration_set(&device, 1, VFD_MIG_PRE_COPY, &err));
		save_some(device);
	}
	check(vfd_migration_set(&device, 1, VFD_MIG_STOP_COPY, &err));
	save_some(device);
	check_file(!fflush(stdout), "writing");
	check(vfd_migration_cancel(&device, 1, 0, &err)); /* it was a copy: this one goes on */
}

static void load_all(struct vfd_device *device, const char *data, size_t size)
{
	for (size_t at = 0, done = 0; at < size; at += done)
		check(vfd_migration_write(device, data + at, size - at, &done, &err));
}

/* The device says only at the end whether it has understood. */
static void load(struct vfd_device *device)
{
	static char data[1 << 16];
	size_t size;

	check(vfd_migration_set(&device, 1, VFD_MIG_RESUMING, &err));
	while ((size = fread(data, 1, sizeof data, stdin)))
		load_all(device, data, size);
	check_file(!ferror(stdin), "reading");
	check(vfd_migration_set(&device, 1, VFD_MIG_RUNNING, &err));
}

static void work(const char *what, struct vfd_device *device)
{
	if (!strcmp(what, "save"))
		save(device);
	else if (!strcmp(what, "load"))
		load(device);
	else
		show(device);
}

static int is_command(const char *what)
{
	return !strcmp(what, "info") || !strcmp(what, "save") || !strcmp(what, "load");
}

int main(int argc, char **argv)
{
	struct vfd_container *container;
	struct vfd_group *group;
	struct vfd_device *device;

	if (argc == 2 && !strcmp(argv[1], "--help"))
		return fputs(usage_text, stdout) < 0;
	if (argc != 3 || !is_command(argv[1])) {
		fputs(usage_text, stderr);
		return 2;
	}
	check(vfd_container_open(NULL, &container, &err));
	check(vfd_group_attach_device(container, argv[2], &group, &err));
	check(vfd_device_open(group, argv[2], &device, &err));
	work(argv[1], device);
	check(vfd_container_close(&container, VFD_COLLECT, &err));
	return 0;
}
