#!/bin/bash
# SPDX-License-Identifier: MIT
#
# proof.sh: Frama-C proves for all arguments what tests/proof promises of the arithmetic of ranges and of the portable bitmap functions: the result,
# that nothing else is written, that no word is read that was not asked about, that no loop is endless, no shift too far. TAP.
# What is believed: the axioms about bits in tests/proof/bitmap.h, and what the compiler's builtins do.
set -euo pipefail

cd "$(dirname "$0")/.."
. tests/tap.sh

work=build/proof seconds=300 # for each goal; a machine that has time needs four
export WHY3CONFIG=$PWD/$work/why3.conf

need frama-c why3 z3 cvc4 patch

# prove FILE FUNCTION...
prove() {
	local file=$1
	shift
	frama-c -machdep gcc_x86_64 -cpp-extra-args="-I. -Ilib" -wp -wp-rte -wp-prover z3,cvc4 -wp-timeout "$seconds" \
		-wp-par "$(nproc)" -wp-fct "$(paste -sd , <(printf '%s\n' "$@"))" "$file" >"$work/log" 2>&1
}

# "proved / all"
goals() { sed -nE 's/^\[wp\] Proved goals: +([0-9]+ \/ [0-9]+)$/\1/p' "$work/log"; }

all_proved() {
	prove "$@" || true # it says so below
	awk '$1 > 0 && $1 == $3 { all = 1 } END { exit !all }' <<<"$(goals)" && return
	grep -E 'Failed|Timeout|Unknown|rror' "$work/log"
	return 1
}

# shellcheck disable=SC2317 # called through check()
not_all_proved() { ! all_proved "$@" && [ -n "$(goals)" ]; }

# proved NAME FILE FUNCTION...
proved() {
	check "$1: $(($# - 2)) functions keep their promises" all_proved "${@:2}"
	echo "# $(goals) goals proved"
}

rm -rf "$work"
mkdir -p "$work"
why3 config detect >"$work/detect.log" 2>&1
proved "lib/range.h" tests/proof/range.c range_make range_size range_meets range_contains min_u64 max_u64 range_common

{ echo '#include "tests/proof/bitmap.h"' && patch -s -o - lib/bitmap.c tests/proof/bitmap.patch; } >"$work/bitmap.c"
proved "lib/bitmap.c" "$work/bitmap.c" word_mask word_first word_last bitmap_get bitmap_next bitmap_prev bitmap_any

sed 's/shift + n > WORD_BITS/shift + n > WORD_BITS + 1/' "$work/bitmap.c" >"$work/wrong.c"
seconds=20
check "bitmap_get() that forgets one bit of the next word does not" not_all_proved "$work/wrong.c" bitmap_get
tap_end
