/* SPDX-License-Identifier: MIT */
/* Stores of CPUs, as far as the kernel notes them: a userfaultfd with asynchronous write protection, and PAGEMAP_SCAN. */
#include <string.h>

#include "internal.h"
#include "uapi.h"

static uint64_t page_of(uint64_t address)
{
	return address / MODEL_PAGE_SIZE;
}

int userfault_open(struct model *m)
{
	return files_install(m, file_new(FILE_USERFAULT));
}

void userfault_release(struct model *m, const struct file *file)
{
	if (m->state->userfault != file)
		return;
	m->state->userfault = NULL;
	pageset_empty(&m->state->watched);
	pageset_empty(&m->state->not_written);
}

static int answer_api(void *argument)
{
	struct uffdio_api api;

	if (copy_in(&api, argument, sizeof(api)))
		return -EFAULT;
	if (api.api != UFFD_API || api.features & ~(uint64_t)UFFD_FEATURE_WP_ASYNC)
		return -EINVAL;
	return copy_out(argument, &api, sizeof(api));
}

static bool is_there(uint64_t address)
{
	char byte;

	return user_read(&byte, address, 1) == 1;
}

static int do_register(struct model *m, struct file *file, void *argument)
{
	struct model_state *s = m->state;
	struct uffdio_register r;

	if (copy_in(&r, argument, sizeof(r)))
		return -EFAULT;
	if (r.mode != UFFDIO_REGISTER_MODE_WP || !r.range.len ||
	    (r.range.start | r.range.len) % MODEL_PAGE_SIZE || !is_there(r.range.start))
		return -EINVAL;
	if (pageset_range(&s->foreign, page_of(r.range.start), page_of(r.range.len), NULL) ||
	    (s->userfault && s->userfault != file))
		return -EBUSY;
	s->userfault = file;
	pageset_add(&s->watched, page_of(r.range.start), page_of(r.range.len));
	return 0;
}

/* As Linux 6.12 does, of whoever it is. */
static int do_unregister(struct model *m, void *argument)
{
	struct uffdio_range r;

	if (copy_in(&r, argument, sizeof(r)))
		return -EFAULT;
	if (!r.len || (r.start | r.len) % MODEL_PAGE_SIZE || !is_there(r.start))
		return -EINVAL;
	pageset_clear_range(&m->state->watched, page_of(r.start), page_of(r.len));
	pageset_clear_range(&m->state->foreign, page_of(r.start), page_of(r.len));
	pageset_clear_range(&m->state->not_written, page_of(r.start), page_of(r.len));
	return 0;
}

int userfault_ioctl(struct model *m, struct file *file, unsigned long request, void *argument)
{
	switch (request) {
	case UFFDIO_API:
		return answer_api(argument);
	case UFFDIO_REGISTER:
		return do_register(m, file, argument);
	case UFFDIO_UNREGISTER:
		return do_unregister(m, argument);
	default:
		return -EINVAL;
	}
}

/* ---- PAGEMAP_SCAN ---- */

static uint64_t categories(const struct model_state *s, uint64_t address)
{
	uint64_t found = UAPI_PAGE_IS_PRESENT;

	if (!is_there(address))
		return 0;
	if (pageset_has(&s->watched, page_of(address)))
		found |= UAPI_PAGE_IS_WPALLOWED;
	if (!pageset_has(&s->not_written, page_of(address)))
		found |= UAPI_PAGE_IS_WRITTEN;
	return found;
}

/* A page that does not fit into vec any more is not write-protected. Returns the entries filled in. */
static uint64_t scan(struct model_state *s, struct uapi_scan *scan, struct uapi_scanned *parts)
{
	uint64_t count = 0, at;

	for (at = scan->start; at < scan->end; at += MODEL_PAGE_SIZE) {
		uint64_t found = categories(s, at);
		struct uapi_scanned *last = count ? &parts[count - 1] : NULL;

		if (last && last->end == at && last->categories == (found & scan->return_mask))
			last->end += MODEL_PAGE_SIZE;
		else if (found && count == scan->vec_len)
			break;
		else if (found)
			parts[count++] =
				(struct uapi_scanned){ at, at + MODEL_PAGE_SIZE, found & scan->return_mask };
		if (scan->flags & UAPI_SCAN_WP_MATCHING && found & UAPI_PAGE_IS_WPALLOWED)
			pageset_add(&s->not_written, page_of(at), 1);
	}
	scan->walk_end = at;
	return count;
}

int pagemap_scan(struct model *m, unsigned long request, void *argument)
{
	enum { MOST = 64 };
	struct uapi_scanned parts[MOST];
	struct uapi_scan want;

	if (request != UAPI_PAGEMAP_SCAN)
		return -ENOTTY;
	if (copy_in(&want, argument, sizeof(want)))
		return -EFAULT;
	if (want.size != sizeof(want) || (want.start | want.end) % MODEL_PAGE_SIZE || want.vec_len > MOST ||
	    want.category_mask || want.category_anyof_mask || want.category_inverted)
		return -EINVAL;
	uint64_t count = scan(m->state, &want, parts);
	if (copy_out((void *)(uintptr_t)want.vec, parts, (size_t)count * sizeof(parts[0])) ||
	    copy_out(argument, &want, sizeof(want)))
		return -EFAULT;
	return (int)count;
}

/* ---- stores ---- */

void stores_noted(struct model *m, uint64_t address, uint64_t size)
{
	uint64_t first = page_of(address), last = page_of(address + size - 1);

	pageset_clear_range(&m->state->not_written, first, last - first + 1);
}

int model_store(struct model *m, void *memory, const void *bytes, size_t size)
{
	uint64_t address = (uintptr_t)memory;

	model_lock(m);
	stores_noted(m, address, size);
	int error = copy_out(memory, bytes, size);
	model_unlock(m);
	return error;
}

void model_register(struct model *m, const void *memory, uint64_t size)
{
	model_lock(m);
	pageset_add(&m->state->foreign, page_of((uintptr_t)memory), page_of(size));
	model_unlock(m);
}

uint64_t model_registered(struct model *m, bool foreign)
{
	model_lock(m);
	uint64_t count = pageset_count(foreign ? &m->state->foreign : &m->state->watched);
	model_unlock(m);
	return count;
}
