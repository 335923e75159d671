#!/bin/bash
# SPDX-License-Identifier: MIT
#
# test.sh [iommufd]: do the examples say and do what they promise? Here, and on a real kernel in QEMU.
# iommufd: only the demo on that backend, which stock kernels do not have. VFD_KERNEL says which kernel (tests/kernel/README.md).
# Prints its checks in TAP, then: N passed, N failed, N skipped.
set -euo pipefail

cd "$(dirname "$0")/.."
. tests/tap.sh

build=${VFD_EXAMPLES_BUILD:-build/examples}
skipped=0

need cmake make gcc

compile() {
	mkdir -p "$build"
	{ cmake -S . -B "$build" -DCMAKE_BUILD_TYPE=RelWithDebInfo -DVFD_TESTS=OFF -DVFD_WERROR=ON &&
		cmake --build "$build" -j "$(nproc)"; } >"$build/log" 2>&1 || {
		tail -n 40 "$build/log"
		not_ok "build the examples"
		exit 1
	}
	bin=$(realpath "$build/examples")
}

# exits CODE COMMAND...: shows the output if it ends with another code
exits() {
	local want=$1 code=0 output
	shift
	output=$("$@" 2>&1) || code=$?
	[ "$code" = "$want" ] || { printf 'exit %s, not %s\n%s\n' "$code" "$want" "$output" && return 1; }
	printf '%s\n' "$output" >"$tmp/last"
}

# says CODE TEXT COMMAND...
says() {
	local code=$1 text=$2
	shift 2
	exits "$code" "$@" || return 1
	grep -qF -e "$text" "$tmp/last" || { cat "$tmp/last" && return 1; }
}

# parsed FILE: any parser will do that nobody here wrote
parsed() {
	if command -v jq >/dev/null; then
		jq -e . "$1" >/dev/null
	else
		python3 -m json.tool "$1" >/dev/null
	fi
}

is_json() {
	if command -v jq >/dev/null || command -v python3 >/dev/null; then
		check "$1" parsed "$2"
	else
		skipped=$((skipped + 1))
		skip "$1" "neither jq nor python3 is installed"
	fi
}

# ---- arguments ------------------------------------------------------------------

wrong_use() {
	check "$1: usage and exit 2: ${*:2}" says 2 usage: "$@"
}

test_arguments() {
	local program
	for program in examples/demo.sh "$bin/vfd-demo" "$bin/vfd-info" "$bin/vfd-nvme" "$bin/vfd-state" "$bin/vfd-migrate" "$bin/vfd-vmm" "$bin"/vfd-adopt* "$bin/vfd-guard" "$bin/vfd-top"; do
		check "$(basename "$program") --help: exit 0" says 0 usage: "$program" --help
		[[ $program != */vfd-adopt-dpdk ]] || continue # it has DPDK's options, and after them its own
		wrong_use "$program" --no-such-option
		[[ $program == */vfd-guard ]] || wrong_use "$program" word
	done
	for program in examples/demo.sh "$bin/vfd-demo"; do
		wrong_use "$program" --runs 0
		wrong_use "$program" --runs 1001
		wrong_use "$program" --runs ten
		wrong_use "$program" --size 17
		wrong_use "$program" --size
	done
	wrong_use examples/demo.sh --image /no/such/file
	wrong_use examples/demo.sh --rebind
	wrong_use examples/demo.sh --backend none
	wrong_use "$bin/vfd-demo" --backend none
	wrong_use "$bin/vfd-info" --backend none
	wrong_use "$bin/hello"
	wrong_use "$bin/viommu"
	wrong_use "$bin/why-dirty"
	wrong_use "$bin/vfd-state" save
	wrong_use "$bin/vfd-migrate" send
	wrong_use "$bin/vfd-migrate" receive unix:x --channels 9
	wrong_use "$bin/vfd-migrate" send unix:x --memory 0
	wrong_use "$bin/vfd-nvme" 0000:00:01.0 --blocks 0
	wrong_use "$bin/vfd-nvme" --blocks 1
	wrong_use "$bin/vfd-nvme" 0000:00:01.0 --blocks 1 --receive unix:x
	wrong_use "$bin/vfd-nvme" 0000:00:01.0 --send unix:x
	wrong_use "$bin/vfd-vmm" --memory 31
	wrong_use "$bin/vfd-vmm" --vcpus 3
	wrong_use "$bin/vfd-vmm" --work 3
	wrong_use "$bin/vfd-vmm" --initrd file
	wrong_use "$bin/vfd-adopt" --type 3 1 edu
	wrong_use "$bin/vfd-adopt" --type 1 --tracking 1 edu
	wrong_use "$bin/vfd-top" 1 2
	wrong_use "$bin/vfd-top" 0
	wrong_use "$bin/vfd-top" --bandwidth 0 1
	wrong_use "$bin/vfd-top" --arena file 1
	[ -e "$bin/vfd-adopt-dpdk" ] || return 0
	wrong_use "$bin/vfd-adopt-dpdk" -- --no-such-option
	wrong_use "$bin/vfd-adopt-dpdk" -- --rounds 0
	wrong_use "$bin/vfd-adopt-dpdk" -- word
}

# ---- a machine without VFIO, and a made-up one ------------------------------------

test_without_vfio() {
	mkdir -p "$tmp/empty"
	check "vfd-info: a clear sentence where there is no VFIO" \
		says 0 "This machine cannot use VFIO now" "$bin/vfd-info" --root "$tmp/empty"
	"$bin/vfd-info" --root "$tmp/empty" --json >"$tmp/empty.json"
	is_json "vfd-info --json: parses where there is no VFIO" "$tmp/empty.json"
	check "vfd-info: exit 0 on this machine" exits 0 "$bin/vfd-info"
	"$bin/vfd-info" --json >"$tmp/here.json"
	is_json "vfd-info --json: parses on this machine" "$tmp/here.json"
	check "vfd-nvme: refuses what is not there" says 1 "refused" "$bin/vfd-nvme" 0000:ff:1f.7 --blocks 1
	[ ! -e /dev/vfio/vfio ] || return 0
	check "hello: says what is missing" says 1 "/dev/vfio/vfio" "$bin/hello" 1 0000:00:01.0
	check "vfd-demo: says where it runs" says 1 "demo.sh boots" "$bin/vfd-demo"
}

# ---- a migration of plain memory ----------------------------------------------------

# moved URI OPTION...: does the same arrive that was sent?
moved() {
	local uri=$1 code=0
	rm -f "$tmp/socket"
	"$bin/vfd-migrate" receive "$uri" --memory 32 2>"$tmp/received" &
	local receiver=$!
	for _ in {1..100}; do
		"$bin/vfd-migrate" send "$uri" --memory 32 "${@:2}" 2>"$tmp/sent" && break
		grep -qE 'No such file|refused$' "$tmp/sent" || code=1
		[ "$code" = 0 ] || break
		sleep 0.05
	done
	wait "$receiver" || code=1
	same "$(grep '^memory' "$tmp/sent")" "$(grep '^memory' "$tmp/received")" || code=1
	[ "$code" = 0 ] || { cat "$tmp/sent" "$tmp/received" && return 1; }
}

# By way of a program: what ssh would be on two machines.
moved_by_program() {
	"$bin/vfd-migrate" send "exec:'$bin/vfd-migrate' receive stdio: --memory 32 2>'$tmp/received'" --memory 32 2>"$tmp/sent" || return 1
	same "$(grep '^memory' "$tmp/sent")" "$(grep '^memory' "$tmp/received")"
}

test_migrate() {
	check "vfd-migrate, unix:" moved "unix:$tmp/socket"
	check "vfd-migrate, unix:, 4 channels, a bandwidth limit, --json" moved "unix:$tmp/socket" --channels 4 --bandwidth 100 --json
	grep '^{' "$tmp/sent" >"$tmp/events.json"
	is_json "vfd-migrate --json: parses" "$tmp/events.json"
	check "vfd-migrate, tcp:" moved "tcp:127.0.0.1:$((20000 + RANDOM % 10000))"
	check "vfd-migrate, exec: and stdio:" moved_by_program
	check "vfd-migrate: other memory at the destination is refused" \
		says 1 "33554432 at 0x0 here" "$bin/vfd-migrate" send "exec:'$bin/vfd-migrate' receive stdio: --memory 32 2>/dev/null" --memory 16
	check "vfd-migrate: and the guest goes on" grep -q "the guest runs here, as before" "$tmp/last"
	check "vfd-migrate: nobody there" says 1 "No such file" "$bin/vfd-migrate" send "unix:$tmp/nobody"
}

# make_group NUMBER NODE NAME DEVICE DRIVER
make_group() {
	local dir=$tmp/made/sys/kernel/iommu_groups/$1
	mkdir -p "$dir/devices/$4" "$tmp/made/dev/vfio"
	[ -z "$2" ] || : >"$tmp/made/dev/vfio/$2"
	[ -z "$3" ] || echo "$3" >"$dir/name"
	[ -z "$5" ] || ln -s "/sys/bus/x/drivers/$5" "$dir/devices/$4/driver"
}

nasty=$'quote" back\\slash tab\t line\n end'

make_machine() {
	make_group 7 7 vfio-noiommu mdev-7 someone
	make_group 8 8 '' 0000:08:00.0 vfio-pci
	make_group 9 noiommu-9 vfio-noiommu 0000:09:00.0 vfio-pci
	make_group 10 '' '' "$nasty" "$nasty"
	: >"$tmp/made/dev/vfio/vfio"
}

# field GROUP EXPRESSION
field() {
	jq -r ".groups[] | select(.number == $1) | $2" "$tmp/made.json"
}

same() {
	[ "$1" = "$2" ] || { printf '%s\nis not\n%s\n' "$1" "$2" && return 1; }
}

test_made_up() {
	make_machine
	"$bin/vfd-info" --root "$tmp/made" --json >"$tmp/made.json"
	is_json "vfd-info --json: parses with quotes, backslashes and newlines in names" "$tmp/made.json"
	command -v jq >/dev/null || {
		skipped=$((skipped + 1))
		skip "vfd-info: the rules, on a made-up machine" "jq is not installed"
		return 0
	}
	check "vfd-info: such a name comes out whole" same "$(field 10 '.devices[0].name')" "$nasty"
	check "vfd-info: emulated: exact" same "$(field 7 '.kind + " " + .devices[0].tracking')" "emulated exact"
	check "vfd-info: physical: deferred" same "$(field 8 '.kind + " " + .devices[0].tracking')" "physical deferred"
	check "vfd-info: no-IOMMU: none" same "$(field 9 '.kind + " " + .devices[0].tracking')" "no-IOMMU none"
	check "vfd-info: not given to VFIO: no node" same "$(field 10 .node)" null
	check "vfd-info: says that it only read sysfs" same "$(field 7 '.devices[0].decided_by')" sysfs
	check "vfd-info: counts" says 0 "3 of 4 IOMMU groups are given to VFIO; dirty tracking is exact for 1 of them" \
		"$bin/vfd-info" --root "$tmp/made"
}

# ---- other languages ---------------------------------------------------------------

without() {
	skipped=$((skipped + 1))
	skip "$1" "$2"
}

# header_agrees: a program on stdin that says what the header is taken for
header_agrees() {
	gcc -std=c11 -Wall -Werror -Iinclude -fsyntax-only -xc -
}

python_layout() { /usr/bin/python3 -B examples/python/layout.py | header_agrees; }

# Its asserts are C's, but for the words.
rust_layout() {
	local said
	said=$(sed -nE 's/^ *assert!\(size_of::<(.*)>\(\) == ([0-9]+)\);/_Static_assert(sizeof(struct \1) == \2, "\1");/p' examples/rust/hello.rs)
	[ -n "$said" ] && printf '#include <vfiodirty.h>\n%s\n' "$said" | header_agrees
}

compile_rust() {
	rustc --edition 2021 -O -D warnings -C strip=symbols -L "native=$build" -l vfiodirty \
		-C "link-arg=-Wl,-rpath,$(realpath "$build")" -o "$bin/hello-rust" examples/rust/hello.rs
}

test_rust() {
	rm -f "$bin/hello-rust"
	check "rust: structs are as long as the header's" rust_layout
	command -v rustc >/dev/null || { without "rust" "rustc is not installed" && return; }
	check "rust: hello.rs is compiled, without a warning" compile_rust
	wrong_use "$bin/hello-rust"
}

# The picture is drawn anew, on the real kernel; and is the one that is kept.
test_python() {
	/usr/bin/python3 -c 'import ctypes' 2>/dev/null || { without "python" "python3 is not installed" && return; }
	check "python: structs and numbers are the header's" python_layout
	check "python: each of 120 harvests is what the device wrote" \
		says 0 "; 120 are exactly what the device wrote" examples/python/picture.sh "$build/libvfiodirty.so" "$tmp/dirty-pages.svg"
	check "python: the picture is docs/dirty-pages.svg" cmp "$tmp/dirty-pages.svg" docs/dirty-pages.svg
}

# ---- on the real kernel -----------------------------------------------------------

boot() {
	local name files=()
	truncate -s 64M "$tmp/disk"
	[ ! -e "$bin/hello-rust" ] || files+=(--file "$bin/hello-rust:$bin/hello-rust")
	for name in vfd-info hello first-program viommu why-dirty vfd-demo vfd-nvme vfd-state vfd-migrate; do
		files+=(--file "$bin/$name:$bin/$name")
	done
	tests/kernel/run.sh --timeout 600 --append clearcpuid=erms,fsrm --migration 7 --out "$tmp/out" \
		--device edu --bind 1234:11e8 --modprobe nvme --modprobe ext4 \
		--qemu-arg -drive --qemu-arg "file=$tmp/disk,if=none,id=disk,format=raw" --device nvme,drive=disk,serial=1 \
		"${files[@]}" --file "$PWD/examples/test-guest.sh:/test-guest.sh" -- /bin/sh /test-guest.sh "$bin"
}

# leaves FILE COMMAND...: boots, and what runs in the guest comes as far as that file: what is judged below is there
leaves() {
	"${@:2}" || return 1
	[ -s "$tmp/out/$1" ] || { echo "the guest left no $1" && return 1; }
}

# left NAME CODE TEXT: what the guest left
left() {
	if ! same "$(cat "$tmp/out/$1.code")" "$2" || ! grep -qF -e "$3" "$tmp/out/$1"; then
		cat "$tmp/out/$1"
		return 1
	fi
}

# section FILE GROUP: what vfd-info says of one group
section() {
	sed -n "/^Group $2:/,/^\$/p" "$tmp/out/$1"
}

section_says() {
	section "$1" "$2" | grep -qF -e "$3" || { cat "$tmp/out/$1" && return 1; }
}

test_info_on_kernel() {
	check "vfd-info, vfdtest: exact, by sysfs" section_says info "$vfdtest_group" "exact (judged by sysfs)"
	check "vfd-info, edu: deferred, by sysfs" section_says info "$edu_group" "deferred (judged by sysfs)"
	check "vfd-info --attach, vfdtest: exact, the kernel was asked" \
		section_says info-attach "$vfdtest_group" "exact (the kernel was asked)"
	check "vfd-info --attach, vfdtest: which rule" section_says info-attach "$vfdtest_group" "vfio-noiommu"
	check "vfd-info --attach, edu: deferred, the kernel was asked" \
		section_says info-attach "$edu_group" "deferred (the kernel was asked)"
	check "vfd-info --attach, edu: which rule" section_says info-attach "$edu_group" 'it answers "all dirty"'
	check "vfd-info --attach, edu: the hole in its IOVAs" section_says info-attach "$edu_group" "0 to 0xfedfffff"
	check "vfd-info --attach: bitmap limit" section_says info-attach "$edu_group" "at most 256 MiB"
	check "vfd-info --attach: mappings left" section_says info-attach "$edu_group" "65535"
	is_json "vfd-info --attach --json: parses" "$tmp/out/info-json"
}

refused() {
	check "demo --host: $2" left "$1" 1 "$3"
}

# Its state is a file like any other: whole, cut short, damaged. Before Linux 6.2 the kernel knows no PRE_COPY, and the test device no states.
test_state_on_kernel() {
	check "vfd-state info, edu: it cannot" left state-edu 0 "it cannot migrate"
	check "vfd-state save, edu: refused" left state-save-edu 1 "has no state STOP_COPY"
	if grep -q "it cannot migrate" "$tmp/out/state-info"; then
		skipped=$((skipped + 1))
		skip "vfd-state, vfdtest" "this kernel knows no PRE_COPY"
		return
	fi
	check "vfd-state info: what it can" left state-info 0 "it migrates, P2P, PRE_COPY"
	check "vfd-state info: about how much" left state-info 0 "bytes in STOP_COPY; it is in RUNNING"
	check "vfd-state save: there is something" test -s "$tmp/out/state-save"
	check "vfd-state load: into another" same "$(cat "$tmp/out/state-load.code")" 0
	check "vfd-state load: which then saves the same" cmp "$tmp/out/state-save" "$tmp/out/state-again"
	check "vfd-state load: cut short, refused" left state-short 1 "from RESUMING to STOP"
	check "vfd-state load: too long, refused" left state-long 1 "it is in RESUMING now"
}

# memory_of NAME: what vfd-migrate says of its memory in the end
memory_of() {
	grep '^memory' "$tmp/out/$1" || echo "$1: nothing"
}

test_migrate_on_kernel() {
	check "vfd-migrate, edu: it does not migrate, and is quiesced" left migrate-edu 0 "33554432 bytes deferred to the end"
	check "vfd-migrate, edu: --verbose tells that what was deferred is paid" \
		left migrate-edu 0 " pages are assumed dirty: nobody reports what their device writes"
	check "vfd-migrate, edu: the same memory arrives" same "$(memory_of migrate-edu)" "$(memory_of migrate-edu-there)"
	if grep -q "it cannot migrate" "$tmp/out/state-info"; then
		skipped=$((skipped + 1))
		skip "vfd-migrate, vfdtest" "this kernel knows no PRE_COPY"
		return
	fi
	check "vfd-migrate, vfdtest: its writes are reported" left migrate-vfdtest 0 " reported, 0 assumed, 0 bytes deferred"
	check "vfd-migrate, vfdtest: the same memory arrives" same "$(memory_of migrate-vfdtest)" "$(memory_of migrate-vfdtest-there)"
	check "vfd-migrate, vfdtest: nothing like it there: refused" left migrate-half 1 "1 devices that migrate, and here are 1 and 0"
	check "vfd-migrate, vfdtest: and the guest goes on" left migrate-half 1 "the guest runs here, as before"
	sed -n 's/^downtime/# vfd-migrate: downtime/p' "$tmp/out/migrate-vfdtest" "$tmp/out/migrate-edu"
}

test_rust_on_kernel() {
	check "rust, vfdtest: what the device wrote is what was reported" left rust-vfdtest 0 "sent 3 pages"
	check "rust, vfdtest: what it wrote before the detach as well" left rust-vfdtest 0 "sent 2 pages"
	check "rust, vfdtest: identical" left rust-vfdtest 0 "the copy is identical"
	check "rust, edu: identical" left rust-edu 0 "the copy is identical"
}

test_demo_on_kernel() {
	check "hello, vfdtest: identical" left hello-vfdtest 0 "the copy is identical"
	check "hello, edu: identical" left hello-edu 0 "the copy is identical"
	check "first-program: the pages that its device wrote" left first-program 0 "0x7000, 8192 bytes"
	check "first-program: the one that nobody harvested" left first-program 0 "found by the detach: 1 pages"
	check "first-program: identical" left first-program 0 "the copy is identical"
	[ ! -e "$bin/hello-rust" ] || test_rust_on_kernel
	check "viommu, vfdtest: exact" left viommu-vfdtest 0 "0 KiB to come at the end"
	check "viommu, vfdtest: to the end" left viommu-vfdtest 0 "nothing was lost"
	check "viommu, edu: said to be owed" left viommu-edu 0 "deferred to the last round"
	check "viommu, edu: to the end" left viommu-edu 0 "nothing was lost"
	check "why-dirty, vfdtest: five rounds" left why-vfdtest 0 "round 5: 0 pages new, 0 of them assumed"
	check "why-dirty, edu: what never becomes less" left why-edu 0 "16 MiB will be sent while the guest stands still"
	check "why-dirty, edu: who it was" grep -qE '^  .*4096 pages assumed, reason 1,' "$tmp/out/why-edu"
	check "demo: plain ioctls have their row" grep -qE '^plain ioctls +3 ' "$tmp/out/demo"
	check "demo: the library lost nothing in 3 of 3 runs" grep -qE '^libvfiodirty +3 +0 +0 +0 +3 of 3 ' "$tmp/out/demo"
	check "demo --host, edu: the plan says all-dirty" left host-edu 0 "32 MiB deferred to the last round"
	check "demo --host, edu: identical" left host-edu 0 "OK: the memory is identical"
	refused disk-bound "a device with another driver, without --rebind" "bound to nvme"
	refused disk-swap "swap" "used for swap"
	refused disk-mounted "a mounted disk" "a disk that is mounted"
	refused disk-claimed "a disk mounted out of sight" "cannot make sure that nobody uses its disk"
	check "demo --host: what was refused is untouched" same "$(cat "$tmp/out/disk-driver")" nvme
	check "demo --host --rebind: a free disk" left disk-free 0 "OK: the memory is identical"
	check "demo --host --rebind: given back" same "$(cat "$tmp/out/disk-driver-after")" nvme
	check "demo --host --rebind, interrupted while it runs: given back" left disk-interrupted 130 "given back to nvme"
	check "demo --host --rebind, interrupted: it ran" grep -q 'libvfiodirty  *1/1000 .* lost' "$tmp/out/disk-interrupted"
	check "demo --host --rebind, interrupted: with its driver again" same "$(cat "$tmp/out/disk-driver-last")" nvme
	refused not-there "no such device" "no such PCI device"
	check "vfd-nvme: refuses a disk that the kernel's driver has" left nvme-bound 1 "bound to nvme, not to vfio-pci: refused"
	check "vfd-nvme: refuses what is no NVMe controller" left nvme-edu 1 "no NVMe controller"
}

# ---- the demo on iommufd -------------------------------------------------------------

boot_iommufd() {
	rm -rf "$tmp/out"
	tests/kernel/run.sh --timeout 300 --append clearcpuid=erms,fsrm --out "$tmp/out" \
		--file "$bin/vfd-demo:$bin/vfd-demo" --file "$PWD/examples/iommufd-guest.sh:/guest.sh" -- /bin/sh /guest.sh "$bin"
}

test_iommufd_on_kernel() {
	check "the guest ran vfd-demo on iommufd, and its kernel did not complain" leaves demo boot_iommufd
	[ -s "$tmp/out/demo" ] || return 0
	if [ "$(cat "$tmp/out/iommufd")" != yes ]; then
		skipped=$((skipped + 1))
		skip "demo --backend iommufd" "this kernel has none; ours has"
		check "demo --backend iommufd, where there is none: refused" left demo 1 "/dev/iommu"
		return 0
	fi
	check "demo --backend iommufd: the library lost nothing in 10 of 10 runs" \
		grep -E '^libvfiodirty +10 +0 +0 +0 +10 of 10 ' "$tmp/out/demo"
	grep -E '^(plain ioctls|libvfiodirty) +10 ' "$tmp/out/demo" | sed 's/^/# /'
}

# ---- the NVMe driver ----------------------------------------------------------------

boot_nvme() {
	rm -rf "$tmp/out"
	truncate -s 0 "$tmp/disk" && truncate -s 64M "$tmp/disk"
	tests/kernel/run.sh --timeout 600 --out "$tmp/out" --bind 1b36:0010 \
		--qemu-arg -drive --qemu-arg "file=$tmp/disk,if=none,id=disk,format=raw" --device nvme,drive=disk,serial=1 \
		--file "$bin/vfd-nvme:$bin/vfd-nvme" --file "$PWD/examples/nvme/guest.sh:/guest.sh" \
		--file "$bin/vfd-top:$bin/vfd-top" --file "$PWD/examples/vfd-top/guest.sh:/top.sh" \
		-- /bin/sh /guest.sh "$bin/vfd-nvme" "${VFD_NVME_READS:-100000}" "$bin/vfd-top"
}

# on_disk BLOCK: the first word of a block, which is to be its number
on_disk() {
	od -An -tu8 -j $(($1 * 512)) -N 8 "$tmp/disk" | tr -d ' '
}

test_nvme_on_kernel() {
	check "the guest ran vfd-nvme, and its kernel did not complain" leaves audit-no-pins.code boot_nvme
	[ -s "$tmp/out/audit-no-pins.code" ] || return 0
	check "vfd-nvme: reads what it wrote" left verify 0 "wrote and read 5001 blocks"
	check "vfd-nvme: the last block is on the disk" same "$(on_disk 5000)" 5000
	check "vfd-nvme: nothing is behind it" same "$(on_disk 5001)" 0
	check "vfd-nvme: not more blocks than there are" left too-many 1 "has 131072 blocks only"
	check "vfd-nvme --bench: has its rows" same "$(grep -cE '^(off|on) +(1|32) ' "$tmp/out/bench")" 4
	check "vfd-nvme --migrate: the plan says software, exact" left migrate 0 "ok: the plan says pins, exact, nothing deferred"
	check "vfd-nvme --migrate: all reads were made" left migrate 0 "${VFD_NVME_READS:-100000} reads of random length"
	check "vfd-nvme --migrate: identical" left migrate 0 "ok: the copy is identical"
	check "vfd-nvme --migrate: no page too many" left migrate 0 "ok: sent is at most 1.05 times"
	check "vfd-nvme --migrate: the kernel says all pages" left migrate 0 "16384 of 16384 pages of data"
	check "vfd-top beside it: what pins mark is software, and nothing is assumed or deferred" top_beside_nvme
	check "vfd-nvme --migrate --no-pins: the copy differs" left no-pins 1 "FAILED: the copy is identical"
	check "vfd-nvme --send: to another process, which takes the controller" left move 0 "done, over"
	check "vfd-nvme --receive: with its buffers" left move-there 0 "ok: its memory is the same"
	check "vfd-nvme --receive: it reads on, and the disk has what the source wrote" left move-there 0 ": 0 differ"
	check "vfd-nvme --receive: not that controller: refused" left move-refused-there 1 "0000:ff:1f.7"
	check "vfd-nvme --send: then it goes on" left move-refused 1 "it goes on here"
	check "vfd-nvme --send: with its disk" left move-refused 1 ": 0 differ"
	test_audit_on_kernel
	grep -hE '^(all rounds|[0-9]+ reads|the kernel|tracking|off|on|[0-9]+ checks)\b' "$tmp"/out/{migrate,bench,audit,audit-no-pins} |
		sed 's/^/# /'
}

top_beside_nvme() {
	jq -e '.command == "vfd-nvme" and .log == "memfd:vfd-log" and .deferred_bytes == 0 and ([.sources[] | select(.spoils)] == [])
		and ([.sources[] | select(.provenance == "software") | .pages] | add) > 1000 and .forecast.bandwidth == 100000000' \
		"$tmp/out/migrate-top.json" || { cat "$tmp"/out/migrate-top* && return 1; }
}

test_audit_on_kernel() {
	if grep -q VFD_EUNSUPPORTED "$tmp/out/audit"; then
		skipped=$((skipped + 1))
		skip "vfd-nvme --audit" "$(tail -n 1 "$tmp/out/audit")"
		return 0
	fi
	check "vfd-nvme --audit: nothing is written without a pin" left audit 0 "ok: 0 pages were written without a pin"
	check "vfd-nvme --audit: and there were changes to judge" grep -qE '^11 checks: [1-9][0-9]{3,} changed pages' "$tmp/out/audit"
	check "vfd-nvme --audit --no-pins: it is found" left audit-no-pins 1 "not pinned, and written: "
	check "vfd-nvme --audit --no-pins: thousands of pages" grep -qE '^FAILED: [1-9][0-9]{3} pages were written' "$tmp/out/audit-no-pins"
}

# ---- programs that hand over what they own ----------------------------------------------

# What a DPDK application needs there: two ports on one wire, its drivers, and a library that glibc loads to end a thread.
add_dpdk() {
	local file port
	for port in a b; do
		machine+=(--qemu-arg -netdev --qemu-arg "hubport,id=$port,hubid=0" --device "e1000e,netdev=$port")
	done
	machine+=(--bind 8086:10d3 --memory 1024)
	for file in "$(pkg-config --variable=libdir libdpdk)"/dpdk/pmds-*/librte_{net_e1000,mempool_ring}.so.*.* \
		"$(realpath "$(gcc -print-file-name=libgcc_s.so.1)")"; do
		machine+=(--file "$file:$file")
	done
}

boot_adopt() {
	local machine=(--device edu --bind 1234:11e8 --file "$bin/vfd-adopt:$bin/vfd-adopt")
	rm -rf "$tmp/out"
	[ ! -e "$bin/vfd-adopt-dpdk" ] || { add_dpdk && machine+=(--file "$bin/vfd-adopt-dpdk:$bin/vfd-adopt-dpdk"); }
	tests/kernel/run.sh --timeout 300 --out "$tmp/out" "${machine[@]}" \
		--file "$PWD/examples/adopt/guest.sh:/guest.sh" -- /bin/sh /guest.sh "$bin"
}

# adopted NAME WHAT SOURCE: the plan, and pages that are exact
adopted() {
	check "$2: the plan says $3" left "$1" 0 "ok: the plan says $3"
	check "$2: what was written was sent" left "$1" 0 "ok: exactly what was written was sent"
	check "$2: identical" left "$1" 0 "ok: the copy is identical"
}

test_adopt_on_kernel() {
	local name
	check "the guest ran vfd-adopt, and its kernel did not complain" leaves v2-edu-pins.code boot_adopt
	[ -s "$tmp/out/v2-edu-pins.code" ] || return 0
	adopted v1-edu "vfd-adopt, v1, edu" pins
	adopted v1-vfdtest "vfd-adopt, v1, vfdtest" pins
	adopted v2-edu-pins "vfd-adopt, v2, edu, pins" pins
	check "vfd-adopt, v1, without pins: the copy differs" left v1-edu-no-pins 1 "FAILED: the copy is identical"
	check "vfd-adopt, v2, edu: the plan says deferred" left v2-edu 0 "ok: the plan says deferred"
	check "vfd-adopt, v2, edu: all pages in the last round" left v2-edu 0 "last round: 1024 pages sent"
	check "vfd-adopt, v2, edu: identical" left v2-edu 0 "ok: the copy is identical"
	for name in v2-given v2-kept v2-tracking v2-tracking-kept; do
		adopted "$name" "vfd-adopt, $name" "the type1 record"
	done
	for name in v2-tracking v2-tracking-kept; do
		check "vfd-adopt, $name: nothing was lost at the hand-over" left "$name" 0 \
			"ok: 4 pages were written before the hand-over, 4 were owed after it"
	done
	test_dpdk_on_kernel
}

test_dpdk_on_kernel() {
	[ -e "$bin/vfd-adopt-dpdk" ] || {
		skipped=$((skipped + 1))
		skip "vfd-adopt-dpdk" "libdpdk-dev 22.11 is not installed"
		return 0
	}
	check "vfd-adopt-dpdk: DPDK's container is v1" left dpdk 0 "ok: DPDK's container is type1 v1"
	check "vfd-adopt-dpdk: two devices behind an IOMMU" left dpdk 0 "2 groups, 2 of them physical, 2 devices"
	check "vfd-adopt-dpdk: the plan says pins, by software" left dpdk 0 "software: its driver pins everything"
	check "vfd-adopt-dpdk: nobody is deferred" left dpdk 0 "ok: the plan says pins"
	check "vfd-adopt-dpdk: packets arrive as they were sent" left dpdk 0 "ok: each packet is as it was sent"
	check "vfd-adopt-dpdk: pages are exact" left dpdk 0 "ok: exactly the pages with packets, and pinned, were sent"
	check "vfd-adopt-dpdk: identical" left dpdk 0 "ok: the copy is identical"
	check "vfd-adopt-dpdk, without pins: the copy differs" left dpdk-no-pins 1 "FAILED: the copy is identical"
	grep -hE '^(adopted|[0-9]+ packets|ok: exactly|last round)' "$tmp/out/dpdk" | sed 's/^/# /'
}

# ---- the VMM ------------------------------------------------------------------------------

boot_vmm() {
	local kernel
	rm -rf "$tmp/out"
	truncate -s 0 "$tmp/disk" && truncate -s 64M "$tmp/disk"
	dd if="$tmp/first-mib" of="$tmp/disk" conv=notrunc status=none
	kernel=$(examples/vmm/initrd.sh "$tmp/initrd") || return 1
	tests/kernel/run.sh --smp 1 --timeout 300 --memory 1024 --out "$tmp/out" --modprobe kvm-amd \
		--device edu --bind 1234:11e8 --bind 1b36:0010 \
		--qemu-arg -drive --qemu-arg "file=$tmp/disk,if=none,id=disk,format=raw" --device nvme,drive=disk,serial=1 \
		--file "$kernel:/vmm/vmlinux" --file "$tmp/initrd:/vmm/initrd" \
		--file "$bin/vfd-vmm:$bin/vfd-vmm" --file "$PWD/examples/vmm/guest.sh:/guest.sh" \
		-- /bin/sh /guest.sh "$bin/vfd-vmm"
}

# Lines of code that run a guest with its device: without the guest that is built in, and without what moves one.
core_is_small() {
	local lines
	lines=$(find examples/vmm -maxdepth 1 -name '*.[ch]' ! -name small.c ! -name state.c ! -name section.c ! -name view.c ! -name 'migration.[ch]' \
		-exec cat {} + | sed -E '/^[[:space:]]*$/d; /^[[:space:]]*(\/\*|\*)/d' | wc -l)
	[ "$lines" -le 2000 ] || { echo "$lines lines" && return 1; }
}

dirty_rate_has() {
	grep -qE "^ok $1" "$tmp/out/dirty-rate" || { cat "$tmp/out/dirty-rate" && return 1; }
}

test_vmm_on_kernel() {
	local first_mib
	head -c 1048576 "$bin/vfd-vmm" >"$tmp/first-mib" && truncate -s 1M "$tmp/first-mib"
	first_mib=$(md5sum <"$tmp/first-mib" | cut -d' ' -f1)
	check "vfd-vmm: its core has at most 2000 lines of code" core_is_small
	check "the guest ran vfd-vmm, and its kernel did not complain" leaves linux.code boot_vmm
	[ -s "$tmp/out/linux.code" ] || return 0
	check "vfd-vmm: the small guest's sums agree" left small 0 "small guest: 50 and 0 rounds"
	check "vfd-vmm: two vCPUs, and edu's DMA: sums agree" left small-edu 0 "small guest: "
	check "vfd-vmm: edu has copied pages" grep -qE ' [1-9][0-9]* pages copied' "$tmp/out/small-edu"
	check "vfd-vmm: status" left status 0 "ok running device=0000:"
	check "vfd-vmm: dirty-rate: what vCPUs write is in the log" dirty_rate_has 'pages=[1-9][0-9]{2,} '
	check "vfd-vmm: dirty-rate: edu cannot report" dirty_rate_has '.* deferred-bytes=67108864$'
	check "vfd-vmm: an unknown command" left unknown 1 "error unknown command"
	check "vfd-vmm: a second device is refused" left not-there 1 "is plugged already"
	check "vfd-vmm: Linux found the disk, and what is on it" left linux 0 "the first MiB $first_mib"
	check "vfd-vmm: Linux has MSI-X" left linux 0 "vfd: interrupts: 2 vectors"
	check "vfd-vmm: Linux wrote files and read them back" left linux 0 "checksums of 8 files agree"
	check "vfd-vmm: Linux resets the disk, and has its files" left linux 0 "vfd: it was reset by flr"
	check "vfd-vmm: and nothing failed there" lacks linux FAILED
	sed 's/^/# vfd-vmm: seconds of each run: /' "$tmp/out/seconds"
}

# Migrations: a Linux guest with a disk that is unplugged on the way, and the small guest with a device that goes along. Of those
# VFD_VMM_MIGRATIONS; 4.
test_moves_on_kernel() {
	local name count=${VFD_VMM_MIGRATIONS:-4}
	rm -rf "$tmp/out"
	check "the guest ran vfd-vmm's migrations, and its kernel did not complain" leaves linux-moved.code examples/vmm/boot.sh "$bin" "$tmp/out" "$count"
	[ -s "$tmp/out/linux-moved.code" ] || return 0
	test_shuttle_on_kernel "$count"
	check "vfd-vmm: while it is paused Linux gives up no disk" left paused 1 "error the guest is paused"
	check "vfd-vmm: while its disk is in use Linux does not move" left in-use 1 'but "failed"'
	check "vfd-vmm: it goes on, with the disk" left goes-on 0 "ok running device=0000:"
	check "vfd-vmm: and what was to be the destination ended" same "$(cat "$tmp/out/in-use-there.code")" 1
	check "vfd-vmm: to where its disk cannot be had Linux does not move" left refused 1 "error the destination refused: "
	check "vfd-vmm: it goes on, with the disk" left still-there 0 "ok running device=0000:"
	check "vfd-vmm: and what was to be the destination ended" left nowhere 1 "0000:ff:1f.7"
	check "vfd-vmm: Linux moves, the disk unplugged on the way" left migrate 0 "ok moved "
	check "vfd-vmm: losslessly, and nothing is deferred to the end" left migrate 0 "deferred-bytes=0"
	check "vfd-vmm: it runs there, and has the disk and its files" grep -qE 'checksums of [1-8] files agree' "$tmp/out/linux-moved"
	for name in unplug plug unplug-again quit; do
		check "vfd-vmm: there: $name" left "$name" 0 ok
	done
	for name in linux linux-moved; do
		check "vfd-vmm: $name ended well" same "$(cat "$tmp/out/$name.code")" 0
		check "vfd-vmm: $name: nothing failed in the guest" lacks "$name" FAILED
	done
	sed -n 's/^ok moved/# vfd-vmm, Linux: moved/p' "$tmp/out/migrate"
	sed -n 's/^vfd: without/# vfd-vmm, Linux: without/p' "$tmp/out/linux-moved"
}

test_shuttle_on_kernel() {
	if grep -q "^skipped: " "$tmp/out/shuttle"; then
		skipped=$((skipped + 1))
		skip "vfd-vmm: the small guest moves" "$(sed -n 's/^skipped: //p' "$tmp/out/shuttle")"
		return
	fi
	check "vfd-vmm: the small guest moved $1 times, with the same memory" left shuttle 0 \
		"$1 migrations: $1 moved, memory the same $1 times"
	check "vfd-vmm: the destination killed, cancelled, refused: it goes on" left shuttle 0 "the guest went on 3 times"
	check "vfd-vmm: paused before a migration that fails, and paused after it" left shuttle 0 "it stayed paused 1 times"
	check "vfd-vmm: not confirmed: it stands still until it is told to go on" left shuttle 0 "when it was told to: 2 of 2"
	check "vfd-vmm: the source killed: nothing runs at the destination" left shuttle 0 "the source killed: nothing runs there"
	check "vfd-vmm: its sums agreed to the end" left shuttle 0 "the guest's end: code 0"
	sed -n 's/^downtime/# vfd-vmm, the small guest: downtime/p' "$tmp/out/shuttle"
}

# lacks NAME TEXT: of what there is
lacks() {
	[ -s "$tmp/out/$1" ] && ! grep -F -e "$2" "$tmp/out/$1"
}

# ---- vfd-guard ------------------------------------------------------------------------------

# relay NAME SCRIPT ARGUMENT...: the lines of another script, counted here
relay() {
	local code=0
	"${@:2}" >"$tmp/relayed" || code=$?
	skipped=$((skipped + $(grep -cE '^(ok .*|1\.\.0 )# SKIP ' "$tmp/relayed" || true)))
	tap_relay "$1" "$code" <"$tmp/relayed"
}

boot_guard() {
	local name files=()
	rm -rf "$tmp/out"
	for name in vfd-guard vfd-guard.so vfd-guard-cases vfd-demo hello vfd-state vfd-adopt; do
		files+=(--file "$bin/$name:$bin/$name")
	done
	! command -v addr2line >/dev/null || files+=(--file "$(realpath "$(command -v addr2line)"):/usr/bin/addr2line")
	tests/kernel/run.sh --timeout 300 --append clearcpuid=erms,fsrm --migration 7 --out "$tmp/out" \
		--device edu --bind 1234:11e8 "${files[@]}" \
		--file "$PWD/examples/guard/guest.sh:/guest.sh" -- /bin/sh /guest.sh "$bin"
}

# found CASE KIND CODE TEXT
found() {
	check "vfd-guard, $1: $2" left "case-$1" "$3" "LOSS ($2)"
	check "vfd-guard, $1: $4" left "case-$1" "$3" "$4"
}

# It has looked, to the end, and says so.
no_losses() {
	grep -qE 'vfd-guard:[0-9]+== exit: 0 losses; seen: ' "$tmp/out/$1" && lacks "$1" "LOSS"
}

test_guard_on_kernel() {
	local name
	check "the guest ran vfd-guard, and its kernel did not complain" leaves adopt-kept.code boot_guard
	[ -s "$tmp/out/adopt-kept.code" ] || return 0
	for name in case-lossless case-unmap-bits case-dup case-fork hello state adopt adopt-kept; do
		check "vfd-guard, $name: nothing to report" no_losses "$name"
	done
	# Behind an IOMMU the library does not ask, and takes all pages for dirty: that cannot be seen from outside.
	check "vfd-guard, hello-edu: all pages, unasked, are one finding" same "$(grep -c 'LOSS (' "$tmp/out/hello-edu")" 1
	check "vfd-guard, demo-library, edu: so here" same "$(grep -c 'LOSS (' "$tmp/out/demo-library")" 1
	check "vfd-guard, hello: tracking was on" left hello 0 "tracking was switched on 1 times"
	for name in unmap detach group-close device-close container-close stop half-read exit thread; do
		found "${name}" "${name/thread/unmap}" 77 "at most 64 pages of 4096 bytes"
	done
	found exec exec 0 "at most 64 pages of 4096 bytes"
	check "vfd-guard --collect, detach: exactly what the device wrote" left kept 0 "exactly 4 pages"
	check "vfd-guard --collect, unmap: exactly what the device wrote" left kept-unmap 0 "exactly 4 pages"
	check "vfd-guard --abort" left aborted 134 "LOSS (detach)"
	check "vfd-guard --suppressions" left suppressed 0 "(suppressed) detach"
	check "vfd-guard: a static program is refused" left static 126 "is linked statically"
	is_json "vfd-guard --json: parses" "$tmp/out/json.log"
	check "vfd-guard, demo: plain ioctls lose pages" grep -qF "LOSS (detach): VFIO_GROUP_UNSET_CONTAINER" "$tmp/out/demo"
	check "vfd-guard, demo: once, and nothing by the library" same "$(grep -c 'LOSS (' "$tmp/out/demo")" 1
	check "vfd-guard, demo: the function" grep -q 'raw_unplug (vfd-demo' "$tmp/out/demo"
	! command -v addr2line >/dev/null || check "vfd-guard, demo: the line" \
		grep -qE 'raw_unplug .*ops_raw\.c:'"$(grep -n 'NULL, "VFIO_GROUP_UNSET_CONTAINER"' examples/demo/ops_raw.c | cut -d: -f1)" "$tmp/out/demo"
	grep -h 'map and unmap' "$tmp"/out/bench-* | sed 's/^/# /'
}

# Debian's QEMU and DPDK, as they are. What kvm is patched for: see vmm/boot.sh.
boot_others() {
	local name qemu=/usr/bin/qemu-system-x86_64 testpmd=/usr/bin/dpdk-testpmd machine=()
	rm -rf "$tmp/out"
	truncate -s 16M "$tmp/disk"
	for name in "$qemu" /usr/share/seabios /usr/share/qemu; do
		machine+=(--file "$name:$name")
	done
	machine+=(--bind 1b36:0010)
	[ ! -x "$testpmd" ] || { add_dpdk && machine+=(--file "$testpmd:$testpmd"); }
	tests/kernel/run.sh --smp 1 --timeout 300 --memory 1024 --out "$tmp/out" --modprobe kvm-amd "${machine[@]}" \
		--qemu-arg -drive --qemu-arg "file=$tmp/disk,if=none,id=disk,format=raw" --device nvme,drive=disk,serial=1 \
		--file "$bin/vfd-guard:$bin/vfd-guard" --file "$bin/vfd-guard.so:$bin/vfd-guard.so" \
		--file "$PWD/examples/guard/others.sh:/guest.sh" -- /bin/sh /guest.sh "$bin"
}

test_guard_on_others() {
	if [ ! -x /usr/bin/qemu-system-x86_64 ] || [ ! -d /usr/share/seabios ]; then
		skipped=$((skipped + 1))
		skip "vfd-guard on QEMU" "it is not Debian's QEMU that is installed"
		return
	fi
	check "the guest ran vfd-guard on QEMU, and its kernel did not complain" leaves qemu.code boot_others
	[ -s "$tmp/out/qemu.code" ] || return 0
	is_json "vfd-guard, QEMU: --json parses" "$tmp/out/qemu.json"
	check "vfd-guard, QEMU: it measured by dirty bitmaps" left qemu 0 "Mode: dirty-bitmap"
	check "vfd-guard, QEMU: tracking was really on" grep -q '"starts":1,"stops":1' "$tmp/out/qemu.json"
	check "vfd-guard, QEMU: it stops, and has read nothing" grep -q '"kind":"stop".*get_dirtyrate_thread' "$tmp/out/qemu.json"
	check "vfd-guard, QEMU: and that is all" grep -q '"losses":1,"maps":[1-9][0-9]*,"unmaps":[1-9][0-9]*,"reads":0' "$tmp/out/qemu.json"
	[ -e "$tmp/out/testpmd.code" ] || {
		skipped=$((skipped + 1))
		skip "vfd-guard on DPDK's testpmd" "dpdk-dev is not installed"
		return 0
	}
	check "vfd-guard, testpmd: tracking never on" left testpmd 0 "0 losses; seen: 1 maps, 0 unmaps, 0 reads; tracking was never on"
	check "vfd-guard, testpmd: packets went from port to port" grep -qE 'RX-packets: [1-9][0-9]+ .*RX-total' "$tmp/out/testpmd"
}

test_guard() {
	relay "vfd-guard" tests/guard/test.sh "$bin"
	test_guard_on_kernel
	test_guard_on_others
}

test_top() {
	relay "vfd-top" tests/top/test.sh "$bin"
}

test_on_kernel() {
	check "the guest ran the examples, and its kernel did not complain" leaves names boot
	[ -s "$tmp/out/names" ] || return 0
	read -r _ edu_group vfdtest_group _ <"$tmp/out/names"
	test_info_on_kernel
	test_state_on_kernel
	test_migrate_on_kernel
	test_demo_on_kernel
}

# shellcheck disable=SC2317 # called by the trap
cleanup() { rm -rf "$tmp"; }

everything() {
	test_arguments
	test_without_vfio
	test_made_up
	test_migrate
	test_rust
	test_python
	test_on_kernel
	test_iommufd_on_kernel
	test_nvme_on_kernel
	test_adopt_on_kernel
	test_vmm_on_kernel
	test_moves_on_kernel
	test_guard
	test_top
}

tmp=$(mktemp -d)
trap cleanup EXIT
compile
case ${1:-} in
iommufd) test_iommufd_on_kernel ;;
others) test_guard_on_others ;;
'') everything ;;
*) echo "usage: test.sh [iommufd|others]" >&2 && exit 2 ;;
esac
echo "$((tap_count - tap_failed - skipped)) passed, $tap_failed failed, $skipped skipped"
tap_end
