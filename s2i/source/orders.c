/* orders.c - what the server tells the child that reads, as JSON; see reading.h.
 * Touches  memory.
 * Never    I/O. */
#include <limits.h>
#include <stddef.h>
#include <stdlib.h>

#include "s2i/record.h"
#include "s2i/source/reading.h"
#include "s2i/source/text.h"

#define FIELD(name, kind, most, items)                                                             \
    {                                                                                              \
#name, RECORD_##kind, offsetof(struct reading_orders, name), most, items                   \
    }
#define MODULE(name)                                                                               \
    {                                                                                              \
#name, RECORD_NAME, offsetof(struct reading_module, name), SOURCE_PATH_MAX, 0              \
    }

static const struct record_field fields[] = {
    FIELD(archive, FLAG, 1, 0),
    FIELD(repository, NAME, SOURCE_PATH_MAX, 0),
    FIELD(commit, NAME, 64, 0),
    FIELD(ref, NAME, 256, 0),
    FIELD(context_dir, TEXT, SOURCE_PATH_MAX, 0),
    FIELD(exclude, NAME, SOURCE_PATH_MAX, 0),
    FIELD(modules_mode, INT, MODULES_NEEDED, 0),
    FIELD(detect, LIST, SOURCE_PATH_MAX, 1024),
    FIELD(files_max, NUMBER, INT64_MAX, 0),
    FIELD(bytes_max, NUMBER, INT64_MAX, 0),
    FIELD(blob_max, NUMBER, INT64_MAX, 0),
    FIELD(archive_fd, INT, INT_MAX, 0),
    FIELD(spool_fd, INT, INT_MAX, 0),
    FIELD(tar_fd, INT, INT_MAX, 0),
};
static const struct record_field module_fields[] = {MODULE(path), MODULE(repository)};

enum {
    FIELDS = sizeof(fields) / sizeof(fields[0]),
    MODULE_FIELDS = sizeof(module_fields) / sizeof(module_fields[0]),
};

void reading_orders_drop(struct reading_orders *orders)
{
    for (size_t i = 0; i < orders->module_count; i++)
        record_drop(&orders->modules[i], module_fields, MODULE_FIELDS);
    free(orders->modules);
    orders->modules = NULL;
    orders->module_count = 0;
    record_drop(orders, fields, FIELDS);
}

void reading_orders_add_module(struct reading_orders *orders, const char *path,
                               const char *repository)
{
    orders->modules =
        memory_resize(orders->modules, (orders->module_count + 1) * sizeof(orders->modules[0]));
    orders->modules[orders->module_count++] = (struct reading_module){
        memory_text(slice_of(path)), repository == NULL ? NULL : memory_text(slice_of(repository))};
}

json_t *reading_orders_write(const struct reading_orders *orders)
{
    json_t *object = json_object(), *modules = json_array();

    record_write(orders, fields, FIELDS, object);
    for (size_t i = 0; i < orders->module_count; i++) {
        json_t *module = json_object();
        record_write(&orders->modules[i], module_fields, MODULE_FIELDS, module);
        json_array_append_new(modules, module);
    }
    json_object_set_new(object, "modules", modules);
    return object;
}

static int read_modules(struct reading_orders *out, const json_t *modules, struct error *err)
{
    const json_t *object;
    size_t i;

    json_array_foreach(modules, i, object) {
        struct reading_module module = {.path = NULL};
        if (record_read(&module, module_fields, MODULE_FIELDS, object, err) < 0) {
            record_drop(&module, module_fields, MODULE_FIELDS);
            return -1;
        }
        if (module.path != NULL)
            reading_orders_add_module(out, module.path, module.repository);
        record_drop(&module, module_fields, MODULE_FIELDS);
    }
    return 0;
}

static bool are_whole(const struct reading_orders *orders)
{
    return orders->archive ||
           (orders->repository != NULL && (orders->commit == NULL) != (orders->ref == NULL));
}

int reading_orders_read(struct reading_orders *out, const json_t *object, struct error *err)
{
    *out = (struct reading_orders){.archive_fd = -1};
    if (record_read(out, fields, FIELDS, object, err) == 0 &&
        read_modules(out, json_object_get(object, "modules"), err) == 0) {
        if (are_whole(out))
            return 0;
        error_set(err, ERROR_INTERNAL, "the orders of the source reader are not whole");
    }
    reading_orders_drop(out);
    return -1;
}
