/* Depth-wise convolution in place, two output rows at a time: an input row is unpacked, and a channel's weights are prepared, half
 * as often or little more.
 *
 * For 8 bits at a stride of 1, where the output has the input's shape and place. Two rows then replace the same two rows of the
 * input, four channels at a time, so that only k / 2 rows above them must be kept from before, and as many for the next two rows:
 * k - 1 rows instead of the ring's k. Planes of k + 1 rows take the place of that row, where they fit.
 *
 * Scratch, in this order: kept rows, planes, weights.
 */
#include "nas_depthwise_twos.h"

#include "nas_depthwise.h"
#include "nas_depthwise_bytes.h"
#include "nas_depthwise_planes.h"
#include "nas_depthwise_streams.h"

NAS_RARE void nas_depthwise_quick(const nas_layer *layer, uint8_t *arena, nas_depthwise_multiply *quick)
{
    nas_depthwise_multiply *const multiply = (layer->flags & NAS_FAST_ROUNDING) != 0 && layer->stride <= 2U ? quick : nas_depthwise_plain;
    const uint32_t kernel = layer->kernel, half = kernel / 2U, width = layer->in_width, height = layer->in_height;
    const uint32_t size = width * layer->in_channels, pitch = width + width % 2U + 2U * half;
    if (layer->in_bits != 8U || layer->out_bits != 8U || layer->stride != 1U || layer->input != layer->output ||
        layer->in_channels % NAS_PLANES != 0U || height != layer->out_height || width != layer->out_width || layer->pad_top != half ||
        layer->pad_left != half || !nas_depthwise_expands_bytes(kernel) || size < 2U * NAS_PLANES * pitch) {
        nas_depthwise_rows(layer, arena, multiply);
        return;
    }
    uint8_t *const map = arena + layer->input;
    nas_depthwise_job job = {.layer = layer, .expand = nas_depthwise_expander(layer), .row_bits = 8U * size, .rows = kernel + 1U};
    job.plane = 2U * job.rows * pitch;
    job.ring = arena + layer->scratch;
    job.planes = job.ring + (kernel - 1U) * size;
    job.weights = (int8_t *)(job.planes + NAS_PLANES * job.plane);
    job.step = layer->in_channels;
    job.apart = 1U;
    job.count = width;
    job.wanted = width + kernel - 1U;
    job.begin = half;
    job.stop = half + width;
    job.pairs = job.stop / 2U - (half + 1U) / 2U;
    nas_depthwise_unpack(&job);
    for (uint32_t row = 0U; row < height; row += 2U) {
        uint8_t *const kept = job.ring + (row & 2U ? 0U : half * size), *const keep = job.ring + (row & 2U ? half * size : 0U);
        if (row + 2U < height) {
            nas_depthwise_copy(keep, map + (row + 2U - half) * size, half * size);
        }
        job.first = row == 0U ? half : 0U;
        job.past = height - row + half < job.rows ? height - row + half : job.rows;
        job.from = row == 0U ? map : kept;
        job.wrap = job.from + (row == 0U ? height : half) * size;
        job.back = map + row * size;
        job.below = row + 1U < height ? size : 0U;
        nas_depthwise_part(&job, map, row * size, multiply);
    }
}
