#!/bin/bash
# SPDX-License-Identifier: MIT
#
# abi.sh: are our own definitions of the kernel's interface those of its headers? Of the installed ones, and of each kernel that tests
# have fetched or built (tests/kernel/README.md). Headers before Linux 6.7 have no dirty bits of iommufd, and are skipped. TAP.
set -euo pipefail

cd "$(dirname "$0")/.."
. tests/tap.sh

cache=${VFD_CACHE:-${XDG_CACHE_HOME:-${HOME:-/var/tmp}/.cache}/libvfiodirty}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# As headers_install does: the rest of the system's headers stays.
take_headers() {
	local file
	rm -rf "$work/linux" && mkdir "$work/linux"
	for file in iommufd.h vfio.h; do sed 's/\b__user\b//g' "$1/linux/$file" >"$work/linux/$file"; done
}

compare() {
	take_headers "$1"
	${CC:-cc} -std=gnu11 -Wall -Werror -I"$work" -Iinclude -Ilib tests/abi.c -o "$work/abi" || return 1
	"$work/abi" >"$work/said" || { grep '^not ok' "$work/said"; return 1; }
	echo "# $(grep -c '^ok' "$work/said") sizes, offsets and numbers"
}

check_headers() {
	local name=$1 headers=$2
	if ! grep -qs HWPT_GET_DIRTY "$headers/linux/iommufd.h"; then
		skip "$name" "its headers have no dirty bits of iommufd"
	else
		check "$name" compare "$headers"
	fi
}

check_headers "the installed headers" "${VFD_HEADERS:-/usr/include}"
for headers in "$cache"/kernel/*/usr/src/linux-headers-*/include/uapi; do
	[ ! -e "$headers" ] || check_headers "$(basename "${headers%/include/uapi}")" "$headers"
done
tap_end
