#!/bin/busybox sh
# SPDX-License-Identifier: MIT
# shellcheck shell=dash
#
# /init of the Linux guest: writes files to the NVMe disk and reads them back for as long as there is one, and is the agent that
# gives the disk up and looks for it again when it is asked on the second serial line. Kernel parameters:
#	vfd=once	a few files, then the end
#	vfd=work	until it is told to stop, by "stop" on that line
#	busy		the disk is in use when it is asked for first

/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mkdir -p /mnt /run /sums
while read -r module; do
	insmod "/modules/$module" || echo "vfd: cannot load $module"
done </modules.list

say() { echo "vfd: $*"; }

# The end; $1 is what the VMM exits with.
finish() {
	printf %b "\\0$(printf %o "$1")" | dd of=/dev/port bs=1 seek=244 2>/dev/null
	reboot -f
}

find_disk() {
	tries=0
	until disk=$(echo /dev/nvme*n1) && [ -e "$disk" ]; do
		tries=$((tries + 1))
		[ $tries -lt 100 ] || return 1
		usleep 100000
	done
}

make_files() {
	n=0
	while [ ! -e /run/stop ]; do
		name=$((n % 8))
		dd if=/dev/urandom of="/mnt/$name" bs=32k count=4 conv=fsync 2>/dev/null || say "FAILED: write"
		(cd /mnt && md5sum "$name") >"/sums/$name"
		n=$((n + 1))
		echo $n >/run/written
		[ "$1" != once ] || [ $n -lt 8 ] || return 0
	done
}

# What the disk has, not what memory still knows of it.
check_files() {
	echo 3 >/proc/sys/vm/drop_caches
	if (cd /mnt && cat /sums/* | md5sum -c >/run/result 2>&1); then
		say "checksums of $(wc -l </run/result) files agree"
	else
		cat /run/result
		say "FAILED: checksums"
	fi
}

# And it is as good as before.
reset_disk() {
	device=/sys/bus/pci/devices/0000:00:01.0
	echo 1 >$device/reset || say "FAILED: reset"
	mount -t ext4 "$disk" /mnt || say "FAILED: mount after a reset"
	check_files
	umount /mnt
	say "it was reset by $(cat $device/reset_method)"
}

start_work() {
	rm -f /run/stop
	grep -q ' /mnt ' /proc/mounts || mount -t ext4 "$disk" /mnt || say "FAILED: mount"
	[ "$1" != again ] || check_files
	make_files &
	work=$!
}

stop_work() {
	touch /run/stop
	wait $work
	check_files
	umount /mnt
}

# Whoever uses it is asked to end, for the next time.
still_busy() {
	say "the disk is in use"
	kill "$user" || say "FAILED: by whom?"
	start_work
}

# Since the guest was started; it does not know of its own downtime.
hundredths() {
	cut -d' ' -f1 /proc/uptime | tr -d .
}

# The line is raw: what is read is not sent back.
agent() {
	stty raw -echo <&3
	while read -r word <&3; do
		case $word in
		unplug)
			gone=$(hundredths)
			stop_work || { still_busy && echo failed >&3 && continue; }
			say "$(cat /run/written) files written"
			echo 1 >/sys/bus/pci/devices/0000:00:01.0/remove
			echo unplugged >&3
			;;
		plug)
			[ -e /run/stop ] || { echo plugged >&3 && continue; }
			echo 1 >/sys/bus/pci/rescan
			if find_disk; then start_work again; else say "FAILED: no disk"; fi
			say "without the disk for $((($(hundredths) - gone) * 10)) ms"
			echo plugged >&3
			;;
		stop)
			stop_work || say "FAILED: umount"
			finish 0
			;;
		esac
	done
}

if ! find_disk; then
	say "FAILED: no NVMe disk"
	finish 1
fi
say "disk $(basename "$disk"): $(cat "/sys/class/block/$(basename "$disk")/size") blocks, the first MiB $(
	head -c 1048576 "$disk" | md5sum | cut -d' ' -f1)"
say "interrupts: $(grep -c nvme /proc/interrupts) vectors, $(grep -c '^processor' /proc/cpuinfo) processors"
mke2fs "$disk" 8192 >/dev/null 2>&1
case $(cat /proc/cmdline) in
*vfd=once*)
	mount -t ext4 "$disk" /mnt || say "FAILED: mount"
	make_files once
	check_files
	umount /mnt
	reset_disk
	finish 0
	;;
esac
exec 3<>/dev/ttyS1
start_work
case $(cat /proc/cmdline) in
*busy*) (cd /mnt && exec sleep 1000000) & user=$! ;;
esac
say "at work"
agent
