# SPDX-License-Identifier: Apache-2.0
# In the guest, for `make vm`: the way from a kernel driver's engine to a copy by an ordinary user.
#
# Each line that is to be shown begins with "TOUR ". $PROMPT is "#" for root, "$" for the user.

. /common.sh
# shown PROMPT STATUS COMMAND: shows it with what it prints; STATUS is what it must end with.
shown() {
  local prompt=$1 wanted=$2 command=$3 runner=sh status
  [ "$prompt" = '#' ] || runner='su user -s /bin/sh'
  echo "TOUR $prompt $command"
  $runner -c "$command" >/tmp/shown 2>&1
  status=$?
  sed 's/^/TOUR /' /tmp/shown
  echo "TOUR "
  [ $status = "$wanted" ] || {
    echo "TOUR exit status $status, where $wanted was expected"
    failed=1
  }
}

# What the kernel says would come between the lines.
dmesg -n 1
mkdir -p /run
load_vfio
load dca
load ioatdma
shown '#' 0 'netdma-probe list'
device=$(ioat_functions | head -n 1)
shown '#' 0 "netdma-probe bind $device --user user"
shown '$' 0 "netdma-probe doctor $device"
shown '$' 0 "netdma-probe verify --device $device --count 200 --max-size 65536"
shown '#' 0 "netdma-probe unbind $device"
finish
