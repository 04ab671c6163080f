/* Depth-wise convolution: inputs of 8 bits. Nothing here is for callers of the runtime. */
#ifndef NAS_DEPTHWISE_BYTES_H
#define NAS_DEPTHWISE_BYTES_H

#include "nas_depthwise_job.h"

/* A nas_depthwise_expand for inputs of 8 bits; with DSP instructions for kernels of 3 and 5 only. */
void nas_depthwise_expand_bytes(const nas_depthwise_job *job, uint32_t channel);

/* Whether it is right for a kernel. */
NAS_INLINE int nas_depthwise_expands_bytes(uint32_t kernel)
{
#if defined(__ARM_FEATURE_DSP)
    return kernel == 3U || kernel == 5U;
#else
    (void)kernel;
    return 1;
#endif
}

#endif
