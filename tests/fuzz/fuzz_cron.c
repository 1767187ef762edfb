/* fuzz_cron.c - any bytes as a schedule: what is one comes again, and each time fits. */
#include "registry/core/cron.h"

#include <time.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct cron cron;
    struct error err = {0};
    int64_t at = 1700000000;

    if (cron_parse((struct slice){(const char *)data, size}, &cron, &err) < 0) {
        assert(err.code == ERROR_INVALID && err.message[0] != 0);
        return 0;
    }
    for (int i = 0; i < 10; i++) {
        int64_t next = cron_next(&cron, NULL, at);
        time_t moment = (time_t)next;
        struct tm date;
        assert(next > at && next % 60 == 0 && gmtime_r(&moment, &date) != NULL);
        assert((cron.minutes >> date.tm_min & 1) != 0 && (cron.hours >> date.tm_hour & 1) != 0);
        assert((cron.months >> (date.tm_mon + 1) & 1) != 0);
        assert((cron.days >> date.tm_mday & 1) != 0 || (cron.weekdays >> date.tm_wday & 1) != 0);
        at = next;
    }
    return 0;
}
