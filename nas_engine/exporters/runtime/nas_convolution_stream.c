/* k x k convolution with weights of any width, unpacked 16 output channels at a time: layout "stream-pairs".
 *
 * The taps of a pixel are gathered as bytes, in the order of the weights: kernel row, kernel column, channel.
 */
#include "nas_dense.h"
#include "nas_dense_expand.h"
#include "nas_dense_streams.h"
#include "nas_requantise.h"

static NAS_SMALL uint8_t *fill(uint8_t *to, uint32_t count, uint8_t value)
{
    while (count--) {
        *to++ = value;
    }
    return to;
}

static uint8_t *copy(uint8_t *to, const uint8_t *from, uint32_t count)
{
    for (; count >= 4U; count -= 4U, from += 4, to += 4) {
        nas_store_word(to, nas_word_at(from));
    }
    while (count--) {
        *to++ = *from++;
    }
    return to;
}

static NAS_SMALL void gather(const nas_dense *dense, uint32_t pixel, uint8_t *to)
{
    const nas_layer *layer = dense->layer;
    const uint32_t channels = layer->in_channels, bits = layer->in_bits;
    const uint32_t size = nas_stream_bytes((uint32_t)layer->in_height * layer->in_width * channels, bits);
    const int32_t kernel = layer->kernel, out_width = layer->out_width, height = layer->in_height, width = layer->in_width;
    const int32_t out_row = (int32_t)pixel / out_width, out_column = (int32_t)pixel - out_row * out_width;
    const int32_t top = out_row * layer->stride - layer->pad_top, left = out_column * layer->stride - layer->pad_left;
    const int32_t before = nas_clamp(-left, 0, kernel), inside = nas_clamp(width - left, before, kernel) - before;
    if (bits == 8U && inside == kernel && top >= 0 && top + kernel <= height) { /* the whole window lies in an image of bytes */
        const uint8_t *from = dense->input + (uint32_t)(top * width + left) * channels;
        for (int32_t row = 0; row < kernel; row++, from += (uint32_t)width * channels) {
            to = copy(to, from, (uint32_t)kernel * channels);
        }
        fill(to, dense->padded - dense->taps, 0);
        return;
    }
    for (int32_t row = top; row < top + kernel; row++) {
        if (row < 0 || row >= height) {
            to = fill(to, (uint32_t)kernel * channels, layer->in_zero);
            continue;
        }
        const uint32_t count = (uint32_t)inside * channels;
        to = fill(to, (uint32_t)before * channels, layer->in_zero);
        nas_fetch(dense->input, size, (uint32_t)(row * width + left + before) * channels, count, bits, to);
        to = fill(to + count, (uint32_t)(kernel - before - inside) * channels, layer->in_zero);
    }
    fill(to, dense->padded - dense->taps, 0);
}

static void load(const nas_dense *dense, uint32_t pixel)
{
    gather(dense, pixel, dense->gathered);
    gather(dense, pixel + 1U < dense->pixels ? pixel + 1U : pixel, dense->gathered + dense->padded);
    nas_dense_expand_gathered(dense);
}

void nas_convolution_stream(const nas_layer *layer, uint8_t *arena)
{
    nas_dense dense;
    nas_dense_begin(&dense, layer, arena);
    nas_dense_stream(&dense, load);
}
