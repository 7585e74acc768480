// SPDX-License-Identifier: Apache-2.0
// Header-only shims: what Swift's importer cannot see or cannot promise (volatile access widths,
// ordering at the doorbell, function-like kernel macros, ancillary socket data). No logic.
#ifndef NETDMA_CNETDMA_H
#define NETDMA_CNETDMA_H
#include "netdma_event.h"
#include "netdma_memory.h"
#include "netdma_mmio.h"
#include "netdma_output.h"
#include "netdma_socket.h"
#include "netdma_thread.h"
#include "netdma_vfio.h"
#endif
