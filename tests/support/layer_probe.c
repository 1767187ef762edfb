/* layer_probe.c - for tests: unpacks and makes layers, as the words of its command line say.
 *   layer_probe unpack BLOB MEDIA-TYPE DIFF-ID FOLDER [option=value]...
 *   layer_probe untar TAR FOLDER [option=value]...
 *   layer_probe make UPPER BLOB [option=value]...
 * Prints what is known afterwards as one line of JSON; a failure as "CODE: message (cause)". */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "registry/core/fd.h"
#include "s2i/layer/layer.h"

struct words {
    struct layer_ids ids;
    struct layer_limits limits;
    struct layer_make make;
    struct tar_wish wish;
    int lowers[64];
    const char *left_out[64];
    size_t left_out_count;
    struct s2i_list slices, secrets, notes;
};

static int fail(const struct error *err)
{
    fprintf(stderr, "%s: %s (%s)\n", error_code_problem(err->code), err->message, err->cause);
    return 1;
}

static int open_or_die(const char *path, int flags)
{
    int fd = open(path, flags | O_CLOEXEC, 0644);

    if (fd < 0) {
        perror(path);
        exit(2);
    }
    return fd;
}

static uint64_t number(struct slice value)
{
    uint64_t out = 0;

    if (!slice_to_u64(value, &out)) {
        fprintf(stderr, "not a number: %.*s\n", SLICE_ARG(value));
        exit(2);
    }
    return out;
}

static void read_number(struct words *words, struct slice name, struct slice value)
{
    uint64_t n = number(value);

    if (slice_equal_text(name, "base"))
        words->ids.base = (uint32_t)n;
    else if (slice_equal_text(name, "single"))
        words->ids.single = words->ids.user_xattr = n != 0;
    else if (slice_equal_text(name, "bytes_max"))
        words->limits.bytes_max = n;
    else if (slice_equal_text(name, "entries_max"))
        words->limits.entries_max = n;
    else if (slice_equal_text(name, "ratio_max"))
        words->limits.ratio_max = n;
    else if (slice_equal_text(name, "uid"))
        words->wish.uid = words->make.uid = (uint32_t)n;
    else if (slice_equal_text(name, "gid"))
        words->wish.gid = words->make.gid = (uint32_t)n;
    else if (slice_equal_text(name, "strict"))
        words->wish.strict = n != 0;
    else if (slice_equal_text(name, "quiet_ms"))
        words->wish.quiet_ms = n;
    else if (slice_equal_text(name, "epoch"))
        words->make.epoch = (int64_t)n;
    else if (slice_equal_text(name, "clamp_all"))
        words->make.clamp_all = n != 0;
    else if (slice_equal_text(name, "slice_number"))
        words->make.slice = n;
    else
        exit(2);
}

static void read_word(struct words *words, char *word)
{
    struct slice name, value;

    slice_split(slice_of(word), '=', &name, &value);
    if (slice_equal_text(name, "lower"))
        words->lowers[words->make.lower_count++] = open_or_die(value.at, O_RDONLY | O_DIRECTORY);
    else if (slice_equal_text(name, "left_out"))
        words->left_out[words->left_out_count++] = value.at;
    else if (slice_equal_text(name, "slice"))
        s2i_list_add(&words->slices, value);
    else if (slice_equal_text(name, "secret"))
        s2i_list_add(&words->secrets, value);
    else if (slice_equal_text(name, "compression"))
        words->make.compression = value.at;
    else
        read_number(words, name, value);
}

static int sink(void *arg, struct slice bytes, struct error *err)
{
    return fd_write(*(int *)arg, bytes) == 0
               ? 0
               : error_set(err, ERROR_INTERNAL, "cannot write the layer");
}

static void print_notes(const struct s2i_list *notes)
{
    OWNED(buffer_drop) struct buffer text = BUFFER_NONE;

    for (size_t i = 0; i < notes->count; i++) {
        buffer_append_text(&text, i == 0 ? "" : ", ");
        buffer_append_json(&text, slice_of(notes->items[i]));
    }
    printf("\"notes\": [%.*s]", (int)text.size, text.size == 0 ? "" : text.at);
}

static int make(struct words *words, const char *upper, const char *blob)
{
    struct error err = {0};
    struct s2i_layer layer = {.media_type = NULL};
    uint64_t entries = 0;
    char digest[DIGEST_TEXT_MAX], diff_id[DIGEST_TEXT_MAX];
    int out = open_or_die(blob, O_WRONLY | O_CREAT | O_TRUNC);

    words->make.upper = open_or_die(upper, O_RDONLY | O_DIRECTORY);
    words->make.lowers = words->lowers;
    words->make.ids = words->ids;
    words->make.left_out = words->left_out;
    words->make.slices = words->slices.count == 0 ? NULL : &words->slices;
    words->make.secrets = &words->secrets;
    words->make.sink = sink;
    words->make.arg = &out;
    words->make.notes = &words->notes;
    if (layer_make(&words->make, &layer, &entries, &err) < 0)
        return fail(&err);
    printf("{\"digest\": \"%s\", \"diff_id\": \"%s\", \"size\": %llu, \"media_type\": \"%s\", "
           "\"entries\": %llu, ",
           digest_text(&layer.digest, digest), digest_text(&layer.diff_id, diff_id),
           (unsigned long long)layer.size, layer.media_type, (unsigned long long)entries);
    print_notes(&words->notes);
    printf("}\n");
    free(layer.media_type);
    return 0;
}

static int unpack(struct words *words, char **word)
{
    struct error err = {0};
    struct s2i_layer layer = {.media_type = word[1]};
    int fd = open_or_die(word[0], O_RDONLY), folder = open_or_die(word[3], O_RDONLY | O_DIRECTORY);

    if (digest_parse(slice_of(word[2]), &layer.diff_id, &err) < 0 ||
        layer_unpack(fd, &layer, folder, &words->ids, &words->limits, &words->notes, &err) < 0)
        return fail(&err);
    printf("{\"hides_all\": %s, ", layer_hides_all(folder, &words->ids) ? "true" : "false");
    print_notes(&words->notes);
    printf("}\n");
    return 0;
}

static int untar(struct words *words, char **word)
{
    struct error err = {0};
    int fd = strcmp(word[0], "-") == 0 ? 0 : open_or_die(word[0], O_RDONLY);
    int folder = open_or_die(word[1], O_RDONLY | O_DIRECTORY);

    words->wish.limits = words->limits;
    if (layer_untar(fd, folder, &words->ids, &words->wish, &words->notes, &err) < 0)
        return fail(&err);
    printf("{");
    print_notes(&words->notes);
    printf("}\n");
    return 0;
}

int main(int argc, char **argv)
{
    static struct words words = {.ids = {.count = 65536}, .make = {.compression = "gzip"}};
    const char *verb = argc > 1 ? argv[1] : "";
    int fixed = strcmp(verb, "unpack") == 0 ? 4 : 2;

    if (argc < 2 + fixed)
        return 2;
    for (int i = 2 + fixed; i < argc; i++)
        read_word(&words, argv[i]);
    int status = strcmp(verb, "make") == 0     ? make(&words, argv[2], argv[3])
                 : strcmp(verb, "unpack") == 0 ? unpack(&words, argv + 2)
                                               : untar(&words, argv + 2);
    s2i_list_drop(&words.slices);
    s2i_list_drop(&words.secrets);
    s2i_list_drop(&words.notes);
    return status;
}
