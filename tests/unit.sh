#!/bin/bash
# SPDX-License-Identifier: MIT
#
# unit.sh PRESET [NAME...]: configure, build (warnings are errors) and run the unit tests of one
# preset of CMakePresets.json; only those named, if any. Says in TAP what every test case did.
set -euo pipefail

cd "$(dirname "$0")/.."
. tests/tap.sh

preset=$1
shift
names=("$@")
build=build/$preset
compiler=gcc run=() targets=() ctest_code=0
case $preset in
clang) compiler=clang ;;
musl) compiler=musl-gcc ;;
aarch64 | s390x) compiler=$preset-linux-gnu-gcc ;;
i386) compiler=i686-linux-gnu-gcc ;;
esac
[ ${#names[@]} = 0 ] || targets=(--target "${names[@]}")

need "$compiler" cmake make pkg-config
pkg-config --exists check || skip_all "Check, the unit test library, is not installed"

# gcc 12's sanitizers want their shadow memory where a well randomised process may have a library.
calm_address_space() {
	case $preset in
	asan | tsan) ! setarch -R true 2>/dev/null || run=(setarch -R) ;;
	esac
}

build() {
	{
		cmake --preset "$preset" -DCMAKE_C_COMPILER="$compiler" &&
			cmake --build "$build" -j "$(nproc)" "${targets[@]}"
	} >"build/$preset.log" 2>&1 || {
		tail -n 40 "build/$preset.log"
		echo "not ok 1 - build with $compiler, preset $preset"
		exit 1
	}
}

run_tests() {
	local only=()
	[ ${#names[@]} = 0 ] || only=(-R "^($(IFS='|' && echo "${names[*]}"))\$")
	rm -rf "$build/tap"
	mkdir -p "$build/tap"
	"${run[@]}" ctest --test-dir "$build" -j "$(nproc)" --timeout "${VFD_TEST_TIMEOUT:-300}" --output-on-failure "${only[@]}" \
		>"$build/ctest.log" 2>&1 || ctest_code=$?
}

# Check's own record of each test case; or, of a program that died before it could write one, ctest's.
report() {
	local name status
	while read -r name status; do
		report_one "$name" "$status"
	done < <(sed -nE 's,^ *[0-9]+/[0-9]+ +Test +#[0-9]+: ([^ ]+) [. ]*(\*\*\*)?([A-Z][A-Za-z ]*).*,\1 \3,p' \
		"$build/ctest.log")
}

report_one() {
	local name=$1 status=$2 tap=$build/tap/$1 result text failed=$tap_failed
	while read -r result text; do
		case $result in
		ok) ok "$name: $text" ;;
		not) not_ok "$name: $text" ;;
		esac
	done < <(sed -nE 's/^(ok|not ok) [0-9]+ - ([^:]*:)?/\1 /p' "$tap" 2>/dev/null | sed 's/^not ok/not/')
	grep '^# ' "$tap" 2>/dev/null || true # the table of modes
	if [ "${status%% *}" != Passed ] && [ "$failed" = "$tap_failed" ]; then
		not_ok "$name: $status"
	elif [ ! -s "$tap" ] && ! grep -q "^# SKIPPED $name:" "$build/Testing/Temporary/LastTest.log"; then
		not_ok "$name: left no record of what it tested"
	fi
}

# What a program could not do here, it says.
report_skipped() {
	local name text
	while IFS=: read -r name text; do
		skip "$name" "${text# }"
	done < <(sed -n 's/^# SKIPPED //p' "$build/Testing/Temporary/LastTest.log")
}

mkdir -p build
calm_address_space
build
run_tests
report
report_skipped
grep -hE '^# .* (single faults|pairs of faults|allocations refused|killed after|the heir owes)' "$build/Testing/Temporary/LastTest.log" || true # for tests/reliability.sh
[ "$tap_count" -gt 0 ] || not_ok "no test was run"
[ "$ctest_code" = 0 ] || [ "$tap_failed" -gt 0 ] || not_ok "ctest did not come to its end: exit code $ctest_code"
tap_end || { sed 's/^/# /' "$build/ctest.log" && exit 1; }
