#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Install into a prefix; build and run programs outside the tree against it; look at what is exported.
set -euo pipefail

cd "$(dirname "$0")/../.."
. tests/tap.sh
. tests/version.sh
here=$PWD/tests/install build=$PWD/build/install

need gcc cmake make pkg-config
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
prefix=$tmp/prefix
export PKG_CONFIG_PATH=$prefix/lib/pkgconfig LD_LIBRARY_PATH=$prefix/lib
warnings=(-Wall -Wextra -Wpedantic -Werror)

# ---- install ----------------------------------------------------------------------

# Without the cache: where it has another compiler, cmake would begin anew and forget the prefix.
install_library() {
	rm -f "$build/CMakeCache.txt"
	cmake --preset release -B "$build" -DCMAKE_C_COMPILER=gcc -DVFD_TESTS=OFF -DVFD_EXAMPLES=OFF \
		-DCMAKE_INSTALL_PREFIX="$prefix" -DCMAKE_INSTALL_LIBDIR=lib &&
		cmake --build "$build" -j "$(nproc)" && cmake --install "$build" --prefix "$prefix"
}

# ---- what is in it ----------------------------------------------------------------

exported() { nm -D --defined-only "$prefix/lib/libvfiodirty.so" | awk '$2 != "A" { sub(/@.*/, "", $3); print $3 }' | sort; }
# (What all probes of a program refer to is hidden, and the same for all.)
global_in_archive() { nm -g --defined-only "$prefix/lib/libvfiodirty.a" | awk 'NF == 3 && $3 != "_.stapsdt.base" { print $3 }' | sort; }
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
read_only_after_relocation() { readelf -lW "$1" | grep -q GNU_RELRO && readelf -dW "$1" | grep -E 'FLAGS.*NOW'; }
nothing_writable_is_code() { ! readelf -lW "$1" | grep -E 'LOAD.* RWE '; }
calls() { nm -D --undefined-only "$prefix/lib/libvfiodirty.so" | grep -E " $1(@|\$)"; }
has_landing_pads() { readelf -nW "$prefix/lib/libvfiodirty.a" | grep 'IBT, SHSTK'; }
starts_nothing() { ! readelf -SW "$prefix/lib/libvfiodirty.a" | grep -E '\.(init|fini|preinit)_array|\.[cd]tors'; }
soname_is() { readelf -d "$prefix/lib/libvfiodirty.so" | grep -F "soname: [$1]"; }
prefix_only() { ! grep -rlF "$PWD" "$prefix/include" "$prefix/lib/pkgconfig" "$prefix/lib/cmake"; }

# name and number of arguments of each probe: as the library has them; as the document lists them
probes_in() { LC_ALL=C readelf -nW "$1" | awk '/Provider:/ { ours = $NF == "vfiodirty" } ours && /Name:/ { name = $2 } ours && /Arguments:/ { print name, NF - 1 }' | sort -u; }
probes_built() { probes_in "$prefix/lib/libvfiodirty.so"; }
probes_told() {
	awk -F '|' '/^## / { here = $0 == "## Probes" }
		here && /^\| `/ { gsub(/[` ]/, "", $2); gsub(/\([^)]*\)/, "", $3); print $2, split($3, ignored, ",") }' docs/tracing.md | sort
}

# Together with probes of its own, and all refer to one place.
probes_of_static() {
	printf '%s\n' '#include <sys/sdt.h>' '#include <vfiodirty.h>' 'int main(void) { STAP_PROBE1(own, start, 1); return !*vfd_version(); }' >"$tmp/own.c"
	# shellcheck disable=SC2046
	gcc -o "$tmp/own" "$tmp/own.c" $(pkg-config --cflags libvfiodirty) "$prefix/lib/libvfiodirty.a" -lpthread && "$tmp/own" || return 1
	diff <(probes_told) <(probes_in "$tmp/own") && LC_ALL=C readelf -nW "$tmp/own" | grep 'Name: start' &&
		[ "$(LC_ALL=C readelf -nW "$tmp/own" | grep -o 'Base: [^,]*' | sort -u | wc -l)" = 1 ]
}

without_probes() { gcc -std=gnu11 -Wall -Wextra -Werror -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -DVFD_NO_PROBES -Iinclude -fsyntax-only lib/*.c; }

check_probes() {
	check "it compiles without probes" without_probes
	if ! echo '#include <sys/sdt.h>' | gcc -E -xc - >/dev/null 2>&1; then
		skip "probes" "systemtap-sdt-dev is not installed"
		return
	fi
	check "probes: those that docs/tracing.md lists, with as many arguments" same probes_told probes_built
	check "a static program has them too, besides its own" probes_of_static
}

check_contents() {
	check "exported: what the symbol map lists, vfd_ and nothing else" same in_map exported
	check "global in the archive: the same" same in_map global_in_archive
	check "declared in the headers: the same" same in_map declared
	check "every name begins with vfd_" eval '! in_map | grep -v ^vfd_'
	check "soname" soname_is "$soname"
	check "needs libc only" needs_libc_only "$prefix/lib/libvfiodirty.so"
	check "the stack is not executable" stack_is_data "$prefix/lib/libvfiodirty.so"
	check "relocations are read-only, and done before the program begins" read_only_after_relocation "$prefix/lib/libvfiodirty.so"
	check "nothing is writable and executable" nothing_writable_is_code "$prefix/lib/libvfiodirty.so"
	check "stacks are guarded" calls __stack_chk_fail
	check "string functions know the sizes (fortify)" calls '__[a-z]+_chk'
	case $(uname -m) in
	x86_64) check "indirect branches land where they may (CET)" has_landing_pads ;;
	*) skip "CET" "x86 only" ;;
	esac
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

# Other languages' tools read headers with less than a compiler: no extension, and no system header. (pycparser brings a fake of those.)
plain_c=/usr/share/python3-pycparser/fake_libc_include

parsed() {
	printf '#include <vfiodirty.h>\n' | gcc -std=c11 -E -P -U__GNUC__ -nostdinc -I "$plain_c" -I "$prefix/include" -xc - |
		/usr/bin/python3 "$here/functions.py" | sort
}

check_parser() {
	if [ -e "$plain_c" ]; then
		check "a plain C parser reads the headers, and each function is a symbol" same in_map parsed
	else
		skip "a plain C parser reads the headers" "python3-pycparser is not installed"
	fi
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

# Installed elsewhere than configured, the first one out of the way.
another_prefix() {
	local code=0
	cmake --install "$build" --prefix "$tmp/other" >/dev/null && ! grep -rF "$prefix" "$tmp/other" && mv "$prefix" "$prefix.away" || return 1
	PKG_CONFIG_PATH=$tmp/other/lib/pkgconfig LD_LIBRARY_PATH=$tmp/other/lib build_and_run elsewhere gcc -std=c11 "$here/consumer.c" || code=1
	mv "$prefix.away" "$prefix"
	return "$code"
}

same_version() { [ "$version" = "$(pkg-config --modversion libvfiodirty)" ] && [ "$(pkg-config --modversion libvfiodirty)" = "$("$tmp/c_shared" | head -n 1)" ]; }

check_programs() {
	check "C11, pkg-config, shared" build_and_run c_shared gcc -std=c11 "$here/consumer.c"
	check "C11, pkg-config, static" build_and_run c_static gcc -std=c11 -static "$here/consumer.c"
	check "pkg-config, header and library tell the same version" same_version
	check "installed to another prefix than configured, C11, pkg-config" another_prefix
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
check_probes
check_headers
check_parser
check_programs
check_find_package
tap_end
