# SPDX-License-Identifier: Apache-2.0
#
# `make help` lists the targets.

SHELL := /bin/bash
.DEFAULT_GOAL := help

# One binary without the Swift runtime beside it, so that it can be copied to a server or a guest.
RELEASE := --configuration release --static-swift-stdlib
PROBE := .build/release/netdma-probe
# Quiet in a pipe, with the compiler's own progress on a terminal.
QUIET := $(shell [ -t 1 ] || echo --quiet)

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: prepare
prepare:
	@Scripts/prepare.sh

.PHONY: build
build: prepare ## Build netdma-probe for release, as .build/release/netdma-probe
	@swift build $(QUIET) $(RELEASE) --product netdma-probe

.PHONY: run
run: build ## List this machine's DMA engines and verify copies (on the mock where there is none)
	@Scripts/run.sh $(PROBE)

.PHONY: test
test: prepare ## Check everything: format, unit tests, two processes, guests with Linux's own drivers
	@Scripts/test.sh

.PHONY: format
format: ## Format the sources as CI wants them
	@swift format format --in-place --recursive Sources Tests Package.swift

.PHONY: clean
clean: ## Remove what was built; not the guests' cache (~/.cache/netdma-vfio)
	@rm -rf .build
