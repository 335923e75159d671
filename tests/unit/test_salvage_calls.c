/* SPDX-License-Identifier: MIT */

/* A process is killed at each of its calls to the kernel, before it and after it. */

#include "salvage_lives.h"

struct moment_to_die {
	uint64_t call;
	bool after;
};

static void die_there(struct model *model, const struct model_trace *call, uint64_t number, bool after,
		      void *argument)
{
	const struct moment_to_die *then = argument;

	(void)call;
	if (number != then->call || after != then->after)
		return;
	model_on_call(model, NULL, NULL);
	say_words(model);
	raise(SIGKILL);
}

static struct moment_to_die when;

/* The model is made inside: fixture_begin() calls this when there is one. */
static void watch(struct model *model)
{
	model_trace_start(model);
	model_on_call(model, die_there, &when);
}

/* False: the child lived to the end. */
static bool kill_there(const char *name, life_of *life)
{
	int status;

	memset(words, 0, sizeof *words);
	memset(arena, 0, ARENA);
	pid_t child = fork();
	ck_assert_int_ge(child, 0);
	if (!child) {
		alarm(20);
		life();
		_exit(0);
	}
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	if (WIFEXITED(status) && !WEXITSTATUS(status))
		return false;
	ck_assert_msg(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL, "%s, call %d: status %#x", name,
		      (int)when.call, status);
	check_heir(name, when.after ? "after call" : "before call", (unsigned)when.call);
	return true;
}

static void kill_everywhere(const char *name, life_of *life)
{
	unsigned kills = 0;

	words = shared(sizeof *words);
	arena = shared(ARENA);
	fixture_arena(arena, ARENA);
	fixture_on_model(watch);
	for (when.call = 1;; when.call++) {
		when.after = false;
		if (!kill_there(name, life))
			break;
		when.after = true;
		ck_assert(kill_there(name, life));
		kills += 2;
	}
	ck_assert_uint_gt(kills, 50);
	printf("# %s: killed %u times\n", name, kills);
}

START_TEST(killed_at_each_call)
{
	exact = true;
	kill_everywhere("harvest and unmap", harvest_and_unmap);
}
END_TEST

START_TEST(killed_beside_a_physical_group)
{
	exact = true;
	kill_everywhere("a physical group", a_physical_group_passes);
}
END_TEST

START_TEST(killed_when_the_record_is_lost)
{
	kill_everywhere("a lost record", the_record_is_lost);
}
END_TEST

/* It logs its DMA. What is read for a mapping that goes is its neighbours', too: one bit stands for 16 pages. */
static const struct model_log in_large_pages = { .page_min = 16 * PAGE };
static const struct model_config logging = {
	.group_count = 1,
	.groups = { { .number = 20,
		      .kind = MODEL_PHYSICAL,
		      .devices = { { .name = PCI_NAME, .pci = true, .log = &in_large_pages } } } },
};

static void its_own_log(void)
{
	of_device = PCI_NAME;
	fixture_begin(f, &logging);
	OK(vfd_group_attach(f->container, 20, &f->group, &f->err));
	OK(vfd_device_open(f->group, PCI_NAME, &f->device, &f->err));
	OK(map_pages(f, 0, 0, 64, RW));
	OK(map_pages(f, 64, 64, 64, RW));
	OK(vfd_track_start(f->container, NULL, NULL, &f->err));
	OK(vfd_device_resume(f->device, &f->err));
	ck_assert_int_eq(model_dma_write(f->model, PCI_NAME, 3 * PAGE, PAGE, 1), 0);
	OK(harvest(f, 0));
	ck_assert_int_eq(model_dma_write(f->model, PCI_NAME, 9 * PAGE, PAGE, 1), 0);
	ck_assert_int_eq(model_dma_write(f->model, PCI_NAME, 70 * PAGE, PAGE, 1), 0);
	OK(unmap_pages(f, 64, 64));
	OK(vfd_group_detach(&f->group, VFD_COLLECT, &f->err));
}

START_TEST(killed_while_a_log_is_read)
{
	kill_everywhere("a device's log", its_own_log);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("salvage_calls");

	add_case(suite, "killed at each call", killed_at_each_call);
	add_case(suite, "killed beside a physical group", killed_beside_a_physical_group);
	add_case(suite, "killed when the record is lost", killed_when_the_record_is_lost);
	add_case(suite, "killed while a device's log is read", killed_while_a_log_is_read);
	return run_suite(suite);
}
