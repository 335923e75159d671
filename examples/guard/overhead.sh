#!/bin/bash
# SPDX-License-Identifier: MIT
#
# overhead.sh PROGRAMS [--record]: what vfd-guard costs, in the test kernel: a bench that only maps and unmaps, and Debian's QEMU, which boots
# from an NVMe disk that is passed through to it, and reads 2 MiB of it. With and without it take turns; medians, and the ratio of them.
# PROGRAMS is where the examples were built. --record writes the figures into docs/benchmarks.md.
#
# The machine counts instructions for time (run.sh --instructions), so what else runs on the host changes nothing. VFD_ICOUNT=no: the host's time.
set -euo pipefail

cd "$(dirname "$0")/../.."
[ $# -ge 1 ] || { echo "usage: overhead.sh PROGRAMS [--record]" >&2 && exit 2; }
bin=$(realpath "$1") qemu=/usr/bin/qemu-system-x86_64
if [ ! -x $qemu ] || [ ! -d /usr/share/seabios ]; then
	echo "overhead: it is not Debian's QEMU that is installed" >&2
	exit 77
fi
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

boot_sector() {
	gcc -m32 -c examples/guard/reader.S -o "$tmp/reader.o"
	ld -m elf_i386 -Ttext 0x7c00 --oformat binary "$tmp/reader.o" -o "$tmp/disk"
	truncate -s 16M "$tmp/disk"
}

# What kvm is patched for: see vmm/boot.sh.
measure() {
	local name options=()
	for name in $qemu /usr/share/seabios /usr/share/qemu "$bin/vfd-guard" "$bin/vfd-guard.so" "$bin/vfd-guard-cases"; do
		options+=(--file "$name:$name")
	done
	[ "${VFD_ICOUNT:-yes}" = no ] || options+=(--instructions)
	tests/kernel/run.sh --smp 1 --timeout 1800 --memory 1024 --modprobe kvm-amd --bind 1b36:0010 \
		--qemu-arg -drive --qemu-arg "file=$tmp/disk,if=none,id=disk,format=raw" --device nvme,drive=disk,serial=1 \
		"${options[@]}" --file "$PWD/examples/guard/overhead-guest.sh:/guest.sh" -- /bin/sh /guest.sh "$bin" "${VFD_ROUNDS:-5}" "${VFD_BOOTS:-5}"
}

# sorted WHAT KIND
sorted() { sed -nE "s/^$1 $2 ([0-9]+)\r?$/\1/p" "$tmp/said" | sort -n; }

# row WHAT UNIT LIMIT TEXT
row() {
	paste <(sorted "$1" bare) <(sorted "$1" guarded) | awk -v unit="$2" -v limit="$3" -v text="$4" '
		{ bare[NR] = $1; guarded[NR] = $2 }
		END {
			if (!NR) exit 1
			m = int((NR + 1) / 2)
			more = 100 * (guarded[m] / bare[m] - 1)
			printf "%-46s %d [%d..%d] %s, with it %d [%d..%d]: %+.1f %%  limit %d %%  %s\n", text, bare[m], bare[1], bare[NR], unit,
				guarded[m], guarded[1], guarded[NR], more, limit, more <= limit ? "holds" : "MISSES"
		}'
}

boot_sector
measure | tee "$tmp/said" >&2
{
	echo '```'
	echo "$(date -u +%F), commit $(git rev-parse --short HEAD 2>/dev/null || echo unknown), $($qemu --version | head -n 1)"
	echo "median [least..most] of ${VFD_ROUNDS:-5} and ${VFD_BOOTS:-5}$([ "${VFD_ICOUNT:-yes}" = no ] || echo "; time is instructions of the machine")"
	row bench ns 40 "a map and its unmap"
	row boot us 3 "QEMU boots and reads 2 MiB"
	echo '```'
} | tee "$tmp/guard"
[ "${2:-}" != --record ] ||
	sed -i -e '/^<!-- guard -->/,/^<!-- end guard -->/{//!d}' -e "/^<!-- guard -->/r $tmp/guard" docs/benchmarks.md
