#!/bin/bash
# SPDX-License-Identifier: MIT
#
# run.sh [--minutes N] [--keep]: the migration stream's parser under libFuzzer (AddressSanitizer, UndefinedBehaviorSanitizer), for a minute
# or as long as told, then how much of it the corpus covers. --keep: what was found goes into the corpus, as few and as small as can be.
# TAP, then a sum.
# shellcheck disable=SC2317 # functions are called through check()
set -euo pipefail

cd "$(dirname "$0")/../.."
. tests/tap.sh

minutes=1 keep=no build=build/fuzz corpus=tests/fuzz/corpus
engine=examples/migrate
parser=("$engine"/{stream,wire,receiver,memory}.c)
sources=(tests/migrate/{tape,tape_device}.c "$engine"/{error,crc32c}.c "${parser[@]}")

while [ $# -gt 0 ]; do
	case $1 in
	--minutes) minutes=$2 && shift ;;
	--keep) keep=yes ;;
	*) echo "usage: tests/fuzz/run.sh [--minutes N] [--keep]" >&2 && exit 2 ;;
	esac
	shift
done

need clang
clang -print-file-name=libclang_rt.fuzzer-x86_64.a | grep -q / || skip_all "clang has no libFuzzer here"

# compile NAME FLAG...
compile() {
	clang -std=gnu11 -g -O1 -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -Iinclude -I"$engine" "${@:2}" -pthread -o "$build/$1"
}

fuzz() {
	"$build/fuzz_stream" -max_total_time=$((${VFD_FUZZ_SECONDS:-minutes * 60})) -max_len=40000 -timeout=10 -rss_limit_mb=1024 -print_final_stats=1 \
		-artifact_prefix="$build/" "$build/found" "$corpus" >"$build/fuzz.log" 2>&1 || { tail -n 40 "$build/fuzz.log" && return 1; }
}

# covered: percent of the parser's lines that the corpus reaches
covered() {
	mkdir -p "$build/profile"
	LLVM_PROFILE_FILE="$build/profile/raw" "$build/covered" -runs=0 "$corpus" >"$build/covered.log" 2>&1
	llvm-profdata merge -o "$build/profile/data" "$build/profile/raw"
	llvm-cov report "$build/covered" -instr-profile="$build/profile/data" "${parser[@]}" >"$build/coverage"
	awk '$1 == "TOTAL" { print $10 }' "$build/coverage" | tr -d '%'
}

enough() {
	[ "${1%.*}" -ge 95 ] || { cat "$build/coverage" && return 1; }
}

merge() {
	mkdir -p "$build/merged"
	"$build/fuzz_stream" -merge=1 -max_len=40000 "$build/merged" "$corpus" "$build/found" >"$build/merge.log" 2>&1
	rm -f "$corpus"/*
	cp "$build"/merged/* "$corpus"
}

rm -rf "$build"
mkdir -p "$build/found"
compile fuzz_stream -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all tests/fuzz/fuzz_stream.c "${sources[@]}"
compile covered -fsanitize=fuzzer -fprofile-instr-generate -fcoverage-mapping tests/fuzz/fuzz_stream.c "${sources[@]}"
check "$minutes minutes of random streams: no crash" fuzz
sed -nE 's/^stat::(number_of_executed_units|average_exec_per_sec|new_units_added): */# \1 /p' "$build/fuzz.log"
[ "$keep" = no ] || merge
percent=$(covered)
check "the corpus covers at least 95 % of the parser's lines: $percent %" enough "$percent"
sed 's/^/# /' "$build/coverage"
tap_end
