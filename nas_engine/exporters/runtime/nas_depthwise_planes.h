/* Depth-wise convolution: the filling of the planes. Nothing here is for callers of the runtime. */
#ifndef NAS_DEPTHWISE_PLANES_H
#define NAS_DEPTHWISE_PLANES_H

#include "nas_depthwise_job.h"

/* The function that unpacks the input of a layer. */
NAS_RARE nas_depthwise_expand *nas_depthwise_expander(const nas_layer *layer);

/* Write the padding, but for columns that share a word with one of the input. */
void nas_depthwise_pad(const nas_depthwise_job *job);

#endif
