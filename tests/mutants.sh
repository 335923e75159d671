#!/bin/bash
# SPDX-License-Identifier: MIT
#
# mutants.sh [NAME...]: do the tests notice when the library is broken on purpose?
#
# Each tests/mutants/NAME.patch breaks lib/ in one place and says on top what must notice:
#
#	# trap: 7 8		numbers of the kernel's traps whose counter-measure it switches off, if any
#	# kills: test_a test_b	the unit tests that must fail
#	# cpu: avx2		what the processor must have to run what is broken, if not all have it
#
# For a trap only the test cases with the tag trapN are run. They must pass without the patch and
# fail with it; a crash counts as failing, and so does no end within a minute and four times as long
# as without the patch. The patch goes onto a copy.
set -euo pipefail

cd "$(dirname "$0")/.."
root=$PWD build=$PWD/build/debug
export CMAKE_GENERATOR="Unix Makefiles"	# its link.txt and flags.make are used below

# ---- tests ----------------------------------------------------------------------

# field NAME KEY: a line of the patch's head
field() { sed -nE "/^---/q; s/^# $2: *//p" "tests/mutants/$1.patch"; }

# What a mutant must be noticed by: lines "test trap", trap - for the whole test
targets() {
	local test trap traps
	traps=$(field "$1" trap)
	for test in $(field "$1" kills); do
		for trap in ${traps:--}; do
			echo "$test $trap"
		done
	done
}

# run_test PROGRAM TRAP DIR SECONDS: prints how many cases failed and how many there were
run_test() {
	local code=0 tags=() limit=$4
	rm -f "$3/tap"
	[ "$2" = - ] || tags=("CK_INCLUDE_TAGS=trap$2")
	env "${tags[@]}" CK_TAP_LOG_FILE_NAME="$3/tap" timeout -k 5 "$limit" "$1" >"$3/output" 2>&1 || code=$?
	how_it_went "$code" "$3/tap" "$limit"
	return "$code"
}

how_it_went() {
	case $1 in
	124 | 137) echo "no end in $3 s" ;;
	0 | 1) echo "$(grep -c '^not ok' "$2" || true) of $(grep -cE '^(not )?ok' "$2" || true) cases fail" ;;
	*) echo "exit code $1" ;;
	esac
}

# Without a patch they must pass, however long it takes on a busy machine; and there must be some. Leaves the answer in $work.
check_baseline() {
	local test=$1 trap=$2 dir=$work/base/$1.$2 start=$SECONDS
	mkdir -p "$dir"
	if [ ! -x "$build/tests/$test" ]; then
		echo "there is no $test" >"$dir/bad"
	elif ! run_test "$build/tests/$test" "$trap" "$dir" 300 >"$dir/how"; then
		echo "fails without the patch too: $(cat "$dir/how")" >"$dir/bad"
	elif ! grep -q '^ok' "$dir/tap"; then
		echo "has no test case with the tag trap$trap" >"$dir/bad"
	fi
	echo $((SECONDS - start)) >"$dir/seconds"
}

# ---- one mutant -----------------------------------------------------------------

# verdict ok|not-ok WHAT: one line of result; and, for traps.sh: name, trap, test, does it pass, was it killed
verdict() { printf '%s\t%s\n' "$1" "$2" >>"$dir/result"; }
record() { printf '%s\t%s\t%s\t%s\t%s\n' "$name" "$@" >>"$dir/record"; }

complaint() { grep -m 1 -E 'error:|FAILED|undefined' "$dir/log" || tail -n 1 "$dir/log"; }

flags() { sed -n 's/^C_[A-Z]* = //p' "$build/CMakeFiles/vfd_objects.dir/flags.make" | sed 's/-Werror//'; }

# Files to compile again: what the patch touches; all, if that is a header.
touched() {
	local files
	files=$(sed -nE 's,^\+\+\+ b/(lib/[^[:space:]]+).*,\1,p' "tests/mutants/$name.patch")
	case $files in
	'') return 1 ;;
	*.h*) ls lib/*.c ;;
	*) echo "$files" ;;
	esac
}

break_library() {
	local file
	cp -r lib "$dir/lib"
	patch -p1 --fuzz=0 -s -d "$dir" -i "$root/tests/mutants/$name.patch" || return 1
	touched >"$dir/touched" || return 1
	while read -r file; do
		# shellcheck disable=SC2046
		gcc $(flags) -w -fPIC -c "$dir/$file" -o "$dir/$(basename "$file").o" || return 1
	done <"$dir/touched"
}

# Link as the build did, with the broken objects in place of the good ones.
link_test() {
	local test=$1 object script
	script=$(cat "$build/tests/CMakeFiles/$test.dir/link.txt")
	for object in "$dir"/*.c.o; do
		script=${script//..\/CMakeFiles\/vfd_objects.dir\/lib\/$(basename "$object")/$object}
	done
	script=${script/ -o $test / -o $dir/$test }
	(cd "$build/tests" && sh -c "$script")
}

# Of what the mutant needs, the first that this processor has not
missing_here() {
	local flag
	for flag in $(field "$name" cpu); do
		grep -qwm 1 -e "$flag" /proc/cpuinfo || { echo "$flag" && return; }
	done
}

run_mutant() {
	local test trap lacks
	lacks=$(missing_here)
	if [ -n "$lacks" ]; then
		verdict skip "this processor has no $lacks"
		return
	fi
	if ! break_library >"$dir/log" 2>&1; then
		verdict not-ok "the patch no longer applies, or does not compile: $(complaint)"
		return
	fi
	targets "$name" >"$dir/targets"
	[ -s "$dir/targets" ] || verdict not-ok "does not say which test must notice ('# kills:')"
	while read -r test trap; do
		judge "$test" "$trap"
	done <"$dir/targets"
}

# noticed CODE: it ran, and a case failed; or it crashed, or did not end
noticed() {
	case $1 in
	0 | 125 | 126 | 127) return 1 ;;
	1) grep -q '^not ok' "$dir/tap" ;;
	esac
}

judge() {
	local test=$1 trap=$2 how by=$1 code=0
	[ "$trap" = - ] || by="$1, trap $2"
	if [ -e "$work/base/$test.$trap/bad" ]; then
		record "$trap" "$test" no no
		verdict not-ok "$by: $(cat "$work/base/$test.$trap/bad")"
	elif ! link_test "$test" >"$dir/log" 2>&1; then
		record "$trap" "$test" yes no
		verdict not-ok "$by: does not link: $(complaint)"
	else
		how=$(run_test "$dir/$test" "$trap" "$dir" $((60 + 4 * $(cat "$work/base/$test.$trap/seconds")))) || code=$?
		judge_run "$code"
	fi
}

judge_run() {
	if noticed "$1"; then
		record "$trap" "$test" yes yes
		verdict ok "killed by $by: $how"
	elif [ "$1" = 0 ]; then
		record "$trap" "$test" yes no
		verdict not-ok "SURVIVED $by"
	else
		record "$trap" "$test" yes no
		verdict not-ok "$by: no case failed, but it was not run to its end: exit code $1"
	fi
}

# ---- all ------------------------------------------------------------------------

if [ "${1:-}" = --one ]; then	# called below, several at a time
	work=$2 name=$3
	dir=$work/mutant/$name
	mkdir -p "$dir"
	run_mutant
	find "$dir" -mindepth 1 -maxdepth 1 ! -name result ! -name record -exec rm -r {} +
	exit
elif [ "${1:-}" = --base ]; then
	work=$2
	check_baseline "$3" "$4"
	exit
fi

. tests/tap.sh
need gcc cmake make pkg-config patch
pkg-config --exists check || skip_all "Check, the unit test library, is not installed"

names=("$@")
if [ ${#names[@]} = 0 ]; then
	mapfile -t names < <(find tests/mutants -name '*.patch' -printf '%f\n' | sed 's/\.patch$//' | sort)
fi
[ ${#names[@]} -gt 0 ] || { echo "not ok 1 - there are no mutants" && exit 1; }

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

{ cmake --preset debug -DCMAKE_C_COMPILER=gcc && cmake --build "$build" -j "$(nproc)"; } >"$work/build.log" 2>&1 || {
	tail -n 40 "$work/build.log"
	echo "not ok 1 - the tests do not build"
	exit 1
}
for name in "${names[@]}"; do
	targets "$name"
done | sort -u | xargs -r -P "$(nproc)" -L 1 "$0" --base "$work"
printf '%s\n' "${names[@]}" | xargs -P "$(nproc)" -n 1 "$0" --one "$work"

[ -z "${VFD_RESULTS:-}" ] || : >"$VFD_RESULTS/mutants.tsv"
for name in "${names[@]}"; do
	while IFS=$'\t' read -r result text; do
		case $result in
		ok) ok "$name: $text" ;;
		skip) skip "$name" "$text" ;;
		*) not_ok "$name: $text" ;;
		esac
	done <"$work/mutant/$name/result"
	[ -z "${VFD_RESULTS:-}" ] || [ ! -e "$work/mutant/$name/record" ] ||
		cat "$work/mutant/$name/record" >>"$VFD_RESULTS/mutants.tsv"
done
tap_end
[ "$tap_failed" = 0 ]
