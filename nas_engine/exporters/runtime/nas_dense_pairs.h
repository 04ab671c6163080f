/* Dense layers: what the inner loops nas_dense_pairs_w8 and _w4 are made of. Nothing here is for callers of the runtime.
 *
 * With DSP instructions NAS_ASSEMBLY is defined, and NAS_PAIRS makes a loop of the pieces in nas_dense_dsp.h. Otherwise a loop
 * calls nas_dense_pairs.
 */
#ifndef NAS_DENSE_PAIRS_H
#define NAS_DENSE_PAIRS_H

#include "nas_dense_row.h"

#if defined(__ARM_FEATURE_DSP) && defined(__thumb2__) /* every Cortex-M with DSP instructions */

#define NAS_ASSEMBLY
#include "nas_dense_dsp.h"

#else

#include "nas_requantise.h"

/* Products of the lower halves and of the upper ones, added: SMLAD. */
NAS_INLINE uint32_t nas_two_products(uint32_t weight_pair, uint32_t input_pair)
{
    const int32_t low = (int32_t)(int16_t)(weight_pair & 0xFFFFU) * (int32_t)(input_pair & 0xFFFFU);
    const int32_t high = (int32_t)(int16_t)(weight_pair >> 16) * (int32_t)(input_pair >> 16);
    return (uint32_t)low + (uint32_t)high;
}

/* Pair number `number` of a word of weights. */
NAS_INLINE uint32_t nas_weight_pair(uint32_t bits, uint32_t word, uint32_t number)
{
    if (bits == 8U) {
        const uint32_t turned = word >> (8U * number);
        return ((uint32_t)(int32_t)(int8_t)(turned & 0xFFU) & 0xFFFFU) | (uint32_t)(int32_t)(int8_t)((turned >> 16) & 0xFFU) << 16;
    }
    return (word >> (bits * number)) & 0x000F000FU;
}

/* The inner loop in C. `bits` is a constant wherever it is called: each width has a function of its own. */
NAS_INLINE void nas_dense_pairs(nas_row *row, uint32_t bits)
{
    do {
        const uint32_t own0 = bits == 8U ? (uint32_t)row->bias[0] : 0U, own1 = bits == 8U ? (uint32_t)row->bias[1] : 0U;
        uint32_t a = own0 + row->start[0], b = own0 + row->start[1], c = own1 + row->start[0], d = own1 + row->start[1];
        for (const uint32_t *pairs = row->pairs; pairs != row->end; row->weights += 2) {
            for (uint32_t number = 0; number < 16U / bits; number++, pairs += 2) {
                const uint32_t first = nas_weight_pair(bits, row->weights[0], number);
                const uint32_t second = nas_weight_pair(bits, row->weights[1], number);
                a += nas_two_products(first, pairs[0]);
                b += nas_two_products(first, pairs[1]);
                c += nas_two_products(second, pairs[0]);
                d += nas_two_products(second, pairs[1]);
            }
        }
        row->sums[0] = a;
        row->sums[1] = b;
        row->sums[2] = c;
        row->sums[3] = d;
        for (uint32_t channel = 0; channel < 2U && row->twice_zero; channel++, row->to++, row->shift++, row->multiplier++) {
            const uint32_t right = (uint32_t)-*row->shift, up = 9U - bits, bias = bits == 8U ? 0U : (uint32_t)row->bias[channel] << 1;
            for (uint32_t pixel = 0; pixel < 2U; pixel++) {
                const int32_t twice = (int32_t)((row->sums[2U * channel + pixel] << up) + bias);
                const int32_t result = nas_multiply_fast(twice, *row->multiplier, right, (int32_t)(row->twice_zero << (right - 1U)));
                row->to[pixel * row->apart] = (uint8_t)nas_clamp(result, 0, 255);
            }
        }
        row->bias += 2;
    } while (row->twice_zero && row->shift != row->last);
}

#endif

#endif
