// SPDX-License-Identifier: Apache-2.0
// Counts the calls of this thread that a hot path must not make: heap, reference counts, exclusivity
// checks, locks, system calls. The program's own functions of these names stand before the runtime's and
// the C library's, and hand on.
#ifndef CALL_COUNTERS_H
#define CALL_COUNTERS_H
#include <stdint.h>

typedef struct {
  uint64_t allocations;  // malloc and its kin, swift_allocObject, swift_slowAlloc
  uint64_t references;   // swift_retain, swift_release and their kin
  uint64_t accesses;     // swift_beginAccess
  uint64_t locks;        // pthread_mutex_lock and its kin
  uint64_t systemCalls;  // syscall(2), which futexes and membarrier go through
} call_counts;

// Counts from here on, from zero.
void call_counters_start(void);
// Ends it, and tells.
call_counts call_counters_stop(void);
// Does each of the counted things once, for who wants to know that counting works.
void call_counters_make_one_of_each_in_c(void);
#endif
