# The commands of this repository. `make deps` once, then `make build`, `make test`, `make demo`.
SHELL := /bin/bash
.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: help deps configure build package demo demo-swarm test unit asan conformance e2e nightly fuzz bench bench-swarm bench-fleet bench-job bench-mirror bench-scale format tidy clean

JOBS ?= $(shell nproc)
PYTHON ?= /usr/bin/python3
export PATH := $(CURDIR)/build/testbed/go/bin:$(PATH)
export PYTHONPATH := $(CURDIR)
export PYTHONDONTWRITEBYTECODE := 1
STAGE := .ci/stage
# The testbed mounts, makes device nodes and reads other processes' counters.
AS_ROOT := $(shell [ "$$(id -u)" = 0 ] || echo sudo -E env PATH="$$PATH")
PYTEST := $(AS_ROOT) $(PYTHON) -m pytest -p no:cacheprovider -ra

help:
	@echo "make deps     packages, Go and containerd for build and test (Debian 12 or 13; quick when all is there)"
	@echo "make build    build/bin/hearth"
	@echo "make package  a Debian package in build/packages, for this machine's release (RELEASE=trixie: for that one)"
	@echo "make demo     preheat an image and see containerd pull it for free (IMAGE=… takes a public one)"
	@echo "make demo-swarm  four nodes preheat one image at once and feed each other (NODES, MBIT, MIB)"
	@echo "make test     all that a change must pass: unit, asan, conformance, end to end"
	@echo "make nightly  the above, tsan, clang and fuzzers, containerd 1.6 and 1.7, and the slow tests"
	@echo "make fuzz     what parses a stranger's bytes, FUZZ_SECONDS (300) for each target"
	@echo "make bench    stock containerd and Hearth side by side, BENCH='--rows all' for all images; results in docs/benchmarks"
	@echo "make bench-swarm  nodes that feed each other, against the goals; results in docs/benchmarks"
	@echo "make bench-fleet  a manager with a thousand simulated nodes, against the goals; results in docs/benchmarks"
	@echo "make bench-mirror  a complete blob served by the mirror and by nginx; results in docs/benchmarks"
	@echo "make bench-scale  a node with 200,000 blobs and 20,000 layers; results in docs/benchmarks"
	@echo "make bench-job  a manager's preheat job on three real nodes, against the goals; results in docs/benchmarks"
	@echo "make format   clang-format on all sources          make tidy   what scripts and clang-tidy can check (ALL=1: all)"

deps:
	@$(STAGE) "deps" deploy/deps.sh

build:
	@$(STAGE) "build" $(MAKE) --no-print-directory build-release

.PHONY: build-release
build-release:
	@cmake --preset release >build/cmake.log 2>&1 || { cat build/cmake.log >&2; exit 1; }
	@ninja -C build -j $(JOBS) --quiet

build-release: | build/.made
build/.made:
	@mkdir -p build && touch $@

package:
	@$(STAGE) "package" $(if $(RELEASE),$(AS_ROOT)) deploy/debian/package $(RELEASE)

demo: deps build
	@$(AS_ROOT) $(PYTHON) -m integration.demo

demo-swarm: build
	@$(AS_ROOT) $(PYTHON) -m integration.demo_swarm

test: unit asan conformance e2e

unit: build
	@$(STAGE) "unit tests" ctest --test-dir build -j $(JOBS) --output-on-failure --no-tests=error

asan:
	@$(STAGE) "asan build" $(MAKE) --no-print-directory sanitizer-build PRESET=asan
	@$(STAGE) "asan unit tests" env ASAN_OPTIONS=detect_stack_use_after_return=1 \
	  ctest --test-dir build-asan -j $(JOBS) --output-on-failure --no-tests=error -E '^tidy$$'
	@$(STAGE) "asan end to end" env HEARTH_BINARY=$(CURDIR)/build-asan/bin/hearth \
	  $(PYTEST) integration/e2e/test_sanitized.py

.PHONY: sanitizer-build
sanitizer-build:
	@cmake --preset $(PRESET) >/dev/null
	@ninja -C build-$(PRESET) -j $(JOBS) --quiet $(TARGETS)

# containerd's own suites, against our socket.
conformance: build
	@$(STAGE) "conformance" $(AS_ROOT) integration/conformance/run

e2e: build
	@$(STAGE) "end to end" $(PYTEST) -m 'not slow' integration/e2e

nightly: deps test
	@$(STAGE) "tsan build" $(MAKE) --no-print-directory sanitizer-build PRESET=tsan
	@$(STAGE) "tsan unit tests" env TSAN_OPTIONS="suppressions=$(CURDIR)/cmake/tsan.supp:die_after_fork=0" \
	  ctest --test-dir build-tsan -j $(JOBS) --output-on-failure --no-tests=error -E '^tidy$$'
	@$(STAGE) "clang build" $(MAKE) --no-print-directory sanitizer-build PRESET=clang
	@$(MAKE) --no-print-directory fuzz
	@$(STAGE) "1,000 random swarms" env HEARTH_SIM_SEEDS=1000 \
	  build/bin/sim_test --gtest_brief=1 --gtest_filter='*RandomSeeds'
	@$(STAGE) "slow end to end" $(PYTEST) -m slow integration/e2e

# Each target for FUZZ_SECONDS (300); what it learns stays in build-clang/fuzz.
fuzz:
	@$(STAGE) "fuzzers" $(MAKE) --no-print-directory sanitizer-build PRESET=clang TARGETS=fuzzers
	@JOBS=$(JOBS) integration/fuzz/run

bench: deps build
	@$(AS_ROOT) $(PYTHON) -m integration.bench.pull $(BENCH)

bench-swarm: deps build
	@$(AS_ROOT) $(PYTHON) -m integration.bench.swarm

bench-fleet: deps build
	@$(PYTHON) -m integration.load.fleet

bench-mirror: deps build
	@$(AS_ROOT) $(PYTHON) -m integration.bench.mirror

bench-scale: deps build
	@$(AS_ROOT) $(PYTHON) -m integration.bench.scale

bench-job: deps build
	@$(AS_ROOT) $(PYTHON) -m integration.bench.job

format:
	@git ls-files '*.h' '*.cc' | xargs -r clang-format -i

# clang-tidy: what changed since BASE, or all with ALL=1.
BASE ?= origin/main
tidy:
	@$(PYTHON) cmake/tidy.py
	@nice -n 19 $(PYTHON) cmake/clang_tidy.py $(if $(ALL),--all,$(BASE))

clean:
	rm -rf build/bin build-asan build-tsan build-clang
