#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Runs in the guest, under busybox: vfd-nvme on the controller that vfio-pci has. Leaves the output of each run in /out/NAME
# and its exit code in /out/NAME.code, for ../test.sh to judge. Beside the migration runs vfd-top (/top.sh).
# usage: guest.sh VFD-NVME READS VFD-TOP

nvme=$1 reads=$2 top=$3

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
sh /top.sh "$top" migrate '"software"[^}]*"pages": [0-9]{4}' "$nvme" "$address" --blocks 5001 --migrate --reads "$reads"
keep no-pins --migrate --reads 20000 --no-pins
keep audit --audit --reads 10000
keep audit-no-pins --audit --reads 2000 --no-pins

# moved NAME ADDRESS-THERE: to another process, which takes the same controller
moved() {
	name=$1
	rm -f /run/moving
	{
		"$nvme" "$2" --receive unix:/run/moving --reads 3000 >"/out/$name-there" 2>&1
		echo $? >"/out/$name-there.code"
	} &
	tries=0
	until [ -S /run/moving ] || [ $tries -ge 300 ]; do
		usleep 100000
		tries=$((tries + 1))
	done
	keep "$name" --send unix:/run/moving --reads 3000
	wait
}
moved move "$address"
moved move-refused 0000:ff:1f.7
