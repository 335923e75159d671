#!/bin/bash
# SPDX-License-Identifier: MIT
#
# run.sh [options] -- PROGRAM [ARGS...]: run a program as root on a real kernel
# with VFIO, the vfdtest devices and an emulated IOMMU, in seconds.
set -euo pipefail
PATH=$PATH:/usr/sbin:/sbin

here=$(cd "$(dirname "$0")" && pwd)

usage() {
	cat <<'END'
usage: run.sh [options] -- PROGRAM [ARGS...]

  --kernel KERNEL       stock, own, debug, or a version (stock): see README.md
  --smp N               CPUs (2)
  --memory MIB          memory (512)
  --timeout SECONDS     how long the program may take (120)
  --ndevices N          vfdtest devices, 1 to 4 (2)
  --migration FLAGS     what they offer at first, as VFDTEST_MIG sets it (0)
  --device SPEC         one more QEMU -device, e.g. edu (repeatable)
  --bind VENDOR:DEVICE  bind such PCI devices to vfio-pci (repeatable)
  --file HOST:GUEST     copy a file or directory in (repeatable)
  --env NAME=VALUE      set a variable for the program (repeatable)
  --modprobe NAME[:PARAMS]  load one more kernel module (repeatable)
  --out DIR             where what the program leaves in /out goes
  --append ARGS         more kernel parameters
  --qemu-arg ARG        one more argument for QEMU (repeatable)
  --no-viommu           no emulated IOMMU
  --instructions        its time is what it executes, a nanosecond an instruction, whatever
                        else the host does; one CPU
  --log FILE            keep the kernel's log there

Libraries that the program needs go in with it, if the loader finds them here.

exit: the program's own code, or
  120  the kernel complained (WARN, BUG, Oops, stall...); the lines are printed
  121  the bench failed: no boot, no result, wrong use
  124  the program took too long
END
}

say() { printf 'run: %s\n' "$*" >&2; }
die() { say "$*"; exit 121; }

smp=2 memory=512 timeout=120 ndevices=2 migration=0 out='' append='' viommu=yes threads=multi log=''
devices=() binds=() files=() envs=() modules=() qemu_args=()

parse() {
	while [ $# -gt 0 ]; do
		case $1 in
		--) shift; program=("$@"); return ;;
		-h | --help) usage; exit 0 ;;
		--no-viommu) viommu=no; shift; continue ;;
		--instructions) threads=single smp=1 qemu_args+=(-icount "shift=0,sleep=off"); shift; continue ;;
		esac
		[ $# -ge 2 ] || die "$1 needs a value (see --help)"
		case $1 in
		--kernel) export VFD_KERNEL=$2 ;;
		--smp) smp=$2 ;;
		--memory) memory=$2 ;;
		--timeout) timeout=$2 ;;
		--ndevices) ndevices=$2 ;;
		--migration) migration=$2 ;;
		--device) devices+=("$2") ;;
		--bind) binds+=("$2") ;;
		--file) files+=("$2") ;;
		--env) envs+=("$2") ;;
		--modprobe) modules+=("$2") ;;
		--out) out=$2 ;;
		--append) append=$2 ;;
		--qemu-arg) qemu_args+=("$2") ;;
		--log) log=$2 ;;
		*) die "unknown option $1 (see --help)" ;;
		esac
		shift 2
	done
}

# ---- this run's archive -------------------------------------------------------

quote() { printf "'%s' " "${1//\'/\'\\\'\'}"; }

# Libraries keep their paths, so that the loader and any rpath find them. What the loader here knows from its cache or from LD_LIBRARY_PATH it
# does not know there: so each has a link in /lib, where it looks last.
add_libraries() {
	local lib name
	ldd "$1" >"$tmp/ldd" 2>/dev/null || return 0	# static, or a script
	if grep 'not found' "$tmp/ldd" >&2; then
		die "$1: a library is missing, here already: if it was just installed run ldconfig; one elsewhere is found with LD_LIBRARY_PATH=DIRECTORY $0 ..."
	fi
	mkdir -p "$stage/lib"
	sed -nE 's,^[[:space:]]*(([^ /]+) => )?(/[^ ]+) \(0x[0-9a-f]+\)$,\3 \2,p' "$tmp/ldd" | while read -r lib name; do
		[ -e "$stage$lib" ] || (cd / && cp -L --parents ".$lib" "$stage")
		[ -z "$name" ] || [ -e "$stage/lib/$name" ] || ln -s "$lib" "$stage/lib/$name"
	done
}

# add HOST GUEST
add() {
	[ -e "$1" ] || die "$1: no such file"
	mkdir -p "$stage$(dirname "$2")"
	cp -rL "$1" "$stage$2"
	if [ -f "$1" ]; then
		add_libraries "$1"
	fi
}

add_module() {
	local name=${1%%:*} params='' line file base last=''
	[ "$name" = "$1" ] || params=${1#*:}
	mkdir -p "$stage/vfd/modules"
	modprobe -d "$bench/kernel" -S "$(cat "$bench/version")" --show-depends "$name" \
		>"$tmp/modprobe" 2>/dev/null || die "no kernel module $name"
	while read -r line file _; do
		[ "$line" = insmod ] || continue
		base=$(basename "${file%.xz}")
		case $file in
		*.xz) xz -dc "$file" >"$stage/vfd/modules/$base" ;;
		*) cp "$file" "$stage/vfd/modules/$base" ;;
		esac
		[ -z "$last" ] || echo "$last" >>"$stage/vfd/extra.list"
		last=$base
	done <"$tmp/modprobe"
	[ -z "$last" ] || echo "$last $params" >>"$stage/vfd/extra.list"
}

# The program lies at the same path as here and runs in the same directory.
write_program() {
	local path=$1 word
	shift
	{
		echo "mkdir -p $(quote "$PWD")"
		echo "cd $(quote "$PWD")"
		for word in "${envs[@]}"; do
			echo "export $(quote "$word")"
		done
		printf 'exec '
		quote "$path"
		for word; do
			quote "$word"
		done
		echo
	} >"$stage/vfd/program"
}

write_conf() {
	echo "ndevices=$ndevices"
	echo "migration=$migration"
	echo "timeout=$timeout"
	echo "smp=$smp"
	echo "out=$([ -n "$out" ] && echo yes || echo no)"
	echo "bind='${binds[*]}'"
}

pack() {
	local path f m
	path=$(command -v "${program[0]}") || die "${program[0]}: no such program"
	path=$(realpath "$path")
	stage=$tmp/stage
	mkdir -p "$stage/vfd"
	add "$path" "$path"
	for f in "${files[@]}"; do
		add "${f%%:*}" "${f#*:}"
	done
	for m in "${modules[@]}"; do
		add_module "$m"
	done
	write_program "$path" "${program[@]:1}"
	write_conf >"$stage/vfd/conf"
	(cd "$stage" && find . -print0 | cpio --null -o -H newc -R 0:0 --quiet) >"$tmp/run.cpio"
	cat "$bench/base.cpio" "$tmp/run.cpio" >"$tmp/initrd"
}

# ---- the machine ----------------------------------------------------------------

add_port() {
	qemu+=(-chardev "file,id=$1,path=$tmp/$1" -device "virtserialport,chardev=$1,name=$1")
}

# The guest's time stamp counter is the host's. Left to measure it by itself on a busy host, it was wrong by a factor of up to six, and so was its time.
tsc_khz() { "${CC:-gcc}" -O1 -o "$tmp/tsc" "$here/tsc.c" && "$tmp/tsc"; }

build_command() {
	local d
	local cmdline="console=ttyS0 loglevel=5 panic=-1 oops=panic tsc=reliable no_timer_check"
	# A kernel that patches its own code while another CPU runs it may die of it ("Oops: int3"): QEMU before 8.1 may keep what it translated
	# of a breakpoint after that is gone. Nearly all is patched at boot: so the other CPUs begin after it, see guest-init.sh.
	# lpj: or each of them measures its speed for half a second, in vain; delays go by the TSC, and are at least as long as asked up to 3 GHz.
	cmdline+=" maxcpus=1 lpj=12000000"
	[ "$threads" = single ] || cmdline+=" tsc_early_khz=$(tsc_khz)"
	# Emulation is twenty times slower, and a busy host may not run the guest for seconds: what counts as a stall is scaled.
	cmdline+=" rcupdate.rcu_cpu_stall_timeout=300 rcupdate.rcu_exp_cpu_stall_timeout=0 workqueue.watchdog_thresh=300"
	cmdline+=" watchdog_thresh=60 sysctl.kernel.hung_task_timeout_secs=600"
	# Without its fast strings: QEMU executes rep movsb byte by byte, so what the kernel prefers on such a CPU is six times slower.
	qemu=(qemu-system-x86_64 -accel "tcg,thread=$threads" -cpu "max,erms=off,fsrm=off" -M "q35,kernel-irqchip=split"
		-m "$memory" -smp "$smp" -nodefaults -no-user-config -display none -no-reboot
		-kernel "$bench/vmlinux" -initrd "$tmp/initrd"
		-serial "file:$tmp/console"
		-device "isa-debug-exit,iobase=0xf4,iosize=0x1")
	if [ "$viommu" = yes ]; then
		qemu+=(-device "intel-iommu,intremap=on,caching-mode=on")
		cmdline+=" intel_iommu=on"
	fi
	qemu+=(-device virtio-serial-pci)
	for d in stdout stderr status dmesg out; do
		add_port "$d"
	done
	for d in "${devices[@]}"; do
		qemu+=(-device "$d")
	done
	qemu+=("${qemu_args[@]}" -append "$cmdline $append")
}

# The program's output arrives through pipes and goes straight on to ours.
boot() {
	local readers=()
	mkfifo "$tmp/stdout" "$tmp/stderr"
	cat "$tmp/stdout" &
	readers+=($!)
	cat "$tmp/stderr" >&2 &
	readers+=($!)
	# the guest times the program itself; this catches a guest that hangs
	timeout -k 5 "$((timeout + 30))" "${qemu[@]}" </dev/null >"$tmp/qemu" 2>&1 &
	qemu_pid=$!
	wait "$qemu_pid" || qemu_code=$?
	qemu_pid=''
	# If QEMU never opened the pipes the readers still wait for a writer.
	: <>"$tmp/stdout"
	: <>"$tmp/stderr"
	wait "${readers[@]}" || true
}

# ---- the verdict ----------------------------------------------------------------

complaints='WARNING: |BUG: |kernel BUG at|Oops|Kernel panic|possible (circular|recursive|irq).*lock'
complaints+='|possible deadlock|non-static key|new suspected memory leaks|blocked for more than|refcount_t: |detected stalls?|self-detected stall'
complaints+='|soft lockup|hard LOCKUP|general protection fault|UBSAN: |KASAN: |KCSAN: |list_(add|del) corruption'

kernel_log() {
	cat "$tmp/console" "$tmp/dmesg" 2>/dev/null | tr -d '\r' || true
}

verdict() {
	local status=''
	[ -z "$log" ] || kernel_log >"$log"
	[ ! -e "$tmp/status" ] || read -r status <"$tmp/status" || true
	if [ "$status" = timeout ] || [ "$qemu_code" = 124 ] || [ "$qemu_code" = 137 ]; then
		say "timeout: the program took more than $timeout s"
		code=124
	elif [[ $status =~ ^[0-9]+$ ]] && [ -s "$tmp/dmesg" ]; then
		code=$status
	else
		cat "$tmp/qemu" >&2
		tail -n 5 "$tmp/console" >&2 || true
		say "the guest ended without a result, or without its kernel's log (QEMU's exit code: $qemu_code)"
		code=121
	fi
	show_complaints "$tmp/dmesg" || show_complaints "$tmp/console" || return 0
	code=120
}

# dmesg is complete, unless the guest died or so much was said that the start is
# overwritten; the console has warnings and worse in any case.
show_complaints() {
	grep -qE "$complaints" "$1" 2>/dev/null || return 1
	say "the kernel complained: $(grep -hE -m 1 "$complaints" "$1" | tr -d '\r')"
	grep -E -m 3 -A 25 "$complaints" "$1" | tr -d '\r' | head -n 80 >&2
}

fetch_out() {
	mkdir -p "$out"
	[ ! -s "$tmp/out" ] || tar -x -C "$out" --no-same-owner -f "$tmp/out"
}

# shellcheck disable=SC2317 # called by the trap
cleanup() {
	[ -z "${qemu_pid:-}" ] || kill "$qemu_pid" 2>/dev/null || true
	rm -rf "$tmp"
}

program=()
parse "$@"
[ ${#program[@]} -gt 0 ] || { usage >&2; exit 121; }
bench=$("$here/fetch.sh") || die "no kernel to run on"
[[ $(basename "$bench") != debug-* ]] || { timeout=$((timeout * 4)) && memory=$((memory * 2)); }	# it is that slow, and big
tmp=$(mktemp -d)
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
qemu_code=0 qemu=() code=121

pack
build_command
boot
verdict
[ -z "$out" ] || fetch_out
exit "$code"
