/* Words, and what is asked of compilers. Nothing here is for callers of the runtime. */
#ifndef NAS_WORDS_H
#define NAS_WORDS_H

#include <stdint.h>
#include <string.h>

/* A function of its own: its stack is given back when it returns, and its loops have all registers. For Clang also small:
 * otherwise it unrolls every loop, which costs a quarter more code and gains nothing. */
#if defined(__clang__)
#define NAS_SMALL __attribute__((noinline, minsize))
#elif defined(__GNUC__)
#define NAS_SMALL __attribute__((noinline))
#else
#define NAS_SMALL
#endif

/* A function that runs once a layer, or rarely: small rather than quick. */
#if defined(__GNUC__) && !defined(__clang__)
#define NAS_RARE __attribute__((noinline, cold, optimize("Os")))
#else
#define NAS_RARE NAS_SMALL
#endif

#if defined(__GNUC__)
#define NAS_INLINE static inline __attribute__((always_inline)) /* also in functions that are to be small */
#define NAS_COPY __builtin_memcpy                               /* one instruction for a word, also without a C library */
#else
#define NAS_INLINE static inline
#define NAS_COPY memcpy
#endif

/* Clang then computes with this variable, instead of keeping a pointer of its own for every address that follows from it. */
#if defined(__clang__) && defined(__ARM_FEATURE_DSP)
#define NAS_OPAQUE(variable) __asm__("" : "+r"(variable))
#else
#define NAS_OPAQUE(variable) (void)(variable)
#endif

NAS_INLINE uint32_t nas_word_at(const uint8_t *from) /* any address */
{
    uint32_t word;
    NAS_COPY(&word, from, sizeof word);
    return word;
}

NAS_INLINE uint32_t nas_half_at(const uint8_t *from) /* any address */
{
    uint16_t half;
    NAS_COPY(&half, from, sizeof half);
    return half;
}

NAS_INLINE void nas_set_word(uint8_t *to, uint32_t word) /* a multiple of 4 */
{
#if defined(__GNUC__)
    to = __builtin_assume_aligned(to, 4);
#endif
    NAS_COPY(to, &word, sizeof word);
}

/* The lower half of one word and the upper half of another one. */
NAS_INLINE uint32_t nas_halves(uint32_t low, uint32_t high)
{
#if defined(__ARM_FEATURE_DSP)
    uint32_t word;
    __asm__("pkhbt %0, %1, %2" : "=r"(word) : "r"(low), "r"(high));
    return word;
#else
    return (low & 0xFFFFU) | (high & 0xFFFF0000U);
#endif
}

/* Two lower halves as a word, and two upper ones. */
NAS_INLINE uint32_t nas_lower_halves(uint32_t low, uint32_t high)
{
#if defined(__ARM_FEATURE_DSP)
    uint32_t word;
    __asm__("pkhbt %0, %1, %2, lsl #16" : "=r"(word) : "r"(low), "r"(high));
    return word;
#else
    return (low & 0xFFFFU) | (high << 16);
#endif
}

NAS_INLINE uint32_t nas_upper_halves(uint32_t low, uint32_t high)
{
#if defined(__ARM_FEATURE_DSP)
    uint32_t word;
    __asm__("pkhtb %0, %2, %1, asr #16" : "=r"(word) : "r"(low), "r"(high));
    return word;
#else
    return (low >> 16) | (high & 0xFFFF0000U);
#endif
}

#endif
