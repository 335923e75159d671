#!/bin/bash
# SPDX-License-Identifier: MIT
#
# run.sh [--mutants]: check the law on lifecycle.pml, a model of the lifecycle, in every order of events; a minute, and 2 GiB. --mutants leaves
# out one counter-measure after the other, which the law has to notice: not all of them were seen to be noticed yet, so no step of
# tests/run.sh does this. Needs spin and gcc. Prints TAP.
set -euo pipefail

cd "$(dirname "$0")/../.."
. tests/tap.sh

model=$PWD/tests/model-check/lifecycle.pml
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

need spin gcc

# NAME DEFINES...: print what the checker says. pan.c is spin's, and not free of warnings.
explore() {
	local dir=$tmp/$1
	mkdir -p "$dir"
	(
		cd "$dir"
		spin -a "${@:2}" "$model" >spin.out 2>&1
		gcc -O2 -w -DSAFETY -DNOFAIR -DCOLLAPSE -DMEMLIM=6000 -o pan pan.c
		./pan -m10000000 -w24 2>&1
	)
}

states() { sed -nE 's/^ *([0-9]+) states, stored.*/\1/p' <<<"$1"; }

holds() {
	local said
	said=$(explore "$@") || true
	if grep -q 'errors: 0' <<<"$said" && ! grep -qE 'max search depth too small|out of memory' <<<"$said"; then
		ok "the law holds: $1, $(states "$said") states"
	else
		grep -E 'errors:|error:|violated|reached' <<<"$said" | cut -c 1-200 | sed 's/^/# /'
		not_ok "the law holds: $1"
	fi
}

noticed() {
	local said
	said=$(explore "$1" "-D$1" "${@:2}") || true
	if grep -q 'errors: 1' <<<"$said"; then
		ok "without it the law does not hold: $1, after $(states "$said") states"
	else
		not_ok "without it the law does not hold: $1 ($(states "$said") states)"
	fi
}

holds "two groups, a worker" -DNO_PLUG -DNO_CONSUMER
holds "with a consumer" -DNO_PLUG
holds "two mappings" -DNO_PLUG -DNO_CONSUMER -DPAGES=2
[ "${1:-}" = --mutants ] || { tap_end && exit; }
while read -r mutant; do
	case $mutant in
	M_COMMIT_* | M_ROLLBACK_*) noticed "$mutant" -DNO_PLUG ;;
	M_LOSS_* | M_EINVAL_* | M_UNMAP_EINVAL_* | M_MAP_DURING_LOSS | M_FAILURE_* | M_PAGE_SIZE_* | M_NO_HARVEST_*) noticed "$mutant" -DNO_CONSUMER ;;
	M_MAP_UNSEEN | M_NO_GATE | M_EPOCH_FORGOTTEN) noticed "$mutant" -DNO_CONSUMER -DNO_PLUG -DWORKERS=2 ;;
	M_FAULT_DROPS_SCRATCH) noticed "$mutant" -DNO_CONSUMER -DNO_PLUG -DPAGES=2 ;;
	*) noticed "$mutant" -DNO_CONSUMER -DNO_PLUG ;;
	esac
done < <(grep -oE "\bM_[A-Z_]+" "$model" | sort -u)
tap_end
