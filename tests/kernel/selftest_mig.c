// SPDX-License-Identifier: MIT
/*
 * selftest_mig - the devices' migration
 */
#define _GNU_SOURCE
#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "selftest.h"

/* Headers may be older than the kernel. */
#ifndef VFIO_MIGRATION_PRE_COPY
#define VFIO_MIGRATION_PRE_COPY	(1 << 2)
#define VFIO_MIG_GET_PRECOPY_INFO	_IO(VFIO_TYPE, VFIO_BASE + 21)
#define VFIO_DEVICE_FEATURE_MIG_DATA_SIZE	9
struct vfio_precopy_info {
	__u32 argsz;
	__u32 flags;
	__aligned_u64 initial_bytes;
	__aligned_u64 dirty_bytes;
};
#endif

enum { ERROR, STOP, RUNNING, STOP_COPY, RESUMING, RUNNING_P2P, PRE_COPY, PRE_COPY_P2P };
static const char *const names[] = {
	"ERROR", "STOP", "RUNNING", "STOP_COPY", "RESUMING", "RUNNING_P2P", "PRE_COPY", "PRE_COPY_P2P",
};

enum { ALL = VFIO_MIGRATION_STOP_COPY | VFIO_MIGRATION_P2P | VFIO_MIGRATION_PRE_COPY };

static uint8_t stream[4096];

static int go(struct session *s, uint32_t index, uint32_t state, int *fd)
{
	struct vfio_device_feature_mig_state m = { .device_state = state };
	int ret = feature(s->device[index],
			  VFIO_DEVICE_FEATURE_SET | VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE, &m, sizeof(m));

	if (fd)
		*fd = m.data_fd;
	else if (m.data_fd >= 0)
		close(m.data_fd);
	return ret;
}

static uint32_t state_of(struct session *s, uint32_t index)
{
	struct vfio_device_feature_mig_state m = { .device_state = 99 };

	need(!feature(s->device[index], VFIO_DEVICE_FEATURE_GET | VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE, &m,
		      sizeof(m)), "GET state");
	return m.device_state;
}

/* Two devices that can migrate so; false where the kernel cannot. */
static bool begin_migration(struct session *s, uint64_t flags)
{
	if (set(0, VFDTEST_MIG, flags) || set(1, VFDTEST_MIG, flags))
		return false;
	*s = begin();
	attach(s, 1);
	open_device(s, 1);
	return true;
}

static void end_migration(struct session *s)
{
	end(s);
	need(!set(0, VFDTEST_MIG, 0) && !set(1, VFDTEST_MIG, 0), "SET MIG");
}

static void set_registers(struct session *s, uint32_t index, uint8_t first)
{
	uint8_t bytes[VFDTEST_MIG_REGISTERS];
	size_t i;

	for (i = 0; i < sizeof(bytes); i++)
		bytes[i] = first + i * 3;
	need(pwrite(s->device[index], bytes, sizeof(bytes), 0) == sizeof(bytes), "write registers");
}

static bool same_registers(struct session *s)
{
	uint8_t a[VFDTEST_MIG_REGISTERS], b[VFDTEST_MIG_REGISTERS];

	need(pread(s->device[0], a, sizeof(a), 0) == sizeof(a) &&
	     pread(s->device[1], b, sizeof(b), 0) == sizeof(b), "read registers");
	return !memcmp(a, b, sizeof(a));
}

/* What is in the stream now; its errno at the end in err. */
static size_t read_all(int fd, size_t at, int *err)
{
	ssize_t n;

	while ((n = read(fd, stream + at, 100)) > 0)
		at += n;
	*err = n ? errno : 0;
	return at;
}

/* RUNNING to STOP_COPY: the whole stream. */
static size_t save(struct session *s)
{
	size_t size;
	int fd, err;

	need(!go(s, 0, STOP_COPY, &fd) && fd >= 0, "STOP_COPY");
	size = read_all(fd, 0, &err);
	check(size > VFDTEST_MIG_REGISTERS && !err, "the stream has %zu bytes and ends", size);
	close(fd);
	return size;
}

/* Into device 1, up to STOP. */
static int load(struct session *s, size_t size)
{
	int fd, ret;

	need(!go(s, 1, RESUMING, &fd) && fd >= 0, "RESUMING");
	need(write(fd, stream, size) == (ssize_t)size, "write the stream");
	ret = go(s, 1, STOP, NULL);
	close(fd);
	return ret;
}

static void test_states(void)
{
	struct vfio_device_feature_migration m = { 0 };
	struct session s = begin();
	static const uint32_t tour[] = { STOP, RUNNING, STOP_COPY, RUNNING_P2P, RESUMING };
	uint32_t state;
	size_t i;

	check_errno(go(&s, 0, STOP, NULL), ENOTTY, "a device that cannot migrate");
	check_errno(set(0, VFDTEST_MIG, VFIO_MIGRATION_STOP_COPY), EBUSY, "it cannot learn it while it is open");
	end(&s);
	need(begin_migration(&s, VFIO_MIGRATION_STOP_COPY | VFIO_MIGRATION_P2P), "SET MIG");
	check(!feature(s.device[0], VFIO_DEVICE_FEATURE_GET | VFIO_DEVICE_FEATURE_MIGRATION, &m, sizeof(m)) &&
	      m.flags == (VFIO_MIGRATION_STOP_COPY | VFIO_MIGRATION_P2P), "it says what it can");
	check(state_of(&s, 0) == RUNNING, "it runs when opened");
	for (i = 0; i < sizeof(tour) / sizeof(tour[0]); i++) {
		state = tour[i];
		check(!go(&s, 0, state, NULL) && state_of(&s, 0) == state && status_of(0).mig_state == state &&
		      !dev_write(0, IOVA, 8) == (state == RUNNING), "%s: it %s", names[state],
		      state == RUNNING ? "writes" : "does not write");
	}
	check_errno(go(&s, 0, PRE_COPY, NULL), EINVAL, "PRE_COPY was not offered");
	check_errno(go(&s, 0, RUNNING, NULL), EINVAL, "out of RESUMING, without a stream");
	check(!ioctl(s.device[0], VFIO_DEVICE_RESET) && !dev_write(0, IOVA, 8), "a reset leads out");
	end_migration(&s);
}

static void test_stopped_writer(void)
{
	struct session s;
	uint64_t writes, bits;

	need(begin_migration(&s, VFIO_MIGRATION_STOP_COPY | VFIO_MIGRATION_P2P), "SET MIG");
	need(!run(0, IOVA, PAGES * PAGE, 0), "RUN");
	need(!command(VFDTEST_PIN, 0, IOVA, PAGE, VFDTEST_PIN_WRITE), "PIN");
	usleep(10000);
	need(!go(&s, 0, RUNNING_P2P, NULL), "RUNNING_P2P");
	truth(0, IOVA, 64, &bits, VFDTEST_TRUTH_CLEAR);
	writes = status_of(0).writes;
	usleep(20000);
	check(status_of(0).writes == writes && !truth_word(0, IOVA) && status_of(0).running,
	      "in RUNNING_P2P the writer pauses, and pins are not written");
	need(!go(&s, 0, RUNNING, NULL), "RUNNING");
	usleep(20000);
	check(status_of(0).writes > writes && truth_word(0, IOVA), "in RUNNING they go on");
	need(!go(&s, 0, STOP, NULL), "STOP");
	check(!ioctl(s.device[0], VFIO_DEVICE_RESET) && state_of(&s, 0) == RUNNING && !status_of(0).running,
	      "a reset in STOP ends in RUNNING, without a writer");
	end_migration(&s);
}

static void test_transfer(void)
{
	struct vfio_device_feature_mig_state m;
	uint64_t length = 0;
	struct session s;
	size_t size;
	int fd;

	need(begin_migration(&s, VFIO_MIGRATION_STOP_COPY), "SET MIG");
	set_registers(&s, 0, 7);
	size = save(&s);
	if (feature(s.device[0], VFIO_DEVICE_FEATURE_GET | VFIO_DEVICE_FEATURE_MIG_DATA_SIZE, &length, 8))
		skip("the announced size", "this kernel does not ask for it");
	else
		check(length == size, "it had announced that size");
	check(!load(&s, size) && same_registers(&s), "the registers arrive");
	check(!go(&s, 1, RUNNING, NULL) && !dev_write(1, IOVA, 8), "and the new one runs");

	need(!go(&s, 0, RUNNING, NULL) && !go(&s, 0, STOP_COPY, &fd) && !go(&s, 0, STOP, NULL), "states");
	check_errno(read(fd, stream, 1), ENODEV, "reading a stream whose state was left");
	close(fd);
	m.device_state = 99;
	check_errno(feature(s.device[0], VFIO_DEVICE_FEATURE_SET | VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE, &m,
			    sizeof(m)), EINVAL, "a state that is none");
	end_migration(&s);
}

/* A wrong stream is refused, whatever is wrong with it; a right one is taken after all. */
static void test_refusals(void)
{
	size_t size, i, taken = 0;
	struct session s;

	need(begin_migration(&s, VFIO_MIGRATION_STOP_COPY), "SET MIG");
	set_registers(&s, 0, 1);
	size = save(&s);
	for (i = 0; i < size; i++) {
		taken += !load(&s, i);
		need(!ioctl(s.device[1], VFIO_DEVICE_RESET), "RESET");
	}
	check(!taken, "a stream cut short is refused, at each of %zu lengths", size);
	for (i = 0; i < size; i++) {
		stream[i] ^= 1 << i % 8;
		taken += !load(&s, size);
		stream[i] ^= 1 << i % 8;
		need(!ioctl(s.device[1], VFIO_DEVICE_RESET), "RESET");
	}
	check(!taken, "one with a bit changed, at each byte");
	check_errno(load(&s, size + 1), EINVAL, "one that is too long");
	check(state_of(&s, 1) == RESUMING && !same_registers(&s), "nothing of it is taken, it is still RESUMING");
	need(!ioctl(s.device[1], VFIO_DEVICE_RESET), "RESET");
	check(!load(&s, size) && same_registers(&s), "after a reset the right one is");
	end_migration(&s);
}

static uint64_t dirty_bytes(int fd, uint64_t *initial)
{
	struct vfio_precopy_info info = { .argsz = sizeof(info) };

	need(!ioctl(fd, VFIO_MIG_GET_PRECOPY_INFO, &info), "PRECOPY_INFO");
	*initial = info.initial_bytes;
	return info.dirty_bytes;
}

static void test_precopy(uint32_t flags)
{
	struct vfio_precopy_info info = { .argsz = sizeof(info) };
	uint64_t initial = 0, dirty;
	size_t first, size;
	struct session s;
	int fd, none, err;

	need(begin_migration(&s, flags), "SET MIG");
	set_registers(&s, 0, 7);
	check(!go(&s, 0, PRE_COPY, &fd) && fd >= 0 && !dev_write(0, IOVA, 8), "PRE_COPY: it runs, with a stream");
	dirty = dirty_bytes(fd, &initial);
	check(!dirty && initial, "PRECOPY_INFO: %llu bytes to begin with",
	      (unsigned long long)initial);
	first = read_all(fd, 0, &err);
	check(first == initial && err == ENOMSG, "they can be read, then there is nothing new");
	set_registers(&s, 0, 9);
	dirty = dirty_bytes(fd, &initial);
	size = read_all(fd, first, &err);
	check(dirty == size - first && dirty && !initial, "changed registers are new");
	set_registers(&s, 0, 11);
	check(!go(&s, 0, STOP_COPY, &none) && none == -1 && dev_write(0, IOVA, 8),
	      "STOP_COPY: the same stream, and no more writes");
	check_errno(ioctl(fd, VFIO_MIG_GET_PRECOPY_INFO, &info), EINVAL, "no PRECOPY_INFO then");
	size = read_all(fd, size, &err);
	check(!err && !load(&s, size) && same_registers(&s), "early and last records together arrive");
	close(fd);
	end_migration(&s);
}

static void test_chunks(void)
{
	struct session s;
	ssize_t n, size = 0;
	uint8_t byte;
	int fd;

	need(begin_migration(&s, VFIO_MIGRATION_STOP_COPY), "SET MIG");
	need(!set(0, VFDTEST_MIG_PADDING, 64 << 10) && !set(0, VFDTEST_MIG_CHUNK, 33), "SET");
	need(!go(&s, 0, STOP_COPY, &fd), "STOP_COPY");
	while ((n = read(fd, stream, sizeof(stream))) > 0 && n <= 33)
		size += n;
	check(!n && size > 64 << 10, "a long stream (%zd bytes), 33 bytes at a time", size);
	close(fd);
	need(!set(1, VFDTEST_MIG_CHUNK, 10) && !go(&s, 1, RESUMING, &fd), "RESUMING");
	check(write(fd, stream, 100) == 10, "and so it is taken");
	check_errno(read(fd, &byte, 1), EBADF, "it cannot be read");
	close(fd);
	set(0, VFDTEST_MIG_PADDING, 0);
	set(0, VFDTEST_MIG_CHUNK, 0xffffffff);
	set(1, VFDTEST_MIG_CHUNK, 0xffffffff);
	end_migration(&s);
}

/* Each arc of a device with P2P and PRE_COPY, as the kernel takes them. */
static const struct arc {
	uint8_t from, to;
} arcs[] = {
	{ RUNNING, RUNNING_P2P }, { RUNNING_P2P, RUNNING }, { RUNNING_P2P, STOP }, { STOP, RUNNING_P2P },
	{ STOP, STOP_COPY }, { STOP_COPY, STOP }, { STOP, RESUMING }, { RESUMING, STOP },
	{ RUNNING, PRE_COPY }, { PRE_COPY, RUNNING }, { PRE_COPY, PRE_COPY_P2P }, { PRE_COPY_P2P, PRE_COPY },
	{ RUNNING_P2P, PRE_COPY_P2P }, { PRE_COPY_P2P, RUNNING_P2P }, { PRE_COPY_P2P, STOP_COPY },
};

/* RESUMING is left only with a stream: that of device 0 is at hand. */
static int enter(struct session *s, uint32_t state, size_t size)
{
	int fd, ret = go(s, 1, state, &fd);

	if (!ret && state == RESUMING)
		need(write(fd, stream, size) == (ssize_t)size, "write the stream");
	if (fd >= 0)
		close(fd);
	return ret;
}

static bool runs(uint32_t state)
{
	return state == RUNNING || state == PRE_COPY;
}

static void fail_arc(struct session *s, const struct arc *a, size_t size)
{
	uint32_t from = a->from, to = a->to;
	bool held, went, broke;

	need(!enter(s, from, size), "go there");
	set(1, VFDTEST_MIG_FAIL, vfdtest_mig_fail(from, to, ENOSPC, 0));
	held = go(s, 1, to, NULL) == -1 && errno == ENOSPC && state_of(s, 1) == from &&
	       !dev_write(1, IOVA, 8) == runs(from);
	set(1, VFDTEST_MIG_FAIL, 0);
	went = !go(s, 1, to, NULL) && state_of(s, 1) == to && !dev_write(1, IOVA, 8) == runs(to);
	need(!ioctl(s->device[1], VFIO_DEVICE_RESET) && !enter(s, from, size), "go there again");
	set(1, VFDTEST_MIG_FAIL, vfdtest_mig_fail(from, to, EIO, 1));
	broke = go(s, 1, to, NULL) == -1 && errno == EIO && state_of(s, 1) == ERROR &&
		go(s, 1, RUNNING, NULL) == -1;
	set(1, VFDTEST_MIG_FAIL, 0);
	need(!ioctl(s->device[1], VFIO_DEVICE_RESET), "RESET");
	check(held && went && broke && state_of(s, 1) == RUNNING,
	      "%s to %s: fails and stays, then goes; breaks, and a reset mends it", names[from], names[to]);
}

static void test_arcs(void)
{
	struct session s;
	size_t size, i;

	need(begin_migration(&s, ALL), "SET MIG");
	size = save(&s);
	for (i = 0; i < sizeof(arcs) / sizeof(arcs[0]); i++)
		fail_arc(&s, &arcs[i], size);
	end_migration(&s);
}

static void test_log_stops(void)
{
	struct vfio_device_feature_dma_logging_range r = { IOVA, PAGES * PAGE };
	struct vfio_device_feature_dma_logging_control c = {
		.page_size = PAGE, .num_ranges = 1, .ranges = (uintptr_t)&r,
	};
	struct session s;

	need(!set(0, VFDTEST_LOG, 1) && begin_migration(&s, VFIO_MIGRATION_STOP_COPY), "SET MIG");
	need(!feature(s.device[0], VFIO_DEVICE_FEATURE_SET | VFIO_DEVICE_FEATURE_DMA_LOGGING_START, &c,
		      sizeof(c)), "START");
	need(!go(&s, 0, STOP_COPY, NULL) && !go(&s, 0, STOP, NULL), "states");
	check(status_of(0).logging, "a log lives on in STOP");
	set(0, VFDTEST_LOG_QUIRKS, VFDTEST_LOG_STOPS);
	need(!go(&s, 0, STOP_COPY, NULL) && !go(&s, 0, STOP, NULL), "states");
	check(!status_of(0).logging, "but not that of a device whose log stops there");
	set(0, VFDTEST_LOG_QUIRKS, 0);
	end_migration(&s);
	set(0, VFDTEST_LOG, 0);
}

void test_migration(void)
{
	test_states();
	test_stopped_writer();
	test_transfer();
	test_refusals();
	test_chunks();
	test_log_stops();
	if (set(0, VFDTEST_MIG, ALL)) {
		skip("PRE_COPY, and every arc", "this kernel knows no PRE_COPY");
		return;
	}
	test_precopy(VFIO_MIGRATION_STOP_COPY | VFIO_MIGRATION_PRE_COPY);
	test_precopy(ALL);
	test_arcs();
}
