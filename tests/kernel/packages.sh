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

megabytes() { echo "$((($1 + 999999) / 1000000)) MB"; } # rounded up

# patiently FAR COMMAND...: what it says is shown only if it fails; every ten seconds FAR says how far it is. (read waits without a child,
# which would hold our descriptors when it is over.)
patiently() {
	local far=$1 code=0 ticker log
	shift
	log=$(mktemp)
	while kill -0 $$ 2>/dev/null && ! read -rt 10 _ <> <(:); do say "    $("$far")"; done >&2 &
	ticker=$!
	"$@" >"$log" 2>&1 </dev/null || code=$?
	kill "$ticker" 2>/dev/null || true
	wait "$ticker" 2>/dev/null || true
	[ "$code" = 0 ] || cat "$log" >&2
	rm "$log"
	return "$code"
}

last_said() { tail -n 1 "$log" | sed -E 's,https?://[^ ]* ,,' | cut -c 1-70; }

install_packages() {
	local apt=(apt-get -q -y -o DPkg::Lock::Timeout=120 --no-install-recommends install "$@") size what="installing from apt"
	[ "${VFD_INSTALL:-yes}" = yes ] || die "missing, and not to be installed: $*"
	size=$("${apt[@]}" --print-uris 2>/dev/null | awk "/^'/ { sum += \$3 } END { print sum + 0 }") || size=0
	[ "$size" = 0 ] || what+=", $(megabytes "$size") to download"
	say "$what: $*"
	patiently last_said as_root env DEBIAN_FRONTEND=noninteractive "${apt[@]}"
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
	local dir=$1 apt=(apt-get -q) files file size total=0
	shift
	mkdir -p "$dir"
	# as root, apt would want to fetch as a user who cannot write here
	[ "$(id -u)" != 0 ] || apt+=(-o APT::Sandbox::User=root)
	files=$("${apt[@]}" --print-uris download "$@" | grep "^'") || return
	while read -r _ file size _; do
		say "downloading ${file%%_*}, $(megabytes "$size")"
		total=$((total + size))
	done <<<"$files"
	patiently arrived env -C "$dir" "${apt[@]}" download "$@"
}

# shellcheck disable=SC2154 # of who calls it: download_debs
arrived() { echo "$(megabytes "$(du -sb "$dir" | cut -f 1)") of $(megabytes "$total")"; }

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
