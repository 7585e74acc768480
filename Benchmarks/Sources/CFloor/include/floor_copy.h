// SPDX-License-Identifier: Apache-2.0
// The floor of an engine that is a CPU: memcpy in a loop.
#ifndef FLOOR_COPY_H
#define FLOOR_COPY_H
#include <stdint.h>

// Copies `size` bytes `count` times; copy number n goes from offset (n mod places) * size of `source` to the
// same offset of `target`. Gives the nanoseconds.
uint64_t floor_copy_run(void *_Nonnull target, const void *_Nonnull source, uint64_t size, uint64_t places,
                        uint64_t count);
#endif
