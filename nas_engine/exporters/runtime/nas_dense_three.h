/* Dense layers: results of three pixels for a row of output channels. Nothing here is for callers of the runtime.
 *
 * Where rounding is quick, three pixels and two channels are worked on at once: a word of weights that is read and spread serves
 * six products, a pair of inputs two. Inputs are doubled when they are expanded, so that the sums are what the quick rounding asks
 * for; constants are spread once for all pixels.
 */
#ifndef NAS_DENSE_THREE_H
#define NAS_DENSE_THREE_H

#include "nas_dense.h"

/* Spread the constants of `count` channels from `channel` on, an odd count with one more, as nas_dense_row.h says. */
NAS_RARE void nas_dense_spread(const nas_dense *dense, uint32_t channel, uint32_t count);

/* Results of `count` channels from `channel` on, for the pixels before `end`, a multiple of three; their weights are w8. */
NAS_SMALL void nas_dense_run_of_threes(
    nas_dense *dense, nas_dense_load *load, const uint32_t *weights, uint32_t end, uint32_t channel, uint32_t count);

#endif
