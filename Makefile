# What a developer types; .ci/run types the same. `make help` lists it.
#
# Needed by hand: Rust (rustup.rs), a C compiler and make. What else a target needs is installed by tools/need, from
# Debian's packages or into local folders; where that is not possible, it says what to install.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
CARGO ?= cargo
# Where cargo builds.
TARGET := $(or $(CARGO_TARGET_DIR),target)
# Seconds for each fuzz target in `make test`.
FUZZ_SECONDS ?= 10

.DEFAULT_GOAL := help
.PHONY: help run test test-rust test-fuzz test-sdks lint bench

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

# The development build: half the time of a release build, and shared with `make test`.
run: ## build, then try everything with simulated providers
	@tools/need cc
	$(CARGO) run --quiet --package tidegate -- demo

test: test-rust test-fuzz test-sdks ## every test

test-rust: ## unit, property and integration tests of the workspace
	@tools/need cc curl postgres redis-server openssl
	@if $(CARGO) nextest --version >/dev/null 2>&1; then \
		$(CARGO) nextest run --workspace --no-fail-fast --no-tests fail; \
	else \
		$(CARGO) test --workspace --no-fail-fast; \
	fi

test-fuzz: ## a short run of every fuzz target
	@tools/need cc c++
	crates/tidegate-wire/fuzz/run.sh $(FUZZ_SECONDS)

test-sdks: ## the official SDKs, Python and Node, against a live gateway
	@tools/need cc python3 venv node npm
	conformance/run.sh

lint: ## formatting, and clippy with warnings as errors
	@tools/need cc rustfmt clippy
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings

bench: ## the benchmark against HAProxy and nginx, results in bench/results
	@tools/need cc haproxy nginx
	$(CARGO) build --release --package tidegate --package tidegate-bench
	$(TARGET)/release/tidegate-bench --tidegate $(TARGET)/release/tidegate $(BENCH)
