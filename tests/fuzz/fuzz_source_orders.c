/* fuzz_source_orders.c - any bytes as what the server and its source reader tell each other: orders
 * and facts are read whole or not at all, and are written as they were read. */
#include <stdlib.h>
#include <string.h>

#include "s2i/source/reading.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_orders(const json_t *object)
{
    struct reading_orders orders, again;
    struct error err = {0};

    if (reading_orders_read(&orders, object, &err) < 0)
        return;
    assert(orders.archive ||
           (orders.repository != NULL && (orders.commit == NULL) != (orders.ref == NULL)));
    json_t *written = reading_orders_write(&orders);
    assert(reading_orders_read(&again, written, &err) == 0);
    assert(again.module_count == orders.module_count && again.tar_fd == orders.tar_fd);
    reading_orders_drop(&again);
    json_decref(written);
    reading_orders_drop(&orders);
}

static void check_facts(const json_t *object)
{
    struct s2i_source_facts facts = {.url = NULL};
    struct error err = {0};

    if (s2i_source_facts_read(&facts, object, &err) < 0)
        return;
    json_decref(s2i_source_facts_write(&facts));
    s2i_source_facts_drop(&facts);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    json_t *object = json_loadb((const char *)data, size, 0, NULL);

    if (object == NULL)
        return 0;
    check_orders(object);
    check_facts(object);
    json_decref(object);
    return 0;
}
