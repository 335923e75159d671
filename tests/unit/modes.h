/* SPDX-License-Identifier: MIT */
#ifndef TESTS_UNIT_MODES_H
#define TESTS_UNIT_MODES_H

/*
 * The same test on each of the kernel's interfaces. A test that was added by add_modes() is run once per mode, and a table of what became of
 * it is printed at the end. Groups and devices are the same in all modes, but on iommufd they are behind an IOMMU that sets dirty bits, for what
 * emulated devices write is recorded nowhere there. What a device does in the tests it does there by DMA, and what differs by contract is said here:
 *
 * - device_pins(): the device writes those pages, once. A table's bit is cleared when it is read; pins are type1's.
 * - check_unmapped(): nothing unmaps and reads in one step, so what was unmapped under a running device is assumed as a whole.
 * - compat: the container of type1 is iommufd in disguise. It is refused before there is anything to lose, which is the whole test.
 */

#include <stdbool.h>

#include <vfiodirty.h>

#include "model/model.h"

#include <check.h>

struct fixture;

enum mode {
	MODE_TYPE1,
	MODE_IOMMUFD,
	MODE_COMPAT,
	MODES,
};

/* That of the test that is running. */
extern enum mode mode;
extern const char *const mode_names[MODES];

/* The configuration in this mode. NULL: one group with one device, as ever. */
const struct model_config *mode_config(const struct model_config *config);
enum vfd_backend mode_backend(void);
/* What does here what this ioctl of type1 does. */
unsigned long mode_request(unsigned long type1);

/* In all modes, or not on iommufd for a reason. */
void add_modes(Suite *suite, const char *name, const TTest *test);
void add_modes_but(Suite *suite, const char *name, const char *why_not_iommufd, const TTest *test);
/* With _i from first to end - 1. */
void add_modes_loop(Suite *suite, const char *name, const char *why_not_iommufd, const TTest *test, int first,
		    int end);

/* The table, with a footnote for each reason, to standard output and into the TAP log. */
void modes_print(SRunner *runner);

#endif
