#!/bin/bash
# SPDX-License-Identifier: MIT
#
# test.sh DIRECTORY: vfd-guard, built there, on cases.c over a fake of /dev/vfio. What it says of the real kernel's is in
# examples/test.sh. TAP.
set -euo pipefail

bin=$(realpath "$1")
cd "$(dirname "$0")/../.."
. tests/tap.sh

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

# guard CASE OPTION...: leaves output and code
guard() {
	code=0
	LD_PRELOAD=$bin/vfd-guard-fake.so "$bin/vfd-guard" "${@:2}" -- "$bin/vfd-guard-cases" "$1" 26 device \
		>"$tmp/out" 2>&1 || code=$?
}

has() { grep -qE -e "$1" "$tmp/out" || { cat "$tmp/out" && return 1; }; }
lacks() { ! grep -E -e "$1" "$tmp/out"; }
code_is() { [ "$code" = "$1" ] || { echo "exit $code" && cat "$tmp/out" && return 1; }; }

# silent CASE...: nothing is lost, and nothing is said
silent() {
	local case
	for case; do
		guard "$case" --exit-code 77
		check "$case: nothing to report" code_is 0
		check "$case: silence" lacks vfd-guard
	done
}

# finds KIND CASE [TEXT]: exactly one loss, of that kind, in the function of that case
finds() {
	guard "$2" --exit-code 77
	check "$2: found" code_is 77
	check "$2: as $1" has "LOSS \($1\)"
	check "$2: once" test "$(grep -c 'LOSS (' "$tmp/out")" = 1
	check "$2: ${3:-64 pages}" has "${3:-at most 64 pages of 4096 bytes}"
}

# the line in which its function does it, or calls what does
names_the_line() {
	if command -v addr2line >/dev/null; then
		check "$1: names the line" has "case_${1//-/_} .*cases\.c:[0-9]+"
	else
		skip "$1: names the line" "addr2line is not installed"
	fi
}

silent lossless unmap-bits dup fork paused busy
GLIBC_TUNABLES=glibc.malloc.tcache_count=0:glibc.malloc.perturb=165 silent close-in-call # what is freed is no pointer any more

finds unmap unmap "IOVA 0x0..0x3ffff, 64 pages: never collected"
names_the_line unmap
finds unmap thread
finds detach detach "a device could write since it was collected"
names_the_line detach
finds group-close group-close
finds device-close device-close
finds container-close container-close
finds stop stop
finds stop woken "a device could write since"
finds half-read half-read
finds exit exit
guard exec
check "exec: found" has "LOSS \(exec\)"
finds log-stop log-stop "a device could write since"
finds log-again log-again
finds log-close log-close
finds bad-buffer log-bad
finds ioas-unmap ioas-unmap
guard enable-again
check "enable-again: found" has "LOSS \(enable-again\)"
finds disable disable
finds destroy destroy
finds iommufd-close iommufd-close
check "it ended with iommufd: once, although the process ends too" lacks "LOSS \(exit\)"
guard iommufd-bad
check "iommufd-bad: the buffer" has "LOSS \(bad-buffer\)"
check "iommufd-bad: and what was hidden" has "LOSS \(disable\)"

guard detach --collect "$tmp/bits"
check "--collect: the number is exact" has "exactly 4 pages, kept in"
check "--collect: magic" test "$(head -c 8 "$tmp/bits")" = VFDGUARD
check "--collect: the bits" test "$(od -An -tx8 -j 136 -N 8 "$tmp/bits" | tr -d ' ')" = 000000000000001e
check "--collect: nothing besides" test "$(stat -c %s "$tmp/bits")" = 144
guard unmap --collect "$tmp/more"
check "--collect, unmap" has "exactly 4 pages, kept in"
guard ioas-unmap --collect "$tmp/tables"
check "--collect, iommufd" has "exactly 4 pages, kept in"
guard log-again --collect "$tmp/logs"
check "--collect, a device's log" has "exactly 4 pages, kept in"

guard busy --collect "$tmp/vain" --exit-code 77
check "--collect before a call that fails: told" has "LOSS \(kept\)"
check "--collect before a call that fails: which" has "exactly 4 pages, kept in"
check "--collect before a call that fails: counts" code_is 77

guard detach --abort
check "--abort: SIGABRT" code_is 134
check "--abort: says why" has "LOSS \(detach\)"
guard detach --json
check "--json: only JSON" lacks '^[^{d]'
check "--json: the loss" has '^\{"event":"loss",.*"kind":"detach".*"pages_at_most":64,.*"function":"case_detach"'
if command -v jq >/dev/null; then
	check "--json: parses" eval "grep '^{' '$tmp/out' | jq -e . >/dev/null"
else
	skip "--json: parses" "jq is not installed"
fi
guard detach --log "$tmp/log"
check "--log: there" grep -q 'LOSS (detach)' "$tmp/log"
check "--log: and not here" lacks LOSS
printf '# a comment\nunmap:case_detach\nde*:case_detach\n' >"$tmp/suppressions"
guard detach --suppressions "$tmp/suppressions" --exit-code 77
check "--suppressions: no loss" code_is 0
check "--suppressions: counted" has '\(suppressed\) detach: 1 times'
guard unmap --suppressions "$tmp/suppressions" --exit-code 77
check "--suppressions: another" has 'LOSS \(unmap\)'
guard lossless --stats
check "--stats: what was seen" has "1 maps, 0 unmaps, 2 reads; tracking was switched on 1 times, off 0 times"
guard exec --stats
check "followed through exec" has 'vfd-guard:[0-9]+== exit: 0 losses; seen: 0 maps.*never on'

# ---- what cannot be followed -------------------------------------------------------------------

refused() {
	local code=0
	"$bin/vfd-guard" -- "$2" >"$tmp/out" 2>&1 || code=$?
	check "$1: refused" test "$code" = "$3"
	check "$1: says why" has "$4"
}

printf 'int main(void) { return 0; }\n' >"$tmp/nothing.c"
for how in -static -static-pie; do
	if ${CC:-cc} $how -o "$tmp/nothing" "$tmp/nothing.c" 2>/dev/null; then
		refused "a program linked with $how" "$tmp/nothing" 126 "is linked statically"
	else
		skip "a program linked with $how" "it cannot be linked here"
	fi
done
printf '#!%s\n' "$tmp/nothing" >"$tmp/script" && chmod +x "$tmp/script"
[ ! -e "$tmp/nothing" ] || refused "a script for one" "$tmp/script" 126 "is linked statically"
refused "no program" "$tmp/none" 127 "No such file"
refused "a file that is none" "$tmp/nothing.c" 126 "neither an ELF program"
check "--help" eval "'$bin/vfd-guard' --help | grep -q '^usage: '"
check "no program given: wrong use" eval "! '$bin/vfd-guard' 2>/dev/null"
check "a wrong option" eval "! '$bin/vfd-guard' --nonsense true 2>/dev/null"
check "a wrong exit code" eval "! '$bin/vfd-guard' --exit-code 256 true 2>/dev/null"
check "the program's own exit code" eval "'$bin/vfd-guard' sh -c 'exit 5'; [ \$? = 5 ]"
check "the shim needs libc only" eval "! readelf -d '$bin/vfd-guard.so' | grep NEEDED | grep -vE 'libc\.|ld-'"
tap_end
