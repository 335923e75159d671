# SPDX-License-Identifier: MIT
# shellcheck shell=bash disable=SC2034 # used by who sources this
#
# Sourced by test scripts, at the top of the tree: which version this is, and what the library is called, from its header.

version=$(sed -nE 's/^#define VFD_VERSION_(MAJOR|MINOR|PATCH) ([0-9]+)$/\2/p' include/vfiodirty/version.h | paste -sd.)
soname=libvfiodirty.so.${version%%.*}
