#!/bin/bash
# SPDX-License-Identifier: MIT
#
# smoke.sh: does the bench build and run, every row of it? No time is asserted: machines are busy. Instructions are
# counted, and must not become more. TAP, then a sum.
# shellcheck disable=SC2317 # functions are called through check()
set -euo pipefail

cd "$(dirname "$0")/../.."
. tests/tap.sh

skipped=0 work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# A limit that is missed is 1.
runs() {
	local code=0
	tests/bench/run.sh --no-install "$@" || code=$?
	[ "$code" -le 1 ]
}

quick_table() { runs --quick --tsv >"$work/table"; }

# name, ours, and for those with a peer: peer, ratio; limit
well_formed() {
	[ "$(head -n 1 "$work/table")" = "$(printf 'name\tours\tpeer\tratio\tlimit')" ] || return 1
	awk -F '\t' 'NR > 1 && (NF != 5 || $2 !~ /^[0-9.e+-]+$/ || $5 !~ /^(-|[<>]=[0-9].*)$/) { print; bad = 1 }
		END { exit bad }' "$work/table"
}

has_row() { grep -q "^$1" "$work/table"; }

# One for each line of what must hold that needs no kernel
limits=(lookup-iova-65536 insert-remove merge-1TiB-half merge-1TiB-none merge-while-marking-1% merge-while-marking-50%
	runs-none runs-1% runs-50% runs-clustered runs-all take-commit-1000-in-1TiB two-threads-one-log
	pin-unpin pin-unpin-tracking pin-unpin-two-threads translate-hit translate-iova-miss-65536 translate-memory-miss-65536
	memory-1TiB-clean memory-1TiB-all-taken cover-65535-to-256)

check_instructions() {
	local code=0
	tests/bench/run.sh --no-install --instructions >"$work/instructions" 2>&1 || code=$?
	sed 's/^/# /' "$work/instructions"
	case $code in
	0) ok "no operation needs more than 5 % more instructions than recorded" ;;
	77) skipped=1 && skip "instructions per operation" "$(tail -n 1 "$work/instructions")" ;;
	*) not_ok "instructions per operation: exit code $code" ;;
	esac
}

need cmake make
check "the bench builds and runs" quick_table
check "its lines are well-formed" well_formed
for row in "${limits[@]}"; do
	check "it has $row" has_row "$row"
done
check "how costs grow" runs --quick --complexity
check_instructions
code=0
tap_end || code=1
echo "$((tap_count - tap_failed - skipped)) passed, $tap_failed failed, $skipped skipped"
exit "$code"
