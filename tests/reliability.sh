#!/bin/bash
# SPDX-License-Identifier: MIT
#
# reliability.sh [--record]: what the last run of the tests showed, from its logs in build/results: the figures of docs/reliability.md, each with the
# command that makes it and the commit that its log says. A figure whose log is not there, or does not have it, is said to be not measured.
# --record: into that file, where such a figure stays as it was, with the commit that it is of.
set -euo pipefail

cd "$(dirname "$0")/.."
logs=build/results page=docs/reliability.md

recorded=/dev/null # what was, if it is to be kept

# row WHAT VALUE COMMIT COMMAND
# shellcheck disable=SC2016 # Markdown's backticks
row() {
	[ -n "$2" ] || ! grep -F "| $1 | " "$recorded" || return 0
	printf '| %s | %s | %s | `%s` |\n' "$1" "${2:-not measured}" "${2:+$3}" "$4"
}

# Each run begins with the commit that it is of; some logs are of several.
commit_of() { sed -nE 's/^# commit: //p' "$logs/$1.log" 2>/dev/null | sed -n '1p; $p' | uniq | paste -sd ' ' | sed 's/ / to /' | grep . || echo unknown; }

# figure WHAT LOG HOW...: the row of what HOW reads from a step's log
figure() { row "$1" "$(of "$2" "${@:3}")" "$(commit_of "$2")" "tests/run.sh --only $2"; }

# of STEP COMMAND...: what COMMAND says of the step's log; nothing if there is none, if it was cut short, or if COMMAND failed
of() {
	local log=$logs/$1.log
	! grep -qsE '^1\.\.' "$log" || "${@:2}" <"$log" || true
}

# ---- the figures -------------------------------------------------------------------

first() { sed -nE "s/$1/\\1/p" | head -n 1; }
held() { sed -nE 's/^ok [0-9]+ - the law holds: (.*)/\1/p' | paste -sd ';' | sed 's/;/; /g'; }

# tally REGEX: lines "ok" that match, of all such lines
tally() { awk -v what="$1" '!/# SKIP/ && $0 ~ "^(not )?ok [0-9]+ - .*" what { all++; good += /^ok/ } END { if (all) printf "%d of %d", good, all }'; }

single_faults() {
	sed -nE 's/^# [a-z0-9]+ .* ([0-9]+) single faults, +([0-9]+) runs each: ([0-9]+) broken.*/\1 \2 \3/p' |
		awk '{ lives++; faults += $1; runs += $1 * $2; broken += $3 } END { if (lives) printf "%d faults in %d lifecycles, %d runs, %d broken", faults, lives, runs, broken }'
}

pairs() {
	sed -nE 's/^# [a-z0-9]+ .* ([0-9]+) of ([0-9]+) pairs of faults: ([0-9]+) broken.*/\1 \2 \3/p' |
		awk '{ run += $1; all += $2; broken += $3 } END { if (all) printf "%d of %d pairs, %d broken", run, all, broken }'
}

fuzzed() {
	awk '/^# number_of_executed_units/ { n += $3 } /^# average_exec_per_sec/ { rate = rate ", " $3 } /^(not )?ok .* seconds of anything/ { all++; good += /^ok/ }
		END { if (n) printf "%d inputs, %d of %d targets without a crash; in a second%s", n, good, all, substr(rate, 2) }'
}

# What the ledger has of a target, and of which commits that is: figures add up
ledger=tests/fuzz/ledger.tsv

long_fuzzed() {
	awk -F '\t' -v target="$1" '$1 == target { inputs += $2; operations += $3; seconds += $4; runs++ }
		$1 == target && $7 != "ok" { failed++; inputs_then = inputs; seconds_then = seconds }
		END { if (!runs) exit
			printf "%d %s%s in %.1f minutes of CPU; %d of %d runs failed", inputs, target ~ "^calls" ? "sequences" : "inputs",
				operations ? ", at least " operations " operations," : "", seconds / 60, failed, runs
			if (failed) printf ", and since the last that did, %d in %.1f minutes did not", inputs - inputs_then, (seconds - seconds_then) / 60 }' "$ledger"
}

ledger_commits() {
	awk -F '\t' -v target="$1" '$1 == target { if (!n++) first = $5; last = $5 } END { if (n) print first (first == last ? "" : " to " last) }' "$ledger"
}

planted() { awk '/^(not )?ok .* is found within/ { all++; good += /^ok/ } END { if (all) printf "%d of %d", good, all }'; }

refused() {
	sed -nE 's/^# [a-z0-9]+ .* ([0-9]+) allocations refused, +([0-9]+) runs each: ([0-9]+) broken.*/\1 \2 \3/p' |
		awk '{ lives++; n += $1; runs += $1 * $2; broken += $3 } END { if (lives) printf "%d allocations in %d lifecycles, %d runs, %d broken", n, lives, runs, broken }'
}

# A mutant counts when all that must notice it did.
mutants() {
	awk '/# SKIP/ || !/^(not )?ok / { next }
		{ name = $0; sub(/^(not )?ok [0-9]+ - /, "", name); sub(/:.*/, "", name); seen[name]; if (/^not/) survived[name] }
		END { if (length(seen)) printf "%d of %d", length(seen) - length(survived), length(seen) }'
}

# Of a log with one sum, or several
sum() {
	sed -nE 's/^([0-9]+) passed, ([0-9]+) failed, ([0-9]+) skipped$/\1 \2 \3/p' |
		awk '{ p += $1; f += $2; s += $3 } END { if (NR) printf "%d passed, %d failed, %d skipped", p, f, s }'
}

kills() { sed -nE 's/^# ([0-9]+ kills: [0-9]+ with pages to salvage, [0-9]+ while a question was on its way).*/\1/p' | head -n 1; }

proofs() { awk '/^# [0-9]+ \/ [0-9]+ goals proved/ { proved += $2; all += $4 } END { if (all) printf "%d of %d", proved, all }'; }

# Of all runs in the log
races() {
	sed -nE 's/^# ([0-9]+) device writes in ([0-9]+) s, reckoned ([0-9]+) times: ([0-9]+) lost, ([0-9]+) differ.*/\1 \2 \3 \4 \5/p' |
		awk '{ writes += $1; time += $2; times += $3; lost += $4; differ += $5 }
			END { if (NR) printf "%d device writes in %d s, reckoned %d times: %d lost, %d differ", writes, time, times, lost, differ }'
}

by_strace() { sed -nE 's/^# ([0-9]+ faults by strace: .*)/\1/p' | tail -n 1; }

# A process that stops after each instruction: how many there were, and after how many of them its heir was asked
steps() {
	sed -nE 's/^# .*[^0-9]([0-9]+) instructions, (killed after|after) ([0-9]+) of them.*/\1 \3/p; s/^# ([0-9]+) instructions, after ([0-9]+) of them.*/\1 \2/p' |
		awk '{ all += $1; asked += $2 } END { if (all) printf "%d of %d, in %d lives", asked, all, NR }'
}

page() {
	cat <<-END
		<!-- SPDX-License-Identifier: MIT -->
		<!-- Made by tests/reliability.sh --record: do not edit. -->
		# How reliable is it? The figures

		What the tests showed, read from their logs. \`tests/reliability.sh\` shows the same of your last run. A figure is of the commit beside it. "Not
		measured": the step was not run, or did not come to its figure. What CI runs at every change is shorter than what can be asked for;
		the sums of long fuzzing are those of [tests/fuzz/ledger.tsv](../tests/fuzz/ledger.tsv), where each run has its line.

		| what | seen | commit | by |
		|---|---|---|---|
	END
	figure "model checker: the law holds" modelcheck held
	figure "model checker: counter-measures left out, noticed" modelcheck tally 'without it the law does not hold'
	figure "single faults on the model kernel" gcc single_faults
	figure "allocations of the library, each refused" gcc refused
	figure "pairs of faults on the model kernel" long pairs
	row "the same, all of them" "$(of pairs pairs)" "$(commit_of pairs)" "VFD_PAIRS=1 VFD_TEST_TIMEOUT=9000 tests/unit.sh release test_faults >build/results/pairs.log"
	figure "fuzzing, six seconds of each target" fuzz fuzzed
	local target
	for target in calls plan salvage stream caps bitmap extents; do
		row "fuzzing of $target, as long as it was run" "$(long_fuzzed "$target")" "$(ledger_commits "$target")" \
			"tests/fuzz/run.sh --record --minutes 10 $target"
	done
	row "the same of calls without sanitizers, ten times as fast" "$(long_fuzzed calls-fast)" "$(ledger_commits calls-fast)" \
		"tests/fuzz/run.sh --fast --record --minutes 10 calls"
	row "planted bugs that the fuzz targets find within a minute" "$(of planted planted)" "$(commit_of planted)" \
		"tests/fuzz/run.sh --planted >build/results/planted.log"
	figure "instructions after which a process was killed while it used a log, and its heir owed all" gcc steps
	figure "faults that strace injected into the shared library, on the real kernel" real by_strace
	row "the same, every call in every way" "$(of injected by_strace)" "$(commit_of injected)" \
		"VFD_STRIDE=1 VFD_INJECT_TIMEOUT=5400 tests/real.sh real_inject >build/results/injected.log"
	row "the same with a device that logs its DMA, on Debian's 6.1" "$(of injected61 by_strace)" "$(commit_of injected61)" \
		"VFD_KERNEL=6.1.0-56-amd64 VFD_KINDS=logs VFD_STRIDE=1 VFD_INJECT_TIMEOUT=5400 tests/real.sh real_inject >build/results/injected61.log"
	row "the programs on the real kernel, Debian's 6.12" "$(of real sum)" "$(commit_of real)" "tests/run.sh --only real"
	row "the same on Debian's 6.1" "$(of real61 sum)" "$(commit_of real61)" "VFD_KERNEL=6.1.0-56-amd64 tests/real.sh >build/results/real61.log"
	row "the bench, and what of the programs stock kernels cannot do, on a kernel of our own" "$(of ownkernel sum)" "$(commit_of ownkernel)" \
		"tests/run.sh --only ownkernel"
	figure "kills of the process that harvests, on the real kernel" real kills
	row "the same, ten thousand times" "$(of kills kills)" "$(commit_of kills)" \
		"VFD_KILLS=10000 tests/real.sh real_handover >build/results/kills.log"
	figure "everything at once on the real kernel" real races
	row "the same with KASAN and lockdep" "$(of races races)" "$(commit_of races)" \
		"VFD_KERNEL=debug VFD_SECONDS=1800 tests/real.sh real_race >>build/results/races.log"
	figure "goals that Frama-C proves of range arithmetic and bitmaps" proof proofs
	figure "lines of lib/ that tests reach" coverage first '.* - lines of lib.* reached: ([0-9.]+ %).*'
	figure "branches of lib/ that tests reach" coverage first '.* - branches: ([0-9.]+ %).*'
	figure "mutants of the library that tests notice" mutants mutants
}

case ${1:-} in
'') page ;;
--record)
	[ ! -e "$page" ] || recorded=$page
	new=$(page)
	echo "$new" >"$page"
	;;
*) sed -n '4,6s/^# //p' "$0" >&2 && exit 2 ;;
esac
