/* Average pool: the mean of the values in a window as they stand, rounded as TFLite does (docs/integer_model.md).
 *
 * May work in place, output and input at the same address, where windows do not overlap (kernel <= stride) or the output is
 * one pixel. Results are written one by one, or four by four, in order; a result is never behind the first element of its own
 * channel's window, and everything still to be read lies behind that: the later channels of the window, and the later windows.
 */
#include "nas_runtime.h"

#include "nas_bits.h"
#include "nas_words.h"

/* A window: its pixels in runs without a gap, elements from run to run, and how sums are divided. */
typedef struct {
    uint32_t runs, pixels, apart;
    uint32_t count, zero, half[2];
} nas_window;

/* The mean of stored values, halves away from TFLite's 0, which `zero` stands for, as the sum of as many stored ones: rounded
 * down below it. */
NAS_INLINE uint32_t mean_of(const nas_window *window, uint32_t sum)
{
    return (sum + (sum > window->zero ? window->half[1] : window->half[0])) / window->count;
}

#define NAS_MOST_BYTES 257U /* whose sum fits 16 bits */

/* Bytes, four channels at a time. */
static NAS_SMALL void means_of_bytes(const nas_window *given, const uint8_t *from, uint8_t *to, uint32_t channels)
{
    const nas_window window = *given;
    for (const uint8_t *const last = from + channels; from != last; from += 4, to += 4) {
        const uint8_t *at = from;
        uint32_t even = 0, odd = 0;
        for (uint32_t runs = window.runs; runs; runs--, at += window.apart) {
            for (const uint8_t *const end = at + window.pixels * channels; at != end; at += channels) {
                const uint32_t word = nas_word_at(at);
#if defined(__ARM_FEATURE_DSP)
                __asm__("uxtab16 %0, %0, %1" : "+r"(even) : "r"(word));
                __asm__("uxtab16 %0, %0, %1, ror #8" : "+r"(odd) : "r"(word));
#else
                even += word & 0x00FF00FFU;
                odd += (word >> 8) & 0x00FF00FFU;
#endif
            }
        }
        to[0] = (uint8_t)mean_of(&window, even & 0xFFFFU);
        to[1] = (uint8_t)mean_of(&window, odd & 0xFFFFU);
        to[2] = (uint8_t)mean_of(&window, even >> 16);
        to[3] = (uint8_t)mean_of(&window, odd >> 16);
    }
}

/* Channel by channel, any width. */
static NAS_RARE void means(
    const nas_window *window, const uint8_t *input, uint32_t first, uint8_t *output, uint32_t index, uint32_t channels, uint32_t bits)
{
    for (uint32_t c = 0; c < channels; c++) {
        uint32_t sum = 0;
        for (uint32_t runs = 0; runs < window->runs; runs++) {
            uint32_t at = first + c + runs * (window->apart + window->pixels * channels);
            for (uint32_t left = window->pixels; left; left--, at += channels) {
                sum += nas_get(input, at, bits);
            }
        }
        nas_put(output, index + c, bits, mean_of(window, sum));
    }
}

NAS_SMALL void nas_average_pool(const nas_layer *layer, uint8_t *arena)
{
    const int32_t height = layer->in_height, width = layer->in_width;
    const uint32_t channels = layer->in_channels, bits = layer->in_bits;
    const uint32_t zero = layer->in_zero == 0U ? 128U : 1U << (bits - 1U); /* what stands for TFLite's 0, not the real one */
    const uint8_t *const input = arena + layer->input;
    uint8_t *const output = arena + layer->output;
    uint32_t index = 0U;
    for (int32_t y = 0; y < layer->out_height; y++) {
        const int32_t over = y * layer->stride - layer->pad_top, under = over + layer->kernel;
        const int32_t top = over < 0 ? 0 : over, bottom = under > height ? height : under;
        for (int32_t x = 0; x < layer->out_width; x++, index += channels) {
            const int32_t before = x * layer->stride - layer->pad_left, behind = before + layer->kernel;
            const int32_t left = before < 0 ? 0 : before, right = behind > width ? width : behind;
            const uint32_t rows = (uint32_t)(bottom - top), columns = (uint32_t)(right - left), count = rows * columns;
            const uint32_t first = (uint32_t)(top * width + left) * channels, apart = (layer->in_width - columns) * channels;
            const nas_window window = {
                apart ? rows : 1U, apart ? columns : count, apart, count, count * zero, {(count - 1U) / 2U, count / 2U}};
            if (bits == 8U && (channels & 3U) == 0U && count <= NAS_MOST_BYTES) {
                means_of_bytes(&window, input + first, output + index, channels);
            } else {
                means(&window, input, first, output, index, channels, bits);
            }
        }
    }
}
