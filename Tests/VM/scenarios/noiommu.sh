# SPDX-License-Identifier: Apache-2.0
# In a guest with the test kernel and without an IOMMU: VFIO's mode without one must be refused, with
# the reason and a status of its own.

. /common.sh
address=$(ioat_functions | head -n 1)
echo 1 >/sys/module/vfio/parameters/enable_unsafe_noiommu_mode
bind_vfio "$address"
ls /dev/vfio
status=0
netdma-probe verify --device "$address" --count 1 >/tmp/said 2>&1 || status=$?
cat /tmp/said
[ $status = 69 ] || result refusal fail "status $status"
grep -q 'without an IOMMU' /tmp/said || result refusal fail "it does not say why"
[ $failed = 1 ] || result refusal ok "status $status"
finish
