/* SPDX-License-Identifier: MIT */
#ifndef LIB_CONTAINER_H
#define LIB_CONTAINER_H

/* Handles, and the way into every public call: check the handle, the fork guard, take the gate. */

#include <vfiodirty/container.h>
#include <vfiodirty/device.h>

#include "forkguard.h"
#include "iommufd.h"
#include "recorder.h"
#include "space.h"

struct vfd_container {
	const struct sys *sys;
	struct forkguard guard;
	struct gate
		gate; /* closed: attach, detach, open and close of devices, start, stop; entered: all else */
	int fd;
	enum vfd_container_kind kind;
	char why[VFD_ERROR_TEXT]; /* it is of that kind */
	bool ended;		  /* it was closed; the guard refuses all calls */
	bool borrowed;	   /* adopted by duplicates: the owner's descriptors keep the container alive */
	bool had_physical; /* since the IOMMU was set: the kernel lists IOVA ranges from then on */
	struct vfd_group *groups;
	struct log_intent intent; /* while the gate is closed */
	struct vfd_audit *audit;  /* NULL: none. Changed with the gate closed. */
	struct iommufd iommufd;	  /* of VFD_KIND_IOMMUFD */
	struct space space;
};

struct vfd_group {
	struct vfd_container *container;
	struct vfd_group *next;
	struct vfd_device *devices; /* open, or closed by a detach that failed later */
	int number;
	bool attached; /* false: detached by a container close that failed later */
	bool held;     /* someone else had a device of it open when UNSET was tried last */
	int fd;	       /* -1: none, or not any more */
	bool physical;
	bool answered;	 /* what its devices write is known without type1: see device_answers() */
	bool by_log;	 /* ... by the log of one of them, at least */
	bool by_record;	 /* ... of one of them, by a record that is kept for it by itself */
	const char *why; /* the rule that decided, static text */
};

/* A mapped area of a device region. */
struct area {
	struct area *next;
	void *memory;
	size_t size;
};

/* Where a device is in VFIO's migration protocol. */
struct device_migration {
	uint64_t flags;		/* UAPI_MIGRATION_*; 0: it cannot */
	_Atomic uint32_t state; /* as last seen */
	uint32_t origin, goal;	/* of a move that is under way */
	pthread_mutex_t mutex;	/* the two below; taken after the device's */
	_Atomic int stream;	/* of the data session; -1. vfd_migration_fd() looks without the mutex */
	bool saved;		/* it was read to its end */
};

struct vfd_device {
	struct vfd_group *group;
	struct vfd_device *next;
	char *name;
	int fd; /* -1: closed */
	uint32_t flags;
	uint32_t regions;
	uint32_t irqs;
	uint64_t irqs_on;	    /* by index */
	bool pins_all;		    /* its driver pins everything that it writes */
	bool logs;		    /* it says that it can log its DMA */
	bool recorded;		    /* a record by device has it: iommufd's page tables */
	const char *unrecorded_why; /* ... or why none has; static text */
	uint32_t iommufd_id;	    /* its name there */
	const char *log_why;	    /* what came of it; static text or NULL */
	struct recorder recorder;
	bool quiesced;
	bool gated;   /* quiesced by bus mastering off: its own registers cannot wake it */
	bool stopped; /* quiesced by its migration state */
	bool touched; /* written to while it was stopped: it may have woken */
	struct device_migration migration;
	pthread_mutex_t mutex; /* everything above, and the order of calls on the device */
	struct area *areas;
};

/* 0 if the handle is one that this process may use. */
int container_check(struct vfd_container *container, const char *operation, struct vfd_error *err);

/* Check, then enter the gate (shared) or close it (exclusive). 0, or a refusal with the gate untouched. */
int container_enter(struct vfd_container *container, const char *operation, struct vfd_error *err);
void container_leave(struct vfd_container *container);
int container_close_gate(struct vfd_container *container, const char *operation, struct vfd_error *err);
void container_open_gate(struct vfd_container *container);

/* The same for a call on a device, which must be open; its mutex is held too. */
int device_enter(struct vfd_device *device, const char *operation, struct vfd_error *err);
void device_leave(struct vfd_device *device);

/* Dirty pages would be lost: VFD_EDIRTY, and a message. */
int refuse_loss(struct vfd_container *container, const char *operation, struct vfd_error *err,
		const char *format, ...) PRINTF_LIKE(4, 5);

/* 0 for a sensible set of destroy flags (none, one), else VFD_EINVALID. */
int check_destroy_flags(unsigned flags, const char *operation, struct vfd_error *err);

/* Openers with a kernel of one's choice. */
int container_open_on(const struct sys *sys, const struct vfd_container_options *options,
		      struct vfd_container **container, struct vfd_error *err);
int container_adopt_on(const struct sys *sys, const struct vfd_adoption *adoption,
		       struct vfd_container **container, struct vfd_error *err);

/* 0 if these flags ask for orders of the table that there can be (or VFD_FIND_IOVA). */
int check_orders(unsigned flags, const struct vfd_log *log, const char *operation, struct vfd_error *err);

/* VFD_EFORKED for a log that came through a fork: its parent's, not ours. NULL is fine. */
int check_log(const struct vfd_log *log, struct vfd_error *err);

/* Allocate and initialise a container around fd; NULL with *err filled in. Undo with container_free(). */
struct vfd_container *container_make(const struct sys *sys, int fd, struct vfd_log *log,
				     struct vfd_error *err);
void container_free(struct vfd_container *container);

/* It is one of iommufd. Just made. */
void container_native(struct vfd_container *container);

unsigned container_open_devices(const struct vfd_container *container);

/* ---- groups; gate closed ---- */

struct vfd_group *group_make(struct vfd_container *container, int number, struct vfd_error *err);
void group_close(struct vfd_group *group); /* its descriptor, if it has one */
void group_free(struct vfd_group *group);  /* its devices' records too; closes nothing */

/* Physical, emulated or no-IOMMU, and why. VFD_EUNSUPPORTED for the last. */
int group_classify(struct vfd_group *group, struct vfd_error *err);

/* The group's number, by the device's link in sysfs, whose last component it is; -1. */
int group_of_device(const struct sys *sys, const char *device);

/* It is attached: put it into the list and count it. */
void group_joined(struct vfd_group *group);
void group_tell(struct vfd_group *group, bool attached);

/* A device was opened, or how one is answered for has changed. */
void group_recount(struct vfd_group *group);

/* A device that was closed here turns out to be open elsewhere: a log that answered for it ended with the close, and so did the promise that it is
 * pinned, unless it was its owner's, from whom the container is borrowed. */
void group_held_elsewhere(struct vfd_group *group);

/* Open, not closed by a detach. */
unsigned group_open_devices(const struct vfd_group *group);

/* The name of one of them, or "" */
const char *group_first_open(const struct vfd_group *group);

/* No other is attached, as far as the library knows. */
bool group_is_last(const struct vfd_group *group);

/* The open device of that name, or NULL. */
struct vfd_device *group_find_device(const struct vfd_group *group, const char *name);

/* Detach with the devices closed and nothing left to collect: UNSET, and close. The record stays, its fd is -1. */
int group_unset(struct vfd_group *group, struct vfd_error *err);

/* Collect what devices of the group have written, closing them on the way: quiesce, harvest, close, harvest. */
int group_drain(struct vfd_group *group, unsigned harvest_flags, struct vfd_error *err);
void group_close_devices(struct vfd_group *group);

/* Whether what it writes is known without type1: its driver pins it, or it logs it. */
static inline bool device_answers(const struct vfd_device *device)
{
	return device->pins_all || recorder_answers(&device->recorder) || device->recorded;
}

/* ---- cdev.c: groups and devices of iommufd; gate closed ---- */

static inline bool is_iommufd(const struct vfd_container *container)
{
	return container->kind == VFD_KIND_IOMMUFD;
}

/* It exists: more is not needed, for devices are attached one by one. */
int cdev_check_group(const struct vfd_group *group, struct vfd_error *err);

/* A descriptor of the device by its own node, bound to the container's; *id is its name there. Negative: an error. */
int cdev_open(const struct vfd_group *group, const char *name, uint32_t *id, struct vfd_error *err);

/* 0: the device's IOMMU sets dirty bits. It is opened, bound and closed again, to ask. */
int cdev_probe(const struct backend *backend, const char *name, struct vfd_error *err);

/* It can reach what is mapped from now on. */
int cdev_attach(struct vfd_device *device, struct vfd_error *err);

/* ---- device_log.c: gate closed ---- */

/* Ask whether it has a log. It was just opened. */
void device_find_log(struct vfd_device *device);

/* Its log is used where type1 is of no use: start it, if tracking begins or is on. */
void device_arm(struct vfd_device *device);
void container_arm(struct vfd_container *container);
void container_disarm(struct vfd_container *container);

/* ---- device_migration.c: the device's mutex held, or the gate closed ---- */

/* Ask whether it has migration states. It was just opened. */
void device_find_migration(struct vfd_device *device);

/* One SET. Afterwards migration.state is where it really is. */
int device_set_state(struct vfd_device *device, uint32_t state, struct vfd_error *err);

/* Ask where it is. 0 or -errno. */
int device_look_state(struct vfd_device *device);

/* Into a state in which it is silent: STOP, or STOP_COPY if it precopies. */
int device_stop(struct vfd_device *device, struct vfd_error *err);

/* It was written to while stopped; it may have been, so ask. */
void device_touched(struct vfd_device *device);
void device_look_stopped(struct vfd_device *device);

/* A reset ends what there was, and leads to RUNNING. */
void device_was_reset(struct vfd_device *device);

/* Close the descriptor of its data, if there is one. */
void device_drop_stream(struct vfd_device *device);
/* ---- rearm.c: no gate ---- */

/* It is about to wake: arm what is silent for what was mapped meanwhile. Refuses a handle that is of no use. */
int device_rearm_silent(struct vfd_device *device, const char *operation, struct vfd_error *err);

/* ---- devices; gate closed, except where said ---- */

struct vfd_device *device_make(struct vfd_group *group, const char *name, int fd, struct vfd_error *err);
int device_read_info(struct vfd_device *device, struct vfd_error *err);
void device_joined(struct vfd_device *device);
void device_tell(struct vfd_device *device, bool opened);
void device_free(struct vfd_device *device); /* the record only; takes it off the group's list */

/* Interrupts off, areas unmapped, descriptor closed; the record stays. Idempotent. */
void device_shut(struct vfd_device *device);

/* As vfd_device_quiesce(); the device's mutex held, or the gate closed. */
int device_make_quiet(struct vfd_device *device, struct vfd_error *err);
/* Around a write into a region: true if it may have woken a quiet device and that can be asked: it counts as loud until the command
 * register, or its migration state, was read back. */
bool device_write_begins(struct vfd_device *device, uint32_t region, uint64_t offset, uint64_t size);
void device_write_ended(struct vfd_device *device);
/* Before VFIO_DEVICE_RESET, or a write into configuration space that does the same. */
void device_reset_begins(struct vfd_device *device);
bool device_write_resets(struct vfd_device *device, uint32_t region, uint64_t offset, const void *data,
			 uint64_t size);
bool device_is_config(const struct vfd_device *device, uint32_t region);
void device_loud(struct vfd_device *device);
void device_hushed(struct vfd_device *device);
int device_query_region(struct vfd_device *device, uint32_t index, struct vfd_device_region *region,
			struct vfd_error *err);
void device_unmap_areas(struct vfd_device *device);
void device_irqs_off(struct vfd_device *device);

#endif
