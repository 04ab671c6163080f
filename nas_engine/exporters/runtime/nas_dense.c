/* From the layer to the record, and from the first pixel to the last. */
#include "nas_dense.h"

#include "nas_dense_add.h"
#include "nas_dense_expand.h"
#include "nas_dense_output.h"
#include "nas_dense_row.h"
#include "nas_dense_streams.h"
#include "nas_dense_tile.h"

void nas_dense_begin(nas_dense *dense, const nas_layer *layer, uint8_t *arena)
{
    const uint32_t taps = (uint32_t)layer->kernel * layer->kernel * layer->in_channels, padded = (taps + 3U) & ~3U;
    const uint32_t even = (layer->out_channels + 1U) & ~1U, at_once = even < NAS_CHANNELS_AT_ONCE ? even : NAS_CHANNELS_AT_ONCE;
    const uint32_t shortcut = layer->flags & (uint32_t)NAS_ADD_SHORTCUT;
    dense->layer = layer;
    dense->input = arena + layer->input;
    dense->output = arena + layer->output;
    dense->pairs = (uint32_t *)(void *)(arena + layer->scratch);
    dense->tile = dense->pairs + padded;
    dense->gathered = arena + layer->scratch + padded * (4U + at_once);
    dense->taps = taps;
    dense->padded = padded;
    dense->pixels = (uint32_t)layer->out_height * layer->out_width;
    dense->channels = layer->out_channels;
    dense->slot_bits = shortcut && layer->shortcut_bits > layer->out_bits ? layer->shortcut_bits : layer->out_bits;
    dense->zero = shortcut ? 128U : layer->out_zero; /* a result that meets a shortcut is a signed byte: stored + 128 */
    dense->direct = !shortcut && layer->out_bits == 8U && layer->out_channels % 2U == 0U;
    dense->bit = 0;
    dense->carried = 0;
    dense->start[0] = dense->start[1] = 0;
    if (shortcut && layer->shortcut_bits < layer->out_bits) {
        nas_change_width(dense->output, dense->pixels * dense->channels, layer->shortcut_bits, layer->out_bits);
    }
    if (layer->flags & NAS_QUICK_ADDITION) {
        nas_dense_add_begin(dense);
    }
}

void nas_dense_end(const nas_dense *dense)
{
    if (dense->slot_bits > dense->layer->out_bits) {
        nas_change_width(dense->output, dense->pixels * dense->channels, dense->slot_bits, dense->layer->out_bits);
    }
}

void nas_dense_native(nas_dense *dense, void (*pairs)(nas_row *row), uint32_t bits)
{
    const uint32_t pair_words = dense->padded * bits / 16U, at_once = dense->direct ? dense->channels : NAS_CHANNELS_AT_ONCE;
    dense->carried = 8U - bits;
    for (uint32_t pixel = 0; pixel < dense->pixels; pixel += 2U) {
        nas_dense_expand(dense, pixel);
        if (bits != 8U) {
            nas_dense_offset(dense, bits - 1U);
        }
        for (uint32_t channel = 0; channel < dense->channels; channel += at_once) {
            const uint32_t left = dense->channels - channel, count = left < at_once ? left : at_once;
            nas_dense_row(dense, pairs, dense->layer->weights + channel / 2U * pair_words, pixel, channel, count);
            if (!dense->direct) {
                nas_dense_finish(dense, pixel, channel, count);
            }
        }
    }
    nas_dense_end(dense);
}

void nas_dense_stream(nas_dense *dense, void (*load)(const nas_dense *dense, uint32_t pixel))
{
    for (uint32_t channel = 0; channel < dense->channels; channel += NAS_CHANNELS_AT_ONCE) {
        const uint32_t left = dense->channels - channel, count = left < NAS_CHANNELS_AT_ONCE ? left : NAS_CHANNELS_AT_ONCE;
        const uint32_t *weights = nas_dense_unpack(dense, count);
        for (uint32_t pixel = 0; pixel < dense->pixels; pixel += 2U) {
            load(dense, pixel);
            nas_dense_row(dense, nas_dense_pairs_w8, weights, pixel, channel, count);
            if (!dense->direct) {
                nas_dense_finish(dense, pixel, channel, count);
            }
        }
    }
    nas_dense_end(dense);
}
