#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Runs in the guest, under busybox: vfd-guard on programs that nobody here wrote. QEMU with an NVMe disk passed through measures how much
# is dirtied, by dirty bitmaps, for which it switches the tracking of VFIO on and off; DPDK's testpmd sends packets between two ports. Leaves
# the output of each run in /out/NAME and its exit code in /out/NAME.code, for ../test.sh to judge.
# usage: others.sh DIRECTORY-OF-THE-PROGRAMS

bin=$1

# keep NAME COMMAND...
keep() {
	name=$1
	shift
	"$@" >"/out/$name" 2>&1
	echo $? >"/out/$name.code"
}

monitor() {
	sleep 10
	echo "calc_dirty_rate -b 1"
	sleep 8
	echo "info dirty_rate"
	sleep 1
	echo quit
}

disk=$(sed -n '1s/ .*//p' /run/vfio-pci)
monitor | keep qemu "$bin/vfd-guard" --stats --json --log /out/qemu.json -- /usr/bin/qemu-system-x86_64 -accel kvm -M q35 -m 64 \
	-nodefaults -display none -monitor stdio -device "vfio-pci,host=$disk"

[ -x /usr/bin/dpdk-testpmd ] || exit 0
mkdir -p /var/run
set --
while read -r port _; do
	[ "$port" = "$disk" ] || set -- "$@" -a "$port"
done </run/vfio-pci
{ sleep 8; echo; } | keep testpmd "$bin/vfd-guard" --stats -- /usr/bin/dpdk-testpmd --lcores 0@0,1@0 --no-huge -m 128 --iova-mode=va \
	--no-telemetry "$@" -- --total-num-mbufs=4096 --no-mlockall --forward-mode=io --tx-first --auto-start
exit 0
