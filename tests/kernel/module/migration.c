// SPDX-License-Identifier: GPL-2.0
/*
 * migration.c - the device's states, and the stream its own state travels in
 *
 * A stream is a sequence of records (vfdtest.h): any number of early ones, from
 * PRE_COPY, then a final one. The device takes in nothing before it has seen all
 * of it: at RESUMING -> STOP. Everything is done under dev->lock.
 */
#include <linux/anon_inodes.h>
#include <linux/file.h>
#include <linux/fs.h>

#include "device.h"

#define MAGIC		0x76666474U
#define STREAM_MAX	(8UL << 20)

#ifndef VFIO_MIGRATION_PRE_COPY		/* before 6.2 */
#define VFIO_MIGRATION_PRE_COPY	0
#define VFIO_DEVICE_STATE_PRE_COPY	(VFIO_DEVICE_STATE_RUNNING_P2P + 1)
#define VFIO_DEVICE_STATE_PRE_COPY_P2P	(VFIO_DEVICE_STATE_RUNNING_P2P + 2)
#endif

enum { EARLY, FINAL };

struct record {
	u32 magic;
	u32 kind;
	u64 size;			/* of all of it */
	u64 number;			/* the writer's */
	u8 registers[VFDTEST_MIG_REGISTERS];
	u8 more[];			/* padding; the last 8 bytes are the sum */
};

/* What a stream's file descriptor stands for. */
struct stream {
	struct vfdtest *dev;		/* NULL: the device has left the state */
	struct file *file;
	u8 *data;
	size_t size;
	size_t pos;			/* saving: read so far */
	bool final;
};

/* ---- records -------------------------------------------------------------------- */

static u64 sum_of(const u8 *data, size_t size)
{
	u64 sum = 0xcbf29ce484222325ULL;	/* FNV-1a */
	size_t i;

	for (i = 0; i < size; i++)
		sum = (sum ^ data[i]) * 0x100000001b3ULL;
	return sum;
}

static size_t record_size(struct vfdtest *dev)
{
	return sizeof(struct record) + dev->mig.padding + sizeof(u64);
}

static void fill_record(struct vfdtest *dev, struct record *r, u32 kind)
{
	size_t size = record_size(dev), i;
	u64 sum;

	r->magic = MAGIC;
	r->kind = kind;
	r->size = size;
	r->number = dev->number;
	memcpy(r->registers, dev->memory, VFDTEST_MIG_REGISTERS);
	for (i = 0; i < dev->mig.padding; i++)
		r->more[i] = i * 7;
	sum = sum_of((u8 *)r, size - sizeof(sum));
	memcpy((u8 *)r + size - sizeof(sum), &sum, sizeof(sum));
}

static bool changed(struct vfdtest *dev)
{
	return memcmp(dev->mig.sent, dev->memory, VFDTEST_MIG_REGISTERS);
}

/* Room for more bytes at the end; what was read already goes. */
static int stream_grow(struct stream *s, size_t more)
{
	size_t left = s->size - s->pos;
	u8 *data;

	if (left + more > STREAM_MAX)
		return -EFBIG;
	data = kvmalloc(left + more, GFP_KERNEL);
	if (!data)
		return -ENOMEM;
	if (left)
		memcpy(data, s->data + s->pos, left);
	kvfree(s->data);
	s->data = data;
	s->size = left + more;
	s->pos = 0;
	return 0;
}

static int add_record(struct stream *s, u32 kind)
{
	struct vfdtest *dev = s->dev;
	size_t size = record_size(dev);
	int ret = stream_grow(s, size);

	if (ret)
		return ret;
	fill_record(dev, (struct record *)(s->data + s->size - size), kind);
	memcpy(dev->mig.sent, dev->memory, VFDTEST_MIG_REGISTERS);
	s->final = kind == FINAL;
	return 0;
}

/* The record at *pos, if it is whole and right; *pos moves past it. */
static const struct record *next_record(const struct stream *s, size_t *pos)
{
	size_t left = s->size - *pos;
	const struct record *r = (const void *)(s->data + *pos);
	u64 sum;

	if (left < sizeof(*r) + sizeof(sum) || r->magic != MAGIC || r->kind > FINAL ||
	    r->size > left || r->size < sizeof(*r) + sizeof(sum))
		return NULL;
	memcpy(&sum, (u8 *)r + r->size - sizeof(sum), sizeof(sum));
	if (sum != sum_of((u8 *)r, r->size - sizeof(sum)))
		return NULL;
	*pos += r->size;
	return r;
}

static int load(struct vfdtest *dev, const struct stream *s)
{
	const struct record *r;
	size_t pos = 0;

	do {
		r = next_record(s, &pos);
	} while (r && r->kind == EARLY);
	if (!r || pos != s->size)
		return -EINVAL;
	memcpy(dev->memory, r->registers, VFDTEST_MIG_REGISTERS);
	dev->number = max(dev->number, r->number);
	return 0;
}

/* ---- the stream's file ------------------------------------------------------------ */

/* Lock the device a stream belongs to; NULL if it has left the state. */
static struct vfdtest *stream_lock(struct stream *s)
{
	struct vfdtest *dev = READ_ONCE(s->dev);

	if (!dev)
		return NULL;
	mutex_lock(&dev->lock);
	if (s->dev)
		return dev;
	mutex_unlock(&dev->lock);
	return NULL;
}

static ssize_t read_some(struct stream *s, char __user *buf, size_t len)
{
	int ret = 0;

	if (s->pos == s->size && !s->final)
		ret = changed(s->dev) ? add_record(s, EARLY) : -ENOMSG;
	if (ret)
		return ret;
	len = min3(len, s->size - s->pos, (size_t)s->dev->mig.chunk);
	if (copy_to_user(buf, s->data + s->pos, len))
		return -EFAULT;
	s->pos += len;
	return len;
}

static ssize_t stream_read(struct file *file, char __user *buf, size_t len, loff_t *pos)
{
	struct stream *s = file->private_data;
	struct vfdtest *dev = stream_lock(s);
	ssize_t ret;

	if (!dev)
		return -ENODEV;
	ret = read_some(s, buf, len);
	mutex_unlock(&dev->lock);
	return ret;
}

static ssize_t write_some(struct stream *s, const char __user *buf, size_t len)
{
	size_t end = s->size;
	int ret;

	len = min_t(size_t, len, s->dev->mig.chunk);
	ret = stream_grow(s, len);
	if (ret)
		return ret;
	if (copy_from_user(s->data + end, buf, len)) {
		s->size = end;
		return -EFAULT;
	}
	return len;
}

static ssize_t stream_write(struct file *file, const char __user *buf, size_t len, loff_t *pos)
{
	struct stream *s = file->private_data;
	struct vfdtest *dev = stream_lock(s);
	ssize_t ret;

	if (!dev)
		return -ENODEV;
	ret = write_some(s, buf, len);
	mutex_unlock(&dev->lock);
	return ret;
}

#if VFIO_MIGRATION_PRE_COPY
static long precopy_info(struct stream *s, void __user *arg)
{
	size_t minsz = offsetofend(struct vfio_precopy_info, dirty_bytes);
	struct vfio_precopy_info info;

	if (copy_from_user(&info, arg, minsz))
		return -EFAULT;
	if (info.argsz < minsz || s->final)
		return -EINVAL;
	info.flags = 0;
	info.initial_bytes = s->size - s->pos;
	info.dirty_bytes = changed(s->dev) ? record_size(s->dev) : 0;
	return copy_to_user(arg, &info, minsz) ? -EFAULT : 0;
}

static long stream_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	struct stream *s = file->private_data;
	struct vfdtest *dev;
	long ret;

	if (cmd != VFIO_MIG_GET_PRECOPY_INFO)
		return -ENOTTY;
	dev = stream_lock(s);
	if (!dev)
		return -ENODEV;
	ret = precopy_info(s, (void __user *)arg);
	mutex_unlock(&dev->lock);
	return ret;
}
#else
#define stream_ioctl	NULL
#endif

/* The device let go of it before, or has no more to do with it. */
static int stream_release(struct inode *inode, struct file *file)
{
	struct stream *s = file->private_data;

	kvfree(s->data);
	kfree(s);
	return 0;
}

static const struct file_operations save_fops = {
	.owner = THIS_MODULE,
	.read = stream_read,
	.unlocked_ioctl = stream_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
	.release = stream_release,
};

static const struct file_operations resume_fops = {
	.owner = THIS_MODULE,
	.write = stream_write,
	.release = stream_release,
};

/* The device's reference; the caller of SET_STATE gets another. */
static struct stream *stream_open_new(struct vfdtest *dev, bool save)
{
	struct stream *s = kzalloc(sizeof(*s), GFP_KERNEL);

	if (!s)
		return ERR_PTR(-ENOMEM);
	s->dev = dev;
	s->file = anon_inode_getfile("vfdtest-stream", save ? &save_fops : &resume_fops, s,
				     save ? O_RDONLY : O_WRONLY);
	if (IS_ERR(s->file)) {
		struct file *error = s->file;

		kfree(s);
		return ERR_CAST(error);
	}
	stream_open(file_inode(s->file), s->file);
	dev->mig.stream = s;
	return s;
}

static void stream_close(struct vfdtest *dev)
{
	struct stream *s = dev->mig.stream;

	dev->mig.stream = NULL;
	if (!s)
		return;
	WRITE_ONCE(s->dev, NULL);
	fput(s->file);
}

/* ---- arcs ------------------------------------------------------------------------- */

static bool runs(u32 state)
{
	return state == VFIO_DEVICE_STATE_RUNNING || state == VFIO_DEVICE_STATE_PRE_COPY;
}

static bool precopies(u32 state)
{
	return state == VFIO_DEVICE_STATE_PRE_COPY || state == VFIO_DEVICE_STATE_PRE_COPY_P2P;
}

/* After this no write is in flight, and pins write nothing. */
static void dma_stop(struct vfdtest *dev)
{
	writer_pause(dev, true);
	mutex_lock(&dev->truth_lock);
	truth_fold_pins(dev, 0, ULONG_MAX);
	mutex_unlock(&dev->truth_lock);
	dev->stopped = true;
}

static void dma_start(struct vfdtest *dev)
{
	dev->stopped = false;
	writer_pause(dev, false);
}

/* Whether this arc was told to fail. */
static int injected(struct vfdtest *dev, u32 from, u32 to)
{
	struct migration *m = &dev->mig;

	if (!m->fail_errno || from != m->fail_from || to != m->fail_to)
		return 0;
	if (m->fail_broken) {
		stream_close(dev);
		m->state = VFIO_DEVICE_STATE_ERROR;
	}
	return -(int)m->fail_errno;
}

static struct stream *save(struct vfdtest *dev, u32 kind)
{
	struct stream *s = dev->mig.stream;
	bool fresh = !s;
	int ret;

	if (fresh)
		s = stream_open_new(dev, true);
	if (IS_ERR(s))
		return s;
	ret = add_record(s, kind);
	if (ret && fresh)
		stream_close(dev);
	return ret ? ERR_PTR(ret) : s;
}

/* What happens to the stream. NULL: no new one. */
static struct stream *stream_step(struct vfdtest *dev, u32 from, u32 to)
{
	bool continued = precopies(from) && (precopies(to) || to == VFIO_DEVICE_STATE_STOP_COPY);
	struct stream *s = NULL;
	int ret = 0;

	if (from == VFIO_DEVICE_STATE_RESUMING)
		ret = load(dev, dev->mig.stream);
	if (ret)
		return ERR_PTR(ret);
	if (!continued)
		stream_close(dev);

	if (precopies(to) && !continued)
		return save(dev, EARLY);
	if (to == VFIO_DEVICE_STATE_STOP_COPY)
		s = save(dev, FINAL);
	else if (to == VFIO_DEVICE_STATE_RESUMING)
		s = stream_open_new(dev, false);
	return continued && !IS_ERR(s) ? NULL : s;
}

/* One arc. The device stops before its state is saved, and starts after it is closed. */
static struct stream *arc(struct vfdtest *dev, u32 from, u32 to)
{
	struct stream *s;
	int ret = injected(dev, from, to);

	if (ret)
		return ERR_PTR(ret);
	if (runs(from) && !runs(to))
		dma_stop(dev);
	s = stream_step(dev, from, to);
	if (IS_ERR(s)) {
		if (runs(from))
			dma_start(dev);
		return s;
	}
	if (!runs(from) && runs(to))
		dma_start(dev);
	if (from == VFIO_DEVICE_STATE_STOP_COPY && (dev->log.quirks & VFDTEST_LOG_STOPS)) {
		mutex_lock(&dev->truth_lock);
		log_forget(dev);
		mutex_unlock(&dev->truth_lock);
	}
	dev->mig.state = to;
	return s;
}

/* ---- what VFIO calls ----------------------------------------------------------------- */

static struct file *walk(struct vfdtest *dev, enum vfio_device_mig_state target)
{
	enum vfio_device_mig_state next;
	struct stream *s = NULL;
	int ret;

	/* the kernel's table would WARN, whatever the driver */
	if (dev->mig.state == VFIO_DEVICE_STATE_ERROR)
		return ERR_PTR(-EINVAL);
	while (dev->mig.state != target) {
		ret = vfio_mig_get_next_state(dev->vdev, dev->mig.state, target, &next);
		if (ret)
			return ERR_PTR(ret);
		s = arc(dev, dev->mig.state, next);
		if (IS_ERR(s))
			return ERR_CAST(s);
	}
	return s ? get_file(s->file) : NULL;
}

static struct file *mig_set_state(struct vfio_device *vdev, enum vfio_device_mig_state target)
{
	struct vfdtest *dev = to_vfdtest(vdev);
	struct file *file;

	mutex_lock(&dev->lock);
	file = walk(dev, target);
	mutex_unlock(&dev->lock);
	return file;
}

static int mig_get_state(struct vfio_device *vdev, enum vfio_device_mig_state *state)
{
	struct vfdtest *dev = to_vfdtest(vdev);

	mutex_lock(&dev->lock);
	*state = dev->mig.state;
	mutex_unlock(&dev->lock);
	return 0;
}

#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 2, 0)
static int mig_get_data_size(struct vfio_device *vdev, unsigned long *size)
{
	*size = record_size(to_vfdtest(vdev));
	return 0;
}
#endif

static const struct vfio_migration_ops mig_ops = {
	.migration_set_state = mig_set_state,
	.migration_get_state = mig_get_state,
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 2, 0)
	.migration_get_data_size = mig_get_data_size,
#endif
};

/* As after a reset, on opening and on closing: running, no stream. */
void mig_restart(struct vfdtest *dev)
{
	lockdep_assert_held(&dev->lock);
	stream_close(dev);
	dev->mig.state = VFIO_DEVICE_STATE_RUNNING;
	dev->stopped = false;
}

/* ---- knobs: dev->lock is held ------------------------------------------------------- */

static unsigned int migration;
module_param(migration, uint, 0444);
MODULE_PARM_DESC(migration, "what devices offer at first, as VFDTEST_MIG sets it (default 0)");

static bool can_offer(u64 value)
{
	u64 known = VFIO_MIGRATION_STOP_COPY | VFIO_MIGRATION_P2P | VFIO_MIGRATION_PRE_COPY;

	return !(value & ~known) && (!value || (value & VFIO_MIGRATION_STOP_COPY));
}

void mig_init(struct vfdtest *dev)
{
	dev->mig.state = VFIO_DEVICE_STATE_RUNNING;
	dev->mig.chunk = U32_MAX;
	dev->mig.offered = can_offer(migration) ? migration : 0;
}

void mig_offer(struct vfdtest *dev)
{
	dev->vdev->mig_ops = dev->mig.offered ? &mig_ops : NULL;
	dev->vdev->migration_flags = dev->mig.offered;
}

static long offer(struct vfdtest *dev, u64 value)
{
	if (!can_offer(value))
		return -EINVAL;
	if (dev->open)
		return -EBUSY;
	dev->mig.offered = value;
	if (dev->vdev)
		mig_offer(dev);
	return 0;
}

static long set_failure(struct migration *m, u64 value)
{
	if (value >> 33 || (value >> 16 & 0xffff) > MAX_ERRNO)
		return -EINVAL;
	m->fail_from = value & 0xff;
	m->fail_to = value >> 8 & 0xff;
	m->fail_errno = value >> 16 & 0xffff;
	m->fail_broken = value >> 32;
	return 0;
}

long mig_knob(struct vfdtest *dev, u32 knob, u64 value)
{
	switch (knob) {
	case VFDTEST_MIG:
		return offer(dev, value);
	case VFDTEST_MIG_FAIL:
		return set_failure(&dev->mig, value);
	case VFDTEST_MIG_PADDING:
		if (value > VFDTEST_MIG_PADDING_MAX || value % 8)
			return -EINVAL;
		dev->mig.padding = value;
		return 0;
	case VFDTEST_MIG_CHUNK:
		if (!value || value > U32_MAX)
			return -EINVAL;
		dev->mig.chunk = value;
		return 0;
	}
	return -EINVAL;
}
