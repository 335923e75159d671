#!/bin/bash
# SPDX-License-Identifier: MIT
#
# run.sh: everything that can be tested here, on a bare Debian 12 and without VFIO hardware.
set -euo pipefail
PATH=$PATH:/usr/sbin:/sbin

cd "$(dirname "$0")/.."
. tests/tap.sh

# test_model is about the model kernel, and slow there.
mapfile -t thread_tests < <(grep -l pthread_create tests/{unit,migrate,vmm}/test_*.c | grep -v test_model | xargs -n1 basename -s .c | sort)
steps=(gcc clang asan tsan fuzz install format cppcheck shellcheck docs bench real abi libabi examples mutants long cross musl speed modelcheck analyze tidy proof package coverage ownkernel debugkernel traps)
rare=" tidy proof package coverage debugkernel " # only when asked for by name: they take minutes, or half an hour

usage() {
	cat <<'END'
usage: tests/run.sh [options]

  --full        also what takes long; the first time it builds a kernel, beside the other steps
  --traps       only what shows that each trap of the kernel is closed, and the table of them
  --only STEP   only this step (repeatable)
  --no-install  install nothing; what is missing is skipped, by name
  --list        the steps
  --help        this

Every step prints what passed. Nothing is hidden: a step that cannot run here is skipped
with its reason. The last line is the sum; exit 0 only if nothing failed.
Logs: build/results. Caches: $VFD_CACHE, else ~/.cache/libvfiodirty.
END
}

list() {
	cat <<'END'
gcc         unit tests, on the model kernel
clang       the same, built with clang
asan        the same, with AddressSanitizer and UndefinedBehaviorSanitizer
tsan        tests with threads, with ThreadSanitizer
fuzz        six seconds of anything to each of the fuzz targets, and how much of the migration engine's parser its corpus covers
install     a program outside the tree: pkg-config, find_package, C11, C++17, shared, static
format      clang-format
cppcheck    static analysis
shellcheck  static analysis of the scripts
docs        do the words agree with the code?
bench       the real kernel and our test device: do they behave as the tests assume?
real        the library on the real kernel
abi         our definitions of the kernel's interface, against the headers that are here
libabi      can programs that were linked with the last release run with this library?
examples    the examples, on the real kernel
mutants     the library broken on purpose: do the tests notice?
cross       unit tests for aarch64, s390x and i386, emulated; only with --full, or if asked for
musl        unit tests and those of the migration engine with musl, and a static program; only with --full, or if asked for
long        pairs of faults, all single ones by strace on the real kernel, more random operations, a minute of pins, a million mappings, ten million bitmaps, the tests of the bench; only with --full, or if asked for
modelcheck  the law, in every order of events of a model, and what the model notices when a counter-measure is left out; only with --full, or if asked for
analyze     the library path by path: gcc's analyzer; only with --full, or if asked for
tidy        the same with clang-tidy, of the examples and the model kernel too; only if asked for
proof       Frama-C: range arithmetic and bitmaps keep their promises, for all arguments; only if asked for
package     Debian packages: built twice with the same bytes, lintian, installed in a root of their own, programs against them; only if asked for
coverage    lines and branches of the library that nothing reaches, and why; only if asked for
speed       does tests/bench/run.sh run, and is no operation longer than recorded? also only then
ownkernel   bench, and what of real stock kernels cannot do, on one built for it: device logs, iommufd, fault injection; also only then
debugkernel bench and real on one that watches its memory (KASAN) and its locks (lockdep); only if asked for
traps       each trap of the kernel: closed, tested, and does its test notice when it is not?
END
}

# ---- options ------------------------------------------------------------------

selected=() install=yes show_traps=no full=no

parse() {
	while [ $# -gt 0 ]; do
		case $1 in
		--full) full=yes ;;
		--traps) show_traps=yes ;;
		--only) only "${2:-}" && shift ;;
		--no-install) install=no ;;
		--list) list && exit ;;
		-h | --help) usage && exit ;;
		*) usage >&2 && exit 2 ;;
		esac
		shift
	done
	[ "$show_traps" = no ] || selected+=(real mutants traps)
	[ "$show_traps$full" != yesyes ] || selected+=(ownkernel debugkernel)
	[ ${#selected[@]} -gt 0 ] || mapfile -t selected < <(printf '%s\n' "${steps[@]}" | while read -r step; do
		[[ $rare == *" $step "* ]] || echo "$step"
	done)
}

only() {
	[[ -n $1 && " ${steps[*]} " == *" $1 "* ]] || { echo "run.sh: no step '$1' (see --list)" >&2 && exit 2; }
	selected+=("$1")
	[[ $1 != @(long|cross|musl|speed|modelcheck|analyze|tidy|coverage|ownkernel|debugkernel) ]] || full=yes
}

# ---- the steps ------------------------------------------------------------------

step_gcc() { tests/unit.sh debug; }
step_clang() { tests/unit.sh clang; }
step_asan() { VFD_TEST_TIMEOUT=900 tests/unit.sh asan; }
step_tsan() { tests/unit.sh tsan "${thread_tests[@]}"; }
step_fuzz() { VFD_FUZZ_SECONDS=6 tests/fuzz/run.sh; }
step_install() { tests/install/test.sh; }
step_format() { tests/static.sh format; }
step_cppcheck() { tests/static.sh cppcheck; }
step_shellcheck() { tests/static.sh shellcheck; }
step_mutants() { tests/mutants.sh; }
step_traps() { tests/traps.sh "$results"; }
step_real() { on_bench tests/real.sh; }
step_package() { tests/package.sh; }
step_abi() { tests/abi.sh; }
step_libabi() { tests/library-abi.sh; }
step_examples() { on_bench examples/test.sh; }

step_docs() { docs/check.sh; }
step_bench() { on_bench tests/kernel/selftest.sh; }

# Debian's 6.1 reports what devices log, its 6.12 does not.
reporting_kernel() {
	apt-cache search --names-only '^linux-image-6\.1\.0-[0-9]+-amd64$' | sed -nE 's/^linux-image-([^ ]+).*/\1/p' | sort -V | tail -n 1
}

step_long() {
	[ "$full" = yes ] || skip_all "takes long; --full runs it"
	VFD_LONG=yes VFD_TEST_TIMEOUT=1800 tests/unit.sh release test_index test_table test_bitmap test_log_ratio
	VFD_PAIRS=211 VFD_TEST_TIMEOUT=1800 tests/unit.sh release test_faults
	on_bench tests/kernel/benchtest.sh
	VFD_SEED=2 VFD_SECONDS=60 on_bench tests/real.sh real_random random_model real_pins
	local kernel
	kernel=$(reporting_kernel)
	[ -n "$kernel" ] || skip_all "the logs of devices on Debian's 6.1: apt has no such kernel"
	VFD_KERNEL=$kernel VFD_KINDS=logs on_bench tests/real.sh real_devlog real_churn real_inject
}

step_cross() {
	[ "$full" = yes ] || skip_all "takes long; --full runs it"
	VFD_CROSS=quick tests/cross.sh
}

step_musl() {
	[ "$full" = yes ] || skip_all "takes long; --full runs it"
	VFD_MUSL=quick tests/musl.sh
}

step_speed() {
	[ "$full" = yes ] || skip_all "takes long; --full runs it"
	tests/bench/smoke.sh
}

step_modelcheck() {
	[ "$full" = yes ] || skip_all "takes long; --full runs it"
	tests/model-check/run.sh
}

step_analyze() {
	[ "$full" = yes ] || skip_all "takes long; --full runs it"
	tests/static.sh analyze
}

step_tidy() { tests/static.sh tidy; }
step_proof() { tests/proof.sh; }

step_coverage() {
	[ "$full" = yes ] || skip_all "takes long; --full runs it"
	tests/coverage.sh
}

step_ownkernel() {
	on_our_kernel own
	on_bench examples/test.sh iommufd
}

# Everything takes four times as long there.
step_debugkernel() {
	VFD_OPERATIONS=5000 VFD_SECONDS=3 on_our_kernel debug
	tests/kernel/benchtest.sh debug
}

# Building takes minutes, once: it begins before the steps, and has what they leave idle. In the cache it is done at once.
build_kernels() {
	local flavours=()
	[[ " ${selected[*]} " != *" ownkernel "* ]] || flavours+=(own)
	[[ " ${selected[*]} " != *" debugkernel "* ]] || flavours+=(debug)
	[ "$full" = yes ] && [ ${#flavours[@]} -gt 0 ] || return 0
	: >"$results/build.log"
	nice -n 15 tests/kernel/build.sh "${flavours[@]}" >>"$results/build.log" 2>&1 </dev/null &
	builder=$!
}

on_our_kernel() {
	local code=0
	[ "$full" = yes ] || skip_all "takes long; --full runs it"
	need qemu-system-x86_64 cpio xz modprobe apt-get dpkg gcc make
	tail -f -s 0.2 -n +1 --pid="$builder" "$results/build.log" | show_progress
	tests/kernel/build.sh "$1" >/dev/null || code=$?
	[ "$code" != 3 ] || skip_all "no kernel sources, or no tools to build them"
	[ "$code" = 0 ] || return 1
	export VFD_KERNEL=$1
	on_bench tests/kernel/selftest.sh
	on_bench tests/real.sh
}

# Into the log, and to the terminal, which would be silent for minutes.
show_progress() {
	local line said=no
	while IFS= read -r line; do
		echo "$line"
		[[ $line == build:* ]] || continue
		printf '\n            %s' "${line#build: }" >&3
		said=yes
	done
	[ "$said" = no ] || printf '\n%-11s ' '' >&3
}

# Run on the real kernel. Where none can be had this is skipped; where ours cannot be built it fails.
on_bench() {
	need qemu-system-x86_64 cpio xz modprobe apt-get dpkg gcc make
	tests/kernel/fetch.sh >/dev/null || {
		[ "$install" = yes ] || skip_all "no kernel, or no tools for its module; --no-install forbids getting them"
		compgen -G "$VFD_CACHE/kernel/*" >/dev/null || skip_all "no kernel could be downloaded"
		return 1
	}
	"$@"
}

# ---- running them, counting what they say ----------------------------------------

passed=0 failed=0 skipped=0 finished=no

run_step() {
	local step=$1 log=$results/$1.log start=$SECONDS code
	printf '%-11s ' "$step"
	tap_commit >"$log"
	set +e
	(set -e && "step_$step") 3>&1 >>"$log" 2>&1 </dev/null
	code=$?
	set -e
	count "$step" "$code" "$log" "$((SECONDS - start))"
}

# The log is TAP. A program that fails without saying in what has failed in one thing.
count() {
	local step=$1 code=$2 log=$3 seconds=$4 p f s
	s=$(grep -cE '^ok .*# SKIP|^1\.\.0 # SKIP' "$log") || true
	p=$(($(grep -cE '^ok ' "$log" || true) - $(grep -cE '^ok .*# SKIP' "$log" || true)))
	f=$(grep -cE '^not ok ' "$log") || true
	if [ "$f" = 0 ] && { [ "$code" != 0 ] || [ $((p + s)) = 0 ]; }; then
		echo "not ok - $step: exit code $code, $p passed" >>"$log"
		f=1
	fi
	passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
	printf '%5d passed %3d failed %3d skipped %4d s\n' "$p" "$f" "$s" "$seconds"
	explain "$f" "$log"
}

explain() {
	sed -nE 's/^ok [0-9]+ - (.+) # SKIP /            skipped: \1: /p; t
		s/^(ok [0-9]+ -? ?|1\.\.0 )# SKIP /            skipped: /p' "$2"
	[ "$1" != 0 ] || return 0
	awk "$failures" "$2" | head -n 200 | sed 's/^/            /'
	! grep -qE '^not ok - ' "$2" || tail -n 25 "$2" | sed 's/^/            | /'
}

# What failed, and the first and last lines of what it said: the cause is in one of them, and nobody has the log of another machine.
# shellcheck disable=SC2016 # awk's
failures='
	function tell(  i) {
		for (i = 1; i <= n; i++) if (i <= 12 || i > n - 12) print line[i]; else if (i == 13) print "# [...]"
		n = 0
	}
	/^(not )?ok |^1\.\./ { tell(); failed = /^not/ }
	failed { line[++n] = $0 }
	END { tell() }'

parse "$@"
trap '[ "$finished" = yes ] || echo "FAILED: run.sh did not come to its end, see above"' EXIT
export VFD_CACHE=${VFD_CACHE:-${XDG_CACHE_HOME:-${HOME:-/var/tmp}/.cache}/libvfiodirty}
export VFD_INSTALL=$install
export VFD_RESULTS=$PWD/build/results
results=$VFD_RESULTS
rm -rf "$results"
mkdir -p "$results" "$VFD_CACHE"

wanted=("${selected[@]}")
[ "$full" = yes ] || mapfile -t wanted < <(printf '%s\n' "${selected[@]}" | grep -vxE "cross|musl|modelcheck|analyze|tidy|ownkernel|debugkernel")
[ "$full" = no ] || [[ " ${selected[*]} " != *" examples "* ]] || wanted+=(rust)
[ "$install" = no ] || VFD_SETUP_LOG=$results/setup.log tests/setup.sh "${wanted[@]}"
build_kernels
for step in "${steps[@]}"; do
	[[ " ${selected[*]} " != *" $step "* ]] || run_step "$step"
done
[ "$show_traps" = no ] || cat "$results/traps.txt" || true
finished=yes
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
