/* SPDX-License-Identifier: MIT */
#ifndef LIB_PROBE_H
#define LIB_PROBE_H

/* Where a tracer may listen: a nop, and a note in the file that says where it is and in which registers the arguments are. They are
 * listed, with arguments, in docs/tracing.md. Built without <sys/sdt.h>, or with VFD_NO_PROBES, there are none.
 *
 *	probe(commit, id, first, last);
 *
 * Arguments are numbers and pointers that are there anyway: they are computed also when nobody listens. */

#if !defined(VFD_NO_PROBES) && __has_include(<sys/sdt.h>)
#define SDT_USE_VARIADIC
#include <sys/sdt.h>
#define probe(name, ...) STAP_PROBEV(vfiodirty, name, __VA_ARGS__)
#else
#define probe(name, ...) ((void)0)
#endif

#endif
