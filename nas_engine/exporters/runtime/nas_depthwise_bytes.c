/* Unpacks inputs of 8 bits to planes: the commonest width, and after the multiplying loops the one that counts most. */
#include "nas_depthwise_bytes.h"

/* A word is four channels of a column. Masks leave channels 0 and 2, or 1 and 3, doubled. */
#define EVEN(word) (((word) << 1) & 0x01FE01FEU)
#define ODD(word) (((word) >> 7) & 0x01FE01FEU)

NAS_INLINE void store_bytes(uint8_t *to, uint32_t plane, uint32_t p_even, uint32_t p_odd, uint32_t q_even, uint32_t q_odd)
{
    nas_set_planes(to, plane, nas_lower_halves(p_even, q_even), nas_lower_halves(p_odd, q_odd), nas_upper_halves(p_even, q_even),
        nas_upper_halves(p_odd, q_odd));
}

#if defined(__ARM_FEATURE_DSP)
/* Words of two columns that are both input, until `to` is `end`; at least one. `next` is 4 * rows as text. The compilers'
 * loops have two to four instructions more than these 17. */
#define EXPAND_PAIRS(next)                                                                                         \
    __asm__ volatile("1:\n"                                                                                        \
                     "ldr %[a], [%[from]]\n ldr %[b], [%[from], %[pixel]]\n add %[from], %[from], %[pixel], lsl #1\n" \
                     "and %[c], %[mask], %[a], lsl #1\n and %[a], %[mask], %[a], lsr #7\n"                         \
                     "and %[d], %[mask], %[b], lsl #1\n and %[b], %[mask], %[b], lsr #7\n"                         \
                     "pkhbt %[e], %[a], %[b], lsl #16\n str %[e], [%[to], %[plane]]\n"                             \
                     "pkhbt %[e], %[c], %[d], lsl #16\n str %[e], [%[to]], #" next "\n"                            \
                     "pkhtb %[a], %[b], %[a], asr #16\n str %[a], [%[third], %[plane]]\n"                          \
                     "pkhtb %[c], %[d], %[c], asr #16\n str %[c], [%[third]], #" next "\n"                         \
                     "cmp %[to], %[end]\n bne 1b\n"                                                                \
                     : [from] "+r"(from), [to] "+r"(to), [third] "+r"(third), [a] "=&r"(a), [b] "=&r"(b),          \
                       [c] "=&r"(c), [d] "=&r"(d), [e] "=&r"(e)                                                    \
                     : [pixel] "r"(channels), [plane] "r"(plane), [mask] "r"(0x01FE01FEU), [end] "r"(end)          \
                     : "cc", "memory")
#endif

NAS_SMALL void nas_depthwise_expand_bytes(const nas_depthwise_job *job, uint32_t channel)
{
    const uint32_t channels = job->layer->in_channels, plane = job->plane, size = job->row_bits / 8U;
    const uint32_t zeros = job->layer->in_zero * NAS_TWICE, next = 4U * job->rows, span = next * job->pairs, at = job->start / 8U + channel;
    const uint8_t *source = job->from + at, *const wrap = job->wrap + at, *const back = job->back + at;
    uint8_t *row = nas_depthwise_top(job), *const bottom = row + 4U * (job->past - job->first);
    do {
        const uint8_t *from = source;
        uint8_t *to = row;
        NAS_OPAQUE(to);
        source += size;
        if (source == wrap) {
            source = back;
        }
        if ((job->begin & 1U) != 0U) {
            const uint32_t q = nas_word_at(from);
            store_bytes(to, plane, zeros, zeros, EVEN(q), ODD(q));
            to += next;
            from += channels;
        }
        uint8_t *const end = to + span;
        if (to != end) {
#if defined(__ARM_FEATURE_DSP)
            uint8_t *third = to + 2U * plane;
            uint32_t a, b, c, d, e;
            switch (next) {
            case 12U: EXPAND_PAIRS("12"); break;
            case 16U: EXPAND_PAIRS("16"); break;
            case 20U: EXPAND_PAIRS("20"); break;
            default: EXPAND_PAIRS("24"); break;
            }
#else
            for (; to != end; to += next, from += 2U * channels) {
                const uint32_t p = nas_word_at(from), q = nas_word_at(from + channels);
                store_bytes(to, plane, EVEN(p), ODD(p), EVEN(q), ODD(q));
            }
#endif
        }
        if ((job->stop & 1U) != 0U) {
            const uint32_t p = nas_word_at(from);
            store_bytes(to, plane, EVEN(p), ODD(p), zeros, zeros);
        }
        row += 4;
    } while (row != bottom);
}
