/* 1x1 convolution with 8-bit weights, multiplied as they stand in Flash: layout "words-w8". */
#include "nas_dense.h"
#include "nas_dense_row.h"

void nas_pointwise_w8(const nas_layer *layer, uint8_t *arena)
{
    nas_dense dense;
    nas_dense_begin(&dense, layer, arena);
    nas_dense_native(&dense, nas_dense_pairs_w8, 8);
}
