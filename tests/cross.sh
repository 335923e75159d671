#!/bin/bash
# SPDX-License-Identifier: MIT
#
# cross.sh [ARCH...]: the unit tests on other architectures: cross-built with Debian's compilers, run by qemu's user mode.
# VFD_CROSS=quick leaves out what takes minutes there, by name.
#
#   aarch64   as wide as x86-64, other instructions
#   s390x     big-endian
#   i386      32 bits
#
# Check for each of them is unpacked into the cache (VFD_CACHE); nothing of theirs is installed. The tests are linked
# statically: in a dynamic i386 program qemu 7.2 does not return from fork().
set -euo pipefail

cd "$(dirname "$0")/.."
. tests/tap.sh

cache=${VFD_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/libvfiodirty}/cross
needed=(check libsubunit-dev)
slow=(test_faults test_no_memory test_plug test_log_random test_model test_threads test_log_threads test_extents)

# of Debian; of the compiler; of Check's pkg-config file
names() {
	case $1 in
	aarch64) echo arm64 aarch64-linux-gnu aarch64-linux-gnu ;;
	s390x) echo s390x s390x-linux-gnu s390x-linux-gnu ;;
	i386) echo i386 i686-linux-gnu i386-linux-gnu ;;
	*) echo "usage: cross.sh [aarch64] [s390x] [i386]" >&2 && exit 2 ;;
	esac
}

# ---- Check for another architecture --------------------------------------------

# apt with lists and state of its own, for one architecture: the system's are left alone.
apt_for() {
	local architecture=$1 state=$cache/apt-$1
	shift
	mkdir -p "$state/lists/partial" "$state/cache/archives/partial"
	[ -e "$state/status" ] || : >"$state/status"
	apt-get -q -o Dir::State="$state" -o Dir::State::lists="$state/lists" -o Dir::State::status="$state/status" \
		-o Dir::Cache="$state/cache" -o APT::Architecture="$architecture" \
		-o APT::Architectures="$architecture" -o Acquire::Languages=none -o APT::Sandbox::User= "$@"
}

# Lists that cannot be had are of no interest if the packages can.
fetch() {
	local architecture=$1 to=$cache/$1 package
	[ ! -e "$to/usr/include/check.h" ] || return 0
	[ "${VFD_INSTALL:-yes}" = yes ] || return 1
	echo "# downloading for $architecture: ${needed[*]}"
	rm -rf "$to.new"
	mkdir -p "$to.new/deb"
	apt_for "$architecture" update >"$cache/apt-$architecture.log" 2>&1 || true
	(cd "$to.new/deb" && apt_for "$architecture" download "${needed[@]}") >>"$cache/apt-$architecture.log" 2>&1 || return
	for package in "$to.new"/deb/*.deb; do
		dpkg -x "$package" "$to.new"
	done
	rm -rf "$to" "$to.new/deb"
	mv "$to.new" "$to"
}

# ---- what the emulator cannot do ------------------------------------------------

# Prints the tags of test cases that it cannot run.
missing_in_emulator() {
	local arch=$1 compiler=$2 probe=$cache/probe-$1
	"$compiler" -static -o "$probe" tests/cross_probe.c && "qemu-$arch" "$probe"
}

# Files with such test cases
tagged() {
	case $1 in
	wipeonfork) grep -lE 'TAG_FORK|"wipeonfork"' tests/unit/test_*.c ;;
	populate) grep -lE 'TAG_POPULATE|"populate"' tests/unit/test_*.c ;;
	esac | xargs -r -n 1 basename -s .c | xargs
}

reason() {
	case $1 in
	wipeonfork) echo "qemu-$2 accepts MADV_WIPEONFORK, but does not do it" ;;
	populate) echo "qemu-$2 does not say whether memory is populated" ;;
	esac
}

# ---- the tests ------------------------------------------------------------------

run_arch() {
	local arch=$1 debian compiler library tag tags
	read -r debian compiler library < <(names "$arch")
	command -v "$compiler-gcc" >/dev/null || { skip tests "$compiler-gcc is not installed" && return; }
	command -v "qemu-$arch" >/dev/null || { skip tests "qemu-$arch is not installed" && return; }
	fetch "$debian" || { skip tests "Check for it could not be had (apt: $cache/apt-$debian.log)" && return; }
	tags=$(missing_in_emulator "$arch" "$compiler-gcc" | xargs) || { not_ok "no program runs" && return; }
	for tag in $tags; do
		skip "test cases tagged $tag, in $(tagged "$tag")" "$(reason "$tag" "$arch")"
	done
	export PKG_CONFIG_LIBDIR=$cache/$debian/usr/lib/$library/pkgconfig PKG_CONFIG_SYSROOT_DIR=$cache/$debian
	CK_EXCLUDE_TAGS=$tags CK_TIMEOUT_MULTIPLIER=20 VFD_TEST_TIMEOUT=900 \
		tests/unit.sh "$arch" "${tests[@]}"
}

need cmake make pkg-config apt-get dpkg
mkdir -p "$cache" build

# All of whose test cases need what the emulator lacks: test_fork; and the kernel itself
skip "test_sys on other architectures" "it asks the kernel, and would hear the emulator"
mapfile -t tests < <(find tests/unit -name 'test_*.c' ! -name test_fork.c ! -name test_sys.c -exec basename -s .c {} + | sort)
if [ "${VFD_CROSS:-all}" = quick ]; then
	for test in "${slow[@]}"; do
		skip "$test on other architectures" "minutes under emulation; tests/cross.sh by itself runs it"
	done
	mapfile -t tests < <(printf '%s\n' "${tests[@]}" | grep -vxF "$(printf '%s\n' "${slow[@]}")")
fi
[ $# -gt 0 ] || set -- aarch64 s390x i386
pids=() # each has an end in which one long test runs alone: so all at once
for arch; do
	run_arch "$arch" >"build/cross-$arch.tap" 2>&1 &
	pids+=($!)
done
for arch; do
	code=0
	wait "${pids[0]}" || code=$?
	pids=("${pids[@]:1}")
	tap_relay "$arch" "$code" <"build/cross-$arch.tap"
done
tap_end
