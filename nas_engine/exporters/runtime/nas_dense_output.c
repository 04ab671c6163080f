/* Clamp and pack. */
#include "nas_dense_output.h"

#include "nas_bits.h"
#include "nas_dense_add.h"

/* Four bytes of results, clamped to at most 255 - above, which stands in each byte. */
NAS_INLINE uint32_t clamped(uint32_t word, uint32_t above)
{
#if defined(__ARM_FEATURE_DSP)
    __asm__("uqadd8 %0, %0, %1\n uqsub8 %0, %0, %1" : "+r"(word) : "r"(above));
    return word;
#else
    uint32_t result = 0;
    for (uint32_t i = 0; i < 32U; i += 8U) {
        const uint32_t value = (word >> i) & 0xFFU, most = 255U - (above & 0xFFU);
        result |= (value < most ? value : most) << i;
    }
    return result;
#endif
}

/* Four bytes of at most 7 bits to 4 * bits bits. Multiplications add and shift at once. */
NAS_INLINE uint32_t squeezed(uint32_t word, uint32_t bits)
{
    const uint32_t scale = 1U << bits, halves = 1U | scale * scale << 16;
#if defined(__ARM_FEATURE_DSP)
    uint32_t odd = nas_odd_bytes(word);
    __asm__("uxtb16 %0, %0\n mla %0, %1, %2, %0\n smuad %0, %0, %3" : "+r"(word) : "r"(odd), "r"(scale), "r"(halves));
    return word;
#else
    word = nas_odd_bytes(word) * scale + nas_even_bytes(word);
    return (word >> 16) * (halves >> 16) + (word & 0xFFFFU);
#endif
}

/* Groups of eight results of each pixel, and of four where these are whole bytes. Returns how many of each pixel were stored. */
static NAS_SMALL uint32_t store_bits(const nas_dense *dense, uint32_t element, uint32_t pixels, uint32_t count)
{
    const uint32_t bits = dense->slot_bits, eights = bits < 8U ? count & ~7U : 0U, fours = bits & 1U ? eights : count & ~3U;
    const uint32_t above = (256U - (1U << dense->layer->out_bits)) * 0x01010101U;
    const uint32_t up = 4U * bits & 31U, down = (32U - up) & 31U, apart = dense->channels * bits / 8U;
    const uint8_t *from = dense->bytes[0];
    uint8_t *row = dense->output + element * bits / 8U;
    for (; pixels; pixels--, row += apart, from += NAS_RESULTS_AT_ONCE) {
        const uint8_t *at = from;
        uint8_t *to = row;
        for (const uint8_t *const end = from + eights; at != end; at += 8) {
            const uint32_t low = squeezed(clamped(nas_word_at(at), above), bits), high = squeezed(clamped(nas_word_at(at + 4), above), bits);
            uint32_t window = low | high << up;
            if (bits & 4U) {
                nas_store_word(to, window);
                to += 4;
                window = high >> down;
            }
            if (bits & 2U) {
                nas_store_half(to, window);
                to += 2;
                window >>= 16;
            }
            if (bits & 1U) {
                *to++ = (uint8_t)window;
            }
        }
        for (const uint8_t *const end = from + fours; at != end; at += 4) {
            uint32_t window = clamped(nas_word_at(at), above);
            window = bits == 8U ? window : squeezed(window, bits);
            for (uint32_t bytes = bits / 2U; bytes; bytes--, window >>= 8) {
                *to++ = (uint8_t)window;
            }
        }
    }
    return fours;
}

/* Results of each pixel from number `done` on, one by one. */
static NAS_RARE void store_rest(const nas_dense *dense, uint32_t element, uint32_t pixels, uint32_t done, uint32_t count)
{
    const uint32_t most = (1U << dense->layer->out_bits) - 1U;
    for (uint32_t pixel = 0; pixel < pixels; pixel++, element += dense->channels) {
        for (uint32_t i = done; i < count; i++) {
            const uint32_t value = dense->bytes[pixel][i];
            nas_put(dense->output, element + i, dense->slot_bits, value < most ? value : most);
        }
    }
}

void nas_dense_finish(nas_dense *dense, uint32_t pixel, uint32_t pixels, uint32_t channel, uint32_t count)
{
    const nas_layer *const layer = dense->layer;
    const uint32_t channels = dense->channels, bits = dense->slot_bits, element = pixel * channels + channel, left = dense->pixels - pixel;
    uint32_t done = 0;
    pixels = pixels < left ? pixels : left;
    if (layer->flags & NAS_ADD_SHORTCUT && nas_dense_add(dense, element, pixels, count)) {
        return;
    }
    if (((element | channels) * bits & 7U) == 0U) {
        done = store_bits(dense, element, pixels, count);
    }
    if (done != count) {
        store_rest(dense, element, pixels, done, count);
    }
}
