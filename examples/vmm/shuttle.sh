#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Runs in the test kernel, under busybox: the small guest moves to a new process and back, again and again, while its vCPUs and
# its device write. The two devices take turns. Memory is compared by a number made of all of it, while everything stands still.
# Prints a line for each migration, and a last one that counts.
# usage: shuttle.sh DIRECTORY-OF-THE-PROGRAMS COUNT [PAUSE_NS]
# PAUSE_NS: what the device rests after 16 writes. Its writer is a thread of the kernel that the vCPUs share two processors with.

bin=$1 count=$2 pause=${3:-200000} half=$((32 << 20))
here=0 there=1 same=0 moved=0

# start DEVICE OPTION...
start() {
	device=$1
	shift
	"$bin/vfd-vmm" --no-input --vcpus 2 --device "vfdtest.$device" --control "/run/control.$device" "$@" \
		>"/run/vmm.$device" 2>&1 &
	eval "pid_$device=$!"
}

wait_for() {
	tries=0
	while [ ! -S "$1" ] && [ $tries -lt 3000 ]; do
		usleep 20000
		tries=$((tries + 1))
	done
}

# Until the one there says so; the guest runs meanwhile.
wait_until_it_runs() {
	tries=0
	while ! grep -q 'it runs here' "/run/vmm.$1" && [ $tries -lt 3000 ]; do
		usleep 20000
		tries=$((tries + 1))
	done
}

start $here
wait_for "/run/control.$here"
i=0
while [ $i -lt "$count" ]; do
	i=$((i + 1))
	rm -f /run/moving "/run/control.$there"
	start $there --incoming unix:/run/moving
	wait_for /run/moving
	"$bin/vfdtest-writer" $here $half $((4 << 20)) "$pause" || echo "FAILED: the device does not write"
	usleep 100000
	answer=$("$bin/vfd-vmm" --ask "/run/control.$here" "migrate unix:/run/moving downtime=500 force verify")
	echo "$i: $answer"
	case $answer in
	ok\ moved*) moved=$((moved + 1)) ;;
	*) echo "the destination said: $(cat "/run/vmm.$there")" && break ;;
	esac
	eval "wait \$pid_$here"
	wait_until_it_runs $there
	! grep -q 'memory is the same' "/run/vmm.$there" || same=$((same + 1))
	last=$here here=$there there=$last
done
sleep 1
"$bin/vfd-vmm" --ask "/run/control.$here" quit >/dev/null
eval "wait \$pid_$here"
echo "the guest's end: code $?, $(tail -n 1 "/run/vmm.$here")"
echo "$count migrations: $moved moved, memory the same $same times"
[ "$moved" = "$count" ] && [ "$same" = "$count" ]
