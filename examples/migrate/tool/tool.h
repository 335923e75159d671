/* SPDX-License-Identifier: MIT */
#ifndef MIGRATE_TOOL_H
#define MIGRATE_TOOL_H

/* vfd-migrate: memory, and a thread that writes it, in the place of a guest. */

#include "../migrate.h"

#include <pthread.h>

struct settings {
	bool json, quiet, verbose;
	unsigned channels;
	uint64_t size;	       /* of the memory, bytes */
	uint64_t working_set;  /* bytes that the thread writes to */
	uint64_t dirty_rate;   /* pages/s it writes; 0: none */
	unsigned zero_percent; /* of the pages that are zero at the beginning */
	const char *file;      /* memory is this file; NULL: anonymous */
	const char *device;    /* writes to it too; NULL: none */
	struct mig_options migration;
};

/* ---- the guest ------------------------------------------------------------------------------------------------------ */

/* What moves with it besides memory. */
struct guest_state {
	uint64_t random, writes;
};

struct device {
	struct vfd_container *container; /* NULL: there is no device */
	struct vfd_group *group;
	struct vfd_device *vfio;
	bool migrates;
};

struct guest {
	uint8_t *memory;
	uint64_t size;
	struct vfd_log *log;
	struct device device;
	struct guest_state state;
	uint64_t working_set, dirty_rate;
	pthread_t thread;
	atomic_bool running;
};

/* 0, or negative with a message. */
int guest_open(struct guest *g, const struct settings *s, struct mig_error *err);
void guest_fill(struct guest *g, unsigned zero_percent);
int guest_log(struct guest *g, struct mig_error *err);
int guest_run(struct guest *g, struct mig_error *err);
void guest_pause(struct guest *g);
uint64_t guest_hash(const struct guest *g);
void guest_close(struct guest *g);

/* A device by its name; each does nothing without one. */
int device_open(struct guest *g, const struct settings *s, struct mig_error *err);
int device_start(struct guest *g, struct mig_error *err); /* tracked from here on, it writes */
int device_harvest(struct guest *g, bool final, struct vfd_harvest *sum, struct mig_error *err);
int device_pause(struct guest *g, struct mig_error *err);
void device_resume(struct guest *g);
void device_close(struct guest *g);

/* Its state as a section. */
struct mig_section guest_section(struct guest *g);

/* ---- the two sides, and the bench ------------------------------------------------------------------------------------- */

int send_main(const char *uri, const struct settings *s);
int receive_main(const char *uri, const struct settings *s);
int bench_main(const struct settings *s);

#endif
