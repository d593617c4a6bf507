# The two commands of the README, and what developers need. CMake does the work.
BUILD ?= build
CMAKE_FLAGS ?=
DEMO_MINUTES ?= 2
PREFIX ?= /usr/local
FUZZ_SECONDS ?= 60

.PHONY: all demo check deps clean check-sanitize check-levels check-fuzz check-threads install deb

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
	@$(MAKE) --no-print-directory check-levels
	@$(MAKE) --no-print-directory check-sanitize

# The quick tests and the golden data once more on the processors below the one at hand.
check-levels:
	@for isa in avx512 avx2 generic; do \
	    echo "kernels: none above $$isa"; \
	    DDPM_MAX_ISA=$$isa ctest --test-dir $(BUILD) --output-on-failure -j2 -L 'quick|golden' || exit 1; done

# The quick tests once more under the address and undefined-behaviour sanitizers, and some seconds of each fuzz target.
check-sanitize:
	@$(MAKE) --no-print-directory BUILD=build-sanitize CMAKE_FLAGS=-DDDPM_SANITIZE=ON all
	@ctest --test-dir build-sanitize --output-on-failure -j2 -L 'quick|fuzz'

# The parsers under libFuzzer, a minute each; not part of check.
check-fuzz:
	@tools/fuzz.sh $(FUZZ_SECONDS)

# What works with several threads, under the thread sanitizer; not part of check.
check-threads:
	@cmake -S . -B build-threads -G Ninja -DCMAKE_C_FLAGS='-fsanitize=thread -g' >/dev/null
	@ninja --quiet -C build-threads test_pool test_loader test_library test_library_work
	@TSAN_OPTIONS=halt_on_error=1 ctest --test-dir build-threads --output-on-failure -R '^(pool|loader|library|library_work)$$'

# The program, the library and the models, under PREFIX.
install: all
	@cmake --install $(BUILD) --prefix $(PREFIX)

# Debian packages, in build/deb; not part of check.
deb:
	@packaging/make_deb.sh build/deb

clean:
	@rm -rf build build-sanitize build-fuzz build-threads demo
