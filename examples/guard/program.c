/* SPDX-License-Identifier: MIT */

/* Can a preloaded library follow this program? Not one without a dynamic linker, nor one that the linker protects, nor one whose
 * runtime makes its system calls by itself. */

#include "launch.h"

#include <elf.h>
#include <errno.h>
#include <limits.h>
#include <link.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

void find_program(const char *name, char *path, size_t size)
{
	const char *at = getenv("PATH"), *end;

	if (strchr(name, '/')) {
		snprintf(path, size, "%s", name);
		if (access(path, F_OK))
			die(127, "%s: %s", name, strerror(errno));
		return;
	}
	for (at = at ? at : "/bin:/usr/bin"; *at; at = *end ? end + 1 : end) {
		end = strchrnul(at, ':');
		snprintf(path, size, "%.*s/%s", end == at ? 1 : (int)(end - at), end == at ? "." : at, name);
		if (!access(path, X_OK))
			return;
	}
	die(127, "%s: not found", name);
}

/* ---- ELF --------------------------------------------------------------------------------------------------------------- */

struct image {
	FILE *file;
	ElfW(Ehdr) header;
	char linker[PATH_MAX]; /* PT_INTERP; "": none */
};

static bool read_at(FILE *file, uint64_t offset, void *to, size_t size)
{
	return !fseeko(file, (off_t)offset, SEEK_SET) && fread(to, 1, size, file) == size;
}

static void read_linker(struct image *image)
{
	ElfW(Phdr) p;

	for (unsigned i = 0; i < image->header.e_phnum; i++) {
		if (!read_at(image->file, image->header.e_phoff + i * sizeof p, &p, sizeof p) ||
		    p.p_type != PT_INTERP)
			continue;
		if (p.p_filesz >= sizeof image->linker ||
		    !read_at(image->file, p.p_offset, image->linker, p.p_filesz))
			image->linker[0] = 0;
	}
}

static bool has_section(struct image *image, const char *wanted)
{
	ElfW(Shdr) names, s;
	char name[64];

	if (!read_at(image->file, image->header.e_shoff + image->header.e_shstrndx * sizeof names, &names,
		     sizeof names))
		return false;
	for (unsigned i = 0; i < image->header.e_shnum; i++) {
		if (!read_at(image->file, image->header.e_shoff + i * sizeof s, &s, sizeof s) ||
		    !read_at(image->file, names.sh_offset + s.sh_name, name, strlen(wanted) + 1))
			continue;
		if (!memcmp(name, wanted, strlen(wanted) + 1))
			return true;
	}
	return false;
}

static bool is_elf(const char *path, struct image *image)
{
	memset(image, 0, sizeof *image);
	image->file = fopen(path, "re");
	if (!image->file)
		die(126, "%s: %s", path, strerror(errno));
	return read_at(image->file, 0, &image->header, sizeof image->header) &&
	       !memcmp(image->header.e_ident, ELFMAG, SELFMAG);
}

/* "#!" INTERPRETER: it is what runs. */
static bool script(struct image *image, char *path)
{
	char line[PATH_MAX] = "";

	rewind(image->file);
	return fgets(line, sizeof line, image->file) && sscanf(line, "#! %4095s", path) == 1;
}

/* ---- refusals ------------------------------------------------------------------------------------------------------------ */

static void check_rights(const char *path)
{
	struct stat st;
	char capabilities[64];

	if (stat(path, &st) || (geteuid() == 0 && getuid() == 0))
		return;
	if (st.st_mode & (S_ISUID | S_ISGID))
		die(126,
		    "%s is set-user-ID or set-group-ID: the dynamic linker ignores LD_PRELOAD. Run it as "
		    "that user",
		    path);
	if (getxattr(path, "security.capability", capabilities, sizeof capabilities) > 0)
		die(126, "%s has file capabilities: the dynamic linker ignores LD_PRELOAD. Run it as root",
		    path);
}

static void own_linker(char *linker, size_t size)
{
	struct image self;

	if (is_elf("/proc/self/exe", &self))
		read_linker(&self);
	fclose(self.file);
	snprintf(linker, size, "%s", self.linker);
}

static const char *base(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

static void check_elf(const char *path, struct image *image)
{
	char own[PATH_MAX];

	if (image->header.e_ident[EI_CLASS] != (sizeof(void *) == 8 ? ELFCLASS64 : ELFCLASS32))
		die(126, "%s is a program of another word size; vfd-guard can only follow its own", path);
	read_linker(image);
	if (!image->linker[0])
		die(126,
		    "%s is linked statically (it has no PT_INTERP): no library can be put before its libc, "
		    "so its calls would "
		    "not be seen. Link it dynamically",
		    path);
	if (has_section(image, ".go.buildinfo"))
		die(126,
		    "%s is a Go program: its runtime makes system calls by itself, past libc, and they would "
		    "not be seen",
		    path);
	own_linker(own, sizeof own);
	if (strcmp(base(own), base(image->linker)))
		die(126, "%s is for another libc (%s, vfd-guard is for %s)", path, image->linker, own);
}

void check_program(const char *path)
{
	struct image image;
	char interpreter[PATH_MAX];

	check_rights(path);
	if (is_elf(path, &image))
		check_elf(path, &image);
	else if (script(&image, interpreter) && strcmp(interpreter, path))
		check_program(interpreter);
	else
		die(126, "%s is neither an ELF program nor a script that names its interpreter", path);
	fclose(image.file);
}
