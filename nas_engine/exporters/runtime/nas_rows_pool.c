/* A head and the average pool of its whole output, from one row of that: sums of 32 bits, one for each channel. */
#include "nas_bits.h"
#include "nas_rows.h"

#include <string.h>

const nas_rows *nas_rows_pool(const nas_rows *head, const nas_call *call)
{
    const nas_layer *const layer = head->layers, *const pool = layer + 1;
    uint8_t *const arena = call->arena, *const values = arena + head->filtered, *const output = arena + pool->output;
    int32_t *const sums = (int32_t *)(void *)(arena + head->state);
    const uint32_t channels = pool->in_channels, bits = pool->in_bits, elements = channels * pool->in_width;
    const int32_t low = pool->in_zero == 0U ? -128 : -(int32_t)(1U << (bits - 1U)); /* the value that is stored as 0 */
    const int32_t count = (int32_t)((uint32_t)pool->in_height * pool->in_width), half = count / 2;
    nas_layer one = nas_rows_record(head, layer, arena);
    one.in_height = one.out_height = 1;
    one.input = head->source;
    one.output = head->filtered;
    memset(sums, 0, 4U * channels);
    for (uint32_t row = 0U; row < pool->in_height; row++) {
        one.run(&one, arena);
        nas_tell(call, layer, row, 1U, values);
        one.input += (uint32_t)layer->in_width * layer->in_channels * layer->in_bits / 8U;
        for (uint32_t i = 0U, c = 0U; i < elements; i++) {
            sums[c] += (int32_t)(bits == 8U ? values[i] : nas_get(values, i, bits));
            c = c + 1U == channels ? 0U : c + 1U;
        }
    }
    for (uint32_t c = 0U; c < channels; c++) {
        const int32_t total = sums[c] + count * low;
        nas_put(output, c, bits, (uint32_t)((total > 0 ? total + half : total - half) / count - low));
    }
    nas_tell(call, pool, 0U, 1U, output);
    return head + 1;
}
