#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Runs in the guest, under busybox: vfd-nvme on the controller that vfio-pci has. Leaves the output of each run in /out/NAME
# and its exit code in /out/NAME.code, for ../test.sh to judge.
# usage: guest.sh VFD-NVME READS

nvme=$1 reads=$2

# keep NAME OPTION...
keep() {
	name=$1
	shift
	"$nvme" "$address" --blocks 5001 "$@" >"/out/$name" 2>&1
	echo $? >"/out/$name.code"
}

read -r address _ </run/vfio-pci
keep verify
keep bench --bench --reads 5000
keep too-many --blocks 131073
keep migrate --migrate --reads "$reads"
keep no-pins --migrate --reads 20000 --no-pins
keep audit --audit --reads 10000
keep audit-no-pins --audit --reads 2000 --no-pins
