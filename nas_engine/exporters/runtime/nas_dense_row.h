/* Dense layers: the results of two pixels for a row of output channels. Nothing here is for callers of the runtime.
 *
 * The words of weights of two output channels alternate. w8: four int8 taps a word in their natural order, so that SXTB16 gives
 * the pairs that the inputs have. w4: 8 taps a word, stored as w + 2^(bits-1); shifting a word to the right by
 * 0, bits, 2*bits, ... leaves the next pair in its two halves, below a mask.
 */
#ifndef NAS_DENSE_ROW_H
#define NAS_DENSE_ROW_H

#include "nas_dense.h"

/* A row of output channels for two pixels, as the inner loops see it. Thirteen words before `sums`; assembly counts on the order. */
struct nas_row {
    uint32_t start[2];         /* w4: where the accumulators of each pixel begin; w8 begins at the bias */
    const uint32_t *pairs, *end;
    const int32_t *bias, *multiplier;
    const int8_t *shift;
    uint8_t *to;               /* results of the first pixel */
    const uint32_t *weights;
    uint32_t apart;            /* the results of the second pixel lie this much further; 0: it is the first one again */
    uint32_t twice_zero;       /* 2 * zero + 1; 0: stop after two channels and leave their sums, for the general rounding */
    const int8_t *last;        /* end of the shifts: where to stop */
    uint32_t padded;
    uint32_t sums[4];          /* channel 0: pixel 0, pixel 1; channel 1: pixel 0, pixel 1; modulo 2^32 */
};

/* Sums of products for two channels at a time, rounded by nas_multiply_fast and clamped to 0 .. 255. */
void nas_dense_pairs_w8(nas_row *row);
void nas_dense_pairs_w4(nas_row *row);

/* Results of `count` channels from `channel` on, for two pixels; `pairs` is one of the inner loops above.
 *
 * An odd count computes one channel more than there is: its constants are whatever follows in the same array (the shift is the
 * -1 that fills up the last word), its result stays in dense->bytes.
 */
NAS_SMALL void nas_dense_row(
    nas_dense *dense, void (*pairs)(nas_row *row), const uint32_t *weights, uint32_t pixel, uint32_t channel, uint32_t count);

#endif
