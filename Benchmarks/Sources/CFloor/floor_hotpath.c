// SPDX-License-Identifier: Apache-2.0
#include "floor_hotpath.h"

#include <stdlib.h>
#include <string.h>

typedef struct {
  uint64_t size_and_control;
  uint64_t source;
  uint64_t destination;
  uint64_t next;
  uint64_t rest[4];
} descriptor;

enum { REPORT = 8, HALTED = 3, STATE = 7 };

struct floor_channel {
  descriptor *restrict ring;
  uint64_t *restrict tokens;
  instant_device device;
  uint32_t mask;
  uint32_t head;  // next to write
  uint32_t tail;  // oldest outstanding
};

floor_channel *floor_channel_create(uint32_t slots) {
  floor_channel *c = calloc(1, sizeof *c);
  char *page = NULL, *ring = NULL;
  uint64_t *tokens = calloc(slots, sizeof *tokens);
  if (!c || !tokens || posix_memalign((void **)&page, 4096, 4096) ||
      posix_memalign((void **)&ring, 4096, (size_t)slots * 64 + 64)) {
    free(c);
    free(tokens);
    free(page);
    return NULL;
  }
  memset(page, 0, 4096);
  memset(ring, 0, (size_t)slots * 64 + 64);
  c->ring = (descriptor *)ring;
  c->tokens = tokens;
  c->mask = slots - 1;
  c->device.doorbell = (volatile uint16_t *)(page + 0x86);
  c->device.completion = (uint64_t *)(ring + (size_t)slots * 64);
  c->device.ring = (uint64_t)(uintptr_t)ring;
  c->device.mask = slots - 1;
  for (uint32_t i = 0; i < slots; i++)
    c->ring[i].next = c->device.ring + (uint64_t)((i + 1) & c->mask) * 64;
  return c;
}

void floor_channel_free(floor_channel *c) {
  if (!c) return;
  free((void *)((uintptr_t)c->device.doorbell & ~(uintptr_t)4095));
  free(c->ring);
  free(c->tokens);
  free(c);
}

static inline int enqueue(floor_channel *c, const floor_copy *copy, uint64_t token) {
  if (c->head - c->tail == c->mask) return 0;
  uint32_t slot = c->head & c->mask;
  descriptor *d = &c->ring[slot];
  d->size_and_control = copy->size;
  d->source = copy->source;
  d->destination = copy->destination;
  c->tokens[slot] = token;
  c->head++;
  return 1;
}

static inline void submit(floor_channel *c) {
  c->ring[(c->head - 1) & c->mask].size_and_control |= (uint64_t)REPORT << 32;
  __atomic_thread_fence(__ATOMIC_RELEASE);
  *c->device.doorbell = (uint16_t)c->head;
}

static inline uint32_t poll(floor_channel *c) {
  uint64_t word = __atomic_load_n(c->device.completion, __ATOMIC_ACQUIRE);
  if ((word & STATE) == HALTED) return 0;
  uint64_t offset = (word & ~(uint64_t)63) - c->device.ring;
  if (offset >> 6 > c->mask) return 0;
  uint32_t done = (((uint32_t)(offset >> 6) - c->tail) & c->mask) + 1;
  if (done > c->head - c->tail) return 0;
  c->tail += done;
  return done;
}

uint64_t floor_run(floor_channel *channel, const floor_copy *restrict copies, uint32_t copy_mask,
                   uint64_t batches, uint32_t batch) {
  floor_channel c = *channel;
  uint64_t completed = 0, token = 0;
  for (uint64_t b = 0; b < batches; b++) {
    for (uint32_t i = 0; i < batch; i++) {
      if (!enqueue(&c, &copies[token & copy_mask], token)) break;
      token++;
    }
    submit(&c);
    instant_device_complete(&c.device);
    completed += poll(&c);
  }
  *channel = c;
  return completed;
}
