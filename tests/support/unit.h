/* unit.h - what every unit test includes: cmocka with what it needs before it. */
#ifndef SLIPWAY_TESTS_SUPPORT_UNIT_H
#define SLIPWAY_TESTS_SUPPORT_UNIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include <cmocka.h>

#define LENGTH(array) (sizeof(array) / sizeof((array)[0]))

#endif
