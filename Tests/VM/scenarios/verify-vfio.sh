# SPDX-License-Identifier: Apache-2.0
# In the guest: bind every IOAT function to vfio-pci, and verify copies over the real /dev/vfio.
#
# COUNT copies with interrupts and COUNT polled, on each function; on the last one also by each of the
# KINDS of interrupt.

failed=0
result() {
  echo "RESULT $1 $2 ${3:-}"
  [ "$2" = ok ] || failed=1
}

for module in $(cat /modules/order); do
  case $module in
  dca | ioatdma) ;;
  *) insmod "/modules/$module.ko" || result "insmod-$module" fail ;;
  esac
done

devices=''
for node in /sys/bus/pci/devices/*; do
  [ "$(cat "$node/vendor")" = 0x8086 ] || continue
  case $(cat "$node/class") in 0x0880*) ;; *) continue ;; esac
  address=$(basename "$node")
  echo vfio-pci >"$node/driver_override"
  [ ! -e "$node/driver" ] || echo "$address" >"$node/driver/unbind"
  echo "$address" >/sys/bus/pci/drivers_probe
  if [ "$(basename "$(readlink "$node/driver")")" = vfio-pci ]; then
    devices="$devices $address"
  else
    result "bind-$address" fail "not bound to vfio-pci"
  fi
done
[ -n "$devices" ] || result bind fail "there is no IOAT function"

ls /dev/vfio
netdma-probe list || result list fail "status $?"
for address in $devices; do
  for mode in '' --poll; do
    name=verify-$address${mode:+-poll}
    # shellcheck disable=SC2086
    if netdma-probe verify --device "$address" --count "${COUNT:-200}" $mode --json; then
      result "$name" ok
    else
      result "$name" fail "status $?"
    fi
    grep vfio /proc/interrupts
  done
done
# The other kinds of interrupt that the kernel connects: the pin is masked by it each time.
for kind in $KINDS; do
  name=verify-$kind
  if netdma-probe verify --device "${devices##* }" --count "${COUNT:-200}" --interrupts "$kind" --json; then
    result "$name" ok
  else
    result "$name" fail "status $?"
  fi
done
dmesg | grep -i 'DMAR.*fault' && result iommu-faults fail

# Now with copies that the IOMMU itself must refuse: the first, the middle and the last of bursts.
for mode in '' --poll; do
  name=faults${mode:+-poll}
  # shellcheck disable=SC2086
  if netdma-probe verify --device "${devices##* }" --count "${COUNT:-200}" --faults $mode --json; then
    result "$name" ok
  else
    result "$name" fail "status $?"
  fi
done
exit $failed
