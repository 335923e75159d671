// SPDX-License-Identifier: MIT
/*
 * stress - everything at once, to see that the test device never makes the
 * kernel complain: run.sh turns red if it does.
 *
 * One thread opens and closes containers and asks the devices in them to log and
 * to migrate, one unplugs and plugs in, two give random commands. Nothing is checked but that all of them get somewhere.
 * Nobody unmaps what may be pinned at the same time: a mapping found pinned ten
 * times over is a BUG() by the kernel's own design, whoever the driver is.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/vfio.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "vfdtest.h"

#define SIZE	(256 * VFDTEST_PAGE_SIZE)

static int bench;
static void *memory;
static atomic_int done;
static atomic_ullong sessions, features, plugs, commands, succeeded, refusals;

static int status_of(uint32_t device, struct vfdtest_status *s)
{
	s->device = device;
	return ioctl(bench, VFDTEST_STATUS, s);
}

static int open_device(int container, uint32_t index, int *group)
{
	struct vfdtest_status s = { 0 };
	char path[64], name[32];

	if (status_of(index, &s) || s.group < 0)
		return -1;
	snprintf(path, sizeof(path), "/dev/vfio/%d", s.group);
	snprintf(name, sizeof(name), "vfdtest.%u", index);
	*group = open(path, O_RDWR | O_CLOEXEC);
	if (*group < 0 || ioctl(*group, VFIO_GROUP_SET_CONTAINER, &container))
		return -1;
	ioctl(container, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU);
	return ioctl(*group, VFIO_GROUP_GET_DEVICE_FD, name);
}

static void map_and_start(int container)
{
	struct vfio_iommu_type1_dirty_bitmap d = {
		.argsz = sizeof(d), .flags = VFIO_IOMMU_DIRTY_PAGES_FLAG_START,
	};
	struct vfio_iommu_type1_dma_map m = {
		.argsz = sizeof(m), .size = SIZE, .vaddr = (uintptr_t)memory,
		.flags = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE,
	};

	ioctl(container, VFIO_IOMMU_MAP_DMA, &m);
	ioctl(container, VFIO_IOMMU_DIRTY_PAGES, &d);
}

static int feature(int device, uint32_t flags, const void *data, size_t size)
{
	struct {
		struct vfio_device_feature f;
		uint8_t data[64];
	} __attribute__((aligned(8))) a = { .f = { .argsz = sizeof(a.f) + size, .flags = flags } };

	memcpy(a.data, data, size);
	return ioctl(device, VFIO_DEVICE_FEATURE, &a) ? -1 : *(int *)(a.data + 4);
}

/* To a state, and some garbage into the stream or out of it. */
static void random_state(int device, unsigned int *seed)
{
	struct vfio_device_feature_mig_state m = { .device_state = 1 + rand_r(seed) % 7 };
	char some[100] = { 0 };
	int fd = feature(device, VFIO_DEVICE_FEATURE_SET | VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE, &m, sizeof(m));

	if (fd < 0)
		return;
	refusals += read(fd, some, sizeof(some)) < 0 && write(fd, some, sizeof(some)) < 0;
	close(fd);
}

static void random_feature(int device, unsigned int *seed)
{
	uint64_t bits[SIZE / VFDTEST_PAGE_SIZE / 64] = { 0 };
	struct vfio_device_feature_dma_logging_range range = { .length = SIZE };
	struct vfio_device_feature_dma_logging_control start = {
		.page_size = VFDTEST_PAGE_SIZE, .num_ranges = 1, .ranges = (uintptr_t)&range,
	};
	struct vfio_device_feature_dma_logging_report report = {
		.length = SIZE, .page_size = VFDTEST_PAGE_SIZE, .bitmap = (uintptr_t)bits,
	};

	switch (rand_r(seed) % 8) {
	case 0:
		random_state(device, seed);
		break;
	case 1:
		feature(device, VFIO_DEVICE_FEATURE_SET | VFIO_DEVICE_FEATURE_DMA_LOGGING_STOP, &start, 0);
		break;
	case 2:
		feature(device, VFIO_DEVICE_FEATURE_SET | VFIO_DEVICE_FEATURE_DMA_LOGGING_START, &start,
			sizeof(start));
		break;
	default:
		feature(device, VFIO_DEVICE_FEATURE_GET | VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT, &report,
			sizeof(report));
	}
	features++;
}

static void *session_thread(void *arg)
{
	unsigned int seed = 1;

	while (!done) {
		int container = open("/dev/vfio/vfio", O_RDWR | O_CLOEXEC);
		int group[2] = { -1, -1 }, device[2];
		uint32_t i;

		for (i = 0; i < 2; i++)
			device[i] = open_device(container, i, &group[i]);
		map_and_start(container);
		for (i = 0; i < 20; i++) {
			random_feature(device[i % 2], &seed);
			usleep(rand_r(&seed) % 150);
		}
		for (i = 0; i < 2; i++) {
			if (device[i] >= 0 && rand_r(&seed) % 2)
				ioctl(device[i], VFIO_DEVICE_RESET);
			close(device[i]);
			close(group[i]);
		}
		close(container);
		sessions++;
	}
	return arg;
}

static void *plug_thread(void *arg)
{
	struct vfdtest_plug plug = { .device = 1 };

	while (!done) {
		plugs += !ioctl(bench, VFDTEST_REMOVE, &plug);
		usleep(5000);
		ioctl(bench, VFDTEST_ADD, &plug);
		usleep(5000);
	}
	ioctl(bench, VFDTEST_ADD, &plug);
	return arg;
}

static int random_command(unsigned int *seed)
{
	static const unsigned long range_commands[] = {
		VFDTEST_WRITE, VFDTEST_READ, VFDTEST_PIN, VFDTEST_UNPIN,
	};
	uint64_t bits[SIZE / VFDTEST_PAGE_SIZE / 64];
	uint32_t device = rand_r(seed) % 2;
	uint64_t iova = (rand_r(seed) % 256) * VFDTEST_PAGE_SIZE;
	struct vfdtest_range r = {
		.device = device, .flags = rand_r(seed) % 4, .iova = iova,
		.size = (1 + rand_r(seed) % 4) * VFDTEST_PAGE_SIZE, .value = rand_r(seed),
	};
	struct vfdtest_run run = { .device = device, .flags = rand_r(seed) % 2, .size = SIZE, .seed = iova };
	struct vfdtest_halt halt = { .device = device };
	struct vfdtest_status status = { 0 };
	struct vfdtest_truth truth = {
		.device = device, .flags = rand_r(seed) % 2, .size = SIZE,
		.bitmap = (uintptr_t)bits,
	};

	switch (rand_r(seed) % 16) {
	case 0:
		return ioctl(bench, VFDTEST_RUN, &run);
	case 1:
		return ioctl(bench, VFDTEST_HALT, &halt);
	case 2:
		return ioctl(bench, VFDTEST_TRUTH, &truth);
	case 3:
		return status_of(device, &status);
	default:
		return ioctl(bench, range_commands[rand_r(seed) % 4], &r);
	}
}

static void *command_thread(void *arg)
{
	unsigned int seed = (uintptr_t)arg;

	while (!done) {
		succeeded += !random_command(&seed);
		commands++;
	}
	return NULL;
}

static void offer(uint32_t device, uint32_t knob, uint64_t value)
{
	struct vfdtest_set set = { .device = device, .knob = knob, .value = value };

	if (ioctl(bench, VFDTEST_SET, &set))
		perror("SET");
}

int main(int argc, char **argv)
{
	pthread_t t[4];
	int i;

	bench = open(VFDTEST_PATH, O_RDWR | O_CLOEXEC);
	memory = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (bench < 0 || memory == MAP_FAILED)
		return 1;
	for (i = 0; i < 2; i++) {
		offer(i, VFDTEST_LOG, 1);
		offer(i, VFDTEST_MIG, VFIO_MIGRATION_STOP_COPY | VFIO_MIGRATION_P2P);
	}
	pthread_create(&t[0], NULL, session_thread, NULL);
	pthread_create(&t[1], NULL, plug_thread, NULL);
	pthread_create(&t[2], NULL, command_thread, (void *)2);
	pthread_create(&t[3], NULL, command_thread, (void *)3);
	sleep(argc > 1 ? atoi(argv[1]) : 5);
	done = 1;
	for (i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
	close(bench);
	printf("%llu sessions, %llu features, %llu unplugs, %llu commands, %llu succeeded\n",
	       sessions, features, plugs, commands, succeeded);
	if (system("rmmod vfdtest && insmod /vfd/modules/vfdtest.ko"))
		return 1;
	return sessions > 10 && plugs > 2 && succeeded > 100 ? 0 : 1;
}
