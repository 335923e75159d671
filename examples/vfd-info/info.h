/* SPDX-License-Identifier: MIT */
#ifndef INFO_H
#define INFO_H

/* What this machine's VFIO can do. Gathered first (sysfs.c, kernel.c), printed after (text.c, json.c). */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <vfiodirty.h>

enum tracking {
	TRACKING_EXACT,
	TRACKING_DEFERRED,
	TRACKING_NONE,
};

enum kind {
	KIND_EMULATED,
	KIND_PHYSICAL,
	KIND_NOIOMMU,
};

struct info_device {
	char name[64];
	char driver[64]; /* "": none */
	char pci_id[16]; /* "8086:10d3"; "": not on PCI */
};

/* What the kernel answered when the group was attached. */
struct info_attached {
	bool tried, attached;
	char error[VFD_ERROR_TEXT];
	struct vfd_container_info container;
};

struct info_group {
	int number;
	enum kind kind;
	char node[64]; /* "": VFIO does not have it */
	bool can_open; /* by this user */
	enum tracking tracking;
	char rule[320];	   /* which rule decided, in words */
	bool asked_kernel; /* or sysfs only */
	size_t device_count;
	struct info_device *devices;
	struct info_attached attached;
};

struct info {
	const char *root; /* "" or where a copy of another machine's /sys and /dev lies */
	char kernel[160];
	bool usable; /* the container opens and can track */
	char container[VFD_ERROR_TEXT];
	int type1_v1, type1_v2, noiommu; /* 1, 0; -1: unknown */
	bool iommufd;
	uint32_t backend;		     /* enum vfd_backend: with which groups are attached */
	char automatic[VFD_ERROR_TEXT + 16]; /* what the library takes by itself, and why */
	size_t group_count;
	struct info_group *groups;
};

void info_read_sysfs(struct info *info);
/* Opens /dev/vfio/vfio; harmless. */
void info_open_container(struct info *info);
/* Opens each group; a program that uses one of them would notice only if it tried to open it meanwhile. */
void info_attach_groups(struct info *info);

void info_print_text(const struct info *info);
void info_print_json(const struct info *info);

/* One sentence: what it comes to. */
void info_verdict(const struct info *info, char *text, size_t size);

static inline const char *tracking_word(enum tracking t)
{
	return t == TRACKING_EXACT ? "exact" : t == TRACKING_DEFERRED ? "deferred" : "none";
}

static inline const char *kind_word(enum kind k)
{
	return k == KIND_EMULATED ? "emulated" : k == KIND_PHYSICAL ? "physical" : "no-IOMMU";
}

#endif
