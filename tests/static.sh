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
	local file
	need clang-format
	while read -r file; do
		check "format of $file" clang-format --dry-run -Werror "$file"
	done < <(c_files)
}

check_cppcheck() {
	need cppcheck
	check "cppcheck, library" run_cppcheck lib
	check "cppcheck, examples" run_cppcheck examples
	check "cppcheck, tests" run_cppcheck tests/unit tests/model tests/install
}

run_cppcheck() {
	cppcheck --quiet --error-exitcode=1 --std=c11 --enable=warning,performance,portability --inline-suppr \
		-D_GNU_SOURCE -I include -I lib -I tests -I tests/unit "$@"
}

check_shellcheck() {
	local file
	need shellcheck
	while read -r file; do
		check "shellcheck of $file" shellcheck -x -P tests "$file"
	done < <(shell_files)
}

case ${1:-} in
format | cppcheck | shellcheck) "check_$1" ;;
fix) c_files | xargs clang-format -i && exit ;;
*) echo "usage: static.sh format|cppcheck|shellcheck|fix" >&2 && exit 2 ;;
esac
tap_end
