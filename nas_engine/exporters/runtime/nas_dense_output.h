/* Dense layers: results to the output. Nothing here is for callers of the runtime. */
#ifndef NAS_DENSE_OUTPUT_H
#define NAS_DENSE_OUTPUT_H

#include "nas_dense.h"

/* Add the shortcut to dense->bytes, the results of `pixels` pixels as far as there are so many, clamp, pack into the output. Not with
 * dense->direct. */
NAS_SMALL NAS_SMALL void nas_dense_finish(nas_dense *dense, uint32_t pixel, uint32_t pixels, uint32_t channel, uint32_t count);

#endif
