# SPDX-License-Identifier: MIT
# shellcheck shell=bash
#
# Sourced by fetch.sh and build.sh: the cache, and Debian packages unpacked into it without being installed.

# shellcheck disable=SC2034 # used by who sources this
cache=${VFD_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/libvfiodirty}

say() { printf '%s: %s\n' "$(basename "$0" .sh)" "$*" >&2; }
die() { say "$*"; exit 1; }

as_root() {
	if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

update_lists() {
	say "apt's package lists know no kernel: running apt-get update"
	as_root apt-get -q update >&2
}

install_packages() {
	[ "${VFD_INSTALL:-yes}" = yes ] || die "missing, and not to be installed: $*"
	say "installing from apt: $*"
	as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=120 \
		install --no-install-recommends "$@" >&2
}

# Install the packages whose command (or file, with its path) is missing: what:package ...
need_commands() {
	local pair missing=()
	for pair; do
		command -v "${pair%%:*}" >/dev/null || [ -e "${pair%%:*}" ] || missing+=("${pair#*:}")
	done
	[ ${#missing[@]} = 0 ] || install_packages "${missing[@]}"
}

# download_debs DIR PACKAGE...
download_debs() {
	local dir=$1 sandbox=()
	shift
	mkdir -p "$dir"
	# as root, apt would want to fetch as a user who cannot write here
	[ "$(id -u)" != 0 ] || sandbox=(-o APT::Sandbox::User=root)
	say "downloading $*"
	(cd "$dir" && apt-get -q "${sandbox[@]}" download "$@" >&2)
}

# download DIR PACKAGE...: unpack packages into DIR without installing them.
download() {
	local dir=$1 deb
	shift
	download_debs "$dir/.deb" "$@"
	for deb in "$dir"/.deb/*.deb; do
		dpkg -x "$deb" "$dir"
	done
	rm -r "$dir/.deb"
}
