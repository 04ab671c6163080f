/* Dense layers: the pieces of the inner loops in assembly. Nothing here is for callers of the runtime.
 *
 * In assembly because all 14 registers are needed, and a compiler that is short of one puts loads and stores into the loop.
 *
 *   r0 the record   r1 .. r4 sums: channel 0, pixels 0 and 1; channel 1, pixels 0 and 1   r5 weights
 *   in the loop     r6 pairs  r7 their end  r8, r9 weights of the two channels  r10 one pair of them  r11, r12 inputs  lr mask
 *   after it        r6 2 * zero + 1  r7 multipliers  r8 shifts  r9 results  r10, r11, r12, lr free
 */
#ifndef NAS_DENSE_DSP_H
#define NAS_DENSE_DSP_H

#include "nas_dense_row.h"

/* One pair of weights of a channel with the inputs of both pixels. */
#define NAS_TWO(P, Q) "smlad " P ", r10, r11, " P "\n smlad " Q ", r10, r12, " Q "\n"
/* The next pair of both channels, from words of w4, and from words of w8; then four taps of w8. */
#define NAS_MASKED(SHIFT) \
    "ldrd r11, r12, [r6], #8\n" \
    "and r10, lr, r8" SHIFT "\n" NAS_TWO("r1", "r2") \
    "and r10, lr, r9" SHIFT "\n" NAS_TWO("r3", "r4")
#define NAS_EXTENDED(TURN) \
    "ldrd r11, r12, [r6], #8\n" \
    "sxtb16 r10, r8" TURN "\n" NAS_TWO("r1", "r2") \
    "sxtb16 r10, r9" TURN "\n" NAS_TWO("r3", "r4")
#define NAS_FOUR_W8 "ldrd r8, r9, [r5], #8\n" NAS_EXTENDED("") NAS_EXTENDED(", ror #8")

/* A loop is BEGIN, what the sums start with, 1: products, AGAIN, STOP, TOTALS (w4), RESULTS. */
#define NAS_BEGIN "push {r4-r11, lr}\n ldr r5, [r0, #32]\n 0:\n"
#define NAS_START(MASK) \
    "ldrd r1, r2, [r0]\n ldrd r6, r7, [r0, #8]\n mov r3, r1\n mov r4, r2\n mov lr, #" MASK "\n" \
    "1:\n ldrd r8, r9, [r5], #8\n"
#define NAS_AGAIN "cmp r6, r7\n bne 1b\n"
/* For the general rounding, which comes back for each two channels, leave the sums. */
#define NAS_STOP \
    "ldr r6, [r0, #40]\n cbnz r6, 3f\n" \
    "str r5, [r0, #32]\n add r6, r0, #52\n stmia r6, {r1-r4}\n pop {r4-r11, pc}\n 3:\n"
/* Twice the total: the sums shifted as their weights are carried, and the bias. */
#define NAS_TOTALS(UP) \
    "ldr r10, [r0, #16]\n ldrd r11, r12, [r10], #8\n str r10, [r0, #16]\n lsl r11, r11, #1\n lsl r12, r12, #1\n" \
    "add r1, r11, r1, lsl #" UP "\n add r2, r11, r2, lsl #" UP "\n add r3, r12, r3, lsl #" UP "\n add r4, r12, r4, lsl #" UP "\n"
/* nas_multiply_fast of one channel's two pixels. */
#define NAS_CHANNEL(P, Q) \
    "ldrsb r12, [r8], #1\n ldr r10, [r7], #4\n mvn lr, r12\n lsl r11, r6, lr\n rsb r12, r12, #0\n" \
    "add lr, r11, " P ", asr #31\n add r11, r11, " Q ", asr #31\n" \
    "smmlar lr, " P ", r10, lr\n smmlar r11, " Q ", r10, r11\n ldr r10, [r0, #36]\n" \
    "asr lr, lr, r12\n asr r11, r11, r12\n usat lr, #8, lr\n usat r11, #8, r11\n" \
    "strb r11, [r9, r10]\n strb lr, [r9], #1\n"
/* Both channels; then the next two, from label 0 on. */
#define NAS_RESULTS \
    "ldr r7, [r0, #20]\n ldrd r8, r9, [r0, #24]\n" NAS_CHANNEL("r1", "r2") NAS_CHANNEL("r3", "r4") \
    "str r7, [r0, #20]\n ldr r10, [r0, #44]\n strd r8, r9, [r0, #24]\n cmp r8, r10\n bne 0b\n pop {r4-r11, pc}\n"

/* A function of nothing but these; assembly knows the record by its offsets. */
#define NAS_PAIRS(NAME, BODY) \
    typedef char NAME##_counts_on[sizeof(nas_row) == 68 ? 1 : -1]; \
    __attribute__((naked)) NAS_SMALL void NAME(__attribute__((unused)) nas_row *row) \
    { \
        __asm__ volatile(BODY); \
    }

#endif
