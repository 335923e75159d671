/* SPDX-License-Identifier: MIT */
#include "stores.h"

#include <errno.h>
#include <fcntl.h>

#include "error.h"
#include "uapi.h"

static const char *const op = "watch stores";

static int fail_kernel(struct vfd_error *err, int rc, const char *what)
{
	return fail(err, VFD_EUNSUPPORTED, op,
		    "%s (errno %d): Linux 6.7 or newer is needed, with userfaultfd and its write protection",
		    what, -rc);
}

/* PAGEMAP_SCAN came with the same kernel. Of user mode only, which everybody may have. Stores by system calls are noted nevertheless: nobody waits for a handler here. */
static int open_userfault(struct stores *s, struct vfd_error *err)
{
	struct uffdio_api api = { .api = UFFD_API, .features = UFFD_FEATURE_WP_ASYNC };

	s->userfault = s->sys->userfaultfd(s->sys, UFFD_USER_MODE_ONLY);
	if (s->userfault == -EMFILE || s->userfault == -ENFILE || s->userfault == -ENOMEM)
		return fail_sys(err, -s->userfault, op, "no userfaultfd");
	if (s->userfault < 0)
		return fail_kernel(err, s->userfault, "the kernel gives no userfaultfd");
	int rc = s->sys->ioctl(s->sys, s->userfault, UFFDIO_API, &api);
	return rc ? fail_kernel(err, rc, "userfaultfd has no asynchronous write protection") : 0;
}

static int open_file(const struct stores *s, const char *path, int *fd, struct vfd_error *err)
{
	*fd = s->sys->open(s->sys, path, O_RDONLY);
	return *fd < 0 ? fail_sys(err, -*fd, op, "%s", path) : 0;
}

int stores_open(struct stores *s, const struct sys *sys, struct vfd_error *err)
{
	*s = (struct stores){ .sys = sys, .userfault = -1, .pagemap = -1, .memory = -1 };
	int rc = open_userfault(s, err);

	if (!rc)
		rc = open_file(s, "/proc/self/pagemap", &s->pagemap, err);
	if (!rc)
		rc = open_file(s, "/proc/self/mem", &s->memory, err);
	if (rc)
		stores_close(s);
	return rc;
}

static void close_one(const struct stores *s, int fd)
{
	if (fd >= 0)
		s->sys->close(s->sys, fd);
}

void stores_close(struct stores *s)
{
	close_one(s, s->memory);
	close_one(s, s->pagemap);
	close_one(s, s->userfault);
}

int stores_watch(const struct stores *s, struct range memory)
{
	struct uffdio_register watch = {
		.range = { .start = memory.first, .len = range_size(memory) },
		.mode = UFFDIO_REGISTER_MODE_WP,
	};

	return s->sys->ioctl(s->sys, s->userfault, UFFDIO_REGISTER, &watch);
}

/* Memory that is gone needs no unwatching. */
void stores_unwatch(const struct stores *s, struct range memory)
{
	struct uffdio_range range = { .start = memory.first, .len = range_size(memory) };

	s->sys->ioctl(s->sys, s->userfault, UFFDIO_UNREGISTER, &range);
}

static bool is_untouched(const struct uapi_scanned *part)
{
	const uint64_t known = UAPI_PAGE_IS_WPALLOWED | UAPI_PAGE_IS_PRESENT;

	return (part->categories & (known | UAPI_PAGE_IS_WRITTEN)) == known;
}

int stores_scan(const struct stores *s, struct range memory, void (*untouched)(struct range part, void *arg),
		void *arg)
{
	struct uapi_scanned parts[64];
	struct uapi_scan scan = {
		.size = sizeof scan,
		.flags = UAPI_SCAN_WP_MATCHING,
		.end = memory.last + 1,
		.walk_end = memory.first,
		.vec = (uintptr_t)parts,
		.vec_len = sizeof parts / sizeof parts[0],
		.return_mask = UAPI_PAGE_IS_WPALLOWED | UAPI_PAGE_IS_WRITTEN | UAPI_PAGE_IS_PRESENT,
	};

	while (scan.walk_end < scan.end) {
		scan.start = scan.walk_end;
		int found = s->sys->ioctl(s->sys, s->pagemap, UAPI_PAGEMAP_SCAN, &scan);
		if (found < 0)
			return found;
		for (int i = 0; i < found; i++)
			if (is_untouched(&parts[i]))
				untouched((struct range){ parts[i].start, parts[i].end - 1 }, arg);
		if (scan.walk_end <= scan.start)
			return -EIO;
	}
	return 0;
}

size_t stores_read(const struct stores *s, uint64_t address, void *data, size_t size)
{
	ssize_t count = s->sys->pread(s->sys, s->memory, data, size, address);

	return count < 0 ? 0 : (size_t)count;
}
