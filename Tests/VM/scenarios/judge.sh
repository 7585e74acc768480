# SPDX-License-Identifier: Apache-2.0
# In the guest: every function on the real /dev/vfio, by interrupt and polled, and against the rules of
# the hardware.

. /common.sh
load_vfio
for address in $(ioat_functions); do
  bind_vfio "$address"
  probe "verify-$address" verify --device "$address" --count "${COUNT:-50}"
  probe "verify-$address-poll" verify --device "$address" --count "${COUNT:-50}" --poll
  probe "conformance-$address" conformance --device "$address"
done
finish
