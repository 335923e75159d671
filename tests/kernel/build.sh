#!/bin/bash
# SPDX-License-Identifier: MIT
#
# build.sh FLAVOUR...: build the test kernel of our own (own: IOMMUFD, device logs, fault injection; debug: the same with KASAN
# and lockdep) from Debian's kernel sources, once, into the cache, and print for each the directory where it lies:
#
#   kernel/FLAVOUR-VERSION-HASH/    boot/vmlinux, modules, what a module outside the tree builds with
#
# laid out as fetch.sh unpacks a stock one. The hash is that of the configuration. Minutes; progress on stderr.
# VFD_INSTALL=no installs nothing. --update looks for newer sources. Exit code 3: sources or tools cannot be had.
set -euo pipefail
PATH=$PATH:/usr/sbin:/sbin

here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=kernel/packages.sh
. "$here/packages.sh"
package=linux-source-6.12

# ---- sources ----------------------------------------------------------------

known() { apt-cache show "$package" >/dev/null 2>&1; }

have_sources() { compgen -G "$cache/source/$package"_*.deb >/dev/null; }

get_sources() {
	local debs=$cache/source
	[ "$update" = yes ] || ! have_sources || return 0
	known || update_lists || true
	rm -rf "$debs.new"
	download_debs "$debs.new" "$package" || { update_lists && download_debs "$debs.new" "$package"; } ||
		{ say "$package cannot be downloaded"; exit 3; }
	rm -rf "$debs"
	mv "$debs.new" "$debs"
}

source_version() { basename "$cache/source/$package"_*.deb | cut -d_ -f2; }

# Once for all flavours. Most of the sources are drivers and machines that are not built.
unpack_sources() {
	[ ! -e "$work/linux" ] || return 0
	say "unpacking the sources"
	dpkg -x "$cache/source/$package"_*.deb "$work/deb"
	mkdir "$work/linux"
	tar -xf "$work/deb/usr/src/$package.tar.xz" -C "$work/linux" --strip-components=1 \
		--exclude='*/drivers/gpu/*.[ch]' --exclude='*/drivers/media/*.[ch]' --exclude='*/drivers/net/wireless/*.[ch]' \
		--exclude='*/sound/*.[ch]' --exclude='*.dts*' --exclude='*/Documentation/[!K]*' \
		--exclude='*/tools/testing/*' --exclude='*/tools/perf/*'
	rm -r "$work/deb"
}

# ---- one kernel --------------------------------------------------------------

fragments() {
	echo "$here/own.config"
	[ "$1" = own ] || echo "$here/$1.config"
}

name_of() {
	local files
	mapfile -t files < <(fragments "$1")
	echo "$1-$(source_version)-$(cat "${files[@]}" | sha256sum | cut -c 1-12)"
}

kernel_make() { make -s -C "$work/linux" O="$objects" "$@"; }

# What was asked for and is not in the result was misspelt, or lacks something it depends on.
configure() {
	local line bad=0
	cat "$@" >"$work/wanted"
	kernel_make KCONFIG_ALLCONFIG="$work/wanted" allnoconfig >"$work/log" 2>&1 || { cat "$work/log" >&2 && return 1; }
	while read -r line; do
		grep -qxF -- "$line" "$objects/.config" || { say "the kernel does not take: $line" && bad=1; }
	done < <(tac "$work/wanted" | awk -F= '/^CONFIG_/ && !seen[$1]++')
	[ "$bad" = 0 ]
}

# One line of make's output for each file built. How many there will be is only known from experience.
progress() {
	local line count=0 start=$SECONDS
	while IFS= read -r line; do
		[[ $line == "  "[A-Z]* ]] || continue
		count=$((count + 1))
		[ $((count % 250)) != 0 ] || say "$1: $count of about $2 files, $((SECONDS - start)) s"
	done
}

compile() {
	local expected
	expected=$(($(grep -cE '=[ym]' "$objects/.config") * 5 / 2))
	make -C "$work/linux" O="$objects" -j "$(nproc)" vmlinux modules 2>&1 | tee "$work/log" | progress "$1" "$expected" || {
		tail -n 30 "$work/log" >&2
		die "the kernel does not build"
	}
}

# In place of Debian's packages of image and headers.
collect() {
	local out=$1 release
	release=$(cat "$objects/include/config/kernel.release")
	mkdir -p "$out/boot"
	strip -o "$out/boot/vmlinux" "$objects/vmlinux"
	cp "$objects/.config" "$out/boot/config-$release"
	kernel_make INSTALL_MOD_PATH="$out" modules_install >/dev/null
	# shellcheck disable=SC2016 # make's variables
	kernel_make run-command KBUILD_RUN_COMMAND='$(srctree)/scripts/package/install-extmod-build '"$out/usr/src/linux-headers-$release"
	rm -f "$out/lib/modules/$release/build"
	echo "$release" >"$out/release"
	download "$out" busybox-static
	rm -rf "${out:?}/usr/share"
}

build() {
	local flavour=$1 name start=$SECONDS files
	name=$(name_of "$flavour")
	[ ! -e "$cache/kernel/$name" ] || return 0
	need_tools
	unpack_sources
	mapfile -t files < <(fragments "$flavour")
	objects=$work/$flavour
	mkdir -p "$objects"
	say "$flavour: building Linux $(source_version)"
	configure "${files[@]}" || die "$flavour: see above"
	compile "$flavour"
	collect "$work/out"
	mkdir -p "$cache/kernel"
	mv "$work/out" "$cache/kernel/$name"	# from here on it counts as done
	rm -rf "$objects"
	say "$flavour: built in $((SECONDS - start)) s"
	# of other configurations; who tries them out comes back to them within weeks
	find "$cache/kernel" -mindepth 1 -maxdepth 1 -name "$flavour-*" -mtime +30 -exec rm -rf {} +
}

need_tools() {
	# in a shell of its own: there it may give up
	(need_commands make:make gcc:gcc flex:flex bison:bison bc:bc cpio:cpio depmod:kmod xz:xz-utils perl:perl strip:binutils \
		/usr/include/libelf.h:libelf-dev) || exit 3
}

all_built() {
	local flavour
	have_sources || return
	for flavour in "${flavours[@]}"; do
		[ -e "$cache/kernel/$(name_of "$flavour")" ] || return
	done
}

print_all() {
	local flavour
	for flavour in "${flavours[@]}"; do
		echo "$cache/kernel/$(name_of "$flavour")"
	done
}

# ---- main ---------------------------------------------------------------------

update=no flavours=()
for argument; do
	case $argument in
	--update) update=yes ;;
	own | debug) flavours+=("$argument") ;;
	*) die "usage: build.sh [--update] own|debug..." ;;
	esac
done
[ ${#flavours[@]} -gt 0 ] || die "usage: build.sh [--update] own|debug..."

# Nothing to do is the rule, and needs no lock.
if [ "$update" = no ] && all_built; then
	print_all
	exit
fi

work=$cache/build
mkdir -p "$cache"
exec 8>"$cache/build.lock"
flock -n 8 || { say "waiting for another build"; flock 8; }
rm -rf "$work"		# left by one that was interrupted
mkdir "$work"
trap 'rm -rf "$work"' EXIT

get_sources
for flavour in "${flavours[@]}"; do
	build "$flavour"
done
print_all
