/* oci.h - the grammars of names, tags, media types and upload ids.
 * Touches  nothing.
 * Never    locale, regular expressions.
 *
 * Spec: NAME-01, NAME-02, NAME-06, NAME-08, NAME-10, NAME-11, NAME-12. */
#ifndef SLIPWAY_CORE_OCI_H
#define SLIPWAY_CORE_OCI_H

#include "registry/core/bytes.h"

enum {
    OCI_NAME_MAX = 255, /* bytes of a repository name */
    OCI_TAG_MAX = 128,
    OCI_MEDIA_TYPE_MAX = 255,
    OCI_UPLOAD_ID_SIZE = 36, /* a lower-case UUID */
};

bool oci_name_valid(struct slice name);
bool oci_tag_valid(struct slice tag);
bool oci_media_type_valid(struct slice type); /* type/subtype, no parameters */
bool oci_upload_id_valid(struct slice id);    /* ours: a lower-case UUID */
/* A fresh random UUID (version 4), terminated; out holds OCI_UPLOAD_ID_SIZE + 1. */
void oci_upload_id_new(char *out);

#define OCI_TYPE_MANIFEST "application/vnd.oci.image.manifest.v1+json"
#define OCI_TYPE_INDEX "application/vnd.oci.image.index.v1+json"
#define DOCKER_TYPE_MANIFEST "application/vnd.docker.distribution.manifest.v2+json"
#define DOCKER_TYPE_LIST "application/vnd.docker.distribution.manifest.list.v2+json"

#endif
