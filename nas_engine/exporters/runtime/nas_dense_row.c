/* Rows of results: with quick rounding in the inner loop, with general rounding here. */
#include "nas_dense_row.h"

#include "nas_dense_pairs.h"
#include "nas_requantise.h"

#if defined(NAS_ASSEMBLY)
/* Eight taps a round; an odd four enters in the middle. */
NAS_PAIRS(nas_dense_pairs_w8,
    NAS_BEGIN
    "ldr r6, [r0, #16]\n ldr r10, [r0, #48]\n ldrd r1, r3, [r6], #8\n str r6, [r0, #16]\n ldrd r6, r7, [r0, #8]\n"
    "mov r2, r1\n mov r4, r3\n lsls r10, r10, #29\n bmi 2f\n"
    "1:\n" NAS_FOUR_W8 "2:\n" NAS_FOUR_W8 NAS_AGAIN
    NAS_STOP
    "lsl r1, r1, #1\n lsl r2, r2, #1\n lsl r3, r3, #1\n lsl r4, r4, #1\n"
    NAS_RESULTS)
#else
void nas_dense_pairs_w8(nas_row *row)
{
    nas_dense_pairs(row, 8);
}
#endif

/* One result, not yet clamped, where some shift or total of the layer asks for the general rounding; most do not even there. */
NAS_INLINE int32_t round_one(uint32_t total, int32_t multiplier, int32_t shift, int32_t zero, int32_t addend)
{
    const uint32_t twice = total << 1;
    if (shift >= 0) {
        const int32_t high = nas_doubling_high_mul((int32_t)(total << shift), multiplier); /* may be at an end of int32 */
        return nas_clamp(high, -256, 256) + zero;
    }
    if (addend && !((total ^ twice) >> 31)) { /* doubling keeps the sign: it fits */
        return nas_multiply_fast((int32_t)twice, multiplier, (uint32_t)-shift, addend);
    }
    return nas_multiply((int32_t)total, multiplier, shift) + zero;
}

/* A channel of two pixels. `by` points to its shift, `bias` to its bias; the multiplier lies dense->channels further. */
static NAS_RARE void round_two(
    const nas_dense *dense, const uint32_t *sums, const int32_t *bias, const int8_t *by, uint8_t *to, uint32_t apart)
{
    const uint32_t carried = dense->carried, added = carried ? (uint32_t)bias[0] : 0U; /* w8 begins at the bias */
    const int32_t multiplier = bias[dense->channels], shift = by[0], zero = (int32_t)dense->zero;
    const int32_t addend = shift < 0 && shift >= -20 ? nas_fast_addend((uint32_t)-shift, dense->zero) : 0;
    for (uint32_t i = 0; i < 2U; i++, to += apart) {
        *to = (uint8_t)nas_clamp(round_one((sums[i] << carried) + added, multiplier, shift, zero, addend), 0, 255);
    }
}

void nas_dense_row(
    nas_dense *dense, void (*pairs)(nas_row *row), const uint32_t *weights, uint32_t pixel, uint32_t channel, uint32_t count)
{
    const nas_layer *layer = dense->layer;
    const uint32_t channels = dense->channels, even = (count + 1U) & ~1U;
    const int32_t *bias = layer->constants + channel;
    const int8_t *shift = (const int8_t *)(layer->constants + 2U * channels) + channel;
    nas_row row;
    row.start[0] = dense->start[0];
    row.start[1] = dense->start[1];
    row.pairs = dense->pairs;
    row.end = dense->pairs + dense->padded;
    row.bias = bias;
    row.multiplier = bias + channels;
    row.shift = shift;
    row.to = dense->bytes[0];
    row.weights = weights;
    row.apart = NAS_RESULTS_AT_ONCE;
    row.twice_zero = 2U * dense->zero + 1U;
    row.last = shift + even;
    row.padded = dense->padded;
    if (dense->direct) {
        row.to = dense->output + pixel * channels + channel;
        row.apart = pixel + 1U < dense->pixels ? channels : 0U;
    }
    if (layer->flags & NAS_FAST_ROUNDING) {
        pairs(&row);
        return;
    }
    row.twice_zero = 0;
    uint8_t *to = row.to;
    for (const int8_t *last = row.last; shift != last; shift += 2, bias += 2, to += 2) {
        pairs(&row);
        round_two(dense, row.sums, bias, shift, to, row.apart);
        round_two(dense, row.sums + 2, bias + 1, shift + 1, to + 1, row.apart);
    }
}
