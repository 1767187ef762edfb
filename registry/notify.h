/* notify.h - tells the service manager how far we are (systemd's notification protocol).
 * Touches  the socket named by NOTIFY_SOCKET.
 * Never    waits or fails: without a manager it does nothing. */
#ifndef SLIPWAY_NOTIFY_H
#define SLIPWAY_NOTIFY_H

/* state: "READY=1", "STOPPING=1"; several lines may be given at once. */
void notify_manager(const char *state);
/* "RELOADING=1", with the time as the manager wants it; ends with notify_manager("READY=1"). */
void notify_reloading(void);

#endif
