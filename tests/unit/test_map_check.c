/* SPDX-License-Identifier: MIT */

/* Limits told before they hurt: vfd_map_check() says what vfd_map() will say. */

#include "fixture.h"

#include <errno.h>
#include <string.h>

#include "../suite.h"

static struct fixture fixture, *f = &fixture;

static int check(uint64_t iova, uint64_t memory, uint64_t count, struct vfd_map_cost *cost)
{
	struct vfd_mapping mapping = mapping_of(f, iova, memory, count);

	*cost = (struct vfd_map_cost){ .struct_size = sizeof *cost };
	return vfd_map_check(f->container, &mapping, cost, &f->err);
}

/* What the check says is what happens, and the check itself leaves nothing behind. */
static int check_then_map(uint64_t iova, uint64_t memory, uint64_t count)
{
	struct vfd_map_cost cost;
	uint64_t before = info_of(f).mappings;
	int foretold = check(iova, memory, count, &cost);
	char message[VFD_ERROR_TEXT];

	memcpy(message, f->err.message, sizeof message);
	ck_assert_uint_eq(info_of(f).mappings, before);
	int rc = map_pages(f, iova, memory, count, RW);
	ck_assert_msg(rc == foretold, "foretold %s, got %s", vfd_strcode(foretold), vfd_strcode(rc));
	if (rc)
		ck_assert_str_eq(f->err.message, message);
	return rc;
}

static void attach(struct model_config config, int number)
{
	fixture_begin(f, &config);
	OK(vfd_group_attach(f->container, number, &f->group, &f->err));
}

START_TEST(locked_memory_behind_an_iommu)
{
	struct model_config config = one_physical;
	struct vfd_map_cost cost;

	config.locked_limit = 10 * PAGE;
	attach(config, 20);
	OK(check(0, 0, 4, &cost));
	ck_assert_uint_eq(cost.locked_needed, 4 * PAGE);
	ck_assert_uint_eq(cost.locked_available, 10 * PAGE);
	ck_assert_uint_eq(cost.locked_limit, 10 * PAGE);
	ck_assert_int_eq(check_then_map(0, 0, 4), 0);
	ck_assert_int_eq(check_then_map(100, 100, 6), 0);
	ck_assert_int_eq(check_then_map(200, 200, 1), -ENOMEM);
	ck_assert(strstr(f->err.message, "only 0 KiB are left: raise it by 4 KiB"));
	OK(unmap_pages(f, 0, 4));
	ck_assert_int_eq(check_then_map(200, 200, 5), -ENOMEM);
	ck_assert(strstr(f->err.message, "needs as much locked memory"));
	ck_assert_int_eq(check_then_map(200, 200, 4), 0);
	fixture_end(f);
}
END_TEST

START_TEST(emulated_groups_charge_nothing)
{
	struct model_config config = mixed;
	struct vfd_map_cost cost;

	config.locked_limit = 4 * PAGE;
	attach(config, 7);
	OK(check(0, 0, 100, &cost));
	ck_assert_uint_eq(cost.locked_needed, 0);
	ck_assert_int_eq(check_then_map(0, 0, 100), 0);
	fixture_end(f);
}
END_TEST

START_TEST(mapping_entries)
{
	struct model_config config = one_physical;
	struct vfd_map_cost cost;

	config.dma_entry_limit = 2;
	attach(config, 20);
	OK(check(0, 0, 1, &cost));
	ck_assert_uint_eq(cost.entries_available, 2);
	ck_assert_int_eq(check_then_map(0, 0, 1), 0);
	ck_assert_int_eq(check_then_map(1, 1, 1), 0);
	ck_assert_int_eq(check_then_map(2, 2, 1), -ENOSPC);
	ck_assert(strstr(f->err.message, "dma_entry_limit"));
	ck_assert_int_eq(check(2, 2, 1, &cost), -ENOSPC);
	ck_assert_uint_eq(cost.entries_available, 0);
	fixture_end(f);
}
END_TEST

START_TEST(every_refusal)
{
	attach(one_physical, 20);
	ck_assert_int_eq(check_then_map(0, 0, 8), 0);
	ck_assert_int_eq(check_then_map(4, 100, 8), VFD_EOVERLAP);
	ck_assert_int_eq(check_then_map(0xfee00, 100, 1), VFD_ERESERVED);
	ck_assert_int_eq(check_then_map(100, PAGES - 1, 2), VFD_ENOREGION);
	ck_assert_int_eq(check_then_map(100, 0, 0), VFD_EINVALID);
	struct vfd_mapping mapping = mapping_of(f, 100, 100, 1);
	mapping.flags |= VFD_MAP_LOG_ADDRESS;
	REFUSED(VFD_EALIAS, vfd_map_check(f->container, &mapping, NULL, &f->err));
	mapping.log_address = LOG_ADDRESS + 100 * PAGE;
	OK(vfd_map_check(f->container, &mapping, NULL, &f->err));
	OK(vfd_unmap_all(f->container, &f->err));
	OK(vfd_region_remove(f->log, LOG_ADDRESS, 0, &f->err)); /* no check left a hold on it */
	fixture_end(f);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("map_check");
	TCase *tcase = tcase_create("map_check");

	tcase_add_test(tcase, locked_memory_behind_an_iommu);
	tcase_add_test(tcase, emulated_groups_charge_nothing);
	tcase_add_test(tcase, mapping_entries);
	tcase_add_test(tcase, every_refusal);
	suite_add_tcase(suite, tcase);
	return run_all(suite);
}
