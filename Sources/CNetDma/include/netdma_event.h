// SPDX-License-Identifier: Apache-2.0
// eventfd, epoll and signalfd: their headers are not part of Swift's Glibc module.
#ifndef NETDMA_EVENT_H
#define NETDMA_EVENT_H
#include <errno.h>
#include <linux/aio_abi.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static inline int netdma_eventfd(void) { return eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC); }
// A blocking eventfd, for a thread that only waits for it.
static inline int netdma_eventfd_blocking(void) { return eventfd(0, EFD_CLOEXEC); }
static inline int netdma_epoll_create(void) { return epoll_create1(EPOLL_CLOEXEC); }
static inline int netdma_epoll_add(int epoll, int fd, uint64_t data) {
  struct epoll_event event;
  event.events = EPOLLIN;
  event.data.u64 = data;
  return epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
}
static inline int netdma_epoll_remove(int epoll, int fd) {
  struct epoll_event event;
  event.events = 0;
  event.data.u64 = 0;
  return epoll_ctl(epoll, EPOLL_CTL_DEL, fd, &event);
}
// Waits for up to `capacity` (at most 64) ready descriptors and stores the data given to `add`.
static inline int netdma_epoll_wait(int epoll, uint64_t *_Nonnull data, int capacity, int timeout) {
  struct epoll_event events[64];
  int n = epoll_wait(epoll, events, capacity > 64 ? 64 : capacity, timeout);
  for (int i = 0; i < n; i++) data[i] = events[i].data.u64;
  return n;
}
// Waits until `fd` is readable or `nanoseconds` have passed (negative: for ever). 1 when it is readable,
// 0 when the time has passed or a signal came, -1 with errno otherwise. By raw system call: ppoll's
// declaration depends on feature macros that the importing module may have seen otherwise.
static inline int netdma_wait_readable(int fd, long long nanoseconds) {
  struct pollfd entry = {fd, POLLIN, 0};
  struct timespec limit = {(time_t)(nanoseconds / 1000000000LL), (long)(nanoseconds % 1000000000LL)};
  long n = syscall(SYS_ppoll, &entry, 1UL, nanoseconds < 0 ? (void *)0 : &limit, (void *)0, 0UL);
  return n < 0 ? (errno == EINTR ? 0 : -1) : (int)n;
}
// Asynchronous I/O of the kernel's own, used for one thing: an operation that ends can signal an eventfd, and
// then the kernel adds to its count without ever waiting, as a write to a blocking eventfd would.
// A context for `netdma_signal`; 0 where there is none to be had.
static inline uint64_t netdma_signal_context(void) {
  aio_context_t context = 0;
  return syscall(SYS_io_setup, 16L, &context) == 0 ? (uint64_t)context : 0;
}
static inline void netdma_signal_context_destroy(uint64_t context) {
  (void)syscall(SYS_io_destroy, (aio_context_t)context);
}
// Adds one to the eventfd `target`, at most up to a full count. `ready` is a descriptor that is always readable:
// waiting for that is the operation, and over at once. 0 if done.
static inline int netdma_signal(uint64_t context, int ready, int target) {
  struct iocb operation = {0};
  struct iocb *list[1] = {&operation};
  struct io_event ended[16];
  struct timespec none = {0, 0};
  operation.aio_lio_opcode = IOCB_CMD_POLL;
  operation.aio_fildes = (uint32_t)ready;
  operation.aio_buf = POLLIN;
  operation.aio_flags = IOCB_FLAG_RESFD;
  operation.aio_resfd = (uint32_t)target;
  if (syscall(SYS_io_submit, (aio_context_t)context, 1L, list) != 1) return -1;
  // Only to make room for the next ones.
  (void)syscall(SYS_io_getevents, (aio_context_t)context, 0L, 16L, ended, &none);
  return 0;
}
#endif
