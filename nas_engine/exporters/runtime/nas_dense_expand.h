/* Dense layers: two pixels as pairs of 16-bit numbers. Nothing here is for callers of the runtime.
 *
 * Taps are taken in fours, 0 1 2 3; two words hold the pairs (0, 2) and (1, 3), as UXTB16 takes them from a word of four bytes.
 * The words of the two pixels alternate. Numbers are the stored ones, unsigned; what fills up the last four of a 1x1 layer is 0.
 */
#ifndef NAS_DENSE_EXPAND_H
#define NAS_DENSE_EXPAND_H

#include "nas_dense.h"

/* Expand pixel and pixel + 1 of a 1x1 layer into pairs; the last pixel alone is expanded twice. */
NAS_SMALL void nas_dense_expand(const nas_dense *dense, uint32_t pixel);

/* Expand the taps of a k x k layer's two pixels, which stand in dense->gathered. */
void nas_dense_expand_gathered(const nas_dense *dense);

/* Set dense->start, from the sums of both pixels, for weights stored as w + 2^shift. */
void nas_dense_offset(nas_dense *dense, uint32_t shift);

#endif
