#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# What `make run` does after the build: lists this machine's DMA engines, verifies copies on the
# first that can be used, or else on the mock, and sums up.
#
#   run.sh PROBE
set -uo pipefail
probe=$1

echo "== DMA engines of this machine"
"$probe" list || exit
device=$("$probe" list | awk '
  $1 == "ADDRESS" { for (i = 1; i <= NF; i++) if ($i == "USABLE") column = i; next }
  column && $column == "yes" { print $1; exit }')

echo
if [ -n "$device" ]; then
  echo "== 1000 random copies on $device"
  "$probe" verify --device "$device"
else
  echo "== 10000 random copies on the mock device"
  "$probe" verify --mock --count 10000
fi
status=$?

echo
if [ $status = 0 ]; then
  echo "Summary: ${device:-the mock device} copied every byte correctly."
  echo "Next:    $probe --help"
else
  echo "Summary: ${device:-the mock device} did NOT pass (exit status $status)."
fi
exit $status
