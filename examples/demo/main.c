/* SPDX-License-Identifier: MIT */

/* Options, runs, table. demo.sh builds this, boots a kernel and runs it there. */

#include "demo.h"

#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

static const char usage_text[] =
	"usage: vfd-demo [options]\n"
	"\n"
	"  --image FILE      what is in the memory that is migrated (/proc/self/exe)\n"
	"  --size MIB        how much memory: 32 to 4096, a multiple of 32 (32)\n"
	"  --runs N          migrations of each kind: 1 to 1000 (10)\n"
	"  --backend NAME    what the library is to use: auto, type1 or iommufd (auto)\n"
	"  --host ADDRESS    use this machine's PCI device instead of the test device\n"
	"  --rebind          with --host: take it from its driver, and give it back at the end\n";

struct options {
	const char *image, *host;
	uint32_t backend;
	uint64_t size;
	unsigned runs;
	bool rebind;
};

void die(const char *format, ...)
{
	va_list args;

	fflush(stdout);
	fputs("demo: ", stderr);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	exit(1);
}

void die_errno(const char *what)
{
	die("%s: %s", what, strerror(errno));
}

double now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static _Noreturn void usage(FILE *to, int code)
{
	fputs(usage_text, to);
	exit(code);
}

static unsigned number(const char *name, const char *text, unsigned max)
{
	char *end;
	unsigned long n = strtoul(text, &end, 10);

	if (*end || end == text || n < 1 || n > max) {
		fprintf(stderr, "demo: %s %s: a number from 1 to %u is wanted\n", name, text, max);
		usage(stderr, 2);
	}
	return (unsigned)n;
}

/* Each of the slots is a multiple of 64 pages. */
static uint64_t size_option(const char *text)
{
	unsigned mib = number("--size", text, 4096);

	if (mib % 32) {
		fprintf(stderr, "demo: --size %s: a multiple of 32 is wanted\n", text);
		usage(stderr, 2);
	}
	return (uint64_t)mib << 20;
}

static uint32_t backend_option(const char *text)
{
	static const char *const names[] = { "auto", "type1", "iommufd" }; /* as enum vfd_backend */

	for (uint32_t i = 0; i < sizeof names / sizeof names[0]; i++)
		if (!strcmp(text, names[i]))
			return i;
	fprintf(stderr, "demo: --backend %s: auto, type1 or iommufd is wanted\n", text);
	usage(stderr, 2);
}

static struct options parse(int argc, char **argv)
{
	static const struct option names[] = {
		{ "image", required_argument, NULL, 'i' }, { "size", required_argument, NULL, 's' },
		{ "runs", required_argument, NULL, 'n' },  { "backend", required_argument, NULL, 'b' },
		{ "host", required_argument, NULL, 'a' },  { "rebind", no_argument, NULL, 'r' },
		{ "help", no_argument, NULL, 'h' },	   { 0 },
	};
	struct options o = { .image = "/proc/self/exe", .size = 32 << 20, .runs = 10 };
	int c;

	while ((c = getopt_long(argc, argv, "h", names, NULL)) != -1) {
		switch (c) {
		case 'i':
			o.image = optarg;
			break;
		case 's':
			o.size = size_option(optarg);
			break;
		case 'n':
			o.runs = number("--runs", optarg, 1000);
			break;
		case 'b':
			o.backend = backend_option(optarg);
			break;
		case 'a':
			o.host = optarg;
			break;
		case 'r':
			o.rebind = true;
			break;
		case 'h':
			usage(stdout, 0);
		default:
			usage(stderr, 2);
		}
	}
	if (optind < argc)
		usage(stderr, 2);
	return o;
}

static void run_all(struct series *series, struct source *s, const struct options *o)
{
	series->results = calloc(o->runs, sizeof *series->results);
	if (!series->results)
		die_errno("calloc");
	for (series->count = 0; series->count < o->runs; series->count++) {
		image_fill(s->memory, s->size, o->image);
		printf("%-12s %2u/%u", series->ops->name, series->count + 1, o->runs);
		fflush(stdout);
		struct result r = migrate(series->ops, s);
		printf(" | %llu lost\n", (unsigned long long)r.lost);
		series->results[series->count] = r;
	}
}

static struct source make_source(const struct device *device, uint64_t size)
{
	struct source s = { .device = device, .size = size, .iova = 4ull << 30 };

	s.memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (s.memory == MAP_FAILED)
		die_errno("memory");
	madvise(s.memory, size,
		MADV_DONTFORK); /* else each first write copies the page for the receiver's sake */
	return s;
}

static int demo(struct series *series, unsigned count, const struct device *device, const struct options *o)
{
	struct source s = make_source(device, o->size);

	s.backend = o->backend;
	if (o->host)
		library_print_plan(&s);
	for (unsigned i = 0; i < count; i++)
		run_all(&series[i], &s, o);
	return report(series, count);
}

int main(int argc, char **argv)
{
	struct options o = parse(argc, argv);
	struct series both[] = { { .ops = &raw_ops }, { .ops = &library_ops } };
	struct device device;

	if (!o.host) {
		bench_device(&device);
		return demo(both, 2, &device, &o);
	}
	host_device(&device, o.host, o.rebind);
	return demo(&both[1], 1, &device, &o);
}
