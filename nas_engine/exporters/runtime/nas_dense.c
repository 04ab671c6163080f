/* From the layer to the record, and from the first pixel to the last. */
#include "nas_dense.h"

#include "nas_dense_add.h"
#include "nas_dense_expand.h"
#include "nas_dense_one.h"
#include "nas_dense_output.h"
#include "nas_dense_row.h"
#include "nas_dense_streams.h"
#include "nas_dense_three.h"
#include "nas_dense_tile.h"

/* Divide the scratch: pairs of two pixels beside a tile of at most 16 channels; or of three pixels and as many channels as then fit,
 * twice, four or eight times as many where the flags say that there is room. nas_engine.costs.memory has the same numbers. */
static void divide(nas_dense *dense, uint8_t *scratch)
{
    const nas_layer *layer = dense->layer;
    const uint32_t padded = dense->padded, even = (dense->channels + 1U) & ~1U, windows = layer->kernel > 1U;
    const uint32_t few = even < NAS_CHANNELS_AT_ONCE ? even : NAS_CHANNELS_AT_ONCE, least = padded * (few + (windows ? 6U : 4U));
    const uint32_t in_flash = layer->weight_bits == NAS_TILE_BITS || (layer->weight_bits == 8U && ((dense->taps & 3U) | (dense->channels & 1U)) == 0U);
    const uint32_t each = in_flash ? 0U : padded, constants = (uint32_t)sizeof(nas_three) / 2U;
    const uint32_t together = 8U / (dense->slot_bits & (0U - dense->slot_bits)); /* results that are whole bytes */
    uint32_t beside = windows || in_flash ? few : few - 2U, end = least, spread = 0;
    if (in_flash && (least - 6U * padded) / constants > few) {
        beside = (least - 6U * padded) / constants & ~1U;
    }
    dense->in_flash = in_flash;
    dense->three = beside && (layer->flags & NAS_FAST_ROUNDING);
    dense->at_once = few;
    if (dense->three) {
        beside <<= (layer->flags & (NAS_TWICE_THE_TILE | NAS_FOUR_TIMES_THE_TILE)) / NAS_TWICE_THE_TILE;
        dense->at_once = beside < even ? beside : even;
        if (dense->at_once < even && dense->at_once >= 4U * (dense->at_once % together)) { /* else pixels would be expanded too often */
            dense->at_once -= dense->at_once % together;
        }
        spread = dense->at_once > NAS_CHANNELS_AT_ONCE ? dense->at_once * constants : 0U;
        end = 6U * padded + spread + dense->at_once * each;
    }
    dense->pairs = (uint32_t *)(void *)scratch;
    dense->constants = spread ? (nas_three *)(void *)(scratch + 6U * padded) : NULL;
    dense->tile = (uint32_t *)(void *)(scratch + (dense->three ? 6U : 4U) * padded + spread);
    dense->row = scratch + (end > least ? end : least);
}

void nas_dense_begin(nas_dense *dense, const nas_layer *layer, uint8_t *arena)
{
    const uint32_t taps = (uint32_t)layer->kernel * layer->kernel * layer->in_channels;
    const uint32_t shortcut = layer->flags & (uint32_t)NAS_ADD_SHORTCUT;
    dense->layer = layer;
    dense->input = arena + layer->input;
    dense->output = arena + layer->output;
    dense->taps = taps;
    dense->padded = (taps + 3U) & ~3U;
    dense->pixels = (uint32_t)layer->out_height * layer->out_width;
    dense->channels = layer->out_channels;
    dense->slot_bits = shortcut && layer->shortcut_bits > layer->out_bits ? layer->shortcut_bits : layer->out_bits;
    dense->zero = shortcut ? 128U : layer->out_zero; /* a result that meets a shortcut is a signed byte: stored + 128 */
    dense->direct = !shortcut && layer->out_bits == 8U && layer->out_channels % 2U == 0U;
    dense->bit = 0;
    dense->carried = 0;
    dense->start[0] = dense->start[1] = 0;
    divide(dense, arena + layer->scratch);
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

/* Results of one or two pixels that are loaded for `count` channels; a few at once where they wait in dense->bytes. A channel
 * has `words` words of weights. */
static void rows(nas_dense *dense, void (*pairs)(nas_row *row), const uint32_t *weights, uint32_t words, uint32_t pixel, uint32_t pixels,
    uint32_t channel, uint32_t count)
{
    const uint32_t at_once = dense->direct ? count : NAS_RESULTS_AT_ONCE;
    for (uint32_t done = 0; done < count; done += at_once) {
        const uint32_t left = count - done, some = left < at_once ? left : at_once;
        nas_dense_row(dense, pairs, weights + done * words, pixel, channel + done, some);
        if (!dense->direct) {
            nas_dense_finish(dense, pixel, pixels, channel + done, some);
        }
    }
}

void nas_dense_native(nas_dense *dense, void (*pairs)(nas_row *row), uint32_t bits)
{
    dense->carried = 8U - bits;
    for (uint32_t pixel = 0; pixel < dense->pixels; pixel += 2U) {
        nas_dense_expand(dense, pixel, 2);
        nas_dense_offset(dense, bits - 1U);
        rows(dense, pairs, dense->layer->weights, dense->padded * bits / 32U, pixel, 2, 0, dense->channels);
    }
    nas_dense_end(dense);
}

NAS_RARE void nas_dense_stream(nas_dense *dense, nas_dense_load *load)
{
    const uint32_t threes = dense->three ? dense->pixels - dense->pixels % 3U : 0U;
    const uint32_t quick = dense->layer->flags & (uint32_t)NAS_FAST_ROUNDING;
    const uint32_t at_once = threes || !dense->in_flash ? dense->at_once : dense->channels; /* else scratch holds nothing of channels */
    nas_three few[NAS_CHANNELS_AT_ONCE / 2U];
    if (!dense->constants) {
        dense->constants = few;
    }
    for (uint32_t channel = 0; channel < dense->channels; channel += at_once) {
        const uint32_t left = dense->channels - channel, count = left < at_once ? left : at_once;
        const uint32_t *weights = nas_dense_unpack(dense, count);
        if (threes) {
            nas_dense_spread(dense, channel, count);
            nas_dense_run_of_threes(dense, load, weights, threes, channel, count);
        }
        for (uint32_t pixel = threes, pixels; pixel < dense->pixels; pixel += pixels) {
            pixels = quick && pixel + 1U == dense->pixels ? 1U : 2U;
            load(dense, pixel, pixels);
            rows(dense, pixels == 1U ? nas_dense_one : nas_dense_pairs_w8, weights, dense->padded / 4U, pixel, pixels, channel, count);
        }
    }
    nas_dense_end(dense);
}
