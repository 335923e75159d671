#!/bin/bash
# SPDX-License-Identifier: MIT
#
# run.sh: how fast is it, and against what? See docs/benchmarks.md.
set -euo pipefail
PATH=$PATH:/usr/sbin:/sbin

cd "$(dirname "$0")/../.."
here=tests/bench

usage() {
	cat <<'END'
usage: tests/bench/run.sh [options]

  --quick         few repetitions, and nothing on the real kernel: does it run?
  --tsv           lines of: name, ours, peer, ratio, limit
  --only GROUP    one group: machine lookup insert merge marking runs take parallel
                  pins memory cover kernel-large kernel-small kernel-spread; and
                  iommufd, which needs a kernel of our own (tests/kernel/README.md)
                  and is in no other run
  --complexity    how costs grow with mappings and pages, as numbers
  --instructions  instructions per operation, by callgrind, against those recorded
  --record WHAT   table, iommufd, complexity, instructions or all, into docs/ and tests/bench/instructions.tsv
  --no-install    install nothing
  --help          this

exit: 0 every limit held, 1 one did not (the row says by how much), 2 wrong use,
3 something failed, 77 with --instructions: not comparable, or no valgrind
END
}

say() { printf 'bench: %s\n' "$*" >&2; }
die() { say "$*"; exit 3; }

# ---- options, set-up, build -----------------------------------------------------

mode=table what='' install=yes only='' flags=()

parse() {
	while [ $# -gt 0 ]; do
		case $1 in
		--quick | --tsv) flags+=("$1") ;;
		--only) only=${2:?} flags+=("$1" "$2") && shift ;;
		--complexity | --instructions) mode=${1#--} ;;
		--record) what=${2:?} mode=record && shift ;;
		--no-install) install=no ;;
		-h | --help) usage && exit ;;
		*) usage >&2 && exit 2 ;;
		esac
		shift
	done
}

build() {
	mkdir -p build
	{ cmake --preset release -B "$dir" && cmake --build "$dir" -j "$(nproc)" --target bench_all; } \
		>build/bench.log 2>&1 || { tail -n 30 build/bench.log >&2 && die "it does not build"; }
}

compiler() { sed -nE 's/^CMAKE_C_COMPILER:[A-Z]+=//p' "$dir/CMakeCache.txt"; }
built_with() { echo "$("$(compiler)" --version | head -n 1), $(sed -nE 's/^CMAKE_BUILD_TYPE:[A-Z]+=//p' "$dir/CMakeCache.txt")"; }

# ---- the table --------------------------------------------------------------------

asked() { [[ " ${flags[*]} " == *" $1 "* ]]; }

head_of_table() {
	if asked --tsv; then
		printf 'name\tours\tpeer\tratio\tlimit\n'
		return
	fi
	echo "$(sed -nE 's/^model name[[:space:]]*: //p' /proc/cpuinfo | head -n 1), $(nproc) CPUs, Linux $(uname -r)"
	echo "$(built_with); load $(cut -d' ' -f1 /proc/loadavg) when it began"
	echo "median [quartiles]; the ratio is ours / peer's where the limit says <=, else peer's / ours"
	echo
	printf '%-32s %-32s %-44s %-24s %-16s %s\n' name ours peer ratio limit verdict
}

# Codes of programs: 0 held, 1 missed, anything else is a failure. 2: it has no such group.
worst=0 ran=no
rows() {
	local code=0
	"$@" "${flags[@]}" || code=$?
	[ "$code" != 2 ] || return 0
	ran=yes
	[ "$code" -le 1 ] || die "$1 failed: $code"
	[ "$code" = 0 ] || worst=1
}

# shellcheck disable=SC2317 # called through rows()
in_guest() { tests/kernel/run.sh --ndevices 1 --timeout 600 -- "$dir/tests/bench/bench_guest" "$@"; }

kernel_rows() {
	[[ $only == kernel-* ]] || { [ -z "$only" ] && ! asked --quick; } || return 0
	if command -v qemu-system-x86_64 >/dev/null && tests/kernel/fetch.sh >/dev/null; then
		rows in_guest
	else
		say "SKIPPED: the rows of the real kernel, there is none to be had"
		ran=yes
	fi
}

# shellcheck disable=SC2317 # called through rows()
in_own_guest() {
	VFD_KERNEL=own tests/kernel/run.sh --no-viommu --append hugepages=8 --ndevices 1 --memory 1024 --timeout 600 -- \
		"$dir/tests/bench/bench_mock" "$@"
}

table() {
	head_of_table
	[ "$only" != iommufd ] || { rows in_own_guest && return; }
	[[ $only == kernel-* ]] || rows "$dir/tests/bench/bench"
	kernel_rows
	[ "$ran" = yes ] || { say "no group '$only' (see --help)" && exit 2; }
}

# ---- instructions -------------------------------------------------------------------

recorded=$here/instructions.tsv

# name, function that counts -> instructions per operation
count_instructions() {
	local operations all program=$dir/tests/bench/bench_instructions
	operations=$(valgrind --tool=callgrind --callgrind-out-file=/dev/null --toggle-collect="$2" \
		--toggle-collect=quick_dirty_pages "$program" "$1" 2>"$work/callgrind") || { tail -n 5 "$work/callgrind" >&2 && return 1; }
	all=$(sed -nE 's/.*Collected : ([0-9]+).*/\1/p' "$work/callgrind")
	[[ $all =~ ^[1-9] && $operations =~ ^[1-9] ]] || { say "$1: nothing was counted in $2" && return 1; }
	awk "BEGIN { printf \"%.1f\", $all / $operations }"
}

counted() {
	local name measured each
	echo "# $(built_with), bitmap kernels: $(valgrind -q --tool=none "$dir/tests/bench/bench_instructions" kernels)"
	"$dir/tests/bench/bench_instructions" | while read -r name measured; do
		each=$(count_instructions "$name" "$measured") || exit 3
		printf '%s\t%s\n' "$name" "$each"
	done
}

# More than 5 % above what was recorded is a miss; so is an operation that was not recorded, and one that is gone.
compare_instructions() {
	awk -F '\t' '/^#/ { next }
		FNR == NR { old[$1] = $2; next }
		{ seen[$1]
		  change = old[$1] ? ($2 / old[$1] - 1) * 100 : 999
		  printf "%-26s %8.1f %8.1f %+6.1f %%%s\n", $1, $2, old[$1], change, (change > 5 ? "  WORSE" : "")
		  bad += (change > 5) }
		END {
			for (name in old) if (!(name in seen)) { print name " is gone"; bad++ }
			exit (bad > 0)
		}' "$recorded" "$1"
}

# What a driver's request costs more when it is pinned, and when that is tracked; the limit is one of the project's. That of pins
# themselves is printed only: it is missed, and known.
request_costs() {
	awk -F '\t' '{ n[$1] = $2 }
		function row(what, more) {
			printf "%-58s %6.1f  limit 120 %s\n", what, more, (more > 120 ? "MISSES" : "holds")
			return more > 120
		}
		END {
			print "a request of a driver, instructions more:"
			bad = row("tracked, every page marked before", n["request-pinned-tracking"] - n["request-pinned"])
			bad += row("tracked, one round of a migration", n["request-pinned-round"] - n["request-pinned"])
			row("pinned, against translated", n["request-pinned"] - n["request-translated"])
			row("pinned, against known addresses", n["request-pinned"] - n["request-address-known"])
			row("pinned and tracked, against known addresses", n["request-pinned-round"] - n["request-address-known"])
			exit (bad > 0)
		}' "$1"
}

instructions() {
	command -v valgrind >/dev/null || { say "SKIPPED: there is no valgrind" && exit 77; }
	counted >"$work/now"
	[ -e "$recorded" ] || { say "SKIPPED: nothing was recorded" && exit 77; }
	printf '%-26s %8s %8s %8s\n' operation now recorded change
	compare_instructions "$work/now" || worst=1
	request_costs "$work/now" || worst=1
	[ "$(head -n 1 "$work/now")" = "$(head -n 1 "$recorded")" ] || {
		say "SKIPPED: not comparable, recorded with $(head -n 1 "$recorded" | cut -c 3-)"
		exit 77
	}
}

# ---- into the documents -----------------------------------------------------------------

# Replace what stands between the marks of that name by standard input.
into_document() {
	awk -v name="$1" -v text="$work/$1" '
		$0 == "<!-- end " name " -->" { inside = 0 }
		!inside { print }
		$0 == "<!-- " name " -->" {
			inside = 1
			print "```"
			while ((getline line < text) > 0) print line
			print "```"
		}' docs/benchmarks.md >"$work/document"
	cat "$work/document" >docs/benchmarks.md
}

record_table() {
	{
		echo "$(date -u +%F), commit $(git rev-parse --short HEAD 2>/dev/null || echo unknown)"
		table
	} >"$work/table"
	sed -i 's/ *$//' "$work/table"
	cat "$work/table"
	into_document table
}

record_iommufd() {
	only=iommufd
	{
		echo "$(date -u +%F), commit $(git rev-parse --short HEAD 2>/dev/null || echo unknown)"
		table
	} | sed 's/ *$//' >"$work/iommufd"
	into_document iommufd
}

record_complexity() {
	"$dir/tests/bench/bench_complexity" docs/bench-complexity.svg >"$work/points"
	sed -nE 's/^slope\t([^\t]+)\t(.*)$/\2  \1/p' "$work/points" >"$work/slopes"
	into_document slopes
}

record_instructions() {
	counted >"$recorded"
	awk -F '\t' '/^#/ { print; next } { printf "%-26s %8.1f\n", $1, $2 }' "$recorded" >"$work/instructions"
	request_costs "$recorded" >>"$work/instructions" || worst=1
	into_document instructions
}

record() {
	[[ $what =~ ^(table|all)$ ]] && record_table
	[[ $what =~ ^(iommufd|all)$ ]] && record_iommufd
	[[ $what =~ ^(complexity|all)$ ]] && record_complexity
	[[ $what =~ ^(instructions|all)$ ]] && record_instructions
	return 0
}

parse "$@"
export VFD_CACHE=${VFD_CACHE:-${XDG_CACHE_HOME:-${HOME:-/var/tmp}/.cache}/libvfiodirty}
export VFD_INSTALL=$install
dir=${VFD_BENCH_BUILD:-build/release}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

[ "$install" = no ] || tests/setup.sh speed >&2
build
case $mode in
table) table ;;
complexity) "$dir/tests/bench/bench_complexity" "${flags[@]}" ;;
instructions) instructions ;;
record) record ;;
esac
exit "$worst"
