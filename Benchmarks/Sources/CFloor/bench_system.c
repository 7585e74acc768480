// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include "bench_system.h"

#include <sched.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

int bench_memfd(uint64_t bytes) {
  int fd = memfd_create("bench", MFD_CLOEXEC);
  if (fd >= 0 && ftruncate(fd, (off_t)bytes) != 0) {
    close(fd);
    return -1;
  }
  return fd;
}

int bench_pin(int cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET((size_t)cpu, &set);
  return sched_setaffinity(0, sizeof set, &set);
}

uint64_t bench_now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}
