# SPDX-License-Identifier: Apache-2.0
# In the guest: DPDK's own test program, with DPDK's driver for IOAT engines, on the real /dev/vfio.

. /common.sh
load_vfio
devices=$(ioat_functions)
allow=''
for address in $devices; do
  bind_vfio "$address"
  allow="$allow -a $address"
done
echo "${HUGEPAGES:-256}" >/proc/sys/vm/nr_hugepages
mkdir -p /dev/hugepages
mount -t hugetlbfs hugetlbfs /dev/hugepages
for name in ${TESTS:-dmadev_autotest}; do
  # Its waits are fixed times, a millisecond some of them: a host that has no CPU for the engine just
  # then fails it, so it may try again.
  for attempt in 1 2 3; do
    status=0
    # shellcheck disable=SC2086
    /dpdk/lib/ld-linux-x86-64.so.2 --library-path /dpdk/lib /dpdk/dpdk-test \
      -d /dpdk/drivers -l 0-1 --iova-mode=va --in-memory --no-telemetry $allow "$name" \
      </dev/null >/tmp/said 2>&1 || status=$?
    [ $status != 0 ] || break
    echo "$name: attempt $attempt failed with status $status"
  done
  # Without the counter that it shows while it runs.
  tr '\r' '\n' </tmp/said | grep -v '^Ops submitted'
  if [ $status = 0 ]; then result "$name" ok; else result "$name" fail "status $status"; fi
done
dmesg | grep -i 'DMAR.*fault' | tail -n 5
finish
