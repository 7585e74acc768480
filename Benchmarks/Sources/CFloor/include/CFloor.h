// SPDX-License-Identifier: Apache-2.0
#ifndef CFLOOR_H
#define CFLOOR_H
#include "bench_system.h"
#include "floor_copy.h"
#include "floor_hotpath.h"
#include "floor_wakeup.h"
#include "instant_device.h"
#endif
