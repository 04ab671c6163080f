/* Clamp and pack. */
#include "nas_dense_output.h"

#include "nas_bits.h"
#include "nas_dense_add.h"

/* Four bytes of results, clamped to at most 255 - above in each, to 4 * bits bits. */
NAS_INLINE uint32_t squeeze(uint32_t word, uint32_t above, uint32_t bits)
{
#if defined(__ARM_FEATURE_DSP)
    __asm__("uqadd8 %0, %0, %1\n uqsub8 %0, %0, %1" : "+r"(word) : "r"(above * 0x01010101U));
#else
    uint32_t clamped = 0;
    for (uint32_t i = 0; i < 32U; i += 8U) {
        const uint32_t value = (word >> i) & 0xFFU;
        clamped |= (value < 255U - above ? value : 255U - above) << i;
    }
    word = clamped;
#endif
    word = nas_even_bytes(word) | nas_odd_bytes(word) << bits;
    return (word & 0xFFFFU) | (word >> 16) << (2U * bits);
}

/* Groups of eight results to whole bytes: `bits` bytes a group. */
static NAS_SMALL void store_bits(uint8_t *to, const uint8_t *from, uint32_t groups, uint32_t above, uint32_t bits)
{
    for (; groups; groups--, from += 8) {
        const uint32_t a = squeeze(nas_word_at(from), above, bits), b = squeeze(nas_word_at(from + 4), above, bits);
        uint32_t window = bits == 8U ? a : a | b << (4U * bits), rest = bits;
        if (bits >= 4U) {
            nas_store_word(to, window);
            to += 4;
            rest = bits - 4U;
            window = b >> (32U - 4U * bits) % 32U;
        }
        for (; rest; rest--, window >>= 8) {
            *to++ = (uint8_t)window;
        }
    }
}

void nas_dense_finish(nas_dense *dense, uint32_t pixel, uint32_t pixels, uint32_t channel, uint32_t count)
{
    const nas_layer *layer = dense->layer;
    const uint32_t bits = dense->slot_bits, most = (1U << layer->out_bits) - 1U;
    const uint32_t after = pixel + pixels < dense->pixels ? pixel + pixels : dense->pixels;
    uint8_t *from = dense->bytes[0];
    for (; pixel < after; pixel++, from += NAS_CHANNELS_AT_ONCE) {
        const uint32_t element = pixel * dense->channels + channel, bit = element * bits;
        uint32_t done = 0;
        if (layer->flags & NAS_ADD_SHORTCUT && nas_dense_add(dense, element, count, from)) {
            continue;
        }
        if ((bit & 7U) == 0U) {
            done = count & ~7U;
            store_bits(dense->output + bit / 8U, from, count / 8U, 255U - most, bits);
        }
        for (; bits < 8U && done + 4U <= count; done += 4U) {
            nas_put_some(dense->output, bit + done * bits, 4U * bits, squeeze(nas_word_at(from + done), 255U - most, bits));
        }
        for (; done < count; done++) {
            nas_put(dense->output, element + done, bits, from[done] < most ? from[done] : most);
        }
    }
}
