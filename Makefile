# The two commands of the README, and what developers need. CMake does the work.
BUILD ?= build
CMAKE_FLAGS ?=
DEMO_MINUTES ?= 2

.PHONY: all demo check deps clean check-sanitize bench

all: $(BUILD)/build.ninja
	@ninja --quiet -C $(BUILD)

$(BUILD)/build.ninja: CMakeLists.txt
	@tools/install_deps.sh --check
	@cmake -S . -B $(BUILD) -G Ninja $(CMAKE_FLAGS) >/dev/null

deps:
	@tools/install_deps.sh

demo: deps
	@$(MAKE) --no-print-directory all
	@tools/demo.sh $(BUILD)/ddpm $(DEMO_MINUTES)

check: deps
	@$(MAKE) --no-print-directory all
	@tools/check_layers.sh
	@tools/check_tour.sh
	@ctest --test-dir $(BUILD) --output-on-failure -j2
	@$(MAKE) --no-print-directory check-sanitize

# The quick tests once more under the address and undefined-behaviour sanitizers.
check-sanitize:
	@$(MAKE) --no-print-directory BUILD=build-sanitize CMAKE_FLAGS=-DDDPM_SANITIZE=ON all
	@ctest --test-dir build-sanitize --output-on-failure -j2 -L quick

clean:
	@rm -rf build build-sanitize demo
