#!/bin/bash
# lint.sh - format, layers and banned functions, mutants, Python, cppcheck, clang-tidy; quick ones first, all of them
# always.
set -u
cd "$(dirname "$0")/../.."
flags="-std=gnu11 -I. -D_GNU_SOURCE -DH2O_USE_LIBUV=0 -DH2O_USE_EPOLL=1"
sources=$(find registry storage auth s2i -name '*.c' 2>/dev/null | sort)
headers=$(find registry storage auth s2i -name '*.h' 2>/dev/null | sort)
tests=$(find tests -name '*.[ch]' | sort)
python=$(find tests -name '*.py' | sort)
failed=0
step() { # NAME COMMAND...
    local name=$1 started=$SECONDS
    shift
    if "$@"; then echo "lint: $name: clean ($((SECONDS - started)) s)"; else echo "lint: $name: FAILED"; failed=1; fi
}
tidy() { printf '%s\n' $sources | xargs -P "$(nproc)" -n 3 sh -c 'clang-tidy --quiet "$@" -- '"$flags"' 2>/dev/null' tidy; }
check() {
    cppcheck -q -j "$(nproc)" --enable=warning,performance,portability --inline-suppr --error-exitcode=1 \
        --suppressions-list=tests/lint/cppcheck.txt -D_GNU_SOURCE -I. --std=c11 $sources
}
step "format" clang-format --dry-run -Werror $sources $headers $tests
step "layers, banned functions" /usr/bin/python3 tests/lint/layers.py
step "mutants have their places" /usr/bin/python3 tests/mutants/run.py --check
step "pyflakes" pyflakes3 $python
step "cppcheck" check
step "clang-tidy" tidy
exit $failed
