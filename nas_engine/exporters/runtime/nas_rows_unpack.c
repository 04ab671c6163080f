/* Weights of units by rows to bytes, once per segment instead of once per row. */
#include "nas_dense_tile.h"
#include "nas_rows.h"

NAS_RARE void nas_rows_unpack(const nas_rows *first, const nas_call *call)
{
    const nas_rows *stage = first;
    do {
        for (uint32_t i = 0U; i < NAS_ROWS_LAYERS(stage); i++) {
            const nas_layer *const layer = stage->layers + i;
            if (NAS_ROWS_UNPACKED(stage, i)) {
                nas_dense dense;
                memset(&dense, 0, sizeof dense);
                dense.layer = layer;
                dense.taps = (uint32_t)layer->kernel * layer->kernel * layer->in_channels;
                dense.padded = (dense.taps + 3U) & ~3U;
                dense.channels = layer->out_channels;
                dense.tile = (uint32_t *)(void *)(call->arena + nas_rows_weights(stage, i));
                (void)nas_dense_unpack(&dense, dense.channels);
            }
        }
    } while ((stage++->flags & NAS_ROWS_LAST) == 0);
}
