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

// The numbers as the header has them (its macros expand to constants that C can give to an enum).
enum netdma_vfio_number {
  NETDMA_VFIO_GET_API_VERSION = VFIO_GET_API_VERSION,
  NETDMA_VFIO_CHECK_EXTENSION = VFIO_CHECK_EXTENSION,
  NETDMA_VFIO_SET_IOMMU = VFIO_SET_IOMMU,
  NETDMA_VFIO_GROUP_GET_STATUS = VFIO_GROUP_GET_STATUS,
  NETDMA_VFIO_GROUP_SET_CONTAINER = VFIO_GROUP_SET_CONTAINER,
  NETDMA_VFIO_GROUP_UNSET_CONTAINER = VFIO_GROUP_UNSET_CONTAINER,
  NETDMA_VFIO_GROUP_GET_DEVICE_FD = VFIO_GROUP_GET_DEVICE_FD,
  NETDMA_VFIO_DEVICE_GET_INFO = VFIO_DEVICE_GET_INFO,
  NETDMA_VFIO_DEVICE_GET_REGION_INFO = VFIO_DEVICE_GET_REGION_INFO,
  NETDMA_VFIO_DEVICE_GET_IRQ_INFO = VFIO_DEVICE_GET_IRQ_INFO,
  NETDMA_VFIO_DEVICE_SET_IRQS = VFIO_DEVICE_SET_IRQS,
  NETDMA_VFIO_DEVICE_RESET = VFIO_DEVICE_RESET,
  NETDMA_VFIO_IOMMU_GET_INFO = VFIO_IOMMU_GET_INFO,
  NETDMA_VFIO_IOMMU_MAP_DMA = VFIO_IOMMU_MAP_DMA,
  NETDMA_VFIO_IOMMU_UNMAP_DMA = VFIO_IOMMU_UNMAP_DMA,
  // Linux 6.6; older headers lack them.
  NETDMA_VFIO_DEVICE_BIND_IOMMUFD = 0x3B76,
  NETDMA_VFIO_DEVICE_ATTACH_IOMMUFD_PT = 0x3B77,
  NETDMA_VFIO_DEVICE_DETACH_IOMMUFD_PT = 0x3B78,
  // <linux/iommufd.h>
  NETDMA_IOMMU_DESTROY = 0x3B80,
  NETDMA_IOMMU_IOAS_ALLOC = 0x3B81,
  NETDMA_IOMMU_IOAS_IOVA_RANGES = 0x3B84,
  NETDMA_IOMMU_IOAS_MAP = 0x3B85,
  NETDMA_IOMMU_IOAS_UNMAP = 0x3B86,
};

// The two numbers that stat(2) packs into st_rdev.
static inline unsigned netdma_device_major(uint64_t device) {
  return (unsigned)((device >> 8) & 0xfff) | (unsigned)((device >> 32) & 0xfffff000);
}
static inline unsigned netdma_device_minor(uint64_t device) {
  return (unsigned)(device & 0xff) | (unsigned)((device >> 12) & 0xffffff00);
}

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
