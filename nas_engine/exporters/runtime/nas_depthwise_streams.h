/* Depth-wise convolution: packed rows, packed weights and packed results. Nothing here is for callers of the runtime. */
#ifndef NAS_DEPTHWISE_STREAMS_H
#define NAS_DEPTHWISE_STREAMS_H

#include "nas_depthwise_job.h"

/* Copy bytes. */
void nas_depthwise_copy(uint8_t *to, const uint8_t *from, uint32_t count);

/* Copy input row `row` into its slot of the ring. */
void nas_depthwise_fetch(const nas_depthwise_job *job, const uint8_t *input, uint32_t row);

/* Unpack all weights of the layer. */
void nas_depthwise_unpack(const nas_depthwise_job *job);

/* Pack the results of `held` channels, bytes that lie in their planes, from bit `at` of the output on. */
void nas_depthwise_pack(const nas_depthwise_job *job, uint8_t *output, uint32_t at, uint32_t held);

#endif
