/* tls.c - TLS 1.2 and 1.3 on a non-blocking descriptor.
 * Touches  OpenSSL, the connection's descriptor; certificate, key and client authority when opened
 *          and when told to read them again.
 * Never    HTTP/2: ALPN offers http/1.1 alone; who a client's certificate names. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <openssl/err.h>
#include <openssl/ssl.h>

#include "registry/http/http_internal.h"

/* What new connections get; open ones count on what they were given. */
struct tls_context {
    pthread_mutex_t lock;
    SSL_CTX *ssl;    /* under lock; never changed once it is here, replaced */
    int64_t expires; /* under lock */
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

/* The first complaint is the plainest: "No such file or directory", "no start line". */
static int tls_error(struct error *err, const char *what, const char *file)
{
    char reason[120];

    ERR_error_string_n(ERR_peek_error(), reason, sizeof(reason));
    ERR_clear_error();
    error_set(err, ERROR_UNAVAILABLE, "%s %s cannot be used", what, file);
    return error_set_cause(err, "%s", reason);
}

static void context_drop(SSL_CTX **context)
{
    SSL_CTX_free(*context);
}

/* A key with a passphrase is refused: nobody is there to be asked. */
static int no_passphrase(char *out, int size, int writing, void *argument)
{
    (void)out;
    (void)size;
    (void)writing;
    (void)argument;
    return 0;
}

static SSL_CTX *context_new(const struct server_options *options)
{
    bool newest = options->tls_min_version != NULL && strcmp(options->tls_min_version, "1.3") == 0;
    SSL_CTX *context = SSL_CTX_new(TLS_server_method());

    if (context == NULL)
        abort();
    ERR_clear_error();
    SSL_CTX_set_min_proto_version(context, newest ? TLS1_3_VERSION : TLS1_2_VERSION);
    SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                                     SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA);
    SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
                                  SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF); /* tickets resume */
    SSL_CTX_set_num_tickets(context, 0);                         /* tls_write sends one */
    SSL_CTX_set_read_ahead(context, 1);
    SSL_CTX_set_default_read_buffer_len(context, READ_AHEAD_SIZE);
    SSL_CTX_set_alpn_select_cb(context, alpn_select, NULL);
    SSL_CTX_set_default_passwd_cb(context, no_passphrase);
    return context;
}

/* Clients must show a certificate that this authority signed. A ticket stands for one that did:
 * its keys are the context's own, so a new authority ends the tickets of the old. */
static int client_ca_load(SSL_CTX *context, const char *file, struct error *err)
{
    static const unsigned char session_context[] = "slipway";
    STACK_OF(X509_NAME) *names = SSL_load_client_CA_file(file);

    if (names == NULL || SSL_CTX_load_verify_file(context, file) != 1) {
        sk_X509_NAME_pop_free(names, X509_NAME_free);
        return tls_error(err, "client authority", file);
    }
    SSL_CTX_set_client_CA_list(context, names);
    SSL_CTX_set_session_id_context(context, session_context, sizeof(session_context) - 1);
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    return 0;
}

static int64_t expiry(SSL_CTX *context)
{
    const X509 *certificate = SSL_CTX_get0_certificate(context);
    struct tm utc = {0};

    if (certificate == NULL || ASN1_TIME_to_tm(X509_get0_notAfter(certificate), &utc) != 1)
        return 0;
    return timegm(&utc);
}

int tls_context_reload(struct tls_context *context, const struct server_options *options,
                       struct error *err)
{
    const char *certificate = options->tls_certificate, *key = options->tls_key;
    OWNED(context_drop) SSL_CTX *fresh = context_new(options);

    ERR_clear_error();
    if (SSL_CTX_use_certificate_chain_file(fresh, certificate) != 1)
        return tls_error(err, "certificate", certificate);
    if (SSL_CTX_use_PrivateKey_file(fresh, key, SSL_FILETYPE_PEM) != 1 ||
        SSL_CTX_check_private_key(fresh) != 1)
        return tls_error(err, "key", key);
    if (options->tls_client_ca != NULL && client_ca_load(fresh, options->tls_client_ca, err) < 0)
        return -1;
    int64_t expires = expiry(fresh);
    pthread_mutex_lock(&context->lock);
    SSL_CTX *old = context->ssl; /* its connections hold it as well */
    context->ssl = TAKE(fresh);
    context->expires = expires;
    pthread_mutex_unlock(&context->lock);
    SSL_CTX_free(old);
    return 0;
}

int tls_context_open(struct tls_context **out, const struct server_options *options,
                     struct error *err)
{
    if (options->tls_certificate == NULL || options->tls_key == NULL)
        return error_set(err, ERROR_UNAVAILABLE, "TLS needs a certificate and a key");
    struct tls_context *context = memory_new(sizeof(*context));
    pthread_mutex_init(&context->lock, NULL);
    *out = context;
    return tls_context_reload(context, options, err);
}

int64_t tls_context_expires(struct tls_context *context)
{
    pthread_mutex_lock(&context->lock);
    int64_t expires = context->expires;
    pthread_mutex_unlock(&context->lock);
    return expires;
}

void tls_context_close(struct tls_context *context)
{
    if (context == NULL)
        return;
    SSL_CTX_free(context->ssl);
    pthread_mutex_destroy(&context->lock);
    free(context);
}

struct tls *tls_open(struct tls_context *context, int fd)
{
    struct tls *tls = memory_new(sizeof(*tls));

    pthread_mutex_lock(&context->lock);
    tls->ssl = SSL_new(context->ssl);
    pthread_mutex_unlock(&context->lock);
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
