/* Average pools: sums of channels, and means. Nothing here is for callers of the runtime. */
#ifndef NAS_POOL_H
#define NAS_POOL_H

#include "nas_runtime.h"
#include "nas_words.h"

/* A window, or a part of one; assembly counts on the order. */
typedef struct {
    uint32_t channels;
    uint32_t runs, size, apart; /* its pixels in runs without a gap: elements of a run, and from the end of one to the next */
    uint32_t count;             /* pixels of the whole window */
    uint32_t half, above;       /* added to a sum before it is divided, and from which sum on one more */
    uint32_t more;              /* not the last part: there is no mean yet */
    uint32_t *sums;             /* so far, a word for each channel, 0 at first */
    uint32_t step;              /* bytes from the sums of eight channels to the next ones, at most 16; 0: four words of 0 serve all */
    uint32_t bits;
} nas_pool;

/* Fill in what follows from the layer and the pixels of a window. */
NAS_RARE void nas_pool_begin(nas_pool *pool, const nas_layer *layer, uint32_t count);

/* Add up all channels, from element `first` of the input on; store their means from element `index` of the output on. */
NAS_RARE void nas_pool_part(const nas_pool *pool, const uint8_t *input, uint32_t first, uint8_t *output, uint32_t index);

#endif
