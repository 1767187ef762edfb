/* jwt_probe.c - verifies and signs tokens without a server; for tests/cli/test_jwt.py.
 * Touches  the files named, standard input and output.
 * Never    prints a private key.
 *
 *   jwt_probe verify SET AUDIENCE ISSUER NOW    a token a line; answers a line each: what the
 * claims say as JSON, or "refused: why" jwt_probe sign PEM                          claims a line,
 * as JSON; answers tokens jwt_probe set PEM                           the public JWK set */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "auth/jwt.h"
#include "auth/scope.h"

static void file_read(const char *path, struct buffer *out)
{
    FILE *file = fopen(path, "rb");
    char piece[4096];
    size_t got;

    if (file == NULL) {
        perror(path);
        exit(2);
    }
    while ((got = fread(piece, 1, sizeof(piece), file)) > 0)
        buffer_append(out, piece, got);
    fclose(file);
}

static void check(int status, const struct error *err)
{
    if (status == 0)
        return;
    fprintf(stderr, "%s\n", err->message);
    exit(2);
}

static struct jwt_key *key_read(const char *path)
{
    OWNED(buffer_drop) struct buffer pem = BUFFER_NONE;
    struct jwt_key *key = NULL;
    struct error err = {0};

    file_read(path, &pem);
    check(jwt_key_read_pem(buffer_slice(&pem), &key, &err), &err);
    return key;
}

static void answer(const struct jwt_claims *claims)
{
    OWNED(buffer_drop) struct buffer text = BUFFER_NONE;

    buffer_append_text(&text, "{\"sub\":");
    buffer_append_json(&text, claims->subject);
    buffer_print(&text, ",\"expired\":%s,\"access\":[", claims->expired ? "true" : "false");
    for (size_t i = 0; i < claims->access_count; i++) {
        buffer_append_text(&text, i > 0 ? ",[" : "[");
        buffer_append_json(&text, claims->access[i].name);
        buffer_append_text(&text, ",\"");
        scope_actions_print(claims->access[i].actions, &text);
        buffer_append_text(&text, "\"]");
    }
    printf("%.*s]}\n", SLICE_ARG(buffer_slice(&text)));
}

static void verify(struct slice token, const struct jwt_checks *checks)
{
    struct jwt_claims claims;
    struct error err = {0};

    if (jwt_verify(token, checks, &claims, &err) < 0)
        printf("refused: %s\n", err.message);
    else
        answer(&claims);
    jwt_claims_drop(&claims);
}

static void verify_lines(char **words)
{
    OWNED(buffer_drop) struct buffer set = BUFFER_NONE;
    OWNED(jwt_keys_drop) struct jwt_keys keys = {NULL, 0};
    const char *const issuers[] = {words[2]};
    struct jwt_checks checks = {.keys = &keys,
                                .audience = slice_of(words[1]),
                                .issuers = issuers,
                                .issuer_count = 1,
                                .now_s = strtoll(words[3], NULL, 10)};
    struct error err = {0};
    char line[64 * 1024];

    file_read(words[0], &set);
    check(jwt_keys_parse(buffer_slice(&set), &keys, &err), &err);
    while (fgets(line, sizeof(line), stdin) != NULL) {
        line[strcspn(line, "\n")] = 0;
        verify(slice_of(line), &checks);
    }
}

static void sign_lines(const char *pem)
{
    OWNED(jwt_key_drop) struct jwt_key *key = key_read(pem);
    char line[64 * 1024];

    while (fgets(line, sizeof(line), stdin) != NULL) {
        OWNED(buffer_drop) struct buffer token = BUFFER_NONE;
        line[strcspn(line, "\n")] = 0;
        jwt_sign(key, slice_of(line), &token);
        printf("%.*s\n", SLICE_ARG(buffer_slice(&token)));
    }
}

static void print_set(const char *pem)
{
    OWNED(jwt_key_drop) struct jwt_key *key = key_read(pem);
    OWNED(buffer_drop) struct buffer jwk = BUFFER_NONE;

    jwt_key_write_jwk(key, &jwk);
    printf("{\"keys\":[%.*s]}\n", SLICE_ARG(buffer_slice(&jwk)));
}

int main(int count, char **words)
{
    if (count == 6 && strcmp(words[1], "verify") == 0)
        verify_lines(words + 2);
    else if (count == 3 && strcmp(words[1], "sign") == 0)
        sign_lines(words[2]);
    else if (count == 3 && strcmp(words[1], "set") == 0)
        print_set(words[2]);
    else
        return 2;
    return 0;
}
