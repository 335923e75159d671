/* SPDX-License-Identifier: MIT */

/* What an error says: code, errno, range, one sentence; never too long, never without an end. */

#include "error.h"

#include <check.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "../suite.h"

/* check.h has a macro of that name */
#undef fail

enum { FIRST = VFD_EPARTIAL, LAST = VFD_EINVALID };

START_TEST(own_codes)
{
	for (int a = FIRST; a <= LAST; a++) {
		ck_assert_int_lt(a, -4095); /* not an errno */
		ck_assert_int_eq(strncmp(vfd_strcode(a), "VFD_E", 5), 0);
		ck_assert_str_ne(vfd_strerror(a), "unknown error");
		for (int b = FIRST; b < a; b++) {
			ck_assert_str_ne(vfd_strcode(a), vfd_strcode(b));
			ck_assert_str_ne(vfd_strerror(a), vfd_strerror(b));
		}
	}
	ck_assert_str_eq(vfd_strcode(0), "VFD_OK");
}
END_TEST

START_TEST(kernel_codes)
{
	/* what the contract says that VFIO may answer */
	const int known[] = { EPERM,   ENOENT, EINTR,  EIO,    E2BIG,  EBADF,	  ENOMEM,     EACCES,
			      EFAULT,  EBUSY,  EEXIST, ENODEV, EINVAL, EMFILE,	  ENOTTY,     ENOSPC,
			      EDEADLK, EBADFD, EAGAIN, ENOSYS, ENXIO,  EOVERFLOW, EOPNOTSUPP, EADDRINUSE };

	for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
#ifdef __GLIBC__ /* musl has no names */
		ck_assert_str_eq(vfd_strcode(-known[i]), strerrorname_np(known[i]));
#endif
		ck_assert_str_ne(vfd_strerror(-known[i]), "unknown error");
	}
}
END_TEST

START_TEST(any_code)
{
	const int odd[] = { 1, INT_MAX, INT_MIN, -4095, -4096, FIRST - 1, -200 };

	for (size_t i = 0; i < sizeof odd / sizeof *odd; i++) {
		ck_assert_str_eq(vfd_strcode(odd[i]), "?");
		ck_assert_str_eq(vfd_strerror(odd[i]), "unknown error");
	}
	for (int code = -5000; code <= 5000; code++) {
		ck_assert_ptr_nonnull(vfd_strcode(code));
		ck_assert_ptr_nonnull(vfd_strerror(code));
	}
}
END_TEST

START_TEST(filled_in)
{
	struct vfd_error err;

	errno = EXDEV;
	memset(&err, 0xff, sizeof err);
	ck_assert_int_eq(fail(&err, VFD_ESTATE, "op", "number %d", 7), VFD_ESTATE);
	ck_assert_int_eq(err.code, VFD_ESTATE);
	ck_assert_int_eq(err.sys_errno, 0);
	ck_assert_str_eq(err.operation, "op");
	ck_assert_uint_gt(err.first, err.last); /* no range */
	ck_assert_str_eq(err.message, "number 7");

	ck_assert_int_eq(fail_range(&err, VFD_ECUT, "op", 0, UINT64_MAX, "all"), VFD_ECUT);
	ck_assert_uint_eq(err.first, 0);
	ck_assert_uint_eq(err.last, UINT64_MAX);

	ck_assert_int_eq(fail_sys(&err, EBUSY, "op", "group %d", 3), -EBUSY);
	ck_assert_int_eq(err.code, -EBUSY);
	ck_assert_int_eq(err.sys_errno, EBUSY);
	ck_assert_uint_gt(err.first, err.last);
	ck_assert_str_eq(err.message, "group 3 (EBUSY: device or resource busy)");

	ck_assert_int_eq(fail_sys_range(&err, ENOMEM, "op", 1, 2, "map"), -ENOMEM);
	ck_assert_uint_eq(err.first, 1);
	ck_assert_uint_eq(err.last, 2);
	ck_assert_int_eq(errno, EXDEV); /* the program's own is not touched */
}
END_TEST

START_TEST(not_wanted)
{
	ck_assert_int_eq(fail(NULL, VFD_ESTATE, "op", "%s", "x"), VFD_ESTATE);
	ck_assert_int_eq(fail_range(NULL, VFD_ECUT, "op", 1, 2, "%s", "x"), VFD_ECUT);
	ck_assert_int_eq(fail_sys(NULL, EBUSY, "op", "%s", "x"), -EBUSY);
	ck_assert_int_eq(fail_sys_range(NULL, EBUSY, "op", 1, 2, "%s", "x"), -EBUSY);
}
END_TEST

/* Longer than the room: cut, ended, and nothing behind it is touched. */
START_TEST(too_long)
{
	struct {
		struct vfd_error err;
		char guard[64];
	} room;
	char text[2 * VFD_ERROR_TEXT];

	memset(text, 'x', sizeof text);
	for (size_t length = VFD_ERROR_TEXT - 80; length < sizeof text - 1; length++) {
		memset(&room, 0x5a, sizeof room);
		fail_sys(&room.err, EBUSY, "op", "%.*s", (int)length, text);
		size_t shown = strnlen(room.err.message, VFD_ERROR_TEXT);
		ck_assert_uint_lt(shown, VFD_ERROR_TEXT);
		ck_assert_uint_ge(shown, VFD_ERROR_TEXT - 80);
		ck_assert_int_eq(room.err.message[0], 'x');
		for (size_t i = 0; i < sizeof room.guard; i++)
			ck_assert_int_eq(room.guard[i], 0x5a);
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("error");
	TCase *tcase = tcase_create("error");

	tcase_add_test(tcase, own_codes);
	tcase_add_test(tcase, kernel_codes);
	tcase_add_test(tcase, any_code);
	tcase_add_test(tcase, filled_in);
	tcase_add_test(tcase, not_wanted);
	tcase_add_test(tcase, too_long);
	suite_add_tcase(suite, tcase);
	return run_all(suite);
}
