/* SPDX-License-Identifier: MIT */

/* Devices that migrate: every arc, failures at each, several together, and what they wrote. VFD_KERNEL=own has logs to lose, and mtty. */

#include "migration.h"

int main(void)
{
	test_vfdtest();
	test_mtty();
	return done();
}
