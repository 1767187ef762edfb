/* policy.c - rules of retention: read from JSON, checked, printed as they were understood.
 *
 * Every member is either understood or refused. A rule is named by its priority, or by its place
 * while that is not known. */
#include "registry/retention/policy.h"

#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "registry/core/json.h"

static void rule_drop(struct rule *rule)
{
    for (size_t i = 0; i < rule->pattern_count; i++)
        free(rule->patterns[i]);
    free(rule->patterns);
    free(rule->description);
    *rule = (struct rule){.priority = 0};
}

void rules_drop(struct rules *rules)
{
    for (size_t i = 0; i < rules->count; i++)
        rule_drop(&rules->items[i]);
    free(rules->items);
    *rules = (struct rules){.items = NULL};
}

/* --- words --- */

static const char *const actions[] = {[RULE_EXPIRE] = "expire", [RULE_KEEP] = "keep"};
static const char *const statuses[] = {
    [RULE_ANY] = "any", [RULE_TAGGED] = "tagged", [RULE_UNTAGGED] = "untagged"};
static const char *const counts[] = {[RULE_ALL] = NULL,
                                     [RULE_MORE_THAN] = "imageCountMoreThan",
                                     [RULE_SINCE_PUSHED] = "sinceImagePushed",
                                     [RULE_SINCE_PULLED] = "sinceImagePulled",
                                     [RULE_NEWEST] = "imageCountNewest"};
static const struct {
    const char *name;
    int64_t us;
} units[] = {[RULE_DAYS] = {"days", 86400000000},
             [RULE_HOURS] = {"hours", 3600000000},
             [RULE_MINUTES] = {"minutes", 60000000},
             [RULE_SECONDS] = {"seconds", 1000000}};
#define LENGTH(array) (sizeof(array) / sizeof((array)[0]))

int64_t rule_age_us(const struct rule *rule)
{
    return rule->number * units[rule->unit].us;
}

const char *rule_unit_name(enum rule_unit unit)
{
    return units[unit].name;
}

static bool is_since(enum rule_count count)
{
    return count == RULE_SINCE_PUSHED || count == RULE_SINCE_PULLED;
}

/* --- reading --- */

enum member {
    PRIORITY,
    DESCRIPTION,
    SELECTION,
    ACTION,
    RULE_MEMBERS,
};
static const char *const rule_members[RULE_MEMBERS] = {"rulePriority", "description", "selection",
                                                       "action"};
enum {
    STATUS,
    PATTERNS,
    PREFIXES,
    STORAGE_CLASS,
    COUNT_TYPE,
    COUNT_UNIT,
    COUNT_NUMBER,
    COUNT_BY,
    IN_USE,
    SELECTION_MEMBERS,
};
static const char *const selection_members[SELECTION_MEMBERS] = {
    "tagStatus", "tagPatternList", "tagPrefixList", "storageClass", "countType",
    "countUnit", "countNumber",    "countBy",       "inUse"};
enum { ACTION_TYPE, ACTION_TARGET, ACTION_MEMBERS };
static const char *const action_members[ACTION_MEMBERS] = {"type", "targetStorageClass"};

/* A rule while it is read. */
struct reader {
    size_t place;   /* from 1 */
    int64_t number; /* its priority; 0: not known yet */
    struct rule *rule;
    struct error *err;
};

static int refuse(const struct reader *reader, const char *why)
{
    if (reader->number > 0)
        return error_set_field(reader->err, "rules", "rule %lld: %s", (long long)reader->number,
                               why);
    return error_set_field(reader->err, "rules", "rule at place %zu: %s", reader->place, why);
}

/* Members by name; one that is not in the table is refused. */
static int split(const struct reader *reader, const json_t *object, const char *what,
                 const char *const *names, size_t count, const json_t **out)
{
    const char *name;
    json_t *value;
    char why[120];

    memset(out, 0, count * sizeof(json_t *));
    if (!json_is_object(object)) {
        snprintf(why, sizeof(why), "%s must be an object", what);
        return refuse(reader, why);
    }
    json_object_foreach((json_t *)(uintptr_t)object, name, value) {
        size_t i = 0;
        while (i < count && strcmp(name, names[i]) != 0)
            i++;
        if (i == count) {
            snprintf(why, sizeof(why), "%s has a member that is not known", what);
            return refuse(reader, why);
        }
        out[i] = value;
    }
    return 0;
}

/* The place of the text in the table; -1 when it is none of them. */
static int word(const json_t *value, const char *const *words, size_t count)
{
    for (size_t i = 0; i < count && json_is_string(value); i++)
        if (words[i] != NULL && strcmp(words[i], json_string_value(value)) == 0)
            return (int)i;
    return -1;
}

static bool tag_letter(char c, bool glob)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '.' || c == '-' || (glob && (c == '*' || c == '?'));
}

static int pattern_check(const struct reader *reader, const json_t *value)
{
    const char *text = json_string_value(value);
    size_t size = json_string_length(value), stars = 0;

    if (text == NULL || size == 0 || size > 128)
        return refuse(reader, reader->rule->prefixes
                                  ? "tagPrefixList must have texts of 1 to 128 characters"
                                  : "tagPatternList must have texts of 1 to 128 characters");
    for (size_t i = 0; i < size; i++) {
        if (!tag_letter(text[i], !reader->rule->prefixes))
            return refuse(reader, reader->rule->prefixes
                                      ? "tagPrefixList has characters that no tag has"
                                      : "tagPatternList has characters that no tag has");
        stars += text[i] == '*';
    }
    if (stars > RULE_STARS_MAX)
        return refuse(reader, "a pattern of tagPatternList has at most 4 wildcards (*)");
    return 0;
}

static int read_patterns(const struct reader *reader, const json_t *list)
{
    struct rule *rule = reader->rule;
    size_t count = json_array_size(list);

    if (!json_is_array(list) || count == 0 || count > RULE_PATTERNS_MAX)
        return refuse(reader, rule->prefixes ? "tagPrefixList must be a list of 1 to 50 texts"
                                             : "tagPatternList must be a list of 1 to 50 texts");
    rule->patterns = memory_new(count * sizeof(*rule->patterns));
    for (size_t i = 0; i < count; i++) {
        const json_t *value = json_array_get(list, i);
        if (pattern_check(reader, value) < 0)
            return -1;
        rule->patterns[rule->pattern_count++] = memory_text(slice_of(json_string_value(value)));
    }
    return 0;
}

/* Which images by their tags. Keep rules may leave tagStatus out. */
static int read_tags(const struct reader *reader, const json_t *const *given)
{
    struct rule *rule = reader->rule;
    bool listed = given[PATTERNS] != NULL || given[PREFIXES] != NULL;
    int status = given[STATUS] == NULL && rule->action == RULE_KEEP
                     ? (listed ? RULE_TAGGED : RULE_ANY)
                     : word(given[STATUS], statuses, LENGTH(statuses));

    if (status < 0)
        return refuse(reader, "tagStatus must be tagged, untagged or any");
    rule->status = (enum rule_status)status;
    if (given[PATTERNS] != NULL && given[PREFIXES] != NULL)
        return refuse(reader, "tagPatternList and tagPrefixList exclude each other");
    if (rule->status != RULE_TAGGED)
        return listed ? refuse(reader, "tagPatternList and tagPrefixList need tagStatus tagged")
                      : 0;
    if (!listed && rule->action == RULE_KEEP)
        return 0; /* whatever has a tag */
    if (!listed)
        return refuse(reader, "tagStatus tagged needs tagPatternList or tagPrefixList");
    rule->prefixes = given[PREFIXES] != NULL;
    return read_patterns(reader, given[rule->prefixes ? PREFIXES : PATTERNS]);
}

static int read_unit(const struct reader *reader, const json_t *value)
{
    if (!is_since(reader->rule->count))
        return value == NULL ? 0 : refuse(reader, "countUnit goes with sinceImage... only");
    for (size_t i = 0; i < LENGTH(units) && json_is_string(value); i++)
        if (strcmp(json_string_value(value), units[i].name) == 0) {
            reader->rule->unit = (enum rule_unit)i;
            return 0;
        }
    return refuse(reader, "countUnit must be days, hours, minutes or seconds");
}

static int read_number(const struct reader *reader, const json_t *value)
{
    reader->rule->number = json_integer_value(value);
    if (!json_is_integer(value) || reader->rule->number < 1 ||
        reader->rule->number > RULE_NUMBER_MAX)
        return refuse(reader, "countNumber must be an integer from 1 to 1000000");
    return 0;
}

static int read_order(const struct reader *reader, const json_t *value)
{
    static const char *const orders[] = {"pushed", "version"};
    int order = value == NULL ? 0 : word(value, orders, LENGTH(orders));

    if (value != NULL && reader->rule->count != RULE_NEWEST)
        return refuse(reader, "countBy goes with imageCountNewest only");
    if (order < 0)
        return refuse(reader, "countBy must be pushed or version");
    reader->rule->by_version = order == 1;
    return 0;
}

/* How many of them, or how old. */
static int read_count(const struct reader *reader, const json_t *const *given)
{
    struct rule *rule = reader->rule;
    int count = word(given[COUNT_TYPE], counts, LENGTH(counts));

    if (given[COUNT_TYPE] == NULL && rule->action == RULE_KEEP) {
        if (given[COUNT_UNIT] == NULL && given[COUNT_NUMBER] == NULL && given[COUNT_BY] == NULL)
            return 0;
        return refuse(reader, "countUnit, countNumber and countBy need countType");
    }
    if (json_is_string(given[COUNT_TYPE]) &&
        strcmp(json_string_value(given[COUNT_TYPE]), "sinceImageTransitioned") == 0)
        return refuse(reader, "there is one storage class here: nothing is ever transitioned");
    if (count < 0 || (count == RULE_NEWEST) != (rule->action == RULE_KEEP))
        return refuse(reader, rule->action == RULE_KEEP
                                  ? "countType of a keep rule must be imageCountNewest"
                                  : "countType must be imageCountMoreThan, sinceImagePushed or "
                                    "sinceImagePulled");
    rule->count = (enum rule_count)count;
    if (read_unit(reader, given[COUNT_UNIT]) < 0 || read_number(reader, given[COUNT_NUMBER]) < 0)
        return -1;
    return read_order(reader, given[COUNT_BY]);
}

static int read_selection(const struct reader *reader, const json_t *value)
{
    const json_t *given[SELECTION_MEMBERS];
    struct rule *rule = reader->rule;

    if (split(reader, value, "selection", selection_members, SELECTION_MEMBERS, given) < 0)
        return -1;
    if (given[STORAGE_CLASS] != NULL &&
        (!json_is_string(given[STORAGE_CLASS]) ||
         strcmp(json_string_value(given[STORAGE_CLASS]), "standard") != 0))
        return refuse(reader, "storageClass must be standard: there is no other here");
    if (given[IN_USE] != NULL &&
        (rule->action != RULE_KEEP || !json_is_true(given[IN_USE]) || given[COUNT_TYPE] != NULL))
        return refuse(reader, "inUse is true, in a keep rule without countType");
    if (rule->action == RULE_KEEP && json_object_size(value) == 0)
        return refuse(reader, "selection selects nothing: give tagStatus any to keep everything");
    rule->in_use = given[IN_USE] != NULL;
    return read_tags(reader, given) < 0 ? -1 : read_count(reader, given);
}

static int read_action(const struct reader *reader, const json_t *value)
{
    const json_t *given[ACTION_MEMBERS];

    if (split(reader, value, "action", action_members, ACTION_MEMBERS, given) < 0)
        return -1;
    int action = word(given[ACTION_TYPE], actions, LENGTH(actions));
    if (json_is_string(given[ACTION_TYPE]) &&
        strcmp(json_string_value(given[ACTION_TYPE]), "transition") == 0)
        return refuse(reader, "there is one storage class here: transition is not possible");
    if (action < 0 || given[ACTION_TARGET] != NULL)
        return refuse(reader, "action must be {\"type\": \"expire\"} or {\"type\": \"keep\"}");
    reader->rule->action = (enum rule_action)action;
    return 0;
}

static int read_head(struct reader *reader, const json_t *priority, const json_t *description)
{
    struct rule *rule = reader->rule;
    int64_t number = json_integer_value(priority);

    if (!json_is_integer(priority) || number < 1 || number > RULE_PRIORITY_MAX)
        return refuse(reader, "rulePriority must be an integer from 1 to 999999");
    rule->priority = (int)number;
    reader->number = number;
    if (description == NULL)
        return 0;
    if (!json_is_string(description) || json_string_length(description) > RULE_DESCRIPTION_MAX)
        return refuse(reader, "description must be a text of at most 1000 bytes");
    rule->description = memory_text(slice_of(json_string_value(description)));
    return 0;
}

static int read_rule(struct reader *reader, const json_t *value)
{
    const json_t *given[RULE_MEMBERS];

    if (split(reader, value, "it", rule_members, RULE_MEMBERS, given) < 0 ||
        read_head(reader, given[PRIORITY], given[DESCRIPTION]) < 0 ||
        read_action(reader, given[ACTION]) < 0)
        return -1;
    return read_selection(reader, given[SELECTION]);
}

/* --- rules among each other --- */

static int compare(const void *a, const void *b)
{
    const struct rule *x = a, *y = b;

    return x->priority < y->priority ? -1 : x->priority > y->priority;
}

static bool has_pattern(const struct rule *rule, const char *pattern)
{
    for (size_t i = 0; i < rule->pattern_count; i++)
        if (strcmp(rule->patterns[i], pattern) == 0)
            return true;
    return false;
}

static bool all_in(const struct rule *a, const struct rule *b)
{
    for (size_t i = 0; i < a->pattern_count; i++)
        if (!has_pattern(b, a->patterns[i]))
            return false;
    return true;
}

/* The second of two expire rules that select the same images could never do anything. */
static bool same_selection(const struct rule *a, const struct rule *b)
{
    return a->status == b->status && a->prefixes == b->prefixes && all_in(a, b) && all_in(b, a);
}

static int check_pair(const struct rule *first, const struct rule *second, struct error *err)
{
    if (first->priority == second->priority)
        return error_set_field(err, "rules", "rule %d: rulePriority is there twice",
                               first->priority);
    if (first->action != RULE_EXPIRE || second->action != RULE_EXPIRE)
        return 0;
    if (first->status == RULE_ANY)
        return error_set_field(err, "rules",
                               "rule %d: tagStatus any must have the highest rulePriority of the "
                               "rules that expire",
                               first->priority);
    if (same_selection(first, second))
        return error_set_field(err, "rules", "rule %d: rule %d selects the same images already",
                               second->priority, first->priority);
    return 0;
}

static int check_together(const struct rules *rules, struct error *err)
{
    for (size_t i = 0; i < rules->count; i++)
        for (size_t k = i + 1; k < rules->count; k++)
            if (check_pair(&rules->items[i], &rules->items[k], err) < 0)
                return -1;
    return 0;
}

static int read_rules(const json_t *list, struct rules *out, struct error *err)
{
    size_t count = json_array_size(list);

    if (!json_is_array(list) || count == 0 || count > RULES_MAX)
        return error_set_field(err, "rules", "rules must be a list of 1 to %d", RULES_MAX);
    out->items = memory_new(count * sizeof(*out->items));
    for (size_t i = 0; i < count; i++) {
        struct reader reader = {.place = i + 1, .rule = &out->items[out->count++], .err = err};
        if (read_rule(&reader, json_array_get(list, i)) < 0)
            return -1;
    }
    qsort(out->items, out->count, sizeof(*out->items), compare);
    return check_together(out, err);
}

int rules_parse(struct slice text, struct rules *out, struct error *err)
{
    OWNED(json_drop) json_t *document = NULL;
    json_error_t fault;

    *out = (struct rules){.items = NULL};
    if (text.size > RULES_TEXT_MAX)
        return error_set_field(err, "rules", "rules must have at most %d bytes", RULES_TEXT_MAX);
    document =
        json_loadb(text.at == NULL ? "" : text.at, text.size, JSON_REJECT_DUPLICATES, &fault);
    if (document == NULL)
        return error_set_field(err, "rules", "the rules are not JSON as it must be, at byte %d",
                               fault.position);
    if (json_is_object(document) &&
        (json_object_size(document) != 1 || json_object_get(document, "rules") == NULL))
        return error_set_field(err, "rules", "the only member beside rules is not known");
    if (read_rules(json_is_object(document) ? json_object_get(document, "rules") : document, out,
                   err) == 0)
        return 0;
    rules_drop(out);
    return -1;
}

/* --- printing --- */

static void print_patterns(const struct rule *rule, struct buffer *out)
{
    buffer_print(out, ",\"%s\":[", rule->prefixes ? "tagPrefixList" : "tagPatternList");
    for (size_t i = 0; i < rule->pattern_count; i++) {
        buffer_append_text(out, i == 0 ? "" : ",");
        buffer_append_json(out, slice_of(rule->patterns[i]));
    }
    buffer_append_text(out, "]");
}

static void print_rule(const struct rule *rule, struct buffer *out)
{
    buffer_print(out, "{\"rulePriority\":%d", rule->priority);
    if (rule->description != NULL) {
        buffer_append_text(out, ",\"description\":");
        buffer_append_json(out, slice_of(rule->description));
    }
    buffer_print(out, ",\"selection\":{\"tagStatus\":\"%s\"", statuses[rule->status]);
    if (rule->pattern_count > 0)
        print_patterns(rule, out);
    if (rule->in_use)
        buffer_append_text(out, ",\"inUse\":true");
    if (rule->count != RULE_ALL)
        buffer_print(out, ",\"countType\":\"%s\"", counts[rule->count]);
    if (is_since(rule->count))
        buffer_print(out, ",\"countUnit\":\"%s\"", units[rule->unit].name);
    if (rule->count != RULE_ALL)
        buffer_print(out, ",\"countNumber\":%lld", (long long)rule->number);
    if (rule->count == RULE_NEWEST)
        buffer_print(out, ",\"countBy\":\"%s\"", rule->by_version ? "version" : "pushed");
    buffer_print(out, "},\"action\":{\"type\":\"%s\"}}", actions[rule->action]);
}

void rules_print(const struct rules *rules, struct buffer *out)
{
    buffer_append_text(out, "[");
    for (size_t i = 0; i < rules->count; i++) {
        buffer_append_text(out, i == 0 ? "" : ",");
        print_rule(&rules->items[i], out);
    }
    buffer_append_text(out, "]");
}
