/* SPDX-License-Identifier: MIT */

/* A device that writes to the memory by DMA: one that migrates goes along, another is quiesced before the last harvest. The test device
 * of tests/kernel is told to write; others do what they do. */

#include "tool.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "vfdtest.h"

enum { IOVA = 1 << 24 };

static int map(struct guest *g, struct vfd_error *vfd)
{
	struct vfd_mapping mapping = { .struct_size = sizeof mapping,
				       .flags = VFD_MAP_READ | VFD_MAP_WRITE,
				       .iova = IOVA,
				       .size = g->size,
				       .memory = g->memory };

	return vfd_map(g->device.container, &mapping, vfd);
}

/* One line each; fprintf() keeps lines of several threads apart. */
static void print(const struct vfd_message *message, void *opaque)
{
	static const char *const levels[] = { "", "error", "warning", "info", "debug" };

	(void)opaque;
	fprintf(stderr, "vfd-migrate: %s: %s\n", levels[message->level], message->text);
}

static int open_container(struct guest *g, bool verbose, struct vfd_error *vfd)
{
	struct vfd_container_options options = { .struct_size = sizeof options, .log = g->log };
	int rc = vfd_container_open(&options, &g->device.container, vfd);

	if (!rc && verbose)
		rc = vfd_container_messages(g->device.container, VFD_LEVEL_INFO, print, NULL, vfd);
	return rc;
}

int device_open(struct guest *g, const struct settings *s, struct mig_error *err)
{
	const char *name = s->device;
	struct vfd_migration_info info = { .struct_size = sizeof info };
	struct device *d = &g->device;
	struct vfd_error vfd;

	if (!name)
		return 0;
	if (open_container(g, s->verbose, &vfd) ||
	    vfd_group_attach_device(d->container, name, &d->group, &vfd) || map(g, &vfd) ||
	    vfd_device_open(d->group, name, &d->vfio, &vfd) || vfd_migration_info(d->vfio, &info, &vfd))
		return mig_fail_vfd(err, &vfd);
	d->migrates = info.flags != 0;
	return 0;
}

/* As fast as it can, everywhere. */
static int let_write(struct guest *g, struct mig_error *err)
{
	const char *name = vfd_device_name(g->device.vfio);
	struct vfdtest_run run = {
		.iova = IOVA, .size = g->size, .seed = 1, .period_ns = 1000000, .burst = 10
	};

	if (strncmp(name, "vfdtest.", 8))
		return 0;
	run.device = (uint32_t)atoi(name + 8);
	int fd = open(VFDTEST_PATH, O_RDWR | O_CLOEXEC);
	int rc =
		fd >= 0 && !ioctl(fd, VFDTEST_RUN, &run) ? 0 : mig_fail(err, "%s: %s", name, strerror(errno));
	if (fd >= 0)
		close(fd);
	return rc;
}

int device_start(struct guest *g, struct mig_error *err)
{
	struct vfd_error vfd;

	if (!g->device.vfio)
		return 0;
	if (vfd_track_start(g->device.container, NULL, NULL, &vfd))
		return mig_fail_vfd(err, &vfd);
	return let_write(g, err);
}

int device_harvest(struct guest *g, bool final, struct vfd_harvest *sum, struct mig_error *err)
{
	return g->device.vfio ? mig_harvest(g->device.container, final, sum, err) : 0;
}

static bool by_hand(const struct guest *g)
{
	return g->device.vfio && !g->device.migrates;
}

int device_pause(struct guest *g, struct mig_error *err)
{
	struct vfd_error vfd;

	return by_hand(g) && vfd_device_quiesce(g->device.vfio, &vfd) ? mig_fail_vfd(err, &vfd) : 0;
}

void device_resume(struct guest *g)
{
	if (by_hand(g))
		vfd_device_resume(g->device.vfio, NULL);
}

void device_close(struct guest *g)
{
	if (g->device.container)
		vfd_container_close(&g->device.container, VFD_DISCARD, NULL);
}
