#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Does the bench itself work? Compile selftest.c and run it on the real kernel.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

"${CC:-gcc}" -std=gnu11 -O1 -g -Wall -Wextra -Werror -o "$tmp/selftest" "$here/selftest.c"
"$here/run.sh" --device edu --bind 1234:11e8 "$@" -- "$tmp/selftest"
