#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Runs in the test kernel, under busybox: migrations. The small guest with a device that migrates, COUNT times there and back; then
# a Linux guest with a disk that does not: while the disk is in use, to where it cannot be had, and to where it can. Leaves the output of each
# run in /out/NAME and its exit code in /out/NAME.code; what comes of them is printed besides, as it comes.
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

# show NAME COMMAND...: the same, and the last line is printed, with the second in which it came
show() {
	keep "$@"
	echo "[$(cut -d. -f1 /proc/uptime) s] $1: $(tail -n 1 "/out/$1")"
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
	--control /run/control --append "vfd=work busy quiet" &
until_true grep -qF "vfd: at work" /out/linux
show status ask /run/control status
ask /run/control pause
show paused ask /run/control "migrate unix:/run/moving"
ask /run/control resume
destination in-use-there --plug "$nvme"
show in-use ask /run/control "migrate unix:/run/moving downtime=2000"
show goes-on ask /run/control status
destination nowhere --plug 0000:ff:1f.7
show refused ask /run/control "migrate unix:/run/moving downtime=2000"
show still-there ask /run/control status
destination linux-moved --plug "$nvme" --control /run/other
show migrate ask /run/control "migrate unix:/run/moving downtime=2000"
until_true grep -qF "checksums of" /out/linux-moved
show unplug ask /run/other unplug
show plug ask /run/other "plug $nvme"
show unplug-again ask /run/other unplug
show quit ask /run/other quit
wait
grep -H vfd /out/linux /out/linux-moved
