// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include "call_counters.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

static __thread call_counts counts;
static __thread int counting;

void call_counters_start(void) {
  counts = (call_counts){0};
  counting = 1;
}

call_counts call_counters_stop(void) {
  counting = 0;
  return counts;
}

// The next definition of a symbol: the runtime's or the C library's. Looked up at each call, which is slow
// and does not matter.
static void *real(const char *name) { return dlsym(RTLD_NEXT, name); }
#define COUNT(what) (counts.what += (uint64_t)counting)

// The heap. The C library's own entry points need no look-up, which would itself allocate.
extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);
extern void __libc_free(void *);

void *malloc(size_t size) {
  COUNT(allocations);
  return __libc_malloc(size);
}
void *calloc(size_t count, size_t size) {
  COUNT(allocations);
  return __libc_calloc(count, size);
}
void *realloc(void *old, size_t size) {
  COUNT(allocations);
  return __libc_realloc(old, size);
}
int posix_memalign(void **result, size_t alignment, size_t size) {
  COUNT(allocations);
  *result = __libc_memalign(alignment, size);
  return *result ? 0 : 12;
}
void *aligned_alloc(size_t alignment, size_t size) {
  COUNT(allocations);
  return __libc_memalign(alignment, size);
}
void free(void *old) {
  COUNT(allocations);
  __libc_free(old);
}

// Reference counts; each returns or takes a pointer in the C convention.
#define HAND_ON_1(name, counter)                      \
  void *name(void *object) {                          \
    static void *(*next)(void *);                     \
    COUNT(counter);                                   \
    if (!next) next = (void *(*)(void *))real(#name); \
    return next(object);                              \
  }
HAND_ON_1(swift_retain, references)
HAND_ON_1(swift_release, references)
HAND_ON_1(swift_bridgeObjectRetain, references)
HAND_ON_1(swift_bridgeObjectRelease, references)
HAND_ON_1(swift_unknownObjectRetain, references)
HAND_ON_1(swift_unknownObjectRelease, references)

#define HAND_ON_N(name)                                                    \
  void *name(void *object, uint32_t n) {                                   \
    static void *(*next)(void *, uint32_t);                                \
    COUNT(references);                                                     \
    if (!next) next = (void *(*)(void *, uint32_t))real(#name);            \
    return next(object, n);                                                \
  }
HAND_ON_N(swift_retain_n)
HAND_ON_N(swift_release_n)

void *swift_allocObject(void *type, size_t size, size_t mask) {
  static void *(*next)(void *, size_t, size_t);
  COUNT(allocations);
  if (!next) next = (void *(*)(void *, size_t, size_t))real("swift_allocObject");
  return next(type, size, mask);
}
void *swift_slowAlloc(size_t size, size_t mask) {
  static void *(*next)(size_t, size_t);
  COUNT(allocations);
  if (!next) next = (void *(*)(size_t, size_t))real("swift_slowAlloc");
  return next(size, mask);
}

void swift_beginAccess(void *pointer, void *buffer, uintptr_t flags, void *pc) {
  static void (*next)(void *, void *, uintptr_t, void *);
  COUNT(accesses);
  if (!next) next = (void (*)(void *, void *, uintptr_t, void *))real("swift_beginAccess");
  next(pointer, buffer, flags, pc);
}

#define LOCK(name, type)                               \
  int name(type *lock) {                               \
    static int (*next)(type *);                        \
    COUNT(locks);                                      \
    if (!next) next = (int (*)(type *))real(#name);    \
    return next(lock);                                 \
  }
LOCK(pthread_mutex_lock, pthread_mutex_t)
LOCK(pthread_mutex_trylock, pthread_mutex_t)
LOCK(pthread_rwlock_rdlock, pthread_rwlock_t)
LOCK(pthread_rwlock_wrlock, pthread_rwlock_t)

long syscall(long number, ...) {
  static long (*next)(long, ...);
  va_list list;
  va_start(list, number);
  long a[6];
  for (int i = 0; i < 6; i++) a[i] = va_arg(list, long);
  va_end(list);
  COUNT(systemCalls);
  if (!next) next = (long (*)(long, ...))real("syscall");
  return next(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

void call_counters_make_one_of_each_in_c(void) {
  static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
  void *volatile memory = malloc(16);
  free(memory);
  pthread_mutex_lock(&lock);
  pthread_mutex_unlock(&lock);
  syscall(SYS_getpid);
}
