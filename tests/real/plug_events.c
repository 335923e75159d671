/* SPDX-License-Identifier: MIT */

/* How a device comes and goes: by the library, or by the kernel. */

#include "plug.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/vfio.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum { OTHER_FIRST = 700, OTHER_COUNT = 700, PAGE_OF_CPU = 1540, PAGE_OF_EDU = 1600 };

static void may_refuse(struct plug *p, int rc)
{
	p->refused = rc;
	if (rc)
		snprintf(p->why, sizeof p->why, "%s", p->rig.err.message);
}

/* ---- vfdtest ---- */

static void arrive(struct plug *p, unsigned index)
{
	must(p, rig_attach(&p->rig, index), "attach");
	must(p, rig_open_device(&p->rig, index), "open");
	rig_run(index, OTHER_FIRST * index, OTHER_COUNT, 4);
}

/* What the kernel asks for is told by an interrupt: vfdtest's second, PCI's VFIO_PCI_REQ_IRQ_INDEX. */
static void listen_to(struct plug *p, struct vfd_device *device, uint32_t irq)
{
	p->request = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	must(p, vfd_device_irq_enable(device, irq, 0, &p->request, 1, &p->rig.err), "request interrupt");
}

static void await_request(struct plug *p)
{
	struct pollfd wait = { .fd = p->request, .events = POLLIN };

	if (poll(&wait, 1, 5000) != 1)
		ok(false, "the kernel asks for the device back");
}

static void plug(unsigned index, bool in)
{
	struct vfdtest_plug command = { .device = index };

	for (int i = 0; i < 500 && rig_command(in ? VFDTEST_ADD : VFDTEST_REMOVE, &command) == -EBUSY; i++)
		usleep(10000);
	if (in && rig_status(index).state != VFDTEST_PRESENT)
		ok(false, "vfdtest.%u comes back", index);
}

static void await_absent(unsigned index)
{
	for (int i = 0; i < 500 && rig_status(index).state != VFDTEST_ABSENT; i++)
		usleep(10000);
}

static void arrives(struct plug *p)
{
	arrive(p, 1);
}

static void leaves(struct plug *p)
{
	must(p, vfd_group_detach(&p->rig.groups[1], VFD_COLLECT, &p->rig.err), "detach");
	p->rig.devices[1] = NULL;
}

static void leaves_unasked(struct plug *p)
{
	may_refuse(p, vfd_group_detach(&p->rig.groups[1], 0, &p->rig.err));
}

static void arrives_and_listens(struct plug *p)
{
	arrive(p, 1);
	listen_to(p, p->rig.devices[1], 1);
}

static void unbound_and_told(struct plug *p)
{
	plug(1, false);
	await_request(p);
	must(p, vfd_device_close(&p->rig.devices[1], VFD_COLLECT, &p->rig.err), "close");
	await_absent(1);
	must(p, vfd_group_detach(&p->rig.groups[1], VFD_COLLECT, &p->rig.err), "detach");
}

/* The program does not listen, and goes on. */
static void unbound_unheard(struct plug *p)
{
	(void)p;
	plug(1, false);
	usleep(5000);
}

/* Nothing holds the group: the kernel detaches it, and nobody is told. */
static void torn_out(struct plug *p)
{
	must(p, vfd_device_close(&p->rig.devices[1], VFD_COLLECT, &p->rig.err), "close");
	plug(1, false);
	await_absent(1);
}

static void listens(struct plug *p)
{
	listen_to(p, p->rig.devices[0], 1);
}

/* The record goes with it. Then it comes back, as another group; the mappings are still known. */
static void replaced(struct plug *p)
{
	bool leaving = !p->rig.devices[0];

	plug(0, false);
	if (!leaving) {
		await_request(p);
		must(p, vfd_device_close(&p->rig.devices[0], VFD_COLLECT, &p->rig.err), "close");
		must(p, vfd_group_detach(&p->rig.groups[0], VFD_COLLECT, &p->rig.err), "detach");
	}
	await_absent(0);
	plug(0, true);
	arrive(p, 0);
}

/* The library is not told, and keeps the handle of the one that is gone. */
static void torn_out_and_replaced(struct plug *p)
{
	if (p->rig.devices[0]) {
		must(p, vfd_device_close(&p->rig.devices[0], VFD_COLLECT, &p->rig.err), "close");
		plug(0, false);
		await_absent(0);
	}
	arrive(p, 1);
}

static void first_again(struct plug *p)
{
	(void)p;
	if (rig_status(0).state != VFDTEST_PRESENT)
		plug(0, true);
}

static void back_again(struct plug *p)
{
	(void)p;
	await_absent(1);
	plug(1, true);
}

/* What the last group takes along is assumed. */
const struct event plug_events[] = {
	{ "it arrives", NULL, arrives, NULL, POINTS, 0, false },
	{ "it leaves", arrives, leaves, NULL, POINTS, 0, false },
	{ "it leaves, without a flag", arrives, leaves_unasked, NULL, POINTS, VFD_EDEVICES, false },
	{ "it is unbound, and given back", arrives_and_listens, unbound_and_told, back_again, IN_DETACH, 0,
	  false },
	{ "it is unbound, and kept", arrives, unbound_unheard, back_again, IN_DETACH, 0, false },
	{ "it is torn out after its close", arrives, torn_out, back_again, IN_DETACH, 0, false },
	{ "the only one is unbound, and replaced", listens, replaced, NULL, BEFORE_START, 0, false },
	{ "the only one is torn out, and another arrives", NULL, torn_out_and_replaced, first_again,
	  BEFORE_START, 0, true },
	{ 0 },
};

/* ---- edu: a physical one ---- */

/* Something new each time, for what it writes has to differ. */
static void edu_writes(struct plug *p)
{
	static uint64_t stamp;

	memcpy(p->rig.memory + PAGE_OF_CPU * RIG_PAGE, &(uint64_t){ ++stamp }, sizeof stamp);
	vfd_log_mark(p->rig.log, RIG_LOG + PAGE_OF_CPU * RIG_PAGE, RIG_PAGE, &p->rig.err);
	edu_copy(&p->edu, PAGE_OF_CPU, PAGE_OF_EDU + stamp % 400);
}

static void edu_arrives(struct plug *p)
{
	must(p, vfd_group_attach_device(p->rig.container, p->edu.name, &p->edu.group, &p->rig.err), "attach");
	edu_open(&p->rig, &p->edu);
	edu_writes(p);
}

static void edu_leaves(struct plug *p)
{
	edu_writes(p);
	must(p, vfd_group_detach(&p->edu.group, VFD_COLLECT, &p->rig.err), "detach");
	p->edu.device = NULL;
}

static void put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		ok(false, "%s: %s", path, strerror(errno));
	close(fd);
}

static pthread_t unbinder;

/* Comes back only when the device was closed. */
static void *unbind(void *arg)
{
	struct plug *p = arg;

	put("/sys/bus/pci/drivers/vfio-pci/unbind", p->edu.name);
	return NULL;
}

static void *take_out(void *arg)
{
	struct plug *p = arg;
	char path[64];

	snprintf(path, sizeof path, "/sys/bus/pci/devices/%s/remove", p->edu.name);
	put(path, "1");
	return NULL;
}

static void edu_listens(struct plug *p)
{
	edu_arrives(p);
	listen_to(p, p->edu.device, VFIO_PCI_REQ_IRQ_INDEX);
}

static void given_back(struct plug *p, void *(*take)(void *))
{
	edu_writes(p);
	pthread_create(&unbinder, NULL, take, p);
	await_request(p);
	edu_writes(p);
	must(p, vfd_device_close(&p->edu.device, VFD_COLLECT, &p->rig.err), "close");
	pthread_join(unbinder, NULL);
	must(p, vfd_group_detach(&p->edu.group, VFD_COLLECT, &p->rig.err), "detach");
}

static void edu_unbound(struct plug *p)
{
	given_back(p, unbind);
}

static void edu_taken_out(struct plug *p)
{
	given_back(p, take_out);
}

static void edu_bound(struct plug *p)
{
	put("/sys/bus/pci/drivers/vfio-pci/bind", p->edu.name);
}

static void edu_plugged_in(struct plug *p)
{
	char path[80];

	put("/sys/bus/pci/rescan", "1");
	snprintf(path, sizeof path, "/sys/bus/pci/devices/%s/driver_override", p->edu.name);
	put(path, "vfio-pci");
	put("/sys/bus/pci/drivers_probe", p->edu.name);
}

/* Containers close what is open in them. */
static void forget(struct plug *p)
{
	p->edu.group = NULL;
	p->edu.device = NULL;
}

const struct event edu_events[] = {
	{ "edu arrives", NULL, edu_arrives, forget, BEFORE_START, 0, false },
	{ "edu leaves", edu_arrives, edu_leaves, NULL, BEFORE_START, 0, false },
	{ "edu is unbound, and given back", edu_listens, edu_unbound, edu_bound, BEFORE_START, 0, false },
	{ "edu is taken out, and given back", edu_listens, edu_taken_out, edu_plugged_in, BEFORE_START, 0,
	  false },
	{ 0 },
};

/* ---- vfdtest with a log of its own, and beside a physical group, where the container's record says nothing ---- */

static void beside_edu(struct plug *p)
{
	must(p, vfd_group_attach_device(p->rig.container, p->edu.name, &p->edu.group, &p->rig.err), "attach");
	edu_open(&p->rig, &p->edu);
	must(p, vfd_device_pins_all(p->edu.device, &p->rig.err), "edu pins all");
}

static void another_logs(struct plug *p)
{
	beside_edu(p);
	arrives_and_listens(p);
}

static void forget_and_back(struct plug *p)
{
	forget(p);
	if (rig_status(1).state != VFDTEST_PRESENT)
		back_again(p);
}

/* From when its group is attached until its log begins nobody answers for it: once, all is assumed. Who leaves is silent by its state, and read. One
 * that was torn out before the start leaves a group behind of which the library is not told. */
const struct event log_events[] = {
	{ "one that logs arrives", beside_edu, arrives, forget, STARTED, 0, false },
	{ "one that logs leaves", another_logs, leaves, forget, POINTS, 0, false },
	{ "one that logs leaves, without a flag", another_logs, leaves_unasked, forget, POINTS, VFD_EDEVICES,
	  false },
	{ "one that logs is unbound, and given back", another_logs, unbound_and_told, forget_and_back, POINTS,
	  0, false },
	{ "one that logs is torn out after its close", another_logs, torn_out, forget_and_back, BEFORE_START,
	  0, false },
	{ 0 },
};
