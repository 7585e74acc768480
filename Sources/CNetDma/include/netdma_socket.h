// SPDX-License-Identifier: Apache-2.0
// Sending and receiving bytes with file descriptors (SCM_RIGHTS): the CMSG_* macros are not imported.
#ifndef NETDMA_SOCKET_H
#define NETDMA_SOCKET_H
#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/un.h>
#include <unistd.h>

// The kernel's SCM_MAX_FD.
#define NETDMA_MAX_FDS 253

// sendmsg of up to two pieces with `count` descriptors; MSG_NOSIGNAL always.
static inline ssize_t netdma_send_fds(int socket, const void *_Nullable a, size_t aLength,
                                      const void *_Nullable b, size_t bLength,
                                      const int *_Nullable fds, int count, int flags) {
  struct iovec iov[2] = {{(void *)a, aLength}, {(void *)b, bLength}};
  union { char bytes[CMSG_SPACE(sizeof(int) * NETDMA_MAX_FDS)]; struct cmsghdr align; } control;
  struct msghdr message;
  memset(&message, 0, sizeof message);
  message.msg_iov = iov;
  message.msg_iovlen = bLength > 0 ? 2 : 1;
  if (count < 0 || count > NETDMA_MAX_FDS) { errno = EINVAL; return -1; }
  if (count > 0) {
    memset(&control, 0, CMSG_SPACE(sizeof(int) * (size_t)count));
    message.msg_control = control.bytes;
    message.msg_controllen = CMSG_SPACE(sizeof(int) * (size_t)count);
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int) * (size_t)count);
    memcpy(CMSG_DATA(header), fds, sizeof(int) * (size_t)count);
  }
  return sendmsg(socket, &message, MSG_NOSIGNAL | flags);
}

// recvmsg of one piece; descriptors go to `fds` (room for NETDMA_MAX_FDS), their number to *count,
// *truncated is set when the kernel had to drop some.
static inline ssize_t netdma_recv_fds(int socket, void *_Nonnull buffer, size_t length,
                                      int *_Nonnull fds, int *_Nonnull count,
                                      int *_Nonnull truncated, int flags) {
  struct iovec iov = {buffer, length};
  union { char bytes[CMSG_SPACE(sizeof(int) * NETDMA_MAX_FDS)]; struct cmsghdr align; } control;
  struct msghdr message;
  memset(&message, 0, sizeof message);
  message.msg_iov = &iov;
  message.msg_iovlen = 1;
  message.msg_control = control.bytes;
  message.msg_controllen = sizeof control.bytes;
  *count = 0;
  *truncated = 0;
  ssize_t received = recvmsg(socket, &message, MSG_CMSG_CLOEXEC | flags);
  if (received < 0) return received;
  if (message.msg_flags & MSG_CTRUNC) *truncated = 1;
  for (struct cmsghdr *h = CMSG_FIRSTHDR(&message); h != NULL; h = CMSG_NXTHDR(&message, h)) {
    if (h->cmsg_level != SOL_SOCKET || h->cmsg_type != SCM_RIGHTS || h->cmsg_len < CMSG_LEN(0)) continue;
    size_t n = (h->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < n; i++) {
      int fd;
      memcpy(&fd, CMSG_DATA(h) + i * sizeof(int), sizeof fd);
      if (*count < NETDMA_MAX_FDS) fds[(*count)++] = fd; else close(fd);
    }
  }
  return received;
}

// Fills *address for `path`; -1 when the path does not fit (107 bytes and NUL).
static inline int netdma_unix_address(const char *_Nonnull path, struct sockaddr_un *_Nonnull address) {
  size_t n = strlen(path);
  memset(address, 0, sizeof *address);
  address->sun_family = AF_UNIX;
  if (n == 0) { errno = ENOENT; return -1; }
  if (n >= sizeof address->sun_path) { errno = ENAMETOOLONG; return -1; }
  memcpy(address->sun_path, path, n + 1);
  return 0;
}
static inline int netdma_unix_connect(int socket, const struct sockaddr_un *_Nonnull address) {
  return connect(socket, (const struct sockaddr *)address, sizeof *address);
}
// accept4 with SOCK_CLOEXEC, by system call: its declaration hides behind _GNU_SOURCE.
static inline int netdma_accept(int socket) {
  return (int)syscall(SYS_accept4, socket, (void *)0, (void *)0, SOCK_CLOEXEC);
}
static inline int netdma_unix_bind(int socket, const struct sockaddr_un *_Nonnull address) {
  return bind(socket, (const struct sockaddr *)address, sizeof *address);
}
#endif
