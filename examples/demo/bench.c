/* SPDX-License-Identifier: MIT */

/* The device under test of tests/kernel: it writes when told to, through the kernel's own DMA path. */

#include "demo.h"

#include <fcntl.h>
#include <sys/ioctl.h>

#include "vfdtest.h"

void bench_device(struct device *device)
{
	struct vfdtest_status status = { .device = 0 };

	*device = (struct device){ .name = "vfdtest.0", .bench = open(VFDTEST_PATH, O_RDWR | O_CLOEXEC) };
	if (device->bench < 0)
		die_errno(VFDTEST_PATH
			  " (this program runs in the emulated machine that demo.sh boots; or use --host)");
	if (ioctl(device->bench, VFDTEST_STATUS, &status))
		die_errno("VFDTEST_STATUS");
	if (status.group < 0)
		die("the test device is not there");
	device->group = status.group;
}

void device_run(const struct source *s, uint64_t seed)
{
	struct vfdtest_run run = {
		.device = s->device->index, .iova = s->iova, .size = s->size, .seed = seed
	};

	if (s->device->bench >= 0 && ioctl(s->device->bench, VFDTEST_RUN, &run))
		die_errno("VFDTEST_RUN");
}

/* It has stopped by now: HALT only tells the counts. */
uint64_t device_writes(const struct device *device)
{
	struct vfdtest_halt halt = { .device = device->index };

	if (device->bench < 0)
		return 0;
	if (ioctl(device->bench, VFDTEST_HALT, &halt))
		die_errno("VFDTEST_HALT");
	if (halt.failures)
		die("%llu writes of the device failed", (unsigned long long)halt.failures);
	return halt.writes;
}
