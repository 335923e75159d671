/* SPDX-License-Identifier: MIT */

/* The virtual machine: KVM's objects, and how it ends. */

#include "vmm.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

int fail(struct vfd_error *err, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	*err = (struct vfd_error){ .code = -1, .operation = "vfd-vmm", .first = 1 };
	vsnprintf(err->message, sizeof err->message, format, args);
	va_end(args);
	return -1;
}

void die(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	fputs("vfd-vmm: ", stderr);
	vfprintf(stderr, format, args);
	fputc('\n', stderr);
	va_end(args);
	exit(1);
}

int check(int rc, const char *what)
{
	if (rc < 0)
		die("%s: %s", what, strerror(errno));
	return rc;
}

/* A line goes up and down: the UARTs' are edges. */
int vm_irq_line(struct vm *vm, unsigned irq, bool level)
{
	struct kvm_irq_level line = { .irq = irq, .level = level };

	return ioctl(vm->fd, KVM_IRQ_LINE, &line);
}

/* Interrupt controllers and timer in the kernel. Port 0x61, which the timer is read by, too. */
static void create_chips(struct vm *vm)
{
	struct kvm_pit_config pit = { .flags = KVM_PIT_SPEAKER_DUMMY };

	check(ioctl(vm->fd, KVM_CREATE_IRQCHIP), "KVM_CREATE_IRQCHIP");
	check(ioctl(vm->fd, KVM_CREATE_PIT2, &pit), "KVM_CREATE_PIT2");
}

/* KVM wants to know of VFIO groups: devices may then use memory uncached, for one. */
static void create_vfio(struct vm *vm)
{
	struct kvm_create_device device = { .type = KVM_DEV_TYPE_VFIO };

	vm->vfio = ioctl(vm->fd, KVM_CREATE_DEVICE, &device) ? -1 : (int)device.fd;
}

void vm_create(struct vm *vm, uint64_t ram, bool huge, unsigned vcpus)
{
	pthread_mutex_init(&vm->lock, NULL);
	pthread_mutex_init(&vm->busy, NULL);
	pthread_cond_init(&vm->changed, NULL);
	vm->paused = true;
	vm->ended = check(eventfd(0, EFD_CLOEXEC), "eventfd");
	vm->kvm = check(open("/dev/kvm", O_RDWR | O_CLOEXEC), "/dev/kvm");
	vm->fd = check(ioctl(vm->kvm, KVM_CREATE_VM, 0), "KVM_CREATE_VM");
	check(ioctl(vm->fd, KVM_SET_TSS_ADDR, 0xfffbd000), "KVM_SET_TSS_ADDR");
	create_chips(vm);
	create_vfio(vm);
	ram_create(vm, ram, huge);
	vm->vcpu_count = vcpus;
	for (unsigned i = 0; i < vcpus; i++)
		vcpu_create(vm, i);
	vm->console = (struct serial){ .vm = vm, .port = COM1, .irq = COM1_IRQ };
	vm->agent = (struct serial){ .vm = vm, .port = COM2, .irq = COM2_IRQ, .output = agent_output };
}

void vm_end(struct vm *vm, int code)
{
	uint64_t one = 1;

	if (vm->ending)
		return;
	vm->code = code;
	vm->ending = true;
	pthread_cond_broadcast(&vm->changed);
	check((int)write(vm->ended, &one, sizeof one), "eventfd");
}
