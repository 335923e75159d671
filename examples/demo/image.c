/* SPDX-License-Identifier: MIT */
#include "demo.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

void image_fill(uint8_t *memory, uint64_t size, const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	uint64_t done = 0;
	ssize_t n = 1;

	if (fd < 0)
		die_errno(path);
	while (done < size && n) {
		n = read(fd, memory + done, size - done);
		if (n < 0 && errno != EINTR)
			die_errno(path);
		done += n > 0 ? (uint64_t)n : 0;
	}
	close(fd);
	if (!done)
		die("%s: the file is empty", path);
	for (uint64_t length = done; done < size; done++)
		memory[done] = memory[done - length];
}
