#!/bin/bash
# SPDX-License-Identifier: MIT
#
# coverage.sh: which lines and branches of lib/ do the unit tests, the random operations on the model, and the corpora of the fuzz targets reach? Prints a
# table. tests/coverage.txt says of each branch that nothing reaches why, and must say so of all. coverage.sh --reasons: print that file anew, with
# the reasons that it has. What was counted stays in build/coverage.
# shellcheck disable=SC2317 # functions are called through check()
set -euo pipefail

cd "$(dirname "$0")/.."
. tests/tap.sh

root=$PWD debug=$PWD/build/debug work=$PWD/build/coverage reasons=tests/coverage.txt lines_least=97 branches_least=90
export CMAKE_GENERATOR="Unix Makefiles" # its link.txt and flags.make are used below

need gcc gcov cmake make pkg-config
pkg-config --exists check || skip_all "Check, the unit test library, is not installed"

# ---- building: the library anew, what tests it as it is -------------------------------

flags() { sed -n 's/^C_[A-Z]* = //p' "$debug/CMakeFiles/vfd_objects.dir/flags.make"; }

build() {
	local source
	rm -rf "$work"
	mkdir -p "$work/lib" "$work/bin"
	{ cmake --preset debug -DCMAKE_C_COMPILER=gcc && cmake --build "$debug" -j "$(nproc)"; } >"$work/build.log" 2>&1 ||
		{ tail -n 40 "$work/build.log" && return 1; }
	# shellcheck disable=SC2046
	for source in lib/*.c; do
		printf '%s\n' "$work/${source%.c}.c.o" "$root/$source"
	done | xargs -P "$(nproc)" -L 2 gcc $(flags) -O0 -fPIC --coverage -fprofile-update=atomic -c -o
	count_children
}

# Children that leave by _exit() count too.
count_children() {
	gcc -c -o "$work/exit.o" -x c - <<-'END'
		void __gcov_dump(void);
		void __real__exit(int code);
		void __wrap__exit(int code);
		void __wrap__exit(int code) { __gcov_dump(); __real__exit(code); }
	END
}

# link DIRECTORY TARGET: as the build did, with our objects
link() {
	local script
	script=$(sed -E "s,[^ ]*CMakeFiles/vfd_objects\\.dir/lib/,$work/lib/,g
		s, -o $2 , --coverage $work/exit.o -Wl\\,--wrap=_exit -o $work/bin/$2 ," "$1/CMakeFiles/$2.dir/link.txt")
	(cd "$1" && sh -c "$script")
}

link_fuzz() {
	local world=("$debug/tests/random/libplay.a" "$debug/tests/libmodel.a") more=()
	[ "$1" != calls ] || more=(tests/fuzz/more.c)
	gcc -std=gnu11 -g -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -Iinclude -Ilib -Itests -o "$work/bin/fuzz_$1" tests/fuzz/{replay,"fuzz_$1"}.c "${more[@]}" \
		"$work"/lib/*.o "${world[@]}" --coverage -pthread
}

# ---- running -----------------------------------------------------------------------

# Not those that stop a process after each instruction: the counters would be most of the instructions, and shared with its heir's.
programs() {
	local target
	for target in "$debug"/tests/CMakeFiles/test_*.dir; do
		target=$(basename "$target" .dir)
		[[ $target != test_salvage_@(steps|between) ]] || continue
		link "$debug/tests" "$target"
		echo "$target"
	done
	link "$debug/tests/random" random_model
	printf 'random_model 20000%s\n' "" " 2 mixed" " 3 iommufd"
	for target in bitmap calls caps extents plan salvage; do
		[ -d "tests/fuzz/corpus/$target" ] || continue
		link_fuzz "$target"
		echo "fuzz_$target tests/fuzz/corpus/$target/*"
	done
}

# What fails under a slower library is no failure here: the gcc step judges.
run() { CK_TIMEOUT_MULTIPLIER=10 xargs -P "$(nproc)" -I{} sh -c "timeout 900 $work/bin/{} >/dev/null 2>&1 || echo '# failed: {}'" <"$work/programs"; }

measure() {
	(cd "$work" && gcov -b -c -r -s "$root" lib/*.gcda >/dev/null 2>&1)
	ls "$work"/*.c.gcov >/dev/null
}

# ---- counting ----------------------------------------------------------------------

# From gcov's files: F file lines covered branches taken; of each line with a branch never taken: U file function text; of each never reached: L likewise
count() {
	# shellcheck disable=SC2016 # awk's
	awk '
	function flush() { if (missed && text != "") print "U\t" file "\t" name "\t" text; missed = 0 }
	function finish() { flush(); if (file != "") printf "F\t%s\t%d\t%d\t%d\t%d\n", file, lines, covered, branches, taken }
	FNR == 1 { finish(); file = FILENAME; sub(/.*\//, "", file); sub(/\.gcov$/, "", file); sub(/^.*#/, "", file)
		   lines = covered = branches = taken = 0; text = "" }
	/^branch/ { branches++; if (/taken [1-9]/) taken++; else missed = 1; next }
	/^function/ { flush(); text = ""; name = $2; next }
	/^(call|unconditional)/ { next }
	{
		flush()
		split($0, part, ":"); hits = part[1]; gsub(/ /, "", hits)
		text = substr($0, index($0, ":") + 1); text = substr(text, index(text, ":") + 1)
		gsub(/^[ \t]+|[ \t]+$/, "", text)
		if (hits != "-") { lines++; if (hits !~ /^[#=]/) covered++; else if (text != "") print "L\t" file "\t" name "\t" text }
	}
	END { finish() }' "$work"/*.c.gcov
}

table() {
	# shellcheck disable=SC2016
	awk -F'\t' '$1 == "F" { printf "# %-24s %5d lines %6.1f %%  %5d branches %6.1f %%\n", $2, $3, $3 ? 100 * $4 / $3 : 100, $5, $5 ? 100 * $6 / $5 : 100 }' "$work/counted"
}

# percent COLUMN-OF-ALL COLUMN-OF-REACHED
percent() { awk -F'\t' -v all="$1" -v got="$2" '$1 == "F" { a += $all; g += $got } END { printf "%.1f", 100 * g / a }' "$work/counted"; }

at_least() { awk -v is="$1" -v least="$2" 'BEGIN { exit !(is >= least) }'; }

# FILE<tab>function<tab>the line's text; in the file of reasons then: a word that its head explains
uncovered() { sed -n 's/^U\t//p' "$work/counted" | sort -u; }
words() { sed -nE 's/^# ([a-z]+): .*/\1/p' "$reasons"; }
# shellcheck disable=SC2016
explained() { awk -F'\t' 'NR == FNR { word[$1]; next } $4 in word' <(words) "$reasons" | cut -f 1-3 | sort -u; }

tally() {
	local word
	for word in $(words); do echo "# $word: $(grep -c $'\t'"$word\$" "$reasons")"; done
}

with_reasons() {
	# shellcheck disable=SC2016
	uncovered | awk -F'\t' -v OFS='\t' 'NR == FNR { why[$1 FS $2 FS $3] = $4; next } { print $0, why[$0] }' "$reasons" -
}

# Some depend on the processor, and on which thread comes first: more reasons than are needed are only shown.
all_have_reasons() {
	local without
	without=$(comm -23 <(uncovered) <(explained))
	[ -z "$without" ] || { echo "$without" && return 1; }
}

if ! { build && programs >"$work/programs"; }; then
	not_ok "the library with counters, and its tests"
	exit 1
fi
run
measure
count >"$work/counted"
if [ "${1:-}" = --reasons ]; then
	grep '^#' "$reasons" || true
	with_reasons
	exit
fi
lines=$(percent 3 4) branches=$(percent 5 6)
check "lines of lib/ that are reached: $lines %, at least $lines_least" at_least "$lines" "$lines_least"
check "branches: $branches %, at least $branches_least" at_least "$branches" "$branches_least"
check "each branch that is not reached has its reason in $reasons" all_have_reasons
echo "# $(uncovered | wc -l) lines have a branch that is not reached; reached, though there is a reason why not:"
comm -13 <(uncovered) <(explained) | sed 's/^/#   /'
tally
table
tap_end
