/* SPDX-License-Identifier: MIT */
#ifndef VFIODIRTY_LOG_H
#define VFIODIRTY_LOG_H

/**
 * @file log.h
 * The log: the pages still owed to whoever copies memory.
 *
 * A log is keyed by *log address* (guest-physical, or an offset in RAM), never by IOVA. A *region* ties a range
 * of log addresses to process memory. Feeders (containers, KVM, vhost, the program itself) add pages; consumers
 * take them, send them, then commit or roll back. A page that was not committed is still owed. The log
 * outlives the containers that feed it, and may be fed by several at once.
 *
 * Threads: every function may be called from any thread at any time, except that destroying, removing and
 * releasing a handle must be the last use of that handle. Not from a signal handler: it would wait for the call that it
 * interrupted, vfd_log_mark() too. No function here makes a VFIO system call.
 * Fork: in a child every function returns VFD_EFORKED, or 0 or NULL if it returns no code; vfd_log_release() frees what the child inherited.
 *
 * Sizes are bytes, ranges are inclusive (first..last), page counts are in pages of the log.
 */

#include <vfiodirty/error.h>

#ifdef __cplusplus
extern "C" {
#endif

struct vfd_log;
struct vfd_consumer;

/** Flags of the calls that can destroy a record of dirty pages. Without one such a call refuses. */
enum vfd_destroy_flags {
	VFD_COLLECT = 1u << 0, /**< collect first; fail, with nothing destroyed, if that is impossible */
	VFD_DISCARD = 1u << 1, /**< drop the pages that were not collected */
};

/** Where an owed page comes from. */
enum vfd_provenance {
	VFD_REPORTED = 1, /**< a kernel source or a merged bitmap said so */
	VFD_SOFTWARE = 2, /**< the caller or a pin said so */
	VFD_ASSUMED = 3,  /**< over-approximated: see vfd_reason and the culprit */
	VFD_INITIAL = 4,  /**< the first full copy */
};

/** Why pages are assumed dirty. */
enum vfd_reason {
	VFD_WHY_NONE = 0,
	VFD_WHY_NO_TRACKING = 1,    /**< the device cannot report: physical device under type1 */
	VFD_WHY_HARVEST_FAILED = 2, /**< the kernel failed in the middle of reporting */
	VFD_WHY_UNMAP_FAILED = 3,   /**< an unmap failed; its bits may be gone */
	VFD_WHY_STATE_LOST = 4, /**< the kernel's record vanished (hot-removal, another holder of the fd) */
	VFD_WHY_PAGE_SIZE = 5,	/**< the tracking granularity changed; kernel bitmaps are unreliable */
	VFD_WHY_LOG_FAILED =
		6, /**< a device's own log could not be read, or ended before it was read for the last time */
	VFD_WHY_UNARMED = 7, /**< mapped where a device's own log does not look */
	VFD_WHY_REARMED =
		8, /**< a device's own log was started anew while it could write: vfd_track_rearm() */
	VFD_WHY_TORN =
		9, /**< unmapped while a device could write: iommufd cannot read and unmap in one step, nor does a map that failed half-way */
	VFD_WHY_INTERRUPTED =
		10, /**< the process ended between asking the kernel and merging its answer: vfd_log_salvage() */
};

enum vfd_log_flags {
	VFD_LOG_IDENTITY = 1u << 0, /**< log address = IOVA; regions are IOVA windows without memory */
};

/** Options of vfd_log_create(). Zero everything, set `struct_size`, then what differs from the default. */
struct vfd_log_options {
	uint32_t struct_size; /**< sizeof(struct vfd_log_options) */
	uint32_t flags;	      /**< enum vfd_log_flags */
	uint64_t page_size;   /**< bytes per page of the log, a power of two from 512 to 1 GiB; 0: 4096 */
	void *arena; /**< zero-filled memory for all the log's records, 4096-aligned; NULL: the log maps its own.
			       *   It holds offsets only, no pointers, so that a shared mapping of it can be read elsewhere.
			       *   It stays the caller's, and must outlive the log. */
	uint64_t arena_size; /**< bytes at `arena` */
};

/**
 * Create a log, with one consumer in it (vfd_log_consumer()).
 *
 * @param options NULL for the defaults
 * @param[out] log the new log; the caller destroys it with vfd_log_destroy()
 * @return 0; VFD_EINVALID (bad size, page size, unknown flag, misaligned arena); VFD_ELIMIT (arena too small);
 * VFD_ENOMEMORY
 */
VFD_API int vfd_log_create(const struct vfd_log_options *options, struct vfd_log **log,
			   struct vfd_error *err);

/**
 * Destroy a log, its consumers and regions. Refuses while pages are owed to any consumer or a batch is open,
 * unless VFD_DISCARD; refuses always while a container uses it.
 *
 * @param log address of the handle; set to NULL on success. A handle that is NULL already is VFD_EINVALID.
 * @param flags 0 or VFD_DISCARD
 * @return 0; VFD_EDIRTY (pages owed, or a batch open); VFD_ESTATE (a container still uses it); VFD_EINVALID;
 * VFD_EFORKED
 */
VFD_API int vfd_log_destroy(struct vfd_log **log, unsigned flags, struct vfd_error *err);

/**
 * In a child after fork(): free the child's copy of the handle and its memory. Sets *log to NULL.
 *
 * @return 0; VFD_EINVALID (NULL); VFD_ESTATE (in the process that created the log: nothing done)
 */
VFD_API int vfd_log_release(struct vfd_log **log, struct vfd_error *err);

/** What vfd_log_salvage() found. */
struct vfd_salvage {
	uint32_t struct_size; /**< sizeof(struct vfd_salvage) */
	uint32_t interrupted; /**< reads of the kernel's record that the process had begun and not finished */
	uint64_t regions;     /**< of the dead log */
	uint64_t pages; /**< pages that the own consumer of `log` is owed now, and was not owed before */
	uint64_t
		pages_assumed; /**< of those: because of reads that were not finished (VFD_WHY_INTERRUPTED) */
};

/**
 * Take over the log of a process that was killed, at whatever instant. Its log must be in an arena that others can map (a memfd). All
 * that the dead log still owed, or had in open batches, is then owed to every consumer of `log`: no page is lost that the kernel had
 * handed over to the library. What that was just reading from the kernel is assumed dirty. What the kernel still keeps can be read after
 * vfd_container_adopt() with the descriptors of the dead process. What the program itself had read (KVM_GET_DIRTY_LOG), and
 * not merged yet, nobody has: where reading and clearing are two calls (KVM_CLEAR_DIRTY_LOG), clear after vfd_log_merge() and before
 * the next vfd_take().
 *
 * The regions of the dead log must lie in regions of `log`, and both have the same page size. vfd_consumer_causes() still says who made
 * the pages dirty, where that could be read. The arena is only read, and it is not trusted: whatever is in it, nothing outside of it is
 * touched; but if somebody changed it, pages may be missing. The process must be dead, and nobody may write to the arena meanwhile.
 * Salvaging twice does no harm.
 *
 * All bits of the dead log are read: half a byte per page and consumer. If the arena is a file with holes, reading fills them; if there is
 * no memory for that, the reader is killed (SIGBUS). So before the log is created, fallocate the file, and seal it against shrinking.
 *
 * @param arena the dead log's arena, 4096-aligned, at any address; it stays the caller's
 * @param arena_size bytes, as it was when the log was created
 * @param consumer whose pages: the name of one of the dead log's consumers (its own is "main"); NULL: of all
 * @param[out] result may be NULL
 * @return 0; VFD_EINVALID (NULL, not aligned, no log in it, another version's, or damaged; page sizes differ, or
 * one log is VFD_LOG_IDENTITY and the other is not; no such consumer);
 * VFD_ESTATE (the log was destroyed: it owes nothing; or `log` lives in that arena); VFD_ENOREGION (a region of the dead log lies in no
 * region of `log`: nothing was done); VFD_EFORKED
 */
VFD_API int vfd_log_salvage(struct vfd_log *log, const void *arena, uint64_t arena_size, const char *consumer,
			    struct vfd_salvage *result, struct vfd_error *err);

/** Bytes per page of this log; 0 if log is NULL, or in a child. */
VFD_API uint64_t vfd_log_page_size(const struct vfd_log *log);

/** A range of log addresses and the process memory that it stands for. */
struct vfd_region {
	uint32_t struct_size; /**< sizeof(struct vfd_region) */
	uint32_t flags;	      /**< 0 */
	uint64_t address;     /**< first log address, page-aligned (page of the log) */
	uint64_t size;	      /**< bytes, page-aligned */
	void *memory; /**< process memory, page-aligned; NULL in a log with VFD_LOG_IDENTITY. Stays the caller's. */
};

/**
 * Add a region, clean. Its records take address space at once (1 bit a page, and 3 per consumer) but memory only
 * where pages become dirty.
 *
 * @return 0; VFD_EINVALID (zero size, memory NULL, or not NULL with VFD_LOG_IDENTITY); VFD_EALIGN; VFD_EWRAP; VFD_EOVERLAP (log addresses or memory
 * meet another region); VFD_ELIMIT (arena full); VFD_ENOMEMORY; VFD_EFORKED
 */
VFD_API int vfd_region_add(struct vfd_log *log, const struct vfd_region *region, struct vfd_error *err);

/**
 * Remove the region that starts at `address`.
 *
 * @param flags 0 or VFD_DISCARD (drop the pages still owed in it)
 * @return 0; VFD_ENOTMAPPED (no region starts there); VFD_EDIRTY (pages owed, or an open batch reaches into it);
 * VFD_ESTATE (a mapping of a container still uses it; the message says how many); VFD_EINVALID (NULL, unknown flag); VFD_EFORKED
 */
VFD_API int vfd_region_remove(struct vfd_log *log, uint64_t address, unsigned flags, struct vfd_error *err);

/** The consumer that every log is born with. It belongs to the log and cannot be removed. NULL if log is NULL, or in a child. */
VFD_API struct vfd_consumer *vfd_log_consumer(struct vfd_log *log);

/**
 * Add an independent consumer. From now on every page that becomes dirty is owed to it too; what was owed to
 * others before is not. To copy everything, follow with vfd_mark_initial().
 *
 * @param name short text for reports, copied, at most 31 characters are kept; NULL: "consumer"
 * @param[out] consumer belongs to the log; end it with vfd_consumer_remove() or by destroying the log
 * @return 0; VFD_ELIMIT (16 consumers, or arena full); VFD_ENOMEMORY; VFD_EINVALID; VFD_EFORKED
 */
VFD_API int vfd_consumer_add(struct vfd_log *log, const char *name, struct vfd_consumer **consumer,
			     struct vfd_error *err);

/**
 * Remove a consumer added with vfd_consumer_add(). Other consumers are not affected.
 *
 * @param consumer address of the handle; set to NULL on success
 * @param flags 0 or VFD_DISCARD
 * @return 0; VFD_EDIRTY (pages owed to it, or a batch open); VFD_EINVALID (NULL, or the log's own consumer);
 * VFD_EFORKED
 */
VFD_API int vfd_consumer_remove(struct vfd_consumer **consumer, unsigned flags, struct vfd_error *err);

/**
 * Owe every page of every region to one consumer, labelled VFD_INITIAL: the first full copy. Start tracking
 * before this call, or the copy misses pages that are written in between.
 *
 * @return 0; VFD_EINVALID (NULL, or removed); VFD_EFORKED
 */
VFD_API int vfd_mark_initial(struct vfd_consumer *consumer, struct vfd_error *err);

/**
 * Owe a range to every consumer, labelled VFD_SOFTWARE: for programs that know what was written.
 * Rounded outwards to pages of the log. Nothing is marked unless the whole range lies in regions.
 *
 * @param address first log address
 * @param size bytes, not 0
 * @return 0; VFD_EINVALID; VFD_EWRAP; VFD_ENOREGION; VFD_EFORKED
 */
VFD_API int vfd_log_mark(struct vfd_log *log, uint64_t address, uint64_t size, struct vfd_error *err);

/** A bitmap of someone else, e.g. what KVM_GET_DIRTY_LOG filled in: bit i stands for
 * address + i * page_size .. address + (i + 1) * page_size - 1. */
struct vfd_bitmap {
	uint32_t struct_size;  /**< sizeof(struct vfd_bitmap) */
	uint32_t provenance;   /**< VFD_REPORTED or VFD_SOFTWARE */
	uint64_t address;      /**< log address of bit 0, a multiple of page_size */
	uint64_t page_size;    /**< bytes per bit, a power of two; may be smaller or larger than the log's */
	uint64_t bits;	       /**< how many bits count; the rest of the last word is ignored */
	const uint64_t *words; /**< native 64-bit words, bit 0 is the lowest of words[0]; only read */
	const char *who; /**< culprit for reports, copied, at most 31 characters are kept; NULL: "caller" */
};

/**
 * Owe every page that has a bit set to every consumer. The page sizes may differ in any ratio; ranges are rounded outwards.
 * Nothing is merged unless all set bits lie in regions.
 *
 * @param[out] pages_new pages of the log that were clean before, counted for the log's own consumer; may be NULL
 * @return 0; VFD_EINVALID; VFD_EALIGN; VFD_EWRAP; VFD_ENOREGION; VFD_EFORKED
 */
VFD_API int vfd_log_merge(struct vfd_log *log, const struct vfd_bitmap *bitmap, uint64_t *pages_new,
			  struct vfd_error *err);

/** Pages by state, in pages of the log. A page can be owed and in a batch at the same time: dirtied again. */
struct vfd_count {
	uint64_t owed;	   /**< to be taken, now or once its batch is resolved */
	uint64_t reported; /**< of those owed: a source said so (VFD_REPORTED) */
	uint64_t taken;	   /**< in open batches */
};

/**
 * Count without consuming.
 *
 * @param first,last log addresses, inclusive, page-aligned (last + 1 too); 0 and UINT64_MAX: everything
 * @return 0; VFD_EINVALID; VFD_EALIGN; VFD_EFORKED
 */
VFD_API int vfd_consumer_count(struct vfd_consumer *consumer, uint64_t first, uint64_t last,
			       struct vfd_count *count, struct vfd_error *err);

/** Who reported pages that are owed, or why they are owed although nobody did. */
struct vfd_cause {
	uint32_t provenance;  /**< enum vfd_provenance */
	uint32_t reason;      /**< enum vfd_reason; VFD_WHY_NONE unless VFD_ASSUMED */
	uint64_t first;	      /**< the span of log addresses, inclusive. Neighbouring spans are merged, so */
	uint64_t last;	      /**< pages between them may have other causes */
	uint64_t granularity; /**< bytes that one bit of the source stands for; 0 if it has none */
	uint64_t
		pages; /**< pages owed in first..last: those reported for VFD_REPORTED, the others for every other
			       *   provenance. Spans may overlap, so the sum of all causes can be more than is owed. */
	char who[32]; /**< the source or culprit, e.g. "group 7", "kvm", "caller" */
};

/**
 * List the causes of what is owed to a consumer. At most 64 are kept; if there are more, the closest ones are merged.
 *
 * @param[out] causes room for `capacity` entries; may be NULL if capacity is 0
 * @param[out] count how many there are, which may be more than capacity
 * @return 0; VFD_EINVALID; VFD_EFORKED
 */
VFD_API int vfd_consumer_causes(struct vfd_consumer *consumer, struct vfd_cause *causes, size_t capacity,
				size_t *count, struct vfd_error *err);

/** Pages taken and not yet resolved. Copyable: a plain value; `id` is what counts. */
struct vfd_batch {
	uint64_t id;	/**< 0: nothing was there to take */
	uint64_t first; /**< the span of log addresses that the batch claims: inclusive. Until the batch is */
	uint64_t last;	/**< resolved, no page in it is taken again; pages dirtied meanwhile stay owed. */
	uint64_t pages; /**< pages taken */
	uint64_t reported; /**< of those: VFD_REPORTED */
	uint64_t next;	   /**< where vfd_batch_runs() goes on; set to `first` to start over */
};

/** Adjacent pages of a batch. */
struct vfd_run {
	uint64_t address; /**< first log address */
	uint64_t size;	  /**< bytes */
	void *memory;	  /**< the process memory; NULL in a log with VFD_LOG_IDENTITY */
};

/**
 * Take owed pages: from first on, upwards, not beyond last, at most max_pages, skipping the spans of open batches
 * (the batch ends before the next such span). Read the pages' content only after this returned.
 *
 * @param first,last as in vfd_consumer_count()
 * @param max_pages at least 1; UINT64_MAX: no limit
 * @param[out] batch id 0 if nothing is there to take (all clean, or all owed pages lie in spans of open batches)
 * @return 0; VFD_EINVALID; VFD_EALIGN; VFD_ELIMIT (256 open batches); VFD_EFORKED
 */
VFD_API int vfd_take(struct vfd_consumer *consumer, uint64_t first, uint64_t last, uint64_t max_pages,
		     struct vfd_batch *batch, struct vfd_error *err);

/**
 * The next runs of a batch, in ascending order. A run never crosses a region's end.
 *
 * @param batch from vfd_take(); its `next` moves on
 * @param[out] runs room for `capacity` entries, at least 1
 * @param[out] count entries filled; 0: there are no more
 * @return 0; VFD_EINVALID (NULL, capacity 0, no such open batch); VFD_EFORKED
 */
VFD_API int vfd_batch_runs(struct vfd_consumer *consumer, struct vfd_batch *batch, struct vfd_run *runs,
			   size_t capacity, size_t *count, struct vfd_error *err);

/**
 * The receiver has the pages of the batch in first..last: they are no longer owed, unless they became dirty again after the take.
 * When its last page is resolved the batch is closed and its id becomes invalid.
 *
 * @param first,last as in vfd_consumer_count(); 0 and UINT64_MAX: the whole batch
 * @return 0; VFD_EINVALID (no such open batch); VFD_EALIGN; VFD_EFORKED
 */
VFD_API int vfd_commit(struct vfd_consumer *consumer, const struct vfd_batch *batch, uint64_t first,
		       uint64_t last, struct vfd_error *err);

/** The pages of the batch in first..last were not delivered: they are owed again. Otherwise as vfd_commit(). */
VFD_API int vfd_rollback(struct vfd_consumer *consumer, const struct vfd_batch *batch, uint64_t first,
			 uint64_t last, struct vfd_error *err);

#ifdef __cplusplus
}
#endif
#endif
