/* A head and the average pool of its whole output, from one row of that: sums, a word for each channel. */
#include "nas_pool.h"
#include "nas_rows.h"

NAS_RARE const nas_rows *nas_rows_pool(const nas_rows *head, const nas_call *call)
{
    const nas_layer *const layer = head->layers, *const last = layer + 1;
    uint8_t *const arena = call->arena, *const values = arena + head->filtered, *const output = arena + last->output;
    nas_layer one = nas_rows_record(head, layer, arena);
    one.in_height = one.out_height = 1;
    one.input = head->source;
    one.output = head->filtered;
    nas_pool pool;
    nas_pool_begin(&pool, last, (uint32_t)last->in_height * last->in_width);
    pool.runs = 1U;
    pool.size = last->in_width * pool.channels;
    pool.apart = 0U;
    pool.sums = (uint32_t *)(void *)(arena + head->state);
    pool.step = 16U;
    memset(pool.sums, 0, 4U * pool.channels);
    for (uint32_t row = 0U; row < last->in_height; row++) {
        one.run(&one, arena);
        nas_tell(call, layer, row, 1U, values);
        one.input += (uint32_t)layer->in_width * layer->in_channels * layer->in_bits / 8U;
        pool.more = row + 1U < last->in_height;
        nas_pool_part(&pool, values, 0U, output, 0U);
    }
    nas_tell(call, last, 0U, 1U, output);
    return head + 1;
}
