/* version.h - the version of this program.
 * Touches  nothing.
 * Never    decides anything. */
#ifndef SLIPWAY_CORE_VERSION_H
#define SLIPWAY_CORE_VERSION_H

#define SLIPWAY_VERSION "0.1.0"

#endif
