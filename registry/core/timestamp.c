/* timestamp.c - points in time as text. */
#include "registry/core/timestamp.h"

#include <stdio.h>
#include <time.h>

enum { SECOND_US = 1000000, DIGITS = 6 };

static const int64_t FIRST_S = -62167219200; /* 0000-01-01T00:00:00Z */
static const int64_t LAST_S = 253402300799;  /* 9999-12-31T23:59:59Z */

const char *timestamp_print(int64_t us, char out[TIMESTAMP_MAX])
{
    int64_t rest = ((us % SECOND_US) + SECOND_US) % SECOND_US;
    int64_t seconds = (us - rest) / SECOND_US;
    time_t clamped = (time_t)(seconds < FIRST_S ? FIRST_S : seconds > LAST_S ? LAST_S : seconds);
    struct tm utc;
    int digits = DIGITS;

    gmtime_r(&clamped, &utc);
    while (digits > 0 && rest % 10 == 0) {
        rest /= 10;
        digits--;
    }
    size_t size = strftime(out, TIMESTAMP_MAX, "%Y-%m-%dT%H:%M:%S", &utc);
    if (digits > 0)
        snprintf(out + size, TIMESTAMP_MAX - size, ".%0*dZ", digits, (int)rest);
    else
        snprintf(out + size, TIMESTAMP_MAX - size, "Z");
    return out;
}

/* --- reading --- */

/* Exactly so many digits; moves on. */
static bool number(struct slice *text, size_t digits, int *out)
{
    *out = 0;
    if (text->size < digits)
        return false;
    for (size_t i = 0; i < digits; i++) {
        char c = text->at[i];
        if (c < '0' || c > '9')
            return false;
        *out = *out * 10 + (c - '0');
    }
    *text = slice_from(*text, digits);
    return true;
}

static bool mark(struct slice *text, const char *wanted)
{
    for (; text->size > 0 && *wanted != 0; wanted++) {
        if (text->at[0] != *wanted)
            continue;
        *text = slice_from(*text, 1);
        return true;
    }
    return false;
}

static bool date_and_time(struct slice *text, struct tm *out)
{
    bool read = number(text, 4, &out->tm_year) && mark(text, "-") &&
                number(text, 2, &out->tm_mon) && mark(text, "-") &&
                number(text, 2, &out->tm_mday) && mark(text, "Tt ") &&
                number(text, 2, &out->tm_hour) && mark(text, ":") &&
                number(text, 2, &out->tm_min) && mark(text, ":") && number(text, 2, &out->tm_sec);

    out->tm_year -= 1900;
    out->tm_mon -= 1;
    return read && out->tm_hour < 24 && out->tm_min < 60 && out->tm_sec <= 60;
}

static bool fraction(struct slice *text, int64_t *us)
{
    int64_t worth = SECOND_US / 10;
    int digit;

    *us = 0;
    if (!mark(text, "."))
        return true;
    if (!number(text, 1, &digit))
        return false;
    do {
        *us += digit * worth;
        worth /= 10;
    } while (number(text, 1, &digit));
    return true;
}

static bool offset(struct slice *text, int64_t *seconds)
{
    bool behind = text->size > 0 && text->at[0] == '-';
    int hours, minutes;

    *seconds = 0;
    if (mark(text, "Zz"))
        return true;
    if (!mark(text, "+-") || !number(text, 2, &hours) || !mark(text, ":") ||
        !number(text, 2, &minutes) || hours > 23 || minutes > 59)
        return false;
    *seconds = (behind ? -1 : 1) * (hours * 3600 + minutes * 60);
    return true;
}

bool timestamp_parse(struct slice text, int64_t *us)
{
    struct tm given = {0};
    int64_t part, ahead;

    if (!date_and_time(&text, &given) || !fraction(&text, &part) || !offset(&text, &ahead) ||
        text.size > 0)
        return false;
    struct tm real = given;
    real.tm_sec = 0;
    int64_t minute = timegm(&real); /* makes the 30th of February one of March */
    if (given.tm_mon != real.tm_mon)
        return false;
    *us = (minute + given.tm_sec - ahead) * SECOND_US + part;
    return *us >= 0;
}
