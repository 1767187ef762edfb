# Slipway. `make help` lists what there is.
MODE ?= release
CC ?= gcc
BUILD := build/$(MODE)

WARNINGS := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wformat=2 -Wvla \
	-Wcast-qual -Wundef -Wwrite-strings
CFLAGS_release := -O2 -g -fPIE -D_FORTIFY_SOURCE=2 -fstack-protector-strong
LDFLAGS_release := -pie -Wl,-z,relro,-z,now
PACKAGES := openssl jansson sqlite3 yaml-0.1
CPPFLAGS += -I. -D_GNU_SOURCE -DH2O_USE_LIBUV=0 -DH2O_USE_EPOLL=1
CFLAGS += -std=gnu11 -pthread $(WARNINGS) $(CFLAGS_$(MODE)) $(shell pkg-config --cflags $(PACKAGES))
LDLIBS += -lh2o-evloop $(shell pkg-config --libs $(PACKAGES)) -lm

SOURCES := $(shell find registry storage auth s2i -name '*.c' | sort)
OBJECTS := $(SOURCES:%.c=$(BUILD)/%.o)

all: $(BUILD)/slipway

$(BUILD)/slipway: $(OBJECTS)
	$(CC) -pthread $(LDFLAGS_$(MODE)) -o $@ $^ $(LDLIBS)

$(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<

-include $(OBJECTS:.o=.d)
.PHONY: all
