#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Runs in the guest, under busybox: vfd-guard on programs that lose pages, and on those that do not. Leaves the output of each run in
# /out/NAME and its exit code in /out/NAME.code, for ../test.sh to judge.
# usage: guest.sh DIRECTORY-OF-THE-PROGRAMS

bin=$1

# keep NAME COMMAND...
keep() {
	name=$1
	shift
	"$@" >"/out/$name" 2>&1
	echo $? >"/out/$name.code"
}

read -r edu edu_group </run/vfio-pci
read -r _ group vfdtest </run/vfdtest

for case in lossless unmap unmap-bits detach group-close device-close container-close stop half-read exit exec dup fork thread; do
	keep "case-$case" "$bin/vfd-guard" --exit-code 77 --stats -- "$bin/vfd-guard-cases" "$case" "$group" "$vfdtest"
done
keep kept "$bin/vfd-guard" --collect /out/bits -- "$bin/vfd-guard-cases" detach "$group" "$vfdtest"
keep kept-unmap "$bin/vfd-guard" --collect /out/bits-unmap -- "$bin/vfd-guard-cases" unmap "$group" "$vfdtest"
keep aborted "$bin/vfd-guard" --abort -- "$bin/vfd-guard-cases" detach "$group" "$vfdtest"
keep json "$bin/vfd-guard" --json --log /out/json.log -- "$bin/vfd-guard-cases" detach "$group" "$vfdtest"
echo "detach:case_detach" >/tmp/suppressions
keep suppressed "$bin/vfd-guard" --exit-code 77 --suppressions /tmp/suppressions -- \
	"$bin/vfd-guard-cases" detach "$group" "$vfdtest"
keep static "$bin/vfd-guard" -- /bin/busybox true

keep bench-bare "$bin/vfd-guard-cases" bench "$group" "$vfdtest"
keep bench-guarded "$bin/vfd-guard" -- "$bin/vfd-guard-cases" bench "$group" "$vfdtest"

keep demo "$bin/vfd-guard" --stats -- "$bin/vfd-demo" --runs 1 --size 32 --image "$bin/vfd-demo"
keep demo-library "$bin/vfd-guard" --exit-code 77 --stats -- "$bin/vfd-demo" --host "$edu" --runs 1 --size 32
keep hello "$bin/vfd-guard" --exit-code 77 --stats -- "$bin/hello" "$group" "$vfdtest"
keep hello-edu "$bin/vfd-guard" --exit-code 77 --stats -- "$bin/hello" "$edu_group" "$edu"
keep state "$bin/vfd-guard" --exit-code 77 --stats -- "$bin/vfd-state" save "$vfdtest"
keep adopt "$bin/vfd-guard" --exit-code 77 --stats -- "$bin/vfd-adopt" --tracking "$group" "$vfdtest"
keep adopt-kept "$bin/vfd-guard" --exit-code 77 --stats -- "$bin/vfd-adopt" --tracking --keep "$group" "$vfdtest"
exit 0
