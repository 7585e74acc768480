# SPDX-License-Identifier: Apache-2.0
# In a guest with the test kernel: every function through /dev/vfio/devices and /dev/iommu. The program
# prefers the older interface where a kernel has both, so that one is taken away.

. /common.sh
devices=$(ioat_functions)
for address in $devices; do bind_vfio "$address"; done
ls -R /dev/vfio /dev/iommu
first=$(echo "$devices" | head -n 1)
probe both verify --device "$first" --count "${COUNT:-100}"
rm /dev/vfio/vfio
for address in $devices; do
  probe "verify-$address" verify --device "$address" --count "${COUNT:-100}"
  probe "verify-$address-poll" verify --device "$address" --count "${COUNT:-100}" --poll
done
dmesg | grep -i 'DMAR.*fault' && result iommu-faults fail
probe faults verify --device "$first" --count "${COUNT:-100}" --faults
probe conformance conformance --device "$first"
finish
