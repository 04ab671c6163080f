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
    const uint32_t pair = (value | value << 16) << nas_dense_doubled(count);
    for (; fours; fours--, pairs += 2U * count) {
        pairs[0] = pairs[count] = pair;
    }
}

/* Whether elements of a place begin at whole bytes and are expanded by fours or eights. */
NAS_INLINE int in_fours(const nas_layer *layer)
{
    return layer->in_channels % (layer->in_bits == 8U ? 4U : 8U) == 0U;
}

/* All taps of one of `count` pixels from where they lie. */
static NAS_RARE void expand(const nas_dense *dense, const window *taps, uint32_t number, uint32_t count)
{
    const nas_layer *layer = dense->layer;
    const uint32_t channels = layer->in_channels, pair = channels / 2U * count;
    const int32_t kernel = layer->kernel;
    uint32_t *to = dense->pairs + number;
    for (int32_t row = taps->top; row < taps->top + kernel; row++, to += (uint32_t)kernel * pair) {
        const int32_t some = row < 0 || row >= layer->in_height ? 0 : taps->inside, first = some ? taps->before : kernel;
        fill(to, count, (uint32_t)first * channels / 4U, layer->in_zero);
        if (some) {
            const uint32_t element = (uint32_t)(row * layer->in_width + taps->left + first) * channels, elements = (uint32_t)some * channels;
            nas_dense_expand_run(dense, to + (uint32_t)first * pair, count, element, elements, elements);
            fill(to + (uint32_t)(first + some) * pair, count, (uint32_t)(kernel - first - some) * channels / 4U, layer->in_zero);
        }
    }
}

static NAS_RARE void settle(window *taps, uint32_t count)
{
    taps->to = nas_dense_expand_one(taps->to, count, taps->bytes, (taps->waiting + 3U) / 4U);
    taps->waiting = 0;
}

/* Elements from the input, or as often the value of the padding where `size`, the bytes of the input, is 0. */
static NAS_RARE void append(const nas_dense *dense, window *taps, uint32_t count, uint32_t size, uint32_t element, uint32_t elements)
{
    while (elements) {
        const uint32_t room = WAITING - taps->waiting, some = elements < room ? elements : room;
        uint8_t *to = taps->bytes + taps->waiting;
        if (size && dense->layer->in_bits == 8U) {
            memcpy(to, dense->input + element, some);
        } else if (size) {
            nas_fetch(dense->input, size, element, some, dense->layer->in_bits, to);
        } else {
            memset(to, dense->layer->in_zero, some);
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
static NAS_RARE void gather(const nas_dense *dense, window *taps, uint32_t count)
{
    const nas_layer *layer = dense->layer;
    const uint32_t channels = layer->in_channels;
    const uint32_t size = nas_readable(dense->input, (uint32_t)layer->in_height * layer->in_width * channels, layer->in_bits);
    const int32_t kernel = layer->kernel;
    taps->waiting = 0;
    for (int32_t row = taps->top; row < taps->top + kernel; row++) {
        const int32_t some = row < 0 || row >= layer->in_height ? 0 : taps->inside, first = some ? taps->before : kernel;
        if (first) {
            append(dense, taps, count, 0, 0, (uint32_t)first * channels);
        }
        if (some) {
            append(dense, taps, count, size, (uint32_t)(row * layer->in_width + taps->left + first) * channels, (uint32_t)some * channels);
        }
        if (first + some < kernel) {
            append(dense, taps, count, 0, 0, (uint32_t)(kernel - first - some) * channels);
        }
    }
    nas_store_word(taps->bytes + taps->waiting, 0); /* fills up the last four */
}

/* One to three pixels from a row and column of the output on, whose windows may reach beyond the input. */
static NAS_RARE void load_any(const nas_dense *dense, uint32_t pixel, uint32_t count, int32_t row, int32_t column)
{
    const nas_layer *layer = dense->layer;
    const int32_t kernel = layer->kernel;
    const uint32_t small = dense->taps <= WAITING;
    window windows[3];
    for (uint32_t i = 0; i < count; i++) {
        window *own = windows + i;
        own->to = dense->pairs + i;
        own->top = row * layer->stride - layer->pad_top;
        own->left = column * layer->stride - layer->pad_left;
        own->before = nas_clamp(-own->left, 0, kernel);
        own->inside = nas_clamp(layer->in_width - own->left, own->before, kernel) - own->before;
        if (pixel + i + 1U < dense->pixels && ++column == layer->out_width) {
            column = 0;
            row++;
        }
        if (in_fours(layer)) {
            expand(dense, own, i, count);
        } else {
            gather(dense, own, count);
        }
        if (!in_fours(layer) && !small) {
            settle(own, count);
        }
    }
    for (uint32_t i = 0; i < count && small && !in_fours(layer); i++) {
        nas_dense_expand_one(dense->pairs + i, count, windows[i].bytes, dense->padded / 4U);
    }
}

/* Four taps of one of three pixels, doubled. */
NAS_INLINE uint32_t *put(uint32_t *to, uint32_t word)
{
    to[0] = (word << 1) & 0x01FE01FEU;
    to[3] = (word >> 7) & 0x01FE01FEU;
    return to + 6;
}

/* A 3x3 window of one or three channels of bytes, as networks begin with: the bytes of a row are no fours. */
static NAS_SMALL void expand_image(uint32_t *to, const uint8_t *from, uint32_t next, uint32_t channels)
{
    const uint8_t *second = from + next, *third = second + next;
    if (channels == 1U) {
        to = put(to, nas_half_at(from) | nas_half_at(from + 1) >> 8 << 16 | (uint32_t)second[0] << 24);
        to = put(to, nas_half_at(second + 1) | nas_half_at(third) << 16);
        put(to, third[2]);
        return;
    }
    to = put(to, nas_word_at(from));
    to = put(to, nas_word_at(from + 4));
    to = put(to, from[8] | nas_word_at(second) << 8);
    to = put(to, nas_word_at(second + 3));
    to = put(to, nas_half_at(second + 7) | nas_half_at(third) << 16);
    to = put(to, nas_word_at(third + 2));
    put(to, nas_word_at(third + 5) >> 8);
}

static NAS_SMALL void load(const nas_dense *dense, uint32_t pixel, uint32_t count)
{
    const nas_layer *layer = dense->layer;
    const int32_t kernel = layer->kernel, stride = layer->stride, width = layer->in_width, out_width = layer->out_width;
    const int32_t out_row = (int32_t)pixel / out_width, out_column = (int32_t)pixel - out_row * out_width;
    const int32_t top = out_row * stride - layer->pad_top, left = out_column * stride - layer->pad_left;
    const uint32_t channels = layer->in_channels, row = (uint32_t)kernel * channels, next = (uint32_t)width * channels;
    const uint32_t apart = (uint32_t)stride * channels;
    const int image = kernel == 3 && (channels == 3U || channels == 1U);
    if (count != 3U || layer->in_bits != 8U || !(image || in_fours(layer)) || out_column + 3 > out_width || left < 0 ||
        left + 2 * stride + kernel > width || top < 0 || top + kernel > layer->in_height) { /* not three windows side by side */
        load_any(dense, pixel, count, out_row, out_column);
        return;
    }
    const uint8_t *from = dense->input + (uint32_t)(top * width + left) * channels;
    for (uint32_t i = 0; i < 3U && image; i++) {
        expand_image(dense->pairs + i, from + i * apart, next, channels);
    }
    uint32_t *to = dense->pairs;
    for (int32_t i = 0; i < kernel && !image; i++, from += next, to += 3U * row / 2U) {
        nas_dense_expand_three(to, from, from + apart, from + 2U * apart, row / 4U);
    }
}

void nas_convolution_stream(const nas_layer *layer, uint8_t *arena)
{
    nas_dense dense;
    nas_dense_begin(&dense, layer, arena);
    nas_dense_stream(&dense, load);
}
