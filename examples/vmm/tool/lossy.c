/* SPDX-License-Identifier: MIT */

/* What the destination of a migration answers is passed on from the standard input to the standard output, but for its last word: that
 * the guest runs there. So the source never hears it. */

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

/* docs/stream-format.md */
enum { HEADER = 40, TYPE = 5, CONTENT = 16, MOST = 8192, RUNNING = 19 };

/* A frame is a header and its content; the destination's have no data. */
static bool take(uint8_t *frame, size_t *size)
{
	if (fread(frame, 1, HEADER, stdin) != HEADER)
		return false;
	size_t content = frame[CONTENT] | (size_t)frame[CONTENT + 1] << 8;
	*size = HEADER + content;
	return content <= MOST && fread(frame + HEADER, 1, content, stdin) == content;
}

int main(void)
{
	uint8_t frame[HEADER + MOST];
	size_t size;

	while (take(frame, &size) && frame[TYPE] != RUNNING)
		if (fwrite(frame, 1, size, stdout) != size || fflush(stdout))
			return 1;
	return shutdown(STDOUT_FILENO, SHUT_WR) != 0; /* others may have it open, too */
}
