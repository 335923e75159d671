#!/bin/bash
# SPDX-License-Identifier: MIT
#
# musl.sh: the unit tests and the tests of the migration engine, built with Debian's musl-gcc; and a program that is linked statically.
# VFD_MUSL=quick leaves out what takes long, by name.
#
# Check is built with it too, from Debian's sources, into the cache (VFD_CACHE); the kernel's headers are those of this machine.
# shellcheck disable=SC2317 # functions are called through check()
set -euo pipefail

cd "$(dirname "$0")/.."
. tests/tap.sh

cache=${VFD_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/libvfiodirty}/musl
slow=(test_faults test_no_memory test_bitmap test_table test_log_random test_model test_threads test_log_threads test_plug test_salvage)

# ---- what musl-gcc does not bring --------------------------------------------------

# It looks into no directory of the system's headers. Those of the kernel need no C library.
kernel_headers() {
	local name
	mkdir -p "$cache/include"
	for name in linux asm-generic video; do
		ln -sfn "/usr/include/$name" "$cache/include/$name"
	done
	ln -sfn "/usr/include/$(gcc -print-multiarch)/asm" "$cache/include/asm"
}

# apt with lists and state of its own, which know sources besides: the system's are left alone.
apt_sources() {
	local state=$cache/apt
	mkdir -p "$state/lists/partial" "$state/cache/archives/partial"
	: >"$state/status"
	apt-get indextargets --format "deb-src \$(REPO_URI) \$(RELEASE) \$(COMPONENT)" 'Created-By: Packages' 'Origin: Debian' |
		sort -u >"$state/sources.list"
	apt-get -q -o Dir::State="$state" -o Dir::State::lists="$state/lists" -o Dir::State::status="$state/status" \
		-o Dir::Cache="$state/cache" -o Dir::Etc::SourceList="$state/sources.list" -o Dir::Etc::SourceParts=- \
		-o Acquire::Languages=none -o APT::Sandbox::User= "$@"
}

build_check() {
	mkdir -p "$1/source"
	tar -xf "$1"/check_*.orig.tar.gz -C "$1/source" --strip-components=1
	cmake -S "$1/source" -B "$1/build" -DCMAKE_C_COMPILER=musl-gcc -DCMAKE_BUILD_TYPE=Release -DCHECK_ENABLE_TESTS=OFF \
		-DCHECK_ENABLE_SUBUNIT=OFF -DCMAKE_INSTALL_LIBDIR=lib && cmake --build "$1/build" -j "$(nproc)" --target check
}

# The one file that its tests include is made by its build.
keep_check() {
	mkdir -p "$2/include" "$2/lib/pkgconfig"
	cp "$1"/build/src/check.h "$1"/build/check_stdint.h "$2/include/"
	cp "$1/build/src/libcheck.a" "$2/lib/"
	printf '%s\n' "Name: Check" "Description: built with musl" "Version: 0" \
		"Cflags: -I$2/include" "Libs: -L$2/lib -lcheck" >"$2/lib/pkgconfig/check.pc"
}

get_check() {
	local new=$cache/new
	[ ! -e "$cache/check" ] || return 0
	[ "${VFD_INSTALL:-yes}" = yes ] || return 1
	echo "# downloading the sources of Check, and building it"
	rm -rf "$new"
	mkdir -p "$new"
	{
		apt_sources update || true # lists that cannot be had are of no interest if the package can
		(cd "$new" && apt_sources source --download-only check) && build_check "$new" && keep_check "$new" "$new/kept"
	} >"$cache/check.log" 2>&1 || return
	sed -i "s,$new/kept,$cache/check,g" "$new/kept/lib/pkgconfig/check.pc"
	mv "$new/kept" "$cache/check"
	rm -rf "$new" "$cache/apt"
}

# ---- a static program ----------------------------------------------------------------

static_program() {
	local program=build/musl/static-program
	cmake --build build/musl --target vfiodirty_static && musl-gcc -std=c11 -Wall -Wextra -Werror -static -o "$program" \
		tests/install/consumer.c -I include build/musl/libvfiodirty.a && ! readelf -l "$program" | grep INTERP && "$program"
}

# ---- the tests -----------------------------------------------------------------------

need musl-gcc gcc cmake make pkg-config apt-get tar
mkdir -p "$cache"
kernel_headers
get_check || skip_all "Check could not be had, or not be built, for musl ($cache/check.log)"
export VFD_KERNEL_HEADERS=$cache/include PKG_CONFIG_LIBDIR=$cache/check/lib/pkgconfig

mapfile -t tests < <(find tests/unit tests/migrate -name 'test_*.c' -exec basename -s .c {} + | sort)
if [ "${VFD_MUSL:-all}" = quick ]; then
	for test in "${slow[@]}"; do
		skip "$test with musl" "takes long; tests/musl.sh by itself runs it"
	done
	mapfile -t tests < <(printf '%s\n' "${tests[@]}" | grep -vxF "$(printf '%s\n' "${slow[@]}")")
fi
code=0
CK_TIMEOUT_MULTIPLIER=10 VFD_TEST_TIMEOUT=900 tests/unit.sh musl "${tests[@]}" >build/musl.tap 2>&1 || code=$?
tap_relay musl "$code" <build/musl.tap
check "a program is linked statically, and runs" static_program
tap_end
