/* SPDX-License-Identifier: MIT */
/* Migration states in the model kernel, against what was read in Linux 6.12 and its drivers. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <linux/pci_regs.h>

#include "fixture.h"
#include "kernel/vfdtest.h"
#include "uapi.h"

#define ALL	  (UAPI_MIGRATION_STOP_COPY | UAPI_MIGRATION_P2P | UAPI_MIGRATION_PRE_COPY)
#define SET_STATE (UAPI_FEATURE_SET | UAPI_FEATURE_MIG_STATE)
#define STATES	  (UAPI_MIG_PRE_COPY_P2P + 1u)
#define SOURCE	  "0000:00:01.0"
#define TARGET	  "0000:00:02.0"

/* ---- a machine: two devices behind an IOMMU, and an emulated one ---- */

static struct model *m;
static int container, source, target, vfdtest;
static char *memory;

static const struct model_log plain;
static const struct model_migration everything = { .flags = ALL };

static const struct model_config machine = {
	.group_count = 2,
	.groups = { { .number = 20,
		      .kind = MODEL_PHYSICAL,
		      .devices = { { .name = SOURCE, .pci = true, .log = &plain, .migration = &everything },
				   { .name = TARGET, .pci = true, .migration = &everything } } },
		    { .number = 7,
		      .kind = MODEL_EMULATED,
		      .devices = { { .name = NAME(0), .migration = &everything } } } },
};

static int sys_ioctl(int fd, unsigned long request, const void *argument)
{
	return m->sys.ioctl(&m->sys, fd, request, (void *)(uintptr_t)argument);
}

static int attach(const char *path)
{
	int fd = m->sys.open(&m->sys, path, 2);

	ck_assert_int_eq(sys_ioctl(fd, VFIO_GROUP_SET_CONTAINER, &container), 0);
	return fd;
}

static void up(const struct model_migration *migration)
{
	const uint8_t command = PCI_COMMAND_MASTER;

	m = model_new(&machine);
	memory = mmap(NULL, 64 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	container = m->sys.open(&m->sys, "/dev/vfio/vfio", 2);
	int physical = attach("/dev/vfio/20"), emulated = attach("/dev/vfio/7");
	ck_assert_int_eq(sys_ioctl(container, VFIO_SET_IOMMU, (void *)(uintptr_t)VFIO_TYPE1v2_IOMMU), 0);
	struct vfio_iommu_type1_dma_map map = { .argsz = sizeof map,
						.flags = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE,
						.vaddr = (uintptr_t)memory,
						.size = 64 * PAGE };
	ck_assert_int_eq(sys_ioctl(container, VFIO_IOMMU_MAP_DMA, &map), 0);
	source = sys_ioctl(physical, VFIO_GROUP_GET_DEVICE_FD, SOURCE);
	target = sys_ioctl(physical, VFIO_GROUP_GET_DEVICE_FD, TARGET);
	vfdtest = sys_ioctl(emulated, VFIO_GROUP_GET_DEVICE_FD, NAME(0));
	m->sys.pwrite(&m->sys, source, &command, 1,
		      ((uint64_t)VFIO_PCI_CONFIG_REGION_INDEX << 40) + PCI_COMMAND);
	if (migration)
		model_set_migration(m, SOURCE, migration);
}

static void down(void)
{
	ck_assert_msg(!model_crashed(m), "%s", model_crashed(m));
	model_free(m);
	munmap(memory, 64 * PAGE);
}

/* ---- calls ---- */

static int feature(int fd, uint32_t flags, void *data, size_t size)
{
	struct {
		struct uapi_feature head;
		char data[32];
	} ask = { .head = { (uint32_t)(sizeof(struct uapi_feature) + size), flags } };
	int result;

	memcpy(ask.data, data, size);
	result = sys_ioctl(fd, VFIO_DEVICE_FEATURE, &ask);
	memcpy(data, ask.data, size);
	return result;
}

static struct uapi_mig_state answer;

static int set(int fd, uint32_t state)
{
	answer = (struct uapi_mig_state){ state, 77 };
	return feature(fd, SET_STATE, &answer, sizeof answer);
}

/* By the kernel's word; it and the model's must agree. */
static uint32_t state_of(int fd)
{
	struct uapi_mig_state ask = { 99, 99 };

	ck_assert_int_eq(feature(fd, UAPI_FEATURE_GET | UAPI_FEATURE_MIG_STATE, &ask, sizeof ask), 0);
	ck_assert_int_eq(ask.data_fd, -1);
	ck_assert_uint_eq(ask.state, model_migration_state(m, fd == source   ? SOURCE
							      : fd == target ? TARGET
									     : NAME(0)));
	return ask.state;
}

static int dma(void)
{
	return model_dma_write(m, SOURCE, PAGE, 8, 1);
}

static ssize_t read_some(int fd, void *data, size_t size)
{
	return m->sys.read(&m->sys, fd, data, size);
}

static ssize_t write_some(int fd, const void *data, size_t size)
{
	return m->sys.write(&m->sys, fd, data, size);
}

/* To the end of the stream. */
static size_t read_all(int fd, char *data, size_t room)
{
	size_t size = 0;
	ssize_t part;

	while ((part = read_some(fd, data + size, room - size)) > 0)
		size += (size_t)part;
	ck_assert_int_eq(part, 0);
	return size;
}

static void set_registers(int fd, char value)
{
	char bytes[MODEL_STATE_SIZE];

	memset(bytes, value, sizeof bytes);
	bytes[MODEL_STATE_SIZE - 1] = 1;
	ck_assert_int_eq(m->sys.pwrite(&m->sys, fd, bytes, sizeof bytes, 0), sizeof bytes);
}

static bool has_registers(int fd, char value)
{
	char bytes[MODEL_STATE_SIZE];

	ck_assert_int_eq(m->sys.pread(&m->sys, fd, bytes, sizeof bytes, 0), sizeof bytes);
	return bytes[0] == value && bytes[MODEL_STATE_SIZE - 2] == value && bytes[MODEL_STATE_SIZE - 1] == 1;
}

/* A stream of the source, which is in STOP_COPY then. */
static size_t saved(char *data, size_t room)
{
	set_registers(source, 42);
	ck_assert_int_eq(set(source, UAPI_MIG_STOP_COPY), 0);
	return read_all(answer.data_fd, data, room);
}

/* ---- features ---- */

START_TEST(features)
{
	struct model_migration some = { .flags = UAPI_MIGRATION_STOP_COPY };
	struct uapi_mig_data_size size = { 0 };
	struct uapi_migration flags = { 0 };

	up(NULL);
	ck_assert_int_eq(feature(source, UAPI_FEATURE_GET | UAPI_FEATURE_MIGRATION, &flags, sizeof flags), 0);
	ck_assert_uint_eq(flags.flags, ALL);
	ck_assert_int_eq(feature(source, UAPI_FEATURE_SET | UAPI_FEATURE_MIGRATION, &flags, sizeof flags),
			 -EINVAL);
	ck_assert_int_eq(feature(source, UAPI_FEATURE_GET | UAPI_FEATURE_MIG_DATA_SIZE, &size, sizeof size),
			 0);
	ck_assert_uint_eq(size.stop_copy_length, MODEL_RECORD_SIZE);
	ck_assert_int_eq(feature(source, SET_STATE, &answer, 7), -EINVAL);
	ck_assert_uint_eq(state_of(source), UAPI_MIG_RUNNING);
	model_set_migration(m, SOURCE, &some);
	ck_assert_int_eq(feature(source, UAPI_FEATURE_GET | UAPI_FEATURE_MIGRATION, &flags, sizeof flags), 0);
	ck_assert_uint_eq(flags.flags, UAPI_MIGRATION_STOP_COPY);
	down();
}
END_TEST

/* ---- arcs ---- */

/* Bring the source there from RUNNING. */
static void go_to(uint32_t state)
{
	ck_assert_int_eq(sys_ioctl(source, VFIO_DEVICE_RESET, NULL), 0);
	if (state == UAPI_MIG_STOP_COPY || state == UAPI_MIG_RESUMING || state == UAPI_MIG_STOP ||
	    state == UAPI_MIG_RUNNING_P2P || state == UAPI_MIG_PRE_COPY || state == UAPI_MIG_PRE_COPY_P2P)
		ck_assert_int_eq(set(source, state), 0);
	ck_assert_uint_eq(state_of(source), state);
}

static uint32_t path[8];
static unsigned steps;

/* Which states the device goes through: fail at each step and ask. */
static int find_path(uint32_t from, uint32_t to)
{
	int result = 0;

	steps = 0;
	for (unsigned step = 1; step < 8; step++) {
		go_to(from);
		model_fault(m, (struct model_fault){ .call = MODEL_IOCTL,
						     .request = VFIO_DEVICE_FEATURE,
						     .file = MODEL_FILE_DEVICE,
						     .flags = SET_STATE,
						     .error = ENOTCONN,
						     .step = step });
		result = set(source, to);
		model_fault_clear(m);
		if (result != -ENOTCONN)
			return result;
		path[steps++] = state_of(source);
		if (path[steps - 1] == to)
			return 0;
	}
	return result;
}

static void check_path(uint32_t from, uint32_t to, const char *wanted)
{
	char text[9] = "";

	ck_assert_int_eq(find_path(from, to), 0);
	for (unsigned i = 0; i < steps; i++)
		text[i] = (char)('0' + path[i]);
	ck_assert_msg(!strcmp(text, wanted), "%u -> %u: %s, not %s", from, to, text, wanted);
}

START_TEST(paths_with_everything)
{
	up(NULL);
	check_path(UAPI_MIG_RUNNING, UAPI_MIG_STOP, "51");
	check_path(UAPI_MIG_RUNNING, UAPI_MIG_STOP_COPY, "513");
	check_path(UAPI_MIG_RUNNING, UAPI_MIG_RESUMING, "514");
	check_path(UAPI_MIG_PRE_COPY, UAPI_MIG_STOP_COPY, "73");
	check_path(UAPI_MIG_PRE_COPY, UAPI_MIG_STOP, "251");
	check_path(UAPI_MIG_PRE_COPY_P2P, UAPI_MIG_STOP_COPY, "3");
	check_path(UAPI_MIG_PRE_COPY_P2P, UAPI_MIG_RUNNING, "52");
	check_path(UAPI_MIG_STOP_COPY, UAPI_MIG_RUNNING, "152");
	check_path(UAPI_MIG_STOP, UAPI_MIG_PRE_COPY, "526");
	down();
}
END_TEST

START_TEST(paths_of_a_simple_device)
{
	const struct model_migration simple = { .flags = UAPI_MIGRATION_STOP_COPY };

	up(&simple);
	check_path(UAPI_MIG_RUNNING, UAPI_MIG_STOP_COPY, "13");
	check_path(UAPI_MIG_STOP_COPY, UAPI_MIG_RUNNING, "12");
	ck_assert_int_eq(sys_ioctl(source, VFIO_DEVICE_RESET, NULL), 0);
	ck_assert_int_eq(set(source, UAPI_MIG_RUNNING_P2P), -EINVAL);
	ck_assert_int_eq(set(source, UAPI_MIG_PRE_COPY), -EINVAL);
	ck_assert_uint_eq(state_of(source), UAPI_MIG_RUNNING);
	down();
}
END_TEST

START_TEST(paths_with_precopy_but_no_p2p)
{
	const struct model_migration some = { .flags = UAPI_MIGRATION_STOP_COPY | UAPI_MIGRATION_PRE_COPY };

	up(&some);
	check_path(UAPI_MIG_RUNNING, UAPI_MIG_PRE_COPY, "6");
	check_path(UAPI_MIG_PRE_COPY, UAPI_MIG_STOP_COPY, "3");
	check_path(UAPI_MIG_PRE_COPY, UAPI_MIG_STOP, "21");
	down();
}
END_TEST

/* The struct names what was asked for; only GET tells the truth. */
START_TEST(illegal_arcs)
{
	up(NULL);
	go_to(UAPI_MIG_STOP_COPY);
	ck_assert_int_eq(set(source, UAPI_MIG_PRE_COPY), -EINVAL);
	ck_assert_uint_eq(answer.state, UAPI_MIG_PRE_COPY);
	ck_assert_int_eq(answer.data_fd, -1);
	ck_assert_uint_eq(state_of(source), UAPI_MIG_STOP_COPY);
	ck_assert_int_eq(set(source, UAPI_MIG_ERROR), -EINVAL);
	ck_assert_int_eq(set(source, STATES), -EINVAL);
	ck_assert_int_eq(set(source, UINT32_MAX), -EINVAL);
	ck_assert_uint_eq(state_of(source), UAPI_MIG_STOP_COPY);
	ck_assert_int_eq(set(source, UAPI_MIG_STOP_COPY), 0); /* is there already */
	ck_assert_int_eq(answer.data_fd, -1);
	down();
}
END_TEST

START_TEST(an_arc_that_fails)
{
	struct model_migration failing = {
		.flags = ALL, .fail_from = UAPI_MIG_RUNNING_P2P, .fail_to = UAPI_MIG_STOP, .fail_error = EIO
	};

	up(&failing);
	ck_assert_int_eq(set(source, UAPI_MIG_STOP_COPY), -EIO);
	ck_assert_uint_eq(answer.state, UAPI_MIG_STOP_COPY);
	ck_assert_uint_eq(state_of(source), UAPI_MIG_RUNNING_P2P);
	ck_assert_int_eq(set(source, UAPI_MIG_RUNNING), 0);
	failing.breaks = true;
	model_set_migration(m, SOURCE, &failing);
	ck_assert_int_eq(set(source, UAPI_MIG_STOP), -EIO);
	ck_assert_uint_eq(state_of(source), UAPI_MIG_ERROR);
	for (uint32_t state = 0; state < STATES; state++)
		ck_assert_int_eq(set(source, state), state == UAPI_MIG_ERROR ? 0 : -EINVAL);
	ck_assert_int_eq(sys_ioctl(source, VFIO_DEVICE_RESET, NULL), 0);
	ck_assert_uint_eq(state_of(source), UAPI_MIG_RUNNING);
	down();
}
END_TEST

/* The state is reached, but nobody gets the descriptor. */
START_TEST(a_descriptor_that_cannot_be_had)
{
	unsigned open;

	up(NULL);
	open = model_counts(m).descriptors;
	model_fault(m, (struct model_fault){ .call = MODEL_IOCTL,
					     .request = VFIO_DEVICE_FEATURE,
					     .file = MODEL_FILE_DEVICE,
					     .flags = SET_STATE,
					     .error = EMFILE,
					     .step = 3 });
	ck_assert_int_eq(set(source, UAPI_MIG_STOP_COPY), -EMFILE);
	ck_assert_int_eq(answer.data_fd, -1);
	ck_assert_uint_eq(state_of(source), UAPI_MIG_STOP_COPY);
	ck_assert_uint_eq(model_counts(m).descriptors, open);
	down();
}
END_TEST

/* ---- who writes ---- */

START_TEST(who_writes)
{
	static const bool writes[STATES] = { [UAPI_MIG_RUNNING] = true, [UAPI_MIG_PRE_COPY] = true };
	struct model_migration config = everything;

	up(NULL);
	for (uint32_t state = UAPI_MIG_STOP; state < STATES; state++) {
		set(source,
		    UAPI_MIG_STOP); /* from where every state can be had; RESUMING stays, for want of data */
		if (state_of(source) != UAPI_MIG_STOP)
			continue;
		ck_assert_int_eq(set(source, state), 0);
		ck_assert_int_eq(dma(), writes[state] ? 0 : -EACCES);
		if (state == UAPI_MIG_RESUMING) {
			const char zero = 0;

			ck_assert_int_eq(sys_ioctl(source, VFIO_DEVICE_RESET, NULL), 0);
			m->sys.pwrite(&m->sys, source, &zero, 1, 0); /* to work again */
		}
	}
	config.p2p_writes = true;
	model_set_migration(m, SOURCE, &config);
	ck_assert_int_eq(set(source, UAPI_MIG_STOP), 0);
	ck_assert_int_eq(set(source, UAPI_MIG_RUNNING_P2P), 0);
	ck_assert_int_eq(dma(), 0);
	down();
}
END_TEST

START_TEST(emulated_devices_stop_as_well)
{
	struct vfdtest_range range = { .size = 8, .value = 1 };
	struct vfdtest_range pin = { .flags = VFDTEST_PIN_WRITE, .iova = 8 * PAGE, .size = PAGE };
	struct uapi_dirty_get begin = { .argsz = 8, .flags = VFIO_IOMMU_DIRTY_PAGES_FLAG_START };

	up(NULL);
	ck_assert_int_eq(sys_ioctl(container, VFIO_IOMMU_DIRTY_PAGES, &begin), 0);
	ck_assert_int_eq(model_vfdtest(m, VFDTEST_PIN, &pin), 0);
	ck_assert_int_eq(set(vfdtest, UAPI_MIG_STOP), 0);
	ck_assert_int_eq(model_vfdtest(m, VFDTEST_WRITE, &range), -EACCES);
	model_forget(m);
	ck_assert_uint_eq(model_page_count(m, MODEL_TRUTH), 0); /* it cannot write through its pin */
	m->sys.close(&m->sys, vfdtest);
	ck_assert_uint_eq(model_page_count(m, MODEL_TRUTH), 0);
	down();
}
END_TEST

/* Trap 47. */
START_TEST(log_that_ends_on_stop)
{
	const struct model_log log = { .ends_on_stop = true };
	struct uapi_log_range range = { 0, 64 * PAGE };
	struct uapi_log_control start = { PAGE, 1, 0, (uintptr_t)&range };

	up(NULL);
	model_set_log(m, SOURCE, &log);
	ck_assert_int_eq(feature(source, UAPI_FEATURE_SET | UAPI_FEATURE_LOG_START, &start, sizeof start), 0);
	ck_assert_int_eq(dma(), 0);
	ck_assert_int_eq(set(source, UAPI_MIG_STOP_COPY), 0);
	ck_assert_uint_eq(model_log_page_size(m, SOURCE), PAGE);
	ck_assert_uint_eq(model_device_pages(m, SOURCE, MODEL_HELD, memory, 64 * PAGE, NULL), 1);
	ck_assert_int_eq(set(source, UAPI_MIG_STOP), 0);
	ck_assert_uint_eq(model_log_page_size(m, SOURCE), 0);
	ck_assert_uint_eq(model_device_pages(m, SOURCE, MODEL_DROPPED, memory, 64 * PAGE, NULL), 1);
	ck_assert_uint_eq(model_device_pages(m, SOURCE, MODEL_SPOILED, memory, 64 * PAGE, NULL), 0);
	down();
}
END_TEST

/* ---- data ---- */

START_TEST(state_arrives)
{
	char data[4096];
	size_t size;

	up(NULL);
	size = saved(data, sizeof data);
	ck_assert_uint_eq(size, MODEL_RECORD_SIZE);
	ck_assert_int_eq(set(target, UAPI_MIG_RESUMING), 0);
	ck_assert_int_ge(answer.data_fd, MODEL_FIRST_FD);
	for (size_t i = 0; i < size; i += 100)
		ck_assert_int_gt(write_some(answer.data_fd, data + i, size - i < 100 ? size - i : 100), 0);
	ck_assert(!has_registers(target, 42));
	m->sys.close(&m->sys, answer.data_fd); /* the kernel has what was written */
	ck_assert_int_eq(set(target, UAPI_MIG_RUNNING), 0);
	ck_assert(has_registers(target, 42));
	ck_assert_uint_eq(state_of(source), UAPI_MIG_STOP_COPY);
	down();
}
END_TEST

START_TEST(descriptor)
{
	char data[4096];
	int stream;

	up(NULL);
	saved(data, sizeof data);
	stream = answer.data_fd;
	ck_assert_int_eq(write_some(stream, data, 8), -EINVAL);
	ck_assert_int_eq(m->sys.pread(&m->sys, stream, data, 8, 0), -ESPIPE);
	ck_assert_int_eq(sys_ioctl(stream, VFIO_DEVICE_GET_INFO, NULL), -ENOTTY);
	ck_assert_int_eq(read_some(source, data, 8), -EINVAL);
	ck_assert_int_eq(set(source, UAPI_MIG_STOP), 0);
	ck_assert_int_eq(read_some(stream, data, 8), -ENODEV);
	ck_assert_int_eq(set(target, UAPI_MIG_RESUMING), 0);
	ck_assert_int_eq(read_some(answer.data_fd, data, 8), -EINVAL);
	ck_assert_int_eq(sys_ioctl(target, VFIO_DEVICE_RESET, NULL), 0);
	ck_assert_int_eq(write_some(answer.data_fd, data, 8), -ENODEV);
	down();
}
END_TEST

START_TEST(partial_transfers)
{
	const struct model_migration config = { .flags = ALL, .chunk = 100 };
	char data[4096];

	up(&config);
	ck_assert_int_eq(set(source, UAPI_MIG_STOP_COPY), 0);
	ck_assert_int_eq(read_some(answer.data_fd, data, sizeof data), 100);
	ck_assert_int_eq(read_some(answer.data_fd, NULL, 10), -EFAULT);
	model_fault(m, (struct model_fault){ .call = MODEL_READ, .step = 1 });
	ck_assert_int_eq(read_some(answer.data_fd, data, 80), 40);
	model_fault(m, (struct model_fault){ .call = MODEL_READ, .error = EAGAIN });
	ck_assert_int_eq(read_some(answer.data_fd, data, 80), -EAGAIN);
	ck_assert_uint_eq(read_all(answer.data_fd, data, sizeof data), MODEL_RECORD_SIZE - 140);
	down();
}
END_TEST

static void resume(const char *data, size_t size, int wanted)
{
	ck_assert_int_eq(sys_ioctl(target, VFIO_DEVICE_RESET, NULL), 0);
	ck_assert_int_eq(set(target, UAPI_MIG_RESUMING), 0);
	if (size)
		ck_assert_int_eq(write_some(answer.data_fd, data, size), (ssize_t)size);
	ck_assert_int_eq(set(target, UAPI_MIG_RUNNING), wanted);
	m->sys.close(&m->sys, answer.data_fd);
}

START_TEST(bad_data)
{
	const struct model_migration breaking = { .flags = ALL, .breaks = true };
	char data[4096] = { 0 };
	size_t size;

	up(NULL);
	size = saved(data, sizeof data);
	resume(data, 0, -EINVAL);
	resume(data, size - 1, -EINVAL);
	resume(data, size + 1, -EINVAL);
	resume(data, size * 2, -EINVAL);
	ck_assert_uint_eq(state_of(target), UAPI_MIG_RESUMING);
	for (size_t i = 0; i < size; i += 19) {
		data[i] ^= 4;
		resume(data, size, -EINVAL);
		data[i] ^= 4;
	}
	ck_assert(!has_registers(target, 42));
	model_set_migration(m, TARGET, &breaking);
	resume(data, size - 1, -EINVAL);
	ck_assert_uint_eq(state_of(target), UAPI_MIG_ERROR);
	resume(data, size, 0);
	ck_assert(has_registers(target, 42));
	down();
}
END_TEST

START_TEST(too_much_data)
{
	static char much[70000];

	up(NULL);
	ck_assert_int_eq(set(target, UAPI_MIG_RESUMING), 0);
	ck_assert_int_eq(write_some(answer.data_fd, much, sizeof much), -ENOMEM);
	down();
}
END_TEST

/* ---- PRE_COPY ---- */

static int precopy_info(int fd, struct uapi_precopy_info *info)
{
	*info = (struct uapi_precopy_info){ .argsz = sizeof *info };
	return sys_ioctl(fd, UAPI_MIG_GET_PRECOPY_INFO, info);
}

START_TEST(precopy)
{
	struct uapi_precopy_info info;
	char data[4096];
	size_t size = 0;
	int stream;

	up(NULL);
	set_registers(source, 1);
	ck_assert_int_eq(set(source, UAPI_MIG_PRE_COPY), 0);
	stream = answer.data_fd;
	ck_assert_int_eq(read_some(stream, data, 80), 80);
	size += 80;
	ck_assert_int_eq(precopy_info(stream, &info), 0);
	ck_assert_uint_eq(info.initial_bytes, MODEL_RECORD_SIZE - 80);
	ck_assert_uint_eq(info.dirty_bytes, 0);
	size += (size_t)read_some(stream, data + size, sizeof data - size);
	ck_assert_uint_eq(size, MODEL_RECORD_SIZE);
	ck_assert_int_eq(read_some(stream, data + size, 80), -ENOMSG);
	set_registers(source, 2);
	ck_assert_int_eq(precopy_info(stream, &info), 0);
	ck_assert_uint_eq(info.initial_bytes, 0);
	ck_assert_uint_eq(info.dirty_bytes, MODEL_RECORD_SIZE);
	size += (size_t)read_some(stream, data + size, sizeof data - size);
	set_registers(source, 3);
	ck_assert_int_eq(set(source, UAPI_MIG_STOP_COPY), 0);
	ck_assert_int_eq(answer.data_fd, -1); /* the stream goes on */
	ck_assert_int_eq(precopy_info(stream, &info), -EINVAL);
	size += read_all(stream, data + size, sizeof data - size);
	ck_assert_uint_eq(size, 3 * MODEL_RECORD_SIZE);
	resume(data, size - MODEL_RECORD_SIZE, -EINVAL); /* without the final one */
	resume(data, size, 0);
	ck_assert(has_registers(target, 3));
	down();
}
END_TEST

START_TEST(precopy_given_up)
{
	struct uapi_precopy_info info;
	char data[8];

	up(NULL);
	ck_assert_int_eq(set(source, UAPI_MIG_PRE_COPY), 0);
	int stream = answer.data_fd;
	ck_assert_int_eq(set(source, UAPI_MIG_RUNNING), 0);
	ck_assert_int_eq(read_some(stream, data, 8), -ENODEV);
	ck_assert_int_eq(precopy_info(stream, &info), -ENODEV);
	ck_assert_int_eq(dma(), 0);
	down();
}
END_TEST

/* ---- the end, faults ---- */

START_TEST(close_ends_a_session)
{
	char data[8];

	up(NULL);
	ck_assert_int_eq(set(source, UAPI_MIG_STOP_COPY), 0);
	m->sys.close(&m->sys, source);
	ck_assert_int_eq(read_some(answer.data_fd, data, 8), -ENODEV);
	ck_assert_uint_eq(model_migration_state(m, SOURCE), UAPI_MIG_RUNNING);
	down();
}
END_TEST

START_TEST(faults_of_a_recorded_run)
{
	struct model_fault *faults;
	unsigned of_state = 0;
	char data[4096], text[80];

	up(NULL);
	model_trace_start(m);
	ck_assert_int_eq(set(source, UAPI_MIG_STOP_COPY), 0);
	read_some(answer.data_fd, data, sizeof data);
	size_t count = model_single_faults(m, &faults);
	for (size_t i = 0; i < count; i++)
		of_state += faults[i].nth == 1 && faults[i].error == EIO;
	ck_assert_uint_eq(of_state, 4); /* before, and after each of three arcs */
	ck_assert_uint_eq(count, 6 * 4 + 5 + 1);
	model_fault_text(m, &faults[3], text, sizeof text);
	ck_assert_str_eq(text, "MIG_STATE set (call 1): EFAULT at step 3");
	free(faults);
	down();
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("model_migration");

	add_case(suite, "features", features);
	add_case(suite, "paths: everything", paths_with_everything);
	add_case(suite, "paths: a simple device", paths_of_a_simple_device);
	add_case(suite, "paths: PRE_COPY without P2P", paths_with_precopy_but_no_p2p);
	add_case(suite, "illegal arcs", illegal_arcs);
	add_case(suite, "an arc that fails", an_arc_that_fails);
	add_case(suite, "no descriptor to be had", a_descriptor_that_cannot_be_had);
	add_case(suite, "who writes", who_writes);
	add_case(suite, "emulated devices stop", emulated_devices_stop_as_well);
	add_case(suite, "a log that ends on STOP", log_that_ends_on_stop);
	add_case(suite, "data: arrives", state_arrives);
	add_case(suite, "data: the descriptor", descriptor);
	add_case(suite, "data: in parts", partial_transfers);
	add_case(suite, "data: bad", bad_data);
	add_case(suite, "data: too much", too_much_data);
	add_case(suite, "PRE_COPY", precopy);
	add_case(suite, "PRE_COPY, given up", precopy_given_up);
	add_case(suite, "close", close_ends_a_session);
	add_case(suite, "faults of a recorded run", faults_of_a_recorded_run);
	return run_suite(suite);
}
