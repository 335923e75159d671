/* SPDX-License-Identifier: MIT */

/* A device is plugged, and something fails. */

#include "vmm.h"

#include <errno.h>
#include <string.h>

#include <check.h>

#include "../suite.h"

#undef fail /* Check has one, too */

/* What the test's library has, and what it is to refuse. */
static bool attached, opened;
static int open_error, describe_error, detach_errors;
static char anything[3]; /* the handles point here */
static struct vm vm;

/* ---- the library ---- */

int vfd_container_open(const struct vfd_container_options *options, struct vfd_container **container,
		       struct vfd_error *err)
{
	(void)options, (void)err;
	*container = (void *)&anything[0];
	return 0;
}

int vfd_container_close(struct vfd_container **container, unsigned flags, struct vfd_error *err)
{
	(void)container, (void)flags, (void)err;
	ck_abort_msg("the container was closed");
	return 0;
}

int vfd_map(struct vfd_container *container, const struct vfd_mapping *mapping, struct vfd_error *err)
{
	(void)container, (void)mapping, (void)err;
	return 0;
}

int vfd_track_start(struct vfd_container *container, const struct vfd_track_options *options,
		    struct vfd_plan *plan, struct vfd_error *err)
{
	(void)container, (void)options, (void)plan, (void)err;
	return 0;
}

int vfd_group_attach_device(struct vfd_container *container, const char *device, struct vfd_group **group,
			    struct vfd_error *err)
{
	(void)container, (void)device;
	if (attached)
		return fail(err, "attached already");
	attached = true;
	*group = (void *)&anything[1];
	return 0;
}

/* As the library does: a device that could be closed is closed, whether the rest succeeds or not. */
int vfd_group_detach(struct vfd_group **group, unsigned flags, struct vfd_error *err)
{
	ck_assert_ptr_eq(*group, &anything[1]);
	ck_assert_uint_eq(flags, VFD_COLLECT);
	opened = false;
	if (detach_errors && detach_errors--)
		return fail(err, "busy");
	attached = false;
	*group = NULL;
	return 0;
}

int vfd_group_fd(const struct vfd_group *group)
{
	(void)group;
	return -1;
}

int vfd_device_open(struct vfd_group *group, const char *name, struct vfd_device **device,
		    struct vfd_error *err)
{
	(void)group, (void)name;
	if (open_error)
		return fail(err, "not opened");
	opened = true;
	*device = (void *)&anything[2];
	return 0;
}

int vfd_device_close(struct vfd_device **device, unsigned flags, struct vfd_error *err)
{
	(void)flags, (void)err;
	ck_assert_ptr_eq(*device, &anything[2]);
	*device = NULL;
	return 0;
}

int vfd_device_info(struct vfd_device *device, struct vfd_device_info *info, struct vfd_error *err)
{
	(void)device, (void)err;
	info->flags = VFIO_DEVICE_FLAGS_PCI;
	return 0;
}

int vfd_device_reset(struct vfd_device *device, struct vfd_error *err)
{
	(void)device, (void)err;
	return 0;
}

/* ---- the other parts ---- */

int fail(struct vfd_error *err, const char *format, ...)
{
	*err = (struct vfd_error){ .code = -1 };
	snprintf(err->message, sizeof err->message, "%s", format);
	return -1;
}

int pci_describe(struct device *d, struct vfd_error *err)
{
	(void)d;
	return describe_error ? fail(err, "not described") : 0;
}

void windows_make(struct vm *v, struct device *d)
{
	(void)v, (void)d;
}

void windows_hide(struct vm *v, struct device *d)
{
	(void)v, (void)d;
}

void irq_off(struct vm *v, struct device *d)
{
	(void)v, (void)d;
}

/* ---- tests ---- */

static void begin(void)
{
	vm = (struct vm){ .vfio = -1 };
	pthread_mutex_init(&vm.lock, NULL);
	attached = opened = false;
	open_error = describe_error = detach_errors = 0;
}

static void plug_fails(const char *why)
{
	struct vfd_error err;

	ck_assert_int_lt(device_plug(&vm, "fake", &err), 0);
	ck_assert_str_eq(err.message, why);
	ck_assert_ptr_null(vm.device);
	ck_assert(!opened);
}

static void plug_works(void)
{
	struct vfd_error err;

	open_error = describe_error = 0;
	ck_assert_int_eq(device_plug(&vm, "fake", &err), 0);
	ck_assert_ptr_null(vm.left);
	ck_assert_int_eq(device_unplug(&vm, &err), 0);
	ck_assert(!attached);
}

/* 0: it cannot be opened; 1: it is not what this VMM can pass through. */
static void refuse(int which)
{
	begin();
	open_error = which == 0;
	describe_error = which == 1;
}

static const char *const whys[] = { "not opened", "not described" };

START_TEST(test_plug_fails)
{
	refuse(_i);
	plug_fails(whys[_i]);
	ck_assert(!attached);
	plug_works();
}
END_TEST

/* And the group cannot be detached at once: then later. */
START_TEST(test_plug_fails_busy)
{
	refuse(_i);
	detach_errors = 1;
	plug_fails(whys[_i]);
	plug_works();
}
END_TEST

START_TEST(test_unplug_collects_the_rest)
{
	struct vfd_error err;

	refuse(_i);
	detach_errors = 2;
	plug_fails(whys[_i]);
	ck_assert_int_lt(device_unplug(&vm, &err), 0);
	ck_assert(attached);
	ck_assert_int_eq(device_unplug(&vm, &err), 0);
	ck_assert(!attached);
	plug_works();
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("vmm_device");
	TCase *tcase = tcase_create("plug");

	tcase_add_loop_test(tcase, test_plug_fails, 0, 2);
	tcase_add_loop_test(tcase, test_plug_fails_busy, 0, 2);
	tcase_add_loop_test(tcase, test_unplug_collects_the_rest, 0, 2);
	suite_add_tcase(suite, tcase);
	return run_all(suite);
}
