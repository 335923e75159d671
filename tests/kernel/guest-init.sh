#!/bin/busybox sh
# SPDX-License-Identifier: MIT
# shellcheck shell=dash disable=SC1091,SC2154 # the variables come from /vfd/conf
#
# /init of the guest: load the modules, bind the devices, run one program, hand
# everything back through virtio ports, switch the machine off.
# run.sh leaves in /vfd: conf (shell variables), program (a shell script).

bb=/bin/busybox
$bb --install -s /bin
export PATH=/bin:/sbin:/usr/bin:/usr/sbin

mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/shm /dev/hugepages /out /tmp /run
mount -t tmpfs tmpfs /dev/shm
mount -t debugfs debugfs /sys/kernel/debug
ln -s /proc/self/fd /dev/fd
ip link set lo up 2>/dev/null
. /vfd/conf

load_list() {
	while read -r module params; do
		# shellcheck disable=SC2086 # parameters are words
		insmod "/vfd/modules/$module" $params || echo "vfd: cannot load $module" >/dev/kmsg
	done <"$1"
}

port() {
	for p in /sys/class/virtio-ports/*; do
		[ "$(cat "$p/name")" = "$1" ] && echo "/dev/${p##*/}" && return
	done
	echo /dev/null
}

# bind VENDOR:DEVICE: give every such PCI device to vfio-pci
bind() {
	for d in /sys/bus/pci/devices/*; do
		read -r vendor <"$d/vendor"
		read -r device <"$d/device"
		[ "${vendor#0x}:${device#0x}" = "$1" ] || continue
		a=${d##*/}
		[ ! -e "$d/driver" ] || echo "$a" >"$d/driver/unbind"
		echo vfio-pci >"$d/driver_override"
		echo "$a" >/sys/bus/pci/drivers_probe
		g=$(readlink "$d/iommu_group") && echo "$a ${g##*/}" >>/run/vfio-pci
	done
}

# The kernel booted on one CPU: see run.sh.
start_cpus() {
	for c in /sys/devices/system/cpu/cpu[1-9]*/online; do
		[ ! -e "$c" ] || echo 1 >"$c"
	done
	[ "$(nproc)" = "$smp" ] || echo "BUG: there are $(nproc) CPUs, not $smp" >/dev/kmsg
}

list_vfdtest() {
	i=0
	while [ $i -lt "$ndevices" ]; do
		g=$(readlink "/sys/bus/platform/devices/vfdtest.$i/iommu_group")
		echo "$i ${g##*/} vfdtest.$i"
		i=$((i + 1))
	done
}

# Hand back what there is, then leave at once. $1: exit code or a word.
finish() {
	[ "$out" = no ] || tar -c -C /out . >"$(port out)" 2>/dev/null
	# lockdep switches itself off at its first report, and when it has no room: then no report says nothing
	! grep -qs 'debug_locks: *0' /proc/lockdep_stats || echo "BUG: lockdep is off" >/dev/kmsg
	dmesg >"$(port dmesg)"
	echo "$1" >"$(port status)"
	printf '\1' | dd of=/dev/port bs=1 seek=244 2>/dev/null	# QEMU's isa-debug-exit
	poweroff -f
}

watchdog() {
	sleep "$timeout"
	touch /run/timed-out
	kill -KILL "-$1" 2>/dev/null || kill -KILL "$1"
	sleep 1
	[ ! -e "/proc/$1" ] || echo w >/proc/sysrq-trigger	# who hangs, and where
	finish timeout
}

load_list /vfd/modules.list
[ ! -e /vfd/extra.list ] || load_list /vfd/extra.list
insmod /vfd/modules/vfdtest.ko ndevices="$ndevices" migration="$migration"

: >/run/vfio-pci
for id in $bind; do
	bind "$id"
done
list_vfdtest >/run/vfdtest
start_cpus
echo "vfd: starting the program" >/dev/kmsg

setsid sh /vfd/program </dev/null >"$(port stdout)" 2>"$(port stderr)" &
pid=$!
watchdog $pid >/dev/null 2>&1 &
wait $pid
code=$?
while [ -e /run/timed-out ]; do sleep 1; done	# the watchdog finishes
finish $code
