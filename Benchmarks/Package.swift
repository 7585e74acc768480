// swift-tools-version: 6.2
// SPDX-License-Identifier: Apache-2.0

import PackageDescription

// A package of its own, so that whoever uses the library resolves nothing of what measuring takes.
let warningsAreErrors =
  Context.environment["CI"] != nil || Context.environment["NETDMA_WERROR"] != nil

let settings: [SwiftSetting] =
  [
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .enableUpcomingFeature("MemberImportVisibility"),
  ] + (warningsAreErrors ? [.treatAllWarnings(as: .error)] : [])

let package = Package(
  name: "NetDmaBenchmarks",
  dependencies: [
    .package(name: "NetDmaVFIO", path: ".."),
    .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
    .package(url: "https://github.com/HdrHistogram/hdrhistogram-swift", from: "0.2.0"),
  ],
  targets: [
    // The floor must be as fast as C gets, also when the package is built for debugging.
    .target(name: "CFloor", cSettings: [.unsafeFlags(["-O3"])]),
    .target(
      name: "BenchSupport",
      dependencies: [
        "CFloor",
        .product(name: "NetDmaVFIO", package: "NetDmaVFIO"),
        .product(name: "Logging", package: "swift-log"),
      ],
      swiftSettings: settings),
    .executableTarget(
      name: "bench-hotpath",
      dependencies: [
        "CFloor", "BenchSupport",
        .product(name: "NetDmaVFIO", package: "NetDmaVFIO"),
        .product(name: "Logging", package: "swift-log"),
      ],
      swiftSettings: settings),
    .target(name: "CCallCounters"),
    .executableTarget(
      name: "check-hotpath",
      dependencies: [
        "CCallCounters", "CFloor", "BenchSupport",
        .product(name: "NetDmaVFIO", package: "NetDmaVFIO"),
        .product(name: "Logging", package: "swift-log"),
      ],
      swiftSettings: settings),
    .executableTarget(
      name: "bench-start",
      dependencies: [
        "CFloor",
        .product(name: "NetDmaMock", package: "NetDmaVFIO"),
        .product(name: "NetDmaVFIO", package: "NetDmaVFIO"),
        .product(name: "Logging", package: "swift-log"),
      ],
      swiftSettings: settings),
    .executableTarget(
      name: "bench-table",
      dependencies: [
        "CFloor", "BenchSupport",
        .product(name: "Histogram", package: "hdrhistogram-swift"),
        .product(name: "NetDmaMock", package: "NetDmaVFIO"),
        .product(name: "NetDmaVFIO", package: "NetDmaVFIO"),
        .product(name: "Logging", package: "swift-log"),
      ],
      swiftSettings: settings),
    .executableTarget(
      name: "bench-vfio-user",
      dependencies: [
        "BenchSupport",
        .product(name: "NetDmaVFIO", package: "NetDmaVFIO"),
        .product(name: "Logging", package: "swift-log"),
      ],
      swiftSettings: settings),
  ],
  swiftLanguageModes: [.v6]
)
