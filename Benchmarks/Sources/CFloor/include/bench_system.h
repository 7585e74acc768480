// SPDX-License-Identifier: Apache-2.0
// Calls that Swift's Glibc module does not offer.
#ifndef BENCH_SYSTEM_H
#define BENCH_SYSTEM_H
#include <stdint.h>

// Anonymous memory with a file descriptor, -1 with errno set.
int bench_memfd(uint64_t bytes);
// Pins the calling thread; 0, or -1 with errno set.
int bench_pin(int cpu);
// CLOCK_MONOTONIC in nanoseconds.
uint64_t bench_now(void);
#endif
