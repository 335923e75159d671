/* SPDX-License-Identifier: MIT */
/* Descriptors, files and mapped areas: what keeps an object open. */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "internal.h"

struct file *file_new(enum file_kind kind)
{
	struct file *file = model_alloc(1, sizeof(*file));

	file->kind = kind;
	file->refs = 1;
	return file;
}

void file_get(struct file *file)
{
	file->refs++;
}

void file_put(struct model *m, struct file *file)
{
	if (--file->refs)
		return;
	switch (file->kind) {
	case FILE_CONTAINER:
		file->container->open = false;
		container_put(m, file->container);
		break;
	case FILE_GROUP:
		group_release(m, file);
		break;
	case FILE_DEVICE:
		if (!file->cdev || file->bound)
			device_unref(m, file->device);
		break;
	case FILE_IOMMU:
		iommu_put(m, file->iommu);
		break;
	case FILE_STREAM:
		stream_put(file->stream);
		break;
	case FILE_USERFAULT:
		userfault_release(m, file);
		break;
	case FILE_PAGEMAP:
	case FILE_MEMORY:
		break;
	}
	free(file);
}

/* Takes over the caller's reference. */
int files_install(struct model *m, struct file *file)
{
	struct model_state *s = m->state;
	size_t slot = 0;

	while (slot < s->fd_room && s->fds[slot])
		slot++;
	if (slot == s->fd_room) {
		size_t room = s->fd_room ? s->fd_room * 2 : 32;

		s->fds = realloc(s->fds, room * sizeof(*s->fds));
		if (!s->fds)
			abort();
		memset(s->fds + s->fd_room, 0, (room - s->fd_room) * sizeof(*s->fds));
		s->fd_room = room;
	}
	s->fds[slot] = file;
	s->counts.descriptors++;
	return MODEL_FIRST_FD + (int)slot;
}

struct file *files_lookup(struct model *m, int fd)
{
	struct model_state *s = m->state;

	if (fd < MODEL_FIRST_FD || (size_t)(fd - MODEL_FIRST_FD) >= s->fd_room)
		return NULL;
	return s->fds[fd - MODEL_FIRST_FD];
}

int files_close(struct model *m, int fd)
{
	struct file *file = files_lookup(m, fd);

	if (!file)
		return -EBADF;
	m->state->fds[fd - MODEL_FIRST_FD] = NULL;
	m->state->counts.descriptors--;
	file_put(m, file);
	return 0;
}

void areas_add(struct model *m, void *memory, size_t size, struct file *file)
{
	struct model_state *s = m->state;

	s->areas = model_grow(s->areas, s->area_count, &s->area_room, sizeof(*s->areas));
	s->areas[s->area_count++] = (struct area){ memory, size, file };
	if (file) {
		file_get(file);
		s->counts.areas++;
	} else {
		s->counts.scratch++;
	}
}

int areas_remove(struct model *m, void *memory, size_t size)
{
	struct model_state *s = m->state;

	for (size_t i = 0; i < s->area_count; i++) {
		struct area area = s->areas[i];

		if (area.memory != memory || area.size != size)
			continue;
		s->areas[i] = s->areas[--s->area_count];
		munmap(memory, size);
		if (area.file) {
			s->counts.areas--;
			file_put(m, area.file);
		} else {
			s->counts.scratch--;
		}
		return 0;
	}
	return -EINVAL;
}
