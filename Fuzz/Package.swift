// swift-tools-version: 6.2
// SPDX-License-Identifier: Apache-2.0

import PackageDescription

// A package of its own: everything in it, and the library under it, is built with -sanitize=fuzzer,
// which run.sh passes for all modules at once so that the library is instrumented too.
let settings: [SwiftSetting] = [
  .enableUpcomingFeature("ExistentialAny"),
  .enableUpcomingFeature("InternalImportsByDefault"),
  .enableUpcomingFeature("MemberImportVisibility"),
]

// gold, the default here, breaks on what the sanitizers leave in the objects.
let linking: [LinkerSetting] = [.unsafeFlags(["-use-ld=lld"])]

let library: [Target.Dependency] = [
  "CFuzz", "FuzzSupport",
  .product(name: "NetDmaVFIO", package: "NetDmaVFIO"),
  .product(name: "NetDmaMock", package: "NetDmaVFIO"),
  .product(name: "Logging", package: "swift-log"),
]

let package = Package(
  name: "NetDmaFuzz",
  dependencies: [
    .package(name: "NetDmaVFIO", path: ".."),
    .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
  ],
  targets: [
    .target(name: "CFuzz"),
    .target(name: "FuzzSupport", dependencies: ["CFuzz"], swiftSettings: settings),
    .executableTarget(
      name: "fuzz-messages", dependencies: library, swiftSettings: settings, linkerSettings: linking
    ),
    .executableTarget(
      name: "fuzz-engine", dependencies: library, swiftSettings: settings, linkerSettings: linking),
    .executableTarget(
      name: "fuzz-client", dependencies: library, swiftSettings: settings, linkerSettings: linking),
  ],
  swiftLanguageModes: [.v6]
)
