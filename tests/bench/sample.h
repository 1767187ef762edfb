/* sample.h - latencies counted in a histogram of constant size; percentiles are exact to 1/64.
 * Touches  the histogram it is given.
 * Never    allocates, so that taking a sample costs nothing that could be measured. */
#ifndef TESTS_BENCH_SAMPLE_H
#define TESTS_BENCH_SAMPLE_H

#include <stdint.h>

/* A power of two has SAMPLE_STEPS / 2 slots; the last of them begins at 2^47 ns, more than a day.
 */
enum { SAMPLE_STEPS = 128, SAMPLE_SLOTS = SAMPLE_STEPS / 2 * 42 };

struct samples {
    uint64_t count;
    uint64_t max_ns;
    uint64_t slots[SAMPLE_SLOTS];
};

void samples_add(struct samples *samples, uint64_t value_ns);

/* The value below which `percent` of the samples lie, in nanoseconds; 0 without samples. */
uint64_t samples_percentile(const struct samples *samples, double percent);

#endif
