#!/bin/bash
# SPDX-License-Identifier: MIT
#
# static.sh format|cppcheck|shellcheck: what can be said without running anything.
# static.sh fix: format the sources in place.
set -euo pipefail

cd "$(dirname "$0")/.."
. tests/tap.sh

# The bench's own sources keep the kernel's style; they are half kernel module.
c_files() {
	find include lib examples tests -path tests/kernel -prune -o \( -name '*.[ch]' -o -name '*.cpp' \) -print | sort
}

shell_files() {
	find tests examples .ci -type f ! -name '*.[ch]' -exec grep -lE '^#!.*sh$|^# shellcheck shell=' {} + | sort
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
	check "cppcheck, tests" run_cppcheck tests/unit tests/model tests/real tests/install tests/bench
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

case ${1:-} in
format | cppcheck | shellcheck) "check_$1" ;;
fix) c_files | xargs clang-format -i && exit ;;
*) echo "usage: static.sh format|cppcheck|shellcheck|fix" >&2 && exit 2 ;;
esac
tap_end
