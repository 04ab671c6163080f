/* Requantisation: TFLite's reference rounding (gemmlowp), see docs/integer_model.md.
 *
 * Accumulators are counted modulo 2^32 while they are summed, and are exact int32 numbers when they arrive here.
 */
#ifndef NAS_REQUANTISE_H
#define NAS_REQUANTISE_H

#include <stdint.h>

/* a * b / 2^31 rounded to nearest, halves up; b >= 0, so that it never saturates (SaturatingRoundingDoublingHighMul). */
static inline int32_t nas_doubling_high_mul(int32_t a, int32_t b)
{
    const int64_t sum = (int64_t)a * b + ((int64_t)1 << 30);
    return (int32_t)(sum >> 31);
}

/* x / 2^exponent rounded to nearest, halves away from zero (RoundingDivideByPOT), exponent 0 .. 31. */
static inline int32_t nas_divide_by_pot(int32_t x, int32_t exponent)
{
    const int32_t mask = (int32_t)((1U << exponent) - 1U);
    const int32_t threshold = (mask >> 1) + (x < 0 ? 1 : 0);
    return (x >> exponent) + ((x & mask) > threshold ? 1 : 0);
}

/* x * multiplier / 2^31 * 2^shift, rounded twice (MultiplyByQuantizedMultiplier); x shifted to the left fits int32. */
static inline int32_t nas_multiply(int32_t x, int32_t multiplier, int32_t shift)
{
    const int32_t left = shift > 0 ? shift : 0, right = shift > 0 ? 0 : -shift;
    return nas_divide_by_pot(nas_doubling_high_mul((int32_t)((uint32_t)x << left), multiplier), right);
}

static inline int32_t nas_clamp(int32_t x, int32_t low, int32_t high)
{
    return x < low ? low : x > high ? high : x;
}

/* With NAS_FAST_ROUNDING both roundings are cheap: nas_multiply(total, multiplier, -right) + zero equals
 *
 *     nas_multiply_fast(2 * total, multiplier, right, nas_fast_addend(right, zero))
 *
 * for |total| < 2^30, right = 1 .. 20, zero = 0 .. 255. With DSP instructions these are three instructions.
 *
 * Why: high = floor((2*total*multiplier + 2^31) / 2^32) is nas_doubling_high_mul(total, multiplier), and what SMMLAR adds up.
 * Halves away from zero are (high + 2^(right-1) - (high < 0)) >> right. The sign may be taken from total instead of high: they
 * differ only for high = 0, total < 0, and there (2^(right-1) - 1) >> right is the same 0. The zero joins before the shift, as
 * a multiple of 2^right. Nothing overflows: |high| <= 2^30, and the addend is below 2^29.
 *
 * With a zero of 0 and results that are clamped to 0 and above, shifts to the left are quick too: total << shift, right = 0 and an
 * addend of 0 give high - (total < 0), and only a result below 0 or of -0 comes out by 1 too low. The loops of the depth-wise
 * layers shift weights and bias instead.
 */
static inline int32_t nas_fast_addend(uint32_t right, uint32_t zero)
{
    return (int32_t)((2U * zero + 1U) << (right - 1U));
}

static inline int32_t nas_multiply_fast(int32_t twice, int32_t multiplier, uint32_t right, int32_t addend)
{
#if defined(__ARM_FEATURE_DSP)
    int32_t sum;
    __asm__("add %0, %1, %2, asr #31" : "=r"(sum) : "r"(addend), "r"(twice));
    __asm__("smmlar %0, %1, %2, %0" : "+r"(sum) : "r"(twice), "r"(multiplier));
    return sum >> right;
#else
    const int64_t product = (int64_t)twice * multiplier + ((int64_t)1 << 31);
    return ((int32_t)(product >> 32) + addend + (twice >> 31)) >> right;
#endif
}

#endif
