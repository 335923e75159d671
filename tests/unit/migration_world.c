/* SPDX-License-Identifier: MIT */
#include "migration_world.h"

#include <endian.h>
#include <linux/pci_regs.h>
#include <linux/vfio.h>
#include <string.h>

static struct fixture fixture;
static const struct model_log plain;
static const struct model_migration everything = { .flags = CAN_ALL };

struct fixture *const f = &fixture;
struct vfd_device *devices[DEVICES];
const char *const names[DEVICES] = { FIRST, SECOND, THIRD };

static const struct model_config machine = {
	.group_count = 2,
	.groups = { { .number = 20,
		      .kind = MODEL_PHYSICAL,
		      .devices = { { .name = FIRST, .pci = true, .log = &plain, .migration = &everything },
				   { .name = SECOND,
				     .pci = true,
				     .log = &plain,
				     .migration = &everything } } },
		    { .number = 21,
		      .kind = MODEL_PHYSICAL,
		      .devices = { { .name = THIRD,
				     .pci = true,
				     .log = &plain,
				     .migration = &everything } } } },
};

static void master_on(struct vfd_device *device)
{
	uint16_t command = htole16(PCI_COMMAND_MASTER | PCI_COMMAND_MEMORY);

	OK(vfd_device_write(device, VFIO_PCI_CONFIG_REGION_INDEX, PCI_COMMAND, &command, 2, &f->err));
}

void migration_begin(const struct model_migration *how)
{
	fixture_begin(f, &machine);
	for (unsigned i = 0; how && i < DEVICES; i++)
		model_set_migration(f->model, names[i], how);
	OK(vfd_group_attach(f->container, 20, &f->group, &f->err));
	OK(vfd_group_attach(f->container, 21, &f->group2, &f->err));
	OK(map_pages(f, 0, 0, PAGES, RW));
	for (unsigned i = 0; i < DEVICES; i++) {
		OK(vfd_device_open(i < 2 ? f->group : f->group2, names[i], &devices[i], &f->err));
		master_on(devices[i]);
	}
	OK(vfd_track_start(f->container, NULL, NULL, &f->err));
	ck_assert_uint_eq(plan_of(f).exact, 1);
}

void migration_end(void)
{
	model_fault_clear(f->model);
	check_law(f);
	OK(vfd_container_close(&f->container, VFD_COLLECT, &f->err));
	check_all_logged(f);
	fixture_end(f);
}

int set_one(unsigned device, uint32_t state)
{
	return vfd_migration_set(&devices[device], 1, state, &f->err);
}

struct vfd_migration_info about(unsigned device)
{
	struct vfd_migration_info info = { .struct_size = sizeof info };

	OK(vfd_migration_info(devices[device], &info, &f->err));
	return info;
}

uint32_t state_of(unsigned device)
{
	uint32_t state = model_migration_state(f->model, names[device]);

	ck_assert_uint_eq(about(device).state, state);
	return state;
}

void set_registers(unsigned device, char value)
{
	char bytes[MODEL_STATE_SIZE];

	memset(bytes, value, sizeof bytes);
	OK(vfd_device_write(devices[device], 0, 0, bytes, sizeof bytes, &f->err));
}

bool has_registers(unsigned device, char value)
{
	char bytes[MODEL_STATE_SIZE];
	size_t right = 0;

	OK(vfd_device_read(devices[device], 0, 0, bytes, sizeof bytes, &f->err));
	while (right < sizeof bytes && bytes[right] == value)
		right++;
	return right == sizeof bytes;
}

int read_all(unsigned device, char *data, size_t room, size_t *size)
{
	size_t done = 1;
	int rc = 0;

	*size = 0;
	while (!rc && done) {
		rc = vfd_migration_read(devices[device], data + *size, room - *size, &done, &f->err);
		*size += rc ? 0 : done;
	}
	return rc;
}

int write_all(unsigned device, const char *data, size_t size)
{
	size_t at = 0, done = 0;
	int rc = 0;

	for (; !rc && at < size; at += done)
		rc = vfd_migration_write(devices[device], data + at, size - at, &done, &f->err);
	return rc;
}

int dma(unsigned device, uint64_t page)
{
	return model_dma_write(f->model, names[device], page * PAGE, 8, page);
}

unsigned writers(void)
{
	return info_of(f).writers;
}
