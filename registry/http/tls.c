/* tls.c - TLS 1.2 and 1.3 on a non-blocking descriptor.
 * Touches  OpenSSL, the connection's descriptor, certificate and key files at the start.
 * Never    client certificates, HTTP/2: ALPN offers http/1.1 alone. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/ssl.h>

#include "registry/http/http_internal.h"

struct tls_context {
    SSL_CTX *ssl;
};

struct tls {
    SSL *ssl;
    bool dry;      /* the last read found nothing: what SSL still holds is part of a record */
    bool failed;   /* nothing may be written any more, not even a goodbye */
    bool ticketed; /* the ticket for resuming was sent */
};

enum { READ_AHEAD_SIZE = 32 * 1024 };

static int alpn_select(SSL *ssl, const unsigned char **out, unsigned char *out_size,
                       const unsigned char *in, unsigned in_size, void *argument)
{
    static const unsigned char ours[] = "\x08http/1.1";
    unsigned char *chosen;

    (void)ssl;
    (void)argument;
    if (SSL_select_next_proto(&chosen, out_size, ours, sizeof(ours) - 1, in, in_size) !=
        OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    *out = chosen;
    return SSL_TLSEXT_ERR_OK;
}

static int tls_error(struct error *err, const char *what, const char *file)
{
    char reason[120];

    ERR_error_string_n(ERR_peek_last_error(), reason, sizeof(reason));
    ERR_clear_error();
    error_set(err, ERROR_UNAVAILABLE, "%s %s cannot be used", what, file);
    return error_set_cause(err, "%s", reason);
}

int tls_context_open(struct tls_context **out, const struct server_options *options,
                     struct error *err)
{
    const char *certificate = options->tls_certificate, *key = options->tls_key;

    if (certificate == NULL || key == NULL)
        return error_set(err, ERROR_UNAVAILABLE, "TLS needs a certificate and a key");
    struct tls_context *context = memory_new(sizeof(*context));
    context->ssl = SSL_CTX_new(TLS_server_method());
    if (context->ssl == NULL)
        abort();
    bool newest = options->tls_min_version != NULL && strcmp(options->tls_min_version, "1.3") == 0;
    SSL_CTX_set_min_proto_version(context->ssl, newest ? TLS1_3_VERSION : TLS1_2_VERSION);
    SSL_CTX_set_options(context->ssl, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                                          SSL_OP_CIPHER_SERVER_PREFERENCE |
                                          SSL_OP_PRIORITIZE_CHACHA);
    SSL_CTX_set_mode(context->ssl, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
                                       SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_session_cache_mode(context->ssl, SSL_SESS_CACHE_OFF); /* tickets resume */
    SSL_CTX_set_num_tickets(context->ssl, 0);                         /* tls_write sends one */
    SSL_CTX_set_read_ahead(context->ssl, 1);
    SSL_CTX_set_default_read_buffer_len(context->ssl, READ_AHEAD_SIZE);
    SSL_CTX_set_alpn_select_cb(context->ssl, alpn_select, NULL);
    *out = context;
    ERR_clear_error();
    if (SSL_CTX_use_certificate_chain_file(context->ssl, certificate) != 1)
        return tls_error(err, "certificate", certificate);
    if (SSL_CTX_use_PrivateKey_file(context->ssl, key, SSL_FILETYPE_PEM) != 1 ||
        SSL_CTX_check_private_key(context->ssl) != 1)
        return tls_error(err, "key", key);
    return 0;
}

void tls_context_close(struct tls_context *context)
{
    if (context == NULL)
        return;
    SSL_CTX_free(context->ssl);
    free(context);
}

struct tls *tls_open(struct tls_context *context, int fd)
{
    struct tls *tls = memory_new(sizeof(*tls));

    tls->ssl = SSL_new(context->ssl);
    if (tls->ssl == NULL || SSL_set_fd(tls->ssl, fd) != 1)
        abort();
    SSL_set_accept_state(tls->ssl);
    tls->dry = true;
    return tls;
}

void tls_goodbye(struct tls *tls)
{
    ERR_clear_error();
    if (!tls->failed && (SSL_get_shutdown(tls->ssl) & SSL_SENT_SHUTDOWN) == 0)
        SSL_shutdown(tls->ssl); /* sends close_notify; we do not wait for the peer's */
    ERR_clear_error();
}

void tls_close(struct tls *tls, bool polite)
{
    if (tls == NULL)
        return;
    if (polite)
        tls_goodbye(tls);
    SSL_free(tls->ssl);
    free(tls);
}

int tls_handshake(struct tls *tls)
{
    ERR_clear_error();
    int outcome = SSL_accept(tls->ssl);
    if (outcome == 1)
        return 1;
    switch (SSL_get_error(tls->ssl, outcome)) {
    case SSL_ERROR_WANT_READ:
        return 0;
    case SSL_ERROR_WANT_WRITE:
        return -EAGAIN;
    default:
        ERR_clear_error();
        return -EPROTO;
    }
}

ssize_t tls_read(struct tls *tls, void *out, size_t size)
{
    size_t got = 0;

    ERR_clear_error();
    int outcome = SSL_read_ex(tls->ssl, out, size, &got);
    tls->dry = outcome != 1;
    if (outcome == 1)
        return (ssize_t)got;
    switch (SSL_get_error(tls->ssl, outcome)) {
    case SSL_ERROR_WANT_READ:
        return -EAGAIN;
    case SSL_ERROR_ZERO_RETURN:
        return 0;
    default: /* an end without close_notify is a broken connection */
        ERR_clear_error();
        tls->failed = true;
        return -ECONNRESET;
    }
}

/* The ticket leaves with the first answer. Sent behind the handshake it would lie unread at a
 * client that only sends: closing, that client would reset the connection and destroy what it had
 * sent. */
static void ticket_send(struct tls *tls)
{
    if (!tls->ticketed && SSL_version(tls->ssl) == TLS1_3_VERSION)
        SSL_new_session_ticket(tls->ssl);
    tls->ticketed = true;
}

ssize_t tls_write(struct tls *tls, const void *bytes, size_t size)
{
    size_t put = 0;

    ticket_send(tls);
    ERR_clear_error();
    int outcome = SSL_write_ex(tls->ssl, bytes, size, &put);
    if (outcome == 1)
        return (ssize_t)put;
    if (SSL_get_error(tls->ssl, outcome) == SSL_ERROR_WANT_WRITE)
        return -EAGAIN;
    ERR_clear_error();
    tls->failed = true;
    return -EPIPE;
}

bool tls_pending(const struct tls *tls)
{
    return !tls->dry && SSL_has_pending(tls->ssl);
}
