#!/bin/bash
# SPDX-License-Identifier: MIT
#
# traps.sh RESULTS: the table of the kernel's traps, from the results of one run of run.sh.
#
# traps.tsv says which test and which mutant belong to a trap. A row is filled only if, in this
# run, the test passed and the mutant, the library without that counter-measure, was caught by it.
# The table goes to RESULTS/traps.txt; in TAP, one line per trap, to stdout.
set -euo pipefail

results=$(cd "$1" && pwd)
cd "$(dirname "$0")/.."
. tests/tap.sh

[ -e tests/traps.tsv ] || skip_all "tests/traps.tsv is not there yet"
[ -s "$results/mutants.tsv" ] || skip_all "no mutants were run"

required=({1..31} 49 50)
later=({32..48})

# recorded TRAP TEST MUTANT COLUMN: yes if mutants.sh saw it so in this run
recorded() {
	awk -F '\t' -v OFS='\t' -v trap="$1" -v test="$2" -v mutant="$3" -v column="$4" \
		'$1 == mutant && $2 == trap && $3 == test { seen = $column } END { print seen == "yes" ? "yes" : "NO" }' \
		"$results/mutants.tsv"
}

line() { printf '%3s  %-44.44s  %-48.48s  %-24s  %-10s  %-6s  %s\n' "$@" >>"$results/traps.txt"; }

row() {
	local trap=$1 title=$2 closed_by=$3 test=$4 mutant=$5 where=$6 passes caught
	passes=$(recorded "$trap" "$test" "$mutant" 4)
	caught=$(recorded "$trap" "$test" "$mutant" 5)
	line "$trap" "$title" "$closed_by" "$test" "$where" "$passes" "$caught ($mutant)"
	filled[trap]=${filled[trap]:-yes}
	[ "$passes$caught" = yesyes ] || filled[trap]=no
}

filled=()
: >"$results/traps.txt"
line "#" trap "closed by" test where passes "fails without (mutant)"
while IFS=$'\t' read -r trap title closed_by test mutant where; do
	[[ ! $trap =~ ^[0-9]+$ ]] || row "$trap" "$title" "$closed_by" "$test" "${mutant%.patch}" "$where"
done <tests/traps.tsv
line "${later[0]}-${later[-1]}" "devices' own logs, iommufd, cost" later "" "" "" ""

for trap in "${required[@]}"; do
	case ${filled[trap]:-} in
	yes) ok "trap $trap is closed, tested, and its test fails without the counter-measure" ;;
	no) not_ok "trap $trap: its test or its mutant did not do what it should (see $results/traps.txt)" ;;
	*) not_ok "trap $trap: has no row in tests/traps.tsv" ;;
	esac
done
tap_end
