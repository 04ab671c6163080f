/* Average pool: the mean of the values in a window as they stand, rounded as TFLite does (docs/integer_model.md).
 *
 * May work in place, output and input at the same address, where windows do not overlap (kernel <= stride) or the output is
 * one pixel. Results are written one by one, in order; a result is never behind the first element of its own channel's
 * window, and everything still to be read lies behind that: the later channels of the window, and the later windows.
 */
#include "nas_runtime.h"

#include "nas_bits.h"

void nas_average_pool(const nas_layer *layer, uint8_t *arena)
{
    const int32_t height = layer->in_height, width = layer->in_width;
    const uint32_t channels = layer->in_channels, bits = layer->in_bits;
    const int32_t low = layer->in_zero == 0U ? -128 : -(int32_t)(1U << (bits - 1U)); /* the value that is stored as 0 */
    const uint8_t *const input = arena + layer->input;
    uint8_t *const output = arena + layer->output;
    uint32_t index = 0U;
    for (int32_t y = 0; y < layer->out_height; y++) {
        const int32_t over = y * layer->stride - layer->pad_top, under = over + layer->kernel;
        const int32_t top = over < 0 ? 0 : over, bottom = under > height ? height : under;
        for (int32_t x = 0; x < layer->out_width; x++) {
            const int32_t before = x * layer->stride - layer->pad_left, behind = before + layer->kernel;
            const int32_t left = before < 0 ? 0 : before, right = behind > width ? width : behind;
            const int32_t count = (bottom - top) * (right - left), half = count / 2;
            for (uint32_t c = 0U; c < channels; c++, index++) {
                int32_t total = count * low;
                for (int32_t row = top; row < bottom; row++) {
                    uint32_t at = (uint32_t)(row * width + left) * channels + c;
                    for (int32_t column = left; column < right; column++, at += channels) {
                        total += (int32_t)(bits == 8U ? input[at] : nas_get(input, at, bits));
                    }
                }
                const int32_t mean = (total > 0 ? total + half : total - half) / count;
                nas_put(output, index, bits, (uint32_t)(mean - low));
            }
        }
    }
}
