// SPDX-License-Identifier: Apache-2.0
// Memory files, huge pages and NUMA placement: calls without a libc wrapper on every Debian.
#ifndef NETDMA_MEMORY_H
#define NETDMA_MEMORY_H
// No _GNU_SOURCE: another module of the importing program may have seen the same libc headers without
// it, and the two views must agree. Hence the constants below.
#include <fcntl.h>
#include <linux/mempolicy.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#ifndef MFD_CLOEXEC
#define MFD_CLOEXEC 0x0001U
#endif
#ifndef MFD_ALLOW_SEALING
#define MFD_ALLOW_SEALING 0x0002U
#endif
#ifndef MFD_HUGETLB
#define MFD_HUGETLB 0x0004U
#endif
#ifndef F_ADD_SEALS
#define F_ADD_SEALS 1033
#define F_GET_SEALS 1034
#define F_SEAL_SEAL 0x0001
#define F_SEAL_SHRINK 0x0002
#define F_SEAL_GROW 0x0004
#endif

static inline int netdma_memfd_create(const char *_Nonnull name, unsigned flags) {
  return (int)syscall(SYS_memfd_create, name, flags);
}
static inline unsigned netdma_mfd_flags(int huge2MiB) {
  // MFD_HUGE_2MB is 21 << MFD_HUGE_SHIFT (26).
  return MFD_CLOEXEC | MFD_ALLOW_SEALING | (huge2MiB ? (MFD_HUGETLB | (21U << 26)) : 0U);
}
static inline int netdma_seal_size(int fd) {
  return fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
}
static inline int netdma_get_seals(int fd) { return fcntl(fd, F_GET_SEALS); }
static inline int netdma_seal_shrink_flag(void) { return F_SEAL_SHRINK; }
// F_SEAL_WRITE and F_SEAL_FUTURE_WRITE: either keeps a file from being mapped for writing.
static inline int netdma_seal_write_flags(void) { return 0x08 | 0x10; }
static inline void *_Nonnull netdma_map_failed(void) { return MAP_FAILED; }

// The magic number of the file system that a descriptor's file is on; 0 where that cannot be told.
static inline uint32_t netdma_file_system(int fd) {
  struct statfs system;
  return fstatfs(fd, &system) == 0 ? (uint32_t)system.f_type : 0;
}

// Copies between memory of our own and a mapping whose file another process may truncate: where a plain
// access would end this process with SIGBUS, the kernel stops here. Bytes copied, -1 with errno if none.
// The destination is the foreign side when `writes` is not 0. By system call, for _GNU_SOURCE's sake.
static inline long netdma_guarded_copy(void *_Nonnull to, const void *_Nonnull from,
                                       unsigned long count, int writes) {
  struct { void *base; unsigned long length; } own = {writes ? (void *)from : to, count},
                                               foreign = {writes ? to : (void *)from, count};
  return syscall(writes ? SYS_process_vm_writev : SYS_process_vm_readv, (long)getpid(), &own, 1UL, &foreign,
                 1UL, 0UL);
}

// Prefers NUMA node `node` (0..1023) for pages of the range that are not touched yet.
static inline long netdma_prefer_node(void *_Nonnull address, unsigned long length, int node) {
  unsigned long mask[16] = {0};
  if (node < 0 || node >= 1024) return -1;
  mask[node / 64] = 1UL << (node % 64);
  return syscall(SYS_mbind, address, length, MPOL_PREFERRED, mask, 1024UL, 0U);
}
#endif
