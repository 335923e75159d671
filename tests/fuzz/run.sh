#!/bin/bash
# SPDX-License-Identifier: MIT
#
# run.sh [--minutes N] [--times N] [--fast] [--keep] [--record] [--planted] [TARGET...]: under libFuzzer, with AddressSanitizer and UndefinedBehaviorSanitizer, each for a minute
# or as long as told:
#
#	stream	any bytes to a migration's destination; then how much of the parser the corpus covers
#	calls	any bytes as calls of the library over the model kernel, the law asked after each
#	caps	any bytes as the kernel's answers with capabilities
#	bitmap	the bitmap functions, against a look at each bit
#	extents	the allocator of IOVAs, against a byte per page
#	plan	the planners: what a harvest asks for, what a device's log watches
#	salvage	a dead process' log, changed anywhere
#
# --times: all targets again and again, with what was found before. --fast: without the sanitizers, and at most 64 calls in one input: ten times as
# many, and only the target's own questions are asked. --keep: what was found goes into the corpus, as few and as small as
# can be. --record: a line in ledger.tsv for each run, also for one that failed. --planted: with a bug in the library that must be found
# within the time. TAP, then a sum.
# shellcheck disable=SC2317 # functions are called through check()
set -euo pipefail

cd "$(dirname "$0")/../.."
. tests/tap.sh

minutes=1 times=1 fast=no keep=no record=no planted=no build=build/fuzz engine=examples/migrate targets=()

while [ $# -gt 0 ]; do
	case $1 in
	--minutes) minutes=$2 && shift ;;
	--times) times=$2 && shift ;;
	--fast) fast=yes build=build/fuzz-fast ;;
	--keep) keep=yes ;;
	--record) record=yes ;;
	--planted) planted=yes ;;
	stream | calls | caps | bitmap | extents | plan | salvage) targets+=("$1") ;;
	*) sed -n '3,19s/^# \{0,1\}//p' "$0" >&2 && exit 2 ;;
	esac
	shift
done
[ ${#targets[@]} -gt 0 ] || targets=(stream calls caps bitmap extents plan salvage)
seconds=${VFD_FUZZ_SECONDS:-$((minutes * 60))}

need clang llvm-cov llvm-profdata patch
clang -print-file-name=libclang_rt.fuzzer-x86_64.a | grep -q / || skip_all "clang has no libFuzzer here"

# ---- what a target is made of ------------------------------------------------------

world=(tests/model/*.c tests/random/{ops,play,kinds,model_side,native_side}.c)
parser=("$engine"/{stream,wire,receiver,memory}.c)

sources_of() {
	echo "tests/fuzz/fuzz_$1.c"
	case $1 in
	stream) printf '%s\n' tests/migrate/{tape,tape_device}.c "$engine"/{error,crc32c}.c "${parser[@]}" ;;
	calls) printf '%s\n' tests/fuzz/more.c "${world[@]}" ;;
	plan) printf '%s\n' "${world[@]}" ;;
	esac
}

# A patch that only what the target does can notice: a mutant of the library, or of the engine.
bug_of() {
	case $1 in
	stream) echo tests/fuzz/planted/stream.patch ;;
	calls) echo tests/mutants/trap07-plain-unmap.patch ;;
	caps) echo tests/mutants/caps-beyond-the-answer.patch ;;
	bitmap) echo tests/mutants/bitmap-get-in-one-word.patch ;;
	extents) echo tests/mutants/extents-align-wraps.patch ;;
	plan) echo tests/mutants/cover-lost-end.patch ;;
	salvage) echo tests/mutants/salvage-trusts-offsets.patch ;;
	esac
}

flags=(-Werror=incompatible-pointer-types -Werror=implicit-function-declaration -std=gnu11 -g -O1 -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -DMODEL_TRUSTS_POINTERS -Iinclude -Ilib -Itests -I"$engine")

# compile DIRECTORY FLAG...: objects of the sources on standard input
compile() {
	local to=$1 source
	shift
	mkdir -p "$to"
	while read -r source; do
		printf '%s\n%s\n' "$to/$(tr / _ <<<"$source").o" "$source"
	done | xargs -P "$(nproc)" -L 2 clang "${flags[@]}" "$@" -c -o
}

# link_target TARGET DIRECTORY FLAG...: with the library, which is compiled once
link_target() {
	local target=$1 to=$2 objects=()
	shift 2
	if [ "$target" != stream ]; then
		[ -d "$build/lib" ] || printf '%s\n' lib/*.c | compile "$build/lib" "$@"
		objects=("$build"/lib/*.o)
	fi
	clang "${@/fuzzer-no-link/fuzzer}" -pthread -o "$to/fuzz" "$to"/*.o "${objects[@]}"
}

build_target() {
	sources_of "$1" | compile "$2" "${@:3}"
	link_target "$@"
}

# ---- running -----------------------------------------------------------------------

sanitizers=("-fsanitize=fuzzer-no-link,address,undefined" -fno-sanitize-recover=all)
most=40000 # bytes of an input
[ "$fast" = no ] || sanitizers=("-fsanitize=fuzzer-no-link" -fno-sanitize-coverage=trace-cmp) most=449 # a byte, and 64 calls

# The timeout is one of the clock: on a busy machine an input of 0.3 s was seen to take 15. What is rare gets no preference: to keep account
# of it takes libFuzzer as long as the calls do.
fuzz() {
	local target=$1 to=$build/$1 TIMEFORMAT='%U %S'
	mkdir -p "$to/found"
	[ "$keep" = no ] || mkdir -p "tests/fuzz/corpus/$target" # else it must be there
	{ time "$to/fuzz" -entropic=0 -max_total_time="$seconds" -max_len="$most" -timeout=300 -rss_limit_mb=1024 -print_final_stats=1 -artifact_prefix="$to/" \
		"$to/found" "tests/fuzz/corpus/$target" >"$to.log" 2>&1; } 2>"$to.time"
}

no_crash() { fuzz "$1" || { tail -n 40 "$build/$1.log" && return 1; }; }

is_found() { ! fuzz "$1" && grep -qE 'ERROR: (AddressSanitizer|libFuzzer)|runtime error' "$build/$1.log"; }

merge() {
	local corpus=tests/fuzz/corpus/$1
	mkdir -p "$build/$1/merged"
	"$build/$1/fuzz" -merge=1 -max_len=40000 "$build/$1/merged" "$corpus" "$build/$1/found" >"$build/merge.log" 2>&1
	rm -f "$corpus"/*
	cp "$build/$1"/merged/* "$corpus"
}

# covered: percent of the stream's parser that its corpus reaches
covered() {
	build_target stream "$build/covered" -fsanitize=fuzzer-no-link -fprofile-instr-generate -fcoverage-mapping
	LLVM_PROFILE_FILE="$build/raw" "$build/covered/fuzz" -runs=0 tests/fuzz/corpus/stream >"$build/covered.log" 2>&1
	llvm-profdata merge -o "$build/data" "$build/raw"
	llvm-cov report "$build/covered/fuzz" -instr-profile="$build/data" "${parser[@]}" >"$build/coverage"
	awk '$1 == "TOTAL" { print $10 }' "$build/coverage" | tr -d '%'
}

enough() { [ "${1%.*}" -ge 95 ] || { cat "$build/coverage" && return 1; }; }

# The commit that last changed what is fuzzed
version() {
	local what=(lib include "$engine") changed=
	git diff --quiet HEAD -- "${what[@]}" || changed=-changed
	echo "$(git log -1 --format=%h -- "${what[@]}")$changed"
}

# stat TARGET NAME: of what libFuzzer said in the end; - if it did not come to that
stat() { sed -nE "s/^stat::$2: *//p" "$build/$1.log" | grep . || echo -; }

# ok, or what it failed of
result() {
	[ "$1" = "$tap_failed" ] && echo ok && return
	sed -nE 's/^SUMMARY: //p' "$build/$2.log" | head -n 1 | grep . || echo failed
}

# write_down TARGET RESULT
write_down() {
	local name=$1
	[ "$fast" = no ] || name+=-fast
	printf '%s\t%s\t%s\t%s\t%s\t%s\t%s\n' "$name" "$(stat "$1" number_of_executed_units)" "$(stat "$1" operations)" \
		"$(awk '{ printf "%d", $1 + $2 }' "$build/$1.time")" "$(version)" "$(date -u +%F)" "$2" >>tests/fuzz/ledger.tsv
}

run_target() {
	local failed=$tap_failed
	[ -x "$build/$1/fuzz" ] || build_target "$1" "$build/$1" "${sanitizers[@]}"
	check "$1: $seconds seconds of anything: no crash, nothing lost" no_crash "$1"
	sed -nE 's/^stat::(number_of_executed_units|average_exec_per_sec|new_units_added): */# \1 /p' "$build/$1.log"
	[ "$record" = no ] || write_down "$1" "$(result "$failed" "$1")"
	[ "$keep" = no ] || merge "$1"
	[ "$1" = stream ] || return 0
	local percent
	percent=$(covered)
	check "the corpus covers at least 95 % of the parser's lines: $percent %" enough "$percent"
	sed 's/^/# /' "$build/coverage"
}

# The broken file is compiled in the good one's place; then the good one again.
run_planted() {
	local target=$1 bug file object start
	bug=$(bug_of "$target")
	file=$(sed -nE 's,^\+\+\+ b/([^[:space:]]+).*,\1,p' "$bug")
	build_target "$target" "$build/$target" "${sanitizers[@]}"
	patch -s --fuzz=0 -o "$build/broken.c" "$file" "$bug"
	object=$build/$target/$(tr / _ <<<"$file").o
	[ -e "$object" ] || object=$build/lib/$(tr / _ <<<"$file").o
	cp "$object" "$build/good.o"
	clang "${flags[@]}" "${sanitizers[@]}" -I"$(dirname "$file")" -c -o "$object" "$build/broken.c"
	link_target "$target" "$build/$target" "${sanitizers[@]}"
	cp "$build/good.o" "$object"
	start=$SECONDS
	check "$target: $(basename "$bug" .patch) is found within $seconds seconds" is_found "$target"
	echo "# after $((SECONDS - start)) s"
}

tap_commit
rm -rf "$build"
mkdir -p "$build"
for ((; times > 0; times--)); do
	for target in "${targets[@]}"; do
		if [ "$planted" = yes ]; then
			run_planted "$target"
		else
			run_target "$target"
		fi
	done
done
tap_end
