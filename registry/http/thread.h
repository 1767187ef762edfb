/* thread.h - how a thread shares the processor with the others.
 * Touches  the calling thread's scheduling.
 * Never    asks for more of the processor than every thread gets; needs a privilege. */
#ifndef SLIPWAY_HTTP_THREAD_H
#define SLIPWAY_HTTP_THREAD_H

/* Clients wait for what it does: it runs soon after it wakes, in short turns. Where the kernel
 * does not know of that (Linux before 6.12), nothing changes. */
void thread_prompt(void);
/* It computes for long: it leaves the processor to others that want it. */
void thread_stand_back(int nice);

#endif
