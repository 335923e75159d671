/* SPDX-License-Identifier: MIT */
#ifndef VFIODIRTY_MESSAGE_H
#define VFIODIRTY_MESSAGE_H

/**
 * @file message.h
 * Messages: what a program may want to write into its own journal, because nothing else tells it. Examples: pages were assumed dirty, a
 * device's log failed, a loss was refused, the kernel had to be asked twice. The library prints nothing. It calls a function that the
 * program named for the container; if there is none, a message costs a load and a branch.
 *
 * Messages are not errors: what a call returns, and its `struct vfd_error`, are all that a program needs. And they have nothing to do with
 * the log of dirty pages, struct vfd_log.
 */

#include <vfiodirty/container.h>

#ifdef __cplusplus
extern "C" {
#endif

/** How much a message matters. The values are part of the ABI. */
enum vfd_level {
	VFD_LEVEL_ERROR =
		1, /**< a record ended that should not have: what it may have held is owed as a whole */
	VFD_LEVEL_WARNING =
		2, /**< a loss was refused, something is assumed after a failure, the kernel was asked again */
	VFD_LEVEL_INFO = 3,  /**< groups, devices and tracking come and go; what was deferred is paid */
	VFD_LEVEL_DEBUG = 4, /**< each map, unmap and harvest */
};

/** What happened. The values are part of the ABI; more may come, at any level. */
enum vfd_message_kind {
	VFD_MSG_DROPPED =
		1, /**< `count` messages found no place; the level is that of the most important of them */
	VFD_MSG_LOST = 2, /**< the kernel's record vanished; `count` pages are new in the log for it. Error */
	VFD_MSG_LOG_FAILED = 3, /**< the log of device `who` counts no more. Error */
	VFD_MSG_ASSUMED =
		4, /**< `count` pages that nobody reported are new in the log, because of `reason`. Warning after
				 *   a failure; info if it was to come: deferred, unarmed, re-armed */
	VFD_MSG_REFUSED =
		5, /**< a call would have lost dirty pages, or the kernel refused a detach. Warning */
	VFD_MSG_RETRIED = 6, /**< a call to the kernel half failed, and was made again. Warning */
	VFD_MSG_FALLBACK =
		7, /**< another, slower or coarser way was taken: a device's log that cannot be used, a harvest that
				 *   asks for each mapping alone. Warning */
	VFD_MSG_TRACKING = 8,	  /**< on (`count` 1) or off (0). Info */
	VFD_MSG_GROUP = 9,	  /**< attached (`count` 1) or detached (0). Info */
	VFD_MSG_DEVICE = 10,	  /**< opened (`count` 1) or closed (0). Info */
	VFD_MSG_LOG_STARTED = 11, /**< the log of device `who` runs, for `count` ranges. Info */
	VFD_MSG_REARMED = 12,	  /**< `count` logs of devices were started anew. Info */
	VFD_MSG_MAPPED = 13,	  /**< one mapping of `count` bytes is there. Debug */
	VFD_MSG_UNMAPPED = 14,	  /**< it is gone; or it stays, and sys_errno or the text tells why. Debug */
	VFD_MSG_HARVESTED = 15,	  /**< `count` pages are new in the log. Debug */
};

#define VFD_MESSAGE_WHO	 48
#define VFD_MESSAGE_TEXT 384

/** One message. It is the library's, and valid during the call that hands it over. */
struct vfd_message {
	uint32_t struct_size; /**< of what the library filled in */
	uint32_t level;	      /**< enum vfd_level */
	uint32_t kind;	      /**< enum vfd_message_kind */
	uint32_t reason;      /**< enum vfd_reason; VFD_WHY_NONE: of no concern */
	int32_t sys_errno;    /**< of the call to the kernel that failed; 0: none did */
	uint32_t reserved;    /**< 0 */
	uint64_t first;	      /**< IOVA, inclusive; first > last: no range is concerned */
	uint64_t last;
	uint64_t count;		     /**< the number that matters: see the kind */
	char who[VFD_MESSAGE_WHO];   /**< the device, or the source of bits; "": none */
	char text[VFD_MESSAGE_TEXT]; /**< one sentence with all of it, without a newline; cut if too long */
};

/** The function that is called with each message; `opaque` is what vfd_container_messages() was given. */
typedef void (*vfd_message_fn)(const struct vfd_message *message, void *opaque);

/**
 * Name the function (fn) that gets the messages of a container. It replaces the one before.
 *
 * fn runs in the thread that called the library, before that call returns, and no lock is held. So fn may call the library, for this
 * container and for others, and may name another function or none. It must not end a handle that the interrupted call works on, nor the
 * container. Messages of calls that fn itself makes come after it has returned: one thread is never twice in fn for one container. Several
 * threads are in it at once if they call the library at once.
 *
 * Until fn is called up to 64 messages wait in the container. If there is no room, the least important ones are dropped; the next message,
 * of kind VFD_MSG_DROPPED, says how many. Only vfd_container_messages() itself allocates memory.
 *
 * When vfd_container_messages() has returned, no other thread is in the function before, and it is not called again. Waiting messages of
 * levels that are still wanted go to the new one. (Called within fn, it does not wait for other threads that may be in the function before.)
 *
 * While a vfd_container_close() that succeeds calls fn, calls of fn for that container are refused with VFD_ESTATE. The close returns when
 * no thread is in fn any more.
 *
 * In a child after fork() there are no messages. A child that was forked inside of fn may return from it.
 *
 * @param level the least important that is wanted (enum vfd_level); not read if fn is NULL
 * @param fn NULL: nobody is told any more, and what waits is dropped
 * @param opaque handed to fn as it is
 * @return 0; VFD_EINVALID (no such level); VFD_ENOMEMORY (the function before stays); VFD_ESTATE (being closed); VFD_EFORKED
 */
VFD_API int vfd_container_messages(struct vfd_container *container, enum vfd_level level, vfd_message_fn fn,
				   void *opaque, struct vfd_error *err);

#ifdef __cplusplus
}
#endif
#endif
