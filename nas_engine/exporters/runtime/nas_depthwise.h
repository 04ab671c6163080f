/* Depth-wise convolution: the multiplying function for any kernel. Nothing here is for callers of the runtime. */
#ifndef NAS_DEPTHWISE_H
#define NAS_DEPTHWISE_H

#include "nas_depthwise_rows.h"

/* A nas_depthwise_multiply for any kernel, stride and rounding. */
void nas_depthwise_plain(const nas_depthwise_job *job, uint32_t channel, uint32_t held, uint8_t *output);

#endif
