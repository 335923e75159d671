/* SPDX-License-Identifier: MIT */
/* The model's side of lib/sys.h: each call is counted, traced, perhaps refused, and then done. */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "internal.h"
#include "paths.h"
#include "sys_model.h"

static struct model *model_of(const struct sys *sys)
{
	return (struct model *)(uintptr_t)sys;
}

static int m_open(const struct sys *sys, const char *path, int flags)
{
	struct call call;

	(void)flags;
	call_begin(&call, model_of(sys), MODEL_OPEN, -1, 0, NULL);
	return (int)call_end(&call, call_refused(&call) ? -call.error : path_open(call.model, path));
}

static int m_dup(const struct sys *sys, int fd)
{
	struct call call;
	struct file *file;
	int result = -EBADF;

	call_begin(&call, model_of(sys), MODEL_DUP, fd, 0, NULL);
	file = files_lookup(call.model, fd);
	if (call_refused(&call)) {
		result = -call.error;
	} else if (file) {
		file_get(file);
		result = files_install(call.model, file);
	}
	return (int)call_end(&call, result);
}

static int m_close(const struct sys *sys, int fd)
{
	struct call call;

	call_begin(&call, model_of(sys), MODEL_CLOSE, fd, 0, NULL);
	return (int)call_end(&call, call_refused(&call) ? -call.error : files_close(call.model, fd));
}

static int refuse(struct call *call, const struct file *file, const void *argument)
{
	if (file && file->kind == FILE_CONTAINER && file->container->type1)
		type1_refused(call, file->container->type1, argument);
	if (file && file->kind == FILE_DEVICE)
		devlog_refused(call, file->device, argument);
	if (file && file->kind == FILE_IOMMU)
		iommu_refused(call, file->iommu, argument);
	return -call->error;
}

static int dispatch(struct call *call, struct file *file, unsigned long request, void *argument)
{
	switch (file->kind) {
	case FILE_CONTAINER:
		return container_ioctl(call, file->container, request, argument);
	case FILE_GROUP:
		return group_ioctl(call, file, request, argument);
	case FILE_STREAM:
		return stream_ioctl(file->stream, request, argument);
	case FILE_USERFAULT:
		return userfault_ioctl(call->model, file, request, argument);
	case FILE_PAGEMAP:
		return pagemap_scan(call->model, request, argument);
	case FILE_MEMORY:
		return -ENOTTY;
	case FILE_IOMMU:
		return iommu_ioctl(call, file->iommu, request, argument);
	case FILE_DEVICE:
	default:
		break;
	}
	int result = cdev_ioctl(call, file, request, argument);
	return result == 1 ? device_ioctl(call, file->device, request, argument) : result;
}

static int m_ioctl(const struct sys *sys, int fd, unsigned long request, void *argument)
{
	struct call call;
	struct file *file;
	int result = -EBADF;

	call_begin(&call, model_of(sys), MODEL_IOCTL, fd, request, argument);
	file = files_lookup(call.model, fd);
	if (call_refused(&call)) {
		result = refuse(&call, file, argument);
	} else if (file) {
		file_get(file); /* a call in flight keeps it open */
		result = dispatch(&call, file, request, argument);
		file_put(call.model, file);
	}
	return (int)call_end(&call, result);
}

/* At an offset: of a stream ESPIPE, of anything else but a device EINVAL, as those files have no such operation. */
static struct device *device_behind(struct model *m, int fd, ssize_t *error)
{
	const struct file *file = files_lookup(m, fd);

	*error = !file ? -EBADF : file->kind == FILE_STREAM ? -ESPIPE : -EINVAL;
	return file && file->kind == FILE_DEVICE ? file->device : NULL;
}

static size_t shortened(const struct call *call, size_t size)
{
	return call->fails && call->step && !call->error ? size / 2 : size;
}

/* As /proc/self/mem: what is not there is EIO, behind something that is, a short read. */
static ssize_t memory_read(void *data, size_t size, uint64_t address)
{
	size_t done = user_read(data, address, size);

	return done ? (ssize_t)done : -EIO;
}

static bool is_memory(struct model *m, int fd)
{
	const struct file *file = files_lookup(m, fd);

	return file && file->kind == FILE_MEMORY;
}

static struct stream *stream_behind(struct model *m, int fd, ssize_t *error)
{
	const struct file *file = files_lookup(m, fd);

	*error = file ? -EINVAL : -EBADF;
	return file && file->kind == FILE_STREAM ? file->stream : NULL;
}

static ssize_t m_read(const struct sys *sys, int fd, void *data, size_t size)
{
	struct call call;
	struct stream *stream;
	ssize_t result;

	call_begin(&call, model_of(sys), MODEL_READ, fd, 0, NULL);
	stream = stream_behind(call.model, fd, &result);
	if (call_refused(&call))
		result = -call.error;
	else if (stream)
		result = stream_read(stream, data, shortened(&call, size));
	return (ssize_t)call_end(&call, result);
}

static ssize_t m_write(const struct sys *sys, int fd, const void *data, size_t size)
{
	struct call call;
	struct stream *stream;
	ssize_t result;

	call_begin(&call, model_of(sys), MODEL_WRITE, fd, 0, NULL);
	stream = stream_behind(call.model, fd, &result);
	if (call_refused(&call))
		result = -call.error;
	else if (stream)
		result = stream_write(stream, data, shortened(&call, size));
	return (ssize_t)call_end(&call, result);
}

static ssize_t m_pread(const struct sys *sys, int fd, void *data, size_t size, uint64_t offset)
{
	struct call call;
	struct device *d;
	ssize_t result;

	call_begin(&call, model_of(sys), MODEL_PREAD, fd, 0, NULL);
	d = device_behind(call.model, fd, &result);
	if (call_refused(&call))
		result = -call.error;
	else if (is_memory(call.model, fd))
		result = memory_read(data, shortened(&call, size), offset);
	else if (d)
		result = device_read(d, data, shortened(&call, size), offset);
	return (ssize_t)call_end(&call, result);
}

static ssize_t m_pwrite(const struct sys *sys, int fd, const void *data, size_t size, uint64_t offset)
{
	struct call call;
	struct device *d;
	ssize_t result;

	call_begin(&call, model_of(sys), MODEL_PWRITE, fd, 0, NULL);
	d = device_behind(call.model, fd, &result);
	if (call_refused(&call))
		result = -call.error;
	else if (d)
		result = device_write(call.model, d, data, shortened(&call, size), offset);
	return (ssize_t)call_end(&call, result);
}

static ssize_t m_read_file(const struct sys *sys, const char *path, char *text, size_t size)
{
	struct call call;

	call_begin(&call, model_of(sys), MODEL_READ_FILE, -1, 0, NULL);
	return (ssize_t)call_end(&call,
				 call_refused(&call) ? -call.error : path_read(call.model, path, text, size));
}

static ssize_t m_read_link(const struct sys *sys, const char *path, char *text, size_t size)
{
	struct call call;

	call_begin(&call, model_of(sys), MODEL_READ_LINK, -1, 0, NULL);
	return (ssize_t)call_end(&call,
				 call_refused(&call) ? -call.error : path_link(call.model, path, text, size));
}

static int m_find_entry(const struct sys *sys, const char *path, const char *begin, char *name, size_t size)
{
	struct call call;

	call_begin(&call, model_of(sys), MODEL_FIND_ENTRY, -1, 0, NULL);
	return (int)call_end(&call, call_refused(&call) ? -call.error
							: path_entry(call.model, path, begin, name, size));
}

static int m_exists(const struct sys *sys, const char *path)
{
	struct call call;

	call_begin(&call, model_of(sys), MODEL_EXISTS, -1, 0, NULL);
	return (int)call_end(&call, call_refused(&call) ? -call.error : path_exists(call.model, path));
}

static int m_map_file(const struct sys *sys, int fd, uint64_t offset, size_t size, int prot, void **memory)
{
	struct call call;
	struct file *file;
	int result = -EBADF;

	call_begin(&call, model_of(sys), MODEL_MAP_FILE, fd, 0, NULL);
	file = files_lookup(call.model, fd);
	if (call_refused(&call))
		result = -call.error;
	else if (file)
		result = file->kind == FILE_DEVICE ? device_map(file->device, offset, size, prot, memory)
						   : -ENODEV;
	if (!result)
		areas_add(call.model, *memory, size, file);
	return (int)call_end(&call, result);
}

static int m_map_scratch(const struct sys *sys, size_t size, void **memory)
{
	struct call call;
	int result;

	call_begin(&call, model_of(sys), MODEL_MAP_SCRATCH, -1, 0, NULL);
	if (call_refused(&call))
		return (int)call_end(&call, -call.error);
	result = sys_linux.map_scratch(&sys_linux, size, memory);
	if (!result)
		areas_add(call.model, *memory, size, NULL);
	return (int)call_end(&call, result);
}

static int m_populate(const struct sys *sys, void *memory, size_t size)
{
	struct call call;

	call_begin(&call, model_of(sys), MODEL_POPULATE, -1, 0, NULL);
	return (int)call_end(&call, call_refused(&call) ? -call.error
							: sys_linux.populate(&sys_linux, memory, size));
}

static int m_unmap_scratch(const struct sys *sys, void *memory, size_t size)
{
	struct call call;
	int result;

	call_begin(&call, model_of(sys), MODEL_UNMAP, -1, 0, NULL);
	if (call_refused(&call))
		return (int)call_end(&call, -call.error);
	result = areas_remove(call.model, memory, size);
	if (!result) /* the page behind */
		munmap((char *)memory + size, sys_page_size());
	return (int)call_end(&call, result);
}

static int m_unmap(const struct sys *sys, void *memory, size_t size)
{
	struct call call;

	call_begin(&call, model_of(sys), MODEL_UNMAP, -1, 0, NULL);
	return (int)call_end(&call,
			     call_refused(&call) ? -call.error : areas_remove(call.model, memory, size));
}

static void m_count_holders(const struct sys *sys, unsigned *descriptors, unsigned *areas)
{
	struct model *m = model_of(sys);

	*descriptors = 0;
	model_lock(m);
	for (size_t i = 0; i < m->state->fd_room; i++)
		*descriptors += m->state->fds[i] && m->state->fds[i]->kind == FILE_DEVICE;
	*areas = m->state->counts.areas;
	model_unlock(m);
}

static void m_memlock(const struct sys *sys, struct sys_memlock *out)
{
	struct model *m = model_of(sys);

	model_lock(m);
	*out = (struct sys_memlock){ .limit = m->state->config.locked_limit, .used = model_locked(m) };
	model_unlock(m);
	if (!out->limit)
		out->limit = UINT64_MAX;
}

static int m_userfaultfd(const struct sys *sys, int flags)
{
	struct call call;

	(void)flags;
	call_begin(&call, model_of(sys), MODEL_USERFAULTFD, -1, 0, NULL);
	return (int)call_end(&call, call_refused(&call) ? -call.error : userfault_open(call.model));
}

const struct sys sys_model = {
	.open = m_open,
	.dup = m_dup,
	.close = m_close,
	.ioctl = m_ioctl,
	.read = m_read,
	.write = m_write,
	.pread = m_pread,
	.pwrite = m_pwrite,
	.read_file = m_read_file,
	.read_link = m_read_link,
	.find_entry = m_find_entry,
	.exists = m_exists,
	.map_file = m_map_file,
	.map_scratch = m_map_scratch,
	.populate = m_populate,
	.unmap_scratch = m_unmap_scratch,
	.unmap = m_unmap,
	.count_holders = m_count_holders,
	.memlock = m_memlock,
	.userfaultfd = m_userfaultfd,
};
