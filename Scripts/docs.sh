#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Builds the documentation of the library with the toolchain's own docc, so that the package needs no
# plugin for it: .build/docs, a site for any web server. A warning is an error.
#
#   docs.sh           then look at it with: python3 -m http.server --directory .build/docs
set -euo pipefail
cd "$(dirname "$0")/.."

catalogue=Sources/NetDmaVFIO/NetDmaVFIO.docc
graphs=.build/symbol-graphs
output=.build/docs

# docc and the extractor lie beside swift, wherever that is.
tools=$(dirname "$(readlink -f "$(command -v swift)")")
for tool in docc swift-symbolgraph-extract; do
  if [ ! -x "$tools/$tool" ]; then
    cat >&2 <<TEXT
error: There is no $tool beside swift in $tools.
       The documentation is built with the toolchain's own tools.
       Install a toolchain from https://www.swift.org/install/linux.
TEXT
    exit 69
  fi
done

swift build --target NetDmaVFIO
modules=$(swift build --show-bin-path)/Modules
target=$(swift -print-target-info | sed -n 's/.*"unversionedTriple": "\(.*\)".*/\1/p' | head -n 1)
# The C modules that ours and those of our dependencies import: with a module map of their own, or with
# the one that the build made.
includes=(-I Sources/CLibPCI)
while IFS= read -r map; do
  includes+=(-I "$(dirname "$map")")
done < <(
  find .build/checkouts -path '*/Sources/*/module.modulemap'
  find "$(dirname "$modules")" -mindepth 2 -maxdepth 2 -path '*.build/module.modulemap'
)
rm -rf "$graphs"
mkdir -p "$graphs"
"$tools/swift-symbolgraph-extract" -module-name NetDmaVFIO -I "$modules" \
  "${includes[@]}" -target "$target" \
  -minimum-access-level public -output-dir "$graphs"
"$tools/docc" convert "$catalogue" --additional-symbol-graph-dir "$graphs" \
  --fallback-display-name NetDmaVFIO --fallback-bundle-identifier netdma.NetDmaVFIO \
  --warnings-as-errors --output-path "$output"
echo "$output"
