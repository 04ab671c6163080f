/* Pixels of any width to pairs, and their sums. */
#include "nas_dense_expand.h"

#include "nas_bits.h"

/* Two pixels of bytes. */
static NAS_SMALL void expand_bytes(uint32_t *pairs, const uint8_t *first, const uint8_t *second, uint32_t fours)
{
    for (; fours; fours--, first += 4, second += 4, pairs += 4) {
        const uint32_t a = nas_word_at(first), b = nas_word_at(second);
        pairs[0] = nas_even_bytes(a);
        pairs[1] = nas_even_bytes(b);
        pairs[2] = nas_odd_bytes(a);
        pairs[3] = nas_odd_bytes(b);
    }
}

/* Two pixels of nibbles that begin at whole bytes. */
static NAS_SMALL void expand_nibbles(uint32_t *pairs, const uint8_t *first, const uint8_t *second, uint32_t fours)
{
    for (; fours; fours--, first += 2, second += 2, pairs += 4) {
        const uint32_t low = nas_half_at(first), high = nas_half_at(second), a = low | low << 8, b = high | high << 8;
        pairs[0] = a & 0x000F000FU;
        pairs[1] = b & 0x000F000FU;
        pairs[2] = (a >> 4) & 0x000F000FU;
        pairs[3] = (b >> 4) & 0x000F000FU;
    }
}

/* Two pixels of any width: the two lower elements of a four to the lower half, the others to the upper half, and mask. */
static NAS_SMALL void expand_bits(uint32_t *pairs, const uint8_t *base, uint32_t first, uint32_t second, uint32_t fours, uint32_t bits)
{
    const uint32_t up = 16U - 2U * bits, one = (1U << bits) - 1U, mask = one | one << 16;
    const uint32_t *end = pairs + 4U * fours;
    for (; pairs != end; pairs += 4) {
        uint32_t a = nas_word_at(base + (first >> 3)) >> (first & 7U);
        uint32_t b = nas_word_at(base + (second >> 3)) >> (second & 7U);
        first += 4U * bits;
        second += 4U * bits;
        a = (a & 0xFFFFU) | ((a << up) & 0xFFFF0000U);
        b = (b & 0xFFFFU) | ((b << up) & 0xFFFF0000U);
        pairs[0] = a & mask;
        pairs[1] = b & mask;
        pairs[2] = (a >> bits) & mask;
        pairs[3] = (b >> bits) & mask;
    }
}

/* Element of the input that is the first tap of a pixel of a 1x1 layer. */
static uint32_t first_element(const nas_layer *layer, uint32_t pixel)
{
    if (layer->stride != 1U) {
        const uint32_t y = pixel / layer->out_width, x = pixel - y * layer->out_width;
        pixel = (y * layer->in_width + x) * layer->stride;
    }
    return pixel * layer->in_channels;
}

void nas_dense_expand(const nas_dense *dense, uint32_t pixel)
{
    const nas_layer *layer = dense->layer;
    const uint32_t bits = layer->in_bits, fours = dense->padded / 4U;
    const uint32_t elements = (uint32_t)layer->in_height * layer->in_width * layer->in_channels;
    const uint32_t first = first_element(layer, pixel);
    const uint32_t second = pixel + 1U < dense->pixels ? first_element(layer, pixel + 1U) : first;
    /* A four is read as a word, which may reach beyond the tensor at its end, or be too short where pixels start anywhere. */
    const uint32_t last = (nas_stream_bytes(elements, bits) - 4U) * 8U + 7U; /* last bit at which a word may begin */
    uint32_t whole = fours;
    if (bits == 7U && ((first | second) & 3U) != 0U) {
        whole = 0;
    } else if ((second + dense->padded - 4U) * bits > last) {
        whole = second * bits > last ? 0U : (last - second * bits) / (4U * bits) + 1U;
    }
    if (bits == 8U) {
        expand_bytes(dense->pairs, dense->input + first, dense->input + second, whole);
    } else if (bits == 4U && ((first | second) & 1U) == 0U) {
        expand_nibbles(dense->pairs, dense->input + first / 2U, dense->input + second / 2U, whole);
    } else {
        expand_bits(dense->pairs, dense->input, first * bits, second * bits, whole, bits);
    }
    for (uint32_t tap = 4U * whole; tap < dense->padded; tap++) {
        /* Element by element; taps that only fill up meet weights of 0. */
        uint32_t *pair = dense->pairs + (tap & ~3U) + 2U * (tap & 1U);
        const uint32_t half = 8U * (tap & 2U), kept = half ? 0xFFFFU : 0U;
        const int real = tap < dense->taps;
        pair[0] = (pair[0] & kept) | (real ? nas_get(dense->input, first + tap, bits) : 0U) << half;
        pair[1] = (pair[1] & kept) | (real ? nas_get(dense->input, second + tap, bits) : 0U) << half;
    }
}

void nas_dense_expand_gathered(const nas_dense *dense)
{
    expand_bytes(dense->pairs, dense->gathered, dense->gathered + dense->padded, dense->padded / 4U);
}

void nas_dense_offset(nas_dense *dense, uint32_t shift)
{
    const uint32_t *pairs = dense->pairs, *end = pairs + dense->padded;
    uint32_t first = 0, second = 0;
    for (; pairs != end; pairs += 4) {
#if defined(__ARM_FEATURE_DSP)
        const uint32_t ones = 0x00010001U;
        __asm__("smlad %0, %1, %2, %0" : "+r"(first) : "r"(pairs[0]), "r"(ones));
        __asm__("smlad %0, %1, %2, %0" : "+r"(second) : "r"(pairs[1]), "r"(ones));
        __asm__("smlad %0, %1, %2, %0" : "+r"(first) : "r"(pairs[2]), "r"(ones));
        __asm__("smlad %0, %1, %2, %0" : "+r"(second) : "r"(pairs[3]), "r"(ones));
#else
        first += (pairs[0] & 0xFFFFU) + (pairs[0] >> 16) + (pairs[2] & 0xFFFFU) + (pairs[2] >> 16);
        second += (pairs[1] & 0xFFFFU) + (pairs[1] >> 16) + (pairs[3] & 0xFFFFU) + (pairs[3] >> 16);
#endif
    }
    dense->start[0] = 0U - (first << shift);
    dense->start[1] = 0U - (second << shift);
}
