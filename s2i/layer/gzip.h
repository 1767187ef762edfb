/* gzip.h - one member of gzip, compressed by several threads.
 * Touches  memory, threads of its own.
 * Never    lets the number of threads be seen in what comes out.
 *
 * Blocks of a fixed size are deflated apart from each other, each with the end of the one before it
 * as its dictionary; decompressors see one ordinary stream. Spec: s2i 17.9; RFC 1951, 1952 */
#ifndef SLIPWAY_S2I_LAYER_GZIP_H
#define SLIPWAY_S2I_LAYER_GZIP_H

#include "s2i/layer/layer.h"

struct gzip;
/* give gets the compressed bytes, in order, on the caller's thread. */
struct gzip *gzip_open(layer_sink *give, void *arg);
void gzip_drop(struct gzip **gzip); /* ends its threads */
int gzip_write(struct gzip *gzip, struct slice bytes, struct error *err) MUST_CHECK;
/* No more comes. */
int gzip_finish(struct gzip *gzip, struct error *err) MUST_CHECK;

#endif
