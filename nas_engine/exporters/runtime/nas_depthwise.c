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
        uint8_t *to = output;
        for (uint32_t o = 0U, row = 0U, at = 0U; o < job->count << (job->below != 0U); o++, at += layer->stride) {
            const int8_t *weight = job->weights + kernel * kernel * channel;
            uint32_t total = (uint32_t)bias;
            if (o == job->count) { /* the second row follows */
                row = 1U;
                at = 0U;
                to = output + job->below;
            }
            for (uint32_t i = row; i < kernel + row; i++) {
                for (uint32_t column = at, j = 0U; j < kernel; j++, column++) {
                    const uint32_t twice = nas_half_at(plane + 4U * (job->rows * (column >> 1) + i) + 2U * (column & 1U));
                    total += (uint32_t)((int32_t)(twice >> 1) * *weight++);
                }
            }
            /* Clamped before the zero is added: the result can be any int32. */
            *to = (uint8_t)(nas_clamp(nas_multiply((int32_t)total, multiplier, shift), -zero, high - zero) + zero);
            to += job->step;
        }
    }
}

NAS_RARE void nas_depthwise_shift_left(uint8_t *table, nas_depthwise_tail *tail, uint32_t *bias, uint32_t shift)
{
    const uint32_t whole = *bias << shift;
    for (; table != (uint8_t *)tail; table += 2) {
        const uint16_t half = (uint16_t)(nas_half_at(table) << shift);
        NAS_COPY(table, &half, sizeof half);
    }
    *bias = whole;
    tail->addend = 0;
    tail->right = 0U;
}

void nas_depthwise(const nas_layer *layer, uint8_t *arena)
{
    nas_depthwise_rows(layer, arena, nas_depthwise_plain);
}
