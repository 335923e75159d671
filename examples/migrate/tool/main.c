/* SPDX-License-Identifier: MIT */

/* vfd-migrate: the arguments. */

#include "tool.h"

#include <getopt.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

static const char usage_text[] =
	"usage: vfd-migrate send|receive URI [options]\n"
	"       vfd-migrate bench [options]\n"
	"\n"
	"URI: tcp:HOST:PORT  unix:PATH  fd:N  fd:IN,OUT  stdio:  exec:COMMAND (send only)\n"
	"\n"
	"  --memory MIB        size, the same on both sides (256)\n"
	"  --file PATH         the memory is this file\n"
	"  --device NAME       writes to it too, by DMA; on both sides, or on none, if it migrates\n"
	"  --channels N        connections, 1 to 8 (1; the receiver takes what comes)\n"
	"  --dirty-rate N      pages written each second while it is sent (1000)\n"
	"  --working-set MIB   written are the first so many (a quarter)\n"
	"  --zero PERCENT      pages that are zero (50)\n"
	"  --bandwidth MB/S    while the guest runs (no limit)\n"
	"  --downtime MS       allowed (300)\n"
	"  --rounds N          at most, then give up (30)\n"
	"  --seconds N         likewise (no limit)\n"
	"  --force             stop the guest instead of giving up\n"
	"  --stall MS          the other side may be silent (10000)\n"
	"  --json              one event a line, on standard error\n"
	"  --quiet             no progress\n"
	"  --verbose           what the library tells of the device's container, on standard error\n"
	"\n"
	"Exit: 0: it runs at the destination; 1: it does not, and why is said; 2: wrong use.\n";

enum {
	MEMORY = 256,
	FILE_,
	DEVICE,
	CHANNELS,
	DIRTY,
	WORKING,
	ZERO,
	BANDWIDTH,
	DOWNTIME,
	ROUNDS,
	SECONDS,
	FORCE,
	STALL,
	JSON,
	QUIET,
	VERBOSE,
	HELP
};

static const struct option options[] = {
	{ "memory", 1, NULL, MEMORY },	   { "file", 1, NULL, FILE_ },
	{ "device", 1, NULL, DEVICE },	   { "channels", 1, NULL, CHANNELS },
	{ "dirty-rate", 1, NULL, DIRTY },  { "working-set", 1, NULL, WORKING },
	{ "zero", 1, NULL, ZERO },	   { "bandwidth", 1, NULL, BANDWIDTH },
	{ "downtime", 1, NULL, DOWNTIME }, { "rounds", 1, NULL, ROUNDS },
	{ "seconds", 1, NULL, SECONDS },   { "force", 0, NULL, FORCE },
	{ "stall", 1, NULL, STALL },	   { "json", 0, NULL, JSON },
	{ "quiet", 0, NULL, QUIET },	   { "verbose", 0, NULL, VERBOSE },
	{ "help", 0, NULL, HELP },	   { NULL, 0, NULL, 0 }
};

static _Noreturn void wrong_use(void)
{
	fputs(usage_text, stderr);
	exit(2);
}

static uint64_t number(uint64_t least, uint64_t most)
{
	char *end;
	uint64_t value = strtoull(optarg, &end, 10);

	if (end == optarg || *end || *optarg == '-' || value < least || value > most)
		wrong_use();
	return value;
}

static bool set_memory(struct settings *s, int option)
{
	if (option == MEMORY)
		s->size = number(1, 1 << 20) << 20;
	else if (option == FILE_)
		s->file = optarg;
	else if (option == DEVICE)
		s->device = optarg;
	else if (option == DIRTY)
		s->dirty_rate = number(0, 1000000000);
	else if (option == WORKING)
		s->working_set = number(1, 1 << 20) << 20;
	else if (option == ZERO)
		s->zero_percent = (unsigned)number(0, 100);
	else
		return false;
	return true;
}

static bool set_migration(struct mig_options *m, int option)
{
	if (option == BANDWIDTH)
		m->bandwidth = number(1, 1000000) * 1000000;
	else if (option == DOWNTIME)
		m->downtime_ms = number(1, 3600000);
	else if (option == ROUNDS)
		m->max_rounds = (unsigned)number(1, 1000000);
	else if (option == SECONDS)
		m->max_seconds = number(1, 1000000);
	else if (option == STALL)
		m->stall_ms = number(1, 3600000);
	else if (option == FORCE)
		m->force = true;
	else
		return false;
	return true;
}

static void set(struct settings *s, int option)
{
	if (set_memory(s, option) || set_migration(&s->migration, option))
		return;
	if (option == CHANNELS)
		s->channels = (unsigned)number(1, MIG_CHANNELS);
	else if (option == JSON)
		s->json = true;
	else if (option == QUIET)
		s->quiet = true;
	else if (option == VERBOSE)
		s->verbose = true;
	else if (option == HELP)
		exit(fputs(usage_text, stdout) < 0);
	else
		wrong_use();
}

int main(int argc, char **argv)
{
	struct settings s = { .channels = 1, .size = 256 << 20, .dirty_rate = 1000, .zero_percent = 50 };
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) >= 0)
		set(&s, option);
	if (!s.working_set)
		s.working_set = s.size / 4;
	argc -= optind;
	argv += optind;
	signal(SIGPIPE, SIG_IGN);
	if (argc == 1 && !strcmp(argv[0], "bench"))
		return bench_main(&s);
	if (argc == 2 && !strcmp(argv[0], "send"))
		return send_main(argv[1], &s);
	if (argc == 2 && !strcmp(argv[0], "receive"))
		return receive_main(argv[1], &s);
	wrong_use();
}
