// SPDX-License-Identifier: Apache-2.0
// Calls that Swift's Glibc module does not offer.
#ifndef BENCH_SYSTEM_H
#define BENCH_SYSTEM_H
#include <stdint.h>

// Anonymous memory with a file descriptor, -1 with errno set.
int bench_memfd(uint64_t bytes);
// A pipe whose ends a new program does not inherit; 0, or -1 with errno set.
int bench_pipe(int *_Nonnull ends);
// Pins the calling thread; 0, or -1 with errno set.
int bench_pin(int cpu);
// CLOCK_MONOTONIC in nanoseconds.
uint64_t bench_now(void);
// SCHED_FIFO for the calling thread, or the ordinary scheduler again for 0; 0, or -1 where it is refused.
int bench_fifo(int priority);
// How often the calling thread gave its CPU up because it had to wait.
uint64_t bench_waits(void);
// Has callgrind (with --collect-atstart=no) count from here, and no more from the next call on; nothing
// outside of it. 0 where the program was built without valgrind's headers.
int bench_toggle_counting(void);
// One turn of a spin loop.
static inline void bench_pause(void) {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}
#endif
