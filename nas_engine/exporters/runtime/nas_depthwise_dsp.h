/* Depth-wise convolution: what the multiplying loops in assembly share. Nothing here is for callers of the runtime.
 *
 * A round makes two neighbouring results u and v of one channel. One LDM brings a pair of columns, a word for each row;
 * another LDM the pairs of weights that they meet. SMLAD adds both products of two words; SMLABT and SMLATB those of a lower
 * and an upper half. `k` walks through a table of the channel, in the order in which the round reads it, and goes back at its
 * end. All sums are counted twice, see nas_multiply_fast, which the round ends with; results are clamped to 8 bits.
 */
#ifndef NAS_DEPTHWISE_DSP_H
#define NAS_DEPTHWISE_DSP_H

#include <stddef.h>

#include "nas_depthwise.h"
#include "nas_requantise.h"

/* What a table needs of a channel's constants. `constants` points to its bias; `zero` is the layer's out_zero. The weights,
 * from `table` to the tail with the bias among them, are there already. */
NAS_INLINE void nas_depthwise_constants(const int32_t *constants, uint32_t channels, int32_t shift, uint32_t zero, uint32_t *bias,
    nas_depthwise_tail *tail, uint8_t *table)
{
    const uint32_t right = (uint32_t)-shift;
    *bias = (uint32_t)constants[0] << 1;
    tail->multiplier = constants[channels];
    if (shift >= 0) {
        nas_depthwise_shift_left(table, tail, bias, (uint32_t)shift);
        return;
    }
    tail->addend = nas_fast_addend(right, zero);
    tail->right = right;
}

#define NAS_U "r12"
#define NAS_V "%[v]"
#define NAS_MAC(op, sum, data, weights) op " " sum ", " data ", " weights ", " sum "\n"

/* Requantise u and v, store, go on. v is stored first, so that with a step of 0 only u remains. */
#define NAS_LOAD_TAIL "ldm %[k], {r3, r4, r5, r8, r9}\n sub %[k], %[k], %[back]\n"
#define NAS_REQUANTISE(sum)                                                                                        \
    "add r10, r4, " sum ", asr #31\n smmlar " sum ", " sum ", r3, r10\n"                                           \
    "asr " sum ", " sum ", r5\n usat " sum ", #8, " sum "\n"
#define NAS_TWO_RESULTS                                                                                            \
    NAS_LOAD_TAIL NAS_REQUANTISE(NAS_U) NAS_REQUANTISE(NAS_V)                                                      \
    "strb %[v], [%[y], r8]\n strb r12, [%[y]]\n add %[y], %[y], r8, lsl #1\n cmp %[y], r9\n bne 1b\n"
#define NAS_ONE_RESULT NAS_LOAD_TAIL NAS_REQUANTISE(NAS_U) "strb r12, [%[y]]\n add %[y], %[y], r8\n cmp %[y], r9\n bne 1b\n"

/* Rounds until y is the end; k points to a table that ends with a `tail`, p to a plane. */
#define NAS_LOOP(round)                                                                                            \
    do {                                                                                                           \
        uint32_t v;                                                                                                \
        __asm__ volatile("1:\n" round                                                                              \
                         : [p] "+r"(p), [k] "+r"(k), [y] "+r"(y), [v] "=&r"(v)                                     \
                         : [back] "i"(offsetof(table, tail))                                                       \
                         : "r3", "r4", "r5", "r6", "r8", "r9", "r10", "r11", "r12", "cc", "memory");               \
    } while (0)

/* The same for two rows: u and v of the first one in r7 and r12, of the second one in r11 and lr. r0 is k, r1 p, r2 y; data are in
 * r3 .. r6, and the row below them serves the second row; weights are in r8 .. r10. */
#define NAS_FOUR_SUMS(uop, vop, data, under, weights) NAS_FOUR_U(uop, data, under, weights) NAS_FOUR_V(vop, data, under, weights)
#define NAS_FOUR_U(op, data, under, weights) NAS_MAC(op, "r7", data, weights) NAS_MAC(op, "r11", under, weights)
#define NAS_FOUR_V(op, data, under, weights) NAS_MAC(op, "r12", data, weights) NAS_MAC(op, "lr", under, weights)
/* The first of all, which begin at the bias in r11. */
#define NAS_FOUR_BEGIN                                                                                             \
    "smlatb r12, r3, r8, r11\n smlatb lr, r4, r8, r11\n smlad r7, r3, r8, r11\n smlad r11, r4, r8, r11\n"
#define NAS_FOUR_RESULTS(back)                                                                                     \
    "ldm r0, {r3, r4, r5, r6, r8, r9}\n sub r0, r0, #" back "\n"                                                   \
    NAS_REQUANTISE("r12") NAS_REQUANTISE("lr") NAS_REQUANTISE("r7") NAS_REQUANTISE("r11")                          \
    "add r10, r2, r9\n strb lr, [r10, r6]\n strb r11, [r10]\n strb r12, [r2, r6]\n strb r7, [r2]\n"                \
    "add r2, r2, r6, lsl #1\n cmp r2, r8\n bne 1b\n"
/* A function of nothing but rounds. */
#define NAS_FOURS(name, round)                                                                                     \
    __attribute__((naked)) NAS_SMALL static void name(                                                             \
        __attribute__((unused)) const table *k, __attribute__((unused)) const uint8_t *p, __attribute__((unused)) uint8_t *y) \
    {                                                                                                              \
        __asm__ volatile("push {r4-r11, lr}\n 1:\n" round "pop {r4-r11, pc}\n");                                   \
    }

#endif
