/* SPDX-License-Identifier: MIT */

/* libFuzzer: a dead log's arena, changed in places. Three bytes say where, eight are put there. Nothing outside of the arena is touched
 * (AddressSanitizer), and what is owed lies in regions. */

#include "log_internal.h"

#include <stdlib.h>
#include <string.h>

#include <vfiodirty.h>

enum { ARENA = 1 << 17, CHANGE = 11 };

#define PAGE	UINT64_C(4096)
#define ADDRESS UINT64_C(0x40000000)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

static char model[ARENA] __attribute__((aligned(4096))), memory[512 * PAGE] __attribute__((aligned(4096)));
static struct vfd_log *heir;

static void must(int rc)
{
	if (rc)
		abort();
}

static struct vfd_log *new_log(void *arena, uint64_t pages)
{
	struct vfd_log_options o = { .struct_size = sizeof o,
				     .arena = arena,
				     .arena_size = arena ? ARENA : 0 };
	struct vfd_region r = {
		.struct_size = sizeof r, .address = ADDRESS, .size = pages * PAGE, .memory = memory
	};
	struct vfd_log *log;

	must(vfd_log_create(&o, &log, NULL));
	must(vfd_region_add(log, &r, NULL));
	return log;
}

/* A log with something in each of its states */
int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	static char arena[ARENA] __attribute__((aligned(4096)));
	struct vfd_log *log = new_log(arena, 256);
	struct vfd_batch batch;

	(void)argc, (void)argv;
	must(vfd_log_mark(log, ADDRESS, 70 * PAGE, NULL));
	must(vfd_take(vfd_log_consumer(log), 0, UINT64_MAX, 20, &batch, NULL));
	must(vfd_mark_initial(vfd_log_consumer(log), NULL));
	must(vfd_log_mark(log, ADDRESS + 99 * PAGE, 3 * PAGE, NULL));
	log_intent_begin(log, (struct range){ ADDRESS, ADDRESS + PAGE - 1 });
	memcpy(model, arena, ARENA);
	must(vfd_log_destroy(&log, VFD_DISCARD, NULL));
	heir = new_log(NULL, 512);
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *arena = aligned_alloc(4096, ARENA);
	struct vfd_salvage found = { .struct_size = sizeof found };
	struct vfd_error err;

	memcpy(arena, model, ARENA);
	for (; size >= CHANGE; data += CHANGE, size -= CHANGE) {
		size_t at = ((size_t)data[0] | (size_t)data[1] << 8 | (size_t)data[2] << 16) % (ARENA / 8);
		memcpy(arena + at * 8, data + 3, 8);
	}
	if (vfd_log_salvage(heir, arena, ARENA, NULL, &found, &err) && !err.message[0])
		abort();
	free(arena);
	return 0;
}
