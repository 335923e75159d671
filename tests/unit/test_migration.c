/* SPDX-License-Identifier: MIT */

/* One device goes through its migration states: when it counts as able to write, what becomes of its log and its data, and what failures leave. */

#include "migration_world.h"

#include <endian.h>
#include <errno.h>
#include <linux/pci_regs.h>
#include <linux/vfio.h>
#include <string.h>

#include "migstate.h"

#define CONFIG VFIO_PCI_CONFIG_REGION_INDEX

static const struct model_migration stop_copy = { .flags = UAPI_MIGRATION_STOP_COPY };
static const uint64_t abilities[] = { UAPI_MIGRATION_STOP_COPY, UAPI_MIGRATION_STOP_COPY | UAPI_MIGRATION_P2P,
				      UAPI_MIGRATION_STOP_COPY | UAPI_MIGRATION_PRE_COPY, CAN_ALL };
static char data[8192];

static struct model_fault failing_set(int error, unsigned step)
{
	return (struct model_fault){ .call = MODEL_IOCTL,
				     .request = VFIO_DEVICE_FEATURE,
				     .file = MODEL_FILE_DEVICE,
				     .flags = SET_STATE,
				     .error = error,
				     .step = step };
}

static struct model_fault failing_get(uint64_t times)
{
	return (struct model_fault){ .call = MODEL_IOCTL,
				     .request = VFIO_DEVICE_FEATURE,
				     .file = MODEL_FILE_DEVICE,
				     .flags = UAPI_FEATURE_GET | UAPI_FEATURE_MIG_STATE,
				     .times = times,
				     .error = EIO };
}

static uint64_t owed(void)
{
	struct vfd_count count;

	OK(vfd_consumer_count(vfd_log_consumer(f->log), 0, UINT64_MAX, &count, &f->err));
	return count.owed;
}

/* ---- what there is ---- */

START_TEST(what_it_can)
{
	migration_begin(&stop_copy);
	struct vfd_migration_info info = about(0);
	ck_assert_uint_eq(info.flags, VFD_MIG_CAN_STOP_COPY);
	ck_assert_uint_eq(info.state, VFD_MIG_RUNNING);
	ck_assert_uint_eq(info.data, VFD_MIG_NO_DATA);
	ck_assert_uint_eq(info.stop_copy_bytes, MODEL_RECORD_SIZE);
	REFUSED(VFD_EUNSUPPORTED, set_one(0, VFD_MIG_PRE_COPY));
	REFUSED(VFD_EUNSUPPORTED, set_one(0, VFD_MIG_RUNNING_P2P));
	REFUSED(VFD_EINVALID, set_one(0, VFD_MIG_ERROR));
	REFUSED(VFD_EINVALID, set_one(0, 8));
	ck_assert_str_eq(vfd_migration_state_name(VFD_MIG_PRE_COPY_P2P), "PRE_COPY_P2P");
	ck_assert_ptr_nonnull(vfd_migration_state_name(99));
	migration_end();
}
END_TEST

START_TEST(one_that_cannot)
{
	struct vfd_migration_info info = { .struct_size = sizeof info };
	size_t done;

	fixture_track(f, NULL);
	OK(vfd_migration_info(f->device, &info, &f->err));
	ck_assert_uint_eq(info.flags, 0);
	ck_assert_uint_eq(info.state, VFD_MIG_RUNNING);
	ck_assert_uint_eq(info.stop_copy_bytes, UINT64_MAX);
	REFUSED(VFD_EUNSUPPORTED, vfd_migration_set(&f->device, 1, VFD_MIG_STOP, &f->err));
	REFUSED(VFD_EUNSUPPORTED, vfd_migration_cancel(&f->device, 1, 0, &f->err));
	REFUSED(VFD_ESTATE, vfd_migration_read(f->device, data, 1, &done, &f->err));
	REFUSED(VFD_ESTATE, vfd_migration_write(f->device, data, 1, &done, &f->err));
	fixture_end(f);
}
END_TEST

START_TEST(senseless)
{
	struct vfd_migration_info info = { 0 };
	struct vfd_migration_precopy left = { 0 };
	struct vfd_device *none = NULL;
	uint64_t calls;
	size_t done;

	migration_begin(NULL);
	OK(set_one(0, VFD_MIG_STOP_COPY));
	calls = model_counts(f->model).calls;
	REFUSED(VFD_EINVALID, vfd_migration_set(devices, 0, VFD_MIG_STOP, &f->err));
	REFUSED(VFD_EINVALID, vfd_migration_set(NULL, 1, VFD_MIG_STOP, &f->err));
	REFUSED(VFD_EINVALID, vfd_migration_set(&none, 1, VFD_MIG_STOP, &f->err));
	REFUSED(VFD_EINVALID, vfd_migration_cancel(NULL, 1, 0, &f->err));
	REFUSED(VFD_EINVALID, vfd_migration_cancel(devices, 1, 2, &f->err));
	REFUSED(VFD_EINVALID, vfd_migration_info(devices[0], &info, &f->err));
	REFUSED(VFD_EINVALID, vfd_migration_info(NULL, &info, &f->err));
	REFUSED(VFD_EINVALID, vfd_migration_precopy(devices[0], &left, &f->err));
	REFUSED(VFD_EINVALID, vfd_migration_read(NULL, data, 1, &done, &f->err));
	REFUSED(VFD_EINVALID, vfd_migration_read(devices[0], NULL, 1, &done, &f->err));
	REFUSED(VFD_EINVALID, vfd_migration_read(devices[0], data, 0, &done, &f->err));
	REFUSED(VFD_EINVALID, vfd_migration_read(devices[0], data, 1, NULL, &f->err));
	REFUSED(VFD_EINVALID, vfd_migration_write(devices[0], NULL, 1, &done, &f->err));
	REFUSED(VFD_ESTATE, vfd_migration_write(devices[0], data, 1, &done, &f->err)); /* it is to be read */
	ck_assert_int_eq(vfd_migration_fd(NULL), -1);
	ck_assert_uint_eq(model_counts(f->model).calls, calls);
	migration_end();
}
END_TEST

/* Its state could not be set, so bus mastering was turned off; then it could. A register of it that is written is looked at again. */
START_TEST(silenced_in_two_ways)
{
	uint32_t word = 7;

	migration_begin(&stop_copy);
	model_fault(f->model, failing_set(EIO, 0));
	OK(vfd_device_quiesce(devices[0], &f->err));
	ck_assert_uint_eq(about(0).state, VFD_MIG_RUNNING);
	OK(set_one(0, VFD_MIG_STOP));
	OK(vfd_device_write(devices[0], 0, 0, &word, sizeof word, &f->err));
	ck_assert_uint_eq(about(0).state, VFD_MIG_STOP);
	OK(set_one(0, VFD_MIG_RUNNING));
	migration_end();
}
END_TEST

/* ---- every arc ---- */

/* RESUMING is left only with data. */
static void feed(unsigned device)
{
	size_t size;

	if (about(device).state != VFD_MIG_RESUMING)
		return;
	OK(set_one(1, VFD_MIG_STOP_COPY));
	ck_assert_int_eq(read_all(1, data, sizeof data, &size), 0);
	OK(write_all(device, data, size));
	OK(set_one(1, VFD_MIG_RUNNING));
}

static bool may_write(uint32_t state)
{
	return state != VFD_MIG_STOP && state != VFD_MIG_STOP_COPY && state != VFD_MIG_RESUMING;
}

static bool has_data(uint32_t state)
{
	return state == VFD_MIG_STOP_COPY || state == VFD_MIG_RESUMING || state == VFD_MIG_PRE_COPY ||
	       state == VFD_MIG_PRE_COPY_P2P;
}

/* What the library believes is what is; a device that might write is a writer. */
static void check_beliefs(unsigned device)
{
	uint32_t state = state_of(device);

	ck_assert_uint_eq(writers(), DEVICES - !may_write(state));
	ck_assert_int_eq(about(device).data != VFD_MIG_NO_DATA, has_data(state));
	ck_assert_int_eq(vfd_migration_fd(devices[device]) >= 0, has_data(state));
	ck_assert_int_eq(!dma(device, 40), state == VFD_MIG_RUNNING || state == VFD_MIG_PRE_COPY);
	check_law(f);
}

static void there(uint32_t from)
{
	OK(vfd_migration_cancel(&devices[0], 1, VFD_MIG_RESET, &f->err));
	set_registers(0, 1); /* it is at work again, after a reset too */
	OK(set_one(0, from));
	feed(0);
}

static void try_arc(uint32_t from, uint32_t to)
{
	unsigned before;

	there(from);
	before = model_counts(f->model).descriptors;
	if (from == VFD_MIG_STOP_COPY && (to == VFD_MIG_PRE_COPY || to == VFD_MIG_PRE_COPY_P2P)) {
		REFUSED(VFD_ESTATE, set_one(0, to));
		to = from;
	} else {
		OK(set_one(0, to));
	}
	ck_assert_uint_eq(state_of(0), to);
	ck_assert_uint_eq(model_counts(f->model).descriptors, before - has_data(from) + has_data(to));
	check_beliefs(0);
}

START_TEST(every_arc)
{
	struct model_migration how = { .flags = abilities[_i] };

	migration_begin(&how);
	for (uint32_t from = 1; from < STATES; from++)
		for (uint32_t to = 1; to < STATES; to++)
			if (!(migstate_needs(from) & ~how.flags) && !(migstate_needs(to) & ~how.flags))
				try_arc(from, to);
	migration_end();
}
END_TEST

/* ---- failures at each step ---- */

/* How many arcs the last SET takes. */
static unsigned steps_of(uint32_t from, uint32_t to)
{
	const struct model_trace *trace;
	unsigned most = 0;
	size_t count;

	there(from);
	model_trace_start(f->model);
	OK(set_one(0, to));
	trace = model_trace(f->model, &count);
	for (size_t i = 0; i < count; i++)
		if (trace[i].call == MODEL_IOCTL && trace[i].request == VFIO_DEVICE_FEATURE &&
		    (trace[i].flags & 0xfffff) == SET_STATE && trace[i].mappings > most)
			most = trace[i].mappings;
	return most;
}

/* Back where it was, or in the state that the contract names for a data session that has ended. */
static bool is_back(uint32_t from, uint32_t now)
{
	if (now == from)
		return true;
	switch (from) {
	case VFD_MIG_PRE_COPY:
		return now == VFD_MIG_RUNNING;
	case VFD_MIG_PRE_COPY_P2P:
		return now == VFD_MIG_RUNNING_P2P;
	case VFD_MIG_STOP_COPY:
	case VFD_MIG_RESUMING:
		return now == VFD_MIG_STOP;
	default:
		return false;
	}
}

static void fail_arc(uint32_t from, uint32_t to, uint64_t nth, unsigned step, int error)
{
	struct model_fault fault = failing_set(error, step);
	uint64_t fired = model_fault_fired(f->model);

	there(from);
	fault.nth = nth;
	model_fault(f->model, fault);
	int rc = set_one(0, to);
	bool hit = model_fault_fired(f->model) > fired;
	model_fault_clear(f->model);
	if (!hit)
		return;
	if (rc == VFD_EPARTIAL &&
	    state_of(0) == VFD_MIG_RESUMING) { /* begun without a descriptor: only a reset leads out */
		ck_assert_uint_eq(to, VFD_MIG_RESUMING);
		ck_assert_uint_eq(writers(), DEVICES - 1);
		ck_assert_int_eq(vfd_migration_fd(devices[0]), -1); /* nor that of the state before */
		return;
	}
	ck_assert_msg(rc == -error, "%u to %u: call %u, step %u: %s (%s)", from, to, (unsigned)nth, step,
		      vfd_strcode(rc), f->err.message);
	ck_assert_msg(is_back(from, state_of(0)), "%u to %u: call %u, step %u: in %u", from, to,
		      (unsigned)nth, step, state_of(0));
	check_beliefs(0);
}

START_TEST(every_failure)
{
	struct model_migration how = { .flags = abilities[_i] };

	migration_begin(&how);
	for (uint32_t from = 1; from < STATES; from++)
		for (uint32_t to = 1; to < STATES; to++) {
			if (from == to || (migstate_needs(from) | migstate_needs(to)) & ~how.flags ||
			    (from == VFD_MIG_STOP_COPY && to >= VFD_MIG_PRE_COPY))
				continue;
			unsigned steps = steps_of(from, to);
			for (unsigned step = 0; step <= steps; step++)
				for (uint64_t nth = 1; nth <= 3; nth++)
					fail_arc(from, to, nth, step, nth & 1 ? EIO : EFAULT);
		}
	migration_end();
}
END_TEST

/* It failed, and then nobody can say where it is: it may write. */
START_TEST(nobody_knows)
{
	size_t size;

	migration_begin(NULL);
	OK(set_one(0, VFD_MIG_STOP));
	ck_assert_uint_eq(writers(), DEVICES - 1);
	model_fault(f->model, failing_set(EIO, 1));
	model_fault(f->model, (struct model_fault){ .call = MODEL_IOCTL,
						    .request = VFIO_DEVICE_FEATURE,
						    .file = MODEL_FILE_DEVICE,
						    .flags = UAPI_FEATURE_GET | UAPI_FEATURE_MIG_STATE,
						    .nth = 2,
						    .times = 9,
						    .error = EIO });
	REFUSED(VFD_EPARTIAL, set_one(0, VFD_MIG_STOP_COPY));
	ck_assert_uint_eq(writers(), DEVICES);
	REFUSED(-EIO, set_one(0, VFD_MIG_STOP_COPY)); /* not without knowing that it is not in ERROR */
	model_fault_clear(f->model);
	ck_assert_uint_eq(state_of(0), VFD_MIG_STOP_COPY);
	ck_assert_uint_eq(writers(), DEVICES); /* that it is silent now does not say that it was */
	REFUSED(VFD_ESTATE, vfd_migration_read(devices[0], data, 1, &size, &f->err));
	OK(set_one(0, VFD_MIG_RUNNING));
	OK(set_one(0, VFD_MIG_STOP));
	ck_assert_uint_eq(writers(), DEVICES - 1);
	migration_end();
}
END_TEST

START_TEST(unreadable_at_first)
{
	struct vfd_migration_info info = { .struct_size = sizeof info };

	migration_begin(NULL);
	model_fault(f->model, failing_get(2));
	REFUSED(-EIO, set_one(0, VFD_MIG_STOP));
	REFUSED(-EIO, vfd_migration_info(devices[0], &info, &f->err));
	ck_assert_uint_eq(state_of(0), VFD_MIG_RUNNING);
	migration_end();
}
END_TEST

/* ---- ERROR ---- */

static uint64_t sets_made(void)
{
	const struct model_trace *trace;
	uint64_t sets = 0;
	size_t count;

	trace = model_trace(f->model, &count);
	for (size_t i = 0; i < count; i++)
		sets += trace[i].call == MODEL_IOCTL && trace[i].request == VFIO_DEVICE_FEATURE &&
			(trace[i].flags & 0xfffff) == SET_STATE;
	return sets;
}

static void breaks(uint32_t from, uint32_t to)
{
	struct model_migration how = {
		.flags = CAN_ALL, .breaks = true, .fail_from = from, .fail_to = to, .fail_error = EIO
	};

	model_set_migration(f->model, FIRST, &how);
}

/* A SET there would make the kernel WARN. */
START_TEST(error_is_left_by_reset)
{
	migration_begin(NULL);
	breaks(VFD_MIG_RUNNING, VFD_MIG_RUNNING_P2P);
	REFUSED(VFD_EPARTIAL, set_one(0, VFD_MIG_STOP));
	ck_assert_ptr_nonnull(strstr(f->err.message, "ERROR"));
	ck_assert_uint_eq(state_of(0), VFD_MIG_ERROR);
	ck_assert_uint_eq(writers(), DEVICES);
	model_trace_start(f->model);
	REFUSED(VFD_ESTATE, set_one(0, VFD_MIG_RUNNING));
	REFUSED(VFD_ESTATE, vfd_migration_cancel(&devices[0], 1, 0, &f->err));
	ck_assert_uint_eq(sets_made(), 0);
	ck_assert_int_eq(dma(0, 7), 0);		     /* for all that anybody knows */
	OK(vfd_device_quiesce(devices[0], &f->err)); /* by bus mastering */
	ck_assert_uint_eq(sets_made(), 0);
	ck_assert_uint_eq(state_of(0), VFD_MIG_ERROR);
	OK(vfd_device_reset(devices[0], &f->err));
	ck_assert_uint_eq(state_of(0), VFD_MIG_RUNNING);
	ck_assert_uint_eq(writers(), DEVICES);
	migration_end();
}
END_TEST

/* By a bit in configuration space, of PCI Express, at 0x50 on the model */
static void guest_resets(void)
{
	static const uint8_t reset = 0x80;

	OK(vfd_device_write(devices[0], CONFIG, 0x50 + 9, &reset, 1, &f->err));
}

/* Stopped by its state, and reset by its guest: it runs, and counts as able to write. */
START_TEST(a_reset_by_its_guest)
{
	migration_begin(NULL);
	OK(set_one(0, VFD_MIG_STOP));
	ck_assert_uint_eq(writers(), DEVICES - 1);
	guest_resets();
	ck_assert_uint_eq(state_of(0), VFD_MIG_RUNNING);
	ck_assert_uint_eq(writers(), DEVICES);
	unsigned before = model_counts(f->model).descriptors;
	OK(set_one(0, VFD_MIG_PRE_COPY)); /* from where it is now */
	ck_assert_uint_eq(model_counts(f->model).descriptors, before + 1);
	guest_resets();
	ck_assert_uint_eq(model_counts(f->model).descriptors, before); /* its data have ended */
	ck_assert_uint_eq(state_of(0), VFD_MIG_RUNNING);
	ck_assert_uint_eq(writers(), DEVICES);
	migration_end();
}
END_TEST

/* Nothing of it is recorded: its data end all the same. */
START_TEST(a_reset_by_its_guest_untracked)
{
	migration_begin(NULL);
	OK(vfd_migration_set(devices, DEVICES, VFD_MIG_STOP, &f->err));
	OK(vfd_track_harvest(f->container, VFD_HARVEST_FINAL, NULL, &f->err));
	OK(vfd_track_stop(f->container, 0, &f->err));
	unsigned before = model_counts(f->model).descriptors;
	OK(set_one(0, VFD_MIG_PRE_COPY));
	guest_resets();
	ck_assert_uint_eq(model_counts(f->model).descriptors, before);
	ck_assert_uint_eq(state_of(0), VFD_MIG_RUNNING);
	migration_end();
}
END_TEST

START_TEST(a_reset_that_fails)
{
	migration_begin(NULL);
	breaks(VFD_MIG_RUNNING, VFD_MIG_PRE_COPY);
	REFUSED(VFD_EPARTIAL, set_one(0, VFD_MIG_PRE_COPY));
	model_fault(f->model,
		    (struct model_fault){ .call = MODEL_IOCTL, .request = VFIO_DEVICE_RESET, .error = EIO });
	REFUSED(-EIO, vfd_migration_cancel(&devices[0], 1, VFD_MIG_RESET, &f->err));
	ck_assert_uint_eq(state_of(0), VFD_MIG_ERROR);
	OK(vfd_migration_cancel(&devices[0], 1, VFD_MIG_RESET, &f->err));
	ck_assert_uint_eq(state_of(0), VFD_MIG_RUNNING);
	migration_end();
}
END_TEST

/* It says that it has none, and so the kernel is asked: the protocol wants one. */
START_TEST(a_reset_unsaid)
{
	static const struct model_config config = {
		.group_count = 1,
		.groups = { { .number = 7,
			      .kind = MODEL_EMULATED,
			      .devices = { { .name = NAME(0),
					     .no_reset = true,
					     .migration = &stop_copy } } } },
	};

	fixture_track(f, &config);
	REFUSED(-EINVAL, vfd_device_reset(f->device, &f->err));
	OK(vfd_device_quiesce(f->device, &f->err)); /* by its state */
	fixture_end(f);
}
END_TEST

/* ---- when it counts ---- */

static uint64_t watched;

static bool is_set(const struct model_trace *call)
{
	return call->call == MODEL_IOCTL && call->request == VFIO_DEVICE_FEATURE &&
	       (call->flags & 0xfffff) == SET_STATE;
}

/* Before the kernel is told to let it run it counts, and until it was stopped. */
static void watch(struct model *m, const struct model_trace *call, uint64_t number, bool after,
		  void *argument)
{
	static unsigned counted;
	static uint32_t from;

	(void)number;
	(void)argument;
	if (!is_set(call))
		return;
	if (!after) {
		counted = f->container->space.writers;
		from = model_migration_state(m, FIRST);
		return;
	}
	bool silent = !may_write(from) && !may_write(model_migration_state(m, FIRST));
	ck_assert_uint_eq(counted, silent ? DEVICES - 1 : DEVICES);
	watched++;
}

START_TEST(counts_from_before_to_after)
{
	static const uint32_t tour[] = { VFD_MIG_STOP,	      VFD_MIG_RUNNING, VFD_MIG_STOP_COPY,
					 VFD_MIG_RUNNING_P2P, VFD_MIG_STOP,    VFD_MIG_PRE_COPY_P2P };

	migration_begin(NULL);
	model_on_call(f->model, watch, NULL);
	for (size_t i = 0; i < sizeof tour / sizeof tour[0]; i++) {
		uint64_t epoch = f->container->space.epoch;
		OK(set_one(0, tour[i]));
		ck_assert_int_eq(f->container->space.epoch > epoch, may_write(tour[i]));
	}
	model_on_call(f->model, NULL, NULL);
	ck_assert_uint_gt(watched, sizeof tour / sizeof tour[0]);
	migration_end();
}
END_TEST

/* A harvest that comes while the device is being woken is not the last one. */
static void harvest_between(struct model *m, const struct model_trace *call, uint64_t number, bool after,
			    void *argument)
{
	struct vfd_harvest result = { .struct_size = sizeof result };
	(void)number;
	(void)argument;

	if (!is_set(call) || !after || model_migration_state(m, FIRST) != VFD_MIG_RUNNING)
		return;
	model_on_call(m, NULL, NULL);
	ck_assert_int_eq(dma(0, 11), 0);
	ck_assert_int_eq(track_harvest(&f->container->space, 0, &result, &f->err), 0);
	ck_assert_uint_eq(result.drained, 0);
	ck_assert_int_eq(dma(0, 12), 0);
	watched++;
}

START_TEST(woken_beside_a_harvest)
{
	migration_begin(NULL);
	OK(vfd_migration_set(devices, DEVICES, VFD_MIG_STOP, &f->err));
	OK(harvest(f, VFD_HARVEST_FINAL));
	ck_assert_uint_eq(info_of(f).drained, 1);
	model_on_call(f->model, harvest_between, NULL);
	OK(set_one(0, VFD_MIG_RUNNING));
	ck_assert_uint_eq(watched, 1);
	REFUSED(VFD_EDIRTY, vfd_track_stop(f->container, 0, &f->err));
	migration_end();
}
END_TEST

/* ---- quiescing ---- */

static uint16_t command_of(unsigned device)
{
	uint16_t command;

	OK(vfd_device_read(devices[device], CONFIG, PCI_COMMAND, &command, 2, &f->err));
	return le16toh(command);
}

/* Its state stops it: nothing is reset, its log is alive, and what it says is all there is. */
START_TEST(quiesced_by_state)
{
	migration_begin(NULL);
	for (unsigned i = 0; i < DEVICES; i++)
		ck_assert_int_eq(dma(i, 10 + 20 * i), 0);
	for (unsigned i = 0; i < DEVICES; i++) {
		OK(vfd_device_quiesce(devices[i], &f->err));
		OK(vfd_device_quiesce(devices[i], &f->err));
		ck_assert_uint_eq(state_of(i), VFD_MIG_STOP);
		ck_assert_uint_eq(command_of(i) & PCI_COMMAND_MASTER, PCI_COMMAND_MASTER);
		ck_assert_int_eq(dma(i, 10), -EACCES);
	}
	ck_assert_uint_eq(writers(), 0);
	OK(harvest(f, VFD_HARVEST_FINAL));
	ck_assert_uint_eq(info_of(f).drained, 1);
	ck_assert_uint_eq(owed(), DEVICES);
	ck_assert_uint_eq(reported(f), DEVICES);
	OK(vfd_track_stop(f->container, 0, &f->err));
	OK(vfd_device_resume(devices[0], &f->err));
	ck_assert_uint_eq(state_of(0), VFD_MIG_RUNNING);
	ck_assert_int_eq(dma(0, 11), 0);
	fixture_end(f);
}
END_TEST

/* What its owner had turned off stays off: its state was what stopped it. */
START_TEST(resumed_as_it_was)
{
	uint16_t off = htole16(PCI_COMMAND_MEMORY);

	migration_begin(NULL);
	OK(vfd_device_write(devices[0], CONFIG, PCI_COMMAND, &off, 2, &f->err));
	OK(vfd_device_quiesce(devices[0], &f->err));
	OK(vfd_device_resume(devices[0], &f->err));
	ck_assert_uint_eq(command_of(0), PCI_COMMAND_MEMORY);
	ck_assert_uint_eq(writers(), DEVICES);
	migration_end();
}
END_TEST

/* It stays where it was, and silent; what it writes once it did go on is in the log. */
START_TEST(resumed_in_vain)
{
	migration_begin(NULL);
	OK(vfd_device_quiesce(devices[0], &f->err));
	model_fault(f->model, failing_set(EIO, 0));
	REFUSED(-EIO, vfd_device_resume(devices[0], &f->err));
	ck_assert_uint_eq(state_of(0), VFD_MIG_STOP);
	ck_assert_int_eq(dma(0, 10), -EACCES);
	check_beliefs(0);
	OK(vfd_device_resume(devices[0], &f->err));
	ck_assert_int_eq(dma(0, 11), 0);
	OK(harvest(f, 0));
	ck_assert_msg(is_logged(f, 11), "page 11 LOST");
	migration_end();
}
END_TEST

/* Its data is not thrown away. */
START_TEST(quiesced_while_it_precopies)
{
	size_t size, more;

	migration_begin(NULL);
	OK(set_one(0, VFD_MIG_PRE_COPY));
	REFUSED(-ENOMSG, read_all(0, data, sizeof data, &size));
	OK(vfd_device_quiesce(devices[0], &f->err));
	ck_assert_uint_eq(state_of(0), VFD_MIG_STOP_COPY);
	OK(read_all(0, data + size, sizeof data - size, &more));
	ck_assert_uint_eq(size, MODEL_RECORD_SIZE);
	ck_assert_uint_eq(more, MODEL_RECORD_SIZE);
	migration_end();
}
END_TEST

START_TEST(quiesced_all_the_same)
{
	migration_begin(NULL);
	model_fault(f->model, failing_set(EIO, 0));
	OK(vfd_device_quiesce(devices[0], &f->err));
	ck_assert_uint_eq(state_of(0), VFD_MIG_RUNNING);
	ck_assert_uint_eq(command_of(0) & PCI_COMMAND_MASTER, 0);
	ck_assert_uint_eq(writers(), DEVICES - 1);
	OK(vfd_device_resume(devices[0], &f->err));
	ck_assert_uint_eq(command_of(0) & PCI_COMMAND_MASTER, PCI_COMMAND_MASTER);
	ck_assert_uint_eq(writers(), DEVICES);
	migration_end();
}
END_TEST

START_TEST(lossless_detach)
{
	migration_begin(NULL);
	for (unsigned i = 0; i < DEVICES; i++)
		ck_assert_int_eq(dma(i, 10 + 20 * i), 0);
	OK(set_one(0, VFD_MIG_PRE_COPY));
	OK(set_one(1, VFD_MIG_RESUMING)); /* streams are open */
	ck_assert_int_eq(dma(0, 11), 0);
	OK(vfd_group_detach(&f->group, VFD_COLLECT, &f->err));
	OK(vfd_group_detach(&f->group2, VFD_COLLECT, &f->err));
	ck_assert_uint_eq(owed(), DEVICES + 1);
	ck_assert_uint_eq(reported(f), DEVICES + 1);
	check_all_logged(f);
	fixture_end(f);
}
END_TEST

/* Closing takes the data along; without a flag, once it is drained. */
START_TEST(closed_with_data)
{
	migration_begin(NULL);
	ck_assert_int_eq(dma(0, 11), 0);
	OK(vfd_migration_set(devices, DEVICES, VFD_MIG_STOP_COPY, &f->err));
	REFUSED(VFD_EDIRTY, vfd_device_close(&devices[0], 0, &f->err));
	OK(harvest(f, VFD_HARVEST_FINAL));
	unsigned before = model_counts(f->model).descriptors;
	OK(vfd_device_close(&devices[0], 0, &f->err));
	ck_assert_uint_eq(model_counts(f->model).descriptors, before - 2);
	ck_assert_uint_eq(info_of(f).drained, 1);
	ck_assert_uint_eq(owed(), 1);
	migration_end();
}
END_TEST

/* ---- touched while stopped ---- */

START_TEST(touched)
{
	char poke = 1;

	migration_begin(NULL);
	OK(set_one(0, VFD_MIG_STOP));
	OK(vfd_device_write(devices[0], 0, 0, &poke, 1, &f->err));
	ck_assert_uint_eq(writers(), DEVICES);
	ck_assert_uint_eq(state_of(0), VFD_MIG_STOP); /* the kernel knows nothing of it */
	OK(set_one(0, VFD_MIG_STOP));
	OK(set_one(0, VFD_MIG_STOP_COPY));
	ck_assert_uint_eq(writers(), DEVICES);
	OK(vfd_device_quiesce(devices[0], &f->err));
	ck_assert_uint_eq(command_of(0) & PCI_COMMAND_MASTER, 0);
	ck_assert_uint_eq(writers(), DEVICES - 1);
	OK(vfd_device_resume(devices[0], &f->err));
	ck_assert_uint_eq(command_of(0) & PCI_COMMAND_MASTER, PCI_COMMAND_MASTER);
	OK(set_one(0, VFD_MIG_STOP)); /* it has been running: this stops it */
	ck_assert_uint_eq(writers(), DEVICES - 1);
	migration_end();
}
END_TEST

/* Configuration space is no part of the device, but can reset it: the kernel is asked. */
START_TEST(configured_while_stopped)
{
	uint16_t command = htole16(PCI_COMMAND_MASTER | PCI_COMMAND_MEMORY);
	uint8_t line = 5;

	migration_begin(NULL);
	OK(set_one(0, VFD_MIG_STOP));
	OK(vfd_device_write(devices[0], CONFIG, PCI_COMMAND, &command, 2, &f->err));
	OK(vfd_device_write(devices[0], CONFIG, PCI_INTERRUPT_LINE, &line, 1, &f->err));
	ck_assert_uint_eq(writers(), DEVICES - 1);
	model_fault(f->model, failing_get(1));
	OK(vfd_device_write(devices[0], CONFIG, PCI_INTERRUPT_LINE, &line, 1, &f->err));
	ck_assert_uint_eq(writers(), DEVICES);
	migration_end();
}
END_TEST

/* As if the write had been a reset (FLR): behind the library's back the device runs again. */
static void reset_it(struct model *m, const struct model_trace *call, uint64_t number, bool after,
		     void *argument)
{
	(void)number;
	(void)argument;
	if (call->call != MODEL_PWRITE || !after)
		return;
	model_on_call(m, NULL, NULL);
	ck_assert_int_eq(raw_ioctl(f, vfd_device_fd(devices[0]), VFIO_DEVICE_RESET, NULL), 0);
}

START_TEST(reset_by_configuration_space)
{
	uint8_t line = 5;

	migration_begin(NULL);
	OK(set_one(0, VFD_MIG_STOP_COPY));
	model_on_call(f->model, reset_it, NULL);
	OK(vfd_device_write(devices[0], CONFIG, PCI_INTERRUPT_LINE, &line, 1, &f->err));
	ck_assert_uint_eq(state_of(0), VFD_MIG_RUNNING);
	ck_assert_uint_eq(writers(), DEVICES);
	migration_end();
}
END_TEST

/* Somebody else has let it run. */
START_TEST(woken_behind_our_back)
{
	migration_begin(NULL);
	OK(set_one(0, VFD_MIG_STOP));
	ck_assert_uint_eq(writers(), DEVICES - 1);
	ck_assert_int_eq(raw_ioctl(f, vfd_device_fd(devices[0]), VFIO_DEVICE_RESET, NULL), 0);
	about(0);
	ck_assert_uint_eq(writers(), DEVICES);
	migration_end();
}
END_TEST

static int raw_set(uint32_t state)
{
	struct {
		struct uapi_feature head;
		struct uapi_mig_state body;
	} arg = { .head = { sizeof arg, SET_STATE }, .body = { state, -1 } };

	return raw_ioctl(f, vfd_device_fd(devices[0]), VFIO_DEVICE_FEATURE, &arg);
}

/* Who had it before may have touched it. */
START_TEST(found_stopped)
{
	migration_begin(NULL);
	ck_assert_int_eq(raw_set(VFD_MIG_STOP), 0);
	ck_assert_int_eq(model_hold(f->model, FIRST), 0);
	OK(vfd_device_close(&devices[0], VFD_COLLECT, &f->err));
	OK(vfd_device_open(f->group, FIRST, &devices[0], &f->err));
	ck_assert_uint_eq(state_of(0), VFD_MIG_STOP);
	OK(set_one(0, VFD_MIG_STOP));
	ck_assert_uint_eq(writers(), DEVICES);
	OK(vfd_device_quiesce(devices[0], &f->err));
	ck_assert_uint_eq(command_of(0) & PCI_COMMAND_MASTER, 0);
	ck_assert_uint_eq(writers(), DEVICES - 1);
	model_release(f->model, FIRST);
	migration_end();
}
END_TEST

/* ---- a log that ends ---- */

static const struct model_log ends = { .ends_on_stop = true };

static void begin_ending(void)
{
	migration_begin(NULL);
	model_set_log(f->model, FIRST, &ends);
	ck_assert_int_eq(dma(0, 11), 0);
}

/* It is read before: nothing is lost, and nothing is assumed. */
START_TEST(log_read_before_it_ends)
{
	begin_ending();
	OK(set_one(0, VFD_MIG_STOP_COPY));
	OK(set_one(0, VFD_MIG_STOP));
	ck_assert_uint_eq(model_log_page_size(f->model, FIRST), 0);
	ck_assert_uint_eq(owed(), 1);
	ck_assert_uint_eq(reported(f), 1);
	OK(harvest(f, 0));
	OK(unmap_pages(f, 0, PAGES)); /* the others are read; of this one nothing can be missing */
	ck_assert_uint_eq(owed(), 1);
	OK(map_pages(f, 0, 0, PAGES, RW));
	OK(vfd_device_close(&devices[0], VFD_COLLECT, &f->err));
	ck_assert_uint_eq(owed(), 1);
	migration_end();
}
END_TEST

/* What it writes when it runs again nobody may have recorded. */
START_TEST(log_ended_and_runs_again)
{
	begin_ending();
	OK(set_one(0, VFD_MIG_STOP_COPY));
	OK(set_one(0, VFD_MIG_RUNNING));
	ck_assert_int_eq(dma(0, 12), 0);
	ck_assert_uint_eq(plan_of(f).exact, 0);
	OK(harvest(f, VFD_HARVEST_FINAL));
	ck_assert_uint_eq(owed(), PAGES);
	migration_end();
}
END_TEST

/* Begun anew while it is silent: exact again. */
START_TEST(log_begun_anew_in_stop)
{
	begin_ending();
	OK(vfd_migration_set(devices, DEVICES, VFD_MIG_STOP_COPY, &f->err));
	OK(vfd_migration_set(devices, DEVICES, VFD_MIG_STOP, &f->err));
	OK(vfd_track_start(f->container, NULL, NULL, &f->err));
	ck_assert_uint_eq(model_log_page_size(f->model, FIRST), PAGE);
	OK(vfd_migration_set(devices, DEVICES, VFD_MIG_RUNNING, &f->err));
	ck_assert_int_eq(dma(0, 12), 0);
	OK(harvest(f, VFD_HARVEST_FINAL));
	ck_assert_uint_eq(owed(), 2);
	ck_assert_uint_eq(plan_of(f).exact, 1);
	migration_end();
}
END_TEST

/* It could not be read before it ended: all is owed. */
START_TEST(log_unread_at_its_end)
{
	begin_ending();
	OK(set_one(0, VFD_MIG_STOP_COPY));
	model_fault(f->model, (struct model_fault){ .call = MODEL_POPULATE, .error = ENOMEM });
	OK(set_one(0, VFD_MIG_STOP));
	model_fault_clear(f->model);
	check_law(f);
	OK(harvest(f, VFD_HARVEST_FINAL));
	ck_assert_uint_eq(owed(), PAGES);
	migration_end();
}
END_TEST

/* Its log was read for the last time, and ended, while a mapping that it had written to was in no table yet. */
static void end_log_during_map(struct model *m, const struct model_trace *call, uint64_t number, bool after,
			       void *argument)
{
	(void)number, (void)argument;
	if (!after || call->call != MODEL_IOCTL || call->request != VFIO_IOMMU_MAP_DMA)
		return;
	model_on_call(m, NULL, NULL);
	ck_assert_int_eq(dma(0, PAGES + 3), 0);
	OK(set_one(0, VFD_MIG_STOP_COPY));
	OK(set_one(0, VFD_MIG_STOP));
	ck_assert_uint_eq(model_log_page_size(f->model, FIRST), 0);
}

START_TEST(log_ended_before_it_is_known)
{
	begin_ending();
	model_on_call(f->model, end_log_during_map, NULL);
	OK(map_pages(f, PAGES, 500, 8, RW));
	OK(harvest(f, VFD_HARVEST_FINAL));
	ck_assert_msg(is_logged(f, 503), "page 503 LOST");
	ck_assert_uint_eq(owed(), 1 + 8);
	migration_end();
}
END_TEST

/* Silent, and read, while a mapping that it had written to was in no table yet: that was not all, when its log ends. */
static void read_during_map(struct model *m, const struct model_trace *call, uint64_t number, bool after,
			    void *argument)
{
	(void)number, (void)argument;
	if (!after || call->call != MODEL_IOCTL || call->request != VFIO_IOMMU_MAP_DMA)
		return;
	model_on_call(m, NULL, NULL);
	ck_assert_int_eq(dma(0, PAGES + 3), 0);
	OK(set_one(0, VFD_MIG_STOP_COPY));
	OK(harvest(f, 0));
}

START_TEST(log_read_before_it_is_known)
{
	begin_ending();
	model_on_call(f->model, read_during_map, NULL);
	OK(map_pages(f, PAGES, 500, 8, RW));
	OK(set_one(0, VFD_MIG_STOP));
	ck_assert_uint_eq(model_log_page_size(f->model, FIRST), 0);
	OK(harvest(f, VFD_HARVEST_FINAL));
	ck_assert_msg(is_logged(f, 503), "page 503 LOST");
	ck_assert_uint_eq(owed(), 1 + 1);
	migration_end();
}
END_TEST

/* RESUMING may set the device back: the log is read in STOP, on the way. */
START_TEST(log_before_resuming)
{
	begin_ending();
	OK(set_one(0, VFD_MIG_RESUMING));
	ck_assert_uint_eq(owed(), 1);
	ck_assert_uint_eq(reported(f), 1);
	migration_end();
}
END_TEST

/* ---- data ---- */

START_TEST(state_arrives)
{
	struct model_migration how = { .flags = CAN_ALL, .chunk = 33 };
	size_t size, done;

	migration_begin(&how);
	set_registers(0, 42);
	OK(set_one(0, VFD_MIG_STOP_COPY));
	ck_assert_uint_eq(about(0).data, VFD_MIG_SAVING);
	OK(vfd_migration_read(devices[0], data, sizeof data, &done, &f->err));
	ck_assert_uint_eq(done, 33); /* in part */
	OK(read_all(0, data + done, sizeof data - done, &size));
	size += done;
	ck_assert_uint_eq(size, MODEL_RECORD_SIZE);
	ck_assert_uint_eq(about(0).data, VFD_MIG_SAVED);
	OK(set_one(1, VFD_MIG_RESUMING));
	ck_assert_uint_eq(about(1).data, VFD_MIG_LOADING);
	REFUSED(VFD_ESTATE, vfd_migration_read(devices[1], data, 1, &done, &f->err));
	OK(write_all(1, data, size));
	OK(set_one(1, VFD_MIG_RUNNING));
	ck_assert_uint_eq(about(1).data, VFD_MIG_NO_DATA);
	ck_assert(has_registers(1, 42));
	migration_end();
}
END_TEST

START_TEST(precopied)
{
	struct model_migration how = { .flags = CAN_ALL, .says_zero = _i };
	struct vfd_migration_precopy left = { .struct_size = sizeof left };
	size_t first, second, third;

	migration_begin(&how);
	set_registers(0, 1);
	OK(set_one(0, VFD_MIG_PRE_COPY));
	OK(vfd_migration_precopy(devices[0], &left, &f->err));
	ck_assert_uint_eq(left.initial_bytes, MODEL_RECORD_SIZE);
	REFUSED(-ENOMSG, read_all(0, data, sizeof data, &first));
	ck_assert_uint_eq(about(0).data, VFD_MIG_SAVING);
	set_registers(0, 2);
	OK(vfd_migration_precopy(devices[0], &left, &f->err));
	ck_assert_uint_eq(left.dirty_bytes, MODEL_RECORD_SIZE);
	OK(set_one(0, VFD_MIG_PRE_COPY_P2P));
	REFUSED(-ENOMSG, read_all(0, data + first, sizeof data - first, &second));
	set_registers(0, 3);
	OK(set_one(0, VFD_MIG_STOP_COPY));
	REFUSED(-EINVAL, vfd_migration_precopy(devices[0], &left, &f->err));
	OK(read_all(0, data + first + second, sizeof data - first - second, &third));
	OK(set_one(0, VFD_MIG_STOP));
	REFUSED(VFD_ESTATE, vfd_migration_precopy(devices[0], &left, &f->err));
	OK(set_one(1, VFD_MIG_RESUMING));
	OK(write_all(1, data, first + second + third));
	OK(set_one(1, VFD_MIG_STOP));
	ck_assert(has_registers(1, 3));
	migration_end();
}
END_TEST

/* Too short by any number of bytes, too long, damaged: refused when RESUMING is left, and a reset leads out. */
static void refuse(size_t size, bool broken)
{
	OK(set_one(1, VFD_MIG_RESUMING));
	OK(write_all(1, data, size));
	REFUSED(broken ? VFD_EPARTIAL : -EINVAL, set_one(1, VFD_MIG_RUNNING));
	ck_assert_uint_eq(state_of(1), broken ? VFD_MIG_ERROR : VFD_MIG_RESUMING);
	ck_assert(!has_registers(1, 9));
	ck_assert_uint_eq(writers(), broken ? DEVICES : DEVICES - 1);
	OK(vfd_migration_cancel(&devices[1], 1, VFD_MIG_RESET, &f->err));
	ck_assert_uint_eq(state_of(1), VFD_MIG_RUNNING);
}

START_TEST(bad_data)
{
	struct model_migration how = { .flags = CAN_ALL, .breaks = _i };
	size_t size;

	migration_begin(&how);
	set_registers(0, 9);
	OK(set_one(0, VFD_MIG_STOP_COPY));
	OK(read_all(0, data, sizeof data, &size));
	OK(set_one(0, VFD_MIG_RUNNING));
	for (size_t cut = 0; cut < size; cut += 7)
		refuse(cut, how.breaks);
	refuse(size + 1, how.breaks);
	data[100] ^= 4;
	refuse(size, how.breaks);
	data[100] ^= 4;
	OK(set_one(1, VFD_MIG_RESUMING));
	OK(write_all(1, data, size));
	OK(set_one(1, VFD_MIG_RUNNING));
	ck_assert(has_registers(1, 9));
	migration_end();
}
END_TEST

START_TEST(too_much_data)
{
	size_t done = 0, all = 0;
	int rc = 0;

	migration_begin(NULL);
	OK(set_one(1, VFD_MIG_RESUMING));
	for (; !rc && all < 1 << 20; all += done)
		rc = vfd_migration_write(devices[1], data, sizeof data, &done, &f->err);
	ck_assert_int_eq(rc, -ENOMEM);
	ck_assert_uint_eq(state_of(1), VFD_MIG_RESUMING);
	migration_end();
}
END_TEST

START_TEST(pressed_back)
{
	size_t done = 77;

	migration_begin(NULL);
	OK(set_one(1, VFD_MIG_RESUMING));
	model_fault(f->model, (struct model_fault){ .call = MODEL_WRITE, .error = EAGAIN });
	REFUSED(-EAGAIN, vfd_migration_write(devices[1], data, 100, &done, &f->err));
	ck_assert_uint_eq(done, 77);
	model_fault(f->model, (struct model_fault){ .call = MODEL_WRITE, .step = 1 });
	OK(vfd_migration_write(devices[1], data, 100, &done, &f->err));
	ck_assert_uint_eq(done, 50);
	model_fault(f->model, (struct model_fault){ .call = MODEL_WRITE, .step = 1 });
	REFUSED(-EIO, vfd_migration_write(devices[1], data, 1, &done, &f->err)); /* 0 bytes */
	OK(set_one(0, VFD_MIG_STOP_COPY));
	model_fault(f->model, (struct model_fault){ .call = MODEL_READ, .error = EINTR });
	REFUSED(-EINTR, vfd_migration_read(devices[0], data, 100, &done, &f->err));
	ck_assert_uint_eq(about(0).data, VFD_MIG_SAVING);
	migration_end();
}
END_TEST

/* A state that began a data session whose descriptor could not be handed out is no success. */
START_TEST(no_descriptor)
{
	migration_begin(NULL);
	for (unsigned step = 1; step <= 3; step++) {
		model_fault(f->model, failing_set(EMFILE, step));
		int rc = set_one(0, VFD_MIG_PRE_COPY);
		model_fault_clear(f->model);
		ck_assert_int_eq(rc, -EMFILE);
		ck_assert_uint_eq(state_of(0), VFD_MIG_RUNNING);
		ck_assert_uint_eq(about(0).data, VFD_MIG_NO_DATA);
	}
	migration_end();
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("migration");
	TCase *arcs = tcase_create("every arc");

	add_case(suite, "what it can", what_it_can);
	add_case(suite, "one that cannot", one_that_cannot);
	add_case(suite, "senseless arguments", senseless);
	tcase_set_timeout(arcs, 120);
	tcase_add_loop_test(arcs, every_arc, 0, 4);
	tcase_add_loop_test(arcs, every_failure, 0, 4);
	tcase_add_loop_test(arcs, precopied, 0, 2);
	tcase_add_loop_test(arcs, bad_data, 0, 2);
	suite_add_tcase(suite, arcs);
	add_case(suite, "nobody knows where it is", nobody_knows);
	add_case(suite, "a state that cannot be read", unreadable_at_first);
	add_case(suite, "ERROR is left by a reset", error_is_left_by_reset);
	add_case(suite, "a reset by its guest", a_reset_by_its_guest);
	add_case(suite, "a reset by its guest, untracked", a_reset_by_its_guest_untracked);
	add_case(suite, "a reset that fails", a_reset_that_fails);
	add_case(suite, "a reset unsaid", a_reset_unsaid);
	add_case(suite, "counts from before to after", counts_from_before_to_after);
	add_case(suite, "woken beside a harvest", woken_beside_a_harvest);
	add_case(suite, "quiesced by its state", quiesced_by_state);
	add_case(suite, "resumed as it was", resumed_as_it_was);
	add_case(suite, "resumed in vain", resumed_in_vain);
	add_case(suite, "quiesced while it precopies", quiesced_while_it_precopies);
	add_case(suite, "quiesced all the same", quiesced_all_the_same);
	add_case(suite, "the lossless detach", lossless_detach);
	add_case(suite, "closed with data", closed_with_data);
	add_case(suite, "touched while stopped", touched);
	add_case(suite, "configured while stopped", configured_while_stopped);
	add_case(suite, "reset by configuration space", reset_by_configuration_space);
	add_case(suite, "woken behind our back", woken_behind_our_back);
	add_case(suite, "found stopped", found_stopped);
	add_trap(suite, 47, "a log read before it ends", log_read_before_it_ends);
	add_trap(suite, 47, "a log that ended, and it runs again", log_ended_and_runs_again);
	add_case(suite, "a log begun anew in STOP", log_begun_anew_in_stop);
	add_trap(suite, 47, "a log unread at its end", log_unread_at_its_end);
	add_case(suite, "a log ended before a mapping is known", log_ended_before_it_is_known);
	add_case(suite, "a log read before a mapping is known", log_read_before_it_is_known);
	add_case(suite, "a log before RESUMING", log_before_resuming);
	add_case(suite, "the state arrives", state_arrives);
	add_case(suite, "too much data", too_much_data);
	add_case(suite, "pressed back", pressed_back);
	add_case(suite, "no descriptor", no_descriptor);
	add_case(suite, "silenced in two ways", silenced_in_two_ways);
	return run_suite(suite);
}
