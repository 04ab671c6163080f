/* Depth-wise convolution: the order of work, for any kernel. Nothing here is for callers of the runtime. */
#ifndef NAS_DEPTHWISE_ROWS_H
#define NAS_DEPTHWISE_ROWS_H

#include "nas_depthwise_job.h"

/* Multiply the planes of `held` channels, 1 to 4, `channel` being the first: job->count results each, clamped to 8 bits at
 * least, the first channel's at `output`, and with job->below as many of a second row. */
typedef void nas_depthwise_multiply(const nas_depthwise_job *job, uint32_t channel, uint32_t held, uint8_t *output);

/* A part of an output row, or of two: job->count results of every channel, from element `index` of the output on. */
void nas_depthwise_part(const nas_depthwise_job *job, uint8_t *output, uint32_t index, nas_depthwise_multiply *multiply);

/* Run a layer with a multiplying function that is right for it. */
void nas_depthwise_rows(const nas_layer *layer, uint8_t *arena, nas_depthwise_multiply *multiply);

#endif
