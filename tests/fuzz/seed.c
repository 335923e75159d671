/* SPDX-License-Identifier: MIT */

/* seed DIRECTORY: the inputs that the corpus begins with: a good stream, as it is and with sums to be mended, and its beginnings. */

#include "../migrate/tape.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void write_seed(const char *directory, const char *name, int mode, const struct tape *t, size_t size)
{
	char path[4096];

	snprintf(path, sizeof path, "%s/%s", directory, name);
	FILE *file = fopen(path, "w");
	if (!file || putc(mode, file) == EOF || fwrite(t->bytes, 1, size, file) != size || fclose(file)) {
		perror(path);
		exit(1);
	}
}

/* HELLO with two channels, JOIN, and the rest. */
static void two_channels(const char *directory, const struct tape *t, size_t hello)
{
	static struct tape two;
	struct frame join = { .type = FRAME_JOIN, .meta_size = 16 };

	two = *t;
	two.bytes[FRAME_HEADER + 16] = 2;
	frame_encode(&join, two.bytes + hello);
	memcpy(two.bytes + hello + FRAME_HEADER, two.bytes + FRAME_HEADER, 16);
	memcpy(two.bytes + hello + FRAME_HEADER + 16, t->bytes + hello, t->size - hello);
	write_seed(directory, "two-channels", 3, &two, t->size + FRAME_HEADER + 16);
}

int main(int argc, char **argv)
{
	static struct tape t;
	size_t starts[TAPE_FRAMES], frames;
	char name[32];

	if (argc != 2)
		return 2;
	tape_record(&t);
	write_seed(argv[1], "good", 0, &t, t.size);
	frames = tape_frames(&t, starts);
	for (size_t i = 1; i < frames; i++) {
		snprintf(name, sizeof name, "mended-%zu", i);
		write_seed(argv[1], name, 3, &t, starts[i]);
	}
	write_seed(argv[1], "mended", 3, &t, t.size);
	for (size_t i = 0; i < frames; i++) {
		static struct tape other;
		other = t;
		other.bytes[starts[i] + 5] = i % 2 ? FRAME_CANCEL : FRAME_RUN;
		snprintf(name, sizeof name, "type-%zu", i);
		write_seed(argv[1], name, 3, &other, t.size);
	}
	two_channels(argv[1], &t, starts[1]);
	return 0;
}
