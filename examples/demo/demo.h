/* SPDX-License-Identifier: MIT */
#ifndef DEMO_H
#define DEMO_H

/* A live migration: memory that a device writes at full speed is copied to a second process in rounds, and the device is
 * unplugged before the last one. It is done by two ways of talking to VFIO; everything else is the same code for both. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	PAGE = 4096,
	SLOTS = 128, /* mappings that the memory is made of: a program maps its buffers as it gets them */
};

/* ---- the device and the memory -------------------------------------------------------------------------------------- */

struct device {
	const char *name; /* as VFIO_GROUP_GET_DEVICE_FD wants it */
	int group;	  /* N of /dev/vfio/N */
	int bench;	  /* /dev/vfdtest, which makes it write; -1: this device writes when it likes */
	uint32_t index;	  /* its number there */
};

struct source {
	const struct device *device;
	uint8_t *memory;
	uint64_t size;	  /* bytes, a multiple of SLOTS * 64 pages */
	uint64_t iova;	  /* where the device sees the memory */
	uint32_t backend; /* enum vfd_backend: what the library is to use */
};

/* Adjacent pages of the memory. */
struct chunk {
	uint64_t offset, size; /* bytes */
};

/* ---- the calls in question ------------------------------------------------------------------------------------------ */

/* What differs between plain ioctls and the library. Each ends the program with a message if it fails. */
struct ops {
	const char *name;
	/* Open container, group and device, map the memory, turn dirty tracking on; all pages are owed once. */
	void (*plug)(struct source *s);
	/* Ask for what was written since the last time. */
	void (*harvest)(struct source *s);
	/* Chunks to send of what is owed in a window, as many as there is room for; 0: no more. */
	size_t (*take)(struct source *s, struct chunk window, struct chunk *chunks, size_t room);
	/* All that take() gave of the window has arrived. */
	void (*arrived)(struct source *s, struct chunk window);
	/* The device is pulled: it is closed and its group leaves the container. What it wrote is to be owed. */
	void (*unplug)(struct source *s);
	/* Give everything back. */
	void (*end)(struct source *s);
};

extern const struct ops raw_ops, library_ops;

/* What the library says about the device: who answers for it, and how precisely. */
void library_print_plan(const struct source *s);

/* ---- one migration -------------------------------------------------------------------------------------------------- */

struct result {
	uint64_t lost;	  /* pages that differ at the end */
	uint64_t sent;	  /* pages, all rounds */
	unsigned rounds;  /* the last one included */
	double unplug_ms; /* collecting, closing, leaving the container */
	double last_ms;	  /* the last round: the device is gone, the program could as well be paused */
	uint64_t written; /* writes the device made; 0: unknown */
};

/* Copies the memory to a process of its own, printing progress on the current line. */
struct result migrate(const struct ops *ops, struct source *s);

/* ---- the wire ------------------------------------------------------------------------------------------------------- */

/* Start the receiver: a forked process with memory of its own. Returns our end of the socket. Before anything of VFIO is opened:
 * a child would hold the device open. */
int receiver_start(uint64_t size);
void receiver_end(int fd);

enum { WIRE_CHUNKS = 256 }; /* most that fit in a message */
void wire_send(int fd, uint8_t *memory, const struct chunk *chunks, size_t count);
/* Wait until all that was sent has arrived. */
void wire_flush(int fd);
/* A hash of each page at the other end. */
void wire_hashes(int fd, uint64_t *hashes, uint64_t pages);

uint64_t page_hash(const uint8_t *page);

/* ---- the device under test ------------------------------------------------------------------------------------------ */

/* The first vfdtest device. */
void bench_device(struct device *device);
/* The machine's own: refuses one that is in use; binds it to vfio-pci if told so, and gives it back when the program ends. */
void host_device(struct device *device, const char *address, bool rebind);
/* Let it write to the memory, as fast as it can, until it is closed. */
void device_run(const struct source *s, uint64_t seed);
uint64_t device_writes(const struct device *device);

/* ---- odds and ends -------------------------------------------------------------------------------------------------- */

/* Fill the memory with a file, again and again if it is too short. */
void image_fill(uint8_t *memory, uint64_t size, const char *path);

/* The table. 0 if it shows what it should, else 1. */
struct series {
	const struct ops *ops;
	struct result *results;
	unsigned count;
};
int report(const struct series *series, unsigned count);

double now_ms(void);
_Noreturn void die(const char *format, ...) __attribute__((format(printf, 1, 2)));
_Noreturn void die_errno(const char *what);

#endif
