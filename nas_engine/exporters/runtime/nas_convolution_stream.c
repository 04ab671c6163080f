/* k x k convolution with weights of any width, unpacked by tiles of output channels: layout "stream-pairs".
 *
 * The taps of a pixel are expanded in the order of the weights: kernel row, kernel column, channel. Where channels come in
 * fours of bytes or in eights they are expanded from where they lie, else they are gathered as bytes before.
 */
#include "nas_dense.h"
#include "nas_dense_expand.h"
#include "nas_dense_streams.h"
#include "nas_requantise.h"

#define WAITING 32U /* bytes that are gathered; small windows are gathered whole */

/* A pixel's window: its first row and column in the input, which may be negative, and how many columns lie before it and inside;
 * for taps that are gathered, where they go to when they are expanded, and how many wait. */
typedef struct {
    int32_t top, left, before, inside;
    uint32_t *to;
    uint32_t waiting;
    uint8_t bytes[WAITING + 4U];
} window;

static NAS_SMALL void fill(uint32_t *pairs, uint32_t count, uint32_t fours, uint32_t value)
{
    const uint32_t pair = (value | value << 16) << (count - 2U);
    for (; fours; fours--, pairs += 2U * count) {
        pairs[0] = pairs[count] = pair;
    }
}

/* One row of the kernel for two or three pixels. */
static NAS_SMALL void expand_row(const nas_dense *dense, const window *windows, uint32_t count, int32_t row)
{
    const nas_layer *layer = dense->layer;
    const uint32_t channels = layer->in_channels, zero = layer->in_zero;
    const int32_t kernel = layer->kernel;
    uint32_t *to = dense->pairs + (uint32_t)(row * kernel) * channels / 2U * count;
    for (uint32_t i = 0; i < count; i++, windows++) {
        const int32_t y = windows->top + row, some = y < 0 || y >= layer->in_height ? 0 : windows->inside;
        const int32_t first = some ? windows->before : kernel;
        const uint32_t before = (uint32_t)first * channels / 2U * count, taps = (uint32_t)some * channels;
        fill(to + i, count, (uint32_t)first * channels / 4U, zero);
        if (some) {
            const uint32_t element = (uint32_t)(y * layer->in_width + windows->left + first) * channels;
            nas_dense_expand_run(dense, to + i + before, count, element, taps, taps);
            fill(to + i + before + taps / 2U * count, count, (uint32_t)(kernel - first - some) * channels / 4U, zero);
        }
    }
}

static NAS_SMALL void settle(window *taps, uint32_t count)
{
    taps->to = nas_dense_expand_one(taps->to, count, taps->bytes, (taps->waiting + 3U) / 4U);
    taps->waiting = 0;
}

/* Elements from the input, or as often the value of the padding where `size`, the bytes of the input, is 0. */
static NAS_SMALL void append(const nas_dense *dense, window *taps, uint32_t count, uint32_t size, uint32_t element, uint32_t elements)
{
    while (elements) {
        const uint32_t room = WAITING - taps->waiting, some = elements < room ? elements : room;
        if (size) {
            nas_fetch(dense->input, size, element, some, dense->layer->in_bits, taps->bytes + taps->waiting);
        } else {
            memset(taps->bytes + taps->waiting, dense->layer->in_zero, some);
        }
        taps->waiting += some;
        element += some;
        elements -= some;
        if (taps->waiting == WAITING && dense->taps > WAITING) {
            settle(taps, count);
        }
    }
}

/* All taps of one of `count` pixels as bytes. */
static NAS_SMALL void gather(const nas_dense *dense, window *taps, uint32_t count)
{
    const nas_layer *layer = dense->layer;
    const uint32_t channels = layer->in_channels;
    const uint32_t size = nas_stream_bytes((uint32_t)layer->in_height * layer->in_width * channels, layer->in_bits);
    const int32_t kernel = layer->kernel;
    taps->waiting = 0;
    for (int32_t row = taps->top; row < taps->top + kernel; row++) {
        const int32_t some = row < 0 || row >= layer->in_height ? 0 : taps->inside, first = some ? taps->before : kernel;
        append(dense, taps, count, 0, 0, (uint32_t)first * channels);
        append(dense, taps, count, size, (uint32_t)(row * layer->in_width + taps->left + first) * channels, (uint32_t)some * channels);
        append(dense, taps, count, 0, 0, (uint32_t)(kernel - first - some) * channels);
    }
    nas_store_word(taps->bytes + taps->waiting, 0); /* fills up the last four */
}

/* The same of a small window that lies in an image of bytes. Rows are copied by words: behind each are bytes that the next one
 * covers, or weights of 0 meet. */
static NAS_SMALL void copy(const nas_dense *dense, const uint8_t *from, uint8_t *to)
{
    const uint32_t row = (uint32_t)dense->layer->kernel * dense->layer->in_channels;
    const uint32_t next = (uint32_t)dense->layer->in_width * dense->layer->in_channels;
    for (const uint8_t *last = to + dense->taps; to != last; from += next) {
        const uint8_t *read = from;
        uint8_t *written = to;
        to += row;
        do {
            nas_store_word(written, nas_word_at(read));
            written += 4;
            read += 4;
        } while (written < to);
    }
}

static NAS_SMALL void load(const nas_dense *dense, uint32_t pixel, uint32_t count)
{
    const nas_layer *layer = dense->layer;
    const uint32_t channels = layer->in_channels, apart = layer->stride * channels, bytes = layer->in_bits == 8U;
    const uint32_t small = dense->taps <= WAITING, fours = channels % (bytes ? 4U : 8U) == 0U;
    const int32_t kernel = layer->kernel, width = layer->in_width, height = layer->in_height;
    int32_t out_row = (int32_t)pixel / layer->out_width, out_column = (int32_t)pixel - out_row * layer->out_width, inside = 0;
    window windows[3];
    uint32_t i = 0;
    do {
        window *own = windows + i;
        own->to = dense->pairs + i;
        own->top = out_row * layer->stride - layer->pad_top;
        own->left = out_column * layer->stride - layer->pad_left;
        own->before = nas_clamp(-own->left, 0, kernel);
        own->inside = nas_clamp(width - own->left, own->before, kernel) - own->before;
        inside += own->inside;
        if (pixel + i + 1U < dense->pixels && ++out_column == layer->out_width) {
            out_column = 0;
            out_row++;
        }
    } while (++i < count);
    const int32_t top = windows[0].top, together = count == 3U && bytes && inside == 3 * kernel && top == windows[2].top;
    const uint8_t *from = dense->input + (top * width + windows[0].left) * (int32_t)channels; /* if all are inside */
    if (fours) {
        for (int32_t row = 0; row < kernel; row++, from += (uint32_t)width * channels) {
            if (together && top + row >= 0 && top + row < height) {
                const uint32_t some = (uint32_t)kernel * channels / 4U;
                nas_dense_expand_three(dense->pairs + (uint32_t)row * some * 6U, from, from + apart, from + 2U * apart, some);
            } else {
                expand_row(dense, windows, count, row);
            }
        }
        return;
    }
    for (i = 0; i < count; i++, from += apart) {
        if (together && small && top >= 0 && top + kernel < height) {
            copy(dense, from, windows[i].bytes);
        } else {
            gather(dense, windows + i, count);
        }
        if (!small) {
            settle(windows + i, count);
        }
    }
    if (small && count == 3U) {
        nas_dense_expand_three(dense->pairs, windows[0].bytes, windows[1].bytes, windows[2].bytes, dense->padded / 4U);
    } else if (small) {
        nas_dense_expand_two(dense->pairs, windows[0].bytes, windows[1].bytes, dense->padded / 4U);
    }
}

void nas_convolution_stream(const nas_layer *layer, uint8_t *arena)
{
    nas_dense dense;
    nas_dense_begin(&dense, layer, arena);
    nas_dense_stream(&dense, load);
}
