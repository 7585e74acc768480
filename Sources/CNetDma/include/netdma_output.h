// SPDX-License-Identifier: Apache-2.0
// `stdout` is a variable, which Swift does not let threads share.
#ifndef NETDMA_OUTPUT_H
#define NETDMA_OUTPUT_H
#include <stdio.h>

// Whether something that was printed could not be written, now or before.
static inline int netdma_output_failed(void) { return ferror(stdout); }
#endif
