/* SPDX-License-Identifier: MIT */
#ifndef GUARD_H
#define GUARD_H

/* vfd-guard's shim: what it knows of a program's VFIO files, and what it says about them. Everything here is called with the lock of
 * hooks.c held. Nothing of libvfiodirty is used: what is watched and what watches must not have the same faults. */

#include <spawn.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- ranges: a set of IOVA ranges, and since when each is known to be clean ------------------------------------------- */

struct range {
	struct range *left, *right;
	uint64_t first, last; /* inclusive */
	uint64_t since;	      /* moment at which it was mapped, or last collected */
	bool collected;	      /* ever */
	bool writable;	      /* to a device */
	uint32_t weight;      /* of the treap */
};

void range_add(struct range **set, const struct range *what);
/* Take out what lies between, cut at both ends. */
struct range *range_take(struct range **set, uint64_t first, uint64_t last);
void range_put(struct range **set, struct range *taken);
void range_free(struct range *set);
typedef void range_visit(struct range *range, void *arg);
/* Each that meets first..last, in order. The visitor neither adds nor takes. */
void range_each(struct range *set, uint64_t first, uint64_t last, range_visit *visit, void *arg);
void range_cut(struct range **set, uint64_t at);

/* ---- files ---------------------------------------------------------------------------------------------------------- */

/* One record of dirty pages in the kernel: a container's, a page table's, a device's own log. */
struct record {
	bool on;
	bool unseen;	      /* it was on when the guard saw it first: which ranges it has is not known */
	uint32_t loud;	      /* devices that can write now */
	uint64_t last;	      /* the latest moment at which one could */
	uint64_t page;	      /* bytes of a bit, as the program asks for it */
	struct range *ranges; /* what is mapped, or watched */
};

enum file_kind { CONTAINER = 1, GROUP, DEVICE, IOMMUFD };

/* An address space or a page table of an iommufd. */
struct table {
	struct table *next;
	uint32_t id, space; /* space: the address space that a page table shows; 0: this is one */
	bool devices_known; /* a device was seen attached. Until then anything may write */
	struct record record;
};

struct device {
	bool loud;
	bool by_reset; /* silent, as long as nobody touches it */
	bool pci;
	uint64_t config;   /* offset of its configuration space; 0: not known */
	uint32_t table;	   /* of its iommufd; 0: none */
	struct record log; /* its own */
};

/* An open file description: all duplicates of a descriptor are one file. */
struct file {
	struct file *next;
	enum file_kind kind;
	unsigned fds, areas; /* what holds it open in this process: descriptors, mapped areas */
	unsigned calls;	     /* ioctls on it that are under way: its descriptor may be closed meanwhile */
	unsigned below;	     /* files that belong to this one: a container's groups, a group's devices */
	int fd;		     /* one of its descriptors */
	struct file *owner;  /* a device's group or iommufd; the container of a group that is attached */
	char name[64];
	struct record record; /* a container's */
	struct device device;
	struct table *tables; /* an iommufd's */
};

extern struct file *files;
/* Moments: counted, for only their order matters. */
uint64_t now(void);

struct file *file_of(int fd); /* NULL: not VFIO's */
bool file_known(int fd);      /* cheap, and without the lock */
int file_highest(void);	      /* descriptor; -1: none yet */
struct file *file_new(int fd, enum file_kind kind, const char *name);
struct file *file_identify(int fd);
void file_bind(int fd, struct file *file);
void file_unbind(int fd);
void file_free(struct file *file);
/* Does another process have it open? 1, 0, or -1 if that could not be found out. */
int file_elsewhere(const struct file *file);
bool file_closes_on_exec(const struct file *file);
/* A spawned program is not to have them. */
void files_not_for(posix_spawn_file_actions_t *actions);
/* Descriptors of VFIO that no call of this process was seen to use. */
unsigned files_unseen(void);

/* ---- who can write -------------------------------------------------------------------------------------------------- */

void device_loud(struct file *device);
void device_silent(struct file *device);
/* The record of its address space; NULL: none that anybody keeps. */
struct record *device_record(struct file *device);
struct table *table_find(struct file *iommufd, uint32_t id);

/* ---- losses --------------------------------------------------------------------------------------------------------- */

enum { LOSS_SHOWN = 8, STACK_DEPTH = 48 };

struct loss_range {
	uint64_t first, last;
	bool collected; /* once, and a device could write since */
};

struct loss {
	const char *kind; /* for suppressions: one word */
	const char *call; /* which destroys */
	const char *why;  /* what it does, in a sentence */
	struct file *file;
	struct file *asker; /* whom to ask for the bits */
	struct record *record;
	struct table *table; /* of an iommufd */
	uint64_t pages, exact_pages, failed_pages;
	uint64_t page; /* bytes */
	bool unseen;   /* ranges besides that nobody knows */
	bool shared;   /* perhaps another process has it open */
	unsigned ranges;
	struct loss_range shown[LOSS_SHOWN];
};

bool range_dirty(const struct record *record, const struct range *range);
/* What of a range of the record nobody has collected. Adds to the loss. */
void loss_measure(struct loss *loss, struct record *record, uint64_t first, uint64_t last);
void loss_of(struct loss *loss, struct range *set, struct record *record);
bool loss_any(const struct loss *loss);
void loss_report(struct loss *loss);
/* It was said, or cannot be helped: from now on the record counts as read. */
void record_forget(struct record *record);
void record_end(struct record *record);
/* A read that began at a moment succeeded. */
void record_collected(struct record *record, uint64_t first, uint64_t last, uint64_t moment);
void record_map(struct record *record, uint64_t first, uint64_t size, bool writable);
void record_start(struct record *record, uint64_t moment);

/* --collect: read what is about to be destroyed, and keep it. */
void keep(struct loss *loss, struct range *set);
void keep_between(struct loss *loss, uint64_t first, uint64_t last);
/* The call failed after all: what was read has to be told, or the program never hears of it. Returns the result, errno as it was. */
int kept_in_vain(struct loss *loss, int result);
extern bool keeping;

/* ---- calls ---------------------------------------------------------------------------------------------------------- */

int container_ioctl(struct file *file, int fd, unsigned long request, void *arg);
int group_ioctl(struct file *file, int fd, unsigned long request, void *arg);
int device_ioctl(struct file *file, int fd, unsigned long request, void *arg);
int iommufd_ioctl(struct file *file, int fd, unsigned long request, void *arg);
/* A descriptor or an area is about to go (and then, has gone): is it what holds a record? */
void before_release(struct file *file, struct loss *loss, const char *call);
void after_release(struct file *file);
/* A device's registers or configuration space are about to be written. */
void device_written(struct file *device, const void *data, size_t size, uint64_t offset, bool done);
void guard_end(const char *call, bool exec);

/* The kernel, past the hooks; and without the lock. */
int real_ioctl(int fd, unsigned long request, void *arg);
int kernel_ioctl(int fd, unsigned long request, void *arg);

/* ---- saying --------------------------------------------------------------------------------------------------------- */

struct settings {
	bool json, abort, stats, no_symbols;
	int exit_code; /* -1: the program's own */
	char log[256], keep[256], suppressions[256];
};

extern struct settings settings;
void settings_read(void);
extern uint64_t findings;
void say(const char *format, ...) __attribute__((format(printf, 1, 2)));
void say_flush(void);
void say_begin(void);
void report_sum(const char *how);
void report_child(void); /* what the parent found is not its own */

struct frame {
	uintptr_t pc;
	uintptr_t offset; /* in its module */
	char module[160], function[96], line[160];
};

unsigned stack_take(uintptr_t *pcs, unsigned room);
/* With functions that were inlined: more than there are addresses. */
unsigned stack_names(const uintptr_t *pcs, unsigned count, struct frame *frames, unsigned room);
bool suppressed(const char *kind, const struct frame *frames, unsigned count);

#endif
