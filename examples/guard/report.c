/* SPDX-License-Identifier: MIT */

/* What is said of a loss, as text or as a line of JSON. One that comes again by the same way is only counted. */

#include "guard.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "calls.h"

enum { FINDINGS = 1024, FRAMES = 2 * STACK_DEPTH };

static struct finding {
	const char *kind;
	uint64_t hash, times, pages;
	bool quiet;
	char place[200]; /* who called */
} known[FINDINGS];
static unsigned known_count;
uint64_t findings; /* not suppressed, each time */

/* ---- text -------------------------------------------------------------------------------------------------------------- */

static char text[32768];
static size_t length;

void say(const char *format, ...)
{
	va_list args;
	int n;

	va_start(args, format);
	n = vsnprintf(text + length, sizeof text - length, format, args);
	va_end(args);
	if (n > 0)
		length += (size_t)n < sizeof text - length ? (size_t)n : sizeof text - length - 1;
}

static int own_stderr = 2;

/* Programs close standard error before they end. */
void say_begin(void)
{
	int copy = settings.log[0] ? -1 : fcntl(2, F_DUPFD_CLOEXEC, 1000);

	own_stderr = copy < 0 ? 2 : copy;
}

/* At once, so that processes which share a file do not mix their lines. */
void say_flush(void)
{
	int fd = settings.log[0] ? open(settings.log, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644)
				 : own_stderr;

	if (length && write(fd < 0 ? own_stderr : fd, text, length) < 0)
		findings += 0; /* there is nobody to tell */
	if (settings.log[0] && fd >= 0)
		close(fd);
	length = 0;
}

static void say_quoted(const char *s)
{
	say("\"");
	for (; *s; s++) {
		if (*s == '"' || *s == '\\')
			say("\\%c", *s);
		else if ((unsigned char)*s < ' ')
			say("\\u%04x", (unsigned)*s);
		else
			say("%c", *s);
	}
	say("\"");
}

static void say_field(const char *name, const char *value)
{
	say("\"%s\":", name);
	say_quoted(value);
	say(",");
}

/* ---- one finding --------------------------------------------------------------------------------------------------------- */

static const char *how_collected(const struct loss_range *r)
{
	return r->collected ? "a device could write since it was collected" : "never collected";
}

static void text_pages(const struct loss *loss)
{
	if (keeping && !loss->failed_pages && loss->pages)
		say("    exactly %llu pages, kept in %s\n", (unsigned long long)loss->exact_pages,
		    settings.keep);
	else if (keeping && loss->pages)
		say("    %llu pages kept in %s; %llu more could not be read\n",
		    (unsigned long long)loss->exact_pages, settings.keep,
		    (unsigned long long)loss->failed_pages);
	else
		say("    at most %llu pages of %llu bytes: what was not collected is unknown, which is "
		    "dirty\n",
		    (unsigned long long)loss->pages, (unsigned long long)loss->page);
}

static void text_ranges(const struct loss *loss)
{
	unsigned shown = loss->ranges < LOSS_SHOWN ? loss->ranges : LOSS_SHOWN;

	for (unsigned i = 0; i < shown; i++)
		say("    IOVA 0x%llx..0x%llx, %llu pages: %s\n", (unsigned long long)loss->shown[i].first,
		    (unsigned long long)loss->shown[i].last,
		    (unsigned long long)((loss->shown[i].last - loss->shown[i].first) / loss->page + 1),
		    how_collected(&loss->shown[i]));
	if (loss->ranges > shown)
		say("    and %u ranges more\n", loss->ranges - shown);
	if (loss->unseen)
		say("    and what was mapped before the guard saw this container: nobody knows how much\n");
	if (loss->shared)
		say("    perhaps not: another process may have it open, which could not be found out\n");
}

static const char *base(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

static void text_frame(unsigned number, const struct frame *f)
{
	say("    #%u 0x%llx %s (%s+0x%llx) %s\n", number, (unsigned long long)f->pc,
	    f->function[0] ? f->function : "??", base(f->module), (unsigned long long)f->offset, f->line);
}

static void report_text(const struct loss *loss, const struct frame *frames, unsigned count)
{
	say("==vfd-guard:%d== LOSS (%s): %s: %s\n", getpid(), loss->kind, loss->call, loss->why);
	say("    descriptor %d, %s; thread %ld\n", loss->file->fd, loss->file->name, syscall(SYS_gettid));
	text_pages(loss);
	text_ranges(loss);
	for (unsigned i = 0; i < count; i++)
		text_frame(i, &frames[i]);
}

static void json_frame(const struct frame *f)
{
	say("{");
	say_field("function", f->function);
	say_field("module", f->module);
	say_field("line", f->line);
	say("\"offset\":\"0x%llx\"}", (unsigned long long)f->offset);
}

static void json_ranges(const struct loss *loss)
{
	unsigned shown = loss->ranges < LOSS_SHOWN ? loss->ranges : LOSS_SHOWN;

	say("\"ranges\":[");
	for (unsigned i = 0; i < shown; i++)
		say("%s{\"first\":\"0x%llx\",\"last\":\"0x%llx\",\"collected\":%s}", i ? "," : "",
		    (unsigned long long)loss->shown[i].first, (unsigned long long)loss->shown[i].last,
		    loss->shown[i].collected ? "true" : "false");
	say("],\"more_ranges\":%u,", loss->ranges - shown);
}

static void report_json(const struct loss *loss, const struct frame *frames, unsigned count)
{
	say("{\"event\":\"loss\",\"pid\":%d,\"tid\":%ld,", getpid(), syscall(SYS_gettid));
	say_field("kind", loss->kind);
	say_field("call", loss->call);
	say_field("why", loss->why);
	say_field("file", loss->file->name);
	say("\"descriptor\":%d,\"page_size\":%llu,\"pages_at_most\":%llu,", loss->file->fd,
	    (unsigned long long)loss->page, (unsigned long long)loss->pages);
	if (keeping)
		say("\"pages_kept\":%llu,\"pages_unreadable\":%llu,", (unsigned long long)loss->exact_pages,
		    (unsigned long long)loss->failed_pages);
	say("\"unseen\":%s,\"shared\":%s,", loss->unseen ? "true" : "false", loss->shared ? "true" : "false");
	json_ranges(loss);
	say("\"stack\":[");
	for (unsigned i = 0; i < count; i++) {
		say("%s", i ? "," : "");
		json_frame(&frames[i]);
	}
	say("]}\n");
}

/* ---- which are new --------------------------------------------------------------------------------------------------------- */

static uint64_t hash_of(const char *kind, const uintptr_t *pcs, unsigned count)
{
	uint64_t hash = 14695981039346656037u;

	for (; *kind; kind++)
		hash = (hash ^ (unsigned char)*kind) * 1099511628211u;
	for (unsigned i = 0; i < count; i++)
		hash = (hash ^ pcs[i]) * 1099511628211u;
	return hash;
}

static struct finding *find(uint64_t hash)
{
	for (unsigned i = 0; i < known_count; i++)
		if (known[i].hash == hash)
			return &known[i];
	return NULL;
}

static struct finding *find_new(const struct loss *loss, uint64_t hash, const struct frame *frames,
				unsigned count)
{
	static struct finding no_room;
	struct finding *f = known_count < FINDINGS ? &known[known_count++] : &no_room;

	*f = (struct finding){ .kind = loss->kind, .hash = hash };
	f->quiet = suppressed(loss->kind, frames, count);
	if (count)
		snprintf(f->place, sizeof f->place, "%.90s %.100s",
			 frames[0].function[0] ? frames[0].function : "??", frames[0].line);
	return f;
}

void loss_report(struct loss *loss)
{
	static struct frame frames[FRAMES];
	uintptr_t pcs[STACK_DEPTH];
	unsigned depth = stack_take(pcs, STACK_DEPTH), count;
	uint64_t hash = hash_of(loss->kind, pcs, depth);
	struct finding *f = find(hash);

	if (!f) {
		count = stack_names(pcs, depth, frames, FRAMES);
		f = find_new(loss, hash, frames, count);
		if (!f->quiet)
			(settings.json ? report_json : report_text)(loss, frames, count);
		say_flush();
	}
	f->times++;
	f->pages += loss->pages;
	findings += !f->quiet;
	if (settings.abort && !f->quiet)
		abort();
}

/* ---- the end ---------------------------------------------------------------------------------------------------------------- */

static void sum_text(const char *how)
{
	say("==vfd-guard:%d== %s: %llu losses", getpid(), how, (unsigned long long)findings);
	say("; seen: %llu maps, %llu unmaps, %llu reads; tracking %s", (unsigned long long)count_maps,
	    (unsigned long long)count_unmaps, (unsigned long long)count_gets,
	    count_starts ? "" : "was never on\n");
	if (count_starts)
		say("was switched on %llu times, off %llu times\n", (unsigned long long)count_starts,
		    (unsigned long long)count_stops);
	for (unsigned i = 0; i < known_count; i++)
		say("    %s%s: %llu times, at most %llu pages in all, by %s\n",
		    known[i].quiet ? "(suppressed) " : "", known[i].kind, (unsigned long long)known[i].times,
		    (unsigned long long)known[i].pages, known[i].place);
}

static void sum_json(const char *how)
{
	say("{\"event\":\"end\",\"pid\":%d,", getpid());
	say_field("how", how);
	say("\"losses\":%llu,\"maps\":%llu,\"unmaps\":%llu,\"reads\":%llu,\"starts\":%llu,\"stops\":%llu}\n",
	    (unsigned long long)findings, (unsigned long long)count_maps, (unsigned long long)count_unmaps,
	    (unsigned long long)count_gets, (unsigned long long)count_starts,
	    (unsigned long long)count_stops);
}

void report_sum(const char *how)
{
	unsigned unseen = files_unseen();

	if (unseen)
		say("==vfd-guard:%d== %u descriptors of VFIO were not seen to be used: inherited, or used by "
		    "raw system calls, "
		    "which are not followed\n",
		    getpid(), unseen);
	if (known_count || settings.stats)
		(settings.json ? sum_json : sum_text)(how);
	say_flush();
}

void report_child(void)
{
	known_count = 0;
	count_maps = count_unmaps = count_starts = count_stops = count_gets = 0;
}
