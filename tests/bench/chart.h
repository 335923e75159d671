/* SPDX-License-Identifier: MIT */
#ifndef TESTS_BENCH_CHART_H
#define TESTS_BENCH_CHART_H

/* Curves in panels with logarithmic axes, as an SVG. */

#include <stddef.h>
#include <stdio.h>

enum { CHART_POINTS = 24, CHART_CURVES = 6 };

struct curve {
	const char *name;
	size_t count;
	double x[CHART_POINTS], y[CHART_POINTS]; /* x: powers of two; y: nanoseconds */
};

struct panel {
	const char *title, *x_title;
	size_t count;
	struct curve curves[CHART_CURVES];
};

void curve_add(struct curve *curve, double x, double y);

/* The exponent of the power of x that fits best: 0 constant, 1 linear. */
double curve_slope(const struct curve *curve);

void chart_write(FILE *file, const char *title, const struct panel *panels, size_t count);

#endif
