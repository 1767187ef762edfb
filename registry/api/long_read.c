/* long_read.c - questions whose answer reads all of a repository: few at a time.
 * Touches  a counter that all requests share.
 * Never    waits: who comes when there are enough is told to come again. */
#include "registry/api/api_internal.h"

enum { LONG_READS_MAX = 2 };

void api_long_read_end(atomic_uint **reads)
{
    if (*reads != NULL)
        atomic_fetch_sub(*reads, 1);
}

int api_long_read_begin(const struct request *request, atomic_uint **out, struct error *err)
{
    *out = request->services->long_reads;
    if (atomic_fetch_add(*out, 1) < LONG_READS_MAX)
        return 0;
    return error_set(err, ERROR_TOOMANYREQUESTS,
                     "other questions that take long are under way: try again");
}
