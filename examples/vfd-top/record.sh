#!/bin/bash
# SPDX-License-Identifier: MIT
#
# record.sh DIRECTORY-OF-THE-PROGRAMS: vfd-top beside two programs on the real kernel in QEMU; what it shows goes into docs/vfd-top.txt.
set -euo pipefail

cd "$(dirname "$0")/../.."
bin=$(realpath "${1:?the directory of the programs}")
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

cat >"$tmp/both.sh" <<'END'
edu='' nvme=''
while read -r address _; do
	case $(cat "/sys/bus/pci/devices/$address/vendor") in
	0x1234) edu=$address ;;
	0x1b36) nvme=$address ;;
	esac
done </run/vfio-pci
sh /top.sh "$1/vfd-top" nvme '"software"[^}]*"pages": [0-9]{4}' "$1/vfd-nvme" "$nvme" --blocks 5001 --migrate --reads 20000
sh /top.sh "$1/vfd-top" edu '"deferred_bytes": [1-9]' "$1/vfd-migrate" send "exec:$1/vfd-migrate receive stdio: --memory 32 2>/dev/null" \
	--memory 32 --device "$edu" --rounds 3 --bandwidth 4 --force --quiet
END

truncate -s 64M "$tmp/disk"
tests/kernel/run.sh --timeout 300 --out "$tmp/out" --device edu --bind 1234:11e8 --bind 1b36:0010 \
	--qemu-arg -drive --qemu-arg "file=$tmp/disk,if=none,id=disk,format=raw" --device nvme,drive=disk,serial=1 \
	--file "$bin/vfd-top:$bin/vfd-top" --file "$bin/vfd-nvme:$bin/vfd-nvme" --file "$bin/vfd-migrate:$bin/vfd-migrate" \
	--file "$PWD/examples/vfd-top/guest.sh:/top.sh" --file "$tmp/both.sh:/both.sh" -- /bin/sh /both.sh "$bin"

{
	echo "\$ vfd-top --once --interval 2 --bandwidth 100 \$(pidof vfd-nvme)"
	cat "$tmp/out/nvme-top"
	echo
	echo "\$ vfd-top --once --interval 2 --bandwidth 100 \$(pidof vfd-migrate)"
	cat "$tmp/out/edu-top"
} >docs/vfd-top.txt
cat docs/vfd-top.txt
