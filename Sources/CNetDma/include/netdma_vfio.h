// SPDX-License-Identifier: Apache-2.0
// ioctl requests of <linux/vfio.h> and <linux/iommufd.h>: function-like macros are not imported.
// Requests 12, 13, 14 and 17 mean different things on different descriptors; the names say which.
#ifndef NETDMA_VFIO_H
#define NETDMA_VFIO_H
#include <linux/vfio.h>
#include <stdint.h>
#include <sys/ioctl.h>

#define NETDMA_VFIO(n) ((unsigned long)(0x3B64 + (n)))
#define NETDMA_IOMMUFD(n) ((unsigned long)(0x3B80 + (n)))

static inline unsigned long netdma_vfio_request(unsigned n) { return NETDMA_VFIO(n); }

static inline int netdma_ioctl(int fd, unsigned long request) { return ioctl(fd, request); }
static inline int netdma_ioctl_value(int fd, unsigned long request, unsigned long value) {
  return ioctl(fd, request, value);
}
static inline int netdma_ioctl_pointer(int fd, unsigned long request, void *_Nonnull argument) {
  return ioctl(fd, request, argument);
}

// iommufd structures, written out because build machines may lack <linux/iommufd.h>; fields and
// sizes are kernel ABI.
struct netdma_bind_iommufd { uint32_t argsz, flags; int32_t iommufd; uint32_t out_devid; };
struct netdma_attach_iommufd_pt { uint32_t argsz, flags, pt_id; };
struct netdma_detach_iommufd_pt { uint32_t argsz, flags; };
struct netdma_ioas_alloc { uint32_t size, flags, out_ioas_id; };
struct netdma_ioas_iova_ranges {
  uint32_t size, ioas_id, num_iovas, reserved;
  uint64_t allowed_iovas, out_iova_alignment;
};
struct netdma_ioas_map {
  uint32_t size, flags, ioas_id, reserved;
  uint64_t user_va, length, iova;
};
struct netdma_ioas_unmap { uint32_t size, ioas_id; uint64_t iova, length; };
struct netdma_iommu_destroy { uint32_t size, id; };
#endif
