/* Runs networks that come as data: tables, weights and image of one after the other. The runtime is compiled once.
 *
 * A network is words: the count of those that follow; arena bytes, layers, stages, image bytes, bytes of a row of the image (0:
 * it is whole, at the offset that follows), its offset; for each layer its kernel, numbers, flags, counts of words of weights and
 * constants, those words, six numbers of its addition; for each stage its numbers; a CRC-32 for each layer; the image.
 */
#include "nas_rows.h"

#include "driver.h"

#include <string.h>

static void (*const kernels[])(const nas_layer *layer, uint8_t *arena) = {KERNELS};

typedef struct {
    uint32_t sums[MOST_LAYERS], rows[MOST_LAYERS];
    const nas_layer *layers;
    const uint8_t *image;
    uint32_t row_bytes, asked;
    uint8_t by_rows[MOST_LAYERS];
} state;

static uint32_t crc_step(uint32_t crc, uint32_t byte)
{
    crc ^= byte;
    for (unsigned i = 0; i < 8U; i++) {
        crc = (crc >> 1) ^ (0xEDB88320U & (0U - (crc & 1U)));
    }
    return crc;
}

static void note(unsigned step, unsigned row, const void *values, unsigned bytes, void *context)
{
    state *const all = (state *)context;
    const nas_layer *const layer = all->layers + step;
    const uint32_t bits = layer->out_bits, low = layer->out_zero != 0U ? 0U - layer->out_zero : (uint32_t)-128;
    const uint32_t elements = (uint32_t)layer->out_width * layer->out_channels, rows = all->by_rows[step] ? 1U : layer->out_height;
    uint32_t crc = row == 0U ? 0xFFFFFFFFU : all->sums[step], at = 0U;
    if (counts(step) != 0) {
        return;
    }
    if (bytes != (rows * elements * bits + 7U) / 8U || row != all->rows[step]) {
        crc = 0U;
    }
    for (uint32_t i = 0; i < rows * elements; i++) {
        uint32_t value = 0U;
        for (uint32_t bit = 0; bit < bits; bit++, at++) {
            value |= ((uint32_t)((const uint8_t *)values)[at >> 3] >> (at & 7U) & 1U) << bit;
        }
        crc = crc_step(crc, (value + low) & 0xFFU);
    }
    all->sums[step] = crc;
    all->rows[step] += rows;
}

static const uint8_t *image_row(void *context, unsigned row)
{
    state *const all = (state *)context;
    return row == all->asked++ ? take(all->image + row * all->row_bytes, all->row_bytes) : NULL;
}

/* Returns 0, or the number of the first layer that differs, counted from 1. */
unsigned run_network(const uint32_t *word)
{
    static nas_layer layers[MOST_LAYERS];
    static nas_rows stages[MOST_LAYERS];
    static state all;
    const uint32_t arena_bytes = word[0], count = word[1], stage_count = word[2], image_bytes = word[3];
    const uint32_t row_bytes = word[4], offset = word[5];
    uint8_t *const arena = arena_of(arena_bytes);
    memset(&all, 0, sizeof all);
    word += 6;
    for (nas_layer *layer = layers; layer != layers + count; layer++) {
        layer->run = kernels[*word++];
        layer->input = *word++;
        layer->output = *word++;
        layer->scratch = *word++;
        uint16_t *const shapes[] = {&layer->in_height, &layer->in_width, &layer->in_channels, &layer->out_height, &layer->out_width, &layer->out_channels};
        for (unsigned i = 0; i < 6U; i++) {
            *shapes[i] = (uint16_t)*word++;
        }
        uint8_t *const small[] = {&layer->kernel, &layer->stride, &layer->pad_top, &layer->pad_left, &layer->weight_bits, &layer->in_bits,
            &layer->out_bits, &layer->shortcut_bits, &layer->in_zero, &layer->out_zero, &layer->shortcut_zero, &layer->flags};
        for (unsigned i = 0; i < 12U; i++) {
            *small[i] = (uint8_t)*word++;
        }
        const uint32_t weights = *word++, constants = *word++;
        layer->weights = weights != 0U ? keep(word, weights) : NULL; /* a pool has none, which nas_rows_layer asks */
        layer->constants = (const int32_t *)keep(word + weights, constants);
        word += weights + constants;
        layer->addition = layer->shortcut_bits != 0U ? (const nas_addition *)(const void *)word : NULL;
        word += 6;
    }
    for (nas_rows *stage = stages; stage != stages + stage_count; stage++, word += 11) {
        stage->layers = layers + word[0];
        stage->source = word[1];
        stage->ring = word[2];
        stage->filtered = word[3];
        stage->scratch = word[4];
        stage->state = word[5];
        stage->weights = word[6];
        stage->waiting = (uint8_t)word[7];
        stage->slots = (uint8_t)word[8];
        stage->flags = (uint8_t)word[9];
        stage->layers_unpacked = (uint8_t)word[10];
        memset(all.by_rows + word[0], 1, NAS_ROWS_LAYERS(stage));
    }
    const uint32_t *const expected = word;
    all.layers = layers;
    all.image = (const uint8_t *)(word + count);
    all.row_bytes = row_bytes;
    if (row_bytes == 0U) {
        memcpy(arena + offset, all.image, image_bytes);
    }
    const nas_call call = {arena, layers, row_bytes != 0U ? image_row : NULL, &all, note, &all};
    const nas_rows *stage = stages;
    (void)counts(NO_STEP);
    for (const nas_layer *layer = layers; layer != layers + count;) {
        if (stage != stages + stage_count && stage->layers == layer) {
            nas_rows_unpack(stage, &call);
            stage = (stage->flags & NAS_ROWS_POOL) != 0 ? nas_rows_pool(stage, &call) : nas_rows_run(stage, &call);
            if (stage == NULL) {
                return count + 1U;
            }
            layer = stage[-1].layers + NAS_ROWS_LAYERS(stage - 1);
            continue;
        }
        nas_rows_layer(layer, &call);
        layer++;
    }
    for (uint32_t i = 0; i < count; i++) {
        if ((all.sums[i] ^ 0xFFFFFFFFU) != expected[i] || all.rows[i] != layers[i].out_height) {
            return i + 1U;
        }
    }
    return row_bytes != 0U && all.asked * row_bytes != image_bytes ? count + 2U : 0U;
}
