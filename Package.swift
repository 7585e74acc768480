// swift-tools-version: 6.2
// SPDX-License-Identifier: Apache-2.0

import PackageDescription

// A newer compiler may warn where today's does not, so warnings break the build only where we
// are the ones to fix them: in CI, or on request.
let warningsAreErrors =
  Context.environment["CI"] != nil || Context.environment["NETDMA_WERROR"] != nil

let strict: [SwiftSetting] =
  [
    .strictMemorySafety(),
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .enableUpcomingFeature("MemberImportVisibility"),
  ] + (warningsAreErrors ? [.treatAllWarnings(as: .error)] : [])

// Test targets check what the library promises, through pointers of their own where they must.
let testing: [SwiftSetting] =
  [
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("MemberImportVisibility"),
  ] + (warningsAreErrors ? [.treatAllWarnings(as: .error)] : [])

let package = Package(
  name: "NetDmaVFIO",
  products: [
    .library(name: "NetDmaVFIO", targets: ["NetDmaVFIO"]),
    .library(name: "NetDmaMock", targets: ["NetDmaMock"]),
    .library(name: "NetDmaMetrics", targets: ["NetDmaMetrics"]),
    .executable(name: "netdma-probe", targets: ["netdma-probe"]),
  ],
  dependencies: [
    .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
    .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
    .package(url: "https://github.com/apple/swift-metrics", from: "2.13.0"),
    .package(url: "https://github.com/apple/swift-system", from: "1.8.1"),
    .package(url: "https://github.com/HdrHistogram/hdrhistogram-swift", from: "0.2.0"),
  ],
  targets: [
    .systemLibrary(
      name: "CLibPCI", pkgConfig: "libpci", providers: [.apt(["libpci-dev"])]),
    .target(name: "CNetDma"),
    .target(
      name: "NetDmaVFIO",
      dependencies: [
        "CLibPCI", "CNetDma",
        .product(name: "Logging", package: "swift-log"),
        .product(name: "SystemPackage", package: "swift-system"),
      ],
      swiftSettings: strict),
    .target(
      name: "NetDmaMock",
      dependencies: [
        "CNetDma", "NetDmaVFIO",
        .product(name: "Logging", package: "swift-log"),
        .product(name: "SystemPackage", package: "swift-system"),
      ],
      swiftSettings: strict),
    .target(
      name: "NetDmaConformance",
      dependencies: [
        "CNetDma", "NetDmaVFIO",
        .product(name: "Logging", package: "swift-log"),
        .product(name: "SystemPackage", package: "swift-system"),
      ],
      swiftSettings: strict),
    .target(
      name: "NetDmaMetrics",
      dependencies: ["NetDmaVFIO", .product(name: "Metrics", package: "swift-metrics")],
      swiftSettings: strict),
    .executableTarget(
      name: "example-polled-copy",
      dependencies: [
        "NetDmaVFIO", "NetDmaMock", .product(name: "Logging", package: "swift-log"),
      ],
      path: "Examples/PolledCopy", swiftSettings: testing),
    .executableTarget(
      name: "example-async-copy",
      dependencies: [
        "NetDmaVFIO", "NetDmaMock", .product(name: "Logging", package: "swift-log"),
      ],
      path: "Examples/AsyncCopy", swiftSettings: testing),
    .executableTarget(
      name: "example-articles",
      dependencies: [
        "NetDmaVFIO", "NetDmaMock", .product(name: "Logging", package: "swift-log"),
      ],
      path: "Examples/Articles", swiftSettings: testing),
    .executableTarget(
      name: "netdma-probe",
      dependencies: [
        "CNetDma", "NetDmaVFIO", "NetDmaMock", "NetDmaConformance",
        .product(name: "ArgumentParser", package: "swift-argument-parser"),
        .product(name: "Histogram", package: "hdrhistogram-swift"),
        .product(name: "Logging", package: "swift-log"),
        .product(name: "SystemPackage", package: "swift-system"),
      ],
      swiftSettings: strict),
    .target(
      name: "TestSupport", dependencies: ["NetDmaVFIO", "NetDmaMock"], path: "Tests/TestSupport",
      swiftSettings: testing),
    .testTarget(
      name: "NetDmaVFIOTests",
      dependencies: [
        "NetDmaVFIO", "NetDmaMock", "NetDmaMetrics", "CNetDma", "TestSupport",
        .product(name: "CoreMetrics", package: "swift-metrics"),
        .product(name: "MetricsTestKit", package: "swift-metrics"),
      ],
      swiftSettings: testing),
    .testTarget(
      name: "NetDmaMockTests",
      dependencies: ["NetDmaVFIO", "NetDmaMock", "CNetDma", "TestSupport"],
      swiftSettings: testing),
    .testTarget(
      name: "NetDmaConformanceTests",
      dependencies: ["NetDmaConformance", "NetDmaVFIO", "NetDmaMock", "CNetDma", "TestSupport"],
      swiftSettings: testing),
    .testTarget(
      name: "VFIOUserTests",
      dependencies: ["NetDmaVFIO", "NetDmaMock", "CNetDma", "TestSupport"],
      swiftSettings: testing),
    .testTarget(
      name: "NetDmaProbeTests",
      dependencies: [
        "netdma-probe", "NetDmaVFIO", "NetDmaMock", "TestSupport",
        .product(name: "ArgumentParser", package: "swift-argument-parser"),
      ],
      exclude: ["Golden"],
      swiftSettings: testing),
    .testTarget(
      name: "VMTests", dependencies: ["TestSupport"],
      exclude: [],
      swiftSettings: testing),
  ],
  swiftLanguageModes: [.v6]
)
