/* Depth-wise convolution: the multiplying function for any kernel. Nothing here is for callers of the runtime. */
#ifndef NAS_DEPTHWISE_H
#define NAS_DEPTHWISE_H

#include "nas_depthwise_rows.h"

/* A nas_depthwise_multiply for any kernel, stride and rounding. */
void nas_depthwise_plain(const nas_depthwise_job *job, uint32_t channel, uint32_t held, uint8_t *output);

/* End of the table that the loops in assembly read, see nas_depthwise_dsp.h. */
typedef struct {
    int32_t multiplier, addend; /* nas_multiply_fast's */
    uint32_t right;
    uint32_t step;              /* bytes from result to result; 0 for the last one of an odd row: both lie in one place, u remains */
    uint8_t *end;               /* where the results end */
    uint32_t below;             /* bytes to the second of two rows; 0 for one row: both lie in one place, the first remains */
} nas_depthwise_tail;

/* A channel whose requantisation shifts to the left: its weights, two of 16 bits in each word of the table, and its bias, one word
 * of it, are shifted instead. */
void nas_depthwise_shift_left(uint8_t *table, nas_depthwise_tail *tail, uint32_t *bias, uint32_t shift);

#endif
