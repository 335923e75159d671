#!/bin/bash
# SPDX-License-Identifier: MIT
#
# test.sh DIRECTORY-OF-THE-PROGRAMS: vfd-top beside a program whose numbers are known, and on arenas that were cut or written by anyone.
# shellcheck disable=SC2317 # functions are called through check()
set -euo pipefail

cd "$(dirname "$0")/../.."
. tests/tap.sh
bin=${1:?the directory of the programs}
need jq mkfifo truncate
tmp=$(mktemp -d)
feeder=''
trap '[ -z "$feeder" ] || kill "$feeder" 2>/dev/null || true; rm -rf "$tmp"' EXIT

# feed [FILE]: starts it; lines for it go to descriptor 8
feed() {
	rm -f "$tmp/lines"
	mkfifo "$tmp/lines"
	"$bin/vfd-top-feed" "$@" <"$tmp/lines" >"$tmp/ready" 2>"$tmp/fed" &
	feeder=$!
	exec 8>"$tmp/lines"
	for _ in {1..100}; do
		! grep -q ready "$tmp/ready" || return 0
		sleep 0.05
	done
	return 1
}

starve() {
	exec 8>&-
	wait "$feeder" || true
	feeder=''
}

# json EXPRESSION OPTION...: true of one object
json() {
	local what=$1
	shift
	"$bin/vfd-top" --once --json --interval 0.05 "$@" >"$tmp/json" || return 1
	jq -e "$what" "$tmp/json" >/dev/null || { cat "$tmp/json" && return 1; }
}

# says CODE TEXT OPTION...
says() {
	local want=$1 text=$2 code=0
	shift 2
	"$bin/vfd-top" --once --interval 0.05 "$@" >"$tmp/said" 2>&1 || code=$?
	if [ "$code" != "$want" ] || ! grep -qF -e "$text" "$tmp/said"; then
		echo "exit $code"
		cat "$tmp/said"
		return 1
	fi
}

narrow() {
	"$bin/vfd-top" --once --interval 0.05 "$feeder" >"$tmp/screen" || return 1
	[ "$(wc -L <"$tmp/screen")" -le 80 ] || { cat "$tmp/screen" && return 1; }
}

# Until it was seen three times, each screen in the place of the one before, and no more lines than the terminal has.
on_a_terminal() {
	local looker code=0
	timeout 60 script -qfec "stty rows 16 cols 80; exec $bin/vfd-top --interval 0.1 $feeder" "$tmp/typed" </dev/null >/dev/null 2>&1 &
	looker=$!
	for _ in {1..200}; do
		[ "$(grep -ao $'\e\\[H\e\\[J' "$tmp/typed" 2>/dev/null | wc -l)" -lt 3 ] || break
		sleep 0.1
	done
	kill "$looker" 2>/dev/null || true
	wait "$looker" || code=$?
	sed -n $'/\e\\[H\e\\[J/,$p' "$tmp/typed" | tr -d '\r' | awk -v RS='\033\\[H\033\\[J' 'NR == 3 { printf "%s", $0 }' >"$tmp/second"
	[ "$(wc -L <"$tmp/second")" -le 80 ] && [ "$(wc -l <"$tmp/second")" -lt 16 ] && grep -q '^owed' "$tmp/second" && return 0
	echo "exit $code"
	cat -v "$tmp/typed"
	return 1
}

# A round of 200 pages between the two looks, by whoever reports, in the first region.
one_round() {
	(sleep 0.7 && echo round >&8) &
	"$bin/vfd-top" --once --json --interval 1.5 --bandwidth 0.1 "$feeder" >"$tmp/json"
	wait $!
	jq -e '(.pages_per_second.reported * .seconds | round) == 200 and (.regions[0].pages_per_second * .seconds | round) == 200
		and .regions[1].pages_per_second == 0 and .pages_per_second.software == 0
		and (.sources[] | select(.who == "kvm") | .pages) == 300 and (.forecast.converges | not)' "$tmp/json" >/dev/null || { cat "$tmp/json" && return 1; }
}

# Nothing of the log changes by being looked at, its last access neither.
only_reads() {
	cmp "$tmp/arena" "$tmp/copy"
}

storm() {
	local i
	echo storm >&8
	for i in {1..40}; do
		"$bin/vfd-top" --once --json --interval 0.01 "$feeder" >"$tmp/json" 2>"$tmp/said" || { echo "look $i" && cat "$tmp/said" && return 1; }
		jq -e . "$tmp/json" >/dev/null || return 1
	done
}

test_numbers() {
	feed || { not_ok "a log to look at" && return 0; }
	check "owed, reported, in batches" json '.owed.pages == 123 and .owed.reported == 93 and .taken == 7' "$feeder"
	check "who it was" json '[.sources[] | [.who, .provenance, .pages]] | sort == [["caller", "software", 20], ["kvm", "reported", 100]]' "$feeder"
	check "regions" json '[.regions[] | [.address, .bytes, .owed]] == [["0x0", 16777216, 93], ["0x40000000", 2097152, 30]]' "$feeder"
	check "what it is" json '.command == "vfd-top-feed" and .log == "memfd:feed-log" and .page_size == 4096' "$feeder"
	check "nothing happens: it converges" json '.forecast.converges and .forecast.dirty == 0' "$feeder"
	check "the screen has 80 columns" narrow
	if command -v script >/dev/null; then
		check "on a terminal: a screen after the other, of fewer lines than it has" on_a_terminal
	else
		skip "on a terminal" "script (bsdutils) is not installed"
	fi
	check "a round of 200 pages: rates, and at 0.1 MB/s no end" one_round
	check "a descriptor that is no log" says 1 "is no log" --fd 0 "$feeder"
	check "while regions and batches come and go" storm
	starve
}

test_nothing_there() {
	check "a process without a log" says 1 "no descriptor of process" $$
	check "no such process" says 1 "there is none" 999999999
	check "no such file" says 1 "cannot be read" --arena "$tmp/nothing"
	check "a device" says 1 "no regular file" --arena /dev/zero
	head -c 100000 /dev/urandom >"$tmp/noise"
	check "another file" says 1 "there is no log in it" --arena "$tmp/noise"
	: >"$tmp/empty"
	check "an empty one" says 1 "too short" --arena "$tmp/empty"
}

# ---- arenas that were written by anyone: with sanitizers, where there are -------------------

hostile_build() {
	gcc -std=gnu11 -g -O1 -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -fsanitize=address,undefined -fno-sanitize-recover=all \
		-Ilib -Iinclude -o "$tmp/vfd-top" examples/vfd-top/*.c
}

# survives NAME: 0 or 1, soon, and no sanitizer speaks
survives() {
	local code=0
	timeout 20 "$tmp/vfd-top" --once --interval 0.01 --arena "$1" >"$tmp/said" 2>&1 || code=$?
	if [ "$code" -gt 1 ] || grep -q "runtime error\|Sanitizer" "$tmp/said"; then
		echo "exit $code"
		cat "$tmp/said"
		return 1
	fi
}

# Regions without end, all of the same words.
many_regions() {
	gcc -std=gnu11 -O1 -D_GNU_SOURCE -Ilib -Iinclude -o "$tmp/forge" tests/top/forge.c && "$tmp/forge" "$tmp/bad" || return 1
	says 1 "regions share their pages" --arena "$tmp/bad" && survives "$tmp/bad"
}

# Where the superblock's words, the table of regions and the consumer are, bytes become others.
changed() {
	local i at
	RANDOM=7
	for i in {1..150}; do
		cp "$tmp/copy" "$tmp/bad"
		for _ in 1 2 3; do
			at=$((i % 3 ? RANDOM % 6000 : RANDOM * 4))
			printf '%b' "\\x$(printf %x $((RANDOM % 256)))" | dd of="$tmp/bad" bs=1 seek="$at" conv=notrunc status=none
		done
		survives "$tmp/bad" || { echo "arena $i, near $at" && return 1; }
	done
}

# word OFFSET: eight bytes of one
ones_at() {
	cp "$tmp/copy" "$tmp/bad"
	printf '\xff\xff\xff\xff\xff\xff\xff\x7f' | dd of="$tmp/bad" bs=1 seek="$1" conv=notrunc status=none
	survives "$tmp/bad"
}

words_of_ones() {
	local table at
	table=$(od -An -tu8 -j 48 -N 8 "$tmp/copy" | tr -d ' ')
	for at in $(seq 0 8 200) $(seq "$table" 8 $((table + 480))); do
		ones_at "$at" || { echo "at $at" && return 1; }
	done
}

cut_at() {
	local size
	for size in 1 7 8 100 2400 4096 70000 100000 8388607; do
		head -c "$size" "$tmp/copy" >"$tmp/bad"
		survives "$tmp/bad" || { echo "of $size" && return 1; }
		grep -qE 'too short|cut|no log' "$tmp/said" || { cat "$tmp/said" && return 1; }
	done
}

test_hostile() {
	feed "$tmp/arena" || { not_ok "a log in a file" && return 0; }
	cp "$tmp/arena" "$tmp/copy"
	check "looked at as a file" json '.owed.pages == 123 and .pid == 0' --arena "$tmp/arena"
	check "and not changed by it" only_reads
	starve
	if ! hostile_build 2>"$tmp/said"; then
		skip "arenas that were written by anyone" "gcc has no sanitizers here"
		return
	fi
	check "whole" survives "$tmp/copy"
	check "cut" cut_at
	check "words of ones" words_of_ones
	check "changed" changed
	check "regions without end" many_regions
}

test_numbers
test_nothing_there
test_hostile
tap_end
