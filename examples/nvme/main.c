/* SPDX-License-Identifier: MIT */
#include "nvme.h"

#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { DATA_SIZE = 64 << 20 };

static const char usage_text[] =
	"usage: vfd-nvme ADDRESS --blocks N [--bench] [--audit] [--migrate] [--reads N] [--rounds N] "
	"[--seed N] [--no-pins]\n"
	"\n"
	"Drive an NVMe controller that is bound to vfio-pci (0000:3b:00.0): OVERWRITE the first N blocks, "
	"read and compare them.\n"
	"\n"
	"  --bench     then read at random, with dirty tracking off and on: IOPS and latencies\n"
	"  --audit     then read at random, and report what the controller wrote without a pin (Linux 6.7)\n"
	"  --migrate   then copy the memory in rounds while the controller reads blocks into it; compare at "
	"the end\n"
	"  --reads N   that many reads (10000)\n"
	"  --rounds N  of the migration (25)\n"
	"  --seed N    of the random numbers (1)\n"
	"  --no-pins   break the promise to pin what the device writes: the audit must then find it, and the "
	"copy differ\n"
	"  --send URI      then read at random, and move to the vfd-nvme that waits there, while it does\n"
	"  --receive URI   in place of all that: wait for one to come (unix:PATH, tcp:HOST:PORT), go on with "
	"its\n"
	"                  reads, --reads of them, and see whether the disk has what it wrote\n"
	"\n"
	"Exit: 0; 1: something differs or failed; 2: wrong use.\n";

struct options {
	const char *address;
	struct workload work;
	bool bench, audit, migrate, no_pins;
	const char *send, *receive;
};

struct vfd_error nvme_error;

void die(const char *format, ...)
{
	va_list arguments;

	fflush(stdout);
	fputs("vfd-nvme: ", stderr);
	va_start(arguments, format);
	vfprintf(stderr, format, arguments);
	va_end(arguments);
	fputc('\n', stderr);
	exit(1);
}

void check(int rc)
{
	if (rc)
		die("%s: %s (%s)", nvme_error.operation, nvme_error.message, vfd_strcode(rc));
}

void *zeroed(uint64_t count, size_t size)
{
	void *memory = calloc(count, size);

	if (!memory)
		die("no memory");
	return memory;
}

uint64_t nvme_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static _Noreturn void usage(FILE *to, int code)
{
	fputs(usage_text, to);
	exit(code);
}

static uint64_t number(const char *text)
{
	char *end;

	errno = 0;
	unsigned long long value = strtoull(text, &end, 10);
	if (errno || *end || *text < '0' || *text > '9' || !value)
		usage(stderr, 2);
	return value;
}

static void set(struct options *o, int option)
{
	switch (option) {
	case 'n':
		o->work.blocks = number(optarg);
		break;
	case 'r':
		o->work.reads = number(optarg);
		break;
	case 'o':
		o->work.rounds = number(optarg);
		break;
	case 's':
		o->work.random = number(optarg);
		break;
	case 'b':
		o->bench = true;
		break;
	case 'a':
		o->audit = true;
		break;
	case 'm':
		o->migrate = true;
		break;
	case 'S':
		o->send = optarg;
		break;
	case 'R':
		o->receive = optarg;
		break;
	case 'p':
		o->no_pins = true;
		break;
	case 'h':
		usage(stdout, 0);
	default:
		usage(stderr, 2);
	}
}

static struct options parse(int argc, char **argv)
{
	static const struct option names[] = {
		{ "bench", no_argument, NULL, 'b' },
		{ "audit", no_argument, NULL, 'a' },
		{ "migrate", no_argument, NULL, 'm' },
		{ "send", required_argument, NULL, 'S' },
		{ "receive", required_argument, NULL, 'R' },
		/* how */
		{ "blocks", required_argument, NULL, 'n' },
		{ "reads", required_argument, NULL, 'r' },
		{ "rounds", required_argument, NULL, 'o' },
		{ "seed", required_argument, NULL, 's' },
		{ "no-pins", no_argument, NULL, 'p' },
		{ "help", no_argument, NULL, 'h' },
		{ 0 },
	};
	struct options o = { .work = { .reads = 10000, .rounds = 25, .random = 1 } };
	int c;

	while ((c = getopt_long(argc, argv, "h", names, NULL)) != -1)
		set(&o, c);
	if (optind + 1 != argc || !o.work.blocks == !o.receive || (o.send && o.migrate))
		usage(stderr, 2);
	o.address = argv[optind];
	return o;
}

int main(int argc, char **argv)
{
	struct options o = parse(argc, argv);
	static struct nvme n;

	uint64_t generation = (uint64_t)time(NULL);

	o.work.random *= UINT64_C(0x9e3779b97f4a7c15);
	if (o.receive) {
		nvme_allocate(&n, o.address, DATA_SIZE);
		return move_here(&n, o.receive);
	}
	nvme_open(&n, o.address, DATA_SIZE);
	if (o.work.blocks > n.blocks)
		die("%s has %llu blocks only", o.address, (unsigned long long)n.blocks);
	int failed = verify(&n, o.work.blocks, generation);
	n.forget_pins = o.no_pins;
	if (o.bench)
		bench(&n, &o.work);
	if (o.audit)
		failed += audit(&n, &o.work);
	if (o.send) {
		failed += move_there(&n, &o.work, generation, o.send);
	} else if (o.migrate) {
		failed += migrate(&n, &o.work);
	} else {
		nvme_stop(&n);
		nvme_unpin(&n);
	}
	nvme_close(&n, o.migrate ? 0 : VFD_DISCARD);
	return failed ? 1 : 0;
}
