# SPDX-License-Identifier: Apache-2.0
# In the guest: bind every IOAT function to vfio-pci, and verify copies over the real /dev/vfio.
#
# COUNT copies with interrupts and COUNT polled, on each function; on the last one also by each of the
# KINDS of interrupt.

. /common.sh
load_vfio
devices=$(ioat_functions)
[ -n "$devices" ] || result bind fail "there is no IOAT function"
for address in $devices; do bind_vfio "$address"; done

ls /dev/vfio
netdma-probe list || result list fail "status $?"
for address in $devices; do
  probe "verify-$address" verify --device "$address" --count "${COUNT:-200}"
  probe "verify-$address-poll" verify --device "$address" --count "${COUNT:-200}" --poll
  grep vfio /proc/interrupts
done
last=${devices##*
}
# The other kinds of interrupt that the kernel connects: the pin is masked by it each time.
for kind in $KINDS; do
  probe "verify-$kind" verify --device "$last" --count "${COUNT:-200}" --interrupts "$kind"
done
dmesg | grep -i 'DMAR.*fault' && result iommu-faults fail

# Now with copies that the IOMMU itself must refuse: the first, the middle and the last of bursts.
probe faults verify --device "$last" --count "${COUNT:-200}" --faults
probe faults-poll verify --device "$last" --count "${COUNT:-200}" --faults --poll
finish
