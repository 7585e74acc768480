# SPDX-License-Identifier: Apache-2.0
# In the guest: a person's way with the terminal, on the kernel's own sysfs and VFIO.
#
# The engine is with ioatdma. doctor says so and prints a command; exactly that command is run, then
# bind --user; an ordinary user copies; unbind, and ioatdma has it again. Twice, since every step may
# be repeated.

. /common.sh
# expect NAME STATUS COMMAND...: runs it, keeps what it printed in $out.
expect() {
  local name=$1 wanted=$2 status
  shift 2
  out=$("$@" 2>&1)
  status=$?
  echo "\$ $*"
  echo "$out"
  echo "--- exit status $status"
  if [ "$status" = "$wanted" ]; then result "$name" ok; else
    result "$name" fail "exit status $status, wanted $wanted"
  fi
}
# has NAME TEXT: whether $out has it.
has() {
  case $out in *"$2"*) result "$1" ok ;; *) result "$1" fail "no '$2'" ;; esac
}
# As the ordinary user, who has no capability, with so many KiB of locked memory.
as_user() {
  local limit=$1
  shift
  (ulimit -l "$limit" && exec su user -s /bin/sh -c "exec $*")
}
is_driver() {
  local found
  found=$(driver_of "$device")
  if [ "$found" = "$2" ]; then result "$1" ok; else result "$1" fail "driver is '$found'"; fi
}

load_vfio
load dca
load ioatdma
device=$(ioat_functions | head -n 1)
is_driver start ioatdma
[ -n "$device" ] || exit 1
# sudo is not needed by root, and not there.
mkdir -p /run

expect list 0 netdma-probe list
has list-names-driver ioatdma
expect show-refuses-registers 0 netdma-probe show "$device"
is_driver show-leaves-driver ioatdma

round=0
while [ $round -lt 2 ]; do
  round=$((round + 1))
  expect "doctor-ioatdma-$round" 69 netdma-probe doctor "$device"
  has "doctor-names-driver-$round" "✗ Driver"
  is_driver "doctor-leaves-driver-$round" ioatdma
  advice=$(echo "$out" | sed -n 's/^ \{6\}\(netdma-probe bind .*\)/\1/p' | head -n 1)
  [ -n "$advice" ] && result "doctor-advises-$round" ok "$advice" ||
    result "doctor-advises-$round" fail "no command to bind"

  # An ordinary user may look, but not bind.
  expect "user-may-not-bind-$round" 77 as_user 8192 netdma-probe bind "$device"
  is_driver "user-changed-nothing-$round" ioatdma

  # shellcheck disable=SC2086
  expect "advice-$round" 0 $advice
  is_driver "advice-works-$round" vfio-pci
  expect "doctor-root-$round" 0 netdma-probe doctor "$device"
  has "doctor-root-proves-$round" "all correct"

  expect "user-without-node-$round" 77 as_user 8192 netdma-probe doctor "$device"
  expect "user-verify-refused-$round" 77 as_user 8192 netdma-probe verify --device "$device"
  expect "bind-user-$round" 0 netdma-probe bind "$device" --user user
  has "bind-user-says-already-$round" "already"
  expect "bind-again-$round" 0 netdma-probe bind "$device" --user user

  # 64 KiB of locked memory are too little for any copy; doctor says so, verify fails with advice.
  expect "user-memlock-doctor-$round" 77 as_user 64 netdma-probe doctor "$device"
  has "user-memlock-named-$round" "RLIMIT_MEMLOCK is 64 KiB"
  expect "user-memlock-verify-$round" 77 as_user 64 netdma-probe verify --device "$device" --count 10
  has "user-memlock-advice-$round" "RLIMIT_MEMLOCK"

  expect "user-doctor-$round" 0 as_user 8192 netdma-probe doctor "$device"
  has "user-doctor-proves-$round" "all correct"
  expect "user-verify-$round" 0 as_user unlimited netdma-probe verify --device "$device" --count 50
  has "user-verify-matches-$round" "every byte matched"
  expect "user-show-$round" 0 as_user 8192 netdma-probe show "$device"
  has "user-show-registers-$round" "CHANCNT"
  # Through VFIO an ordinary user sees what sysfs shows to root only.
  has "user-show-capabilities-$round" "MSI-X capability"

  # In use: refused, and left as it was.
  as_user unlimited netdma-probe verify --device "$device" --count 100000000 >/dev/null 2>&1 &
  user=$!
  tries=0
  until netdma-probe unbind "$device" --dry-run 2>&1 | grep -q 'in use' || [ $tries = 100 ]; do
    tries=$((tries + 1))
    sleep 0.1
  done
  expect "unbind-in-use-$round" 69 netdma-probe unbind "$device"
  is_driver "in-use-stays-$round" vfio-pci
  expect "doctor-in-use-$round" 69 netdma-probe doctor "$device"
  has "doctor-names-process-$round" "netdma-probe"
  # shellcheck disable=SC2046
  kill $(pidof netdma-probe)
  wait "$user"
  tries=0
  while pidof netdma-probe >/dev/null && [ $tries -lt 100 ]; do tries=$((tries + 1)); sleep 0.1; done

  dmesg -c >/dev/null
  expect "unbind-$round" 0 netdma-probe unbind "$device"
  is_driver "unbind-restores-$round" ioatdma
  expect "unbind-again-$round" 0 netdma-probe unbind "$device"
  has "unbind-again-says-$round" "already"
  is_driver "unbind-again-leaves-$round" ioatdma
  [ "$(cat "/sys/bus/pci/devices/$device/driver_override")" = "(null)" ] &&
    result "override-gone-$round" ok || result "override-gone-$round" fail
  ls /run/netdma-vfio
  if [ "$(ls /sys/bus/pci/devices/"$device"/dma | wc -l)" = 1 ] &&
    ! dmesg | grep -iE 'self.?test.*(fail|timed)|ioatdma.*(error|fail)'; then
    result "ioatdma-probes-$round" ok
  else
    dmesg | tail -n 20
    result "ioatdma-probes-$round" fail
  fi
done
expect list-json 0 netdma-probe list --json
expect doctor-without-device 69 netdma-probe doctor
dmesg | grep -iE 'BUG|Oops|WARNING:' && result kernel fail
finish
