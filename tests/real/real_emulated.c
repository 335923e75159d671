/* SPDX-License-Identifier: MIT */
#include "emulated.h"

int main(void)
{
	test_detach();
	test_leave();
	test_plug();
	test_busy();
	test_unmap();
	test_adopt();
	test_device();
	test_channels();
	test_race();
	return done();
}
