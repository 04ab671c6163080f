/* Dense layers: words of bit streams. Nothing here is for callers of the runtime. */
#ifndef NAS_DENSE_WORDS_H
#define NAS_DENSE_WORDS_H

#include "nas_words.h"

/* Bytes of a tensor with its padding to whole words. */
NAS_INLINE uint32_t nas_stream_bytes(uint32_t elements, uint32_t bits)
{
    return (elements * bits + 31U) / 32U * 4U;
}

/* Bytes of a stream that may be read from its first byte on: to the end of the word that its last byte lies in. Rows of a tensor
 * may begin at any byte. */
NAS_INLINE uint32_t nas_readable(const uint8_t *from, uint32_t elements, uint32_t bits)
{
    const uint32_t before = (uint32_t)((uintptr_t)from & 3U);
    return (before + (elements * bits + 7U) / 8U + 3U) / 4U * 4U - before;
}

NAS_INLINE void nas_store_word(uint8_t *to, uint32_t word) /* any address */
{
    NAS_COPY(to, &word, sizeof word);
}

NAS_INLINE void nas_store_half(uint8_t *to, uint32_t word) /* the same */
{
    const uint16_t half = (uint16_t)word;
    NAS_COPY(to, &half, sizeof half);
}

/* Four elements in the low 4 * bits bits of a word to the upper bits of its four bytes; what lies above them is ignored. */
NAS_INLINE uint32_t nas_spread(uint32_t word, uint32_t bits)
{
    const uint32_t up = 16U - 2U * bits, low = (0xFFU << (8U - bits)) & 0xFFU, even = low | low << 16;
    const uint32_t halves = (word & 0xFFFFU) | ((word << up) & 0xFFFF0000U); /* two elements in each, and bits without meaning */
    return ((halves << (8U - bits)) & even) | ((halves << up) & (even << 8));
}

/* Bytes 0 and 2 of a word as 16-bit numbers, and bytes 1 and 3. */
NAS_INLINE uint32_t nas_even_bytes(uint32_t word)
{
    return word & 0x00FF00FFU;
}

NAS_INLINE uint32_t nas_odd_bytes(uint32_t word)
{
#if defined(__ARM_FEATURE_DSP)
    uint32_t result; /* compilers make two instructions of it */
    __asm__("uxtb16 %0, %1, ror #8" : "=r"(result) : "r"(word));
    return result;
#else
    return (word >> 8) & 0x00FF00FFU;
#endif
}

#endif
