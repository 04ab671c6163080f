/* 1x1 layer over its own input, row by row, any widths: layout "stream-pairs".
 *
 * A row of the output is made in scratch and then copied to its place, over rows that no later one needs; NAS_BACKWARD: the
 * last row first. Rows of elements that do not begin at whole bytes are made all at once instead.
 */
#include "nas_dense.h"
#include "nas_dense_expand.h"

NAS_RARE void nas_pointwise_rows(const nas_layer *layer, uint8_t *arena)
{
    const uint32_t in_bits = (uint32_t)layer->in_width * layer->in_channels * layer->in_bits;
    const uint32_t out_bits = (uint32_t)layer->out_width * layer->out_channels * layer->out_bits;
    const uint32_t height = layer->out_height;
    uint32_t size = nas_stream_bytes(height * layer->out_width * layer->out_channels, layer->out_bits);
    nas_layer part = *layer;
    if (((in_bits | out_bits) & 7U) == 0U) {
        size = out_bits / 8U;
        part.in_height = part.out_height = 1;
    }
    for (uint32_t done = 0; done < height; done += part.out_height) {
        const uint32_t row = layer->flags & NAS_BACKWARD ? height - 1U - done : done;
        nas_dense dense;
        nas_dense_begin(&dense, &part, arena);
        dense.input += row * layer->stride * in_bits / 8U;
        dense.output = dense.row;
        nas_dense_stream(&dense, nas_dense_expand);
        memcpy(arena + layer->output + row * out_bits / 8U, dense.output, size);
    }
}
