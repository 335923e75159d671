#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Compile selftest*.c and stress.c and run them on the real kernel.
# Options are handed to run.sh.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

compile() { "${CC:-gcc}" -std=gnu11 -O1 -g -Wall -Wextra -Werror -pthread -o "$@"; }

compile "$tmp/selftest" "$here"/selftest*.c
compile "$tmp/stress" "$here/stress.c"
"$here/run.sh" --device edu --bind 1234:11e8 "$@" -- "$tmp/selftest"
"$here/run.sh" "$@" -- "$tmp/stress"
