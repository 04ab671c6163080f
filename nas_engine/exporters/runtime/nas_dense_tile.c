/* A stream of weights of any width to a tile. */
#include "nas_dense_tile.h"

#include "nas_dense_streams.h"

/* `count` weights, 1 to 4, from the stream of `size` bytes, shifted to the left to 8 bits each; absent ones are 0. */
static NAS_SMALL uint32_t few_weights(const uint8_t *stream, uint32_t size, uint32_t bit, uint32_t count, uint32_t bits)
{
    const uint32_t at = bit >> 3, shift = bit & 7U;
    uint32_t word = 0;
    if (at + 4U <= size && shift + 4U * bits <= 32U) {
        word = nas_spread(nas_word_at(stream + at) >> shift, bits);
    } else {
        nas_fetch(stream, size, bit / bits, count, bits, (uint8_t *)&word);
        word <<= 8U - bits;
    }
    return word & (0xFFFFFFFFU >> (32U - 8U * count));
}

/* Groups of eight weights that begin at a whole byte: `bits` bytes to two words. */
static NAS_SMALL void unpack_eights(const uint8_t *from, uint32_t count, uint32_t bits, uint32_t *to)
{
    const uint32_t second = bits >> 1, shift = (4U * bits) & 7U;
    for (; bits == 8U && count; count--, to += 2, from += 8) {
        to[0] = nas_word_at(from);
        to[1] = nas_word_at(from + 4);
    }
    for (const uint32_t *end = to + 2U * count; to != end; to += 2, from += bits) {
        const uint32_t a = nas_word_at(from), b = nas_word_at(from + second) >> shift;
        to[0] = nas_spread(a, bits);
        to[1] = nas_spread(b, bits);
    }
}

/* The stream holds, for each two channels, four taps of the one, four of the other, and so on; a last channel stands alone. */
const uint32_t *nas_dense_unpack(nas_dense *dense, uint32_t count)
{
    const nas_layer *layer = dense->layer;
    const uint8_t *stream = (const uint8_t *)layer->weights;
    const uint32_t bits = layer->weight_bits, taps = dense->taps, fours = taps / 4U;
    const uint32_t size = nas_stream_bytes(taps * dense->channels, bits), last = size - 4U - (bits >> 1); /* byte where eight may begin, or < 0 */
    uint32_t bit = dense->bit, *to = dense->tile;
    if (dense->in_flash) {
        dense->bit += count * dense->padded * 8U;
        return layer->weights + bit / 32U; /* a tile already */
    }
    for (; count; count -= count > 1U ? 2U : 1U) {
        uint32_t four = 0;
        if (count > 1U && (bit & 7U) == 0U && (int32_t)(bit >> 3) <= (int32_t)last) {
            four = (last - (bit >> 3)) / bits + 1U;
            four = four < fours ? four : fours;
            unpack_eights(stream + (bit >> 3), four, bits, to);
            bit += 8U * four * bits;
            to += 2U * four;
        }
        for (; four * 4U < dense->padded; four++) {
            const uint32_t rest = taps - 4U * four < 4U ? taps - 4U * four : 4U;
            *to++ = few_weights(stream, size, bit, rest, bits);
            bit += rest * bits;
            *to++ = count > 1U ? few_weights(stream, size, bit, rest, bits) : 0U;
            bit += count > 1U ? rest * bits : 0U;
        }
    }
    dense->bit = bit;
    return dense->tile;
}
