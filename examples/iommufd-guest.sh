#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Runs in the guest, under busybox: the demo on iommufd, for test.sh to judge.
# usage: iommufd-guest.sh DIRECTORY-OF-THE-PROGRAMS

[ -e /dev/iommu ] && echo yes >/out/iommufd || echo no >/out/iommufd
"$1/vfd-demo" --runs 10 --size 32 --image "$1/vfd-demo" --backend iommufd >/out/demo 2>&1
echo $? >/out/demo.code
