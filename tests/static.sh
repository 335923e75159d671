#!/bin/bash
# SPDX-License-Identifier: MIT
#
# static.sh format|cppcheck|shellcheck|analyze|tidy: what can be said without running anything.
# static.sh fix: format the sources in place.
set -euo pipefail

cd "$(dirname "$0")/.."
. tests/tap.sh

# The bench's own sources keep the kernel's style; they are half kernel module.
c_files() {
	find include lib examples tests -path tests/kernel -prune -o \( -name '*.[ch]' -o -name '*.cpp' \) -print | sort
}

shell_files() {
	find tests examples docs .ci -type f ! -name '*.[ch]' -exec grep -lE '^#!.*sh$|^# shellcheck shell=' {} + | sort
}

check_format() {
	local files
	need clang-format
	mapfile -t files < <(c_files)
	check "${#files[@]} C files are formatted (else: tests/static.sh fix)" none_unformatted "${files[@]}"
}

none_unformatted() {
	local output
	output=$(clang-format --dry-run -Werror "$@" 2>&1) && return
	echo "$output" | sed -nE 's/^([^: ]+):[0-9]+:.*/\1/p' | sort | uniq -c
	return 1
}

check_cppcheck() {
	need cppcheck
	check "cppcheck, library" run_cppcheck lib
	check "cppcheck, examples" run_cppcheck examples
	check "cppcheck, tests" run_cppcheck tests/unit tests/guard tests/model tests/real tests/inject tests/install tests/bench tests/migrate tests/vmm
}

# unknownEvaluationOrder takes ".value = ++value" for two uses of one variable; gcc checks that better.
run_cppcheck() {
	cppcheck --quiet --error-exitcode=1 --std=c11 --enable=warning,performance,portability --inline-suppr \
		--suppress=unknownEvaluationOrder -j "$(nproc)" \
		-D_GNU_SOURCE -I include -I lib -I tests -I tests/unit "$@"
}

check_shellcheck() {
	local files
	need shellcheck
	mapfile -t files < <(shell_files)
	check "shellcheck, ${#files[@]} scripts" shellcheck -x -P tests "${files[@]}"
}

# ---- the library, path by path --------------------------------------------------------

compile_flags=(-std=gnu11 -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -Iinclude -Ilib)

check_analyze() {
	need gcc
	check "gcc -fanalyzer, library: nothing but what is known to be wrong" nothing_new
}

# Seen there, and none was a mistake: strcmp() as a truth value, strcpy() behind a look at the length, casts for printf(), sizes that are 0
# on no path, padding.
no_bugs=-bugprone-suspicious-string-compare,-clang-analyzer-security.insecureAPI.strcpy,-bugprone-misplaced-widening-cast
no_bugs+=,-clang-analyzer-optin.portability.UnixAPI,-clang-analyzer-optin.performance.Padding

check_tidy() {
	local files
	need clang-tidy
	check "clang-tidy, library" tidy "" lib/*.c
	# DPDK's headers are not everywhere
	mapfile -t files < <(find examples tests/model -name '*.c' ! -path '*/dpdk/*' | sort)
	check "clang-tidy, examples and the model kernel" tidy "$no_bugs" "${files[@]}"
}

# What gcc 12 takes for possible because it does not look into other files
known() {
	cat <<-END
		lib/allow.c vfd_iova_allow -Wanalyzer-malloc-leak: the address space keeps it
		lib/audit_set.c tidy -Wanalyzer-null-argument: fill() counts areas only when there are some
		lib/container.c drain_all -Wanalyzer-null-dereference: container_close_gate() refuses NULL
		lib/container.c unset_groups -Wanalyzer-null-dereference: likewise
		lib/container.c first_open -Wanalyzer-null-dereference: likewise
		lib/container.c vfd_container_close -Wanalyzer-null-dereference: likewise
		lib/iommufd.c table_room -Wanalyzer-malloc-leak: the address space keeps it
		lib/log_inbox.c first_page -Wanalyzer-null-dereference: cursor_next() found a region
		lib/log_inbox.c stripe_mutex -Wanalyzer-null-dereference: likewise
	END
}

# FILE FUNCTION WARNING of each finding; an error is one too
analyze() {
	# shellcheck disable=SC2016 # awk's
	LC_ALL=C gcc "${compile_flags[@]}" -O1 -fanalyzer -c -o /dev/null "$1" 2>&1 | awk -v file="$1" -v quote="'" '
		/In function/ { split($0, part, quote); name = part[2] }
		/(warning|error): / { print file, name, /\[-W/ ? substr($NF, 2, length($NF) - 2) : $0 }'
}

nothing_new() {
	local new
	new=$(printf '%s\n' lib/*.c | xargs -P "$(nproc)" -n 1 tests/static.sh --analyze | sort -u | comm -23 - <(known | cut -d: -f 1 | sort)) ||
		{ echo "$new" && return 1; }
	[ -z "$new" ] || { echo "$new" && return 1; }
}

# tidy CHECKS FILE...: those of .clang-tidy, and what is added to them or taken away
tidy() {
	local checks=$1
	shift
	printf '%s\n' "$@" | xargs -P "$(nproc)" -I{} clang-tidy --quiet "--checks=$checks" {} -- "${compile_flags[@]}" \
		-Itests -Itests/kernel -Iexamples/migrate '-DGUARD_LIBDIR="lib"'
}

case ${1:-} in
format | cppcheck | shellcheck | analyze | tidy) "check_$1" ;;
--analyze)
	analyze "$2"
	exit
	;;
fix)
	c_files | xargs clang-format -i
	exit
	;;
*) echo "usage: static.sh format|cppcheck|shellcheck|analyze|tidy|fix" >&2 && exit 2 ;;
esac
tap_end
