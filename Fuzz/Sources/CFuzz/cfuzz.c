// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include "cfuzz.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static int address(const char *path, struct sockaddr_un *a) {
  memset(a, 0, sizeof *a);
  a->sun_family = AF_UNIX;
  if (strlen(path) >= sizeof a->sun_path) return -1;
  strcpy(a->sun_path, path);
  return socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
}

int cfuzz_connect(const char *path) {
  struct sockaddr_un a;
  int fd = address(path, &a);
  if (fd >= 0 && connect(fd, (struct sockaddr *)&a, sizeof a) != 0) {
    close(fd);
    return -1;
  }
  return fd;
}

int cfuzz_listen(const char *path) {
  struct sockaddr_un a;
  int fd = address(path, &a);
  unlink(path);
  if (fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof a) != 0 || listen(fd, 8) != 0) return -1;
  return fd;
}

int cfuzz_accept(int listener) { return accept4(listener, NULL, NULL, SOCK_CLOEXEC); }

int cfuzz_memory_file(size_t size, int sealed) {
  int fd = memfd_create("fuzz", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (fd < 0 || ftruncate(fd, (off_t)size) != 0) return -1;
  if (sealed) fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
  return fd;
}

int cfuzz_eventfd(void) { return eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK); }

int cfuzz_send(int s, const void *bytes, size_t size, int fd, int count) {
  union { char bytes[CMSG_SPACE(sizeof(int) * 64)]; struct cmsghdr align; } control;
  size_t done = 0;
  if (count > 64) count = 64;
  while (done < size) {
    struct iovec iov = {(char *)bytes + done, size - done};
    struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};
    if (done == 0 && count > 0) {
      memset(&control, 0, sizeof control);
      m.msg_control = control.bytes;
      m.msg_controllen = CMSG_SPACE(sizeof(int) * (size_t)count);
      struct cmsghdr *h = CMSG_FIRSTHDR(&m);
      h->cmsg_level = SOL_SOCKET;
      h->cmsg_type = SCM_RIGHTS;
      h->cmsg_len = CMSG_LEN(sizeof(int) * (size_t)count);
      for (int i = 0; i < count; i++) memcpy(CMSG_DATA(h) + i * sizeof(int), &fd, sizeof fd);
    }
    ssize_t n = sendmsg(s, &m, MSG_NOSIGNAL);
    if (n > 0) done += (size_t)n;
    else if (errno != EINTR) return 0;
  }
  return 1;
}

ssize_t cfuzz_receive(int s, void *bytes, size_t size) {
  union { char bytes[CMSG_SPACE(sizeof(int) * 253)]; struct cmsghdr align; } control;
  struct iovec iov = {bytes, size};
  struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.bytes,
                     .msg_controllen = sizeof control.bytes};
  ssize_t n;
  do n = recvmsg(s, &m, MSG_CMSG_CLOEXEC); while (n < 0 && errno == EINTR);
  if (n < 0) return 0;
  for (struct cmsghdr *h = CMSG_FIRSTHDR(&m); h != NULL; h = CMSG_NXTHDR(&m, h)) {
    size_t count = (h->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; i++) {
      int fd;
      memcpy(&fd, CMSG_DATA(h) + i * sizeof(int), sizeof fd);
      close(fd);
    }
  }
  return n;
}
