#!/bin/bash
# SPDX-License-Identifier: MIT
#
# package.sh: build the Debian packages, twice, in copies of the tree: the same bytes? Does lintian agree? Installed in a root of their
# own, do programs compile against them, and the tools run? TAP.
set -euo pipefail

cd "$(dirname "$0")/.."
. tests/tap.sh
here=$PWD/tests/install

need dpkg-buildpackage dh cmake gcc make pkg-config
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
root=$tmp/root
lib=$root/usr/lib/$(dpkg-architecture -qDEB_HOST_MULTIARCH)

# ---- build ------------------------------------------------------------------------

# build DIRECTORY VARIABLE...: in a copy, without what is not the project's
build() {
	local to=$1
	shift
	mkdir -p "$to"
	tar -c --exclude=./build --exclude=./.git . | tar -x -C "$to"
	(cd "$to" && env "$@" dpkg-buildpackage -us -uc -b) >"$tmp/log" 2>&1 || { tail -n 40 "$tmp/log" && return 1; }
}

same_packages() {
	local package count=0
	for package in "$tmp"/one/*.deb; do
		cmp "$package" "$tmp/other/$(basename "$package")" || return 1
		count=$((count + 1))
	done
	[ "$count" -ge 4 ]
}

# lintian_clean: neither errors nor warnings
lintian_clean() { lintian --fail-on error,warning "$tmp"/one/*.changes; }

check_packages() {
	check "another directory, time zone and language" build "$tmp/other/elsewhere" TZ=UTC-14 LC_ALL=C LANGUAGE=de
	check "gives the same packages, byte for byte" same_packages
	if command -v lintian >/dev/null; then
		check "lintian has neither errors nor warnings" lintian_clean
	else
		skip "lintian" "it is not installed"
	fi
}

# ---- install ------------------------------------------------------------------------

# What they need of other packages is that of this machine.
install_packages() {
	mkdir -p "$root/var/lib/dpkg/info" "$root/var/lib/dpkg/updates"
	: >"$root/var/lib/dpkg/status"
	dpkg --root="$root" --force-depends --install "$tmp"/one/libvfiodirty*.deb "$tmp"/one/vfiodirty-tools_*.deb
}

compile() {
	local kind=()
	[[ $1 != *static ]] || kind=(--static)
	# shellcheck disable=SC2046
	gcc -std=c11 "${kind[@]/--/-}" "$here/consumer.c" -o "$tmp/$1" $(PKG_CONFIG_SYSROOT_DIR=$root PKG_CONFIG_LIBDIR=$lib/pkgconfig \
		pkg-config "${kind[@]}" --cflags --libs libvfiodirty) && LD_LIBRARY_PATH=$lib "$tmp/$1"
}

compile_with_cmake() {
	cmake -S "$here" -B "$tmp/cmake" -DCMAKE_PREFIX_PATH="$root/usr" -DCONSUMER_CXX=OFF &&
		cmake --build "$tmp/cmake" && grep -q "^vfiodirty_DIR.*=$lib/" "$tmp/cmake/CMakeCache.txt" && "$tmp/cmake/c_shared"
}

# tool NAME ARGUMENT...
tool() { LD_LIBRARY_PATH=$lib "$root/usr/bin/$1" "${@:2}"; }

# has_page NAME.SECTION
has_page() { zcat "$root/usr/share/man/man${1##*.}/$1.gz" | grep -q .; }
has_every_page() {
	local name
	while read -r name; do
		has_page "$name.3" || { echo "$name" && return 1; }
	done < <(sed -nE 's/^[[:space:]]+(vfd_[a-z_]+);.*/\1/p' lib/libvfiodirty.map)
	for name in "$root"/usr/bin/*; do has_page "${name##*/}.1" || return 1; done
}

check_installed() {
	check "they install" install_packages
	check "C11, pkg-config, shared" compile c_shared
	check "C11, pkg-config, static" compile c_static
	check "find_package" compile_with_cmake
	check "vfd-info runs" tool vfd-info
	check "vfd-guard finds its shim" tool vfd-guard -- /bin/true
	check "each function and each tool has its page" has_every_page
}

check "packages are built, with the symbols that the map lists" build "$tmp/one/tree"
[ "$tap_failed" = 0 ] || { tap_end || exit 1; }
check_packages
if [ "$(id -u)" = 0 ]; then
	check_installed
else
	skip "they install" "dpkg wants root"
fi
tap_end
