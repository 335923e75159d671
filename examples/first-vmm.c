/* SPDX-License-Identifier: MIT */

/* Your first VMM with libvfiodirty (docs/first-vmm.md):  first-vmm DEVICE, e.g.  first-vmm 0000:3b:00.0
 * Runs a guest of four instructions whose memory the device may write too, and says which pages became dirty. */

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include <linux/kvm.h>

#include <vfiodirty.h>

enum { SIZE = 2 << 20, PAGE = 4096, CODE = 0x1000 };

static const unsigned char guest[] = {
	0xb8, 0x2a, 0x00, 0xa3, 0x00, 0x80, 0xf4
}; /* mov $42,%ax; mov %ax,0x8000; hlt */
static struct vfd_error err;

static void check(int rc)
{
	if (rc >= 0)
		return;
	fprintf(stderr, "first-vmm: %s: %s\n", err.operation ? err.operation : "KVM", err.message);
	exit(1);
}

/* A processor at CODE, in real mode as after power on, until it halts. */
static void run_guest(int kvm, int vm)
{
	int cpu = ioctl(vm, KVM_CREATE_VCPU, 0);
	struct kvm_run *run = mmap(NULL, (size_t)ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0),
				   PROT_READ | PROT_WRITE, MAP_SHARED, cpu, 0);
	struct kvm_regs regs = { .rip = CODE, .rflags = 2 };
	struct kvm_sregs sregs;

	check(run == MAP_FAILED ? -1 : ioctl(cpu, KVM_GET_SREGS, &sregs));
	sregs.cs.base = sregs.cs.selector = 0;
	check(ioctl(cpu, KVM_SET_SREGS, &sregs) | ioctl(cpu, KVM_SET_REGS, &regs));
	check(ioctl(cpu, KVM_RUN, 0));
	printf("the guest ended with exit %u (%u is HLT)\n", run->exit_reason, KVM_EXIT_HLT);
}

int main(int argc, char **argv)
{
	unsigned char *ram = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct vfd_region region = { .struct_size = sizeof region, .size = SIZE, .memory = ram };
	struct vfd_mapping map = {
		.struct_size = sizeof map, .flags = VFD_MAP_READ | VFD_MAP_WRITE, .size = SIZE, .memory = ram
	};
	struct vfd_container_options options = { .struct_size = sizeof options };
	struct vfd_container *container;
	struct vfd_device *device;
	struct vfd_group *group;
	struct vfd_count count;

	if (argc != 2 || ram == MAP_FAILED) {
		fprintf(stderr,
			"usage: first-vmm DEVICE, e.g. first-vmm 0000:3b:00.0 (vfd-info lists them)\n");
		return 2;
	}
	int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC), vm = ioctl(kvm, KVM_CREATE_VM, 0);
	struct kvm_userspace_memory_region slot = { .flags = KVM_MEM_LOG_DIRTY_PAGES,
						    .memory_size = SIZE,
						    .userspace_addr = (unsigned long)ram };
	check(ioctl(vm, KVM_SET_USER_MEMORY_REGION, &slot));
	memcpy(ram + CODE, guest, sizeof guest);

	check(vfd_log_create(NULL, &options.log, &err));
	check(vfd_region_add(options.log, &region, &err));
	check(vfd_container_open(&options, &container, &err));
	check(vfd_map(container, &map, &err));
	check(vfd_group_attach_device(container, argv[1], &group, &err));
	check(vfd_track_start(container, NULL, NULL, &err));
	check(vfd_device_open(group, argv[1], &device, &err));

	run_guest(kvm, vm);

	uint64_t bits[SIZE / PAGE / 64];
	struct kvm_dirty_log by_cpu = { .dirty_bitmap = bits };
	struct vfd_bitmap bitmap = { .struct_size = sizeof bitmap,
				     .provenance = VFD_REPORTED,
				     .page_size = PAGE,
				     .bits = SIZE / PAGE,
				     .words = bits,
				     .who = "kvm" };
	check(ioctl(vm, KVM_GET_DIRTY_LOG, &by_cpu));
	check(vfd_log_merge(options.log, &bitmap, NULL, &err));
	check(vfd_track_harvest(container, 0, NULL, &err));
	check(vfd_consumer_count(vfd_log_consumer(options.log), 0x8000, 0x8fff, &count, &err));
	printf("the page at 0x8000 is %s, and holds %u\n", count.owed ? "dirty" : "clean", ram[0x8000]);

	check(vfd_group_detach(&group, VFD_COLLECT, &err)); /* with all that the device wrote */
	check(vfd_container_close(&container, 0, &err));
	check(vfd_consumer_count(vfd_log_consumer(options.log), 0, UINT64_MAX, &count, &err));
	printf("%llu pages to be sent\n", (unsigned long long)count.owed);
	return count.owed == 0;
}
