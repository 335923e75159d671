#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Runs in the guest, under busybox: a program, and vfd-top beside it. Leaves /out/NAME, what the program says, its code in /out/NAME.code, and
# what vfd-top says in /out/NAME-top and /out/NAME-top.json.
# usage: guest.sh VFD-TOP NAME PATTERN PROGRAM [ARGUMENT...]    (PATTERN: once vfd-top's JSON has it, it is looked at)

top=$1 name=$2 pattern=$3
shift 3

"$@" >"/out/$name" 2>&1 &
pid=$!
until "$top" --once --json --interval 0.2 "$pid" 2>/dev/null | grep -qE "$pattern" || [ ! -e "/proc/$pid/exe" ]; do
	usleep 100000
done
# both at once: a program on a fast machine is soon over
"$top" --once --interval 2 --bandwidth 100 "$pid" >"/out/$name-top" 2>&1 &
"$top" --once --json --interval 0.3 --bandwidth 100 "$pid" >"/out/$name-top.json" 2>&1
wait "$pid"
echo $? >"/out/$name.code"
wait
