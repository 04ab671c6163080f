/* LSQ fake quantisation of the weights of all layers in one call, one step per output channel. */
#include "kernels.h"

/* A channel's weights are `count` values in a row, in whatever order: nothing here depends on it. */
typedef struct {
    const float *weight, *step, *gradient;
    float *result, *of_step;
    int64_t channels, count;
    float limit, gradient_scale;
} Layer;

EXPORT void nas_quantise_weights(const Layer *layers, int64_t n)
{
    for (const Layer *l = layers; l < layers + n; l++)
        for (int64_t o = 0; o < l->channels; o++) {
            const float *restrict from = l->weight + o * l->count;
            float *restrict to = l->result + o * l->count, step = l->step[o], limit = l->limit;
            for (int64_t i = 0; i < l->count; i++)
                to[i] = level(from[i] / step, -limit, limit) * step;
        }
}

/* `result` is the gradient of the weight, `of_step` that of the step. */
EXPORT void nas_quantise_weights_backward(const Layer *layers, int64_t n)
{
    for (const Layer *l = layers; l < layers + n; l++)
        for (int64_t o = 0; o < l->channels; o++) {
            const float *restrict from = l->weight + o * l->count;
            const float *restrict g = l->gradient + o * l->count;
            float *restrict to = l->result + o * l->count, step = l->step[o], limit = l->limit;
            double total = 0;
            for (int64_t first = 0; first < l->count; first += LANES) {
                float sum[LANES] = {0};
                int64_t lanes = least(l->count - first, LANES);
                for (int64_t i = 0; i < lanes; i++) {
                    int64_t at = first + i;
                    float v = from[at] / step, inside = v > -limit && v < limit ? g[at] : 0;
                    to[at] = inside;
                    sum[i] = g[at] * level(v, -limit, limit) - inside * v;
                }
                for (int i = 0; i < LANES; i++)
                    total += sum[i];
            }
            l->of_step[o] = (float)(total * l->gradient_scale);
        }
}
