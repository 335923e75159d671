#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Runs in the test kernel, under busybox: vfd-vmm inside of it. Leaves the output of each run in /out/NAME and its exit code in
# /out/NAME.code, for ../test.sh to judge.
# usage: guest.sh VFD-VMM

vmm=$1
edu=$(sed -n '1s/ .*//p' /run/vfio-pci)
nvme=$(sed -n '2s/ .*//p' /run/vfio-pci)

# keep NAME COMMAND...
keep() {
	name=$1 began=$(date +%s)
	shift
	"$@" >"/out/$name" 2>&1
	echo $? >"/out/$name.code"
	echo "$name $(($(date +%s) - began))" >>/out/seconds
}

# ask COMMAND
ask() {
	"$vmm" --ask /run/control "$@"
}

wait_for_socket() {
	while [ ! -S /run/control ]; do usleep 100000; done
}

keep small "$vmm" --no-input --rounds 50

keep small-edu "$vmm" --no-input --vcpus 2 --device "$edu" --control /run/control &
wait_for_socket
sleep 1
keep status ask status
keep dirty-rate ask dirty-rate
keep unknown ask nonsense
keep not-there ask "plug 0000:ff:1f.7"
keep quit ask quit
wait

keep linux "$vmm" --no-input --kernel /vmm/vmlinux --initrd /vmm/initrd --memory 128 --device "$nvme" \
	--append "vfd=once quiet"
