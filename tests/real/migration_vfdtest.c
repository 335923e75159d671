/* SPDX-License-Identifier: MIT */

/* vfdtest devices: what they wrote is known, and each arc can be told to fail. */

#include "migration.h"

#include <errno.h>
#include <linux/vfio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "rig_edu.h"

enum { DEVICES = 3 };

static char data[DATA_MOST];

static bool offer(uint64_t flags)
{
	bool offered = true;

	for (unsigned i = 0; i < DEVICES; i++)
		offered &= !rig_set(i, VFDTEST_MIG, flags);
	return offered;
}

static void begin(struct rig *rig)
{
	rig_begin(rig);
	for (unsigned i = 1; i < DEVICES; i++) {
		ok_code(rig_attach(rig, i), 0, &rig->err, "attach vfdtest.%u", i);
		ok_code(rig_open_device(rig, i), 0, &rig->err, "open vfdtest.%u", i);
	}
}

static bool first_works(void)
{
	return !rig_write(0, 3, 1, 7);
}

/* ---- one ---- */

static void arcs(void)
{
	struct rig rig;

	begin(&rig);
	struct pair pair = { &rig, rig.devices[0], rig.devices[1], first_works };
	every_arc(&pair, "vfdtest");
	rig_close(&rig);
}

static void set_registers(struct rig *rig, unsigned index, unsigned seed)
{
	unsigned char bytes[VFDTEST_MIG_REGISTERS];

	srandom(seed);
	for (size_t i = 0; i < sizeof bytes; i++)
		bytes[i] = (unsigned char)random();
	vfd_device_write(rig->devices[index], 0, 0, bytes, sizeof bytes, &rig->err);
}

static bool same_registers(struct rig *rig)
{
	unsigned char a[VFDTEST_MIG_REGISTERS], b[VFDTEST_MIG_REGISTERS];

	return !vfd_device_read(rig->devices[0], 0, 0, a, sizeof a, &rig->err) &&
	       !vfd_device_read(rig->devices[1], 0, 0, b, sizeof b, &rig->err) && !memcmp(a, b, sizeof a);
}

/* Precopied, changed, copied on, in parts of 33 bytes. */
static void arrives(void)
{
	struct vfd_migration_precopy left = { .struct_size = sizeof left };
	size_t first, second;
	struct rig rig;

	begin(&rig);
	for (unsigned i = 0; i < 2; i++) {
		rig_set(i, VFDTEST_MIG_PADDING, 4096);
		rig_set(i, VFDTEST_MIG_CHUNK, 33);
	}
	struct pair pair = { &rig, rig.devices[0], rig.devices[1], NULL };
	set_registers(&rig, 0, 1);
	ok_code(go(&pair, VFD_MIG_PRE_COPY), 0, &rig.err, "PRE_COPY");
	ok_code(vfd_migration_precopy(pair.one, &left, &rig.err), 0, &rig.err, "what is there is told");
	int rc = read_all(pair.one, data, &first);
	ok(rc == -ENOMSG && first == left.initial_bytes && first > 4096,
	   "%zu bytes to begin with are read, then there are no more", first);
	set_registers(&rig, 0, 2);
	ok(!vfd_migration_precopy(pair.one, &left, &rig.err) && left.dirty_bytes, "what has changed is told");
	ok_code(go(&pair, VFD_MIG_STOP_COPY), 0, &rig.err, "STOP_COPY");
	rc = read_all(pair.one, data + first, &second);
	ok(!rc && second, "%zu bytes more, and the end", second);
	ok(!vfd_migration_set(&pair.other, 1, VFD_MIG_RESUMING, &rig.err) &&
		   !write_all(pair.other, data, first + second) &&
		   !vfd_migration_set(&pair.other, 1, VFD_MIG_RUNNING, &rig.err) && same_registers(&rig),
	   "the state arrives, bit for bit");
	for (unsigned i = 0; i < 2; i++) {
		rig_set(i, VFDTEST_MIG_PADDING, 0);
		rig_set(i, VFDTEST_MIG_CHUNK, 0xffffffff);
	}
	rig_close(&rig);
}

static bool refused(const struct pair *pair, size_t size)
{
	struct vfd_device *other = pair->other;
	bool right = !vfd_migration_set(&other, 1, VFD_MIG_RESUMING, &pair->rig->err) &&
		     !write_all(other, data, size) &&
		     vfd_migration_set(&other, 1, VFD_MIG_RUNNING, &pair->rig->err) == -EINVAL &&
		     state_of(pair, other) == VFD_MIG_RESUMING;

	return !cancel(pair, other, VFD_MIG_RESET) && state_of(pair, other) == VFD_MIG_RUNNING && right;
}

static void bad_data(void)
{
	unsigned taken = 0;
	struct rig rig;
	size_t size = 0;

	begin(&rig);
	struct pair pair = { &rig, rig.devices[0], rig.devices[1], NULL };
	set_registers(&rig, 0, 3);
	ok(!go(&pair, VFD_MIG_STOP_COPY) && !read_all(pair.one, data, &size), "its state is read");
	for (size_t cut = 0; cut < size; cut += 5)
		taken += !refused(&pair, cut);
	ok(!taken, "cut short: refused, and a reset leads out");
	for (size_t at = 0; at < size; at += 5) {
		data[at] ^= 4;
		taken += !refused(&pair, size);
		data[at] ^= 4;
	}
	ok(!taken, "damaged: refused");
	ok(refused(&pair, size + 1) && !same_registers(&rig),
	   "too long: refused, and nothing of it is taken");
	ok(!vfd_migration_set(&pair.other, 1, VFD_MIG_RESUMING, &rig.err) &&
		   !write_all(pair.other, data, size) &&
		   !vfd_migration_set(&pair.other, 1, VFD_MIG_RUNNING, &rig.err) && same_registers(&rig),
	   "as it is, it is taken");
	rig_close(&rig);
}

/* ---- several ---- */

static bool all_in(const struct pair *pair, uint32_t state)
{
	bool in = true;

	for (unsigned i = 0; i < DEVICES; i++)
		in &= state_of(pair, pair->rig->devices[i]) == state;
	return in;
}

static uint64_t writes_of(unsigned index)
{
	return rig_status(index).writes;
}

/* On a slow kernel, beside others, its thread may not get a turn for a while. */
static bool writes_on(unsigned index, uint64_t before)
{
	for (int i = 0; i < 500 && writes_of(index) == before; i++)
		usleep(10000);
	return writes_of(index) > before;
}

static bool all_write(void)
{
	uint64_t before[DEVICES];
	bool write = true;

	for (unsigned i = 0; i < DEVICES; i++)
		before[i] = writes_of(i);
	for (unsigned i = 0; i < DEVICES; i++)
		write &= writes_on(i, before[i]);
	return write;
}

/* One arc of one device fails: all go on as if nothing had been. */
static bool goes_on(const struct pair *pair, unsigned index, uint32_t from, uint32_t to, bool broken)
{
	struct vfd_device *const *devices = pair->rig->devices;
	struct vfd_error *err = &pair->rig->err;

	rig_set(index, VFDTEST_MIG_FAIL, vfdtest_mig_fail(from, to, ENOSPC, broken));
	int rc = vfd_migration_set(devices, DEVICES, VFD_MIG_STOP_COPY, err);
	rig_set(index, VFDTEST_MIG_FAIL, 0);
	if (rc != (broken ? VFD_EPARTIAL : -ENOSPC))
		return false;
	if (!broken)
		return all_in(pair, VFD_MIG_RUNNING) && all_write();
	bool named = state_of(pair, devices[index]) == VFD_MIG_ERROR;
	if (vfd_migration_cancel(devices, DEVICES, VFD_MIG_RESET, err))
		return false;
	rig_run(index, 0, 512, index); /* a reset has ended its work */
	return named && all_in(pair, VFD_MIG_RUNNING) && all_write();
}

/* Each arc to STOP_COPY, in the first, the middle and the last device. */
static void failures(const struct pair *pair)
{
	static const uint32_t way[] = { VFD_MIG_RUNNING, VFD_MIG_RUNNING_P2P, VFD_MIG_STOP,
					VFD_MIG_STOP_COPY };

	for (unsigned i = 0; i < DEVICES; i++)
		for (unsigned step = 0; step < 3; step++) {
			ok(goes_on(pair, i, way[step], way[step + 1], false),
			   "vfdtest.%u fails from %s to %s: all are at work", i,
			   vfd_migration_state_name(way[step]), vfd_migration_state_name(way[step + 1]));
			ok(goes_on(pair, i, way[step], way[step + 1], true),
			   "... breaks: it is reset, and the others go on");
		}
}

/* Three devices write while all this goes on, and stop together: not one page is missing, and none is added. */
static void together(void)
{
	struct rig rig;
	struct vfd_harvest last = { .struct_size = sizeof last };

	begin(&rig);
	struct pair pair = { &rig, rig.devices[0], rig.devices[1], NULL };
	for (unsigned i = 0; i < DEVICES; i++)
		rig_run(i, i * 512, 512, i);
	failures(&pair);
	ok_code(vfd_migration_set(rig.devices, DEVICES, VFD_MIG_PRE_COPY, &rig.err), 0, &rig.err,
		"all to PRE_COPY");
	ok(all_write(), "they are at work");
	ok_code(vfd_migration_set(rig.devices, DEVICES, VFD_MIG_STOP_COPY, &rig.err), 0, &rig.err,
		"all to STOP_COPY");
	uint64_t before = writes_of(0) + writes_of(1) + writes_of(2);
	ok_code(vfd_track_harvest(rig.container, VFD_HARVEST_FINAL, &last, &rig.err), 0, &rig.err,
		"the last harvest");
	struct pages log = rig_owed(&rig), truth = rig_truth(&rig);
	ok_exact(&log, &truth, "three devices, failures and all");
	ok(last.drained && writes_of(0) + writes_of(1) + writes_of(2) == before,
	   "it was the last: they are silent");
	for (unsigned i = 0; i < DEVICES; i++)
		ok_code(vfd_device_close(&rig.devices[i], 0, &rig.err), 0, &rig.err, "closed without a flag");
	rig_close(&rig);
}

/* ---- quiescing ---- */

/* Nothing is reset: the writer goes on where it was. */
static void quiesced(void)
{
	struct rig rig;

	begin(&rig);
	uint64_t resets = rig_status(0).resets;
	rig_run(0, 0, 512, 1);
	usleep(20000);
	ok_code(vfd_device_quiesce(rig.devices[0], &rig.err), 0, &rig.err, "quiesce");
	ok(rig_status(0).mig_state == VFD_MIG_STOP && rig_status(0).resets == resets,
	   "it is in STOP, not reset");
	for (unsigned i = 1; i < DEVICES; i++)
		vfd_device_quiesce(rig.devices[i], &rig.err);
	ok_code(vfd_track_harvest(rig.container, VFD_HARVEST_FINAL, NULL, &rig.err), 0, &rig.err, "harvest");
	struct pages log = rig_deliver(&rig), truth = rig_truth(&rig);
	ok_exact(&log, &truth, "quiesced by its state");
	uint64_t before = writes_of(0);
	ok_code(vfd_device_resume(rig.devices[0], &rig.err), 0, &rig.err, "resume");
	ok(writes_on(0, before), "it goes on writing");
	ok_code(vfd_group_detach(&rig.groups[0], VFD_COLLECT, &rig.err), 0, &rig.err, "detach, collecting");
	log = rig_deliver(&rig);
	truth = rig_truth(&rig);
	ok_exact(&log, &truth, "until its state stopped it");
	rig_close(&rig);
}

/* ---- its log ---- */

static bool edu_beside(struct rig *rig, struct edu *edu)
{
	return !vfd_group_attach(rig->container, edu->number, &edu->group, &rig->err) &&
	       (edu_open(rig, edu), !vfd_device_pins_all(edu->device, &rig->err)) && !rig_attach(rig, 0) &&
	       !rig_open_device(rig, 0) &&
	       (rig_map_all(rig), !vfd_track_start(rig->container, NULL, NULL, &rig->err));
}

static bool has_log(struct rig *rig)
{
	struct vfd_plan plan = { .struct_size = sizeof plan };

	vfd_track_plan(rig->container, &plan, &rig->err);
	return plan.exact;
}

/* The log ends when STOP_COPY is left, as that of some devices does; and it is begun anew while the device is silent. */
static void log_ends(struct rig *rig)
{
	struct vfd_device *device = rig->devices[0];

	rig_set(0, VFDTEST_LOG_QUIRKS, VFDTEST_LOG_STOPS);
	rig_write(0, 9, 3, 1);
	ok(!vfd_migration_set(&device, 1, VFD_MIG_STOP_COPY, &rig->err) && rig_status(0).logging &&
		   !vfd_migration_set(&device, 1, VFD_MIG_STOP, &rig->err) && !rig_status(0).logging,
	   "its log has ended");
	struct pages log = rig_deliver(rig), truth = rig_truth(rig);
	ok_exact(&log, &truth, "read before it ended");
	ok_code(vfd_track_start(rig->container, NULL, NULL, &rig->err), 0, &rig->err, "begun anew");
	ok_code(vfd_migration_set(&device, 1, VFD_MIG_RUNNING, &rig->err), 0, &rig->err, "RUNNING");
	rig_write(0, 77, 2, 1);
	ok_code(vfd_device_quiesce(device, &rig->err), 0, &rig->err, "quiesce");
	ok_code(vfd_track_harvest(rig->container, VFD_HARVEST_FINAL, NULL, &rig->err), 0, &rig->err,
		"harvest");
	log = rig_deliver(rig);
	truth = rig_truth(rig);
	ok_exact(&log, &truth, "with the new one");
	rig_set(0, VFDTEST_LOG_QUIRKS, 0);
}

static void logs(void)
{
	struct edu edu = { 0 };
	struct rig rig;

	if (!edu_find(&edu) || rig_set(0, VFDTEST_LOG, 1)) {
		skip("a log that ends", "no edu device, or no log");
		return;
	}
	rig_open(&rig);
	ok(edu_beside(&rig, &edu), "vfdtest.0 beside edu");
	if (has_log(&rig))
		log_ends(&rig);
	else
		skip("a log that ends", "this kernel cannot report logs");
	rig_close(&rig);
	rig_set(0, VFDTEST_LOG, 0);
}

void test_vfdtest(void)
{
	if (!offer(CAN_ALL)) {
		skip("vfdtest", "this kernel knows no PRE_COPY");
		return;
	}
	arcs();
	arrives();
	bad_data();
	together();
	quiesced();
	logs();
	offer(0);
}
