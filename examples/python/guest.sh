#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Runs in the guest: the first test device, drawn.
# usage: guest.sh DIRTY_PAGES.PY

read -r _ group device </run/vfdtest
exec python3 -S "$1" /libvfiodirty.so "$group" "$device" /out/dirty-pages.svg
