// SPDX-License-Identifier: Apache-2.0
// The floor: what a C programmer would write by hand for one polled channel if nothing else
// mattered. It checks for a full ring, writes the words of a descriptor that change, keeps the
// client's token, rings the doorbell once a batch and decodes the completion word once a poll. It
// has no errors, no statistics, no shutdown and no second thread to think of.
#ifndef FLOOR_HOTPATH_H
#define FLOOR_HOTPATH_H
#include <stdint.h>
#include "instant_device.h"

typedef struct {
  uint64_t source;
  uint64_t destination;
  uint32_t size;
} floor_copy;

typedef struct floor_channel floor_channel;

// A channel with a ring of `slots` (a power of two) on an instant device of its own; NULL without
// memory.
floor_channel *_Nullable floor_channel_create(uint32_t slots);
void floor_channel_free(floor_channel *_Nullable channel);

// Runs `batches` batches of `batch` copies, taken in turn from `copies` (`copy_mask` plus one of
// them), one poll each; gives the number of copies that completed.
uint64_t floor_run(floor_channel *_Nonnull channel, const floor_copy *_Nonnull copies,
                   uint32_t copy_mask, uint64_t batches, uint32_t batch);
#endif
