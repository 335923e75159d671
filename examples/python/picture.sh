#!/bin/bash
# SPDX-License-Identifier: MIT
#
# picture.sh LIBRARY OUTPUT.svg: run dirty_pages.py on the real kernel, with Debian's Python in the guest, of whose
# library only what the example imports goes along. Makes docs/dirty-pages.svg, which is the same at each run.
set -euo pipefail

[ $# = 2 ] || { echo "usage: picture.sh LIBRARY OUTPUT.svg" >&2 && exit 2; }
library=$(realpath "$1") output=$(realpath "$2")
cd "$(dirname "$0")/../.."
python=/usr/bin/python3
[ -x "$python" ] || { echo "picture.sh: there is no $python" >&2 && exit 1; }
here=$PWD/examples/python

imported() {
	PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=$here "$python" -S -c '
import sys, encodings.utf_8, dirty_pages
print(*sorted({m.__file__ for m in sys.modules.values() if getattr(m, "__file__", None)}), sep="\n")'
}

files=()
while read -r file; do
	files+=(--file "$file:$file")
done < <(imported)
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
tests/kernel/run.sh --timeout 600 --out "$tmp" --file "$library:/libvfiodirty.so" --file "$(realpath "$python"):$python" \
	"${files[@]}" --file "$here/guest.sh:/guest.sh" -- /bin/sh /guest.sh "$here/dirty_pages.py"
cp "$tmp/dirty-pages.svg" "$output"
