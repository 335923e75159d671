#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Migrate the memory of a program whose device keeps writing, on a real kernel,
# with the device unplugged in the middle: first by plain ioctls, then through
# the library. On a bare Debian 12: no VFIO hardware, no KVM needed.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
tree=$(dirname "$here")
cache=${VFD_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/libvfiodirty}
build=$cache/build-demo
vfd_demo=$build/examples/vfd-demo

usage() {
	cat <<'END'
usage: demo.sh [options]

  --runs N         migrations of each kind, 1 to 1000 (10)
  --image FILE     what is in the memory that is migrated (the kernel's image)
  --size MIB       how much memory, 32 to 512, a multiple of 32 (32)
  --backend NAME   what the library is to use: auto, type1 or iommufd (auto); for
                   iommufd a kernel is built, once, which takes some minutes
  --vmm            something else: a Linux guest with an NVMe disk moves between two
                   processes of vfd-vmm, the disk unplugged on the way; and a small guest
                   with a device that migrates, --runs times: some minutes
  --host ADDRESS   do it here, with this machine's own PCI device (0000:3b:00.0),
                   instead of in an emulated machine with a device made for it
  --rebind         with --host: take the device from its driver meanwhile. A disk
                   that is in use is refused in any case.
  --help           this

Installs what is missing from apt, builds into ~/.cache/libvfiodirty, boots a
stock Debian kernel in QEMU. Exit: 0 the library lost nothing and plain ioctls
lost pages (with --host: the library lost nothing; with --vmm: all moved), 1
otherwise, 2 wrong use.
END
}

say() { printf 'demo: %s\n' "$*" >&2; }
fail() { printf 'FAILED: %s\n' "$*"; exit 1; }
wrong() { say "$*"; usage >&2; exit 2; }

as_root() {
	if [ "$(id -u)" = 0 ]; then
		"$@"
	elif command -v sudo >/dev/null; then
		sudo "$@"
	else
		fail "this needs root, and there is no sudo: $*"
	fi
}

# ---- options --------------------------------------------------------------------

runs=10 image='' size=32 host='' rebind=no backend=auto vmm=no

# number OPTION VALUE MAX
number() {
	if ! [[ $2 =~ ^[1-9][0-9]{0,3}$ ]] || [ "$2" -gt "$3" ]; then
		wrong "$1 $2: a number from 1 to $3 is wanted"
	fi
}

check_options() {
	number --runs "$runs" 1000
	number --size "$size" 512
	[ $((size % 32)) = 0 ] || wrong "--size $size: a multiple of 32 is wanted"
	[ -z "$image" ] || [ -s "$image" ] || wrong "--image $image: no such file, or it is empty"
	case $backend in
	auto | type1 | iommufd) ;;
	*) wrong "--backend $backend: auto, type1 or iommufd is wanted" ;;
	esac
	[ "$vmm" = no ] || [ -z "$host" ] || wrong "--vmm is for the emulated machine"
	[ "$rebind" = no ] || [ -n "$host" ] || wrong "--rebind goes with --host"
}

parse() {
	while [ $# -gt 0 ]; do
		case $1 in
		-h | --help) usage; exit 0 ;;
		--rebind) rebind=yes; shift; continue ;;
		--vmm) vmm=yes; shift; continue ;;
		--runs | --image | --size | --host | --backend) [ $# -ge 2 ] || wrong "$1 needs a value" ;;
		*) wrong "unknown option $1" ;;
		esac
		printf -v "${1#--}" %s "$2"
		shift 2
	done
	check_options
}

# ---- what is needed -------------------------------------------------------------

missing_packages() {
	command -v cmake >/dev/null || echo cmake
	command -v make >/dev/null || echo make
	command -v gcc >/dev/null || echo gcc
	[ -e /usr/include/linux/vfio.h ] && [ -e /usr/include/stdio.h ] || echo libc6-dev
}

install_missing() {
	local packages
	mapfile -t packages < <(missing_packages)
	[ ${#packages[@]} -gt 0 ] || return 0
	command -v apt-get >/dev/null || fail "install these first: ${packages[*]} (there is no apt here)"
	say "installing from apt: ${packages[*]}"
	{
		as_root apt-get -q update && as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=120 \
			install --no-install-recommends "${packages[@]}"
	} >&2 || fail "apt could not install ${packages[*]}, see above"
}

compile() {
	cmake -S "$tree" -B "$build" -G 'Unix Makefiles' -DCMAKE_C_COMPILER=gcc \
		-DCMAKE_BUILD_TYPE=RelWithDebInfo -DVFD_TESTS=OFF &&
		cmake --build "$build" --target "$@" -j "$(nproc)"
}

build_demo() {
	say "building into $build"
	# what another checkout built cannot be built on
	grep -qsxF "CMAKE_HOME_DIRECTORY:INTERNAL=$(realpath "$tree")" "$build/CMakeCache.txt" || rm -rf "$build"
	mkdir -p "$build"
	compile "$@" >"$build/log" 2>&1 || {
		tail -n 30 "$build/log" >&2
		fail "it does not build"
	}
}

# ---- here, or in an emulated machine ----------------------------------------------

run_here() {
	local options=(--runs "$runs" --size "$size" --host "$host" --backend "$backend")
	[ -z "$image" ] || options+=(--image "$image")
	if [ "$rebind" = yes ]; then
		options+=(--rebind)
		as_root modprobe vfio-pci || fail "the kernel module vfio-pci cannot be loaded"
	fi
	as_root "$vfd_demo" "${options[@]}"
}

# Emulated, the processor's string instructions are slow, by a factor of four.
# A kernel that believes they are slow copies by other means.
run_emulated() {
	local bench memory=$((size * 4 > 256 ? size * 4 + 256 : 512))
	[ "$backend" != iommufd ] || export VFD_KERNEL=own # Debian's has none
	say "fetching a kernel, if it is not there yet"
	bench=$("$tree/tests/kernel/fetch.sh") || fail "no kernel to run on"
	tmp=$(mktemp -d)
	trap 'rm -rf "$tmp"' EXIT
	head -c "${size}M" "${image:-$bench/vmlinux}" >"$tmp/image"
	say "booting Linux $(cat "$bench/version"); $size MiB of ${image:-its image}, $runs runs of each kind"
	"$tree/tests/kernel/run.sh" --memory "$memory" --timeout $((120 + 20 * runs + size)) \
		--append clearcpuid=erms,fsrm --file "$tmp/image:/image" \
		-- "$vfd_demo" --image /image --runs "$runs" --size "$size" --backend "$backend"
}

run_vmm() {
	tmp=$(mktemp -d)
	trap 'rm -rf "$tmp"' EXIT
	say "a kernel with KVM in it, in it vfd-vmm, and in that Linux; all of it emulated: some minutes"
	"$tree/examples/vmm/boot.sh" "$build/examples" "$tmp/out" "$runs" || vmm_failed $?
	show_vmm
	judge_vmm
}

# What is 1 there was said by nobody.
vmm_failed() {
	[ "$1" != 1 ] || fail "the emulated machine could not be made, or did not come to its end, see above"
	explain "$1"
	exit 1
}

show_vmm() {
	echo
	echo "The small guest, with a device that goes along:"
	grep -vE '^[0-9]+: |^Killed|^ok$' "$tmp/out/shuttle"
	echo "Linux with an NVMe disk, at the source:"
	grep -h '^vfd' "$tmp/out/linux"
	echo "while its disk is in use: $(cat "$tmp/out/in-use")"
	echo "to where its disk cannot be had: $(cat "$tmp/out/refused")"
	echo "to where it can: $(cat "$tmp/out/migrate")"
	echo "Linux, at the destination:"
	grep -h '^vfd' "$tmp/out/linux-moved"
	echo
}

# Only a kernel that knows PRE_COPY can move the small guest: Debian's from 6.12 on, not its 6.1.
judge_vmm() {
	local out=$tmp/out small away
	! grep -hF FAILED "$out"/linux* || fail "something failed in the Linux guest"
	grep -q '^ok moved' "$out/migrate" || fail "Linux did not move"
	grep -q 'checksums of [1-8] files agree' "$out/linux-moved" || fail "Linux does not have its files there"
	[ "$(cat "$out/shuttle.code")" = 0 ] || fail "the small guest did not move as it should"
	small=$(sed -n 's/^skipped: /not moved: /p; s/ migrations: .* the same \([0-9]* times\)$/ moves, memory the same \1/p' "$out/shuttle")
	away=$(sed -n 's/\r$//; s/^vfd: without the disk for //p' "$out/linux-moved" | head -n 1)
	echo "OK: Linux moved, was without its disk for $away, and its files are whole; the small guest: $small."
}

explain() {
	case $1 in
	0 | 1) ;; # it has said so itself
	120) echo "FAILED: the kernel complained, see above." ;;
	121) echo "FAILED: the emulated machine did not work, see above." ;;
	124) echo "FAILED: it took too long." ;;
	*) echo "FAILED: the demo ended with code $1." ;;
	esac
}

main() {
	local code=0
	parse "$@"
	install_missing
	if [ "$vmm" = yes ]; then
		build_demo vfd-vmm vfd-state vfdtest-writer vfdtest-lossy
		run_vmm || code=$?
	elif [ -n "$host" ]; then
		build_demo vfd-demo
		run_here || code=$?
	else
		build_demo vfd-demo
		run_emulated || code=$?
	fi
	explain "$code"
	[ "$code" = 0 ] || exit 1
}

main "$@"
