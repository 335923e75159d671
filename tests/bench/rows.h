/* SPDX-License-Identifier: MIT */
#ifndef TESTS_BENCH_ROWS_H
#define TESTS_BENCH_ROWS_H

/* The groups of the table, one file each. */

void rows_machine(void);  /* what one core can do */
void rows_lookup(void);	  /* find a mapping */
void rows_insert(void);	  /* add and remove one */
void rows_merge(void);	  /* a bitmap of 1 TiB into the log */
void rows_marking(void);  /* the same against QEMU's word loop, while another thread marks */
void rows_runs(void);	  /* runs of dirty pages */
void rows_take(void);	  /* take, iterate, commit */
void rows_parallel(void); /* two threads, one log */
void rows_pins(void);	  /* pin and unpin, translate */
void rows_memory(void);	  /* what a log occupies */
void rows_cover(void);	  /* few ranges for many */

#endif
