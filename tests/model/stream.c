/* SPDX-License-Identifier: MIT */
/* The descriptor that a migration's data goes through: records of the device's state, each with a checksum. */
#include <stdlib.h>
#include <string.h>

#include "internal.h"
#include "uapi.h"

#define MAGIC	   0x6574617473646676ull /* "vfdstate" */
#define STREAM_MAX 65536u

struct record {
	uint64_t magic;
	uint32_t final, checksum;
	uint64_t serial; /* of the device's writes */
	uint8_t state[MODEL_STATE_SIZE];
};

_Static_assert(sizeof(struct record) == MODEL_RECORD_SIZE, "as model.h says");

static uint32_t checksum_of(const struct record *record)
{
	struct record copy = *record;
	uint32_t sum = 2166136261u;

	copy.checksum = 0;
	for (size_t i = 0; i < sizeof(copy); i++)
		sum = (sum ^ ((const uint8_t *)&copy)[i]) * 16777619u;
	return sum;
}

/* ---- a session ---- */

struct stream *stream_begin(struct device *d, bool saving)
{
	struct stream *stream = model_alloc(1, sizeof(*stream));

	stream->device = d;
	stream->saving = saving;
	stream->refs = 1;
	return stream;
}

void stream_put(struct stream *stream)
{
	if (--stream->refs)
		return;
	free(stream->bytes);
	free(stream);
}

/* Who still has the descriptor gets ENODEV. */
void stream_end_session(struct device *d)
{
	struct stream *stream = d->migration.stream;

	if (!stream)
		return;
	stream->device = NULL;
	d->migration.stream = NULL;
	stream_put(stream);
}

static void append(struct stream *stream, const void *data, size_t size)
{
	while (stream->size + size > stream->room)
		stream->bytes = model_grow(stream->bytes, stream->room, &stream->room, 1);
	memcpy(stream->bytes + stream->size, data, size);
	stream->size += size;
}

static struct record record_of(struct device *d, bool final)
{
	struct record record = { .magic = MAGIC, .final = final, .serial = d->serial };

	device_save(d, record.state);
	record.checksum = checksum_of(&record);
	return record;
}

void stream_save(struct device *d, bool final)
{
	struct record record = record_of(d, final);

	append(d->migration.stream, &record, sizeof(record));
}

/* ---- resuming ---- */

static bool good(const struct record *record, bool last)
{
	return record->magic == MAGIC && record->checksum == checksum_of(record) && record->final == last;
}

/* Truncated, with something behind its end, or damaged: EINVAL. */
int stream_load(struct device *d)
{
	const struct stream *stream = d->migration.stream;
	struct record record;

	if (!stream->size || stream->size % sizeof(record))
		return -EINVAL;
	for (size_t at = 0; at < stream->size; at += sizeof(record)) {
		memcpy(&record, stream->bytes + at, sizeof(record));
		if (!good(&record, at + sizeof(record) == stream->size))
			return -EINVAL;
	}
	device_load(d, record.state);
	d->serial = record.serial;
	return 0;
}

/* ---- the descriptor ---- */

static bool in_precopy(const struct stream *stream)
{
	uint32_t state = stream->device->migration.state;

	return state == UAPI_MIG_PRE_COPY || state == UAPI_MIG_PRE_COPY_P2P;
}

/* Is the device another than in the last record? */
static bool changed(const struct stream *stream)
{
	struct record last, now = record_of(stream->device, false);

	memcpy(&last, stream->bytes + stream->size - sizeof(last), sizeof(last));
	return memcmp(&last, &now, sizeof(now)) != 0;
}

static size_t limited(const struct stream *stream, size_t size)
{
	unsigned chunk = stream->device->migration.config.chunk;

	return chunk && size > chunk ? chunk : size;
}

ssize_t stream_read(struct stream *stream, void *data, size_t size)
{
	if (!stream->saving)
		return -EINVAL;
	if (!stream->device)
		return -ENODEV;
	if (in_precopy(stream) && stream->at == stream->size) {
		if (!changed(stream))
			return stream->device->migration.config.says_zero ? 0 : -ENOMSG;
		stream_save(stream->device, false);
	}
	if (size > stream->size - stream->at)
		size = stream->size - stream->at;
	size = limited(stream, size);
	if (size && copy_out(data, stream->bytes + stream->at, size))
		return -EFAULT;
	stream->at += size;
	return (ssize_t)size;
}

ssize_t stream_write(struct stream *stream, const void *data, size_t size)
{
	char bytes[1024];
	size_t done = 0;

	if (stream->saving)
		return -EINVAL;
	if (!stream->device)
		return -ENODEV;
	size = limited(stream, size);
	if (size > STREAM_MAX - stream->size)
		return -ENOMEM;
	while (done < size) {
		size_t part = size - done < sizeof(bytes) ? size - done : sizeof(bytes);

		if (copy_in(bytes, (const char *)data + done, part))
			return -EFAULT;
		append(stream, bytes, part);
		done += part;
	}
	return (ssize_t)done;
}

int stream_ioctl(struct stream *stream, unsigned long request, void *argument)
{
	struct uapi_precopy_info info;

	if (!stream->saving || request != UAPI_MIG_GET_PRECOPY_INFO)
		return -ENOTTY;
	if (copy_in(&info, argument, sizeof(info)))
		return -EFAULT;
	if (info.argsz < sizeof(info))
		return -EINVAL;
	if (!stream->device)
		return -ENODEV;
	if (!in_precopy(stream))
		return -EINVAL;
	info.flags = 0;
	info.initial_bytes = stream->at < MODEL_RECORD_SIZE ? MODEL_RECORD_SIZE - stream->at : 0;
	info.dirty_bytes = stream->size - stream->at - info.initial_bytes;
	if (changed(stream))
		info.dirty_bytes += MODEL_RECORD_SIZE;
	return copy_out(argument, &info, sizeof(info));
}
