/* SPDX-License-Identifier: MIT */

/* A device of this machine. It may be somebody's disk: look first, and touch nothing that is in use. */

#include "demo.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <libgen.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static struct {
	const char *address;
	char driver[64]; /* "" : it has none */
	pid_t owner;	 /* who is to give it back */
	/* for giving back, which a signal's handler may have to do: it must not put texts together */
	char link[PATH_MAX], unbind[PATH_MAX], override[PATH_MAX], done[PATH_MAX], failed[PATH_MAX];
} host;

static bool write_text(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	size_t length = strlen(text);
	bool done = fd >= 0 && write(fd, text, length) == (ssize_t)length;

	if (fd >= 0)
		close(fd);
	return done;
}

static const char *device_path(const char *file)
{
	static char path[PATH_MAX];

	snprintf(path, sizeof path, "/sys/bus/pci/devices/%s%s", host.address, file);
	return path;
}

/* The last part of a link's target; false: there is no such link. */
static bool link_name(const char *path, char *name, size_t size)
{
	char target[PATH_MAX];
	ssize_t n = readlink(path, target, sizeof target - 1);

	if (n < 0)
		return false;
	target[n] = 0;
	snprintf(name, size, "%s", basename(target));
	return true;
}

/* ---- is it somebody's disk? ----------------------------------------------------------------------------------------- */

/* With multipath the disk of an NVMe controller lies in its subsystem, not below the controller. */
static bool in_subsystem(const char *link)
{
	const char *part = strstr(link, "/nvme-subsystem/");
	char pattern[PATH_MAX], member[PATH_MAX];
	bool found = false;
	glob_t controllers;

	if (!part)
		return false;
	part += strlen("/nvme-subsystem/");
	snprintf(pattern, sizeof pattern, "%s", device_path("/nvme/nvme*"));
	if (glob(pattern, 0, NULL, &controllers))
		return false;
	for (size_t i = 0; i < controllers.gl_pathc; i++) {
		snprintf(member, sizeof member, "/sys/class/nvme-subsystem/%.*s/%s", (int)strcspn(part, "/"),
			 part, basename(controllers.gl_pathv[i]));
		found |= !access(member, F_OK);
	}
	globfree(&controllers);
	return found;
}

static bool is_ours(const char *block)
{
	char target[PATH_MAX], part[64];
	ssize_t n = readlink(block, target, sizeof target - 1);

	if (n < 0)
		return false;
	target[n] = 0;
	snprintf(part, sizeof part, "/%s/", host.address);
	return strstr(target, part) || in_subsystem(target);
}

/* Whether a line of a file has the text as one of its words. */
static bool file_has_word(const char *path, const char *word)
{
	char line[4096], *save;
	bool found = false;
	FILE *f = fopen(path, "re");

	if (!f)
		return false;
	while (!found && fgets(line, sizeof line, f))
		for (char *w = strtok_r(line, " \t\n", &save); w && !found;
		     w = strtok_r(NULL, " \t\n", &save))
			found = !strcmp(w, word);
	fclose(f);
	return found;
}

static void refuse_mounted(const char *block, const char *node)
{
	char path[PATH_MAX], number[32] = "";
	FILE *f;

	snprintf(path, sizeof path, "%s/dev", block);
	f = fopen(path, "re");
	if (!f || fscanf(f, "%31s", number) != 1)
		die("%s: cannot tell whether it is in use; refused", node);
	fclose(f);
	if (file_has_word("/proc/self/mountinfo", number) || file_has_word("/proc/self/mountinfo", node))
		die("%s: it has a disk that is mounted (%s); refused, whatever the options", host.address,
		    node);
	if (file_has_word("/proc/swaps", node))
		die("%s: it has a disk that is used for swap (%s); refused, whatever the options",
		    host.address, node);
}

static void refuse_held(const char *block, const char *node)
{
	char pattern[PATH_MAX];
	glob_t holders;

	snprintf(pattern, sizeof pattern, "%s/holders/*", block);
	if (!glob(pattern, 0, NULL, &holders))
		die("%s: its disk %s is part of %s; refused, whatever the options", host.address, node,
		    basename(holders.gl_pathv[0]));
}

/* The kernel's own word: a disk that anybody mounted, in any namespace, or uses otherwise cannot be opened exclusively. */
static void refuse_claimed(const char *node)
{
	int fd = open(node, O_RDONLY | O_EXCL | O_CLOEXEC);

	if (fd < 0)
		die("%s: cannot make sure that nobody uses its disk %s (%s); refused, whatever the options",
		    host.address, node, strerror(errno));
	close(fd);
}

static void refuse_disk_in_use(void)
{
	char node[PATH_MAX];
	glob_t blocks;

	if (glob("/sys/class/block/*", 0, NULL, &blocks))
		return;
	for (size_t i = 0; i < blocks.gl_pathc; i++) {
		if (!is_ours(blocks.gl_pathv[i]))
			continue;
		snprintf(node, sizeof node, "/dev/%s", basename(blocks.gl_pathv[i]));
		refuse_mounted(blocks.gl_pathv[i], node);
		refuse_held(blocks.gl_pathv[i], node);
		refuse_claimed(node);
	}
	globfree(&blocks);
}

/* ---- the driver ------------------------------------------------------------------------------------------------------ */

static bool bound_to(const char *driver)
{
	char target[PATH_MAX];
	ssize_t n = readlink(host.link, target, sizeof target - 1);
	const char *name;

	if (n < 0)
		return false;
	target[n] = 0;
	name = strrchr(target, '/');
	return name && !strcmp(name + 1, driver);
}

/* The receiver inherits what is to be done at the end, but only the process that took the device gives it back. And it closes
 * everything first: a driver cannot be unbound while its device is open. */
static void give_back(void)
{
	if (getpid() != host.owner)
		return;
	/* NOLINTNEXTLINE(bugprone-signal-handler): it is one system call; musl has no function for it */
	syscall(SYS_close_range, STDERR_FILENO + 1, ~0u, 0);
	write_text(host.unbind, host.address);
	write_text(host.override, "\n");
	write_text("/sys/bus/pci/drivers_probe", host.address);
	const char *said = host.driver[0] && !bound_to(host.driver) ? host.failed : host.done;
	if (write(STDERR_FILENO, said, strlen(said)) < 0)
		return; /* nobody is listening */
}

static void interrupted(int number)
{
	give_back();
	_exit(128 + number);
}

static void prepare_to_give_back(void)
{
	snprintf(host.link, PATH_MAX, "%s", device_path("/driver"));
	snprintf(host.unbind, PATH_MAX, "%s", device_path("/driver/unbind"));
	snprintf(host.override, PATH_MAX, "%s", device_path("/driver_override"));
	snprintf(host.done, PATH_MAX, "demo: %s is given back to %s\n", host.address,
		 host.driver[0] ? host.driver : "nobody");
	snprintf(host.failed, PATH_MAX, "demo: %s did not go back to its driver %s\n", host.address,
		 host.driver);
}

static void take_over(void)
{
	prepare_to_give_back();
	fprintf(stderr, "demo: taking %s from %s\n", host.address, host.driver[0] ? host.driver : "nobody");
	host.owner = getpid();
	atexit(give_back);
	signal(SIGINT, interrupted);
	signal(SIGTERM, interrupted);
	signal(SIGPIPE, SIG_IGN);
	if (!write_text(host.override, "vfio-pci"))
		die_errno(host.override);
	if (host.driver[0] && !write_text(host.unbind, host.address))
		die_errno(host.unbind);
	if (!write_text("/sys/bus/pci/drivers_probe", host.address) || !bound_to("vfio-pci"))
		die("%s: vfio-pci does not take it; is the module loaded (modprobe vfio-pci)?", host.address);
}

static void check_driver(bool rebind)
{
	if (!link_name(device_path("/driver"), host.driver, sizeof host.driver))
		host.driver[0] = 0;
	if (!strcmp(host.driver, "vfio-pci"))
		return;
	if (!rebind)
		die("%s is %s%s, not bound to vfio-pci; say --rebind to borrow it for the time of the demo",
		    host.address, host.driver[0] ? "bound to " : "without a driver", host.driver);
	take_over();
}

void host_device(struct device *device, const char *address, bool rebind)
{
	char group[32];

	host.address = address;
	if (strchr(address, '/') || access(device_path(""), F_OK))
		die("%s: no such PCI device (as in 0000:3b:00.0)", address);
	if (!link_name(device_path("/iommu_group"), group, sizeof group))
		die("%s is in no IOMMU group: this machine's IOMMU is off (intel_iommu=on, or in the "
		    "firmware), or it has none",
		    address);
	refuse_disk_in_use();
	check_driver(rebind);
	*device = (struct device){ .name = address, .group = atoi(group), .bench = -1 };
}
