/* SPDX-License-Identifier: MIT */

/* Let a test device of tests/kernel write to random pages of the memory that it was given, all the time. */

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "vfdtest.h"

static int command(int bench, char **words)
{
	struct vfdtest_run run = { .device = (__u32)atoi(words[0]),
				   .iova = strtoull(words[1], NULL, 0),
				   .size = strtoull(words[2], NULL, 0),
				   .seed = 1,
				   .period_ns = strtoull(words[3], NULL, 0),
				   .burst = 16 };

	return ioctl(bench, VFDTEST_RUN, &run);
}

int main(int argc, char **argv)
{
	int bench = open(VFDTEST_PATH, O_RDWR | O_CLOEXEC);

	if (argc != 5) {
		fputs("usage: vfdtest-writer DEVICE IOVA SIZE PAUSE_NS\n", stderr);
		return 2;
	}
	if (bench < 0 || command(bench, argv + 1)) {
		fprintf(stderr, "vfdtest-writer: %s\n", strerror(errno));
		return 1;
	}
	return 0;
}
