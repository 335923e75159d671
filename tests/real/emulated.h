/* SPDX-License-Identifier: MIT */
#ifndef TESTS_REAL_EMULATED_H
#define TESTS_REAL_EMULATED_H

/* The parts of real_emulated: the library over vfdtest devices, whose dirty pages the kernel knows one by one. */

#include "rig.h"

void test_detach(void);	  /* refused, accepted, collect, discard, again and again */
void test_leave(void);	  /* two groups, closing the container */
void test_plug(void);	  /* the device is taken away */
void test_busy(void);	  /* someone else holds the device; fork */
void test_unmap(void);	  /* under a writer, with pins */
void test_adopt(void);	  /* a container made by raw calls */
void test_device(void);	  /* registers and interrupts */
void test_channels(void); /* four channels, any order */
void test_race(void);	  /* calls against the last detach */

#endif
