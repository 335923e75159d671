/* SPDX-License-Identifier: MIT */
#include "chart.h"

#include <math.h>

enum {
	WIDTH = 460, /* of the plotting area */
	HEIGHT = 330,
	LEFT = 74,
	TOP = 74,
	RIGHT = 26,
	BOTTOM = 62,
	PANEL = LEFT + WIDTH + RIGHT,
};

static const char *const colours[CHART_CURVES] = { "#0072b2", "#d55e00", "#009e73",
						   "#cc79a7", "#e69f00", "#56b4e9" };

/* Both axes by their exponents: of 2 and of 10. */
struct frame {
	double left; /* of the plotting area, on the picture */
	double x_low, x_high, y_low, y_high;
};

void curve_add(struct curve *curve, double x, double y)
{
	curve->x[curve->count] = x;
	curve->y[curve->count++] = y;
}

double curve_slope(const struct curve *curve)
{
	double n = (double)curve->count, sx = 0, sy = 0, sxx = 0, sxy = 0;

	for (size_t i = 0; i < curve->count; i++) {
		double x = log2(curve->x[i]), y = log2(curve->y[i]);
		sx += x;
		sy += y;
		sxx += x * x;
		sxy += x * y;
	}
	return (n * sxy - sx * sy) / (n * sxx - sx * sx);
}

static double x_of(const struct frame *f, double x)
{
	return f->left + WIDTH * (log2(x) - f->x_low) / (f->x_high - f->x_low);
}

static double y_of(const struct frame *f, double y)
{
	return TOP + HEIGHT * (1 - (log10(y) - f->y_low) / (f->y_high - f->y_low));
}

static struct frame frame_of(const struct panel *panel, double left)
{
	struct frame f = { .left = left, .x_low = 99, .x_high = -99, .y_low = 99, .y_high = -99 };

	for (size_t i = 0; i < panel->count; i++)
		for (size_t j = 0; j < panel->curves[i].count; j++) {
			f.x_low = fmin(f.x_low, log2(panel->curves[i].x[j]));
			f.x_high = fmax(f.x_high, log2(panel->curves[i].x[j]));
			f.y_low = fmin(f.y_low, floor(log10(panel->curves[i].y[j])));
			f.y_high = fmax(f.y_high, ceil(log10(panel->curves[i].y[j])));
		}
	return f;
}

static void line(FILE *file, double x1, double y1, double x2, double y2)
{
	fprintf(file, "<line x1='%.1f' y1='%.1f' x2='%.1f' y2='%.1f'/>\n", x1, y1, x2, y2);
}

static void text(FILE *file, double x, double y, const char *anchor, const char *what)
{
	fprintf(file, "<text x='%.1f' y='%.1f' text-anchor='%s'>%s</text>\n", x, y, anchor, what);
}

static void duration(char *out, size_t size, double exponent)
{
	static const char *const units[] = { "ns", "µs", "ms", "s" };
	int e = (int)exponent, unit = e < 0 ? 0 : e > 11 ? 3 : e / 3;

	snprintf(out, size, "%g %s", pow(10, e - unit * 3), units[unit]);
}

static void axes(FILE *file, const struct frame *f, const struct panel *panel)
{
	char what[64];

	fprintf(file, "<g stroke='#dddddd'>\n");
	for (double e = f->y_low; e <= f->y_high; e++)
		line(file, f->left, y_of(f, pow(10, e)), f->left + WIDTH, y_of(f, pow(10, e)));
	for (double e = f->x_low; e <= f->x_high; e += 2)
		line(file, x_of(f, exp2(e)), TOP, x_of(f, exp2(e)), TOP + HEIGHT);
	fprintf(file, "</g>\n<g fill='#444444' font-size='12'>\n");
	for (double e = f->y_low; e <= f->y_high; e++) {
		duration(what, sizeof what, e);
		text(file, f->left - 8, y_of(f, pow(10, e)) + 4, "end", what);
	}
	for (double e = f->x_low; e <= f->x_high; e += 2) {
		snprintf(what, sizeof what, "2<tspan dy='-5' font-size='9'>%g</tspan>", e);
		text(file, x_of(f, exp2(e)), TOP + HEIGHT + 18, "middle", what);
	}
	text(file, f->left + WIDTH / 2.0, TOP + HEIGHT + 42, "middle", panel->x_title);
	fprintf(file, "</g>\n<g font-size='14' font-weight='bold'>\n");
	text(file, f->left, TOP - 14, "start", panel->title);
	fprintf(file, "</g>\n<rect x='%.1f' y='%d' width='%d' height='%d' fill='none' stroke='#888888'/>\n",
		f->left, TOP, WIDTH, HEIGHT);
}

/* A shape for each curve: not everybody sees the colours. */
static void marker(FILE *file, size_t shape, double x, double y)
{
	if (shape % 3 == 0)
		fprintf(file, "<circle cx='%.1f' cy='%.1f' r='4'/>\n", x, y);
	else if (shape % 3 == 1)
		fprintf(file, "<rect x='%.1f' y='%.1f' width='7.4' height='7.4'/>\n", x - 3.7, y - 3.7);
	else
		fprintf(file, "<path d='M%.1f %.1f l5 9 h-10 z'/>\n", x, y - 5.5);
}

static void draw(FILE *file, const struct frame *f, const struct curve *curve, size_t number)
{
	fprintf(file, "<polyline fill='none' stroke='%s' stroke-width='2' points='", colours[number]);
	for (size_t i = 0; i < curve->count; i++)
		fprintf(file, "%.1f,%.1f ", x_of(f, curve->x[i]), y_of(f, curve->y[i]));
	fprintf(file, "'/>\n<g fill='%s'>\n", colours[number]);
	for (size_t i = 0; i < curve->count; i++)
		marker(file, number, x_of(f, curve->x[i]), y_of(f, curve->y[i]));
	fprintf(file, "</g>\n");
}

static void legend(FILE *file, const struct frame *f, const struct curve *curve, size_t number)
{
	double x = f->left + 18, y = TOP + 20 + 19 * (double)number;
	char what[128];

	snprintf(what, sizeof what, "%s: slope %.2f", curve->name, curve_slope(curve));
	fprintf(file, "<g fill='%s'>\n", colours[number]);
	marker(file, number, x, y);
	fprintf(file, "</g>\n<g font-size='12.5'>\n");
	text(file, x + 12, y + 4, "start", what);
	fprintf(file, "</g>\n");
}

/* White behind the words, so that no curve runs through them. */
static void legend_ground(FILE *file, const struct frame *f, size_t curves)
{
	fprintf(file, "<rect x='%.1f' y='%d' width='300' height='%zu' fill='white' fill-opacity='0.85'/>\n",
		f->left + 6, TOP + 6, 19 * curves + 8);
}

static void draw_panel(FILE *file, const struct panel *panel, double left)
{
	struct frame f = frame_of(panel, left);

	f.y_high += 1; /* room for the legend */
	axes(file, &f, panel);
	for (size_t i = 0; i < panel->count; i++)
		draw(file, &f, &panel->curves[i], i);
	legend_ground(file, &f, panel->count);
	for (size_t i = 0; i < panel->count; i++)
		legend(file, &f, &panel->curves[i], i);
}

void chart_write(FILE *file, const char *title, const struct panel *panels, size_t count)
{
	size_t width = PANEL * count, height = TOP + HEIGHT + BOTTOM;

	fprintf(file,
		"<?xml version='1.0' encoding='UTF-8'?>\n"
		"<!-- SPDX-License-Identifier: MIT -->\n"
		"<svg xmlns='http://www.w3.org/2000/svg' width='%zu' height='%zu' viewBox='0 0 %zu %zu' "
		"font-family='sans-serif' fill='#222222'>\n"
		"<rect width='%zu' height='%zu' fill='white'/>\n",
		width, height, width, height, width, height);
	fprintf(file, "<g font-size='17' font-weight='bold'>\n");
	text(file, (double)width / 2, 28, "middle", title);
	fprintf(file, "</g>\n");
	for (size_t i = 0; i < count; i++)
		draw_panel(file, &panels[i], (double)(PANEL * i) + LEFT);
	fprintf(file, "</svg>\n");
}
