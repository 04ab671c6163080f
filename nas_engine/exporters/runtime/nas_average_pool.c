/* Average pool: the mean of the values in a window as they stand.
 *
 * May work in place, output and input at the same address, where windows do not overlap (kernel <= stride) or the output is
 * one pixel. Results are written one by one, or eight by eight, in order; a result is never behind the first element of its own
 * channel's window, and everything still to be read lies behind that: the later channels of the window, and the later windows.
 */
#include "nas_pool.h"

NAS_RARE void nas_average_pool(const nas_layer *layer, uint8_t *arena)
{
    const int32_t height = layer->in_height, width = layer->in_width;
    const uint32_t channels = layer->in_channels;
    uint32_t index = 0U, zeros[4] = {0};
    nas_pool pool;
    pool.more = 0U;
    pool.sums = zeros;
    pool.step = 0U;
    for (int32_t y = 0; y < layer->out_height; y++) {
        const int32_t over = y * layer->stride - layer->pad_top, under = over + layer->kernel;
        const int32_t top = over < 0 ? 0 : over, bottom = under > height ? height : under;
        for (int32_t x = 0; x < layer->out_width; x++, index += channels) {
            const int32_t before = x * layer->stride - layer->pad_left, behind = before + layer->kernel;
            const int32_t left = before < 0 ? 0 : before, right = behind > width ? width : behind;
            const uint32_t rows = (uint32_t)(bottom - top), columns = (uint32_t)(right - left);
            pool.runs = right - left == width ? 1U : rows;
            pool.size = (right - left == width ? rows : 1U) * columns * channels;
            pool.apart = ((uint32_t)width - columns) * channels;
            nas_pool_begin(&pool, layer, rows * columns);
            nas_pool_part(&pool, arena + layer->input, (uint32_t)(top * width + left) * channels, arena + layer->output, index);
        }
    }
}
