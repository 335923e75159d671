/* SPDX-License-Identifier: MIT */

/* Where a call came from: return addresses by the unwinder, names by the dynamic linker, and lines by addr2line, if it is there. */

#include "guard.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <link.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <unwind.h>

extern char **environ;

/* ---- addresses -------------------------------------------------------------------------------------------------------- */

struct taking {
	uintptr_t *pcs;
	unsigned count, room;
	const void *own; /* where the shim lies */
};

static _Unwind_Reason_Code take(struct _Unwind_Context *context, void *arg)
{
	struct taking *t = arg;
	uintptr_t pc = _Unwind_GetIP(context);
	Dl_info info;

	if (!pc || t->count == t->room)
		return _URC_END_OF_STACK;
	if (!t->count && dladdr((void *)(pc - 1), &info) && info.dli_fbase == t->own)
		return _URC_NO_REASON; /* still among the hooks */
	t->pcs[t->count++] = pc;
	return _URC_NO_REASON;
}

unsigned stack_take(uintptr_t *pcs, unsigned room)
{
	struct taking t = { .pcs = pcs, .room = room };
	Dl_info info;

	if (dladdr((void *)stack_take, &info))
		t.own = info.dli_fbase;
	_Unwind_Backtrace(take, &t);
	return t.count;
}

/* ---- modules and exported names ------------------------------------------------------------------------------------------ */

static int find_module(struct dl_phdr_info *info, size_t size, void *arg)
{
	struct frame *f = arg;

	(void)size;
	for (int i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *p = &info->dlpi_phdr[i];
		uintptr_t start = info->dlpi_addr + p->p_vaddr;
		if (p->p_type != PT_LOAD || f->pc < start || f->pc >= start + p->p_memsz)
			continue;
		f->offset = f->pc - info->dlpi_addr;
		snprintf(f->module, sizeof f->module, "%s", info->dlpi_name);
		return 1;
	}
	return 0;
}

static void name(struct frame *f, uintptr_t pc)
{
	Dl_info info;

	*f = (struct frame){ .pc = pc - 1 }; /* in the call, not behind it */
	dl_iterate_phdr(find_module, f);
	if (!f->module[0] && f->offset) {
		ssize_t length = readlink("/proc/self/exe", f->module, sizeof f->module - 1);
		f->module[length < 0 ? 0 : length] = 0;
	}
	if (dladdr((void *)f->pc, &info) && info.dli_sname)
		snprintf(f->function, sizeof f->function, "%s", info.dli_sname);
}

/* ---- lines --------------------------------------------------------------------------------------------------------------- */

/* Without the guard; and without what the program has open, which the child would hold. */
static bool spawn_addr2line(char **argv, int out, pid_t *pid)
{
	posix_spawn_file_actions_t actions;
	size_t count = 0, to = 0;
	char **env;
	int failed;

	while (environ[count])
		count++;
	env = calloc(count + 1, sizeof *env);
	if (!env)
		return false;
	for (size_t i = 0; i < count; i++)
		if (strncmp(environ[i], "LD_PRELOAD=", 11))
			env[to++] = environ[i];
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, out, 1);
	posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0);
	files_not_for(&actions);
	failed = posix_spawnp(pid, "addr2line", &actions, NULL, argv, env);
	posix_spawn_file_actions_destroy(&actions);
	free(env);
	return !failed;
}

static FILE *ask_addr2line(const struct frame *frames, unsigned count, pid_t *pid)
{
	static char offsets[STACK_DEPTH][24];
	char module[160], *argv[STACK_DEPTH + 5] = { "addr2line", "-afie", module };
	int ends[2];
	bool running;

	memcpy(module, frames->module, sizeof module);
	for (unsigned i = 0; i < count; i++) {
		snprintf(offsets[i], sizeof offsets[i], "0x%zx", (size_t)frames[i].offset);
		argv[3 + i] = offsets[i];
	}
	if (pipe2(ends, O_CLOEXEC) < 0)
		return NULL;
	running = spawn_addr2line(argv, ends[1], pid);
	close(ends[1]);
	if (running)
		return fdopen(ends[0], "r");
	close(ends[0]);
	return NULL;
}

static bool next_line(FILE *from, char *line, size_t size)
{
	if (!fgets(line, (int)size, from))
		return false;
	line[strcspn(line, "\n")] = 0;
	return true;
}

static void set_text(char *text, size_t size, const char *line)
{
	if (line[0] != '?')
		snprintf(text, size, "%.*s", (int)size - 1, line);
}

/* Frames of one module: for each its address, then a function and a line, and two more for each function it was inlined into. */
static unsigned lines_of(const struct frame *raw, unsigned count, struct frame *frames, unsigned room)
{
	unsigned made = 0, at = 0;
	char line[400];
	pid_t pid;
	FILE *from = ask_addr2line(raw, count, &pid);

	while (from && made < room && next_line(from, line, sizeof line)) {
		if (!strncmp(line, "0x", 2)) {
			at++;
			if (!next_line(from, line, sizeof line))
				break;
		}
		if (!at || at > count)
			break;
		frames[made] = raw[at - 1];
		set_text(frames[made].function, sizeof frames->function, line);
		if (next_line(from, line, sizeof line))
			set_text(frames[made].line, sizeof frames->line, line);
		made++;
	}
	if (from) {
		fclose(from);
		waitpid(pid, NULL, 0);
	}
	return at == count ? made : 0;
}

static unsigned names_of(const struct frame *raw, unsigned count, struct frame *frames, unsigned room)
{
	unsigned made = 0;

	if (raw->module[0] == '/' && !settings.no_symbols)
		made = lines_of(raw, count, frames, room);
	if (made)
		return made;
	made = count < room ? count : room;
	memcpy(frames, raw, made * sizeof *frames);
	return made;
}

unsigned stack_names(const uintptr_t *pcs, unsigned count, struct frame *frames, unsigned room)
{
	static struct frame raw[STACK_DEPTH];
	unsigned made = 0;

	for (unsigned i = 0; i < count; i++)
		name(&raw[i], pcs[i]);
	for (unsigned i = 0, run; i < count; i += run) {
		for (run = 1; i + run < count && !strcmp(raw[i].module, raw[i + run].module);)
			run++;
		made += names_of(&raw[i], run, frames + made, room - made);
	}
	return made;
}
