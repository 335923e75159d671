/* SPDX-License-Identifier: MIT */
#ifndef LIB_MIGSTATE_H
#define LIB_MIGSTATE_H

/* A device's migration states: VFIO_DEVICE_FEATURE's MIGRATION, MIG_DEVICE_STATE and MIG_DATA_SIZE, and what a state means for its DMA.
 * Knows no handles. */

#include <stdbool.h>

#include "sys.h"
#include "uapi.h"

/* What nobody could say. Never a number of the kernel's. */
#define MIGSTATE_UNKNOWN UINT32_MAX

/* What the device can: UAPI_MIGRATION_*; 0: it has no states. */
uint64_t migstate_offered(const struct sys *sys, int fd);

/* The state it is in. 0 or -errno. */
int migstate_get(const struct sys *sys, int fd, uint32_t *state);

/* Bring it there, over all arcs on the way. *stream is the descriptor of a data session that began with the last one, or -1. 0 or -errno; then it may be in
 * any state on the way, or in ERROR: ask. */
int migstate_set(const struct sys *sys, int fd, uint32_t state, int *stream);

/* Bytes that it expects to save in STOP_COPY; UINT64_MAX: it does not say. */
uint64_t migstate_data_size(const struct sys *sys, int fd);

/* STOP, STOP_COPY, RESUMING: the device does no DMA at all. Every other state, and every doubt, is one in which it may write: in the P2P ones it must
 * leave other devices alone, and may well write memory. */
static inline bool migstate_stopped(uint32_t state)
{
	return state == UAPI_MIG_STOP || state == UAPI_MIG_STOP_COPY || state == UAPI_MIG_RESUMING;
}

static inline bool migstate_precopies(uint32_t state)
{
	return state == UAPI_MIG_PRE_COPY || state == UAPI_MIG_PRE_COPY_P2P;
}

/* Whether a data session belongs to the state. */
static inline bool migstate_has_data(uint32_t state)
{
	return state == UAPI_MIG_STOP_COPY || state == UAPI_MIG_RESUMING || migstate_precopies(state);
}

/* What a device must offer to be in the state. All bits: it is no state to go to. */
uint64_t migstate_needs(uint32_t state);

const char *migstate_name(uint32_t state);

#endif
