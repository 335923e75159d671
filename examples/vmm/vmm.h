/* SPDX-License-Identifier: MIT */
#ifndef VMM_H
#define VMM_H

/* vfd-vmm: a small VMM that passes a VFIO device through, and keeps all that is written to its guest's memory, by vCPUs and by the
 * device, in one log of libvfiodirty. Read it in this order:
 *
 *	vm.c          the virtual machine, and its end
 *	ram.c         its memory, and KVM's dirty log
 *	vcpu.c        processors: run, pause, resume
 *	bus.c         who answers which port and which address
 *	serial.c      two UARTs: the console, and a line to an agent in the guest
 *	pci.c         configuration space: a host bridge, and the device
 *	window.c      the device's registers in the guest
 *	irq.c         MSI and MSI-X, by irqfd
 *	device.c      plug and unplug: the library's part
 *	boot.c        long mode; boot_linux.c a kernel, mptable.c what it wants to know; small.c a guest of a few hundred bytes
 *	dirty_rate.c  both sources of dirty pages, harvested into one log
 *	state.c       what a guest is besides memory; view.c what it sees of a PCI device; section.c as a stream; migration.c there and back
 *	agent.c       asks the guest to give up its device, or to look for it
 *	control.c     line commands on a socket
 *	main.c        options
 */

#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include <linux/kvm.h>
#include <linux/vfio.h>

#include <vfiodirty.h>

enum {
	VCPUS = 2,
	CHIPS = 3, /* two PICs, one I/O APIC */
	MSRS = 512,
	AGENT_SECONDS = 60,
	WINDOWS = 16,
	VECTORS = 256,
	BARS = 6,
	COM1 = 0x3f8,
	COM1_IRQ = 4,
	COM2 = 0x2f8,
	COM2_IRQ = 3,
	FIRST_GSI = 24, /* those below are the two PICs' and the I/O APIC's */
	PAGE = 4096,
};

/* Guest-physical addresses. */
#define RAM_MOST      (UINT64_C(3) << 30)
#define MMIO_DEVICE   UINT64_C(0xd0000000) /* regions of a device that is not PCI, 64 KiB apart */
#define MMIO_PCI      UINT64_C(0xe0000000)
#define BOOT_PARAMS   0x7000
#define SMALL_PARAMS  0x8000
#define PAGE_TABLES   0x9000
#define SMALL_CODE    0x10000
#define COMMAND_LINE  0x20000
#define MP_TABLE      0xf0000
#define HIGH_MEMORY   0x100000

/* What a guest can change of the flags of an interrupt capability (linux/pci_regs.h). */
#define MSI_SWITCHES  (uint32_t) PCI_MSI_FLAGS_ENABLE
#define MSIX_SWITCHES (uint32_t)(PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL)

struct mig_control;
struct vm;

struct vcpu {
	struct vm *vm;
	unsigned index;
	int fd;
	struct kvm_run *run;
	pthread_t thread;
	bool parked;
};

struct ram {
	uint8_t *start;
	uint64_t size;
	bool tracked; /* KVM logs what vCPUs write */
	uint64_t *bits;
};

struct serial {
	/* what moves with the guest */
	struct serial_state {
		uint8_t interrupts, line, modem, scratch, fifo, divisor[2];
		bool transmit_pending;
		uint16_t head, count;
		uint8_t input[512];
	} state;
	struct vm *vm;
	uint16_t port;
	uint8_t irq;
	void (*output)(struct vm *vm, uint8_t byte);
};

/* Part of a region that the guest reaches without us: a slot of KVM's, while the guest has switched it on. */
struct window {
	unsigned bar;
	uint64_t offset, size;
	void *memory;
	bool shown;
	uint64_t address;
};

struct bar {
	uint64_t size; /* 0: not there */
	uint64_t address;
	uint32_t flags; /* the low bits of its register */
	bool upper;	/* this register is the upper half of the one before */
};

struct vector {
	uint32_t words[4]; /* address, upper address, data, control: as in an MSI-X table */
	int eventfd;	   /* -1: there was none to be had */
	bool delivered;	   /* KVM takes from the eventfd */
};

/* A bit that resets the device, written by the guest; at 0: it has none. */
struct reset_bit {
	uint8_t at, bit; /* byte in configuration space */
};

struct irqs {
	unsigned kind; /* VFIO_PCI_MSI_IRQ_INDEX, VFIO_PCI_MSIX_IRQ_INDEX */
	unsigned count;
	bool enabled;
	struct vector vectors[VECTORS];
};

/* The device that is passed through, while there is one. */
struct device {
	char name[64];
	bool pci;
	struct vfd_group *group;
	struct vfd_device *vfio;
	struct bar bars[BARS];
	struct window windows[WINDOWS];
	unsigned window_count;
	uint8_t config[256]; /* PCI: what the guest sees in place of the device's own, */
	bool ours[256];	     /* where */
	bool memory;	     /* it has switched its BARs on */
	uint8_t msi, msix;   /* where in configuration space; 0: nowhere */
	unsigned table_bar;
	uint64_t table; /* the MSI-X table: offset there */
	struct reset_bit resets[2];
	struct irqs irqs;
};

struct vm {
	int kvm, fd, vfio; /* vfio: KVM_DEV_TYPE_VFIO */
	unsigned vcpu_count;
	struct vcpu vcpus[VCPUS];
	struct ram ram;
	struct serial console, agent;
	uint32_t config_address; /* port 0xcf8 */
	struct vfd_log *log;
	struct vfd_container *container; /* NULL: never had a device */
	struct device *device;
	struct vfd_group *left; /* by an unplug or a plug that failed: it is still to be detached */
	pthread_mutex_t lock;	/* all of the above, while vCPUs run */
	pthread_cond_t changed;
	pthread_mutex_t busy; /* a command that changes something: one at a time */
	bool paused;
	atomic_bool ending; /* for good: looked at with the lock and without */
	bool leaving; /* it ends when the command that said so was answered; no other is obeyed. Under `busy` */
	atomic_int code; /* how it ended: what any of those who ended it said */
	int ended;	 /* an eventfd */

	char incoming[64], answer[64]; /* the agent's line so far; its last whole one */
	size_t incoming_length;

	struct mig_control *moving; /* a migration is under way */
	bool unconfirmed;	    /* the last one was not confirmed: the guest may run there */
	char progress[128];
};

struct cpu_state {
	struct kvm_mp_state mp;
	struct kvm_regs regs;
	struct kvm_sregs sregs;
	struct kvm_xcrs xcrs;
	uint32_t xsave[1024]; /* struct kvm_xsave */
	struct kvm_debugregs debug;
	struct kvm_lapic_state lapic;
	struct kvm_vcpu_events events;
	uint32_t msr_count;
	struct kvm_msr_entry msrs[MSRS];
};

struct vm_state {
	uint32_t vcpu_count, config_address;
	struct kvm_irqchip chips[CHIPS];
	struct kvm_pit_state2 pit;
	struct kvm_clock_data clock;
	struct serial_state console, agent;
};

/* A message of our own, in the library's struct. Returns -1. */
int fail(struct vfd_error *err, const char *format, ...) __attribute__((format(printf, 2, 3)));
_Noreturn void die(const char *format, ...) __attribute__((format(printf, 1, 2)));
int check(int rc, const char *what); /* of a system call: the program ends if it failed */

/* vm.c */
void vm_create(struct vm *vm, uint64_t ram, bool huge, unsigned vcpus);
void vm_end(struct vm *vm, int code); /* from any thread; main() does the rest */
int vm_irq_line(struct vm *vm, unsigned irq, bool level);

/* ram.c */
void ram_create(struct vm *vm, uint64_t size, bool huge);
void *ram_at(struct vm *vm, uint64_t address, uint64_t size); /* ends the program if it is not RAM */
int ram_track(struct vm *vm, bool on, struct vfd_error *err);
int ram_harvest(struct vm *vm, struct vfd_error *err);
uint64_t ram_hash(const struct vm *vm);

/* vcpu.c */
void vcpu_create(struct vm *vm, unsigned index);
void vcpus_pause(struct vm *vm); /* when it returns none of them writes */
void vcpus_resume(struct vm *vm);
void vcpus_join(struct vm *vm);

/* bus.c: under the lock */
void bus_port(struct vm *vm, uint16_t port, bool write, void *data, unsigned size);
void bus_memory(struct vm *vm, uint64_t address, bool write, void *data, unsigned size);

/* serial.c */
void serial_port(struct serial *s, uint16_t port, bool write, uint8_t *data);
bool serial_input(struct serial *s, uint8_t byte); /* false: full */

/* pci.c */
int pci_describe(struct device *d, struct vfd_error *err);
uint32_t pci_own(const struct device *d, unsigned at, unsigned size); /* what the guest wrote there */
void pci_read(const struct device *d, unsigned at, uint8_t *data, unsigned size); /* as the guest does */
void pci_write(struct vm *vm, struct device *d, unsigned at, const uint8_t *data, unsigned size);
void pci_port(struct vm *vm, uint16_t port, bool write, void *data, unsigned size);

/* window.c */
void windows_make(struct vm *vm, struct device *d);
void windows_move(struct vm *vm, struct device *d); /* BARs or their switch have changed */
void windows_hide(struct vm *vm, struct device *d);
bool windows_access(struct vm *vm, uint64_t address, bool write, void *data, unsigned size);

/* irq.c */
void irq_config(struct vm *vm, struct device *d); /* MSI or MSI-X capability was written */
void irq_table(struct vm *vm, struct device *d, uint64_t offset, bool write, void *data, unsigned size);
void irq_off(struct vm *vm, struct device *d);

/* device.c */
int device_plug(struct vm *vm, const char *name, struct vfd_error *err);
int device_unplug(struct vm *vm, struct vfd_error *err); /* losslessly */

/* boot.c: the state in which both kinds of guests begin */
void boot_long_mode(struct vm *vm, struct vcpu *vcpu, uint64_t entry, uint64_t rdi, uint64_t rsi);
void boot_linux(struct vm *vm, const char *kernel, const char *initrd, const char *command_line);
void boot_small(struct vm *vm, uint64_t work, uint64_t passes);
void small_report(struct vm *vm);
void mptable_write(struct vm *vm);

/* dirty_rate.c: tracking, of vCPUs and of the device */
int track(struct vm *vm, bool on, struct vfd_error *err);
int harvest(struct vm *vm, bool final, struct vfd_harvest *result, struct vfd_error *err);
int dirty_rate(struct vm *vm, char *text, size_t size, struct vfd_error *err);

/* state.c: vCPUs stand still */
int state_save_cpu(struct vcpu *v, struct cpu_state *s, struct vfd_error *err);
int state_load_cpu(struct vcpu *v, const struct cpu_state *s, struct vfd_error *err);
int state_save_vm(struct vm *vm, struct vm_state *s, struct vfd_error *err);
int state_load_vm(struct vm *vm, const struct vm_state *s, struct vfd_error *err);

/* migration.c: to another process, of which `text` then tells; and from one */
struct migrate_options {
	uint64_t bandwidth, downtime_ms;
	bool force, verify;
};
int migrate_away(struct vm *vm, const char *uri, const struct migrate_options *options, char *text,
		 size_t size, struct vfd_error *err);
int migrate_resume(struct vm *vm, struct vfd_error *err);
bool migrate_cancel(struct vm *vm); /* false: none is under way */
int migrate_here(struct vm *vm, const char *uri, const char *plug, struct vfd_error *err);

/* agent.c */
void agent_output(struct vm *vm, uint8_t byte);
int agent_ask(struct vm *vm, const char *command, const char *want, unsigned seconds, struct vfd_error *err);

/* control.c */
int control_listen(const char *path);
void control_serve(struct vm *vm, int listener, bool input);
int control_ask(const char *path, const char *command);

#endif
