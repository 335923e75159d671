/* SPDX-License-Identifier: MIT */

/* The device comes and goes. This is all that a VMM has to say to the library for it: a container that knows the guest's memory, a
 * group, a device; and back, with what the device wrote until its end. */

#include "vmm.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

/* Guest memory lies where the guest sees it. */
static int make_container(struct vm *vm, struct vfd_error *err)
{
	struct vfd_container_options options = { .struct_size = sizeof options, .log = vm->log };
	struct vfd_mapping map = { .struct_size = sizeof map,
				   .flags = VFD_MAP_READ | VFD_MAP_WRITE,
				   .size = vm->ram.size,
				   .memory = vm->ram.start };
	struct vfd_error ignored;
	int rc = vfd_container_open(&options, &vm->container, err);

	if (!rc)
		rc = vfd_map(vm->container, &map, err);
	if (!rc && vm->ram.tracked)
		rc = vfd_track_start(vm->container, NULL, NULL, err);
	if (rc && vm->container) /* nothing was attached to it yet */
		vfd_container_close(&vm->container, VFD_DISCARD, &ignored);
	return rc;
}

/* KVM holds the group: it must let go before a detach. */
static void tell_kvm(struct vm *vm, const struct device *d, uint64_t what)
{
	int32_t fd = vfd_group_fd(d->group);
	struct kvm_device_attr attr = { .group = KVM_DEV_VFIO_GROUP, .attr = what, .addr = (uintptr_t)&fd };

	if (vm->vfio >= 0 && fd >= 0 && ioctl(vm->vfio, KVM_SET_DEVICE_ATTR, &attr))
		fprintf(stderr, "vfd-vmm: KVM_DEV_VFIO_GROUP: %s\n", strerror(errno));
}

/* A detach that failed is tried again. */
static int let_go(struct vm *vm, struct vfd_error *err)
{
	return vm->left ? vfd_group_detach(&vm->left, VFD_COLLECT, err) : 0;
}

/* Whatever happens it is out of the guest: what cannot be detached now is kept for the next try. */
static int put_away(struct vm *vm, struct device *d, struct vfd_error *err)
{
	struct vfd_error ignored;

	tell_kvm(vm, d, KVM_DEV_VFIO_GROUP_DEL);
	vm->left = d->group;
	int rc = let_go(vm, err);
	if (rc && d->vfio)
		vfd_device_close(&d->vfio, VFD_COLLECT, &ignored);
	return rc;
}

/* Without what another guest left in it: vfio-pci resets a device itself. */
static int open_device(struct device *d, struct vfd_error *err)
{
	struct vfd_device_info info = { .struct_size = sizeof info };
	int rc = vfd_device_open(d->group, d->name, &d->vfio, err);

	if (!rc)
		rc = vfd_device_info(d->vfio, &info, err);
	if (rc)
		return rc;
	d->pci = info.flags & VFIO_DEVICE_FLAGS_PCI;
	if (d->pci)
		return pci_describe(d, err);
	return info.flags & VFIO_DEVICE_FLAGS_RESET ? vfd_device_reset(d->vfio, err) : 0;
}

static int attach_device(struct vm *vm, struct device *d, struct vfd_error *err)
{
	struct vfd_error also;
	int rc = vfd_group_attach_device(vm->container, d->name, &d->group, err);

	if (rc)
		return rc;
	tell_kvm(vm, d, KVM_DEV_VFIO_GROUP_ADD);
	rc = open_device(d, err);
	if (rc && put_away(vm, d, &also))
		fprintf(stderr, "vfd-vmm: %s, to be unplugged: %s\n", d->name, also.message);
	return rc;
}

int device_plug(struct vm *vm, const char *name, struct vfd_error *err)
{
	struct device *d;

	if (vm->device)
		return fail(err, "%s is plugged already", vm->device->name);
	if (let_go(vm, err))
		return -1;
	if (!vm->container && make_container(vm, err))
		return -1;
	d = calloc(1, sizeof *d);
	if (!d)
		return fail(err, "no memory");
	snprintf(d->name, sizeof d->name, "%s", name);
	if (attach_device(vm, d, err)) {
		free(d);
		return -1;
	}
	pthread_mutex_lock(&vm->lock);
	windows_make(vm, d);
	vm->device = d;
	pthread_mutex_unlock(&vm->lock);
	return 0;
}

/* Out of the guest's sight first; then the library quiesces it, collects, closes it, and collects once more. */
int device_unplug(struct vm *vm, struct vfd_error *err)
{
	struct device *d = vm->device;

	if (!d)
		return vm->left ? let_go(vm, err) : fail(err, "there is no device");
	pthread_mutex_lock(&vm->lock);
	irq_off(vm, d);
	windows_hide(vm, d);
	vm->device = NULL;
	pthread_mutex_unlock(&vm->lock);
	int rc = put_away(vm, d, err);
	free(d);
	return rc;
}
