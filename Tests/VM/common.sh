# SPDX-License-Identifier: Apache-2.0
# In the guest, for scenarios: `. /common.sh` gives them these functions.

failed=0
# result NAME ok|fail [EVIDENCE]: one line for whoever reads the console; a failure counts for `finish`.
result() {
  echo "RESULT $1 $2 ${3:-}"
  [ "$2" = ok ] || failed=1
}

# Ends the scenario: well if nothing failed.
finish() { exit $failed; }

# The addresses of the IOAT functions.
ioat_functions() {
  local node
  for node in /sys/bus/pci/devices/*; do
    [ "$(cat "$node/vendor")" = 0x8086 ] || continue
    case $(cat "$node/class") in 0x0880*) basename "$node" ;; esac
  done
}

# load NAME [PARAMETER...]: a module of the guest's kernel. What is not there is built in.
load() {
  local module=$1
  shift
  [ ! -e "/modules/$module.ko" ] || insmod "/modules/$module.ko" "$@" || result "insmod-$module" fail
}

# VFIO for PCI functions.
load_vfio() {
  local module
  for module in irqbypass vfio vfio_iommu_type1 vfio-pci-core vfio-pci; do load $module; done
}

# driver_of ADDRESS: the driver that a function is bound to, empty when none.
driver_of() {
  local link=/sys/bus/pci/devices/$1/driver
  [ ! -e "$link" ] || basename "$(readlink "$link")"
}

# bind_vfio ADDRESS: binds a function to vfio-pci by hand, with nothing of the program under test.
bind_vfio() {
  local node=/sys/bus/pci/devices/$1
  echo vfio-pci >"$node/driver_override"
  [ ! -e "$node/driver" ] || echo "$1" >"$node/driver/unbind"
  echo "$1" >/sys/bus/pci/drivers_probe
  [ "$(driver_of "$1")" = vfio-pci ] || result "bind-$1" fail "not bound to vfio-pci"
}

# probe NAME ARGUMENT...: netdma-probe with --json must end well; its status is the result NAME.
probe() {
  local name=$1 status=0
  shift
  netdma-probe "$@" --json || status=$?
  if [ $status = 0 ]; then result "$name" ok; else result "$name" fail "status $status"; fi
}
