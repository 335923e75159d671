#!/bin/bash
# SPDX-License-Identifier: MIT
#
# library-abi.sh [--renew]: can programs that were linked with the last release run with this library? (The kernel's interface is abi.sh.)
#
# What the headers promise, functions, structs and enums, is compared with tests/library-abi/baseline.abi, by libabigail; and the library with
# the headers. A function may come, an enum may get more values, and a struct that begins with struct_size may grow at its end. All else is
# a failure, with what changed. --renew makes the baseline anew, at a release (CONTRIBUTING.md). TAP.
set -euo pipefail

cd "$(dirname "$0")/.."
. tests/tap.sh
. tests/version.sh

baseline=tests/library-abi/baseline.abi
need abidw abidiff gcc cmake make
[ "$(uname -m)" = x86_64 ] || skip_all "the baseline is that of amd64"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# ---- what headers and libraries have ------------------------------------------------

headers_of() { find "$1" -name '*.h' ! -name export.h -exec cat {} +; }

# A library that does nothing, from the headers: small, made at once, and no more is in it than they say. Most enums are flags in integers:
# one function more has them all.
stubs() {
	echo '#include <vfiodirty.h>'
	headers_of "$1" | tr '\n\t' '  ' | grep -oE 'VFD_API [^;{]*;' | sed -E 's/^VFD_API //; s/;$/ { __builtin_trap(); }/'
	headers_of "$1" | sed -nE 's/^enum (vfd_[a-z_]+) \{.*/\1/p' | sort | sed 's/.*/enum & */' | paste -sd, |
		sed 's/.*/VFD_API void vfd_enums(&) { }/'
}

# describe HEADERS LIBRARY: its ABI, as XML
describe() {
	abidw --headers-dir "$1" --drop-private-types --exported-interfaces-only --no-corpus-path --no-comp-dir-path \
		--no-show-locs --no-elf-needed --type-id-style hash "$2"
}

# abi_of HEADERS NAME: what they promise, in $work/NAME.abi
abi_of() {
	sed 's/^local:/	vfd_enums;\n&/' lib/libvfiodirty.map >"$work/map"
	stubs "$1" >"$work/$2.c"
	gcc -std=gnu2x -g -fPIC -shared -fvisibility=hidden -I"$1" "$work/$2.c" -o "$work/$2.so" \
		-Wl,-soname,"$soname" -Wl,--version-script="$work/map" || return
	describe "$1" "$work/$2.so" >"$work/$2.abi"
}

abi_of_library() {
	{ cmake --preset debug && cmake --build build/debug -j "$(nproc)" --target vfiodirty; } >"$work/log" 2>&1 ||
		{ tail -n 20 "$work/log" && return 1; }
	describe include build/debug/libvfiodirty.so >"$work/library.abi"
}

# ---- what may change ------------------------------------------------------------------

may_grow() { headers_of "$1" | grep -B 1 -E '^\s+uint32_t struct_size;' | sed -nE 's/^struct (vfd_[a-z_0-9]+) \{.*/\1/p'; }

# Of a report of leaf changes, by paragraphs: those that break programs. A struct may have insertions at or behind its old end. (More
# values of an enum are harmless to libabigail, and not in it.)
breaking() {
	awk -v grow=" $(may_grow "$1" | paste -sd' ') " '
	BEGIN { RS = ""; FS = "\n" }
	function grew_at_end(   i, name, end, part) {
		split($1, part, "[ '\'']+"); name = part[3]
		if (index(grow, " " name " ") == 0) return 0
		for (i = 2; i <= NF; i++) {
			if (match($i, /type size changed from [0-9]+/)) end = substr($i, RSTART + 23, RLENGTH - 23)
			else if ($i ~ /data member insertions?:$/) continue
			else if (match($i, /, at offset [0-9]+ \(in bits\)$/)) {
				split(substr($i, RSTART), part, " ")
				if (part[4] + 0 < end + 0) return 0
			} else return 0
		}
		return end != ""
	}
	/^[A-Z][a-z]+ [^\n]*summary:/ { next }
	/^[0-9]+ [^\n]*:$/ { next }
	/\[A\]/ && !/\[[CD]\]/ { next }
	/^'\''struct / && grew_at_end() { next }
	{ print; print "" }'
}

# compatible BEFORE HEADERS NOW: 0, or what breaks is printed
compatible() {
	local code=0 broken
	abidiff --leaf-changes-only "$1" "$3" >"$work/report" 2>&1 || code=$?
	[ $((code & 3)) = 0 ] || { cat "$work/report" && return 1; }
	broken=$(breaking "$2" <"$work/report")
	[ -z "$broken" ] || { echo "$broken" && return 1; }
	[ $((code & 8)) = 0 ] || { cat "$work/report" && return 1; }
}

# node and name of each function
placed() { sed -nE "s/.*<elf-symbol name='([^']+)' version='([^']+)'.*/\2 \1/p" "$1" | sort; }

# no_latecomers BEFORE NOW: with a function that came into a node after its release, a program would be let start where it is not there.
no_latecomers() {
	local late
	late=$(comm -13 <(placed "$1") <(placed "$2") | grep -F "$(placed "$1" | sed 's/ .*/ /' | sort -u)") || return 0
	echo "$late: it needs a node of its version" && return 1
}

same() {
	printf '[suppress_function]\n  name = vfd_enums\n' >"$work/suppressed"
	abidiff --leaf-changes-only --suppressions "$work/suppressed" "$1" "$2"
}

# ---- can it fail? ------------------------------------------------------------------------

# plant FILE SCRIPT: a copy of the headers, changed, and what it promises
plant() {
	rm -rf "$work/planted"
	cp -r include "$work/planted"
	sed -i -E "$2" "$work/planted/vfiodirty/$1"
	! cmp -s "include/vfiodirty/$1" "$work/planted/vfiodirty/$1" || { echo "nothing was planted" && return 1; }
	abi_of "$work/planted" planted
}

allowed() { plant "$1" "$2" && compatible "$work/now.abi" "$work/planted" "$work/planted.abi"; }
noticed() { plant "$1" "$2" && ! compatible "$work/now.abi" "$work/planted" "$work/planted.abi"; }

latecomer_noticed() {
	sed "s/name='vfd_version'/name='vfd_strange'/" "$work/now.abi" >"$work/late.abi"
	! no_latecomers "$work/now.abi" "$work/late.abi"
}

last='s/^(	uint64_t rearms;).*logs of devices started anew.*/&\n	uint64_t more;/'
check_itself() {
	check "allowed: a member at the end of a struct that begins with its size" allowed track.h "$last"
	check "allowed: one more value of an enum" allowed track.h 's/^	VFD_SOURCE_PINS = 3,/	VFD_SOURCE_MORE = 9,\n&/'
	check "allowed: one more function" allowed track.h 's/^VFD_API int vfd_track_stop\(/VFD_API int vfd_strange(int a);\n&/'
	check "noticed: a member in the middle" noticed track.h 's/^	uint64_t pages_reported;.*/&\n	uint64_t more;/'
	check "noticed: a member of another type, and one at the end" noticed track.h "s/^	uint64_t pages_reported;/	uint32_t pages_reported;/; $last"
	check "noticed: a struct that cannot grow grows" noticed container.h 's/^	const char \*name; .*VFIO_GROUP_GET_DEVICE_FD.*/&\n	uint64_t more;/'
	check "noticed: another value of an enum" noticed track.h 's/VFD_SOURCE_PINS = 3/VFD_SOURCE_PINS = 6/'
	check "noticed: another type of a parameter" noticed track.h 's/(vfd_track_stop\(.*)unsigned flags/\1uint64_t flags/'
	check "noticed: a function that comes into a node of before" latecomer_noticed
	check "noticed: a function that is gone" noticed track.h 's/^VFD_API int vfd_track_stop\(/int vfd_track_stop(/'
}

# ---- all ----------------------------------------------------------------------------------

abi_of include now
if [ "${1:-}" = --renew ]; then
	# its own first line must stay the first
	sed "1a <!-- SPDX-License-Identifier: MIT; libvfiodirty VERSION $version -->" "$work/now.abi" >"$baseline"
	echo "$baseline: $(wc -c <"$baseline") bytes"
	exit
fi
check "nothing changed that programs rely on since$(sed -nE '2s/.*VERSION (.*) -->/ \1/p' "$baseline")" compatible "$baseline" include "$work/now.abi"
check "functions that are new have a node of their own" no_latecomers "$baseline" "$work/now.abi"
check "the library is built" abi_of_library
check "and has what the headers promise" same "$work/library.abi" "$work/now.abi"
check_itself
tap_end
