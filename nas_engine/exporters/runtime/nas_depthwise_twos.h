/* Depth-wise convolution: two output rows at a time. Nothing here is for callers of the runtime. */
#ifndef NAS_DEPTHWISE_TWOS_H
#define NAS_DEPTHWISE_TWOS_H

#include "nas_depthwise_rows.h"

/* Run a layer, if it is one of those described in nas_depthwise_twos.c; return whether it was. */
int nas_depthwise_twos(const nas_layer *layer, uint8_t *arena, nas_depthwise_multiply *multiply);

#endif
