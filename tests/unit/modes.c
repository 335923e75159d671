/* SPDX-License-Identifier: MIT */
#include "fixture.h" /* before Check, which has a macro named fail */

#include <linux/vfio.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "uapi_iommufd.h"

enum { ROWS = 64, NAME_SIZE = 80 };

enum mode mode;
const char *const mode_names[MODES] = { "type1", "iommufd", "compat" };

static const struct model_config plain = {
	.group_count = 1,
	.groups = { { .number = 7, .kind = MODEL_EMULATED, .devices = { { .name = NAME(0) } } } },
};

const struct model_config *mode_config(const struct model_config *config)
{
	static struct model_config native;

	if (mode != MODE_IOMMUFD)
		return config;
	native = config ? *config : plain;
	native.iommufd = true;
	for (unsigned i = 0; i < native.group_count; i++) {
		native.groups[i].kind = MODEL_PHYSICAL;
		native.groups[i].dirty_bits = true;
	}
	return &native;
}

enum vfd_backend mode_backend(void)
{
	return mode == MODE_IOMMUFD ? VFD_BACKEND_IOMMUFD : VFD_BACKEND_AUTO;
}

unsigned long mode_request(unsigned long type1)
{
	if (mode != MODE_IOMMUFD)
		return type1;
	switch (type1) {
	case VFIO_IOMMU_MAP_DMA:
		return UAPI_IOAS_MAP;
	case VFIO_IOMMU_UNMAP_DMA:
		return UAPI_IOAS_UNMAP;
	default:
		ck_abort_msg("no such request on iommufd");
	}
}

/* ---- the rows ---- */

static struct row {
	const char *name, *why_not; /* on iommufd */
	int first, end;
	int failed[MODES];	      /* -1: it was not run */
	char names[MODES][NAME_SIZE]; /* of the cases: Check keeps the pointers */
} rows[ROWS];
static unsigned row_count;

static void on_type1(void)
{
	mode = MODE_TYPE1;
}

static void on_iommufd(void)
{
	mode = MODE_IOMMUFD;
}

static void on_compat(void)
{
	mode = MODE_COMPAT;
}

static void (*const setup[MODES])(void) = { on_type1, on_iommufd, on_compat };

static void add_one(Suite *suite, struct row *row, enum mode which, const TTest *test)
{
	char *name = row->names[which];

	snprintf(name, NAME_SIZE, "%s, %s", row->name, mode_names[which]);
	TCase *tcase = tcase_create(name);
	tcase_set_timeout(tcase, 1800); /* ctest has a limit of its own */
	tcase_add_checked_fixture(tcase, setup[which], NULL);
	/* one refusal is as good as many */
	tcase_add_loop_test(tcase, test, row->first, which == MODE_COMPAT ? row->first + 1 : row->end);
	suite_add_tcase(suite, tcase);
}

void add_modes_loop(Suite *suite, const char *name, const char *why_not_iommufd, const TTest *test, int first,
		    int end)
{
	if (row_count == ROWS)
		abort();
	struct row *row = &rows[row_count++];

	*row = (struct row){
		.name = name, .why_not = why_not_iommufd, .first = first, .end = end, .failed = { -1, -1, -1 }
	};
	for (int i = 0; i < MODES; i++)
		if (i != MODE_IOMMUFD || !why_not_iommufd)
			add_one(suite, row, (enum mode)i, test);
}

void add_modes_but(Suite *suite, const char *name, const char *why_not_iommufd, const TTest *test)
{
	add_modes_loop(suite, name, why_not_iommufd, test, 0, 1);
}

void add_modes(Suite *suite, const char *name, const TTest *test)
{
	add_modes_but(suite, name, NULL, test);
}

/* ---- the table ---- */

static int *cell_of(const char *tcase)
{
	for (unsigned i = 0; i < row_count; i++)
		for (int j = 0; j < MODES; j++) {
			char name[NAME_SIZE];
			snprintf(name, sizeof name, "%s, %s", rows[i].name, mode_names[j]);
			if (!strcmp(name, tcase))
				return &rows[i].failed[j];
		}
	return NULL;
}

static void fill(SRunner *runner)
{
	int count = srunner_ntests_run(runner);
	TestResult **results = srunner_results(runner);

	for (int i = 0; i < count; i++) {
		int *cell = cell_of(tr_tcname(results[i]));
		if (cell)
			*cell = *cell > 0 || tr_rtype(results[i]) != CK_PASS;
	}
	free(results);
}

static const char *word(const struct row *row, int which)
{
	if (row->failed[which] < 0)
		return row->why_not && which == MODE_IOMMUFD ? "skipped" : "NOT RUN";
	return row->failed[which] ? "FAILED" : which == MODE_COMPAT ? "refused" : "passed";
}

/* Cases can be chosen (CK_INCLUDE_TAGS). */
static bool was_run(const struct row *row)
{
	return row->failed[MODE_TYPE1] >= 0;
}

static void print_table(FILE *to)
{
	fprintf(to, "# mode x test %26s %-8s %-8s %-8s\n", "", mode_names[0], mode_names[1], mode_names[2]);
	for (unsigned i = 0; i < row_count; i++)
		if (was_run(&rows[i]))
			fprintf(to, "# %-38s %-8s %-8s %-8s%s%s\n", rows[i].name, word(&rows[i], 0),
				word(&rows[i], 1), word(&rows[i], 2), rows[i].why_not ? " " : "",
				rows[i].why_not ? rows[i].why_not : "");
}

/* Check has no way to skip a test, so it is said after its last line, with a number that goes on from there. */
static void print_skips(FILE *to, int number)
{
	for (unsigned i = 0; i < row_count; i++)
		if (rows[i].why_not && was_run(&rows[i]))
			fprintf(to, "ok %d - modes: %s, %s # SKIP %s\n", ++number, rows[i].name,
				mode_names[MODE_IOMMUFD], rows[i].why_not);
}

void modes_print(SRunner *runner)
{
	const char *path = getenv("CK_TAP_LOG_FILE_NAME");

	if (!row_count)
		return;
	fill(runner);
	print_table(stdout);
	FILE *tap = path ? fopen(path, "ae") : NULL;
	if (!tap)
		return;
	print_skips(tap, srunner_ntests_run(runner));
	print_table(tap);
	fclose(tap);
}
