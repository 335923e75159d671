#!/bin/bash
# SPDX-License-Identifier: MIT
#
# boot.sh PROGRAMS OUT COUNT [SCRIPT]: run moves.sh in the test kernel, with KVM inside of it, an NVMe disk that begins with the
# program vfd-vmm, and test devices that migrate. PROGRAMS is the directory where the examples were built; what they say comes to
# OUT; the small guest moves COUNT times. SCRIPT: shuttle.sh, for the small guest alone.
#
# One CPU: kvm patches its own text whenever a vCPU comes, goes or sets up its APIC, and with two CPUs the emulator was seen to run a
# breakpoint of such a patch after it was gone ("Oops: int3").
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
[ $# = 3 ] || [ $# = 4 ] || { echo "usage: boot.sh PROGRAMS OUT COUNT [SCRIPT]" >&2 && exit 2; }
bin=$1 out=$2 count=$3 script=${4:-moves.sh}
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

head -c 1048576 "$bin/vfd-vmm" >"$tmp/disk"
truncate -s 64M "$tmp/disk"
kernel=$("$here/initrd.sh" "$tmp/initrd")
options=()
for file in "$kernel:/vmm/vmlinux" "$tmp/initrd:/vmm/initrd" "$here/moves.sh:/moves.sh" "$here/shuttle.sh:/shuttle.sh" \
	"$bin/vfd-vmm:/vmm/vfd-vmm" "$bin/vfd-state:/vmm/vfd-state" "$bin/vfdtest-writer:/vmm/vfdtest-writer" \
	"$bin/vfdtest-lossy:/vmm/vfdtest-lossy"; do
	options+=(--file "$file")
done
"$here/../../tests/kernel/run.sh" --smp 1 --timeout $((900 + 60 * count)) --memory 1024 --out "$out" --modprobe kvm-amd --migration 7 \
	--bind 1b36:0010 \
	--qemu-arg -drive --qemu-arg "file=$tmp/disk,if=none,id=disk,format=raw" --device nvme,drive=disk,serial=1 \
	"${options[@]}" -- /bin/sh "/$script" /vmm "$count"
