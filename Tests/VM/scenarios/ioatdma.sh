# SPDX-License-Identifier: Apache-2.0
# In the guest: Linux's own ioatdma must probe every emulated function and pass its self test,
# CYCLES times over (rmmod and insmod between, and a function-level reset under the driver).
# STYLE is how it interrupts: msix or intx.

. /common.sh
expected=$(ioat_functions | wc -l)
load dca
cycle=0
while [ $cycle -lt "${CYCLES:-2}" ]; do
  cycle=$((cycle + 1))
  dmesg -c >/dev/null
  load ioatdma ioat_interrupt_style="${STYLE:-msix}"
  found=$(ls -d /sys/class/dma/dma*chan* 2>/dev/null | wc -l)
  if [ "$found" -lt "$expected" ] || dmesg | grep -iE 'self.?test.*(fail|timed)|ioatdma.*(error|fail)'; then
    dmesg | tail -n 30
    result "ioatdma-cycle-$cycle" fail "$found channels of $expected functions"
    break
  fi
  [ $cycle -gt 2 ] || grep ioat /proc/interrupts
  for function in /sys/bus/pci/drivers/ioatdma/0*; do
    echo 1 >"$function/reset" || result "reset-$(basename "$function")" fail
  done
  rmmod ioatdma || { result rmmod fail; break; }
done
[ $failed = 1 ] || result ioatdma ok "$expected functions, $cycle cycles, self test passed"
finish
