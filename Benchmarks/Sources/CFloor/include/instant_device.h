// SPDX-License-Identifier: Apache-2.0
// An engine that takes no time: it lives in memory, and the measuring loop itself has it complete
// whatever the doorbell says. Both sides of every comparison run on it, at the same price.
#ifndef INSTANT_DEVICE_H
#define INSTANT_DEVICE_H
#include <stdint.h>

typedef struct {
  // DMACOUNT: how many descriptors are valid, counted from the start of the ring, modulo 65536.
  volatile uint16_t *_Nonnull doorbell;
  // Where the engine reports.
  uint64_t *_Nonnull completion;
  // The device's address of slot 0, and slots minus one.
  uint64_t ring;
  uint32_t mask;
} instant_device;

// Reports the newest valid descriptor as done, and the channel as idle.
static inline void instant_device_complete(const instant_device *_Nonnull d) {
  uint64_t last = (uint16_t)(*d->doorbell - 1) & d->mask;
  __atomic_store_n(d->completion, (d->ring + last * 64) | 1, __ATOMIC_RELEASE);
}
#endif
