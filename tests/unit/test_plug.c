/* SPDX-License-Identifier: MIT */

/* Devices come and go at every point of a migration: each event at each point, on the model, which knows what was written. The same
 * on a real kernel: tests/real/real_plug.c. */

#include "fixture.h"

#include <endian.h>
#include <linux/pci_regs.h>
#include <linux/vfio.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "kernel/vfdtest.h"

static struct fixture fixture, *f = &fixture;
static const struct model_log keeps_a_log;

/* 7 is there from the beginning; the other one comes and goes: emulated, physical, with larger pages, with a log of its own. */
#define WITH(...)                                                                                            \
	{                                                                                                    \
		.group_count = 2,                                                                            \
		.groups = { { .number = 7, .kind = MODEL_EMULATED, .devices = { { .name = NAME(0) } } },     \
			    __VA_ARGS__ },                                                                   \
	}
static const struct model_config emulated =
	WITH({ .number = 8, .kind = MODEL_EMULATED, .devices = { { .name = NAME(1) } } });
static const struct model_config physical =
	WITH({ .number = 8, .kind = MODEL_PHYSICAL, .devices = { { .name = PCI_NAME, .pci = true } } });
static const struct model_config larger_pages = WITH({ .number = 8,
						       .kind = MODEL_PHYSICAL,
						       .page_sizes = 1 << 16 | 1 << 21,
						       .devices = { { .name = PCI_NAME, .pci = true } } });
static const struct model_config logging =
	WITH({ .number = 8,
	       .kind = MODEL_PHYSICAL,
	       .devices = { { .name = PCI_NAME, .pci = true, .log = &keeps_a_log } } });

enum point { BEFORE_START, STARTED, IN_A_ROUND, HARVESTED, BEFORE_FINAL, AFTER_FINAL, IN_DETACH, POINTS };

struct event {
	const char *what;
	const struct model_config *config;
	void (*prepare)(void); /* may be NULL */
	void (*happen)(void);
	enum point precise; /* before this point the log is what was written, and no more */
};

static bool is_emulated; /* the other device */
static uint64_t next_page;

/* ---- devices at work ---- */

static const char *name_of(bool other)
{
	return !other ? NAME(0) : is_emulated ? NAME(1) : PCI_NAME;
}

/* A page each time it is asked, of its own half; none if it is silent. */
static void write_page(bool other)
{
	uint64_t page = (next_page++ * 7) % (PAGES / 2) + (other ? PAGES / 2 : 0);
	struct vfdtest_range range = {
		.device = other,
		.iova = page * PAGE,
		.size = PAGE,
		.value = next_page,
	};

	if ((other && !is_emulated) || mode == MODE_IOMMUFD)
		model_dma_write(f->model, name_of(other), page * PAGE, PAGE, next_page);
	else
		model_vfdtest(f->model, VFDTEST_WRITE, &range);
}

static void write_some(void)
{
	for (int i = 0; i < 3; i++) {
		if (f->device && !info_of(f).drained)
			write_page(false);
		if (f->device2)
			write_page(true);
	}
}

static void arrive(void)
{
	uint16_t command = htole16(PCI_COMMAND_MASTER | PCI_COMMAND_MEMORY);

	OK(vfd_group_attach(f->container, 8, &f->group2, &f->err));
	OK(vfd_device_open(f->group2, name_of(true), &f->device2, &f->err));
	if (!is_emulated)
		OK(vfd_device_write(f->device2, VFIO_PCI_CONFIG_REGION_INDEX, PCI_COMMAND, &command, 2,
				    &f->err));
	write_page(true);
}

/* ---- events ---- */

static void leave(void)
{
	write_page(true);
	OK(vfd_group_detach(&f->group2, VFD_COLLECT, &f->err));
	f->device2 = NULL;
}

static void leave_unasked(void)
{
	struct vfd_error err;

	ck_assert_int_eq(vfd_group_detach(&f->group2, 0, &err), VFD_EDEVICES);
	ck_assert(err.message[0]);
}

/* The program is told by an interrupt, and gives it back. */
static void unbound(void)
{
	write_page(true);
	model_unplug(f->model, 8);
	write_page(true);
	OK(vfd_device_close(&f->device2, VFD_COLLECT, &f->err));
	OK(vfd_group_detach(&f->group2, VFD_COLLECT, &f->err));
	ck_assert_int_eq(model_plug(f->model, 8), 0);
}

static void unbound_unheard(void)
{
	model_unplug(f->model, 8);
}

static void torn_out(void)
{
	write_page(true);
	OK(vfd_device_close(&f->device2, VFD_COLLECT, &f->err));
	model_unplug(f->model, 8);
}

/* The only one: the kernel takes the record with it. */
static void replaced(void)
{
	if (f->device) {
		model_unplug(f->model, 7);
		write_page(false);
		OK(vfd_device_close(&f->device, VFD_COLLECT, &f->err));
		OK(vfd_group_detach(&f->group, VFD_COLLECT, &f->err));
		ck_assert_int_eq(model_plug(f->model, 7), 0);
	}
	arrive();
}

/* Nobody told the library, whose handle of it stays. */
static void torn_out_and_replaced(void)
{
	if (f->device) {
		OK(vfd_device_close(&f->device, VFD_COLLECT, &f->err));
		model_unplug(f->model, 7);
	}
	arrive();
}

static const struct event events[] = {
	{ "arrives", &emulated, NULL, arrive, POINTS },
	{ "leaves", &emulated, arrive, leave, POINTS },
	{ "leaves without a flag", &emulated, arrive, leave_unasked, POINTS },
	{ "unbound", &emulated, arrive, unbound, IN_DETACH },
	{ "unbound unheard", &emulated, arrive, unbound_unheard, IN_DETACH },
	{ "torn out", &emulated, arrive, torn_out, IN_DETACH },
	{ "replaced", &emulated, NULL, replaced, BEFORE_START },
	{ "torn out and replaced", &emulated, NULL, torn_out_and_replaced, BEFORE_START },
	{ "physical arrives", &physical, NULL, arrive, BEFORE_START },
	{ "physical leaves", &physical, arrive, leave, BEFORE_START },
	{ "physical leaves without a flag", &physical, arrive, leave_unasked, BEFORE_START },
	{ "physical unbound", &physical, arrive, unbound, BEFORE_START },
	{ "physical unbound unheard", &physical, arrive, unbound_unheard, BEFORE_START },
	{ "physical torn out", &physical, arrive, torn_out, BEFORE_START },
	{ "replaced by physical", &physical, NULL, replaced, BEFORE_START },
	{ "larger pages arrive", &larger_pages, NULL, arrive, BEFORE_START },
	{ "larger pages leave", &larger_pages, arrive, leave, BEFORE_START },
	{ "logging arrives", &logging, NULL, arrive, BEFORE_START },
	{ "logging leaves", &logging, arrive, leave, BEFORE_START },
	{ "logging unbound", &logging, arrive, unbound, BEFORE_START },
	{ "logging torn out", &logging, arrive, torn_out, BEFORE_START },
	{ "replaced by logging", &logging, NULL, replaced, BEFORE_START },
};

/* ---- at a point ---- */

static const struct event *event;
static atomic_bool begun, over;

static void *happen(void *arg)
{
	event->happen();
	over = true;
	return arg;
}

/* That the record went with the last group is an answer: all is assumed. */
static void collect(unsigned flags)
{
	struct vfd_error err;
	int rc = vfd_track_harvest(f->container, flags, NULL, &err);

	ck_assert_msg(!rc || rc == VFD_ELOST, "%s", err.message);
}

static void in_a_round(void)
{
	pthread_t thread;

	over = false;
	ck_assert_int_eq(pthread_create(&thread, NULL, happen, NULL), 0);
	do
		collect(0);
	while (!over);
	pthread_join(thread, NULL);
}

static pthread_t intruder;

/* After the record was looked at for the first time. What needs the library waits until the detach is over. */
static void between_looks(struct model *model, const struct model_trace *call, uint64_t number, bool after,
			  void *argument)
{
	(void)model;
	(void)number;
	(void)argument;
	if (!after || begun || call->call != MODEL_CLOSE || call->file != MODEL_FILE_DEVICE)
		return;
	begun = true;
	ck_assert_int_eq(pthread_create(&intruder, NULL, happen, NULL), 0);
	for (int i = 0; i < 10 && !over; i++)
		usleep(100);
}

static void in_detach(void)
{
	struct vfd_error err;

	begun = over = false;
	f->device = NULL;
	model_on_call(f->model, between_looks, NULL);
	int rc = vfd_group_detach(&f->group, VFD_COLLECT, &err);
	ck_assert_msg(!rc, "%s", err.message);
	pthread_join(intruder, NULL);
	model_on_call(f->model, NULL, NULL);
}

static void reach(enum point point, enum point at)
{
	if (point == at && at == IN_A_ROUND)
		in_a_round();
	else if (point == at && at == IN_DETACH)
		in_detach();
	else if (point == at)
		event->happen();
	ck_assert_msg(!model_crashed(f->model), "%s", model_crashed(f->model));
	check_law(f);
	write_some();
	check_law(f);
}

/* ---- a migration ---- */

static void last_round(void)
{
	if (f->device)
		OK(vfd_device_quiesce(f->device, &f->err));
	if (f->device2)
		OK(vfd_device_quiesce(f->device2, &f->err));
	collect(VFD_HARVEST_FINAL);
	check_law(f);
}

static void begin(void)
{
	is_emulated = event->config->groups[1].kind == MODEL_EMULATED;
	next_page = 0;
	fixture_begin(f, event->config);
	OK(vfd_group_attach(f->container, 7, &f->group, &f->err));
	OK(vfd_device_open(f->group, NAME(0), &f->device, &f->err));
	OK(map_pages(f, 0, 0, PAGES / 2, RW));
	OK(map_pages(f, PAGES / 2, PAGES / 2, PAGES / 2, RW));
	if (event->prepare)
		event->prepare();
}

static void migrate(enum point at)
{
	if (at == BEFORE_START)
		event->happen();
	OK(vfd_track_start(f->container, NULL, NULL, &f->err));
	write_some();
	reach(STARTED, at);
	collect(0);
	reach(IN_A_ROUND, at);
	collect(0);
	reach(HARVESTED, at);
	reach(BEFORE_FINAL, at);
	last_round();
	if (at == AFTER_FINAL)
		reach(AFTER_FINAL, at);
	if (at == IN_DETACH)
		reach(IN_DETACH, at);
	last_round();
}

START_TEST(at_every_point)
{
	enum point at = (enum point)(_i % POINTS);

	event = &events[_i / POINTS];
	printf("# %s, point %d\n", event->what, (int)at);
	fflush(stdout);
	begin();
	migrate(at);
	OK(vfd_container_close(&f->container, VFD_COLLECT, &f->err));
	check_all_logged(f);
	if (is_emulated ||
	    mode == MODE_IOMMUFD) /* else the library says more than the kernel, which says everything */
		check_exact(f);
	if (at < event->precise)
		check_precise(f);
	fixture_end(f);
}
END_TEST

/* The kernel has no lock against calls while it takes the last group away: from the close on it is not called. */
START_TEST(not_asked_any_more)
{
	const struct model_trace *trace;
	bool closed = false;
	size_t count;

	fixture_track(f, NULL);
	device_writes(f, 0, 10, 3);
	model_unplug(f->model, 7);
	model_trace_start(f->model);
	OK(vfd_group_detach(&f->group, VFD_COLLECT, &f->err));
	trace = model_trace(f->model, &count);
	for (size_t i = 0; i < count; i++) {
		ck_assert(!closed || trace[i].file != MODEL_FILE_CONTAINER);
		closed |= trace[i].call == MODEL_CLOSE && trace[i].file == MODEL_FILE_DEVICE;
	}
	ck_assert(closed);
	check_precise(f); /* it was silent when it was asked last */
	fixture_end(f);
}
END_TEST

/* Someone else holds it: then nothing is taken away yet, and the record tells what is written on. */
START_TEST(taken_away_but_held)
{
	fixture_track(f, NULL);
	device_writes(f, 0, 10, 3);
	model_unplug(f->model, 7);
	ck_assert_int_eq(model_hold(f->model, NAME(0)), 0);
	OK(vfd_device_close(&f->device, VFD_COLLECT, &f->err));
	device_writes(f, 0, 20, 1);
	check_law(f);
	OK(harvest(f, VFD_HARVEST_FINAL));
	check_all_logged(f);
	model_release(f->model, NAME(0));
	OK(vfd_group_detach(&f->group, VFD_COLLECT, &f->err));
	check_all_logged(f);
	fixture_end(f);
}
END_TEST

/* The handle stays; a record is not said to be lost, for none is expected any more. */
START_TEST(the_plan_when_all_is_gone)
{
	fixture_track(f, NULL);
	device_writes(f, 0, 5, 1);
	OK(vfd_device_close(&f->device, VFD_COLLECT, &f->err));
	model_unplug(f->model, 7);
	harvest(f, 0); /* finds out */
	ck_assert(!f->container->space.attached);
	struct vfd_plan plan = plan_of(f);
	ck_assert_uint_eq(plan.entry_count, 1);
	ck_assert_uint_eq(plan.deferred_bytes, 0);
	ck_assert_ptr_null(strstr(plan.entries[0].why, "lost"));
	check_all_logged(f);
	fixture_end(f);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("plug");

	add_modes_loop(suite, "every event at every point", NULL, at_every_point, 0,
		       (int)(sizeof events / sizeof events[0] * POINTS));
	add_trap(suite, 6, "not asked any more", not_asked_any_more);
	add_modes_but(suite, "taken away but held",
		      "a closed device is detached: it reaches nothing, whoever holds it",
		      taken_away_but_held);
	add_case(suite, "the plan when all is gone", the_plan_when_all_is_gone);
	return run_suite(suite);
}
