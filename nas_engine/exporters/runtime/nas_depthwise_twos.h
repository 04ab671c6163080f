/* Depth-wise convolution: two output rows at a time. Nothing here is for callers of the runtime. */
#ifndef NAS_DEPTHWISE_TWOS_H
#define NAS_DEPTHWISE_TWOS_H

#include "nas_depthwise_rows.h"

/* Run a layer with a multiplying function for NAS_FAST_ROUNDING and a stride of 1 or 2, two rows at a time if it is one of those
 * described in nas_depthwise_twos.c. */
void nas_depthwise_quick(const nas_layer *layer, uint8_t *arena, nas_depthwise_multiply *quick);

#endif
