/* SPDX-License-Identifier: MIT */

/* libFuzzer: any bytes, to a destination. If the first byte is odd the sums are made right, and if its next bit is set so are the sequence numbers: else few inputs
 * would come past them. */

#include "../migrate/tape.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

/* One that is good must run: else nothing here tests anything. */
int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	static struct tape tape;
	static struct played played;

	(void)argc, (void)argv;
	tape_record(&tape);
	tape_play(&tape, &played);
	if (!played.ran)
		abort();
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct tape tape;
	static struct played played;

	if (!size || size - 1 > TAPE_ROOM)
		return 0;
	tape_open(&tape);
	memcpy(tape.bytes, data + 1, size - 1);
	tape.size = size - 1;
	if (data[0] & 1)
		tape_mend(tape.bytes, tape.size, data[0] & 2);
	tape_play(&tape, &played);
	if (played.ran ? played.state != 5 : !*played.error.message)
		abort(); /* half a guest, or no reason */
	return 0;
}
