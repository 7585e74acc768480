# SPDX-License-Identifier: Apache-2.0
# In the guest: measure copies and fills over the real /dev/vfio, polled, by interrupt and with async
# calls, every byte compared; then stop a run with a signal. What is measured says nothing here; that
# it is, and how the device is left, does.

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

device=$(grep -l '^0x0880' /sys/bus/pci/devices/*/class | head -n 1)
device=$(basename "$(dirname "$device")")
netdma-probe bind "$device" || result bind fail "status $?"

# BUS MASTER ENABLE of the command register.
mastering() {
  [ $(($(hexdump -s 4 -n 1 -e '1/1 "%d"' "/sys/bus/pci/devices/$device/config") & 4)) != 0 ]
}

for mode in poll interrupt async; do
  if netdma-probe bench --device "$device" --mode $mode --ops copy,fill --sizes 64,4K --depths 1,16 \
    --duration 0.02 --verify --json; then
    result "bench-$mode" ok
  else
    result "bench-$mode" fail "status $?"
  fi
  mastering && result "bench-$mode-left" fail "bus mastering is still on"
done
grep vfio /proc/interrupts

netdma-probe bench --device "$device" --sizes 64..4K --duration 0.05 --report /tmp/report.html \
  >/tmp/report.txt || result report fail "status $?"
cat /tmp/report.txt
if grep -q '</html>' /tmp/report.html && grep -q '^break-even of copy' /tmp/report.txt; then
  result report ok
else
  result report fail "it is not whole"
fi

# A shell gives its background jobs no SIGINT.
netdma-probe bench --device "$device" --mode interrupt --duration 600 --sizes 64,4K --json &
sleep 3
mastering || result stop fail "bus mastering was never on"
kill -TERM $!
wait $!
status=$?
if [ $status != 130 ]; then
  result stop fail "status $status"
elif mastering; then
  result stop fail "bus mastering is still on"
else
  result stop ok
fi
dmesg | grep -i 'DMAR.*fault' && result iommu-faults fail
exit $failed
