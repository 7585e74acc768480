// SPDX-License-Identifier: Apache-2.0
#include "floor_wakeup.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "bench_system.h"

struct floor_waiter {
  int fd;
  int cpu;
  int priority;
  int stops;
  uint64_t woken;
  pthread_t thread;
};

static void *run(void *argument) {
  floor_waiter *w = argument;
  bench_pin(w->cpu);
  if (w->priority > 0) bench_fifo(w->priority);
  uint64_t count;
  while (read(w->fd, &count, sizeof count) == sizeof count) {
    __atomic_store_n(&w->woken, bench_now(), __ATOMIC_RELEASE);
    if (__atomic_load_n(&w->stops, __ATOMIC_ACQUIRE)) break;
  }
  return NULL;
}

floor_waiter *floor_waiter_create(int cpu, int priority) {
  floor_waiter *w = calloc(1, sizeof *w);
  if (!w) return NULL;
  w->cpu = cpu;
  w->priority = priority;
  w->fd = eventfd(0, EFD_CLOEXEC);
  if (w->fd < 0 || pthread_create(&w->thread, NULL, run, w) != 0) {
    if (w->fd >= 0) close(w->fd);
    free(w);
    return NULL;
  }
  return w;
}

static void signal_it(floor_waiter *w) {
  uint64_t one = 1;
  if (write(w->fd, &one, sizeof one) != sizeof one) abort();
}

void floor_waiter_free(floor_waiter *w) {
  if (!w) return;
  __atomic_store_n(&w->stops, 1, __ATOMIC_RELEASE);
  signal_it(w);
  pthread_join(w->thread, NULL);
  close(w->fd);
  free(w);
}

uint64_t floor_waiter_sample(floor_waiter *w) {
  __atomic_store_n(&w->woken, 0, __ATOMIC_RELAXED);
  uint64_t start = bench_now(), woken;
  signal_it(w);
  while ((woken = __atomic_load_n(&w->woken, __ATOMIC_ACQUIRE)) == 0) bench_pause();
  return woken - start;
}
