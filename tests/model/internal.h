/* SPDX-License-Identifier: MIT */
#ifndef TESTS_MODEL_INTERNAL_H
#define TESTS_MODEL_INTERNAL_H

/* What the model's files share. Everything here is called with the model's lock held unless it says otherwise. */

#include <errno.h>
#include <pthread.h>

#include <linux/vfio.h>

#include "kernel/vfdtest.h"
#include "model.h"

#define ARRAY_SIZE(array) (sizeof(array) / sizeof(*(array)))

/* ---- pageset.c: a set of page numbers ---- */

struct chunk;
struct span;

struct pageset {
	struct chunk *chunks; /* hash of 512-page chunks */
	size_t used, room;
	struct span *spans; /* long runs, kept as such */
	size_t span_count, span_room;
};

void pageset_add(struct pageset *set, uint64_t first, uint64_t count);
void pageset_clear_range(struct pageset *set, uint64_t first, uint64_t count);
bool pageset_has(const struct pageset *set, uint64_t page);
uint64_t pageset_range(const struct pageset *set, uint64_t first, uint64_t count, uint64_t *bitmap);
/* The first page of the set in *page .. last, into *page. Not for sets that hold spans. */
bool pageset_next(const struct pageset *set, uint64_t *page, uint64_t last);
uint64_t pageset_count(const struct pageset *set);
void pageset_empty(struct pageset *set);
/* Bit i of words, from bit `skip` on, stands for `scale` pages from first + i * scale. */
void pageset_add_bits(struct pageset *set, uint64_t first, const uint64_t *words, uint64_t skip,
		      uint64_t bits, uint64_t scale);

/* ---- user.c: this process' memory, where a bad address is an error; any thread, no lock ---- */

size_t user_read(void *to, uint64_t from, size_t size);
size_t user_write(uint64_t to, const void *from, size_t size);
bool user_range_ok(uint64_t address, uint64_t size);
/* 0 or -EFAULT */
int copy_in(void *to, const void *user, size_t size);
int copy_out(void *user, const void *from, size_t size);

/* ---- the call being made ---- */

struct call {
	struct model *model;
	struct model_trace trace;
	uint64_t number;
	/* an armed fault that hits this call */
	bool fails;
	int error;
	unsigned step;
};

/* ---- type1 ---- */

struct mapping {
	uint64_t iova, size, vaddr;
	uint32_t prot; /* VFIO_DMA_MAP_FLAG_READ and _WRITE */
	bool iommu_mapped, vaddr_invalid;
	uint64_t *bitmap; /* NULL: not tracking */
	size_t words;	  /* as allocated: page sizes may change later */
};

struct type1 {
	bool v2, tracking;
	struct mapping **maps; /* by IOVA */
	size_t count, room;
	struct mapping **tops; /* those that end at 2^64: the kernel's searches miss them */
	size_t top_count;
	uint64_t page_sizes;
	unsigned available;		/* mappings that can still be made */
	unsigned suspended;		/* with an invalid vaddr */
	unsigned non_pinned;		/* groups whose writes nobody sees */
	unsigned physical, emulated;	/* groups */
	bool had_physical;		/* the IOVA list exists */
	uint64_t locked;		/* bytes pinned by the IOMMU */
	uint64_t last_index, last_word; /* of the caller's bitmap, as bitmap_deliver last wrote it */
	/* Mappings that are gone, while devices keep logs: those still speak of them. The latest last. For the oracle. */
	struct mapping *gone;
	size_t gone_count, gone_room;
};

struct container;
struct group;
struct device;
struct iommu;
struct hwpt;

struct type1 *type1_open(struct model *m, bool v2);
void type1_release(struct model *m, struct type1 *t);
int type1_attach(struct model *m, struct container *c, struct group *g);
void type1_detach(struct model *m, struct container *c, struct group *g);
uint64_t type1_page_size(const struct type1 *t);
int type1_ioctl(struct call *call, struct container *c, unsigned long request, void *argument);
long type1_extension(struct container *c, unsigned long extension);

/* type1_info.c */
int type1_get_info(struct container *c, void *argument);
unsigned type1_ranges(const struct container *c, struct vfio_iova_range *ranges);
bool type1_range_allowed(const struct container *c, uint64_t first, uint64_t last);

/* type1_map.c */
struct mapping *type1_find(const struct type1 *t, uint64_t iova, uint64_t size);
size_t type1_first_index(const struct type1 *t, uint64_t iova);
void type1_remove(struct model *m, struct type1 *t, struct mapping *map);
void type1_remove_all(struct model *m, struct type1 *t);
int type1_iommu_map(struct model *m, struct type1 *t, struct mapping *map);
void type1_iommu_unmap(struct type1 *t, struct mapping *map);
uint64_t model_locked(const struct model *m); /* bytes, in all containers */
int type1_add(struct model *m, struct type1 *t, const struct vfio_iommu_type1_dma_map *from);
int type1_do_map(struct call *call, struct container *c, void *argument);

/* gone.c: what is mapped at an IOVA, or was until it was unmapped */
const struct mapping *gone_or_there(const struct type1 *t, uint64_t iova);
void gone_add(const struct model *m, struct type1 *t, const struct mapping *map);
void gone_forget(struct type1 *t);

/* type1_unmap.c */
int type1_do_unmap(struct call *call, struct container *c, void *argument);

/* type1_dirty.c */
int bitmap_alloc(struct type1 *t, struct mapping *map);
void bitmap_free(struct mapping *map);
void bitmap_mark(struct model *m, struct type1 *t, struct mapping *map, uint64_t offset, uint64_t size);
void bitmap_populate_pins(struct model *m, struct container *c, struct mapping *map);
void bitmap_populate_full(struct model *m, struct type1 *t);
int bitmap_size_ok(uint64_t pages, uint64_t size);
/* update_user_bitmap; `fault` makes the copy fail half-way */
int bitmap_deliver(struct model *m, struct type1 *t, struct mapping *map, uint64_t base, uint64_t data,
		   bool fault);
/* bitmap.c: words and bits */
uint64_t bitmap_words(uint64_t bits);
void bitmap_set_range(uint64_t *words, uint64_t first, uint64_t count);
void bitmap_clear_range(uint64_t *words, uint64_t first, uint64_t count);
void bitmap_shift_left(uint64_t *words, uint64_t shift, uint64_t bits);
int type1_dirty_pages(struct call *call, struct container *c, void *argument);
/* Does the range cut the mapping at its first or last byte? */
bool type1_cuts(const struct type1 *t, uint64_t iova, uint64_t size);
/* What a caller must suspect after a failure in the range: all mappings there, or those at odd offsets. */
void type1_suspect(struct model *m, const struct type1 *t, uint64_t iova, uint64_t size, bool odd_only);
/* A fault refused the call before it did anything: the caller may suspect something all the same. */
void type1_refused(struct call *call, const struct type1 *t, const void *argument);

/* compat.c */
int compat_ioctl(struct call *call, struct container *c, unsigned long request, void *argument);
long compat_extension(unsigned long extension);

/* ---- container, group, device ---- */

enum file_kind {
	FILE_CONTAINER,
	FILE_GROUP,
	FILE_DEVICE,
	FILE_STREAM,
	FILE_IOMMU,
	FILE_USERFAULT, /* the rest is of the process itself */
	FILE_PAGEMAP,
	FILE_MEMORY,
};

struct file {
	enum file_kind kind;
	unsigned refs;	     /* descriptors, mapped areas; for a group, open devices too */
	unsigned generation; /* of the group, when it was opened */
	struct container *container;
	struct group *group;
	struct device *device;
	struct stream *stream;
	struct iommu *iommu;
	bool cdev, bound; /* a device's own node; BIND was done */
};

struct container {
	struct container *next;
	struct model *model;
	enum model_container_kind kind;
	unsigned refs; /* its file and its groups */
	bool open;     /* some descriptor can reach it */
	bool noiommu;
	struct group *groups[MODEL_MAX_GROUPS];
	unsigned group_count;
	bool driver;	     /* SET_IOMMU done */
	struct type1 *type1; /* NULL for no-IOMMU */
	/* trap 6: nothing in the kernel orders these two */
	unsigned in_flight;
	bool teardown;
	bool small;					  /* an IOAS with entries of one page only */
	struct vfio_iova_range allowed[MODEL_MAX_RANGES]; /* must stay usable */
	uint32_t allowed_count;
	bool notifying; /* trap 51: the list of its devices is locked */
};

struct container *container_new(struct model *m);
void container_put(struct model *m, struct container *c);
int container_attach(struct model *m, struct container *c, struct group *g);
void container_detach(struct model *m, struct group *g, bool asked);
int container_ioctl(struct call *call, struct container *c, unsigned long request, void *argument);

struct pin {
	uint64_t iova_page, memory_page;
	uint32_t count;
	bool write;
};

struct writer {
	bool running;
	uint64_t iova, size, random, writes, failures;
};

/* What the oracle keeps, by process page. */
struct sets {
	struct pageset truth, returned, spoiled, dropped;
};

struct log_range {
	uint64_t first, last;
};

/* A device's log of its own writes. */
struct devlog {
	struct model_log config;
	bool active;
	bool gap;	    /* it ended while the device could write: what was written since nobody knows */
	uint64_t page_size; /* that it tracks */
	struct log_range *ranges; /* as armed last */
	unsigned range_count;
	struct pageset pages; /* IOVA / page_size */
};

/* A migration's data: what was read of the device, or what is to be written into it. */
struct stream {
	struct device *device; /* NULL: its session is over */
	unsigned refs;	       /* the session's, the descriptor's */
	bool saving;
	uint8_t *bytes;
	size_t size, room, at; /* at: read so far */
};

struct migration {
	struct model_migration config;
	uint32_t state;
	bool stopped;	       /* it does not write */
	struct stream *stream; /* of the session that runs; NULL */
};

struct device {
	struct group *group;
	const struct model_device_config *config;
	int index;		/* vfdtest's; -1 */
	bool removable_reset;	/* knob VFDTEST_RESET */
	unsigned opens;		/* open files, holders included */
	unsigned held;		/* by other processes */
	bool cdev;		/* opened by its own node */
	bool hushed;		/* and was made quiet since: bus mastering off, or a reset */
	struct iommu *iommu;	/* that it is bound to */
	struct container *ioas; /* that it is attached to */
	struct hwpt *hwpt;	/* by this table; NULL: the kernel's own */
	bool quiet;		/* reset since it was last told to write */
	uint8_t space[256];	/* PCI config space */
	uint8_t asleep;		/* the command register, as it was on the way to D3hot */
	int memory;		/* memfd of all regions; -1 */
	struct pin *pins;	/* by IOVA */
	size_t pin_count, pin_room;
	struct pageset truth; /* by IOVA */
	struct sets sets;
	struct devlog log;
	struct migration migration;
	uint64_t sequence, opened, resets, unmaps, unmapping, requests, writes, serial;
	struct writer writer;
	uint64_t unmap_delay;
	int triggers[MODEL_MAX_DEVICES + 1][8]; /* duplicates of the caller's eventfds; -1 */
};

struct group {
	struct model_group_config config;
	unsigned generation;
	bool present, going;
	struct file *opened;
	struct container *container;
	unsigned users; /* devices open */
	struct device devices[MODEL_MAX_DEVICES];
	unsigned device_count;
};

/* ---- iommufd.c ---- */

struct iommu *iommu_new(struct model *m);
void iommu_put(struct model *m, struct iommu *iommu);
int iommu_ioctl(struct call *call, struct iommu *iommu, unsigned long request, void *argument);
void iommu_refused(struct call *call, struct iommu *iommu, const void *argument);
/* What its tables hold. */
void iommu_held(const struct iommu *iommu, struct pageset *set);
bool iommu_tracking(const struct iommu *iommu);
uint64_t iommu_mapping_count(const struct iommu *iommu);
int cdev_open_node(struct model *m, struct device *d);
/* 1: not one of its own ioctls. */
int cdev_ioctl(struct call *call, struct file *file, unsigned long request, void *argument);
void cdev_detach(struct model *m, struct device *d);
void cdev_unbind(struct model *m, struct device *d);
/* The IOMMU set the dirty bit, where the device's page table has one. */
void iommu_mark(struct device *d, uint64_t iova);
/* container.c: a group's first device comes, its last one leaves. */
int ioas_join(struct model *m, struct container *c, struct group *g);
void ioas_leave(struct model *m, struct container *c, struct group *g);

int group_open(struct model *m, struct group *g);
int group_ioctl(struct call *call, struct file *file, unsigned long request, void *argument);
void group_release(struct model *m, struct file *file);
void group_finish_unplug(struct model *m, struct group *g);
void group_unplug(struct model *m, struct group *g);
struct group *group_by_number(struct model *m, int number);

int device_open(struct model *m, struct device *d);
void device_ref(struct model *m, struct device *d);
void device_unref(struct model *m, struct device *d);
int device_ioctl(struct call *call, struct device *d, unsigned long request, void *argument);
ssize_t device_read(struct device *d, void *data, size_t size, uint64_t offset);
ssize_t device_write(struct model *m, struct device *d, const void *data, size_t size, uint64_t offset);
int device_map(struct device *d, uint64_t offset, size_t size, int prot, void **memory);
bool device_can_write(const struct device *d);
/* The state that migrates: MODEL_STATE_SIZE bytes. */
void device_save(struct device *d, void *state);
void device_load(struct device *d, const void *state);
void device_init(struct device *d, struct group *g, unsigned index);
void device_fini(struct device *d);
struct device *device_by_name(struct model *m, const char *name);

/* feature.c: VFIO_DEVICE_FEATURE. 1: do it, else what to return. */
int feature_check(uint32_t flags, size_t size, uint32_t supported, size_t wanted);
int feature_ioctl(struct call *call, struct device *d, void *argument);

/* devlog.c */
int devlog_start(struct call *call, struct device *d, void *argument);
int devlog_stop(struct call *call, struct device *d);
void devlog_end(struct model *m, struct device *d);
void devlog_reset(struct model *m, struct device *d);
void devlog_close(struct model *m, struct device *d);
bool devlog_covers(const struct device *d, uint64_t iova);
/* A device wrote to its IOVA: its log knows. */
void devlog_mark(struct device *d, uint64_t iova, uint64_t size);

/* devlog_report.c */
int devlog_report(struct call *call, struct device *d, void *argument);
/* As type1_refused. */
void devlog_refused(struct call *call, struct device *d, const void *argument);

/* migration.c */
int migration_get_flags(const struct device *d, void *argument);
int migration_get_size(const struct device *d, void *argument);
int migration_state(struct call *call, struct device *d, uint32_t flags, void *argument);
/* To RUNNING, without any arc: reset, close. */
void migration_reset(struct model *m, struct device *d);

/* stream.c */
struct stream *stream_begin(struct device *d, bool saving);
void stream_put(struct stream *stream);
/* The state that it belongs to is left. */
void stream_end_session(struct device *d);
void stream_save(struct device *d, bool final);
/* Give the device what was written, all of it or nothing. */
int stream_load(struct device *d);
ssize_t stream_read(struct stream *stream, void *data, size_t size);
ssize_t stream_write(struct stream *stream, const void *data, size_t size);
int stream_ioctl(struct stream *stream, unsigned long request, void *argument);

/* device_irq.c */
int device_irq_info(struct device *d, void *argument);
int device_set_irqs(struct device *d, void *argument);
int device_fire(const struct device *d, uint32_t index, uint32_t vector);
void device_drop_triggers(struct device *d);
uint32_t device_irq_count(const struct device *d);
unsigned device_trigger_count(const struct device *d);

/* pins.c */
int pins_add(struct model *m, struct device *d, uint64_t iova, uint64_t size, bool write);
int pins_drop(struct model *m, struct device *d, uint64_t iova, uint64_t size);
void pins_drop_all_in(struct model *m, struct device *d, uint64_t first, uint64_t last);
bool pins_cover(const struct device *d, uint64_t iova, uint64_t size);
const struct pin *pins_from(const struct device *d, uint64_t iova, size_t *count);
bool pins_any(const struct container *c, const struct mapping *map);
void pins_enter_truth(struct model *m, struct device *d);

/* access.c: vfio_dma_rw and DMA through the IOMMU */
int access_write(struct model *m, struct device *d, uint64_t iova, const void *data, size_t size);
int access_read(struct model *m, struct device *d, uint64_t iova, void *data, size_t size);

/* vfdtest.c: what VFDTEST_WRITE leaves in memory */
void vfdtest_fill(void *bytes, uint64_t iova, size_t size, uint64_t value);

/* ---- stores.c: which pages a CPU has stored to ---- */

int userfault_open(struct model *m);
int userfault_ioctl(struct model *m, struct file *file, unsigned long request, void *argument);
/* The last descriptor is closed. */
void userfault_release(struct model *m, const struct file *file);
int pagemap_scan(struct model *m, unsigned long request, void *argument);
/* Somebody pins the pages for writing: to the kernel that is a store. */
void stores_noted(struct model *m, uint64_t address, uint64_t size);

/* ---- truth.c ---- */

void truth_wrote(struct model *m, struct device *d, uint64_t address, uint64_t size);
void sets_empty(struct sets *sets);
void truth_returned(struct model *m, const struct mapping *map, const uint64_t *words, uint64_t skip,
		    uint64_t bits, uint64_t page_size);
void truth_spoiled(struct model *m, const struct mapping *map);
void truth_spoiled_range(struct model *m, uint64_t address, uint64_t size);
void truth_glimpsed(struct model *m, uint64_t address, uint64_t size);
void truth_spoiled_all(struct model *m, const struct type1 *t);
void truth_dropped(struct model *m, const struct type1 *t, const struct mapping *map);
void truth_dropped_bits(struct model *m, const struct mapping *map, const uint64_t *words, uint64_t skip,
			uint64_t bits, uint64_t page_size);

/* truth_log.c: the same of a device's log, by IOVA */
void truth_log_returned(struct model *m, struct device *d, uint64_t first, uint64_t last);
void truth_log_dropped(struct model *m, struct device *d, uint64_t first, uint64_t last);
void truth_log_dropped_all(struct model *m, struct device *d);
/* What its log may not tell any more; `first`..`last` is what it was asked about. */
void truth_log_spoiled(struct model *m, struct device *d, uint64_t first, uint64_t last);
/* What REPORT would deliver now. */
void truth_log_held(const struct device *d, struct pageset *set);

/* ---- files.c: descriptors ---- */

struct file *file_new(enum file_kind kind);
void file_get(struct file *file);
void file_put(struct model *m, struct file *file);
int files_install(struct model *m, struct file *file);
struct file *files_lookup(struct model *m, int fd);
int files_close(struct model *m, int fd);

/* ---- areas.c: what is mmapped ---- */

struct area {
	char *memory;
	size_t size;
	struct file *file; /* NULL: scratch */
};

void areas_add(struct model *m, void *memory, size_t size, struct file *file);
int areas_remove(struct model *m, void *memory, size_t size);

/* ---- faults.c, trace.c ---- */

/* Lets others go first, if asked for: perturb.c. */
void perturb(void);

/* Takes the lock; call_end gives it back. fd -1: none. */
void call_begin(struct call *call, struct model *m, enum model_call kind, int fd, unsigned long request,
		void *argument);
int64_t call_end(struct call *call, int64_t result);
/* Does the armed fault refuse the call before it does anything? */
bool call_refused(const struct call *call);
/* Decides whether a fault hits. */
void faults_apply(struct call *call);
/* What only GET_BITMAP is, or UNMAP_DMA with a bitmap, on a container. */
bool trace_is_get(const struct model_trace *trace);
bool trace_is_unmap(const struct model_trace *trace);
/* Is it VFIO_DEVICE_FEATURE, and that one? */
bool trace_is_feature(const struct model_trace *trace, uint32_t feature);
/* Has it these flags? Of features the number must be the same. */
bool trace_has_flags(const struct model_trace *trace, uint32_t flags);

/* ---- the whole ---- */

struct armed {
	struct model_fault fault;
	uint64_t seen;
};

struct model_state {
	pthread_mutex_t lock;
	struct model_config config;
	struct group groups[MODEL_MAX_GROUPS];
	struct container *containers;
	struct device *vfdtests[MODEL_MAX_GROUPS * MODEL_MAX_DEVICES];
	unsigned vfdtest_count;
	struct file **fds;
	size_t fd_room;
	struct area *areas;
	size_t area_count, area_room;

	struct file *userfault;	    /* of the watched pages; one is enough */
	struct pageset watched;	    /* by address */
	struct pageset not_written; /* of those: write-protected */
	struct pageset foreign;	    /* registered with a userfaultfd of someone else */

	bool recording;
	struct sets sets;
	unsigned logging; /* devices whose log runs */
	unsigned iommus;  /* of /dev/iommu that live */

	struct model_counts counts;
	struct armed armed[8];
	unsigned armed_count;
	uint64_t fired;
	bool tracing;
	struct model_trace *trace;
	size_t trace_count, trace_room;
	uint64_t number;
	model_call_hook *call_hook;
	void *call_argument;
	model_window_hook *window_hook;
	void *window_argument;
	char crashed[160];
};

void model_lock(struct model *m);
void model_unlock(struct model *m);
__attribute__((format(printf, 2, 3))) void model_crash(struct model *m, const char *format, ...);
void *model_alloc(size_t count, size_t size);
/* Room for one more: grows by half. */
void *model_grow(void *array, size_t count, size_t *room, size_t size);
/* Sleep without the lock. */
void model_pause(struct model *m, unsigned microseconds);

/* "ioctl GET_BITMAP" and the like. */
const char *trace_name(const struct model_trace *trace);

#endif
