#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Runs in the test kernel, under busybox: the small guest moves to a new process and back, again and again, while its vCPUs and
# its device write; before that some migrations fail. The two devices take turns. Memory is compared by a number made of all of
# it, while everything stands still; and once the source is killed. Prints a line for each migration, and last ones that count. Emulated on a busy machine a round
# takes seconds: so much downtime is allowed that two or three rounds are enough.
# usage: shuttle.sh DIRECTORY-OF-THE-PROGRAMS COUNT [PAUSE_NS]
# PAUSE_NS: what the device rests after 16 writes. Its writer is a thread of the kernel that the vCPUs share two processors with.

bin=$1 count=$2 pause=${3:-200000} half=$((16 << 20))
here=0 there=1 same=0 moved=0 went_on=0 stayed=0 stood=0

# start DEVICE OPTION...
start() {
	device=$1
	shift
	"$bin/vfd-vmm" --no-input --vcpus 2 --memory 32 --device "vfdtest.$device" --control "/run/control.$device" "$@" \
		>"/run/vmm.$device" 2>&1 &
	eval "pid_$device=$!"
}

wait_for() {
	tries=0
	while [ ! -S "$1" ] && [ $tries -lt 3000 ]; do
		usleep 20000
		tries=$((tries + 1))
	done
}

# Until the one there says so; the guest runs meanwhile.
wait_until_it_runs() {
	tries=0
	while ! grep -q 'it runs here' "/run/vmm.$1" && [ $tries -lt 3000 ]; do
		usleep 20000
		tries=$((tries + 1))
	done
}

ask() {
	"$bin/vfd-vmm" --ask "/run/control.$here" "$@"
}

ask_there() {
	"$bin/vfd-vmm" --ask "/run/control.$there" "$@"
}

# fails WHAT COMMAND...: in the middle of a slow migration the command is run, which ends it; the guest goes on here.
fails() {
	what=$1
	shift
	: >/run/answer
	ask "migrate unix:/run/moving bandwidth=500000 force" >/run/answer &
	asked=$!
	tries=0
	until [ -s /run/answer ] || ask status | grep -q 'migration=.* round=[1-9]' || [ $tries -ge 300 ]; do
		usleep 100000
		tries=$((tries + 1))
	done
	"$@"
	wait $asked
	status=$(ask status)
	echo "$what: $(cat /run/answer); $status"
	case "$(cat /run/answer) $status" in
	error*ok\ running\ device=vfdtest*migration=none) went_on=$((went_on + 1)) ;;
	esac
}

kill_one() {
	eval "kill -9 \$pid_$1"
	eval "wait \$pid_$1"
}

# The guest is gone with its process, and half a guest runs nowhere. Another one is started.
source_killed() {
	start $there --incoming unix:/run/moving
	wait_for /run/moving
	fails "source killed" kill_one $here
	eval "wait \$pid_$there"
	echo "there: code $?, $(tail -n 1 "/run/vmm.$there")"
	grep -q 'it runs here' "/run/vmm.$there" || echo "the source killed: nothing runs there"
	rm -f /run/moving "/run/control.$here"
	start $here
	wait_for "/run/control.$here"
}

refusals() {
	start $there --incoming unix:/run/moving
	wait_for /run/moving
	fails "destination killed" kill_one $there
	rm -f /run/moving
	start $there --incoming unix:/run/moving
	wait_for /run/moving
	fails "cancelled" ask cancel
	eval "wait \$pid_$there"
	rm -f /run/moving
	start $there --incoming unix:/run/moving --vcpus 1
	wait_for /run/moving
	fails "fewer vCPUs there" true
	eval "wait \$pid_$there"
}

# It is refused after the vCPUs were paused for it; they were before, too.
paused_before() {
	rm -f /run/moving
	start $there --incoming unix:/run/moving --plug no-such-device
	wait_for /run/moving
	ask pause >/dev/null
	answer=$(ask "migrate unix:/run/moving downtime=10000 force")
	status=$(ask status)
	ask resume >/dev/null
	eval "wait \$pid_$there"
	echo "paused before: $answer; $status"
	case "$answer $status" in
	error*plugged\ already*ok\ paused*migration=none) stayed=1 ;;
	esac
}

# It runs there, but the source does not hear that. So it stands still here until the user, who can see both, says what is so.
unconfirmed() {
	cat >/run/lossy <<-END
		#!/bin/sh
		"$bin/vfd-vmm" --no-input --vcpus 2 --memory 32 --device vfdtest.$there --control /run/control.$there \\
			--incoming fd:0,3 3>&1 >/run/vmm.$there 2>&1 | "$bin/vfdtest-lossy"
	END
	chmod 755 /run/lossy
	: >/run/vmm.$there
	rm -f /run/control.$there
	answer=$(ask "migrate exec:/run/lossy downtime=10000 force")
	wait_until_it_runs $there
	again=$(ask "migrate unix:/run/nobody")
	status=$(ask status)
	echo "unconfirmed: $answer; $(ask_there status); again: $again; $status"
	echo "there: $(ask_there quit)"
	case "$answer $again $status" in
	error*resume*error*resume*ok\ paused*migration=unconfirmed) stood=$((stood + 1)) ;;
	esac
	ask resume >/dev/null
	status=$(ask status)
	echo "resumed: $status"
	case $status in
	ok\ running*migration=none) stood=$((stood + 1)) ;;
	esac
	rm -f /run/control.$there
}

if "$bin/vfd-state" info vfdtest.0 | grep "it cannot migrate"; then
	echo "skipped: this kernel knows no PRE_COPY, and the test device no states therefore"
	exit 0
fi
start $here
wait_for "/run/control.$here"
source_killed
refusals
paused_before
unconfirmed
i=0
while [ $i -lt "$count" ]; do
	i=$((i + 1))
	rm -f /run/moving "/run/control.$there"
	start $there --incoming unix:/run/moving
	wait_for /run/moving
	"$bin/vfdtest-writer" $here $half $((4 << 20)) "$pause" || echo "FAILED: the device does not write"
	usleep 100000
	answer=$(ask "migrate unix:/run/moving downtime=10000 force verify")
	echo "$i: $answer" | tee -a /run/lines
	case $answer in
	ok\ moved*) moved=$((moved + 1)) ;;
	*) echo "the destination said: $(cat "/run/vmm.$there")" && break ;;
	esac
	eval "wait \$pid_$here"
	wait_until_it_runs $there
	! grep -q 'memory is the same' "/run/vmm.$there" || same=$((same + 1))
	last=$here here=$there there=$last
done
sleep 1
ask quit >/dev/null
eval "wait \$pid_$here"
echo "the guest's end: code $?, $(tail -n 1 "/run/vmm.$here")"
sed -n 's/.* downtime-ms=\([0-9]*\).*/\1/p' /run/lines | sort -n | {
	all=$(tr '\n' ' ')
	lines=$(echo "$all" | wc -w)
	nth() { echo "$all" | cut -d' ' -f $(((lines * $1 + 99) / 100)); }
	echo "downtime in ms: least $(nth 1), median $(nth 50), 9 of 10 at most $(nth 90), most $(nth 100)"
}
echo "3 migrations that failed: the guest went on $went_on times"
echo "paused, and a migration that failed: it stayed paused $stayed times"
echo "a migration that was not confirmed: it stood still, and went on when it was told to: $stood of 2"
echo "$count migrations: $moved moved, memory the same $same times"
[ "$went_on" = 3 ] && [ "$stayed" = 1 ] && [ "$stood" = 2 ] && [ "$moved" = "$count" ] && [ "$same" = "$count" ]
