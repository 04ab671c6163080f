/* A first run, in a process of its own: a compiler may know instructions that the processor, or what
 * stands between, does not have. */
#include "kernels.h"

void nas_quantise_weights(const void *layers, int64_t n);

EXPORT int nas_check(void)
{
    float weight[40], result[40], step = 0.5f;
    const struct {
        const float *weight, *step, *gradient;
        float *result, *of_step;
        int64_t channels, count;
        float limit, gradient_scale;
    } layer = {weight, &step, 0, result, 0, 1, 40, 7, 1};
    for (int i = 0; i < 40; i++)
        weight[i] = (float)(i - 20) * 0.4f;
    nas_quantise_weights(&layer, 1);
    return result[0] == -3.5f && result[21] == 0.5f && result[39] == 3.5f ? 0 : 1;
}
