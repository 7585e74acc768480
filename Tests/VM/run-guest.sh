#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Boots one guest, runs one scenario in it and powers it off.
#
#   run-guest.sh --probe FILE --scenario FILE [--socket PATH]... [options]
#
#   --probe FILE       the netdma-probe to put into the guest, with the libraries that it needs
#   --scenario FILE    a shell script that runs as the guest's only job (busybox sh); it prints
#                      "RESULT name ok" or "RESULT name fail reason" lines, and its status counts
#   --socket PATH      a vfio-user server's socket: one PCI device of the guest each
#   --kernel KIND      stock (Debian's, the default) or test (with iommufd and dmatest)
#   --dpdk             with DPDK's test program in /dpdk
#   --iommu on|off     the guest's virtual IOMMU (on)
#   --unshared         the guest's memory is QEMU's own: devices reach it by messages only
#   --env NAME=VALUE   set in the scenario
#   --file SRC:DST     another file or folder for the guest
#   --timeout SECONDS  for the whole run (120)
#   --memory SIZE      of the guest (1G)
#   --smp N            CPUs of the guest (2)
#   --log FILE         where the guest's console goes (standard output by default)
#
# Exit status: 0 when the scenario ended with status 0; 77 when guests cannot run here (with the
# reason); 124 when the time ran out; 1 otherwise.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
probe='' scenario='' kernel=stock iommu=on timeout=120 memory=1G smp=2 log='' dpdk='' unshared=''
sockets=() environment=() files=()
while [ $# -gt 0 ]; do
  case $1 in
  --dpdk) dpdk=yes; shift; continue ;;
  --unshared) unshared=yes; shift; continue ;;
  --probe) probe=$2 ;; --scenario) scenario=$2 ;; --socket) sockets+=("$2") ;;
  --kernel) kernel=$2 ;; --iommu) iommu=$2 ;; --env) environment+=("$2") ;;
  --file) files+=("$2") ;; --timeout) timeout=$2 ;; --memory) memory=$2 ;;
  --smp) smp=$2 ;; --log) log=$2 ;;
  *) echo "run-guest.sh: unknown argument $1" >&2; exit 64 ;;
  esac
  shift 2
done
[ -f "$scenario" ] || { echo "run-guest.sh: --scenario needs a file" >&2; exit 64; }

wishes=()
[ "$kernel" != test ] || wishes+=(test-kernel)
[ -z "$dpdk" ] || wishes+=(dpdk)
setup=$("$here/setup.sh" "${wishes[@]}") || {
  status=$?
  printf '%s\n' "$setup"
  exit $status
}
value() { printf '%s\n' "$setup" | sed -n "s/^$1=//p"; }
if [ "$kernel" = test ]; then
  vmlinuz=$(value test-kernel) modules=$(value test-modules)
else
  vmlinuz=$(value kernel) modules=$(value modules)
fi

work=$(mktemp -d "${TMPDIR:-/tmp}/netdma-guest.XXXXXX")
pid=''
cleanup() {
  [ -z "$pid" ] || kill -KILL "$pid" 2>/dev/null || true
  rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

# MARK: the guest's root

guest=$work/root
mkdir -p "$guest"/{bin,dev,proc,sys,tmp,run,modules,lib,lib64,etc,var,usr/share/misc}
ln -s /run "$guest/var/run"
cp "$(value busybox)" "$guest/bin/busybox"
cp "$modules"/* "$guest/modules/"
add_program() {
  cp "$1" "$guest/bin/$(basename "$1")"
  local library
  for library in $(ldd "$1" | grep -o '/[^ ]*'); do
    mkdir -p "$guest$(dirname "$library")"
    cp -Ln "$library" "$guest$library"
  done
}
if [ -n "$probe" ]; then
  add_program "$probe"
  for ids in /usr/share/misc/pci.ids /usr/share/hwdata/pci.ids; do
    [ ! -e "$ids" ] || cp -L "$ids" "$guest/usr/share/misc/pci.ids"
  done
fi
for file in "${files[@]}"; do
  mkdir -p "$guest$(dirname "${file#*:}")"
  cp -R "${file%%:*}" "$guest${file#*:}"
done
[ -z "$dpdk" ] || cp -R "$(value dpdk)" "$guest/dpdk"
cp "$scenario" "$guest/scenario.sh"
cp "$here/common.sh" "$guest/common.sh"
{
  for assignment in "${environment[@]}"; do
    printf "export %s='%s'\n" "${assignment%%=*}" "${assignment#*=}"
  done
} >"$guest/scenario.env"
cat >"$guest/init" <<'INIT'
#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin HOME=/tmp
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/shm
mount -t tmpfs tmpfs /dev/shm
mount -t tmpfs tmpfs /tmp
mount -t tmpfs tmpfs /run
mount -t debugfs debugfs /sys/kernel/debug 2>/dev/null
echo 'root:x:0:0::/tmp:/bin/sh' >/etc/passwd
echo 'user:x:1000:1000::/tmp:/bin/sh' >>/etc/passwd
echo 'root:x:0:' >/etc/group
echo 'user:x:1000:' >>/etc/group
ip link set lo up 2>/dev/null
. /scenario.env
# Through a pipe, so that programs do not take the console for a person's terminal.
{
  sh /scenario.sh
  echo "SCENARIO-END status=$?"
} 2>&1 | cat
poweroff -f
INIT
chmod +x "$guest/init"
(cd "$guest" && find . | cpio -o -H newc --quiet | gzip -1) >"$work/initrd"

# MARK: the machine

read -r -a command <<<"$(value qemu)"
machine=q35,kernel-irqchip=split
if [ -z "$unshared" ]; then
  command+=(-object "memory-backend-memfd,id=mem,size=$memory,share=on")
  machine=$machine,memory-backend=mem
fi
command+=(-accel tcg,thread=multi -M "$machine" -m "$memory" -smp "$smp" -cpu max
  -nodefaults -display none -serial stdio -no-reboot)
# no_timer_check: on a busy host the emulated timer can miss the few ticks that the kernel waits for,
# and behind remapped interrupts it then panics.
append="console=ttyS0 quiet panic=-1 no_timer_check"
if [ "$iommu" = on ]; then
  # Before the devices: caching mode is what makes the guest's mappings reach them.
  command+=(-device intel-iommu,intremap=on,caching-mode=on)
  append="$append intel_iommu=on"
fi
command+=(-kernel "$vmlinuz" -initrd "$work/initrd" -append "$append")
for socket in "${sockets[@]}"; do
  command+=(-device
    "{\"driver\":\"vfio-user-pci\",\"socket\":{\"type\":\"unix\",\"path\":\"$socket\"}}")
done

"${command[@]}" >"$work/console" 2>&1 </dev/null &
pid=$!
deadline=$((SECONDS + timeout))
while kill -0 "$pid" 2>/dev/null; do
  if [ $SECONDS -ge $deadline ]; then
    kill -KILL "$pid" 2>/dev/null || true
    echo "run-guest.sh: the guest did not end within $timeout s" >>"$work/console"
    status=124
    break
  fi
  sleep 0.1
done
wait "$pid" 2>/dev/null || true
pid=''
if [ -n "$log" ]; then tr -d '\r' <"$work/console" >"$log"; else tr -d '\r' <"$work/console"; fi
[ "${status:-0}" = 0 ] || exit "$status"
grep -q '^SCENARIO-END status=0' "$work/console"
