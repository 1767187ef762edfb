/* confine_rules.h - what a confined child may do, in the kernel's terms: a Landlock ruleset and a
 * seccomp filter, made before the fork.
 * Touches  the folders it names, to let them in.
 * Never    confines the caller. */
#ifndef SLIPWAY_S2I_CONFINE_RULES_H
#define SLIPWAY_S2I_CONFINE_RULES_H

#include <linux/filter.h>

#include "s2i/confine.h"

enum { CONFINE_FILTER_MAX = 160 };

/* Refuses what a reader of files never needs: sockets (network: those but IP), other processes'
 * memory, mounts, namespaces, keys, programs in the kernel, leaving the process group. Returns how
 * many instructions. (pure) */
size_t confine_filter(bool network, struct sock_filter out[CONFINE_FILTER_MAX]);

/* The version of Landlock that is used; 0: none. */
int confine_landlock_version(void);
/* *ruleset: for landlock_restrict_self, the caller's; -1 where there is no Landlock. Folders that
 * are not there are left out, but those of with->writable must be. UNAVAILABLE */
int confine_landlock(const struct confinement *with, int *ruleset, struct error *err) MUST_CHECK;

#endif
