/* wire.h - messages between the server and a builder: packets with descriptors beside them.
 * Touches  a SOCK_SEQPACKET socket.
 * Never    trusts the other side: sizes and counts are checked.
 *
 * One control connection a builder, one channel a build. A packet is a byte of kind and a payload;
 * descriptors travel with it. Blocking; a wake-up descriptor ends a wait. */
#ifndef SLIPWAY_S2I_WIRE_H
#define SLIPWAY_S2I_WIRE_H

#include "registry/core/bytes.h"
#include "registry/core/error.h"

enum wire_kind {
    /* control, builder to server */
    WIRE_HELLO = 'h', /* JSON: version, level, slots, platform, problems */
    /* control, server to builder */
    WIRE_BUILD = 'b', /* JSON: {"build": id}; descriptor: the build's channel */
    /* channel, server to builder */
    WIRE_SPEC = 's', /* JSON in pieces of WIRE_PIECE_MAX; ended by an empty one; the last carries
                        the source as a descriptor, when there is one */
    WIRE_FILE = 'f', /* answer to WIRE_WANT: one descriptor; payload empty, or why there is none */
    WIRE_CANCEL = 'c', /* payload: the reason to record */
    /* channel, builder to server */
    WIRE_LOG = 'l',      /* a byte, enum log_stream, and bytes as they came */
    WIRE_STAGE = 't',    /* JSON: {"name": ..., "ms": ...}, ms absent: it begins */
    WIRE_WANT = 'w',     /* JSON: {"image": "builder"|"previous"|"runtime"|
                            "input/<its number in the spec>", "layer": index} */
    WIRE_BLOB = 'd',     /* bytes of a layer, compressed, in order */
    WIRE_BLOB_END = 'e', /* JSON: {"kind": "layer", "digest", "size", "diff_id", ...} */
    WIRE_RESULT = 'r',   /* JSON in pieces as WIRE_SPEC: struct s2i_result */
};

enum { WIRE_PIECE_MAX = 64 * 1024, WIRE_JSON_MAX = 16 * 1024 * 1024 };

struct wire_packet {
    enum wire_kind kind;
    struct slice payload; /* borrowed from the buffer given to wire_receive */
    int fd;               /* -1: none; the receiver closes it */
};

/* fd: a descriptor to send along, or -1; it stays the caller's. Blocks until sent; a peer that is
 * gone is UNAVAILABLE, never a signal. */
int wire_send(int socket, enum wire_kind kind, struct slice payload, int fd,
              struct error *err) MUST_CHECK;
/* A text of any size up to WIRE_JSON_MAX, in pieces and an empty last one. */
int wire_send_text(int socket, enum wire_kind kind, struct slice text, int fd,
                   struct error *err) MUST_CHECK;
/* 1: a packet; 0: the peer closed; -1. buffer: WIRE_PIECE_MAX + 1 bytes at least. */
int wire_receive(int socket, char *buffer, size_t capacity, struct wire_packet *out,
                 struct error *err) MUST_CHECK;
/* Adds a piece of a text. 1: it is whole; 0: more follows; -1: too long. */
int wire_gather(struct buffer *text, const struct wire_packet *packet,
                struct error *err) MUST_CHECK;
/* Waits until socket can be read, or wake (-1: none) can, or timeout_ms (-1: none) is over.
 * 1: the socket, 0: time is over, 2: wake, whatever the socket has. */
int wire_wait(int socket, int wake, int timeout_ms);

#endif
