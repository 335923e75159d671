/* SPDX-License-Identifier: MIT */

/* Options, and the order of things. */

#include "vmm.h"

#include <getopt.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const char usage_text[] =
	"usage: vfd-vmm [options]\n"
	"       vfd-vmm --ask SOCKET COMMAND\n"
	"\n"
	"  --kernel FILE      boot this Linux kernel (vmlinux or bzImage); else a small built-in guest runs\n"
	"  --initrd FILE      its initial file system\n"
	"  --append TEXT      more kernel parameters\n"
	"  --device NAME      pass this VFIO device through: 0000:3b:00.0, or a name on the platform or mdev "
	"bus\n"
	"  --memory MIB       guest memory, 32 to 3072 (64)\n"
	"  --huge             of huge pages\n"
	"  --vcpus N          1 or 2 (1)\n"
	"  --rounds N         the small guest ends after so many; 0: never (0)\n"
	"  --work MIB         what each of its vCPUs writes to, a power of two (1)\n"
	"  --incoming URI     the guest comes from another vfd-vmm with as much memory and as many vCPUs\n"
	"  --plug NAME        with --incoming: a device that cannot migrate, attached when all else has "
	"arrived\n"
	"  --control SOCKET   listen here for commands: status, dirty-rate, migrate URI, cancel, pause, "
	"resume,\n"
	"                     unplug, plug DEVICE, quit\n"
	"  --no-input         the standard input is not the console's\n"
	"  --help             this\n"
	"\n"
	"Exit: what the guest wrote to port 0xf4, 0 when it reboots; 1: refused, or failed; 2: wrong use.\n";

struct options {
	const char *kernel, *initrd, *append, *device, *control, *ask, *incoming, *plug;
	uint64_t memory, work, rounds, vcpus;
	bool huge, no_input;
};

_Noreturn static void wrong(void)
{
	fputs(usage_text, stderr);
	exit(2);
}

static uint64_t number(const char *text, uint64_t least, uint64_t most)
{
	char *end;
	uint64_t value = strtoull(text, &end, 10);

	if (*text < '0' || *text > '9' || *end || value < least || value > most)
		wrong();
	return value;
}

enum {
	KERNEL = 1,
	INITRD,
	APPEND,
	DEVICE,
	MEMORY,
	HUGE,
	CPUS,
	ROUNDS,
	WORK,
	CONTROL,
	NO_INPUT,
	ASK,
	INCOMING,
	PLUG,
	HELP
};

static const struct option names[] = { { "kernel", 1, NULL, KERNEL },	  { "initrd", 1, NULL, INITRD },
				       { "append", 1, NULL, APPEND },	  { "device", 1, NULL, DEVICE },
				       { "memory", 1, NULL, MEMORY },	  { "huge", 0, NULL, HUGE },
				       { "vcpus", 1, NULL, CPUS },	  { "rounds", 1, NULL, ROUNDS },
				       { "work", 1, NULL, WORK },	  { "control", 1, NULL, CONTROL },
				       { "no-input", 0, NULL, NO_INPUT }, { "ask", 1, NULL, ASK },
				       { "incoming", 1, NULL, INCOMING }, { "plug", 1, NULL, PLUG },
				       { "help", 0, NULL, HELP },	  { NULL, 0, NULL, 0 } };

static void take_option(struct options *o, int which)
{
	const char **texts[] = { [KERNEL] = &o->kernel,	    [INITRD] = &o->initrd,   [APPEND] = &o->append,
				 [DEVICE] = &o->device,	    [CONTROL] = &o->control, [ASK] = &o->ask,
				 [INCOMING] = &o->incoming, [PLUG] = &o->plug,	     [HELP] = NULL };

	if (which == MEMORY)
		o->memory = number(optarg, 32, RAM_MOST >> 20) << 20;
	else if (which == CPUS)
		o->vcpus = number(optarg, 1, VCPUS);
	else if (which == ROUNDS)
		o->rounds = number(optarg, 0, UINT64_MAX);
	else if (which == WORK)
		o->work = number(optarg, 1, 1024) << 20;
	else if (which == HUGE)
		o->huge = true;
	else if (which == NO_INPUT)
		o->no_input = true;
	else if (which == HELP)
		exit(fputs(usage_text, stdout) < 0);
	else if (which > 0 && which < HELP && texts[which])
		*texts[which] = optarg;
	else
		wrong();
}

static void parse(struct options *o, int argc, char **argv)
{
	int which;

	while ((which = getopt_long(argc, argv, "", names, NULL)) != -1)
		take_option(o, which);
	if (o->plug && !o->incoming)
		wrong();
	if (optind + (o->ask ? 1 : 0) != argc || (o->work & (o->work - 1)) ||
	    (!o->kernel && (o->initrd || o->append)))
		wrong();
}

/* Without ACPI: an MP table says what there is. Reboot is how a guest ends. */
static void boot(struct vm *vm, const struct options *o)
{
	char line[2048];

	if (!o->kernel) {
		boot_small(vm, o->work, o->rounds);
		return;
	}
	snprintf(line, sizeof line,
		 "console=ttyS0 acpi=off pci=conf1 reboot=k panic=-1 i8042.noaux i8042.nokbd tsc=reliable "
		 "no_timer_check %s",
		 o->append ? o->append : "");
	boot_linux(vm, o->kernel, o->initrd, line);
}

static void close_all(struct vm *vm)
{
	struct vfd_error err;
	struct timespec tenth = { .tv_nsec = 100000000 };

	vcpus_join(vm);
	while (pthread_mutex_trylock(&vm->busy)) { /* then for good. A migration may be about to begin */
		migrate_cancel(vm);
		nanosleep(&tenth, NULL);
	}
	if ((vm->device || vm->left) && device_unplug(vm, &err))
		fprintf(stderr, "vfd-vmm: %s: %s\n", err.operation, err.message);
	if (vm->container && vfd_container_close(&vm->container, VFD_DISCARD, &err))
		fprintf(stderr, "vfd-vmm: %s: %s\n", err.operation, err.message);
}

static void start(struct vm *vm, const struct options *o)
{
	struct vfd_error err;

	if (!o->incoming) {
		boot(vm, o);
		vcpus_resume(vm);
	} else if (migrate_here(vm, o->incoming, o->plug, &err)) {
		die("%s", err.message);
	}
}

int main(int argc, char **argv)
{
	struct options o = { .memory = 64 << 20, .work = 1 << 20, .vcpus = 1 };
	static struct vm vm;
	struct vfd_error err;

	parse(&o, argc, argv);
	signal(SIGPIPE, SIG_IGN);
	if (o.ask)
		return control_ask(o.ask, argv[optind]);
	vm_create(&vm, o.memory, o.huge, (unsigned)o.vcpus);
	if (o.device && device_plug(&vm, o.device, &err))
		die("%s: %s", err.operation, err.message);
	int listener = o.control ? control_listen(o.control) : -1;
	start(&vm, &o);
	control_serve(&vm, listener, !o.no_input);
	close_all(&vm);
	if (!o.kernel)
		small_report(&vm);
	if (o.control)
		unlink(o.control);
	return vm.code;
}
