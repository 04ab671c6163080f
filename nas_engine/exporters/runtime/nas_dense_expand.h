/* Dense layers: one, two or three pixels as pairs of 16-bit numbers. Nothing here is for callers of the runtime.
 *
 * Taps are taken in fours, 0 1 2 3; of each pixel a word holds the pair (0, 2) and another one the pair (1, 3), as UXTB16 takes them
 * from a word of four bytes. The first words of all pixels stand before the second ones. Numbers are the stored ones, unsigned, and
 * twice these where there are three pixels (nas_dense_doubled); what fills up the last four of a layer is arbitrary: its weights are 0.
 */
#ifndef NAS_DENSE_EXPAND_H
#define NAS_DENSE_EXPAND_H

#include "nas_dense.h"

NAS_INLINE uint32_t nas_dense_doubled(uint32_t count)
{
    return count == 3U;
}

/* Expand `count` pixels of a 1x1 layer, one to three, from `pixel` on into dense->pairs; of two, the last pixel of all twice. */
NAS_SMALL void nas_dense_expand(const nas_dense *dense, uint32_t pixel, uint32_t count);

/* Expand `taps` elements of the input from `element` on, filled up to `padded`, as those of one of `count` pixels. */
NAS_RARE void nas_dense_expand_run(
    const nas_dense *dense, uint32_t *pairs, uint32_t count, uint32_t element, uint32_t taps, uint32_t padded);

/* Expand bytes of one of `count` pixels; of three pixels. */
NAS_SMALL uint32_t *nas_dense_expand_one(uint32_t *pairs, uint32_t count, const uint8_t *from, uint32_t fours);
NAS_SMALL void nas_dense_expand_three(
    uint32_t *pairs, const uint8_t *first, const uint8_t *second, const uint8_t *third, uint32_t fours);

/* Set dense->start, from the sums of both pixels, for weights stored as w + 2^shift. */
NAS_SMALL void nas_dense_offset(nas_dense *dense, uint32_t shift);

#endif
