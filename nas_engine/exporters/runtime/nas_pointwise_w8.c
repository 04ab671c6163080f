/* 1x1 convolution with 8-bit weights, multiplied as they stand in Flash: layout "words-w8", which is a tile. */
#include "nas_dense.h"
#include "nas_dense_expand.h"

void nas_pointwise_w8(const nas_layer *layer, uint8_t *arena)
{
    nas_dense dense;
    nas_dense_begin(&dense, layer, arena);
    nas_dense_stream(&dense, nas_dense_expand);
}
