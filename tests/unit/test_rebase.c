/* test_rebase.c - images on newer bases: what may be, what comes out, what changed below.
 * Spec: s2i 15.1 */
#include <string.h>

#include "registry/core/document.h"
#include "registry/core/oci.h"
#include "s2i/contract/rebase.h"
#include "tests/support/golden.h"

/* --- trees --- */

/* Entries between blanks, layers between '|': "path", "path/" a folder, "path=content",
 * "path>link" a symbolic link, "path@target" a hard link; "path*" another mode. */
static void put_entry(struct rebase_tree *tree, struct slice word)
{
    struct rebase_entry entry = {.path = word, .type = '0', .mode = 0644};
    static const char marks[] = "=>@*";
    struct slice value = SLICE_NONE;

    for (size_t i = 0; i < sizeof(marks) - 1; i++)
        if (memchr(word.at, marks[i], word.size) != NULL) {
            slice_split(word, marks[i], &entry.path, &value);
            entry.type = marks[i] == '>' ? '2' : marks[i] == '@' ? '1' : '0';
            entry.mode = marks[i] == '*' ? 0755 : 0644;
        }
    if (slice_ends(entry.path, "/"))
        entry.type = '5';
    if (entry.type == '1' || entry.type == '2')
        entry.link = value;
    else
        digest_of(DIGEST_SHA256, value, &entry.content);
    rebase_tree_put(tree, &entry);
}

static struct rebase_tree *tree_of(const char *text, bool own)
{
    struct rebase_tree *tree = rebase_tree_new(own);
    struct slice layer, word, rest = slice_of(text);

    while (rest.size > 0) {
        slice_split(rest, '|', &layer, &rest);
        while (layer.size > 0) {
            slice_split(layer, ' ', &word, &layer);
            if (word.size > 0)
                put_entry(tree, word);
        }
        rebase_tree_layer_end(tree);
    }
    return tree;
}

static void test_conflicts(void **state)
{
    static const struct {
        const char *own, *before, *after, *wanted;
    } cases[] = {
        /* files */
        {"a=x", "a=1", "a=1", ""},
        {"a=x", "a=1", "a=2", "a"},
        {"a=x", "a", "a*", "a"},
        {"a=x", "a=1", "", "a"},
        {"a=x", "", "a=1", "a"},
        {"a=x", "", "", ""},
        {"a=x", "b=1", "b=2", ""},
        {"a=x", "a>b", "a>c", "a"},
        {"./a=x", "/a=1", "a=1", ""},
        /* folders that are there only as parents */
        {"d/ d/a=x", "d/ d/b=1", "d/ d/b=2", ""},
        {"d/ d/a=x", "d/", "d/*", "d"},
        {"d/ d/a=x", "d/", "", ""},
        {"d/ d/a=x", "", "d/", ""},
        {"d/ d/a=x", "d/", "d=1", "d"},
        {"d/ d/a=x", "", "d>e", "d"},
        /* taken away */
        {".wh.a", "a=1", "a=2", ""},
        {".wh.a", "a=1", "", ""},
        {".wh.a", "a=1", "a/ a/b", "a"},
        {"d/ d/.wh..wh..opq d/a=x", "d/ d/b=1", "d/ d/b=2", ""},
        {"d/ d/.wh..wh..opq d/a=x", "d/ d/a=1", "d/ d/a=2", "d/a"},
        {".wh.a a=x", "a=1", "a=2", "a"},
        /* bases of several layers */
        {"a=x", "a=1|a=2", "a=2", ""},
        {"a=x", "a=1|.wh.a", "", ""},
        {"d/a=x", "d/ d/a=1|d/.wh.a", "d/", ""},
        {"d/a=x", "d/ d/a=1 d/b=1|d/ d/.wh..wh..opq", "", ""},
        {"d/a=x", "d/ d/a=1|.wh.d", "", ""},
        {"d/a=x", "d/ d/a=1|.wh.d d/", "", ""},
        {"d/a=x", "d/ d/a=1|d=1", "", ""},
        {"d/a=x", "d/ d/a=1|.wh.d|d/ d/a=2", "d/ d/a=2", ""},
        {"d/a=x", "d/a=1|d/ d/.wh..wh..opq d/a=2", "d/a=2", ""},
        {"e=x", "d/ d/a d/b/ d/b/c d-x e=1|d/.wh..wh..opq d/b/.wh.c", "e=1", ""},
        {"d-x=x", "d/ d/a d-x=1|.wh.d", "d-x=1", ""},
        {"d/c/x=x", "d/ d/c/ d/c/x=1 d/e|d/.wh..wh..opq d/c/.wh.y", "", ""},
        {"d/e=x", "d/ d/c/ d/c/y d/e=1|d/.wh..wh..opq d/c/.wh.y", "", ""},
        /* a name twice in a layer: the last counts */
        {"a=x", "a=1 a=2", "a=2", ""},
        {"a=x", "a=2 a=1", "a=2", "a"},
        /* hard links are what they link to */
        {"b=x", "a=1 b@a", "a=1 b@a", ""},
        {"b=x", "a=1 b@a", "a=2 b@a", "b"},
        {"b=x", "a=1 b@a", "a=1 b=1", ""},
        {"c=x", "a=1 b@a c@b", "a=2 b@a c@b", "c"},
        {"b=x", "a=1|b@a", "a=2|b@a", "b"},
        {"b=x", "b@gone", "b@gone", ""},
        {"b=x", "b@c c@b", "b@c c@b", ""},
        /* several, in order */
        {"b/ b/x=x b-=x a=x", "a=1 b/ b/x=1 b-=1", "a=2 b/ b/x=2 b-=2", "a b/x b-"},
    };

    (void)state;
    for (size_t i = 0; i < LENGTH(cases); i++) {
        OWNED(rebase_tree_drop) struct rebase_tree *own = tree_of(cases[i].own, true);
        OWNED(rebase_tree_drop) struct rebase_tree *before = tree_of(cases[i].before, false);
        OWNED(rebase_tree_drop) struct rebase_tree *after = tree_of(cases[i].after, false);
        OWNED(s2i_list_drop) struct s2i_list found = {.items = NULL};
        OWNED(buffer_drop) struct buffer text = BUFFER_NONE;
        rebase_conflicts(own, before, after, 100, &found);
        for (size_t f = 0; f < found.count; f++)
            buffer_print(&text, "%s%s", f > 0 ? " " : "", found.items[f]);
        if (!slice_equal_text(buffer_slice(&text), cases[i].wanted))
            fail_msg("%s over %s to %s: '%.*s'", cases[i].own, cases[i].before, cases[i].after,
                     SLICE_ARG(buffer_slice(&text)));
    }
}

static void test_conflicts_at_most(void **state)
{
    OWNED(rebase_tree_drop) struct rebase_tree *own = tree_of("a b c", true);
    OWNED(rebase_tree_drop) struct rebase_tree *before = tree_of("a=1 b=1 c=1", false);
    OWNED(rebase_tree_drop) struct rebase_tree *after = tree_of("", false);
    OWNED(s2i_list_drop) struct s2i_list found = {.items = NULL};

    (void)state;
    rebase_conflicts(own, before, after, 2, &found);
    assert_int_equal(found.count, 2);
}

/* --- images --- */

#define NEW_DIGEST "sha256:bb00000000000000000000000000000000000000000000000000000000000000"
#define NEW_LAYER "sha256:4a00000000000000000000000000000000000000000000000000000000000000"
#define NEW_ID "sha256:4d00000000000000000000000000000000000000000000000000000000000000"

/* Another version of the builder: other PATH, a new variable, label, port, one layer, an author. */
#define NEWER                                                                                      \
    "{\\\"architecture\\\":\\\"amd64\\\",\\\"os\\\":\\\"linux\\\",\\\"variant\\\":\\\"v3\\\","     \
    "\\\"author\\\":\\\"Others\\\",\\\"config\\\":{\\\"User\\\":\\\"1002\\\",\\\"Env\\\":["        \
    "\\\"PATH=/new/bin\\\",\\\"LANG=D\\\",\\\"NEW=1\\\"],\\\"Entrypoint\\\":[\\\"newer\\\"],"      \
    "\\\"Cmd\\\":[\\\"usage\\\"],\\\"WorkingDir\\\":\\\"/opt/app-root/src\\\","                    \
    "\\\"ExposedPorts\\\":{\\\"9090/tcp\\\":{}},\\\"Labels\\\":{\\\"s2i.rebasable\\\":"            \
    "\\\"true\\\",\\\"team\\\":\\\"builders\\\",\\\"io.openshift.tags\\\":\\\"python4\\\","        \
    "\\\"io.openshift.s2i.build.commit.author\\\":\\\"Builder\\\"}},\\\"rootfs\\\":{"              \
    "\\\"diff_ids\\\":[\\\"" NEW_ID "\\\"]},\\\"history\\\":[{\\\"created_by\\\":\\\"new\\\"}]}"
#define NEW_BASE                                                                                   \
    "\"previous\":{\"name\":\"builders/python:4@sha256:x\",\"digest\":\"" NEW_DIGEST               \
    "\",\"media_type\":\"" OCI_TYPE_MANIFEST "\",\"config\":\"" NEWER                              \
    "\",\"layers\":[{\"digest\":\"" NEW_LAYER "\",\"diff_id\":\"" NEW_ID                           \
    "\",\"size\":400,\"media_type\":\"application/vnd.oci.image.layer.v1.tar+gzip\"}]}"

/* The golden build's result, to be put on spec.previous. */
struct ground {
    struct golden golden;
    struct contract_result made;
    struct s2i_list conflicts;
    struct rebase about;
};

static void ground_lay(struct ground *ground, const char *change)
{
    struct error err = {0};

    *ground = (struct ground){.conflicts = {.items = NULL}};
    golden_read(&ground->golden, change != NULL ? change : "{\"spec\":{" NEW_BASE "}}");
    if (contract_result_make(&ground->golden.spec, &ground->golden.result, &ground->golden.tags, 0,
                             &ground->made, &err) < 0)
        fail_msg("%s", err.message);
    ground->about = (struct rebase){.manifest = buffer_slice(&ground->made.manifest),
                                    .config = buffer_slice(&ground->made.config),
                                    .old_base = &ground->golden.spec.builder,
                                    .new_base = &ground->golden.spec.previous,
                                    .conflicts = &ground->conflicts};
}

static void ground_drop(struct ground *ground)
{
    golden_drop(&ground->golden);
    contract_result_drop(&ground->made);
    s2i_list_drop(&ground->conflicts);
}

static void test_rebase_golden(void **state)
{
    OWNED(ground_drop) struct ground ground;
    OWNED(contract_result_drop) struct contract_result out;
    struct document document;
    struct digest base;
    char text[DIGEST_TEXT_MAX];
    struct error err = {0};

    (void)state;
    ground_lay(&ground, NULL);
    if (rebase_make(&ground.about, &out, &err) < 0)
        fail_msg("%s", err.message);
    golden_compare(buffer_slice(&out.config), "rebased_config.json");
    golden_compare(buffer_slice(&out.manifest), "rebased_manifest.json");
    assert_true(rebase_base_digest(buffer_slice(&out.manifest), &base));
    assert_string_equal(digest_text(&base, text), NEW_DIGEST);
    assert_int_equal(document_parse(buffer_slice(&out.manifest), SLICE_NONE, 9, &document, &err),
                     0);
    document_drop(&document);
}

/* Sets a member of the old base's config, and makes the image anew. */
static void change_base(struct ground *ground, const char *group, const char *name,
                        const char *value)
{
    json_t *base = json_loads(ground->golden.spec.builder.config, 0, NULL);
    json_t *config = json_object_get(base, "config");
    struct error err = {0};

    json_object_set_new(group != NULL ? json_object_get(config, group) : config, name,
                        json_loads(value, JSON_DECODE_ANY, NULL));
    free(ground->golden.spec.builder.config);
    ground->golden.spec.builder.config = json_dumps(base, JSON_COMPACT);
    json_decref(base);
    contract_result_drop(&ground->made);
    if (contract_result_make(&ground->golden.spec, &ground->golden.result, &ground->golden.tags, 0,
                             &ground->made, &err) < 0)
        fail_msg("%s", err.message);
    ground->about.manifest = buffer_slice(&ground->made.manifest);
    ground->about.config = buffer_slice(&ground->made.config);
}

/* There and back again: the same bytes. */
static void test_rebase_and_back(void **state)
{
    OWNED(ground_drop) struct ground ground;
    OWNED(contract_result_drop) struct contract_result out;
    OWNED(contract_result_drop) struct contract_result back;
    struct error err = {0};

    (void)state;
    ground_lay(&ground, NULL);
    change_base(&ground, "Labels", "s2i.rebasable", "\"true\"");
    if (rebase_make(&ground.about, &out, &err) < 0)
        fail_msg("%s", err.message);
    ground.about.manifest = buffer_slice(&out.manifest);
    ground.about.config = buffer_slice(&out.config);
    ground.about.old_base = &ground.golden.spec.previous;
    ground.about.new_base = &ground.golden.spec.builder;
    if (rebase_make(&ground.about, &back, &err) < 0)
        fail_msg("%s", err.message);
    if (!slice_equal(buffer_slice(&back.config), buffer_slice(&ground.made.config)))
        fail_msg("%.*s\n%.*s", SLICE_ARG(buffer_slice(&ground.made.config)),
                 SLICE_ARG(buffer_slice(&back.config)));
    assert_true(digest_equal(&back.manifest_digest, &ground.made.manifest_digest));
}

/* The run script stays, also when the old base had it as its command. */
static void test_rebase_keeps_the_command(void **state)
{
    OWNED(ground_drop) struct ground ground;
    OWNED(contract_result_drop) struct contract_result out;
    struct error err = {0};

    (void)state;
    ground_lay(&ground, NULL);
    change_base(&ground, NULL, "Cmd", "[\"/usr/libexec/s2i/run\"]");
    assert_int_equal(rebase_make(&ground.about, &out, &err), 0);
    assert_non_null(
        memmem(out.config.at, out.config.size, "\"Cmd\":[\"/usr/libexec/s2i/run\"]", 30));
}

static void refuse(const char *change, void (*spoil)(struct ground *), const char *wanted)
{
    OWNED(ground_drop) struct ground ground;
    struct contract_result out;
    struct error err = {0};

    ground_lay(&ground, change);
    if (spoil != NULL)
        spoil(&ground);
    if (rebase_make(&ground.about, &out, &err) == 0)
        fail_msg("not refused: %s", wanted);
    assert_null(out.config.at);
    if (strstr(err.message, wanted) == NULL)
        fail_msg("'%s' does not say '%s'", err.message, wanted);
}

static void spoil_base(struct ground *ground)
{
    ground->golden.spec.builder.digest.bytes[0] ^= 1;
}

static void spoil_same(struct ground *ground)
{
    ground->about.new_base = &ground->golden.spec.builder;
}

static void spoil_layer(struct ground *ground)
{
    ground->golden.spec.builder.layers[1].digest.bytes[0] ^= 1;
}

static void spoil_diff_id(struct ground *ground)
{
    ground->golden.spec.builder.layers[0].diff_id.bytes[0] ^= 1;
}

static void spoil_config(struct ground *ground)
{
    ground->about.config = SLICE("{}");
}

static void spoil_manifest(struct ground *ground)
{
    ground->about.manifest = SLICE("[]");
}

static void spoil_files(struct ground *ground)
{
    s2i_list_add(&ground->conflicts, SLICE("etc/passwd"));
    s2i_list_add(&ground->conflicts, SLICE("etc/a\nb"));
}

#define OTHER(config)                                                                              \
    "{\"spec\":{\"previous\":{\"name\":\"b\",\"digest\":\"" NEW_DIGEST "\",\"config\":\"" config   \
    "\"}}}"

static void test_rebase_refuses(void **state)
{
    (void)state;
    refuse(NULL, spoil_base, "does not name this base");
    refuse(NULL, spoil_same, "stands on this base already");
    refuse(NULL, spoil_layer, "layers are not those of its base");
    refuse(NULL, spoil_diff_id, "layers are not those of its base");
    refuse(NULL, spoil_config, "another platform");
    refuse(NULL, spoil_manifest, "not JSON");
    refuse(NULL, spoil_files, "below 2 of the image's files: etc/passwd, etc/a?b");
    refuse(OTHER("{}"), NULL, "no label s2i.rebasable=true");
    refuse(OTHER("{\\\"config\\\":{\\\"Labels\\\":{\\\"s2i.rebasable\\\":\\\"false\\\"}}}"), NULL,
           "no label s2i.rebasable=true");
    refuse(OTHER("{\\\"architecture\\\":\\\"arm64\\\",\\\"config\\\":{\\\"Labels\\\":{"
                 "\\\"s2i.rebasable\\\":\\\"true\\\"}}}"),
           NULL, "another platform");
    refuse(OTHER("[]"), NULL, "not a JSON object");
}

static void test_rebase_base_digest(void **state)
{
    static const char *const cases[] = {
        "",
        "[]",
        "{}",
        "{\"annotations\":[]}",
        "{\"annotations\":{\"org.opencontainers.image.base.digest\":7}}",
        "{\"annotations\":{\"org.opencontainers.image.base.digest\":\"x\"}}",
    };
    struct digest base;

    (void)state;
    for (size_t i = 0; i < LENGTH(cases); i++)
        assert_false(rebase_base_digest(slice_of(cases[i]), &base));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_conflicts),          cmocka_unit_test(test_conflicts_at_most),
        cmocka_unit_test(test_rebase_golden),      cmocka_unit_test(test_rebase_and_back),
        cmocka_unit_test(test_rebase_refuses),     cmocka_unit_test(test_rebase_keeps_the_command),
        cmocka_unit_test(test_rebase_base_digest),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
