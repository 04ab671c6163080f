/* Pixels of any width to pairs, and their sums. */
#include "nas_dense_expand.h"

#include "nas_bits.h"

#define EVEN 0x00FF00FFU

void nas_dense_expand_three(uint32_t *pairs, const uint8_t *first, const uint8_t *second, const uint8_t *third, uint32_t fours)
{
#if defined(__ARM_FEATURE_DSP)
    const uint32_t *end = pairs + 6U * fours;
    while (pairs != end) {
        __asm__ volatile( /* six words by one instruction */
            "ldr r10, [%1], #4\n ldr r11, [%2], #4\n and r4, %4, r10, lsl #1\n and r8, %4, r10, lsr #7\n"
            "ldr r10, [%3], #4\n and r5, %4, r11, lsl #1\n and r9, %4, r11, lsr #7\n"
            "and r6, %4, r10, lsl #1\n and r10, %4, r10, lsr #7\n stmia %0!, {r4, r5, r6, r8, r9, r10}\n"
            : "+r"(pairs), "+r"(first), "+r"(second), "+r"(third)
            : "r"(EVEN << 1)
            : "r4", "r5", "r6", "r8", "r9", "r10", "r11", "memory");
    }
#else
    nas_dense_expand_one(pairs, 3, first, fours);
    nas_dense_expand_one(pairs + 1, 3, second, fours);
    nas_dense_expand_one(pairs + 2, 3, third, fours);
#endif
}

uint32_t *nas_dense_expand_one(uint32_t *pairs, uint32_t count, const uint8_t *from, uint32_t fours)
{
    const uint32_t up = nas_dense_doubled(count), mask = EVEN << up;
    for (; fours; fours--, from += 4, pairs += 2U * count) {
        const uint32_t word = nas_word_at(from);
        pairs[0] = (word << up) & mask;
        pairs[count] = (word >> (8U - up)) & mask;
    }
    return pairs;
}

/* Elements of a narrower width of `pixels` of `count` pixels, which begin at whole bytes, in eights: `bits` bytes each. The two lower
 * elements of a four go to the lower half, the others to the upper half. */
static NAS_SMALL void expand_eights(
    uint32_t *pairs, uint32_t count, const uint8_t *base, const uint32_t *first, uint32_t pixels, uint32_t eights, uint32_t bits)
{
    const uint32_t second = bits >> 1, shift = (4U * bits) & 7U;
    const uint32_t up = nas_dense_doubled(count), apart = 16U - 2U * bits, one = ((1U << bits) - 1U) << up, mask = one | one << 16;
    for (; pixels; pixels--, first++, pairs++) {
        const uint8_t *from = base + *first * bits / 8U;
        uint32_t *to = pairs;
        for (const uint8_t *end = from + eights * bits; from != end; from += bits) {
            const uint32_t a = nas_word_at(from) << up, b = nas_word_at(from + second) >> shift << up;
            const uint32_t lower = nas_halves(a, a << apart), upper = nas_halves(b, b << apart);
            *to = lower & mask;
            to += count;
            *to = (lower >> bits) & mask;
            to += count;
            *to = upper & mask;
            to += count;
            *to = (upper >> bits) & mask;
            to += count;
        }
    }
}

void nas_dense_expand_run(
    const nas_dense *dense, uint32_t *pairs, uint32_t count, uint32_t element, uint32_t taps, uint32_t padded)
{
    const nas_layer *layer = dense->layer;
    const uint32_t bits = layer->in_bits, wide = bits == 8U, at = element * bits / 8U;
    const uint32_t size = nas_readable(dense->input, (uint32_t)layer->in_height * layer->in_width * layer->in_channels, bits);
    /* Groups of four bytes or of eight narrower elements are read as words; they must begin at whole bytes and end in the tensor. */
    const uint32_t group = wide ? 4U : bits, reach = wide ? 4U : 4U + (bits >> 1);
    uint32_t groups = padded / (wide ? 4U : 8U);
    if ((element * bits) & 7U || at + reach > size) {
        groups = 0;
    } else if (at + groups * group + reach - group > size) {
        groups = (size - at - reach) / group + 1U;
    }
    if (wide) {
        nas_dense_expand_one(pairs, count, dense->input + at, groups);
    } else {
        expand_eights(pairs, count, dense->input, &element, 1, groups, bits);
    }
    for (uint32_t tap = groups * (wide ? 4U : 8U); tap < padded; tap++) {
        uint32_t *pair = pairs + (tap / 4U * 2U + (tap & 1U)) * count;
        const uint32_t value = tap < taps ? nas_get(dense->input, element + tap, bits) : 0U;
        *pair = (*pair & (tap & 2U ? 0xFFFFU : 0U)) | value << (8U * (tap & 2U) + nas_dense_doubled(count));
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

void nas_dense_expand(const nas_dense *dense, uint32_t pixel, uint32_t count)
{
    const nas_layer *layer = dense->layer;
    const uint32_t elements = (uint32_t)layer->in_height * layer->in_width * layer->in_channels, bits = layer->in_bits;
    const uint8_t *from = dense->input;
    uint32_t first[3], starts = dense->padded;
    for (uint32_t i = 0; i < count; i++) {
        first[i] = pixel + i < dense->pixels ? first_element(layer, pixel + i) : first[0];
        starts |= first[i];
    }
    /* Not what does not begin at whole bytes, and where words might reach beyond the end. */
    if (first[count - 1U] + dense->padded + (bits == 8U ? 0U : 16U) > elements || (bits != 8U && starts & 7U)) {
        for (uint32_t i = 0; i < count; i++) {
            nas_dense_expand_run(dense, dense->pairs + i, count, first[i], dense->taps, dense->padded);
        }
    } else if (bits != 8U) {
        expand_eights(dense->pairs, count, from, first, count, dense->padded / 8U, bits);
    } else if (count == 3U) {
        nas_dense_expand_three(dense->pairs, from + first[0], from + first[1], from + first[2], dense->padded / 4U);
    } else {
        for (uint32_t i = 0; i < count; i++) {
            nas_dense_expand_one(dense->pairs + i, count, from + first[i], dense->padded / 4U);
        }
    }
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
