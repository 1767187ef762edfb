/* builds.c - records of builds as values: their names, and freeing them.
 * Touches  the caller's memory.
 * Never    the database: that is meta_build*.c. */
#include "storage/builds.h"

#include <stdlib.h>
#include <string.h>

/* By enum build_state. Spec: s2i 13.41. */
static const char *const states[] = {"New",    "Pending", "Running",  "Complete",
                                     "Failed", "Error",   "Cancelled"};
enum { STATES = sizeof(states) / sizeof(states[0]) };

const char *build_state_name(enum build_state state)
{
    return states[state];
}

bool build_state_parse(struct slice name, enum build_state *out)
{
    for (size_t i = 0; i < STATES; i++)
        if (slice_equal_ignore_case(name, states[i])) {
            *out = (enum build_state)i;
            return true;
        }
    return false;
}

const char *build_source_name(enum build_source source)
{
    static const char *const names[] = {"", "push", "url", "archive", "none"};

    return names[source];
}

void build_record_drop(struct build_record *record)
{
    char *const texts[] = {
        record->repository, record->trigger, record->actor,     record->url,
        record->ref,        record->commit,  record->builder,   record->builder_digest,
        record->spec,       record->tags,    record->stages,    record->facts,
        record->reason,     record->message, record->input_key, record->result_digest,
        record->ended_by,   record->left_by,
    };

    if (record->spec != NULL)
        explicit_bzero(record->spec, strlen(record->spec)); /* values of secret_env stand in it */
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        free(texts[i]);
    *record = (struct build_record){.id = 0};
}

void build_attestation_drop(struct build_attestation *attestation)
{
    free(attestation->repository);
    free(attestation->actor);
    free(attestation->document);
    *attestation = (struct build_attestation){.id = 0};
}

void build_page_drop(struct build_page *page)
{
    for (size_t i = 0; i < page->count; i++)
        build_record_drop(&page->items[i]);
    free(page->items);
    *page = (struct build_page){.items = NULL};
}

void build_moves_drop(struct build_moves *moves)
{
    for (size_t i = 0; i < moves->count; i++) {
        free(moves->items[i].repository);
        free(moves->items[i].ref);
        free(moves->items[i].ref_id);
    }
    free(moves->items);
    *moves = (struct build_moves){.items = NULL};
}

void build_config_drop(struct build_config *config)
{
    free(config->repository);
    free(config->spec);
    free(config->reach);
    free(config->hook);
    *config = (struct build_config){.id = 0};
}

void build_config_page_drop(struct build_config_page *page)
{
    for (size_t i = 0; i < page->count; i++)
        build_config_drop(&page->items[i]);
    free(page->items);
    *page = (struct build_config_page){.items = NULL};
}

void build_secrets_drop(struct build_secrets *secrets)
{
    for (size_t i = 0; i < secrets->count; i++) {
        struct build_secret *secret = &secrets->items[i];
        if (secret->value != NULL)
            explicit_bzero(secret->value, strlen(secret->value));
        free(secret->value);
        free(secret->name);
    }
    free(secrets->items);
    *secrets = (struct build_secrets){.items = NULL};
}

void build_deliveries_drop(struct build_deliveries *deliveries)
{
    for (size_t i = 0; i < deliveries->count; i++) {
        free(deliveries->items[i].sender);
        free(deliveries->items[i].delivery);
        free(deliveries->items[i].event);
        free(deliveries->items[i].verdict);
    }
    free(deliveries->items);
    *deliveries = (struct build_deliveries){.items = NULL};
}
