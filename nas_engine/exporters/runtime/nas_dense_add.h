/* Dense layers: the shortcut that is added. Nothing here is for callers of the runtime. */
#ifndef NAS_DENSE_ADD_H
#define NAS_DENSE_ADD_H

#include "nas_dense.h"

/* Fill in the record's sum, for NAS_QUICK_ADDITION. */
void nas_dense_add_begin(nas_dense *dense);

/* Add the shortcut to dense->bytes, the results + 128 of some pixels. The sums, as they are stored but for the clamp to less than 8
 * bits, take their place; or that of the shortcut, in the output: then the answer is 1, and nothing is left to do. */
int nas_dense_add(nas_dense *dense, uint32_t element, uint32_t pixels, uint32_t count);

#endif
