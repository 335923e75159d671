/* SPDX-License-Identifier: MIT */

/* Who answers which port, and which address. */

#include "vmm.h"

#include <string.h>

enum { KEYBOARD = 0x64, CLOCK_DATA = 0x71, EXIT = 0xf4, CONFIG = 0xcf8, RESET_KEY = 0xfe };

static bool is_uart(uint16_t port, uint16_t base)
{
	return port >= base && port < base + 8;
}

/* What is not there reads as ones; but a keyboard controller that is always busy, and a clock that is, cost a kernel seconds. */
static void nobody(uint16_t port, void *data, unsigned size)
{
	memset(data, port == KEYBOARD || port == CLOCK_DATA ? 0 : 0xff, size);
}

void bus_port(struct vm *vm, uint16_t port, bool write, void *data, unsigned size)
{
	uint8_t byte = *(uint8_t *)data;

	if (is_uart(port, COM1))
		serial_port(&vm->console, port & 7, write, data);
	else if (is_uart(port, COM2))
		serial_port(&vm->agent, port & 7, write, data);
	else if (port >= CONFIG && port < CONFIG + 8)
		pci_port(vm, port, write, data, size);
	else if (!write)
		nobody(port, data, size);
	else if (port == EXIT)
		vm_end(vm, byte);
	else if (port == KEYBOARD && byte == RESET_KEY)
		vm_end(vm, 0); /* how Linux reboots: here that is the end */
}

void bus_memory(struct vm *vm, uint64_t address, bool write, void *data, unsigned size)
{
	if (!windows_access(vm, address, write, data, size) && !write)
		memset(data, 0xff, size);
}
