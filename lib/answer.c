/* SPDX-License-Identifier: MIT */
#include "answer.h"

#include <string.h>

#include "error.h"

enum { ANSWER_LEAST = 16, ANSWER_MOST = 64 * 1024 };

static uint32_t size_of(const void *user)
{
	uint32_t size;

	memcpy(&size, user, sizeof size);
	return size;
}

int check_answer(const void *user, size_t known, const char *what, struct vfd_error *err)
{
	if (!user)
		return fail(err, VFD_EINVALID, what, "the pointer to %s is NULL", what);
	if (size_of(user) < ANSWER_LEAST || size_of(user) > ANSWER_MOST)
		return fail(err, VFD_EINVALID, what, "struct_size is %u: set it to sizeof(%s), %zu here",
			    size_of(user), what, known);
	return 0;
}

void copy_answer(void *user, const void *answer, size_t known)
{
	uint32_t size = size_of(user);
	size_t shared = size < known ? size : known;

	memcpy((char *)user + sizeof size, (const char *)answer + sizeof size, shared - sizeof size);
	memset((char *)user + shared, 0, size - shared);
}
