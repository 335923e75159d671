/* SPDX-License-Identifier: MIT */

/* Processors: a thread each. */

#include "vmm.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

enum { CPUIDS = 256 };

static void on_kick(int signal)
{
	(void)signal; /* it ends KVM_RUN */
}

/* What KVM can, but each processor knows its own number and how many there are. */
static void set_cpuid(struct vcpu *v)
{
	_Alignas(8) char room[sizeof(struct kvm_cpuid2) + CPUIDS * sizeof(struct kvm_cpuid_entry2)] = { 0 };
	struct kvm_cpuid2 *all = (void *)room;

	all->nent = CPUIDS;
	check(ioctl(v->vm->kvm, KVM_GET_SUPPORTED_CPUID, all), "KVM_GET_SUPPORTED_CPUID");
	for (unsigned i = 0; i < all->nent; i++) {
		struct kvm_cpuid_entry2 *e = &all->entries[i];

		if (e->function == 1)
			e->ebx = (e->ebx & 0xffff) | v->vm->vcpu_count << 16 | v->index << 24;
		if (e->function == 0xb)
			e->edx = v->index;
	}
	check(ioctl(v->fd, KVM_SET_CPUID2, all), "KVM_SET_CPUID2");
}

static void handle_port(struct vcpu *v)
{
	struct kvm_run *run = v->run;
	uint8_t *data = (uint8_t *)run + run->io.data_offset;

	for (uint32_t i = 0; i < run->io.count; i++, data += run->io.size)
		bus_port(v->vm, run->io.port, run->io.direction == KVM_EXIT_IO_OUT, data, run->io.size);
}

static void handle_exit(struct vcpu *v)
{
	struct kvm_run *run = v->run;

	pthread_mutex_lock(&v->vm->lock);
	switch (run->exit_reason) {
	case KVM_EXIT_IO:
		handle_port(v);
		break;
	case KVM_EXIT_MMIO:
		bus_memory(v->vm, run->mmio.phys_addr, run->mmio.is_write, run->mmio.data, run->mmio.len);
		break;
	case KVM_EXIT_SHUTDOWN:
		fprintf(stderr, "vfd-vmm: vCPU %u: triple fault\n", v->index);
		vm_end(v->vm, 1);
		break;
	default:
		fprintf(stderr, "vfd-vmm: vCPU %u: KVM gave up: exit %u, %#llx\n", v->index, run->exit_reason,
			(unsigned long long)run->hw.hardware_exit_reason);
		vm_end(v->vm, 1);
	}
	pthread_mutex_unlock(&v->vm->lock);
}

/* false: this is the end. */
static bool park(struct vcpu *v)
{
	struct vm *vm = v->vm;

	pthread_mutex_lock(&vm->lock);
	while (vm->paused && !vm->ending) {
		v->parked = true;
		pthread_cond_broadcast(&vm->changed);
		pthread_cond_wait(&vm->changed, &vm->lock);
	}
	v->parked = false;
	v->run->immediate_exit = 0;
	pthread_mutex_unlock(&vm->lock);
	return !vm->ending;
}

/* A port or address that was read is finished by the next KVM_RUN, also by one that ends at once. So a processor is parked only
 * after that: its registers are whole then. */
static void *run_vcpu(void *opaque)
{
	struct vcpu *v = opaque;

	for (;;) {
		if (!ioctl(v->fd, KVM_RUN, 0)) {
			handle_exit(v);
		} else if (errno == EINTR) {
			if (!park(v))
				return NULL;
		} else if (errno != EAGAIN) {
			die("KVM_RUN: %s", strerror(errno));
		}
		if (v->vm->ending)
			return NULL;
	}
}

void vcpu_create(struct vm *vm, unsigned index)
{
	struct vcpu *v = &vm->vcpus[index];
	struct sigaction kick = { .sa_handler = on_kick };
	int size = check(ioctl(vm->kvm, KVM_GET_VCPU_MMAP_SIZE, 0), "KVM_GET_VCPU_MMAP_SIZE");

	*v = (struct vcpu){ .vm = vm, .index = index };
	v->fd = check(ioctl(vm->fd, KVM_CREATE_VCPU, index), "KVM_CREATE_VCPU");
	v->run = mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_SHARED, v->fd, 0);
	if (v->run == MAP_FAILED)
		die("a vCPU: %s", strerror(errno));
	set_cpuid(v);
	v->run->immediate_exit = 1;
	sigaction(SIGUSR1, &kick, NULL);
}

static void kick_all(struct vm *vm)
{
	for (unsigned i = 0; i < vm->vcpu_count; i++) {
		vm->vcpus[i].run->immediate_exit = 1; /* if it is about to enter */
		if (vm->vcpus[i].thread)
			pthread_kill(vm->vcpus[i].thread, SIGUSR1); /* if it is inside */
	}
}

void vcpus_pause(struct vm *vm)
{
	pthread_mutex_lock(&vm->lock);
	vm->paused = true;
	if (!vm->ending) /* they are gone, or going */
		kick_all(vm);
	for (unsigned i = 0; i < vm->vcpu_count; i++)
		while (!vm->vcpus[i].parked && vm->vcpus[i].thread && !vm->ending)
			pthread_cond_wait(&vm->changed, &vm->lock);
	pthread_mutex_unlock(&vm->lock);
}

void vcpus_resume(struct vm *vm)
{
	pthread_mutex_lock(&vm->lock);
	vm->paused = false;
	for (unsigned i = 0; i < vm->vcpu_count; i++)
		if (!vm->vcpus[i].thread &&
		    pthread_create(&vm->vcpus[i].thread, NULL, run_vcpu, &vm->vcpus[i]))
			die("no thread for a vCPU");
	pthread_cond_broadcast(&vm->changed);
	pthread_mutex_unlock(&vm->lock);
}

/* Whoever looks at `ending` and then waits does both under the lock: so he is woken here, if vm_end() came in between. */
void vcpus_join(struct vm *vm)
{
	pthread_mutex_lock(&vm->lock);
	kick_all(vm);
	pthread_cond_broadcast(&vm->changed);
	pthread_mutex_unlock(&vm->lock);
	for (unsigned i = 0; i < vm->vcpu_count; i++)
		if (vm->vcpus[i].thread)
			pthread_join(vm->vcpus[i].thread, NULL);
}
