#!/bin/bash
# SPDX-License-Identifier: MIT
#
# run.sh [--large] [MUTANT...]: check the law on lifecycle.pml, a model of the lifecycle, in every order of events; then leave out one
# counter-measure after the other (those named, else all), which the law has to notice. --large: also with two mappings, two workers, and
# groups that the kernel takes away; hours. Needs spin and gcc. Prints TAP.
set -euo pipefail

cd "$(dirname "$0")/../.."
. tests/tap.sh

model=$PWD/tests/model-check/lifecycle.pml
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

need spin gcc

# A search ends after seconds: gcc would take longer than that to compile it.
quick=$(command -v tcc || echo gcc -O0)

# explore NAME COMPILER DEPTH TABLE DEFINES...: print what the checker says. pan.c is spin's, and not free of warnings.
explore() {
	local dir=$tmp/$1
	mkdir -p "$dir"
	(
		cd "$dir"
		spin -a "${@:5}" "$model" >spin.out 2>&1
		# shellcheck disable=SC2086 # a compiler and an option
		$2 -w -DSAFETY -DNOFAIR -DMEMLIM=6000 -o pan pan.c
		./pan "-m$3" "$4" 2>&1
	)
}

states() { sed -nE 's/^ *([0-9]+) states, stored.*/\1/p' <<<"$1"; }

holds() {
	local said
	said=$(explore "$1" "$quick -DCOLLAPSE" 10000000 -w24 "${@:2}") || true
	if grep -q 'errors: 0' <<<"$said" && ! grep -qE 'max search depth too small|out of memory' <<<"$said"; then
		ok "the law holds: $1, $(states "$said") states"
	else
		grep -E 'errors:|error:|violated|reached' <<<"$said" | cut -c 1-200 | sed 's/^/# /'
		not_ok "the law holds: $1"
	fi
}

# Noticed is noticed: a search for a mutant may forget states (BITSTATE). One search per processor.

search() {
	local mutant running=0
	for mutant; do
		# shellcheck disable=SC2046 # several words
		{ explore "$mutant" "$quick -DBITSTATE" 10000 -w27 "-D$mutant" $(bounds_of "$mutant") >"$tmp/$mutant.said" || true; } &
		running=$((running + 1))
		[ "$running" -lt "$(nproc)" ] || { wait -n && running=$((running - 1)); }
	done
	wait
}

noticed() {
	local said
	said=$(cat "$tmp/$1.said")
	if grep -q 'errors: 1' <<<"$said"; then
		ok "without it the law does not hold: $1, after $(states "$said") states"
	else
		not_ok "without it the law does not hold: $1 ($(states "$said") states)"
	fi
}

# What a mutant needs to be noticed: a consumer, groups that are taken away, a second worker or mapping. More would only take longer.
bounds_of() {
	case $1 in
	M_COMMIT_* | M_ROLLBACK_* | M_OWED_BEFORE_UNMAP) echo -DNO_PLUG ;;
	M_LOSS_* | M_EINVAL_* | M_UNMAP_EINVAL_* | M_FAILURE_* | M_PAGE_SIZE_*) echo -DNO_CONSUMER ;;
	M_MAP_UNSEEN | M_NO_GATE | M_EPOCH_FORGOTTEN | M_WRITERS_BEFORE_FORGOTTEN) echo -DNO_CONSUMER -DNO_PLUG -DWORKERS=2 ;;
	*) echo -DNO_CONSUMER -DNO_PLUG ;;
	esac
}

# Not noticed within these bounds (8 million states, as deep as 10 000 steps), so not counted among what the model shows. Without the two
# harvests a detach is refused, for nobody says that the device is drained; of the third it is not known whether the model needs it.
unnoticed="M_NO_HARVEST_OPEN M_NO_HARVEST_CLOSED M_MAP_DURING_LOSS"

large=no
[ "${1:-}" != --large ] || { large=yes && shift; }
mutants=("$@")
if [ $# = 0 ]; then
	mapfile -t mutants < <(grep -oE "\bM_[A-Z_]+" "$model" | sort -u | grep -vxF "${unnoticed// /$'\n'}")
	[ "${#mutants[@]}" -ge 20 ] || not_ok "the model has ${#mutants[@]} mutants, 20 at least are wanted"
	holds "two groups, a worker" -DNO_PLUG -DNO_CONSUMER
	holds "with a consumer" -DNO_PLUG
fi
search "${mutants[@]}"
for mutant in "${mutants[@]}"; do
	noticed "$mutant"
done
if [ "$large" = yes ]; then
	holds "groups are taken away" -DNO_CONSUMER
	holds "two mappings" -DNO_PLUG -DNO_CONSUMER -DPAGES=2
	holds "two workers" -DNO_PLUG -DNO_CONSUMER -DWORKERS=2
fi
tap_end
