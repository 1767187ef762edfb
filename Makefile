# Slipway. `make help` lists what there is.
MODE ?= release
ifeq ($(origin CC),default)
CC := gcc
endif
BUILD ?= build/$(MODE)
PREFIX ?= /usr/local
FUZZ_SECONDS ?= 60
PYTHON := /usr/bin/python3

WARNINGS := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wformat=2 -Wvla \
	-Wcast-qual -Wundef -Wwrite-strings -Wnull-dereference
ifneq ($(findstring clang,$(CC)),)
WARNINGS += -Wthread-safety
endif
ifeq ($(CI),true)
WARNINGS += -Werror
endif
SANITIZE_debug :=
SANITIZE_asan := -fsanitize=address,undefined -fno-sanitize-recover=all
SANITIZE_tsan := -fsanitize=thread
SANITIZE_fuzz := -fsanitize=address,undefined,fuzzer-no-link -fno-sanitize-recover=all
CFLAGS_release := -O2 -D_FORTIFY_SOURCE=3 -fstack-protector-strong
CFLAGS_debug := -O0
CFLAGS_asan := -O1 -fno-omit-frame-pointer
CFLAGS_tsan := -O1 -fno-omit-frame-pointer
CFLAGS_fuzz := -O1 -fno-omit-frame-pointer

PACKAGES := openssl jansson sqlite3 yaml-0.1 libcurl libcrypt libgit2 libarchive zlib libzstd
PACKAGE_CFLAGS := $(shell pkg-config --cflags $(PACKAGES) 2>/dev/null)
PACKAGE_LIBS := $(shell pkg-config --libs $(PACKAGES) 2>/dev/null)
ALL_CPPFLAGS := -I. -I$(BUILD) -D_GNU_SOURCE -DH2O_USE_LIBUV=0 -DH2O_USE_EPOLL=1 $(CPPFLAGS)
ALL_CFLAGS := -std=gnu11 -g -fPIE -pthread $(WARNINGS) $(CFLAGS_$(MODE)) $(SANITIZE_$(MODE)) \
	$(PACKAGE_CFLAGS) $(CFLAGS)
ALL_LDFLAGS := -pthread -pie -Wl,-z,relro,-z,now $(SANITIZE_$(MODE)) $(LDFLAGS)
ALL_LDLIBS := -lh2o-evloop $(PACKAGE_LIBS) -lm $(LDLIBS)

SOURCES := $(shell find registry storage auth s2i -name '*.c' 2>/dev/null | sort)
OBJECTS := $(SOURCES:%.c=$(BUILD)/%.o)
LIBRARY := $(BUILD)/slipway.a
UNIT := $(patsubst %.c,$(BUILD)/%,$(wildcard tests/unit/test_*.c tests/drivers/test_*.c))
FUZZ := $(wildcard tests/fuzz/fuzz_*.c)
REPLAY := $(FUZZ:tests/fuzz/fuzz_%.c=$(BUILD)/tests/fuzz/replay_%)
FUZZERS := $(FUZZ:tests/fuzz/%.c=$(BUILD)/tests/fuzz/%)
INTERPOSER := $(BUILD)/interpose.so
LOAD := $(BUILD)/tests/bench/load
PROBES := $(BUILD)/tests/support/jwt_probe $(BUILD)/tests/support/routes $(BUILD)/tests/support/layer_probe \
	$(BUILD)/tests/support/source_probe $(BUILD)/tests/support/stepper
C_FILES := $(shell find registry storage auth s2i tests -name '*.[ch]' 2>/dev/null | sort)

all: $(BUILD)/slipway ## builds build/$(MODE)/slipway; MODE is release, debug, asan or tsan

$(BUILD)/slipway: $(BUILD)/registry/main.o $(LIBRARY)
	$(CC) $(ALL_LDFLAGS) -o $@ $^ $(ALL_LDLIBS)

$(LIBRARY): $(filter-out %/main.o,$(OBJECTS))
	@rm -f $@
	@$(AR) rcs $@ $^

$(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(ALL_CPPFLAGS) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<

# Tests play the part of every thread.
$(BUILD)/tests/%.o: ALL_CFLAGS += $(if $(findstring clang,$(CC)),-Wno-thread-safety)

# These files are part of the object (.incbin).
$(BUILD)/storage/meta_schema.o: $(wildcard storage/schema/*.sql)
$(BUILD)/registry/api/system.o: registry/api/openapi.json

$(UNIT): $(BUILD)/%: $(BUILD)/%.o $(LIBRARY)
	$(CC) $(ALL_LDFLAGS) -o $@ $^ -lcmocka $(ALL_LDLIBS)

$(REPLAY): $(BUILD)/tests/fuzz/replay_%: $(BUILD)/tests/fuzz/fuzz_%.o $(BUILD)/tests/fuzz/replay.o $(LIBRARY)
	$(CC) $(ALL_LDFLAGS) -o $@ $^ $(ALL_LDLIBS)

$(FUZZERS): $(BUILD)/%: $(BUILD)/%.o $(LIBRARY)
	$(CC) $(ALL_LDFLAGS) -fsanitize=fuzzer -o $@ $^ $(ALL_LDLIBS)

# Sources below BROKEN, laid out as here, come before those of the archive: tests/crash/test_broken.py.
ifdef BROKEN
$(BROKEN)/slipway: $(BUILD)/registry/main.o $(LIBRARY)
	$(CC) $(ALL_CPPFLAGS) $(ALL_CFLAGS) $(ALL_LDFLAGS) -o $@ $< $(shell find $(BROKEN) -name '*.c') \
		$(LIBRARY) $(ALL_LDLIBS)
endif

# Preloaded by the crash tests, never linked.
$(INTERPOSER): $(wildcard tests/crash/*.[ch])
	@mkdir -p $(@D)
	$(CC) -I. -D_GNU_SOURCE -std=gnu11 -O2 -g -fPIC -fno-builtin -shared -pthread $(WARNINGS) \
		-Wl,-z,defs -o $@ $(filter %.c,$^) -ldl

$(PROBES): $(BUILD)/%: $(BUILD)/%.o $(LIBRARY)
	$(CC) $(ALL_LDFLAGS) -o $@ $^ $(ALL_LDLIBS)

$(LOAD): $(patsubst %.c,$(BUILD)/%.o,$(wildcard tests/bench/*.c))
	$(CC) $(ALL_LDFLAGS) -o $@ $^ -lcrypto

run: deps ## installs what is needed, builds, serves on 127.0.0.1:5000 with ./var
	@$(MAKE) --no-print-directory all
	@tests/support/run.sh $(BUILD)/slipway

deps: ## installs what building and running need (Debian packages)
	@tests/support/deps.sh run
deps-test: ## installs what the tests need as well: clients, peers, tools
	@tests/support/deps.sh run test

test: deps-test ## unit, driver, replayed fuzz and end-to-end tests; ends in one line of totals
	@$(MAKE) --no-print-directory all test-programs
	@$(PYTHON) tests/run.py --build $(BUILD)
test-unit: test-programs ## only what needs no server
	@$(PYTHON) tests/run.py --build $(BUILD) --no-pytest
test-programs: $(UNIT) $(REPLAY) $(INTERPOSER) $(LOAD) $(PROBES)

bench: deps-test ## measures Slipway beside docker-registry and nginx; BENCH_QUICK=1, BENCH="--rows push"
	@$(MAKE) --no-print-directory all $(LOAD)
	@$(PYTHON) tests/bench/bench.py --slipway $(BUILD)/slipway --load $(LOAD) \
		$(if $(BENCH_QUICK),--quick) $(BENCH)

fuzz: deps-test ## runs every fuzz target for FUZZ_SECONDS
	@$(MAKE) --no-print-directory MODE=fuzz CC=clang fuzz-run
fuzz-run: $(FUZZERS)
	@set -e; for target in $(FUZZERS); do name=$${target##*/fuzz_}; \
		mkdir -p build/corpus/$$name tests/fuzz/corpus/$$name; \
		$$target -max_total_time=$(FUZZ_SECONDS) -timeout=10 -artifact_prefix=build/corpus/ \
			build/corpus/$$name tests/fuzz/corpus/$$name; done

sanitize: deps-test ## all but real clients under address + undefined, then thread sanitizer; CLIENTS=1: these too
	@$(MAKE) --no-print-directory MODE=asan all test-programs
	@$(MAKE) --no-print-directory MODE=tsan all test-programs
	@$(PYTHON) tests/run.py $(if $(CLIENTS),,--no-clients) --build build/asan build/tsan

mutants: deps-test ## breaks the program on purpose, line by line: a test must notice each; MUTANTS="--only v2"
	@$(PYTHON) tests/mutants/run.py $(MUTANTS)

lint: deps-test ## format, clang-tidy, cppcheck, pyflakes, layers, banned functions
	@tests/lint/lint.sh
format: ## applies clang-format
	@clang-format -i $(C_FILES)

install: all ## into PREFIX, below DESTDIR when that is set
	install -D -m 755 $(BUILD)/slipway $(DESTDIR)$(PREFIX)/bin/slipway
	install -D -m 644 conf/slipway.yml $(DESTDIR)/etc/slipway/config.yml.example
	install -d $(DESTDIR)$(PREFIX)/lib/systemd/system
	set -e; for unit in slipway.service slipway-builder.service slipway-gc.service; do sed "s|/usr/local/bin|$(PREFIX)/bin|" conf/$$unit \
		> $(DESTDIR)$(PREFIX)/lib/systemd/system/$$unit; done
	install -m 644 conf/slipway-gc.timer $(DESTDIR)$(PREFIX)/lib/systemd/system/slipway-gc.timer
	install -D -m 644 conf/slipway-gc.cron $(DESTDIR)$(PREFIX)/share/doc/slipway/examples/slipway-gc.cron

clean: ## removes build/
	rm -rf build
help: ## this list
	@sed -n 's/^\([a-z-]*\):[^#]*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

.SECONDARY:
.PHONY: all run deps deps-test test test-unit test-programs bench fuzz fuzz-run sanitize mutants lint \
	format install clean help
-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
