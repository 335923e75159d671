#!/bin/bash
# SPDX-License-Identifier: MIT
#
# check.sh: do the words agree with the code? Every exported function has a manual page with its
# prototype, the pages are well-formed, README's program is an example that compiles, links lead somewhere, every code
# and every trap is explained, and no file speaks of a path outside the project. TAP, then a sum.
# shellcheck disable=SC2317,SC2016 # functions are called through check(); backquotes are Markdown's
set -euo pipefail

cd "$(dirname "$0")/.."
# shellcheck source=../tests/tap.sh
. tests/tap.sh
# shellcheck source=../tests/version.sh
. tests/version.sh

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
skipped=0

# ---- what there is ----------------------------------------------------------------

symbols() { sed -nE 's/^[[:space:]]+(vfd_[a-z_]+);/\1/p' lib/libvfiodirty.map | sort; }
names_of() { sed -nE 's/^\.Nm (vfd_[a-z_]+).*/\1/p' "$1"; }

documented() {
	local page
	for page in docs/man/*.3; do names_of "$page"; done | sort
}

# Text files. (A bare machine has no git to ask.)
files() {
	find . \( -path ./.git -o -path ./build \) -prune -o -type f ! -name '*.patch' ! -name '*.png' -print
}

# ---- manual pages -----------------------------------------------------------------

# name(type name, ...) with single spaces, one per line
header_prototypes() {
	find include -name '*.h' ! -name export.h -exec cat {} + | tr '\n\t' '  ' |
		grep -oE 'VFD_API [^;{]*;' | sed -E 's/VFD_API //; s/ +/ /g; s/;$//' | sort
}

page_prototypes() {
	awk '/^\.Ft /   { type = substr($0, 5) }
	     /^\.Fo /   { call = type (type ~ /\*$/ ? "" : " ") $2 "("; comma = "" }
	     /^\.Fa / && call { gsub(/^\.Fa "?|"$/, ""); call = call comma $0; comma = ", " }
	     /^\.Fc/    { print call ")"; call = "" }' docs/man/*.3 | sort
}

# As they will be installed: link pages too, so that references between pages resolve.
stage_pages() {
	local page name
	mkdir -p "$work/man"
	cp docs/man/*.[137] "$work/man"
	for page in docs/man/*.3; do
		for name in $(names_of "$page"); do
			[ -e "$work/man/$name.3" ] || echo ".so man3/${page##*/}" >"$work/man/$name.3"
		done
	done
}

# A bare machine has no pages of the system calls to refer to.
lint() {
	local found
	found=$(cd "$work/man" && mandoc -Tlint "$1" 2>&1 | grep -vE 'manual not found: Xr ([a-z]+ [12]|posix_fallocate 3)( \(|$)|mandoc.db') || true
	[ -z "$found" ] || { echo "$found" && return 1; }
}

first_name_is_file() { [ "$(names_of "$1" | head -n 1)" = "$(basename "$1" .3)" ]; }

check_pages() {
	local page
	check "every exported function has a page, and no page describes another" \
		diff <(symbols) <(documented)
	check "prototypes on pages are those of the headers" diff <(header_prototypes) <(page_prototypes)
	for page in docs/man/*.3; do check "${page##*/} begins with its own name" first_name_is_file "$page"; done
	if ! command -v mandoc >/dev/null; then
		skipped=$((skipped + 1))
		skip "pages are well-formed" "mandoc is not installed"
		return
	fi
	stage_pages
	for page in docs/man/*.[137]; do check "lint of ${page##*/}" lint "${page##*/}"; done
	check "pages as HTML: one for each function, and no link between them leads nowhere" html_leads_on
}

# Each function has a page, and a page that one refers to is there; those of the system are not.
html_leads_on() {
	local name to bad=0
	docs/html.sh "$work/html" || return 1
	for name in $(symbols); do
		[ -s "$work/html/$name.3.html" ] || { echo "$name: no page" && bad=1; }
	done
	while read -r to; do
		[ -e "$work/html/$to" ] || { echo "$to: not there" && bad=1; }
	done < <(cat "$work"/html/*.html | grep -oE 'href="[^"#]+' | cut -d'"' -f2 | grep -E '^(vf[a-z_-]+\.)' | sort -u)
	return "$bad"
}

# ---- README -----------------------------------------------------------------------

program_in() { sed -n '/^```c$/,/^```$/{/^```/d;p;}' "$1" | sed -E 's/^[[:space:]]+//'; }

# is_the_example TEXT PROGRAM: line for line, without a gap, what stands in the example
is_the_example() {
	local first lines
	program_in "$1" >"$work/text"
	sed -E 's/^[[:space:]]+//' "$2" >"$work/program"
	lines=$(wc -l <"$work/text")
	[ "$lines" -gt 5 ] || { echo "no program in $1" && return 1; }
	first=$(grep -nxF "$(head -n 1 "$work/text")" "$work/program" | cut -d: -f1)
	diff <(tail -n "+$first" "$work/program" | head -n "$lines") "$work/text"
}

compiles() {
	"$1" -std=c11 -D_GNU_SOURCE -Wall -Wextra -Wconversion -Wshadow -Werror -fsyntax-only -Iinclude -Itests/kernel "$2"
}

compiles_all() {
	local program
	for program in hello first-program first-vmm viommu why-dirty; do compiles "$1" "examples/$program.c" || return 1; done
}

check_readme() {
	local compiler
	check "README's program is that of examples/hello.c" is_the_example README.md examples/hello.c
	check "the first program is that of examples/first-program.c" is_the_example docs/first-program.md examples/first-program.c
	check "the first VMM is that of examples/first-vmm.c" is_the_example docs/first-vmm.md examples/first-vmm.c
	check "the vIOMMU is that of examples/viommu.c" is_the_example docs/viommu.md examples/viommu.c
	check "who is dirty is that of examples/why-dirty.c" is_the_example docs/convergence.md examples/why-dirty.c
	check "the driver is that of examples/nvme/io.c" is_the_example docs/userspace-driver.md examples/nvme/io.c
	for compiler in gcc clang; do
		if command -v "$compiler" >/dev/null; then
			check "they compile with $compiler" compiles_all "$compiler"
		else
			skipped=$((skipped + 1))
			skip "they compile with $compiler" "$compiler is not installed"
		fi
	done
}

# ---- links, codes, traps, paths ---------------------------------------------------------

# What headings are called in links.
anchors() {
	sed -n '/^```/,/^```/d; s/^##* //p' "$1" | sed -E 's/\[([^]]*)\]\([^)]*\)/\1/g' | tr '[:upper:]' '[:lower:]' | sed -E 's/[^a-z0-9_ -]//g; s/ /-/g'
}

links_exist() {
	local file=$1 link target bad=0
	while read -r link; do
		target=${link%%#*}
		target=${target:+$(dirname "$file")/$target}
		target=${target:-$file}
		[ -e "$target" ] || { echo "$link is not there" && bad=1; }
		[[ $link != *#* ]] || anchors "$target" | grep -xF -e "${link#*#}" >/dev/null || { echo "$link: no such heading" && bad=1; }
	done < <(tr '\n' ' ' <"$file" | grep -oE '\]\([^) ]+\)' | sed -E 's/^\]\(//; s/\)$//' | grep -vE '^[a-z]+:' || true)
	return "$bad"
}

codes_explained() {
	local code bad=0
	while read -r code; do
		grep -q "^| \`$code\`" docs/errors.md || { echo "$code: not in docs/errors.md" && bad=1; }
		grep -q "^\.It Dv $code\$" docs/man/vfd_strerror.3 || { echo "$code: not in vfd_strerror.3" && bad=1; }
	done < <(sed -nE 's/^[[:space:]]+(VFD_E[A-Z]+) = -.*/\1/p' include/vfiodirty/error.h)
	return "$bad"
}

values_agree() {
	diff <(sed -nE 's/^[[:space:]]+(VFD_E[A-Z]+) = -([0-9]+).*/\1 \2/p' include/vfiodirty/error.h) \
		<(sed -nE 's/^\| `(VFD_E[A-Z]+)` −([0-9]+) .*/\1 \2/p' docs/errors.md)
}

trap_rows() { sed -nE 's/^\| ([0-9]+) \| .*\| (.*) \|$/\1 \2/p' docs/kernel-contract.md; }

# Every number from 1 to 51 once, and a test with that number for each but those that have none.
traps_tested() {
	local number test bad=0
	diff <(seq 51) <(trap_rows | cut -d' ' -f1) || bad=1
	while read -r number test; do
		[[ $test == *none* ]] || grep -qrE "add_trap\(suite, $number,|trap$number\b" tests/unit ||
			{ echo "trap $number: no test in tests/unit has its number" && bad=1; }
		[[ ! $test =~ ^(test_[a-z_]+) ]] || [ -e "tests/unit/${BASH_REMATCH[1]}.c" ] ||
			{ echo "trap $number: there is no ${BASH_REMATCH[1]}" && bad=1; }
	done < <(trap_rows)
	return "$bad"
}

# Files and functions that the tables of traps and floors name.
code_named_exists() {
	local name bad=0
	for name in $(grep -E '^\| [0-9]+ \|' docs/kernel-contract.md | grep -oE '`[a-z0-9_]+\.[ch]`' | tr -d '\`' | sort -u); do
		[ -e "lib/$name" ] || { echo "lib/$name is not there" && bad=1; }
	done
	for name in $(grep -E '^\| [0-9]+ \|' docs/kernel-contract.md | grep -oE '[a-z][a-z0-9_]+\(\)' | tr -d '()' | sort -u); do
		grep -qrE "\b$name\(" lib || [[ $name == vfio_* ]] || { echo "$name() is not in lib" && bad=1; }
	done
	return "$bad"
}

# Everything that has to name the version, or the number in the library's name, without reading it from the header
versions_agree() {
	local major=${version%%.*} bad=0 place
	grep -qE "^## \\[$version\\]" CHANGELOG.md || { echo "CHANGELOG.md has no section [$version]" && bad=1; }
	head -n 1 debian/changelog | grep -qE "^libvfiodirty \\($version(~rc[0-9]+)?\\) " || { echo "debian/changelog is of another version" && bad=1; }
	grep -qx "Package: libvfiodirty$major" debian/control || { echo "debian/control: no libvfiodirty$major" && bad=1; }
	grep -qE "^$soname libvfiodirty$major " "debian/libvfiodirty$major.symbols" || { echo "debian/libvfiodirty$major.symbols: not of $soname" && bad=1; }
	while read -r place; do
		grep -qF "(symver)$place " "debian/libvfiodirty$major.symbols" || { echo "$place: not in debian's symbols" && bad=1; }
	done < <(grep -oE '^VFIODIRTY_[0-9.]+' lib/libvfiodirty.map)
	! grep -rnoE 'libvfiodirty\.so\.[0-9]+' README.md docs examples | grep -v ":$soname\$" || bad=1
	return "$bad"
}

floors_complete() {
	local file name floors bad=0
	floors=$(sed -n '/^## 3\./,/^## 4\./p' docs/design.md)
	for file in lib/*.c; do
		name=$(basename "$file" .c)
		grep -qE "\`$name(\.c)?\`" <<<"$floors" ||
			{ echo "$file is on no floor of docs/design.md" && bad=1; }
	done
	return "$bad"
}

no_foreign_paths() {
	local found
	found=$(files | xargs -d '\n' grep -nIE '/wor[k]/[a-z]|/tmp/[h]elpers|/hom[e]/[a-z]|\b[s]hared/[a-z-]+\.md' 2>/dev/null || true)
	[ -z "$found" ] || { echo "$found" && return 1; }
}

pictures_well_formed() {
	local picture
	for picture in docs/*.svg; do
		if command -v xmllint >/dev/null; then
			check "$picture is well-formed" xmllint --noout "$picture"
		else
			skipped=$((skipped + 1))
			skip "$picture is well-formed" "xmllint is not installed"
		fi
	done
}

calls_told() { sed -nE '/^\| `/s/^\|([^|]*)\|.*/\1/p' docs/system-calls.md | grep -oE '[a-z0-9_]+' | sort; }
calls_allowed() { sed '/#define/d' tests/real/seccomp_calls.c | grep -oE 'CALL\([a-z0-9_]+\)' | sed -E 's/CALL\((.*)\)/\1/' | sort; }

check_rest() {
	check "system calls that are listed are those of the filter" diff <(calls_told) <(calls_allowed)
	local file
	for file in README.md CHANGELOG.md CONTRIBUTING.md docs/*.md tests/kernel/README.md; do
		check "links of $file" links_exist "$file"
	done
	pictures_well_formed
	check "what names the version names the header's" versions_agree
	check "every error code is explained" codes_explained
	check "and has its value" values_agree
	check "every trap has its row, and a test or none to have" traps_tested
	check "files and functions named with traps exist" code_named_exists
	check "every file of lib/ is on a floor" floors_complete
	check "no file names a path outside the project" no_foreign_paths
}

check_pages
check_readme
check_rest
code=0
tap_end || code=1
echo "$((tap_count - tap_failed - skipped)) passed, $tap_failed failed, $skipped skipped"
exit "$code"
