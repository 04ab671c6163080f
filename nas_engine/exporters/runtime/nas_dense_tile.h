/* Dense layers: weights of some output channels as bytes. Nothing here is for callers of the runtime.
 *
 * The words of two output channels alternate; a word has four taps, int8, in their natural order, shifted to the left by
 * 8 - bits. A last channel that stands alone has a second one of 0 beside it, and so have taps that fill up the last four.
 */
#ifndef NAS_DENSE_TILE_H
#define NAS_DENSE_TILE_H

#include "nas_dense.h"

/* Return the next `count` output channels of the stream in the w8 layout, unpacked into the tile where they must be. */
NAS_SMALL const uint32_t *nas_dense_unpack(nas_dense *dense, uint32_t count);

#endif
