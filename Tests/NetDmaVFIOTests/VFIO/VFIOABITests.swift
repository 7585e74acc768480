// SPDX-License-Identifier: Apache-2.0

import CNetDma
import NetDmaVFIO
import Testing

/// The numbers of <linux/vfio.h> and <linux/iommufd.h>, written out.
struct VFIOABITests {
  @Test("Each request has the number of the kernel's header")
  func requestNumbers() {
    let container: [(UInt, UInt)] = [
      (IoctlRequest<KernelFile.Container>.getAPIVersion.number, 0x3B64),
      (IoctlRequest<KernelFile.Container>.checkExtension.number, 0x3B65),
      (IoctlRequest<KernelFile.Container>.setIOMMU.number, 0x3B66),
      (IoctlRequest<KernelFile.Container>.getInfo.number, 0x3B70),
      (IoctlRequest<KernelFile.Container>.mapDMA.number, 0x3B71),
      (IoctlRequest<KernelFile.Container>.unmapDMA.number, 0x3B72),
    ]
    let group: [(UInt, UInt)] = [
      (IoctlRequest<KernelFile.Group>.getStatus.number, 0x3B67),
      (IoctlRequest<KernelFile.Group>.setContainer.number, 0x3B68),
      (IoctlRequest<KernelFile.Group>.unsetContainer.number, 0x3B69),
      (IoctlRequest<KernelFile.Group>.getDeviceFD.number, 0x3B6A),
    ]
    let device: [(UInt, UInt)] = [
      (IoctlRequest<KernelFile.Device>.getInfo.number, 0x3B6B),
      (IoctlRequest<KernelFile.Device>.getRegionInfo.number, 0x3B6C),
      (IoctlRequest<KernelFile.Device>.getIRQInfo.number, 0x3B6D),
      (IoctlRequest<KernelFile.Device>.setIRQs.number, 0x3B6E),
      (IoctlRequest<KernelFile.Device>.reset.number, 0x3B6F),
      (IoctlRequest<KernelFile.Device>.bindIOMMUFD.number, 0x3B76),
      (IoctlRequest<KernelFile.Device>.attachPageTable.number, 0x3B77),
    ]
    let iommufd: [(UInt, UInt)] = [
      (IoctlRequest<KernelFile.IOMMUFD>.destroy.number, 0x3B80),
      (IoctlRequest<KernelFile.IOMMUFD>.allocateIOAS.number, 0x3B81),
      (IoctlRequest<KernelFile.IOMMUFD>.iovaRanges.number, 0x3B84),
      (IoctlRequest<KernelFile.IOMMUFD>.map.number, 0x3B85),
      (IoctlRequest<KernelFile.IOMMUFD>.unmap.number, 0x3B86),
    ]
    for (number, expected) in container + group + device + iommufd {
      #expect(number == expected)
    }
  }

  @Test("Structures have the sizes that the kernel checks")
  func structureSizes() {
    #expect(MemoryLayout<vfio_group_status>.size == 8)
    // 20 bytes of fields; later headers pad to 24.
    #expect([20, 24].contains(MemoryLayout<vfio_device_info>.size))
    #expect(MemoryLayout<vfio_region_info>.size == 32)
    #expect(MemoryLayout<vfio_irq_info>.size == 16)
    #expect(MemoryLayout<vfio_iommu_type1_dma_map>.size == 32)
    #expect(MemoryLayout<vfio_info_cap_header>.size == 8)
    #expect(MemoryLayout<netdma_bind_iommufd>.size == 16)
    #expect(MemoryLayout<netdma_attach_iommufd_pt>.size == 12)
    #expect(MemoryLayout<netdma_detach_iommufd_pt>.size == 8)
    #expect(MemoryLayout<netdma_ioas_alloc>.size == 12)
    #expect(MemoryLayout<netdma_ioas_iova_ranges>.size == 32)
    #expect(MemoryLayout<netdma_ioas_map>.size == 40)
    #expect(MemoryLayout<netdma_ioas_unmap>.size == 24)
    #expect(MemoryLayout<netdma_iommu_destroy>.size == 8)
  }

  @Test("Fields lie where the kernel reads them")
  func fieldOffsets() {
    #expect(MemoryLayout<vfio_device_info>.offset(of: \.num_regions) == 8)
    #expect(MemoryLayout<vfio_device_info>.offset(of: \.num_irqs) == 12)
    #expect(MemoryLayout<vfio_irq_info>.offset(of: \.index) == 8)
    #expect(MemoryLayout<vfio_irq_info>.offset(of: \.count) == 12)
    #expect(MemoryLayout<vfio_iommu_type1_dma_map>.offset(of: \.vaddr) == 8)
    #expect(MemoryLayout<vfio_iommu_type1_dma_map>.offset(of: \.iova) == 16)
    #expect(MemoryLayout<vfio_iommu_type1_dma_map>.offset(of: \.size) == 24)
    #expect(MemoryLayout<netdma_bind_iommufd>.offset(of: \.iommufd) == 8)
    #expect(MemoryLayout<netdma_ioas_map>.offset(of: \.user_va) == 16)
    #expect(MemoryLayout<netdma_ioas_map>.offset(of: \.length) == 24)
    #expect(MemoryLayout<netdma_ioas_map>.offset(of: \.iova) == 32)
    #expect(MemoryLayout<netdma_ioas_unmap>.offset(of: \.iova) == 8)
    #expect(MemoryLayout<netdma_ioas_unmap>.offset(of: \.length) == 16)
    #expect(MemoryLayout<netdma_ioas_iova_ranges>.offset(of: \.num_iovas) == 8)
    #expect(MemoryLayout<netdma_ioas_iova_ranges>.offset(of: \.allowed_iovas) == 16)
    #expect(MemoryLayout<netdma_ioas_iova_ranges>.offset(of: \.out_iova_alignment) == 24)
  }

  @Test("iommufd's permission bits are not those of type1")
  func iommufdPermissions() {
    #expect(IOMMUFD.mapFlags(.read) == 5)
    #expect(IOMMUFD.mapFlags(.write) == 3)
    #expect(IOMMUFD.mapFlags(.readWrite) == 7)
  }

  @Test("Device numbers split as stat(2) packs them")
  func deviceNumbers() {
    #expect(netdma_device_major(0xf300) == 243)
    #expect(netdma_device_minor(0xf300) == 0)
    // Minor 0x12345 and major 0x1abc: the low and high parts are interleaved.
    let packed: UInt64 = 0x0000_1000_1230_0000 | (0xabc << 8) | 0x45
    #expect(netdma_device_minor(packed) == 0x12345)
    #expect(netdma_device_major(packed) == 0x1abc)
  }
}
