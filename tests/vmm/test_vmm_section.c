/* SPDX-License-Identifier: MIT */

/* What a guest's stream has besides memory, in bites. */

#include "migration.h"

#include <string.h>

#include <check.h>

#include "../suite.h"

#undef fail /* Check has one, too */

static struct vm vm;
static struct device device;
static struct move source, destination;
static char loaded[8];
static unsigned loads;

/* ---- the other parts: each state is full of a letter of its own ---- */

int fail(struct vfd_error *err, const char *format, ...)
{
	snprintf(err->message, sizeof err->message, "%s", format);
	return -1;
}

int mig_fail(struct mig_error *err, const char *format, ...)
{
	snprintf(err->message, sizeof err->message, "%s", format);
	return MIG_FAILED;
}

uint64_t ram_hash(const struct vm *v)
{
	(void)v;
	return UINT64_C(0x4848484848484848);
}

int state_save_vm(struct vm *v, struct vm_state *s, struct vfd_error *err)
{
	(void)v, (void)err;
	memset(s, 'V', sizeof *s);
	return 0;
}

int state_save_cpu(struct vcpu *v, struct cpu_state *s, struct vfd_error *err)
{
	(void)v, (void)err;
	memset(s, 'C', sizeof *s);
	return 0;
}

void pci_save(const struct device *d, struct pci_state *s)
{
	ck_assert_ptr_eq(d, &device);
	memset(s, 'P', sizeof *s);
}

static int load(const void *state, size_t size)
{
	const char *bytes = state;

	for (size_t i = 1; i < size; i++)
		ck_assert_int_eq(bytes[i], bytes[0]);
	loaded[loads++] = bytes[0];
	return 0;
}

int state_load_vm(struct vm *v, const struct vm_state *s, struct vfd_error *err)
{
	(void)v, (void)err;
	return load(s, sizeof *s);
}

int state_load_cpu(struct vcpu *v, const struct cpu_state *s, struct vfd_error *err)
{
	(void)v, (void)err;
	return load(s, sizeof *s);
}

int pci_load(struct vm *v, struct device *d, const struct pci_state *s, struct vfd_error *err)
{
	(void)v, (void)err;
	ck_assert_ptr_eq(d, &device);
	return load(s, sizeof *s);
}

/* ---- tests ---- */

static char a_device; /* its handle points here */

static void begin(bool pci, bool migrates)
{
	device.pci = pci;
	vm = (struct vm){ .vcpu_count = 2, .device = &device };
	source = (struct move){ .vm = &vm, .verify = true };
	destination = (struct move){ .vm = &vm };
	source.device = destination.device = migrates ? (void *)&a_device : NULL;
	sections_make(&source);
	sections_make(&destination);
}

/* Moves section i, in bites of that size, without the last `missing` bytes. */
static int move_section(size_t i, size_t bite, size_t missing)
{
	static char bytes[sizeof(struct section)];
	struct mig_section *from = &source.streams[i], *to = &destination.streams[i];
	struct mig_error err;
	size_t size = 0, done;

	do {
		size_t room = sizeof bytes - size < bite ? sizeof bytes - size : bite;
		ck_assert_int_eq(from->save(from->opaque, bytes + size, room, &done, &err), 0);
		size += done;
	} while (done);
	for (size_t at = 0; at < size - missing; at += done) {
		done = size - missing - at < bite ? size - missing - at : bite;
		ck_assert_int_eq(to->load(to->opaque, bytes + at, done, &err), 0);
	}
	return to->load(to->opaque, NULL, 0, &err);
}

static const size_t bites[] = { 1, 7, 4096, 1 << 20 };

START_TEST(test_all)
{
	begin(true, true);
	ck_assert_uint_eq(source.section_count, 5);
	for (size_t i = 0; i < source.section_count; i++)
		ck_assert_int_eq(move_section(i, bites[_i], 0), 0);
	ck_assert_str_eq(loaded, "VCCP");
	ck_assert(destination.verified);
}
END_TEST

/* A section that lacks a byte is not loaded. */
START_TEST(test_too_short)
{
	begin(true, true);
	ck_assert_int_eq(move_section((size_t)_i, 4096, 1), MIG_FAILED);
	ck_assert_uint_eq(loads, 0);
}
END_TEST

/* The view goes along with a PCI device, if that goes along: the engine refuses it if the two sides have other sections. */
START_TEST(test_without_view)
{
	begin(_i & 1, _i & 2);
	for (size_t i = 0; i < source.section_count; i++)
		ck_assert_str_ne(source.streams[i].name, "pci0");
}
END_TEST

START_TEST(test_view)
{
	begin(true, true);
	ck_assert_str_eq(source.streams[4].name, "pci0");
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("vmm_section");
	TCase *tcase = tcase_create("sections");

	tcase_add_loop_test(tcase, test_all, 0, (int)(sizeof bites / sizeof *bites));
	tcase_add_loop_test(tcase, test_too_short, 0, 5);
	tcase_add_loop_test(tcase, test_without_view, 0, 3);
	tcase_add_test(tcase, test_view);
	suite_add_tcase(suite, tcase);
	return run_all(suite);
}
