/* 1x1 convolution or dense layer with weights of any width, unpacked by tiles of output channels: layout "stream-pairs". */
#include "nas_dense.h"
#include "nas_dense_expand.h"

void nas_pointwise_stream(const nas_layer *layer, uint8_t *arena)
{
    nas_dense dense;
    nas_dense_begin(&dense, layer, arena);
    nas_dense_stream(&dense, nas_dense_expand);
}
