#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Runs in the guest, under busybox. Leaves the output of each run in /out/NAME and its exit code in /out/NAME.code, for ../test.sh to
# judge.
# usage: guest.sh DIRECTORY-OF-THE-PROGRAMS

bin=$1

# keep NAME COMMAND...
keep() {
	name=$1
	shift
	"$@" >"/out/$name" 2>&1
	echo $? >"/out/$name.code"
}

adopt() {
	name=$1
	shift
	keep "$name" "$bin/vfd-adopt" "$@"
}

# The first device that vfio-pci has is edu.
read -r edu edu_group </run/vfio-pci
read -r _ group vfdtest </run/vfdtest

adopt v1-edu --type 1 --keep "$edu_group" "$edu"
adopt v1-edu-no-pins --type 1 --no-pins "$edu_group" "$edu"
adopt v1-vfdtest --type 1 "$group" "$vfdtest"
adopt v2-given "$group" "$vfdtest"
adopt v2-kept --keep "$group" "$vfdtest"
adopt v2-tracking --tracking "$group" "$vfdtest"
adopt v2-tracking-kept --tracking --keep "$group" "$vfdtest"
adopt v2-edu "$edu_group" "$edu"
adopt v2-edu-pins --pins "$edu_group" "$edu"

# Two ports on one wire, if DPDK is there.
[ -e "$bin/vfd-adopt-dpdk" ] || exit 0
echo 64 >/proc/sys/vm/nr_hugepages
mkdir -p /var/run
mount -t hugetlbfs none /dev/hugepages
keep dpdk "$bin/vfd-adopt-dpdk"
keep dpdk-no-pins "$bin/vfd-adopt-dpdk" -- --no-pins
