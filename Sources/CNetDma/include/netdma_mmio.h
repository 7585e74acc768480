// SPDX-License-Identifier: Apache-2.0
// Register access of exact width, and the two places where order matters: a doorbell is a release,
// a completion word is an acquire.
#ifndef NETDMA_MMIO_H
#define NETDMA_MMIO_H
#include <stdint.h>

static inline uint8_t netdma_read8(const volatile void *_Nonnull p) { return *(const volatile uint8_t *)p; }
static inline uint16_t netdma_read16(const volatile void *_Nonnull p) { return *(const volatile uint16_t *)p; }
static inline uint32_t netdma_read32(const volatile void *_Nonnull p) { return *(const volatile uint32_t *)p; }
static inline uint64_t netdma_read64(const volatile void *_Nonnull p) { return *(const volatile uint64_t *)p; }
static inline void netdma_write8(volatile void *_Nonnull p, uint8_t v) { *(volatile uint8_t *)p = v; }
static inline void netdma_write16(volatile void *_Nonnull p, uint16_t v) { *(volatile uint16_t *)p = v; }
static inline void netdma_write32(volatile void *_Nonnull p, uint32_t v) { *(volatile uint32_t *)p = v; }
static inline void netdma_write64(volatile void *_Nonnull p, uint64_t v) { *(volatile uint64_t *)p = v; }

// Makes every descriptor store before it visible to the device before the 16-bit count is.
static inline void netdma_doorbell16(volatile void *_Nonnull p, uint16_t v) {
  __atomic_thread_fence(__ATOMIC_RELEASE);
#if defined(__aarch64__)
  __asm__ volatile("dmb oshst" ::: "memory");
#endif
  *(volatile uint16_t *)p = v;
}

// What the device wrote before this word is visible after the load.
static inline uint64_t netdma_load_acquire64(const volatile void *_Nonnull p) {
  return __atomic_load_n((const volatile uint64_t *)p, __ATOMIC_ACQUIRE);
}
static inline void netdma_store_release64(volatile void *_Nonnull p, uint64_t v) {
  __atomic_store_n((volatile uint64_t *)p, v, __ATOMIC_RELEASE);
}
// Stores `desired` if `expected` is still there; whether it was.
static inline int netdma_exchange16(volatile void *_Nonnull p, uint16_t expected, uint16_t desired) {
  return __atomic_compare_exchange_n((volatile uint16_t *)p, &expected, desired, 0, __ATOMIC_SEQ_CST,
                                     __ATOMIC_RELAXED);
}
static inline void netdma_fence_release(void) { __atomic_thread_fence(__ATOMIC_RELEASE); }
static inline void netdma_fence_acquire(void) { __atomic_thread_fence(__ATOMIC_ACQUIRE); }

// Does nothing; but the Swift compiler, which does not look into C, takes it that `memory` changed, and
// leaves it to LLVM to find out what is the same as before.
static inline __attribute__((always_inline)) void netdma_touch(void *_Nonnull memory) { (void)memory; }

// Keeps the compiler, not the CPU, from moving accesses across.
static inline void netdma_compiler_barrier(void) { __asm__ volatile("" ::: "memory"); }

// Has the CPU fetch a line that will be read soon; touches nothing.
static inline void netdma_prefetch(const void *_Nonnull p) { __builtin_prefetch(p, 0, 3); }

// One turn of a spin loop.
static inline void netdma_cpu_pause(void) {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}
#endif
