#!/bin/bash
# SPDX-License-Identifier: MIT
#
# setup.sh STEP...: install from apt what the steps of run.sh need and this machine lacks, saying what.
# Never fails: a step whose tools could not be had says so itself and is skipped.
set -euo pipefail

# what must be there, its package, the steps that need it (/: a file, lib:NAME: pkg-config's). "rust" is what examples add with --full: rustc
# is 55 MB to download and 270 MB on disk, besides the LLVM that clang needs too.
needs() {
	local build="gcc clang asan tsan libabi install package mutants examples long cross musl speed coverage ownkernel debugkernel"
	local ours="ownkernel debugkernel"
	cat <<-END
		gcc                 gcc              $build bench real modelcheck analyze
		/usr/include/stdio.h libc6-dev       $build bench real modelcheck analyze
		make                make             $build bench real
		cmake               cmake            $build real
		pkg-config          pkg-config       $build real
		lib:check           check            gcc clang asan tsan libabi mutants real long speed coverage $ours
		aarch64-linux-gnu-gcc gcc-aarch64-linux-gnu cross
		/usr/aarch64-linux-gnu/include/stdio.h libc6-dev-arm64-cross cross
		s390x-linux-gnu-gcc gcc-s390x-linux-gnu cross
		/usr/s390x-linux-gnu/include/stdio.h libc6-dev-s390x-cross cross
		i686-linux-gnu-gcc  gcc-i686-linux-gnu cross
		/usr/i686-linux-gnu/include/stdio.h libc6-dev-i386-cross cross
		qemu-s390x          qemu-user        cross
		musl-gcc            musl-tools       musl
		/usr/include/linux/vfio.h linux-libc-dev musl
		clang               clang            clang docs fuzz
		llvm-cov            llvm             fuzz
		/usr/lib/llvm-14/lib/clang/14.0.6/lib/linux/libclang_rt.fuzzer-x86_64.a libclang-rt-14-dev fuzz
		g++                 g++              install
		/usr/share/build-essential/list build-essential package
		dpkg-buildpackage   dpkg-dev         package
		dh                  debhelper        package
		lintian             lintian          package
		/usr/share/python3-pycparser python3-pycparser install
		/usr/include/$(uname -m)-linux-gnu/sys/sdt.h systemtap-sdt-dev install
		patch               patch            mutants fuzz proof
		frama-c             frama-c-base     proof
		why3                why3             proof
		z3                  z3               proof
		cvc4                cvc4             proof
		clang-tidy          clang-tidy       tidy
		clang-format        clang-format     format
		cppcheck            cppcheck         cppcheck
		shellcheck          shellcheck       shellcheck
		qemu-system-x86_64  qemu-system-x86  bench real examples long speed $ours
		cpio                cpio             bench real examples long speed $ours
		xz                  xz-utils         bench real examples long speed $ours
		modprobe            kmod             bench real examples long speed $ours
		strace              strace           real long
		flex                flex             $ours
		bison               bison            $ours
		bc                  bc               $ours
		/usr/include/libelf.h libelf-dev     $ours
		abidw               abigail-tools    libabi
		valgrind            valgrind         speed
		spin                spin             modelcheck
		tcc                 tcc              modelcheck
		/usr/include/roaring/roaring.h libroaring-dev speed
		mandoc              mandoc           docs
		xmllint             libxml2-utils    docs
		jq                  jq               examples
		/usr/bin/python3    python3          examples
		rustc               rustc            rust
		lib:libdpdk         libdpdk-dev      examples
		dpdk-testpmd        dpdk-dev         examples
	END
}

has() {
	case $1 in
	/*) [ -e "$1" ] ;;
	lib:*) pkg-config --exists "${1#lib:}" 2>/dev/null ;;
	*) command -v "$1" >/dev/null ;;
	esac
}

missing() {
	local what package steps step
	while read -r what package steps; do
		for step; do
			[[ " $steps " != *" $step "* ]] || has "$what" || echo "$package"
		done
	done < <(needs) | sort -u
}

as_root() {
	if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi
}

apt() {
	as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=120 "$@"
}

# A fresh image has no package lists, an old one has lists of what is gone.
install() {
	apt-cache show "$1" >/dev/null 2>&1 || apt update || return
	apt install --no-install-recommends "$@" ||
		{ apt update && apt install --no-install-recommends "$@"; } || one_by_one "$@"
}

# What cannot be had must not keep the others out.
one_by_one() {
	local package failed=0
	for package; do
		apt install --no-install-recommends "$package" || failed=1
	done
	return "$failed"
}

PATH=$PATH:/usr/sbin:/sbin
mapfile -t packages < <(missing "$@")
[ ${#packages[@]} -gt 0 ] || exit 0

log=${VFD_SETUP_LOG:-/dev/null}
if ! command -v apt-get >/dev/null; then
	echo "setup: this machine has no apt; missing, by their Debian names: ${packages[*]}"
elif [ "$(id -u)" != 0 ] && ! sudo -n true 2>/dev/null; then
	echo "setup: neither root nor sudo, so these stay missing: ${packages[*]}"
else
	echo "setup: installing from apt: ${packages[*]}"
	install "${packages[@]}" >"$log" 2>&1 </dev/null || {
		tail -n 5 "$log" 2>/dev/null | sed 's/^/setup: /'
		echo "setup: not everything could be installed"
	}
fi
