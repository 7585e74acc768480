// SPDX-License-Identifier: Apache-2.0
#include "floor_copy.h"

#include <string.h>

#include "bench_system.h"

uint64_t floor_copy_run(void *target, const void *source, uint64_t size, uint64_t places, uint64_t count) {
  uint64_t start = bench_now(), place = 0;
  for (uint64_t n = 0; n < count; n++) {
    uint64_t offset = place * size;
    memcpy((char *)target + offset, (const char *)source + offset, size);
    // Copies that nobody reads between two of the same place are not to be merged.
    __asm__ volatile("" ::: "memory");
    if (++place == places) place = 0;
  }
  return bench_now() - start;
}
