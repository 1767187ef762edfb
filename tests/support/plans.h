/* plans.h - watches SQLite from within one test program: which statements were prepared, what they
 * cost, and whether their plans visit only the rows they need. Define nothing else of its names. */
#ifndef SLIPWAY_TESTS_SUPPORT_PLANS_H
#define SLIPWAY_TESTS_SUPPORT_PLANS_H

#include <dlfcn.h>
#include <pthread.h>
#include <stdatomic.h>

#include <sqlite3.h>

#include "tests/support/store.h"

/* --- every statement that is prepared in this program --- */

enum { TEXTS_MAX = 512 };

static struct {
    pthread_mutex_t lock;
    char *texts[TEXTS_MAX];
    size_t count;
} seen = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void see(const char *text)
{
    pthread_mutex_lock(&seen.lock);
    for (size_t i = 0; i < seen.count; i++)
        if (strcmp(seen.texts[i], text) == 0)
            text = NULL, i = seen.count;
    if (text != NULL && seen.count < TEXTS_MAX)
        seen.texts[seen.count++] = strdup(text);
    pthread_mutex_unlock(&seen.lock);
}

/* In the place of the library's. */
int sqlite3_prepare_v3(sqlite3 *handle, const char *text, int size, unsigned int flags,
                       sqlite3_stmt **out, const char **tail)
{
    __typeof__(&sqlite3_prepare_v3) real;

    *(void **)&real = dlsym(RTLD_NEXT, "sqlite3_prepare_v3");
    if (flags == SQLITE_PREPARE_PERSISTENT)
        see(text);
    return real(handle, text, size, flags, out, tail);
}

/* What statements cost, in instructions of SQLite's machine: counted when they are reset. */
static _Atomic uint64_t machine_steps;

/* In the place of the library's. */
int sqlite3_reset(sqlite3_stmt *statement)
{
    __typeof__(&sqlite3_reset) real;

    *(void **)&real = dlsym(RTLD_NEXT, "sqlite3_reset");
    int steps =
        statement == NULL ? 0 : sqlite3_stmt_status(statement, SQLITE_STMTSTATUS_VM_STEP, 1);
    atomic_fetch_add(&machine_steps, (uint64_t)steps);
    return real(statement);
}

/* --- plans --- */

/* By the index of children without a child is as much as all children of the repository. */
static inline bool plan_is_good(sqlite3 *handle, const char *text)
{
    OWNED(buffer_drop) struct buffer explain = BUFFER_NONE;
    sqlite3_stmt *statement = NULL;
    bool good = true;

    buffer_print(&explain, "EXPLAIN QUERY PLAN %s", text);
    assert_int_equal(sqlite3_prepare_v2(handle, explain.at, (int)explain.size, &statement, NULL),
                     SQLITE_OK);
    while (sqlite3_step(statement) == SQLITE_ROW) {
        const char *step = (const char *)sqlite3_column_text(statement, 3);
        if ((strncmp(step, "SCAN", 4) == 0 && strstr(step, "CONSTANT ROW") == NULL) ||
            strstr(step, "TEMP B-TREE") != NULL || strstr(step, "child_id>?") != NULL) {
            print_message("%s\n    %s\n", text, step);
            good = false;
        }
    }
    sqlite3_finalize(statement);
    return good;
}

/* Statements that are not on the way of a request: they read a small table whole. */
static inline bool may_scan(const char *text)
{
    return strncmp(text, "SELECT count(*)", 15) == 0 ||
           strncmp(text, "SELECT (SELECT count(*)", 23) == 0 ||
           strstr(text, "schema_version") != NULL;
}

static inline bool is_query(const char *text)
{
    return strncmp(text, "SELECT", 6) == 0 || strncmp(text, "INSERT", 6) == 0 ||
           strncmp(text, "UPDATE", 6) == 0 || strncmp(text, "DELETE", 6) == 0;
}

/* Every statement seen so far, but those that `allowed` names a part of (NULL: none): how many were
 * looked at; fails when one scans or sorts. */
static inline size_t plans_check(struct fixture *fixture, const char *allowed)
{
    char path[FOLDER_MAX + 16];
    sqlite3 *handle = NULL;
    size_t checked = 0, bad = 0;

    snprintf(path, sizeof(path), "%s/meta.db", fixture->root);
    assert_int_equal(sqlite3_open(path, &handle), SQLITE_OK);
    for (size_t i = 0; i < seen.count; i++) {
        const char *text = seen.texts[i];
        if (!is_query(text) || may_scan(text) || strstr(text, "$1") == NULL ||
            (allowed != NULL && strstr(text, allowed) != NULL))
            continue;
        checked++;
        bad += plan_is_good(handle, text) ? 0 : 1;
    }
    sqlite3_close(handle);
    assert_int_equal(bad, 0);
    return checked;
}

#endif
