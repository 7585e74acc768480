# SPDX-License-Identifier: Apache-2.0
#
# `make help` lists the targets.

SHELL := /bin/bash
.DEFAULT_GOAL := help

PROBE := .build/release/netdma-probe
PREFIX ?= /usr/local
DESTDIR ?=

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: prepare
prepare:
	@Scripts/prepare.sh

.PHONY: build
build: prepare ## Build netdma-probe for release, as .build/release/netdma-probe
	@Scripts/build.sh

.PHONY: run
run: build ## List this machine's DMA engines and verify copies (on the mock where there is none)
	@Scripts/run.sh $(PROBE)

.PHONY: vm
vm: build ## Boot a guest with the emulated engine, and copy there over the kernel's VFIO
	@Scripts/vm.sh $(PROBE)

.PHONY: test
test: prepare ## Check everything: format, unit tests, two processes, guests with Linux's own drivers
	@Scripts/test.sh

.PHONY: bench
bench: ## Measure every row of docs/performance.md; writes bench-results.json
	@Scripts/prepare.sh valgrind
	@Scripts/build.sh
	@Scripts/bench.sh

.PHONY: format
format: ## Format the sources as CI wants them
	@swift format format --in-place --recursive Sources Tests Examples Benchmarks/Sources Package.swift Benchmarks/Package.swift

.PHONY: docs
docs: prepare ## Build the library's documentation, as .build/docs
	@Scripts/docs.sh

# Without a build, for root has no toolchain: make build && sudo make install
.PHONY: install
install: ## Install program, manual page and completions (PREFIX=/usr/local, DESTDIR)
	@PREFIX='$(PREFIX)' DESTDIR='$(DESTDIR)' Scripts/install.sh install '$(PROBE)'

.PHONY: uninstall
uninstall: ## Remove what install installed
	@PREFIX='$(PREFIX)' DESTDIR='$(DESTDIR)' Scripts/install.sh uninstall '$(PROBE)'

.PHONY: clean
clean: ## Remove what was built; not the guests' cache (~/.cache/netdma-vfio)
	@rm -rf .build .build-* Benchmarks/.build Fuzz/.build Fuzz/Work bench-results.json
