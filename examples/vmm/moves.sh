#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Runs in the test kernel, under busybox: migrations. The small guest with a device that migrates, COUNT times there and back; then
# a Linux guest with a disk that does not: first to where that disk cannot be had, then to where it can. Leaves the output of each
# run in /out/NAME and its exit code in /out/NAME.code; the shuttle's lines are printed as they come besides.
# usage: moves.sh DIRECTORY-OF-THE-PROGRAMS COUNT

bin=$1 vmm=$1/vfd-vmm count=$2
nvme=$(sed -n '1s/ .*//p' /run/vfio-pci)

# keep NAME COMMAND...
keep() {
	name=$1
	shift
	"$@" >"/out/$name" 2>&1
	echo $? >"/out/$name.code"
}

# until_true COMMAND...: some minutes at most
until_true() {
	tries=0
	until "$@" 2>/dev/null || [ $tries -ge 400 ]; do
		sleep 1
		tries=$((tries + 1))
	done
}

# destination NAME OPTION...: and wait until it listens
destination() {
	name=$1
	shift
	rm -f /run/moving
	keep "$name" "$vmm" --no-input --memory 128 --incoming unix:/run/moving "$@" &
	until_true [ -S /run/moving ]
}

ask() {
	"$vmm" --ask "$@"
}

{
	/bin/sh /shuttle.sh "$bin" "$count"
	echo $? >/out/shuttle.code
} 2>&1 | tee /out/shuttle

keep linux "$vmm" --no-input --kernel /vmm/vmlinux --initrd /vmm/initrd --memory 128 --device "$nvme" \
	--control /run/control --append "vfd=work quiet" &
until_true grep -qF "vfd: at work" /out/linux
destination nowhere --plug 0000:ff:1f.7
keep refused ask /run/control "migrate unix:/run/moving downtime=500"
keep still-there ask /run/control status
destination linux-moved --plug "$nvme" --control /run/other
keep migrate ask /run/control "migrate unix:/run/moving downtime=500"
until_true grep -qF "checksums of" /out/linux-moved
keep unplug ask /run/other unplug
keep plug ask /run/other "plug $nvme"
keep unplug-again ask /run/other unplug
keep quit ask /run/other quit
wait
for name in refused still-there migrate unplug plug unplug-again quit; do
	echo "$name: $(cat "/out/$name")"
done
