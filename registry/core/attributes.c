/* attributes.c - the thread roles that attributes.h names. */
#include "registry/core/attributes.h"

const struct thread_role loop_thread = {ROLE_LOOP};
const struct thread_role worker_thread = {ROLE_WORKER};

_Thread_local enum thread_role_kind thread_role_current = ROLE_NONE;
