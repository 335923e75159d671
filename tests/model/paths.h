/* SPDX-License-Identifier: MIT */
#ifndef TESTS_MODEL_PATHS_H
#define TESTS_MODEL_PATHS_H

#include <sys/types.h>

#include "model.h"

int path_open(struct model *m, const char *path);
int path_exists(struct model *m, const char *path);
/* An entry of a directory, by how it begins. */
int path_entry(struct model *m, const char *path, const char *begin, char *name, size_t size);
ssize_t path_read(struct model *m, const char *path, char *text, size_t size);
ssize_t path_link(struct model *m, const char *path, char *text, size_t size);

#endif
