/* options_check.h - what the texts of options must look like: one function a grammar.
 * Touches  memory only (pure).
 * Never    looks at what a text names. */
#ifndef SLIPWAY_S2I_OPTIONS_CHECK_H
#define SLIPWAY_S2I_OPTIONS_CHECK_H

#include "registry/core/error.h"
#include "s2i/options.h"

/* field: the name for the error; told: what the row adds, or NULL. INVALID */
typedef int option_check(const char *field, const char *told, struct slice value,
                         struct error *err);

option_check check_plain;       /* no control characters */
option_check check_lines;       /* those of lines are fine */
option_check check_word;        /* not empty, no blanks, does not start with '-' */
option_check check_choice;      /* one of told: "a|b" */
option_check check_inside;      /* a path that stays below where it starts; 4.4 */
option_check check_path;        /* an absolute path without ".." */
option_check check_folder;      /* the same, but not "/" */
option_check check_reference;   /* of an image */
option_check check_tag;         /* of an image */
option_check check_url;         /* no password in it; 7.5, 16.12 */
option_check check_http_url;    /* of these schemes */
option_check check_scripts_url; /* http, https, image with an absolute folder; 2.7, 2.8 */
option_check check_uids;        /* 12.4 */
option_check check_variable;    /* NAME=VALUE, any value */
option_check check_label;       /* NAME=VALUE, no control characters but those of lines */
option_check check_injection;   /* <secret>:<path>; 10.21 */
option_check check_copy;        /* <image>=<source>[:<destination>]; 13.52 */
option_check check_slice;       /* name=pattern; 15.6 */
option_check check_detect;      /* pattern=reference; 15.7 */
option_check check_branch;      /* pattern=tag{,tag}; 13.21 */
option_check check_host_port;   /* host:port */

#endif
