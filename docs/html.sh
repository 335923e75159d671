#!/bin/bash
# SPDX-License-Identifier: MIT
#
# html.sh DIRECTORY: the manual pages as HTML, a page for each function, and index.html. Needs mandoc; what else is in the directory stays.
set -euo pipefail

cd "$(dirname "$0")/man"
to=$(realpath -m "${1:?a directory for the pages}")
command -v mandoc >/dev/null || { echo "html.sh: mandoc is not installed" >&2 && exit 1; }

names_of() { sed -nE '/^\.Nm /{s/^\.Nm ([A-Za-z_-]+).*/\1/p;}; /^\.Nd/q' "$1"; }

# Whichever name is asked for, and the section that it is in
convert() {
	local page=$1 section=${1##*.} name
	mandoc -T html -O 'man=%N.%S.html' "$page" >"$to/$page.html"
	for name in $(names_of "$page"); do
		[ "$name.$section" = "$page" ] || cp "$to/$page.html" "$to/$name.$section.html"
	done
}

section() {
	local page
	printf '<h2>%s</h2>\n<dl>\n' "$2"
	for page in *."$1"; do
		printf '<dt><a href="%s.html">%s</a></dt>\n' "$page" "$(names_of "$page" | paste -sd ' ' | sed 's/ /, /g')"
		printf '<dd>%s</dd>\n' "$(sed -n 's/^\.Nd //p' "$page")"
	done
	echo '</dl>'
}

mkdir -p "$to"
for page in *.[137]; do
	convert "$page"
done
{
	printf '<!DOCTYPE html>\n<meta charset="utf-8">\n<title>libvfiodirty</title>\n<h1>libvfiodirty</h1>\n'
	section 7 "Begin here"
	section 3 "Functions"
	section 1 "Programs"
} >"$to/index.html"
