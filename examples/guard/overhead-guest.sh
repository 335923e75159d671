#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Runs in the guest, under busybox: what vfd-guard costs. With and without it take turns. Prints lines "bench bare|guarded NANOSECONDS"
# (of a pair of map and unmap) and "boot bare|guarded MICROSECONDS" (of QEMU, from its start to its end).
# usage: overhead-guest.sh DIRECTORY-OF-THE-PROGRAMS ROUNDS BOOTS

bin=$1 rounds=$2 boots=$3
disk=$(sed -n '1s/ .*//p' /run/vfio-pci)
read -r _ group vfdtest </run/vfdtest

now() { sed -nE 's/^now at ([0-9]+) nsecs.*/\1/p' /proc/timer_list; }

# bench KIND COMMAND...
bench() {
	kind=$1
	shift
	"$@" "$bin/vfd-guard-cases" bench "$group" "$vfdtest" | sed -nE "s/^map and unmap: ([0-9]+) ns.*/bench $kind \1/p"
}

# boot KIND COMMAND...: its exit code must be 1, which the boot sector leaves
boot() {
	kind=$1 begin=$(now) code=0
	shift
	"$@" /usr/bin/qemu-system-x86_64 -accel kvm -M q35 -m 64 -nodefaults -display none \
		-device "vfio-pci,host=$disk,bootindex=0" -device isa-debug-exit,iobase=0x501,iosize=1 </dev/null >/tmp/qemu 2>&1 || code=$?
	[ "$code" = 1 ] || { echo "QEMU: exit code $code" && cat /tmp/qemu && exit 1; }
	echo "boot $kind $((($(now) - begin) / 1000))"
}

guarded() { "$bin/vfd-guard" --log /tmp/guard -- "$@"; }

i=0
while [ $i -lt "$rounds" ]; do
	bench bare
	bench guarded guarded
	i=$((i + 1))
done
i=0
while [ $i -lt "$boots" ]; do
	boot bare
	boot guarded guarded
	i=$((i + 1))
done
