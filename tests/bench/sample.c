/* sample.c - latencies counted in a histogram of constant size: 64 slots for each power of two.
 * Touches  the histogram it is given.
 * Never    allocates. */
#include "tests/bench/sample.h"

/* How many bits a value loses in its slot; values below SAMPLE_STEPS lose none. */
static unsigned shift_of(uint64_t value_ns)
{
    return value_ns < SAMPLE_STEPS ? 0 : 57U - (unsigned)__builtin_clzll(value_ns);
}

void samples_add(struct samples *samples, uint64_t value_ns)
{
    unsigned shift = shift_of(value_ns);
    uint64_t slot = (uint64_t)shift * (SAMPLE_STEPS / 2) + (value_ns >> shift);

    samples->slots[slot < SAMPLE_SLOTS ? slot : SAMPLE_SLOTS - 1]++;
    samples->count++;
    if (value_ns > samples->max_ns)
        samples->max_ns = value_ns;
}

static uint64_t value_of(uint64_t slot)
{
    if (slot < SAMPLE_STEPS)
        return slot;

    uint64_t shift = slot / (SAMPLE_STEPS / 2) - 1;

    return (slot - shift * (SAMPLE_STEPS / 2)) << shift;
}

uint64_t samples_percentile(const struct samples *samples, double percent)
{
    uint64_t wanted = (uint64_t)((double)samples->count * percent / 100.0);
    uint64_t seen = 0;

    if (samples->count == 0)
        return 0;
    for (uint64_t slot = 0; slot < SAMPLE_SLOTS; slot++) {
        seen += samples->slots[slot];
        if (seen > wanted)
            return value_of(slot);
    }
    return samples->max_ns;
}
