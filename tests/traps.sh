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

[ -s "$results/mutants.tsv" ] || skip_all "no mutants were run"

required=({1..47} {49..51})

# recorded TRAP TEST MUTANT COLUMN: yes if mutants.sh saw it so in this run
recorded() {
	awk -F '\t' -v OFS='\t' -v trap="$1" -v test="$2" -v mutant="$3" -v column="$4" \
		'$1 == mutant && $2 == trap && $3 == test { seen = $column } END { print seen == "yes" ? "yes" : "NO" }' \
		"$results/mutants.tsv"
}

# seen_on WHERE: "model", or in parentheses why only there; and "real", "our kernel" or "debug kernel", if the line that WHERE names after it was
# said there and said with ok.
# Where such a kernel was not run that is no fault of the row.
seen_on() {
	local said=${1#*: } kernel log
	kernel=${1%%: *} && kernel=${kernel#model, }
	case $kernel in
	"our kernel") log=$results/ownkernel.log ;;
	"debug kernel") log=$results/debugkernel.log ;;
	*) log=$results/real.log ;;
	esac
	if [ "$said" = "$1" ]; then
		echo "$1"
	elif ! grep -qE '^(not )?ok ' "$log" 2>/dev/null; then
		echo model
	elif grep -F "$said" "$log" | grep -q '^ok ' && ! grep -F "$said" "$log" | grep -q '^not ok ' &&
		! grep -q '^not ok .*the kernel complained' "$log"; then
		echo "model, $kernel"
	else
		echo "model, $kernel: NO"
	fi
}

line() { (IFS=$'\t' && echo "$*") >>"$results/traps.tsv"; }

row() {
	local trap=$1 title=$2 closed_by=$3 test=$4 mutant=$5 where passes caught
	passes=$(recorded "$trap" "$test" "$mutant" 4)
	caught=$(recorded "$trap" "$test" "$mutant" 5)
	where=$(seen_on "$6")
	line "$trap" "$title" "$closed_by" "$test" "$where" "$passes" "$caught" "$mutant"
	filled[trap]=${filled[trap]:-yes}
	[[ $passes$caught$where =~ ^yesyes[^:]*$ ]] || filled[trap]=no
}

# as wide as each column needs
layout() {
	awk -F '\t' '
		{ for (i = 1; i <= NF; i++) { cell[NR, i] = $i; if (length($i) > width[i]) width[i] = length($i) }; n = NF > n ? NF : n }
		END { for (r = 1; r <= NR; r++) { for (i = 1; i <= n; i++) printf "%-" width[i] "s  ", cell[r, i]; print "" } }
	' "$results/traps.tsv" | sed 's/ *$//' >"$results/traps.txt"
}

filled=()
: >"$results/traps.tsv"
line "#" trap "closed by" test where passes "fails without it" "(mutant)"
while IFS=$'\t' read -r trap title closed_by test mutant where; do
	[[ ! $trap =~ ^[0-9]+$ ]] || row "$trap" "$title" "$closed_by" "$test" "${mutant%.patch}" "$where"
done <tests/traps.tsv
line 48 "mtty proves nothing about bits" "a test device of our own" "nothing to take out"
layout

for trap in "${required[@]}"; do
	case ${filled[trap]:-} in
	yes) ok "trap $trap is closed, tested, and its test fails without the counter-measure" ;;
	no) not_ok "trap $trap: its test or its mutant did not do what it should (see $results/traps.txt)" ;;
	*) not_ok "trap $trap: has no row in tests/traps.tsv" ;;
	esac
done
tap_end
