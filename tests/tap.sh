# SPDX-License-Identifier: MIT
# shellcheck shell=bash
#
# Sourced by test scripts: say what passed in TAP, the way tests/run.sh counts it.

tap_count=0 tap_failed=0

ok() {
	tap_count=$((tap_count + 1))
	echo "ok $tap_count - $*"
}

not_ok() {
	tap_count=$((tap_count + 1)) tap_failed=$((tap_failed + 1))
	echo "not ok $tap_count - $*"
}

skip() {
	tap_count=$((tap_count + 1))
	echo "ok $tap_count - $1 # SKIP $2"
}

# What is tested, for whoever reads the log later
tap_commit() { echo "# commit: $(git describe --always --dirty 2>/dev/null || echo unknown)"; }

# Nothing of this script can run here.
skip_all() {
	echo "1..0 # SKIP $*"
	exit 0
}

# need COMMAND...: skip everything where one of them is missing
need() {
	local command
	for command; do
		command -v "$command" >/dev/null || skip_all "$command is not installed"
	done
}

# check WHAT COMMAND...: its output is shown if it fails
check() {
	local what=$1 output
	shift
	if output=$("$@" 2>&1); then
		ok "$what"
	else
		not_ok "$what"
		[ -z "$output" ] || printf '%s\n' "$output" | sed 's/^/# /'
	fi
}

# tap_relay NAME CODE: the TAP of another script, numbered on. One that ended with a CODE, and did not say what failed, has failed.
tap_relay() {
	local line before=$tap_count failed=$tap_failed
	while read -r line; do
		case $line in
		"ok "*" # SKIP "*) line=${line#* - } && skip "$1: ${line% # SKIP *}" "${line##* # SKIP }" ;;
		"ok "*) ok "$1: ${line#* - }" ;;
		"not ok "*) not_ok "$1: ${line#* - }" ;;
		"1..0 # SKIP "*) skip "$1" "${line#1..0 # SKIP }" ;;
		1..*) ;;
		*) echo "$line" ;;
		esac
	done
	if [ "$tap_count" = "$before" ]; then
		not_ok "$1: says nothing of any test"
	elif [ "$2" != 0 ] && [ "$tap_failed" = "$failed" ]; then
		not_ok "$1: exit code $2"
	fi
}

tap_end() {
	echo "1..$tap_count"
	[ "$tap_failed" = 0 ]
}
