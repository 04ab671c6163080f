/* 1x1 convolution with 2-bit weights, multiplied as they stand in Flash: layout "words-w2". */
#include "nas_dense.h"
#include "nas_dense_pairs.h"

#if defined(NAS_ASSEMBLY)
NAS_PAIRS(nas_dense_pairs_w2,
    NAS_BEGIN NAS_START("0x00030003")
    NAS_MASKED("") NAS_MASKED(", lsr #2") NAS_MASKED(", lsr #4") NAS_MASKED(", lsr #6")
    NAS_MASKED(", lsr #8") NAS_MASKED(", lsr #10") NAS_MASKED(", lsr #12") NAS_MASKED(", lsr #14") NAS_AGAIN
    NAS_STOP NAS_TOTALS("7") NAS_RESULTS)
#else
void nas_dense_pairs_w2(nas_row *row)
{
    nas_dense_pairs(row, 2);
}
#endif

void nas_pointwise_w2(const nas_layer *layer, uint8_t *arena)
{
    nas_dense dense;
    nas_dense_begin(&dense, layer, arena);
    nas_dense_native(&dense, nas_dense_pairs_w2, 2);
}
