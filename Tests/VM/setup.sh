#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Makes what the guests of the VM tests need, in a cache outside the working tree:
#
#   setup.sh              QEMU with vfio-user-pci, Debian's kernel and modules, a static busybox
#   setup.sh test-kernel  besides, a kernel with iommufd, VFIO character devices and dmatest
#   setup.sh dpdk         besides, DPDK's own test program with its driver for IOAT engines
#
# The cache is $NETDMA_VM_CACHE, else ${XDG_CACHE_HOME:-~/.cache}/netdma-vfio/vm. Each stage is done
# once; a stage that was interrupted is done again. Prints where things are:
#
#   qemu=COMMAND…  kernel=FILE  modules=DIR  busybox=FILE  [test-kernel=FILE  test-modules=DIR]
#   [dpdk=DIR]
#
# Exit status: 0 ready; 77 this machine cannot run guests (one line says why); else an error.
set -euo pipefail

cache=${NETDMA_VM_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/netdma-vfio/vm}
root=$cache/trixie
log=$cache/setup.log

say() { printf '%s\n' "vm setup: $*" >&2; }
cannot() { printf '%s\n' "$*"; exit 77; }

[ "$(uname -m)" = x86_64 ] || cannot "the guests are x86-64 and this machine is $(uname -m)"
mkdir -p "$cache"
exec 9>"$cache/.lock"
flock 9

run_logged() {
  if ! "$@" >>"$log" 2>&1 9>&-; then
    tail -n 30 "$log" >&2
    say "failed: $* (whole log: $log)"
    exit 1
  fi
}

need_root() {
  [ "$(id -u)" = 0 ] || cannot "setting up the guests needs root once (run: sudo Tests/VM/setup.sh)"
  command -v apt-get >/dev/null || cannot "setting up the guests needs apt-get (Debian or Ubuntu)"
}

need_packages() {
  local missing=() package
  for package in "$@"; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' ||
      missing+=("$package")
  done
  [ ${#missing[@]} -eq 0 ] && return
  need_root
  say "installing ${missing[*]}"
  run_logged apt-get update
  run_logged env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y --no-install-recommends "${missing[@]}"
}

# Runs stage $1 unless it was finished before; the rest is the command.
stage() {
  local name=$1
  shift
  [ -e "$cache/.$name.done" ] && return
  "$@"
  touch "$cache/.$name.done"
}

# The mirror that this machine's own apt uses.
mirror() {
  apt-get indextargets --format '$(SITE)' 'Created-By: Packages' | grep -v security |
    grep -m 1 '/debian/\?$'
}

# Debian 13 in the folder $1, with the packages $2 (comma separated).
bootstrap() {
  need_root
  need_packages mmdebstrap
  local site
  site=$(mirror) || cannot "no Debian mirror is configured in apt"
  say "making a Debian 13 root in $1"
  rm -rf "$1"
  run_logged mmdebstrap --variant=minbase --include="$2" trixie "$1" "$site"
  cp -L /etc/resolv.conf "$1/etc/resolv.conf"
}

make_root() {
  local site
  bootstrap "$root" ca-certificates
  site=$(mirror)
  printf 'deb %s trixie-backports main\n' "$site" >"$root/etc/apt/sources.list.d/backports.list"
  run_logged chroot "$root" apt-get update
}

in_root() { run_logged env DEBIAN_FRONTEND=noninteractive chroot "$root" "$@"; }

install_qemu() {
  need_root
  stage root make_root
  say "installing QEMU from Debian 13's backports"
  in_root apt-get install -y --no-install-recommends -t trixie-backports qemu-system-x86
}

# A QEMU on PATH is good when it knows the vfio-user client (10.1 and later).
qemu_command() {
  local own
  own=$(command -v qemu-system-x86_64 || true)
  if [ -n "$own" ] && "$own" -device help 2>/dev/null | grep -q '"vfio-user-pci"'; then
    printf '%s' "$own"
    return
  fi
  stage qemu install_qemu
  # Its own loader and libraries, so that it runs here without chroot and sees this machine's paths.
  printf '%s' "$root/lib64/ld-linux-x86-64.so.2 --library-path \
$root/usr/lib/x86_64-linux-gnu:$root/lib/x86_64-linux-gnu:$root/usr/lib/x86_64-linux-gnu/pulseaudio \
$root/usr/bin/qemu-system-x86_64 -L $root/usr/share/qemu -L $root/usr/share/seabios"
}

# The versioned package that Debian 13's package $1 stands for.
real_package() {
  chroot "$root" apt-cache depends "$1" 9>&- | awk '$1 == "Depends:" && !found { print $2; found = 1 }'
}

# Modules of the stock kernel that the guests load, in the order of loading.
stock_modules="irqbypass vfio vfio_iommu_type1 vfio-pci-core vfio-pci dca ioatdma"

fetch_kernel() {
  need_root
  stage root make_root
  say "fetching Debian 13's kernel"
  rm -rf "$cache/stock" "$root/tmp/kernel"
  mkdir -p "$cache/stock/modules" "$root/tmp/kernel"
  local package
  package=$(real_package linux-image-amd64)
  run_logged chroot "$root" sh -c "cd /tmp/kernel && apt-get download $package && dpkg -x ./*.deb ."
  cp "$root"/tmp/kernel/boot/vmlinuz-* "$cache/stock/vmlinuz"
  local name file
  for name in $stock_modules; do
    file=$(find "$root/tmp/kernel" -name "$name.ko*" | head -n 1)
    [ -n "$file" ] || { say "the kernel has no module $name"; exit 1; }
    case $file in
    *.xz) xz -dc "$file" >"$cache/stock/modules/$name.ko" ;;
    *.zst) zstd -dqc "$file" >"$cache/stock/modules/$name.ko" ;;
    *) cp "$file" "$cache/stock/modules/$name.ko" ;;
    esac
  done
  printf '%s\n' "$stock_modules" >"$cache/stock/modules/order"
  rm -rf "$root/tmp/kernel"
}

# The options of the test kernel: what Debian's kernels leave out, and what a guest needs at least.
builtin_options="64BIT SMP PRINTK TTY SERIAL_8250 SERIAL_8250_CONSOLE BLK_DEV_INITRD RD_GZIP BINFMT_ELF
BINFMT_SCRIPT DEVTMPFS TMPFS SHMEM PROC_FS SYSFS DEBUG_FS MULTIUSER NET UNIX EPOLL EVENTFD SIGNALFD
TIMERFD FUTEX AIO MEMFD_CREATE MEMBARRIER HUGETLBFS TRANSPARENT_HUGEPAGE POSIX_TIMERS HIGH_RES_TIMERS NO_HZ_IDLE
ACPI PCI PCI_MSI PCIEPORTBUS PCI_MMCONFIG X86_X2APIC IRQ_REMAP IOMMU_SUPPORT INTEL_IOMMU
INTEL_IOMMU_DEFAULT_ON IOMMUFD VFIO VFIO_GROUP VFIO_CONTAINER VFIO_IOMMU_TYPE1 VFIO_DEVICE_CDEV
VFIO_NOIOMMU VFIO_PCI MODULES MODULE_UNLOAD DMADEVICES DMA_ENGINE ASYNC_TX_DMA RTC_CLASS
UNWINDER_FRAME_POINTER"
module_options="INTEL_IOATDMA DCA DMATEST"

fragment() {
  local option
  for option in $builtin_options; do printf 'CONFIG_%s=y\n' "$option"; done
  for option in $module_options; do printf 'CONFIG_%s=m\n' "$option"; done
  printf 'CONFIG_NR_CPUS=8\n'
}

# The version of package $1 in the root's package lists.
version_of() { chroot "$root" apt-cache show "$1" 9>&- | grep '^Version:'; }

# What the test kernel is made from.
test_kernel_key() {
  { fragment; version_of "$(real_package linux-source)"; } | cksum | cut -d' ' -f1
}

build_test_kernel() { # folder for the result
  # A root of its own: the backports that QEMU needs do not go with the compiler's libraries.
  local build=$cache/build name
  # Left by a build that was interrupted, or made from another source or other options.
  rm -rf "$cache"/test-*
  bootstrap "$build" linux-source,gcc,make,flex,bison,bc,libelf-dev,libssl-dev,xz-utils,kmod,perl,python3-minimal,cpio,rsync
  say "building the test kernel (some minutes)"
  mkdir -p "$1.new/modules" "$build/usr/src/netdma"
  run_logged chroot "$build" sh -c \
    'tar -xf "$(ls /usr/src/linux-source-*.tar.* | head -n 1)" -C /usr/src/netdma --strip-components=1'
  fragment >"$build/usr/src/netdma/netdma.config"
  run_logged chroot "$build" sh -c "cd /usr/src/netdma && make tinyconfig &&
    scripts/kconfig/merge_config.sh -m .config netdma.config && make olddefconfig"
  # An option that the source renamed or that lacks what it depends on vanishes without a word.
  while read -r name; do
    grep -qx "$name" "$build/usr/src/netdma/.config" || { say "the source does not take $name"; exit 1; }
  done <"$build/usr/src/netdma/netdma.config"
  run_logged chroot "$build" sh -c "cd /usr/src/netdma && make -j$(nproc) bzImage modules"
  cp "$build/usr/src/netdma/arch/x86/boot/bzImage" "$1.new/vmlinuz"
  for name in dca ioatdma dmatest; do
    find "$build/usr/src/netdma/drivers" -name "$name.ko" -exec cp {} "$1.new/modules/" \;
    [ -e "$1.new/modules/$name.ko" ] || { say "the build made no $name.ko"; exit 1; }
  done
  printf 'dca ioatdma\n' >"$1.new/modules/order"
  mv "$1.new" "$1"
  rm -rf "$build"
}

# A root of its own again, of which only the program remains, with every library that it loads.
fetch_dpdk() { # folder for the result
  local build=$cache/build-dpdk file
  rm -rf "$cache"/dpdk-*
  bootstrap "$build" dpdk-dev,librte-dma-ioat25,librte-mempool-ring25
  mkdir -p "$1.new/lib" "$1.new/drivers"
  cp "$build/usr/bin/dpdk-test" "$1.new/"
  # The program is linked to what it needs of DPDK, but for these two, which it loads.
  for file in mempool_ring dma_ioat; do
    cp -L "$build"/usr/lib/x86_64-linux-gnu/dpdk/pmds-*/"librte_$file.so" "$1.new/drivers/" ||
      { say "DPDK has no $file"; exit 1; }
  done
  chroot "$build" ldd /usr/bin/dpdk-test 9>&- | grep -o '/[^ ]*' >"$build/libraries"
  while read -r file; do cp -nL "$build$file" "$1.new/lib/"; done <"$build/libraries"
  mv "$1.new" "$1"
  rm -rf "$build"
}

find_busybox() {
  need_packages busybox-static
  cp "$(command -v busybox)" "$cache/busybox"
}

need_packages cpio
qemu=$(qemu_command)
stage kernel fetch_kernel
stage busybox find_busybox
echo "qemu=$qemu"
echo "kernel=$cache/stock/vmlinuz"
echo "modules=$cache/stock/modules"
echo "busybox=$cache/busybox"
for wish in "$@"; do
  case $wish in
  test-kernel)
    # A long build with a lock of its own, so that guests with the stock kernel need not wait for it.
    flock -u 9
    exec 9>"$cache/.test-kernel.lock"
    flock 9
    test=$cache/test-$(test_kernel_key)
    # Moved there when it is finished, so that it is whole or not there.
    [ -d "$test" ] || build_test_kernel "$test"
    echo "test-kernel=$test/vmlinuz"
    echo "test-modules=$test/modules"
    ;;
  dpdk)
    flock -u 9
    exec 9>"$cache/.dpdk.lock"
    flock 9
    dpdk=$cache/dpdk-$(version_of dpdk-dev | cksum | cut -d' ' -f1)
    [ -d "$dpdk" ] || fetch_dpdk "$dpdk"
    echo "dpdk=$dpdk"
    ;;
  *) say "there is no $wish to set up"; exit 64 ;;
  esac
done
