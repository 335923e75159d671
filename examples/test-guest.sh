#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Runs in the guest, under busybox. Leaves the output of each program in /out/NAME and its
# exit code in /out/NAME.code, for test.sh to judge.
# usage: test-guest.sh DIRECTORY-OF-THE-PROGRAMS

bin=$1

# keep NAME COMMAND...
keep() {
	name=$1
	shift
	"$@" >"/out/$name" 2>&1
	echo $? >"/out/$name.code"
}

# The address and the group of the device that vfio-pci has: edu.
read -r edu edu_group </run/vfio-pci
read -r _ vfdtest_group vfdtest </run/vfdtest
other=$(sed -n 's/.* //; 2p' /run/vfdtest)
disk=$(basename "$(dirname "$(dirname "$(dirname "$(readlink -f /sys/class/block/nvme0n1)")")")")
echo "$edu $edu_group $vfdtest_group $disk" >/out/names

keep info "$bin/vfd-info"
keep info-attach "$bin/vfd-info" --attach
keep info-json "$bin/vfd-info" --attach --json
keep hello-vfdtest "$bin/hello" "$vfdtest_group" "$vfdtest"
keep hello-edu "$bin/hello" "$edu_group" "$edu"
keep first-program "$bin/first-program"
if [ -e "$bin/hello-rust" ]; then
	keep rust-vfdtest "$bin/hello-rust" "$vfdtest_group" "$vfdtest"
	keep rust-edu "$bin/hello-rust" "$edu_group" "$edu"
fi
keep viommu-vfdtest "$bin/viommu" "$vfdtest_group" "$vfdtest"
keep viommu-edu "$bin/viommu" "$edu_group" "$edu"
keep why-vfdtest "$bin/why-dirty" "$vfdtest_group" "$vfdtest"
keep why-edu "$bin/why-dirty" "$edu_group" "$edu"

keep state-info "$bin/vfd-state" info "$vfdtest"
keep state-edu "$bin/vfd-state" info "$edu"
keep state-save-edu "$bin/vfd-state" save "$edu"
keep state-save "$bin/vfd-state" save "$vfdtest"
keep state-load "$bin/vfd-state" load "$other" </out/state-save
keep state-again "$bin/vfd-state" save "$other"
head -c 100 /out/state-save >/tmp/short
keep state-short "$bin/vfd-state" load "$other" </tmp/short
cat /out/state-save /tmp/short >/tmp/long
keep state-long "$bin/vfd-state" load "$other" </tmp/long

# migrate NAME DEVICE-HERE OPTION-THERE...
migrate() {
	name=$1 device=$2
	shift 2
	rm -f /run/moving
	keep "$name-there" "$bin/vfd-migrate" receive unix:/run/moving --memory 32 "$@" &
	tries=0
	until [ -S /run/moving ] || [ $tries -ge 300 ]; do
		usleep 100000
		tries=$((tries + 1))
	done
	keep "$name" "$bin/vfd-migrate" send unix:/run/moving --memory 32 --device "$device" --rounds 5 --force --quiet --verbose
	wait
}
migrate migrate-vfdtest "$vfdtest" --device "$other"
migrate migrate-edu "$edu"
migrate migrate-half "$vfdtest"

keep demo "$bin/vfd-demo" --runs 3 --size 32 --image "$bin/vfd-demo"
keep host-edu "$bin/vfd-demo" --host "$edu" --runs 1 --size 32

keep nvme-edu "$bin/vfd-nvme" "$edu" --blocks 1
keep nvme-bound "$bin/vfd-nvme" "$disk" --blocks 1

# A disk: nothing may happen to it while it is in use, or without being asked.
keep disk-bound "$bin/vfd-demo" --host "$disk" --runs 1 --size 32
mkswap /dev/nvme0n1 >/dev/null && swapon /dev/nvme0n1
keep disk-swap "$bin/vfd-demo" --host "$disk" --rebind --runs 1 --size 32
swapoff /dev/nvme0n1
mke2fs /dev/nvme0n1 >/dev/null 2>&1 && mkdir /mnt && mount -t ext4 /dev/nvme0n1 /mnt
keep disk-mounted "$bin/vfd-demo" --host "$disk" --rebind --runs 1 --size 32
(cd /mnt && umount -l /mnt && keep disk-claimed "$bin/vfd-demo" --host "$disk" --rebind --runs 1 --size 32)
basename "$(readlink "/sys/bus/pci/devices/$disk/driver")" >/out/disk-driver
keep disk-free "$bin/vfd-demo" --host "$disk" --rebind --runs 1 --size 32
basename "$(readlink "/sys/bus/pci/devices/$disk/driver")" >/out/disk-driver-after
# (what runs in the background ignores SIGINT, hence timeout)
keep disk-interrupted timeout -s INT 8 "$bin/vfd-demo" --host "$disk" --rebind --runs 1000 --size 32
basename "$(readlink "/sys/bus/pci/devices/$disk/driver")" >/out/disk-driver-last
keep not-there "$bin/vfd-demo" --host 0000:ff:1f.7
