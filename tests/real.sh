#!/bin/bash
# SPDX-License-Identifier: MIT
#
# real.sh [NAME...]: build the programs of tests/real and run them on a real kernel, in QEMU; those named, or all that this kernel
# is for.
# VFD_KERNEL says which kernel: tests/kernel/README.md.
# random_model needs no kernel: it plays a million random operations on the model, as real_random plays
# VFD_OPERATIONS (100000) on both. VFD_SEED chooses which. real_pins plays VFD_SECONDS (10), twice; real_churn once; real_race
# VFD_SECONDS (3). real_handover kills VFD_KILLS (60) processes. real_inject takes one of VFD_STRIDE (23) faults, VFD_SEED says which, of the
# lives VFD_KINDS (own adopted physical; and logs, where the kernel reports what devices log).
# Prints their checks in TAP, then: N passed, N failed, N skipped.
set -euo pipefail

cd "$(dirname "$0")/.."
. tests/tap.sh

build=${VFD_REAL_BUILD:-build/release}
names=("$@")
[ ${#names[@]} -gt 0 ] || case ${VFD_KERNEL:-stock} in
own) names=(real_devlog real_iommufd real_random_iommufd real_plug real_migration real_churn real_emulated real_hostile) ;; # what stock kernels cannot do
debug) names=(real_emulated real_edu real_audit real_limits real_memory real_plan real_pins real_devlog real_iommufd real_plug real_migration real_churn real_random real_handover real_race) ;;
*) names=(real_random random_model real_pins real_emulated real_plug real_edu real_audit real_limits real_memory real_plan real_devlog real_iommufd real_migration real_churn real_handover real_race real_seccomp real_unprivileged real_hostile real_inject) ;;
esac
skipped=0 seed=${VFD_SEED:-1}

need cmake make qemu-system-x86_64 cpio

compile() {
	mkdir -p build
	{ cmake --preset release -B "$build" && cmake --build "$build" -j "$(nproc)" --target real; } \
		>build/real.log 2>&1 || {
		tail -n 40 build/real.log
		not_ok "build the programs for the real kernel"
		exit 1
	}
}

# Kernels of our own have mtty; the others a disk.
modules() {
	case $1:${VFD_KERNEL:-stock} in
	real_migration:own | real_migration:debug) echo "--modprobe mtty" ;;
	real_memory:own | real_memory:debug) ;;
	real_memory:*) echo "--modprobe brd:rd_size=20480 --modprobe ext4" ;;
	esac
}

# What else QEMU and the guest need for a program.
options() {
	case $1 in
	real_edu | real_audit | real_limits) echo "--device edu --bind 1234:11e8 --ndevices 1" ;;
	real_handover) echo "--smp 2 --ndevices 1 --timeout $((${VFD_KILLS:-60} / 5 + 300))" ;;
	real_inject)
		echo "--smp 2 --ndevices 2 --device edu --device edu --bind 1234:11e8 --timeout ${VFD_INJECT_TIMEOUT:-600}"
		echo "--file $(command -v strace):/usr/bin/strace --file $build/tests/inject/inject_life:/usr/bin/inject_life"
		;;
	real_race) echo "--smp 2 --ndevices 3 --timeout $((${VFD_SECONDS:-3} + 120))" ;;
	real_memory) echo "--device edu --bind 1234:11e8 --ndevices 1 --append hugepages=16 $(modules "$1")" ;;
	real_pins) echo "--smp 2 --device edu --bind 1234:11e8 --ndevices 1 --timeout 300" ;;
	real_random_iommufd) echo "--no-viommu --timeout 360" ;;
	real_iommufd) echo "--no-viommu --append hugepages=8 --ndevices 2" ;;
	real_devlog | real_plug | real_unprivileged) echo "--device edu --bind 1234:11e8 --ndevices 2" ;;
	real_migration) echo "--device edu --bind 1234:11e8 --ndevices 4 $(modules "$1")" ;;
	real_churn) echo "--smp 2 --device edu --bind 1234:11e8 --ndevices 1 --timeout 300" ;;
	real_hostile) echo "--smp 2 --ndevices 2" ;;
	real_random) echo "--ndevices 2 --timeout 360" ;;
	*) echo "--ndevices 4" ;;
	esac
}

# The guest's lines again, counted here and with the program's name in front.
relay() {
	local line name=$1
	while IFS= read -r line; do
		case $line in
		"ok "*" # SKIP "*) relay_skip "$name" "${line#ok * - }" ;;
		"ok "*) ok "$name: ${line#ok * - }" ;;
		"not ok "*) not_ok "$name: ${line#not ok * - }" ;;
		1..*) ;;
		*) echo "$line" ;;
		esac
	done
}

relay_skip() {
	skipped=$((skipped + 1))
	skip "$1: ${2% # SKIP *}" "${2##* # SKIP }"
}

start() {
	case $1 in
	random_model) random_model ;;
	real_pins | real_churn) in_guest "$1" "${VFD_SECONDS:-10}" ;;
	real_race) in_guest "$1" "${VFD_SECONDS:-3}" ;;
	real_handover) in_guest "$1" "${VFD_KILLS:-60}" ;;
	real_random) in_guest "$1" "${VFD_OPERATIONS:-100000}" "$seed" ;;
	real_random_iommufd) in_guest "$1" "${VFD_OPERATIONS:-20000}" "$seed" iommufd ;;
	real_inject) inject ;;
	*) in_guest "$1" ;;
	esac
}

# A program that is linked with the shared library, and another that runs it under strace. With each kind of life, or those in VFD_KINDS.
inject() {
	command -v strace >/dev/null || { skip "faults by strace" "strace is not installed" && tap_end && return; }
	# shellcheck disable=SC2046,SC2086 # words
	tests/kernel/run.sh $(options real_inject) -- "$build/tests/inject/inject_drive" /usr/bin/strace /usr/bin/inject_life \
		"${VFD_STRIDE:-23}" "$seed" ${VFD_KINDS:-own adopted physical}
}

# Exact with emulated groups only; then with a physical one, whose pages are deferred.
random_model() {
	"$build/tests/random/random_model" 1000000 "$seed" && "$build/tests/random/random_model" 300000 "$seed" mixed
}

in_guest() {
	# shellcheck disable=SC2046 # options are words
	tests/kernel/run.sh $(options "$1") -- "$build/tests/real/${1/random_iommufd/random}" "${@:2}"
}

# Called below, several at a time: a guest keeps about one processor busy.
run_one() {
	local code=0
	start "$1" >"build/$1.tap" 2>"build/$1.err" || code=$?
	echo "$code" >"build/$1.code"
}

report() {
	local name=$1 failed=$tap_failed output=build/$1.tap code complaint
	code=$(cat "build/$name.code")
	complaint=$(sed -n 's/.*the kernel complained/, the kernel complained/p' "build/$name.err" | head -n 1)
	relay "$name" <"$output"
	cat "build/$name.err" >&2
	if [ "$code" != 0 ] && [ "$failed" = "$tap_failed" ]; then
		not_ok "$name: exit code $code$complaint"
	elif [ "$(tail -n 1 "$output" | cut -c 1-3)" != 1.. ]; then
		not_ok "$name: it did not reach its end"
	fi
}

if [ "${1:-}" = --one ]; then
	run_one "$2"
	exit
fi
tap_commit
compile
printf '%s\n' "${names[@]}" | xargs -P "$(nproc)" -n 1 "$0" --one
for name in "${names[@]}"; do
	report "$name"
done
tap_end || true
echo "$((tap_count - tap_failed - skipped)) passed, $tap_failed failed, $skipped skipped"
[ "$tap_failed" = 0 ]
