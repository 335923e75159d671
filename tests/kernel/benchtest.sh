#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Does run.sh tell the truth? Exit codes, output, files, timeout, complaints of
# the kernel, two runs at once. "benchtest.sh debug": does the debug kernel see
# what it is there to see?
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
passed=0 failed=0

check() {
	local what=$1
	shift
	if "$@"; then
		passed=$((passed + 1))
		echo "ok $((passed + failed)) - $what"
	else
		failed=$((failed + 1))
		echo "not ok $((passed + failed)) - $what"
		sed 's/^/# /' "$tmp"/*.out "$tmp"/*.err 2>/dev/null || true
	fi
}

# run NAME OPTIONS...: leaves NAME.out, NAME.err and the exit code in NAME.code
run() {
	local name=$1 code=0
	shift
	"$here/run.sh" "$@" >"$tmp/$name.out" 2>"$tmp/$name.err" || code=$?
	echo "$code" >"$tmp/$name.code"
}

code_is() { [ "$(cat "$tmp/$1.code")" = "$2" ]; }
says() { grep -q -- "$2" "$tmp/$1"; }

# shellcheck disable=SC2016 # for the guest's shell
talk='echo "out $1"; echo "err $WHO" >&2; pwd; cat /data/in; echo kept >/out/kept; exit 37'

test_talk() {
	echo carried >"$tmp/in"
	run talk --out "$tmp/back" --file "$tmp/in:/data/in" --env "WHO=it's me" \
		-- /bin/bash -c "$talk" bash "a  b"
	check "the exit code passes through" code_is talk 37
	check "stdout, arguments kept as they are" says talk.out '^out a  b$'
	check "stderr, environment" says talk.err "^err it's me$"
	check "the same working directory" says talk.out "^$PWD$"
	check "files go in" says talk.out '^carried$'
	check "files come back" grep -q kept "$tmp/back/kept"
	check "nothing of the kernel's log is mixed in" [ "$(wc -l <"$tmp/talk.out")" = 3 ]
}

# One that is found here by LD_LIBRARY_PATH, in a directory that nobody looks into there
test_library() {
	mkdir "$tmp/lib"
	echo 'int answer(void) { return 42; }' | "${CC:-gcc}" -xc -shared -fPIC -Wl,-soname,libbenchtest.so.1 -o "$tmp/lib/libbenchtest.so.1" -
	echo 'int answer(void); int main(void) { return answer(); }' | "${CC:-gcc}" -o "$tmp/asks" -xc - -xnone "$tmp/lib/libbenchtest.so.1"
	LD_LIBRARY_PATH=$tmp/lib run library -- "$tmp/asks"
	check "a library that only the loader here finds goes in, and is found" code_is library 42
	run missing -- "$tmp/asks"
	check "one that it does not find is named" says missing.err 'libbenchtest.so.1 => not found'
	check "with what to do" says missing.err 'LD_LIBRARY_PATH=DIRECTORY'
	check "and that is 121" code_is missing 121
}

# What takes long says how far it is; what fails says why; all else is silent.
test_patience() {
	cat >"$tmp/patience" <<-END
		. "$here/packages.sh"
		far() { echo half-way; }
		patiently far sh -c "\$1"
	END
	bash -euo pipefail "$tmp/patience" 'sleep 11; echo noise' >"$tmp/long.out" 2>"$tmp/long.err"
	check "what takes ten seconds says how far it is, once" [ "$(grep -c half-way "$tmp/long.err")" = 1 ]
	check "and nothing else" [ "$(cat "$tmp/long.out" "$tmp/long.err" | wc -l)" = 1 ]
	bash -euo pipefail "$tmp/patience" 'echo why; exit 3' >"$tmp/fail.out" 2>"$tmp/fail.err" || echo $? >"$tmp/fail.code"
	check "what fails says why" says fail.err '^why$'
	check "and its code passes through" code_is fail 3
}

test_timeout() {
	run slow --timeout 2 -- /bin/sleep 60
	check "a timeout is 124" code_is slow 124
}

# A program that asks the test device to do wrong: $1 is the number of the knob.
build_complainer() {
	cat >"$tmp/complain.c" <<-END
		#include <fcntl.h>
		#include <stdlib.h>
		#include <sys/ioctl.h>
		#include "vfdtest.h"
		int main(int argc, char **argv)
		{
			struct vfdtest_set s = { .knob = atoi(argv[argc - 1]) };
			return ioctl(open(VFDTEST_PATH, O_RDWR), VFDTEST_SET, &s) ? 1 : 0;
		}
	END
	"${CC:-gcc}" -static -I "$here" -o "$tmp/complain" "$tmp/complain.c"
}

build_race() { "${CC:-gcc}" -static -pthread -o "$tmp/race" "$here/race.c"; }

knob() { sed -nE "s/^#define $1[[:space:]]+([0-9]+)\$/\1/p" "$here/vfdtest.h"; }

test_complaints() {
	run warn -- "$tmp/complain" "$(knob VFDTEST_WARN)"
	check "a WARN is 120, though the program (a static one) was content" code_is warn 120
	check "and is shown" says warn.err 'WARNING: .*vfdtest'
	run crash -- /bin/bash -c 'echo c >/proc/sysrq-trigger'
	check "so is a panic" code_is crash 120
	check "and is shown" says crash.err 'Kernel panic'
}

test_debug() {
	run clean --kernel debug -- /bin/true
	check "the debug kernel has nothing to say of itself" code_is clean 0
	run byte --kernel debug -- "$tmp/complain" "$(knob VFDTEST_PAST_END)"
	check "it sees one byte read past an allocation" code_is byte 120
	check "and says so" says byte.err 'KASAN: slab-out-of-bounds in complain_past_end'
	run order --kernel debug --log "$tmp/order.log" -- "$tmp/complain" "$(knob VFDTEST_LOCK_ORDER)"
	check "it sees two locks taken in both orders" code_is order 120
	check "and says so" says order.err 'possible circular locking dependency'
	check "that lockdep is off then is told too" says order.log 'BUG: lockdep is off'
	run race --kernel debug -- "$tmp/race"
	check "trap 6: plain ioctls that race the last detach are 120" code_is race 120
	check "and it says why: freed memory is used" says race.err 'KASAN: slab-use-after-free'
	run blind --kernel stock -- "$tmp/complain" "$(knob VFDTEST_PAST_END)"
	check "a stock kernel would not see it, and is not asked" code_is blind 1
}

test_use() {
	run none -- /no/such/program
	check "wrong use is 121" code_is none 121
	run mod --modprobe no_such_module -- /bin/true
	check "so is a module that does not exist" code_is mod 121
	run mod --modprobe zram:num_devices=3 --no-viommu -- /bin/ls /dev /sys/class/iommu
	check "one that does is loaded, with its parameters" says mod.out zram2
	check "without an emulated IOMMU there is none" code_is mod 0
}

test_two() {
	run one --ndevices 4 -- /bin/cat /run/vfdtest &
	run two --ndevices 1 -- /bin/cat /run/vfdtest &
	wait
	check "two runs at once: the first has its 4 devices" [ "$(wc -l <"$tmp/one.out")" = 4 ]
	check "the second its own" [ "$(wc -l <"$tmp/two.out")" = 1 ]
}

build_complainer
case ${1:-} in
'')
	test_talk
	test_library
	test_patience
	test_timeout
	test_complaints
	test_use
	test_two
	;;
debug)
	build_race
	test_debug
	;;
*) echo "usage: benchtest.sh [debug]" >&2 && exit 2 ;;
esac
echo "1..$((passed + failed))"
echo "$passed passed, $failed failed, 0 skipped"
[ "$failed" = 0 ]
