/* Packed rows into the ring, packed weights to bytes, and bytes to packed results. */
#include "nas_depthwise_streams.h"

#include "nas_bits.h"

NAS_SMALL void nas_depthwise_copy(uint8_t *to, const uint8_t *from, uint32_t count)
{
#if defined(__ARM_FEATURE_DSP)
    if ((((uintptr_t)to | (uintptr_t)from) & 3U) == 0U) { /* LDM and STM take whole words only */
        for (; count >= 16U; count -= 16U) {
            __asm__ volatile("ldm %[from]!, {r2, r3, r4, r5}\n"
                             "stm %[to]!, {r2, r3, r4, r5}\n"
                             : [from] "+r"(from), [to] "+r"(to)
                             :
                             : "r2", "r3", "r4", "r5", "memory");
        }
    }
#endif
    memcpy(to, from, count);
}

NAS_SMALL void nas_depthwise_fetch(const nas_depthwise_job *job, const uint8_t *input, uint32_t row)
{
    uint32_t count = job->row_bits, from = row * count, to = row % job->layer->kernel * count;
    if (((from | to | count) & 7U) == 0U) {
        nas_depthwise_copy(job->ring + (to >> 3), input + (from >> 3), count >> 3);
        return;
    }
    while (count != 0U) { /* a byte's worth at a time, the last one may be less; no byte beyond the row is read */
        const uint32_t bits = count < 8U ? count : 8U, shift = from & 7U;
        const uint8_t *const byte = input + (from >> 3);
        const uint32_t window = shift + bits > 8U ? byte[0] | (uint32_t)byte[1] << 8 : byte[0];
        nas_put_some(job->ring, to, bits, (window >> shift) & ((1U << bits) - 1U));
        from += bits;
        to += bits;
        count -= bits;
    }
}

NAS_RARE void nas_depthwise_unpack(const nas_depthwise_job *job)
{
    const nas_layer *const layer = job->layer;
    const uint8_t *stream = (const uint8_t *)layer->weights;
    const uint32_t bits = layer->weight_bits, count = (uint32_t)layer->kernel * layer->kernel * layer->in_channels;
    uint32_t window = 0U, held = 0U;
    if (bits == 8U) {
        nas_depthwise_copy((uint8_t *)job->weights, stream, count);
        return;
    }
    for (uint32_t i = 0U; i < count; i++) {
        if (held < bits) {
            window |= (uint32_t)*stream++ << held;
            held += 8U;
        }
        job->weights[i] = (int8_t)(uint8_t)(window << (8U - bits));
        window >>= bits;
        held -= bits;
    }
}

/* Four bytes, none above the largest result: the DSP loops clamp to 8 bits only. */
NAS_INLINE uint32_t clamped(uint32_t four, uint32_t bits)
{
#if defined(__ARM_FEATURE_DSP)
    const uint32_t room = (256U - (1U << bits)) * 0x1010101U;
    __asm__("uqadd8 %0, %0, %1\n usub8 %0, %0, %1" : "+r"(four) : "r"(room) : "cc");
#else
    (void)bits;
#endif
    return four;
}

NAS_SMALL void nas_depthwise_pack(const nas_depthwise_job *job, uint8_t *output, uint32_t at, uint32_t held)
{
    const uint32_t bits = job->layer->out_bits, pixel = bits * job->layer->in_channels, plane = job->plane, size = held * bits;
    const uint8_t *from = job->planes;
    for (uint32_t left = job->count; left != 0U; left--, from += job->step, at += pixel) {
        const uint8_t *const third = from + 2U * plane;
        const uint32_t bytes = from[0] | (uint32_t)from[plane] << 8 | (uint32_t)third[0] << 16 | (uint32_t)third[plane] << 24;
        const uint32_t four = clamped(bytes, bits);
        const uint32_t two = (four & 0xFF00FFU) | ((four >> 8) & 0xFF00FFU) << bits; /* channels 0 and 1, 2 and 3 */
        const uint32_t value = (two & 0xFFFFU) | (two >> 16) << (2U * bits);
        if ((size & 7U) == 0U && (at & 7U) == 0U) { /* 8, 16 or 24 bits, of 2, 4 or 6 each */
            uint8_t *to = output + (at >> 3);
            if (size > 8U) {
                const uint16_t half = (uint16_t)value;
                NAS_COPY(to, &half, sizeof half);
                to += 2;
            }
            if (size != 16U) {
                *to = (uint8_t)(value >> (size - 8U));
            }
        } else {
            nas_put_some(output, at, size, value);
        }
    }
}
