/* load.c - the load of the benchmarks: speaks to one server and prints what it saw as JSON.
 * Touches  the server named by --address, through run.c.
 * Never    hashes or makes content in the timed part; never starts or judges a server.
 *
 * usage: load get|head|patch|put|tag|image|pull --address HOST:PORT [--NAME VALUE ...] */
#include <arpa/inet.h>
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include "tests/bench/content.h"
#include "tests/bench/run.h"
#include "tests/bench/work.h"

/* Everything that can be said on the command line. */
struct options {
    const char *address;
    const char *path;
    const char *paths; /* a file with one a line, taken in turn */
    const char *repository;
    const char *tag;
    const char *authorization;  /* of every GET or HEAD */
    const char *authorizations; /* a file with one a line, taken in turn */
    double clients, count, seconds, warmup, size, items, seed, first, pulls, pace, interval_us;
    double prepare; /* images pushed before the timed part */
    double touch;   /* bytes of memory to touch before it, so that the page cache finds it warm */
    double same_manifest;
    double fresh;  /* every request on a connection of its own */
    double status; /* expected of GET and HEAD; 0: any */
};

static const struct {
    const char *name;
    size_t text;   /* offset of a text, or 0 */
    size_t number; /* offset of a number */
} OPTIONS[] = {
    {"--address", offsetof(struct options, address) + 1, 0},
    {"--path", offsetof(struct options, path) + 1, 0},
    {"--paths", offsetof(struct options, paths) + 1, 0},
    {"--repository", offsetof(struct options, repository) + 1, 0},
    {"--tag", offsetof(struct options, tag) + 1, 0},
    {"--authorization", offsetof(struct options, authorization) + 1, 0},
    {"--authorizations", offsetof(struct options, authorizations) + 1, 0},
    {"--clients", 0, offsetof(struct options, clients)},
    {"--count", 0, offsetof(struct options, count)},
    {"--seconds", 0, offsetof(struct options, seconds)},
    {"--warmup", 0, offsetof(struct options, warmup)},
    {"--size", 0, offsetof(struct options, size)},
    {"--items", 0, offsetof(struct options, items)},
    {"--seed", 0, offsetof(struct options, seed)},
    {"--first", 0, offsetof(struct options, first)},
    {"--pulls", 0, offsetof(struct options, pulls)},
    {"--pace", 0, offsetof(struct options, pace)},
    {"--interval-us", 0, offsetof(struct options, interval_us)},
    {"--prepare", 0, offsetof(struct options, prepare)},
    {"--touch", 0, offsetof(struct options, touch)},
    {"--same-manifest", 0, offsetof(struct options, same_manifest)},
    {"--fresh", 0, offsetof(struct options, fresh)},
    {"--status", 0, offsetof(struct options, status)},
};

static int fail(const char *what, const char *which)
{
    fprintf(stderr, "load: %s: %s\n", what, which);
    return -1;
}

static int read_option(struct options *options, const char *name, const char *value)
{
    for (size_t i = 0; i < sizeof OPTIONS / sizeof OPTIONS[0]; i++) {
        char *end = NULL;

        if (strcmp(OPTIONS[i].name, name) != 0)
            continue;
        if (OPTIONS[i].text > 0) {
            memcpy((char *)options + OPTIONS[i].text - 1, &value, sizeof value);
            return 0;
        }

        double number = strtod(value, &end);

        if (*end != '\0' || number < 0)
            return fail("not a number", value);
        memcpy((char *)options + OPTIONS[i].number, &number, sizeof number);
        return 0;
    }
    return fail("unknown option", name);
}

static int read_address(const char *text, struct sockaddr_in *address)
{
    char host[64];
    const char *colon = text == NULL ? NULL : strrchr(text, ':');

    if (colon == NULL || (size_t)(colon - text) >= sizeof host)
        return fail("expected --address", "HOST:PORT");
    memcpy(host, text, (size_t)(colon - text));
    host[colon - text] = '\0';
    address->sin_family = AF_INET;
    address->sin_port = htons((uint16_t)strtoul(colon + 1, NULL, 10));
    if (inet_pton(AF_INET, host, &address->sin_addr) != 1)
        return fail("not an address", host);
    return 0;
}

/* Faults memory in and gives it back, so that the kernel has pages at hand that the host backs. */
static void touch_memory(size_t length)
{
    void *memory = NULL;

    if (length == 0)
        return;
    memory = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE,
                  -1, 0);
    if (memory != MAP_FAILED)
        munmap(memory, length);
}

/* One untimed run of uploads or images; a failure there fails the load. */
static int prepare(const struct run *like, const struct work *work, enum script script,
                   uint64_t count)
{
    struct run run = {.work = work, .script = script, .address = like->address, .clients = 1};

    if (count == 0)
        return 0;
    run.count = count;
    run.clients = count < 8 ? 1 : 8;
    if (run_all(&run) < 0)
        return fail("cannot reach the server", strerror(errno));
    return run.errors > 0 ? fail("preparation", run.problem) : 0;
}

/* Puts in place what manifests refer to, and images to pull. */
static int prepare_all(const struct run *run, struct work *work, const struct options *options)
{
    struct work config = *work;

    config.items = &work->config;
    config.item_count = 1;
    config.pace_bytes_s = 0;
    if (run->script == SCRIPT_TAG && prepare(run, work, SCRIPT_PATCH, work->item_count) < 0)
        return -1;
    if (run->script == SCRIPT_TAG || run->script == SCRIPT_IMAGE)
        if (prepare(run, &config, SCRIPT_PATCH, 1) < 0)
            return -1;
    return prepare(run, work, SCRIPT_IMAGE, (uint64_t)options->prepare);
}

static void make_items(struct work *work, const struct options *options)
{
    work->item_count = (uint64_t)options->items;
    work->items = calloc(work->item_count, sizeof *work->items);
    if (work->items == NULL)
        abort();
    for (uint64_t i = 0; i < work->item_count; i++)
        content_make(&work->items[i], work->seed, i, (uint64_t)options->size);
    work->config.size_bytes = 2;
    memcpy(work->config.prefix, "{}", sizeof "{}");
    content_digest("{}", 2, work->config.digest);
}

static void add_value(struct values *values, const char *value)
{
    values->items = realloc(values->items, (values->count + 1) * sizeof *values->items);
    if (values->items == NULL || value == NULL)
        abort();
    values->items[values->count++] = value;
}

/* The one value, or the lines of a file. Lives as long as the program. */
static int make_values(struct values *values, const char *one, const char *path)
{
    FILE *file = NULL;
    char *line = NULL;
    size_t capacity = 0;
    ssize_t length;

    if (path == NULL) {
        if (one != NULL)
            add_value(values, one);
        return 0;
    }
    file = fopen(path, "re");
    if (file == NULL)
        return fail(strerror(errno), path);
    while ((length = getline(&line, &capacity, file)) > 1)
        add_value(values, strndup(line, (size_t)length - 1));
    free(line);
    fclose(file);
    return 0;
}

static void report_samples(const char *name, const struct samples *samples)
{
    printf(",\"%s\":{\"count\":%llu,\"p50_us\":%.1f,\"p90_us\":%.1f,\"p99_us\":%.1f,"
           "\"max_us\":%.1f}",
           name, (unsigned long long)samples->count, (double)samples_percentile(samples, 50) / 1e3,
           (double)samples_percentile(samples, 90) / 1e3,
           (double)samples_percentile(samples, 99) / 1e3, (double)samples->max_ns / 1e3);
}

static void report(const struct run *run, double cpu_s)
{
    printf("{\"operations\":%llu,\"errors\":%llu,\"refused\":%llu,\"elapsed_s\":%.6f,"
           "\"client_cpu_s\":%.3f",
           (unsigned long long)run->operations, (unsigned long long)run->errors,
           (unsigned long long)run->refused, run->elapsed_s, cpu_s);
    report_samples("latency", &run->latency);
    report_samples("pulls", &run->pulls);
    printf("}\n");
    if (run->errors > 0)
        fprintf(stderr, "load: %llu errors, the first: %s\n", (unsigned long long)run->errors,
                run->problem);
}

static double cpu_seconds(void)
{
    struct rusage usage;

    getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static void describe(struct run *run, struct work *work, const struct options *options)
{
    work->host = options->address;
    work->repository = options->repository;
    work->tag = options->tag;
    work->seed = (uint64_t)options->seed;
    work->pace_bytes_s = (uint64_t)options->pace;
    work->same_manifest = options->same_manifest > 0;
    work->fresh = options->fresh > 0;
    work->status = (int)options->status;
    run->work = work;
    run->clients = (unsigned)options->clients;
    run->first = (uint64_t)(options->prepare > 0 ? options->prepare : options->first);
    run->count = (uint64_t)options->count;
    run->seconds = options->seconds;
    run->warmup_s = options->warmup;
    run->pulls_percent = run->first > 0 ? (unsigned)options->pulls : 0;
    run->interval_ns = (uint64_t)(options->interval_us * 1e3);
}

static int read_options(struct options *options, int argc, char **argv)
{
    if (argc % 2 != 0)
        return fail("usage", "load SCRIPT --address HOST:PORT [--NAME VALUE ...]");
    for (int i = 2; i < argc; i += 2)
        if (read_option(options, argv[i], argv[i + 1]) < 0)
            return -1;
    if (options->clients < 1 || options->items < 1)
        return fail("expected at least one of", "--clients, --items");
    if (options->count < 1 && options->seconds <= 0)
        return fail("expected", "--count or --seconds");
    return 0;
}

int main(int argc, char **argv)
{
    struct run run = {0};
    struct work work = {0};
    struct options options = {.path = "/v2/", .repository = "bench/load", .tag = "t"};
    int script = argc > 1 ? work_script(argv[1]) : -1;

    options.clients = options.items = options.size = 1;
    options.status = 200;
    if (script < 0)
        return fail("unknown script", argc > 1 ? argv[1] : "none"), 2;
    if (read_options(&options, argc, argv) < 0 || read_address(options.address, &run.address) < 0)
        return 2;
    run.script = (enum script)script;
    describe(&run, &work, &options);
    if (make_values(&work.authorizations, options.authorization, options.authorizations) < 0 ||
        make_values(&work.paths, options.path, options.paths) < 0)
        return 1;
    content_prepare();
    make_items(&work, &options);
    if (prepare_all(&run, &work, &options) < 0)
        return 1;
    touch_memory((size_t)options.touch);

    double before_s = cpu_seconds();

    if (run_all(&run) < 0)
        return fail("cannot reach the server", strerror(errno)), 1;
    report(&run, cpu_seconds() - before_s);
    free(work.items);
    return run.errors > 0 ? 1 : 0;
}
