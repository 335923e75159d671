#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Fetch a stock Debian kernel, build the vfdtest module for it, pack the guest's
# base initramfs. Nothing is installed into the system but missing tools; in
# particular no kernel is. All results go into a cache outside the tree:
#
#   kernel/VERSION/      the kernel's packages, unpacked
#   bench/VERSION-HASH/  vmlinux, vfdtest.ko, base.cpio
#
# Prints the bench directory on stdout, progress on stderr.
# VFD_KERNEL=VERSION asks for one version, e.g. 6.1.0-50-amd64; own or debug for what build.sh makes.
# VFD_CACHE names another cache. VFD_INSTALL=no installs nothing. --update looks for a newer kernel.
set -euo pipefail
PATH=$PATH:/usr/sbin:/sbin

here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=kernel/packages.sh
. "$here/packages.sh"
base_modules=(virtio_pci virtio_console irqbypass vfio vfio_iommu_type1 vfio-pci-core vfio-pci mdev)

# ---- which kernel -----------------------------------------------------------

# Versions of which apt has both image and headers, oldest first.
versions_like() {
	comm -12 <(package_versions image "$1") <(package_versions headers "$1") | sort -V
}

package_versions() {
	apt-cache search --names-only "^linux-$1-$2\$" | sed "s/ .*//; s/^linux-$1-//" | sort
}

newest() {
	versions_like '6\.12\.[0-9][^ ]*[0-9]-amd64' | tail -n 1
}

newest_fallback() {
	versions_like '[0-9]+\.[0-9][^ ]*[0-9]-amd64' | tail -n 1
}

choose_version() {
	local version
	version=$(newest)
	if [ -z "$version" ]; then
		[ -n "$(newest_fallback)" ] || update_lists
		version=$(newest)
	fi
	if [ -z "$version" ]; then
		version=$(newest_fallback)
		[ -n "$version" ] || die "apt knows no linux-image-*-amd64; is this Debian?"
		say "no 6.12 kernel in apt: taking $version instead"
	fi
	echo "$version"
}

# The cached choice, so that a run without network or news costs nothing.
version() {
	if [ "${VFD_KERNEL:-stock}" != stock ]; then
		echo "$VFD_KERNEL"
	elif [ ${#update[@]} = 0 ] && [ -s "$cache/version" ]; then
		cat "$cache/version"
	else
		choose_version | tee "$cache/version.tmp"
		mv "$cache/version.tmp" "$cache/version"
	fi
}

# ---- the kernel's packages ----------------------------------------------------

depends() {
	apt-cache depends "$1" | sed -n 's/^[ |]*Depends: //p'
}

header_packages() {
	echo "linux-headers-$1"
	depends "linux-headers-$1" | grep -E '^linux-(headers-.*-common|kbuild-.*)$'
}

# The packages expect to lie in /usr: point them at where they really are.
relocate() {
	local dir=$1 final=$2 link target
	find "$dir/usr/src" -maxdepth 2 \( -name Makefile -o -name .kernelvariables \) -type f \
		-exec sed -i "s,/usr/\(src\|lib\)/linux-,$final&,g" {} +
	find "$dir/usr" "$dir/lib" -type l -lname '/usr/*' -print0 |
		while IFS= read -r -d '' link; do
			target=$(readlink "$link")
			ln -sfn "$final$target" "$link"
		done
	# With vmlinux here the build would want pahole, to add BTF nobody reads.
	rm -f "$dir/usr/src/linux-headers-$ver/vmlinux"
}

# QEMU can start the kernel proper; that spares the guest a second of unpacking.
# vmlinuz says where it lies: offset and length of the payload in its header
# (Documentation/arch/x86/boot.rst); its last four bytes are its size unpacked.
unpack_vmlinux() {
	local image=$1/vmlinuz-$ver setup offset length
	setup=$(od -An -tu1 -j 497 -N 1 "$image")
	offset=$(od -An -tu4 -j 584 -N 4 "$image")
	length=$(od -An -tu4 -j 588 -N 4 "$image")
	dd if="$image" bs=64K iflag=skip_bytes,count_bytes status=none \
		skip=$(((setup + 1) * 512 + offset)) count=$((length - 4)) >"$1/payload"
	case $(od -An -tx1 -N 4 "$1/payload") in
	*28*b5*2f*fd) need_commands zstd:zstd; zstd -qdc "$1/payload" >"$1/vmlinux" ;;
	*fd*37*7a*58) xz -dc "$1/payload" >"$1/vmlinux" ;;
	*) say "unknown compression: starting the kernel as it is" ;;
	esac
	rm "$1/payload"
	[ -s "$1/vmlinux" ] || cp "$image" "$1/vmlinux"
}

fetch_kernel() {
	local final=$cache/kernel/$ver tmp
	[ ! -e "$final" ] || return 0
	[ -n "$(package_versions image "${ver//[.+]/.}")" ] || update_lists
	need_commands xz:xz-utils depmod:kmod
	tmp=$(mktemp -d "$cache/tmp.XXXXXX")
	mapfile -t packages < <(header_packages "$ver")
	download "$tmp" "linux-image-$ver" "${packages[@]}" busybox-static
	relocate "$tmp" "$final"
	depmod -b "$tmp" "$ver"
	unpack_vmlinux "$tmp/boot"
	rm -rf "${tmp:?}/usr/share"
	chmod 755 "$tmp"
	mv "$tmp" "$final"		# from here on it counts as done
}

# ---- the bench ----------------------------------------------------------------

# Debian's is named in its headers; ours is whatever built the kernel.
compiler() {
	[ -e "$kernel/usr/src/linux-headers-$ver/.kernelvariables" ] || { echo gcc && return; }
	sed -n 's/.*(CROSS_COMPILE)//p' "$kernel/usr/src/linux-headers-$ver/.kernelvariables"
}

build_module() {
	local out=$1 src=$kernel/usr/src/linux-headers-$ver cc
	cc=$(compiler)
	need_commands "make:make" "x86_64-linux-gnu-$cc:$cc"
	# objtool itself only starts objtool.real-x86, which needs libelf
	if [[ $(ldd "$src"/tools/objtool/objtool* 2>/dev/null) =~ libelf[^$'\n']*not\ found ]]; then
		install_packages libelf1
	fi
	say "building vfdtest.ko for $ver"
	mkdir "$out/build"
	cp -r "$here/module" "$here/vfdtest.h" "$out/build"
	make -s -C "$src" M="$out/build/module" modules >"$out/build.log" 2>&1 || {
		cat "$out/build.log" >&2
		die "the module does not build"
	}
	if grep -E 'warning:' "$out/build.log" >&2; then
		say "the module builds with warnings"
	fi
	cp "$out/build/module/vfdtest.ko" "$out"
	rm -r "$out/build"
}

# Copy modules, unpacked, and list them in loading order.
unpack_modules() {
	local dir=$1 line file name
	shift
	mkdir -p "$dir/modules"
	for name; do
		modprobe -d "$kernel" -S "$ver" --show-depends "$name" 2>/dev/null || true
	done | while read -r line file _; do
		[ "$line" = insmod ] || continue
		name=$(basename "${file%.xz}")
		[ ! -e "$dir/modules/$name" ] || continue
		case $file in
		*.xz) xz -dc "$file" >"$dir/modules/$name" ;;
		*) cp "$file" "$dir/modules/$name" ;;
		esac
		echo "$name"
	done >"$dir/modules.list"
}

pack_base() {
	local out=$1 root=$1/root
	need_commands cpio:cpio
	mkdir -p "$root"/{bin,sbin,lib,proc,sys,dev,run,tmp,out,root,vfd}
	cp "$kernel/bin/busybox" "$root/bin/"
	cp "$here/guest-init.sh" "$root/init"
	chmod 755 "$root/init"
	unpack_modules "$root/vfd" "${base_modules[@]}"
	cp "$out/vfdtest.ko" "$root/vfd/modules/"
	# A second archive follows this one; the kernel finds it only if this one
	# ends on a block of 512 bytes.
	(cd "$root" && find . -print0 | cpio --null -o -H newc -R 0:0 --quiet) >"$out/base.cpio"
	truncate -s %512 "$out/base.cpio"
	rm -r "$root"
}

bench_hash() {
	cat "$here"/{module/*,vfdtest.h,guest-init.sh,fetch.sh,packages.sh} | sha256sum | cut -c 1-16
}

build_bench() {
	local tmp
	tmp=$(mktemp -d "$cache/tmp.XXXXXX")
	build_module "$tmp"
	pack_base "$tmp"
	ln -s "$kernel/boot/vmlinux" "$tmp/vmlinux"
	ln -s "$kernel" "$tmp/kernel"
	echo "$ver" >"$tmp/version"
	chmod 755 "$tmp"
	mkdir -p "$cache/bench"
	mv "$tmp" "$bench"
	# of modules edited since; a week is longer than any run
	find "$cache/bench" -mindepth 1 -maxdepth 1 -mtime +7 -exec rm -rf {} +
}

# ---- main ---------------------------------------------------------------------

update=()
case ${1:-} in
'') ;;
--update) update=(--update) ;;
*) die "usage: fetch.sh [--update]" ;;
esac

mkdir -p "$cache/kernel"
# before the lock: it takes minutes, and others may want a stock kernel
case ${VFD_KERNEL:-} in
own | debug) ours=$("$here/build.sh" "${update[@]}" "$VFD_KERNEL") || exit ;;
*) ours='' ;;
esac

exec 9>"$cache/lock"
flock -n 9 || { say "waiting for another fetch"; flock 9; }
rm -rf "$cache"/tmp.??????		# left by one that was interrupted

if [ -n "$ours" ]; then
	kernel=$ours
	ver=$(cat "$kernel/release")
else
	ver=$(version)
	kernel=$cache/kernel/$ver
fi
bench=$cache/bench/$(basename "$kernel")-$(bench_hash)
if [ ! -e "$bench" ]; then
	[ -n "$ours" ] || fetch_kernel
	build_bench
fi
need_commands qemu-system-x86_64:qemu-system-x86 cpio:cpio
echo "$bench"
