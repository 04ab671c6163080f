/* What LLVM calls on a core without division and long multiplication (Arm IHI 0043). GNU's compiler brings libgcc instead. */
#include <stdint.h>

#if defined(__clang__) && defined(__ARM_ARCH_6M__)

uint64_t __aeabi_lmul(uint64_t a, uint64_t b);
uint64_t __aeabi_uidivmod(uint32_t numerator, uint32_t denominator);
uint64_t __aeabi_idivmod(int32_t numerator, int32_t denominator);
uint32_t __aeabi_uidiv(uint32_t numerator, uint32_t denominator);
int32_t __aeabi_idiv(int32_t numerator, int32_t denominator);

/* The low 64 bits of a product, from products of 16 bits. */
uint64_t __aeabi_lmul(uint64_t a, uint64_t b)
{
    const uint32_t a0 = (uint32_t)a & 0xFFFFU, a1 = (uint32_t)a >> 16, b0 = (uint32_t)b & 0xFFFFU, b1 = (uint32_t)b >> 16;
    const uint32_t crossed = (uint32_t)(a >> 32) * (uint32_t)b + (uint32_t)a * (uint32_t)(b >> 32);
    const uint64_t middle = (uint64_t)(a0 * b1) + a1 * b0;
    const uint64_t outer = (uint64_t)(a1 * b1) << 32 | a0 * b0;
    return outer + (middle << 16) + ((uint64_t)crossed << 32);
}

/* Quotient in the low word, remainder in the high one; bit by bit. A denominator of 0 gives all ones, and nothing divides by it. */
uint64_t __aeabi_uidivmod(uint32_t numerator, uint32_t denominator)
{
    uint32_t quotient = 0U, rest = 0U;
    for (int bit = 31; bit >= 0; bit--) {
        const uint32_t carry = rest >> 31;
        rest = rest << 1 | (numerator >> bit & 1U);
        quotient <<= 1;
        if (carry || rest >= denominator) {
            rest -= denominator;
            quotient |= 1U;
        }
    }
    return (uint64_t)rest << 32 | quotient;
}

/* Towards 0, the remainder with the sign of the numerator, as in C. */
uint64_t __aeabi_idivmod(int32_t numerator, int32_t denominator)
{
    const uint32_t n = numerator < 0 ? 0U - (uint32_t)numerator : (uint32_t)numerator;
    const uint32_t d = denominator < 0 ? 0U - (uint32_t)denominator : (uint32_t)denominator;
    const uint64_t found = __aeabi_uidivmod(n, d);
    const uint32_t quotient = (numerator < 0) != (denominator < 0) ? 0U - (uint32_t)found : (uint32_t)found;
    const uint32_t rest = numerator < 0 ? 0U - (uint32_t)(found >> 32) : (uint32_t)(found >> 32);
    return (uint64_t)rest << 32 | quotient;
}

uint32_t __aeabi_uidiv(uint32_t numerator, uint32_t denominator) { return (uint32_t)__aeabi_uidivmod(numerator, denominator); }
int32_t __aeabi_idiv(int32_t numerator, int32_t denominator) { return (int32_t)(uint32_t)__aeabi_idivmod(numerator, denominator); }

#endif
