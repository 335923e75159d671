#!/bin/bash
# SPDX-License-Identifier: MIT
#
# initrd.sh FILE: make the Linux guest's initial file system: busybox, the drivers of an NVMe disk and of ext4, guest-init.sh.
# Prints where the guest's kernel lies: the test kernel of tests/kernel, which is fetched if need be.
set -euo pipefail
PATH=$PATH:/usr/sbin:/sbin

here=$(cd "$(dirname "$0")" && pwd)
[ $# = 1 ] || { echo "usage: initrd.sh FILE" >&2 && exit 2; }
bench=$("$here/../../tests/kernel/fetch.sh")
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT

mkdir -p "$root"/{bin,proc,sys,dev,modules}
cp "$bench/kernel/bin/busybox" "$root/bin/"
cp "$here/guest-init.sh" "$root/init"
chmod 755 "$root/init"
for name in nvme ext4; do
	modprobe -d "$bench/kernel" -S "$(cat "$bench/version")" --show-depends "$name" 2>/dev/null || true
done | while read -r line file _; do
	name=$(basename "${file%.xz}")
	[ "$line" = insmod ] || continue
	[ ! -e "$root/modules/$name" ] || continue
	case $file in
	*.xz) xz -dc "$file" >"$root/modules/$name" ;;
	*) cp "$file" "$root/modules/$name" ;;
	esac
	echo "$name"
done >"$root/modules.list"
(cd "$root" && find . -print0 | cpio --null -o -H newc -R 0:0 --quiet) >"$1"
realpath "$bench/vmlinux"
