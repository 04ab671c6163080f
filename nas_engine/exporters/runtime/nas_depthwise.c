/* Depth-wise convolution with a kernel of any size: one product at a time. */
#include "nas_depthwise.h"

#include "nas_requantise.h"

NAS_RARE void nas_depthwise_plain(const nas_depthwise_job *job, uint32_t channel, uint32_t held, uint8_t *output)
{
    const nas_layer *const layer = job->layer;
    const uint32_t kernel = layer->kernel, channels = layer->in_channels;
    const int32_t high = (int32_t)((1U << layer->out_bits) - 1U), zero = layer->out_zero;
    const uint8_t *plane = job->planes;
    for (; held != 0U; held--, channel++, plane += job->plane, output += job->apart) {
        const int32_t bias = layer->constants[channel], multiplier = layer->constants[channels + channel];
        const int32_t shift = ((const int8_t *)(layer->constants + 2U * channels))[channel];
        for (uint32_t o = 0U; o < (job->below != 0U ? 2U : 1U) * job->count; o++) {
            const uint32_t row = o < job->count ? 0U : 1U, at = o - row * job->count; /* the second row follows */
            const int8_t *weight = job->weights + kernel * kernel * channel;
            uint32_t total = (uint32_t)bias;
            for (uint32_t i = row; i < kernel + row; i++) {
                for (uint32_t column = at * layer->stride, j = 0U; j < kernel; j++, column++) {
                    const uint32_t twice = nas_half_at(plane + 4U * (job->rows * (column >> 1) + i) + 2U * (column & 1U));
                    total += (uint32_t)((int32_t)(twice >> 1) * *weight++);
                }
            }
            /* Clamped before the zero is added: the result can be any int32. */
            const int32_t result = nas_clamp(nas_multiply((int32_t)total, multiplier, shift), -zero, high - zero) + zero;
            output[row * job->below + at * job->step] = (uint8_t)result;
        }
    }
}

void nas_depthwise(const nas_layer *layer, uint8_t *arena)
{
    nas_depthwise_rows(layer, arena, nas_depthwise_plain);
}
