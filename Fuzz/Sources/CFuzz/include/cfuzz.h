// SPDX-License-Identifier: Apache-2.0
// libFuzzer's driver, and what sockets and memory files need that Swift does not import.
#ifndef CFUZZ_H
#define CFUZZ_H
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

// Of libFuzzer: runs `callback` on one input after another until its arguments say that it is enough.
int LLVMFuzzerRunDriver(int *_Nonnull argc, char *_Nullable *_Nonnull *_Nonnull argv,
                        int (*_Nonnull callback)(const uint8_t *_Nullable data, size_t size));

// A connected pair's other end is a server on `path`; -1 with errno.
int cfuzz_connect(const char *_Nonnull path);
int cfuzz_listen(const char *_Nonnull path);
int cfuzz_accept(int listener);
// A memory file of `size` bytes, its size sealed when `sealed` is not 0.
int cfuzz_memory_file(size_t size, int sealed);
int cfuzz_eventfd(void);
// Sends all of it with `count` times the descriptor `fd`; 0 when the peer is gone.
int cfuzz_send(int socket, const void *_Nonnull bytes, size_t size, int fd, int count);
// Receives at most `size` bytes and closes the descriptors that come along; 0 at the end.
ssize_t cfuzz_receive(int socket, void *_Nonnull bytes, size_t size);
#endif
