// SPDX-License-Identifier: Apache-2.0
// The floor of an interrupt: a C thread that is blocked in read(2) of an eventfd and stores the time as
// soon as it has returned. Nothing else is between the signal and the code that wanted it.
#ifndef FLOOR_WAKEUP_H
#define FLOOR_WAKEUP_H
#include <stdint.h>

typedef struct floor_waiter floor_waiter;

// A thread on `cpu`, with SCHED_FIFO priority `priority` where that is not 0 and permitted; NULL with
// errno set.
floor_waiter *_Nullable floor_waiter_create(int cpu, int priority);
void floor_waiter_free(floor_waiter *_Nullable waiter);

// Signals the eventfd and waits; nanoseconds from just before the signal to the thread's first
// instruction behind its read.
uint64_t floor_waiter_sample(floor_waiter *_Nonnull waiter);
#endif
