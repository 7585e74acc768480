// SPDX-License-Identifier: Apache-2.0
// CPU affinity and scheduling class of the calling thread; the CPU_* macros are not imported.
#ifndef NETDMA_THREAD_H
#define NETDMA_THREAD_H
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

// Affinity by raw system call: a mask of 8192 CPUs, and no dependence on the feature macros that
// the importing module was compiled with.
#define NETDMA_CPU_WORDS 128

static inline int netdma_pin_current_thread(int cpu) {
  unsigned long mask[NETDMA_CPU_WORDS];
  memset(mask, 0, sizeof mask);
  if (cpu < 0 || cpu >= NETDMA_CPU_WORDS * 64) return -1;
  mask[cpu / 64] = 1UL << (cpu % 64);
  return (int)syscall(SYS_sched_setaffinity, 0, sizeof mask, mask);
}
// 1 when the calling thread may run on `cpu`, 0 when not, -1 on error.
static inline int netdma_may_run_on(int cpu) {
  unsigned long mask[NETDMA_CPU_WORDS];
  memset(mask, 0, sizeof mask);
  if (cpu < 0 || cpu >= NETDMA_CPU_WORDS * 64) return 0;
  if (syscall(SYS_sched_getaffinity, 0, sizeof mask, mask) < 0) return -1;
  return (mask[cpu / 64] >> (cpu % 64)) & 1UL ? 1 : 0;
}
static inline int netdma_current_cpu(void) {
  unsigned cpu = 0;
  if (syscall(SYS_getcpu, &cpu, (void *)0, (void *)0) != 0) return -1;
  return (int)cpu;
}
// Keeps the first 15 bytes.
static inline void netdma_name_current_thread(const char *_Nonnull name) {
  (void)prctl(PR_SET_NAME, (unsigned long)name, 0UL, 0UL, 0UL);
}
static inline void netdma_yield(void) { (void)syscall(SYS_sched_yield); }
static inline int netdma_gettid(void) { return (int)syscall(SYS_gettid); }
// SCHED_FIFO for the calling thread; -1 with errno where it is not permitted.
static inline int netdma_set_fifo(int priority) {
  struct { int sched_priority; } p = {priority};
  return (int)syscall(SYS_sched_setscheduler, 0, 1 /* SCHED_FIFO */, &p);
}

// membarrier(2): after the call every running thread of this process has passed a full memory barrier,
// so their side of a store-then-load handshake needs only program order.
#define NETDMA_MEMBARRIER_PRIVATE_EXPEDITED (1 << 3)
#define NETDMA_MEMBARRIER_REGISTER_PRIVATE_EXPEDITED (1 << 4)
static inline int netdma_membarrier_register(void) {
  return (int)syscall(SYS_membarrier, NETDMA_MEMBARRIER_REGISTER_PRIVATE_EXPEDITED, 0, 0);
}
static inline int netdma_membarrier(void) {
  return (int)syscall(SYS_membarrier, NETDMA_MEMBARRIER_PRIVATE_EXPEDITED, 0, 0);
}
#endif
