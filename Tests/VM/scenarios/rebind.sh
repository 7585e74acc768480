# SPDX-License-Identifier: Apache-2.0
# In the guest: every function goes from Linux's ioatdma to vfio-pci and back, ROUNDS times, with
# copies between. Each driver finds what the other one left; ioatdma tests itself each time.

. /common.sh
load_vfio
load dca
load ioatdma
devices=$(ioat_functions)
round=0
while [ $round -lt "${ROUNDS:-3}" ] && [ $failed = 0 ]; do
  round=$((round + 1))
  for address in $devices; do
    name=$address-$round
    [ "$(driver_of "$address")" = ioatdma ] || result "before-$name" fail "$(driver_of "$address")"
    probe "bind-$name" bind "$address"
    [ "$(driver_of "$address")" = vfio-pci ] || result "bound-$name" fail "$(driver_of "$address")"
    # With its neighbours still in the kernel's hands.
    probe "verify-$name" verify --device "$address" --count "${COUNT:-50}"
    probe "unbind-$name" unbind "$address"
    [ "$(driver_of "$address")" = ioatdma ] || result "after-$name" fail "$(driver_of "$address")"
    [ -e "/sys/bus/pci/devices/$address/dma" ] || result "channel-$name" fail "there is none"
  done
done
dmesg | grep -iE 'self.?test.*(fail|timed)|ioatdma.*(error|fail)|DMAR.*fault' && result kernel-log fail
[ $failed = 1 ] || result rebind ok "$(echo "$devices" | wc -l) functions, $round rounds"
finish
