#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Install into a prefix; build and run programs outside the tree against it; look at what is exported.
set -euo pipefail

cd "$(dirname "$0")/../.."
. tests/tap.sh
here=$PWD/tests/install build=$PWD/build/install

need gcc cmake make pkg-config
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
prefix=$tmp/prefix
export PKG_CONFIG_PATH=$prefix/lib/pkgconfig LD_LIBRARY_PATH=$prefix/lib
warnings=(-Wall -Wextra -Wpedantic -Werror)

# ---- install ----------------------------------------------------------------------

install_library() {
	cmake --preset release -B "$build" -DCMAKE_C_COMPILER=gcc -DVFD_TESTS=OFF -DVFD_EXAMPLES=OFF \
		-DCMAKE_INSTALL_PREFIX="$prefix" -DCMAKE_INSTALL_LIBDIR=lib &&
		cmake --build "$build" -j "$(nproc)" && cmake --install "$build"
}

# ---- what is in it ----------------------------------------------------------------

exported() { nm -D --defined-only "$prefix/lib/libvfiodirty.so" | awk '$2 != "A" { sub(/@.*/, "", $3); print $3 }' | sort; }
global_in_archive() { nm -g --defined-only "$prefix/lib/libvfiodirty.a" | awk 'NF == 3 { print $3 }' | sort; }
in_map() { sed -nE '/global:/,/local:/ s/^[[:space:]]+([a-z_0-9]+);.*/\1/p' lib/libvfiodirty.map | sort; }

declared() {
	cat "$prefix"/include/vfiodirty/*.h | grep -v '#define' | tr '\n' ' ' |
		grep -oE 'VFD_API [^;(]*\(' | sed -E 's/ *\($//; s/.*[ *]//' | sort
}

same() {
	[ -n "$("$1")" ] && diff <("$1") <("$2")
}

needed() { readelf -d "$1" | sed -n 's/.*NEEDED.*\[\(.*\)\]/\1/p'; }
needs_libc_only() { needed "$1" | grep -q '^libc\.' && ! needed "$1" | grep -vE '^(libc|ld-linux.*|libpthread)\.so'; }

# Neither a stack to execute, nor code that runs unasked at the program's start or end.
stack_is_data() { readelf -lW "$1" | grep GNU_STACK | grep -v RWE; }
starts_nothing() { ! readelf -SW "$prefix/lib/libvfiodirty.a" | grep -E '\.(init|fini|preinit)_array|\.[cd]tors'; }
soname_is() { readelf -d "$prefix/lib/libvfiodirty.so" | grep -F "soname: [$1]"; }
prefix_only() { ! grep -rlF "$PWD" "$prefix/include" "$prefix/lib/pkgconfig" "$prefix/lib/cmake"; }

check_contents() {
	check "exported: what the symbol map lists, vfd_ and nothing else" same in_map exported
	check "global in the archive: the same" same in_map global_in_archive
	check "declared in the headers: the same" same in_map declared
	check "every name begins with vfd_" eval '! in_map | grep -v ^vfd_'
	check "soname" soname_is libvfiodirty.so.0
	check "needs libc only" needs_libc_only "$prefix/lib/libvfiodirty.so"
	check "the stack is not executable" stack_is_data "$prefix/lib/libvfiodirty.so"
	check "no constructors, no destructors" starts_nothing
	check "nothing installed names the source tree" prefix_only
}

# Each public header alone, in any order, says all it needs.
compile_header() { printf '#include <vfiodirty/%s>\nextern int more;\n' "$2" | $1 "${warnings[@]}" -I "$prefix/include" -fsyntax-only -; }

check_headers() {
	local header
	for header in "$prefix"/include/vfiodirty/*.h; do
		header=${header##*/}
		check "$header alone, C11" compile_header "gcc -std=c11 -xc" "$header"
		! command -v g++ >/dev/null ||
			check "$header alone, C++17" compile_header "g++ -std=c++17 -xc++" "$header"
	done
}

# ---- programs outside the tree ------------------------------------------------------

# build_and_run NAME COMPILER... : with pkg-config's flags
build_and_run() {
	local name=$1 kind=()
	shift
	[[ $name != *static ]] || kind=(--static)
	# shellcheck disable=SC2046
	"$@" "${warnings[@]}" -o "$tmp/$name" $(pkg-config "${kind[@]}" --cflags --libs libvfiodirty) && "$tmp/$name"
}

same_version() { [ "$(pkg-config --modversion libvfiodirty)" = "$("$tmp/c_shared" | head -n 1)" ]; }

check_programs() {
	check "C11, pkg-config, shared" build_and_run c_shared gcc -std=c11 "$here/consumer.c"
	check "C11, pkg-config, static" build_and_run c_static gcc -std=c11 -static "$here/consumer.c"
	check "pkg-config, header and library tell the same version" same_version
	if command -v g++ >/dev/null; then
		check "C++17, pkg-config, shared" build_and_run cxx_shared g++ -std=c++17 "$here/consumer.cpp"
		check "C++17, pkg-config, static" build_and_run cxx_static g++ -std=c++17 -static "$here/consumer.cpp"
	else
		skip "C++17, pkg-config" "g++ is not installed"
	fi
}

build_with_find_package() {
	cmake -S "$here" -B "$tmp/cmake" -DCMAKE_C_COMPILER=gcc -DCMAKE_PREFIX_PATH="$prefix" -DCONSUMER_CXX="$1" &&
		cmake --build "$tmp/cmake"
}

check_find_package() {
	local cxx=ON name
	command -v g++ >/dev/null || cxx=OFF
	check "find_package: builds" build_with_find_package "$cxx"
	for name in c_shared c_static cxx_shared cxx_static; do
		if [[ $name = cxx* ]] && [ "$cxx" = OFF ]; then
			skip "find_package, $name" "g++ is not installed"
		else
			check "find_package: $name runs" "$tmp/cmake/$name"
		fi
	done
	check "find_package: c_static needs no shared library of ours" needs_libc_only "$tmp/cmake/c_static"
}

check "configure, build, install" install_library
[ "$tap_failed" = 0 ] || exit 1
check_contents
check_headers
check_programs
check_find_package
tap_end
