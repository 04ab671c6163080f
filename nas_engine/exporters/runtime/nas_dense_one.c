/* Two channels and one pixel at once. */
#include "nas_dense_one.h"

#include "nas_dense_pairs.h"
#include "nas_requantise.h"

#if defined(NAS_ASSEMBLY)

/* r0 the record, in the loop an input  r1, r2 sums  r3 inputs  lr their end  r4 weights  r5 a pair of them
 * r6 .. r9 weights of both channels, twice  r0, r10 .. r12 inputs: eight taps a load.
 * after the loop  r6 .. r9 bias, multipliers, shifts, results, which r12 points to  r3, r5 multipliers  r10 ~shift  r11 2 * zero + 1 */
#define NAS_TAPS(FIRST, OTHER, EVEN, ODD) \
    "sxtb16 r5, " FIRST "\n sxtb16 " FIRST ", " FIRST ", ror #8\n smlad r1, r5, " EVEN ", r1\n smlad r1, " FIRST ", " ODD ", r1\n" \
    "sxtb16 r5, " OTHER "\n sxtb16 " OTHER ", " OTHER ", ror #8\n smlad r2, r5, " EVEN ", r2\n smlad r2, " OTHER ", " ODD ", r2\n"
#define NAS_EIGHT \
    "ldm r4!, {r6-r9}\n ldm r3!, {r0, r10-r12}\n" NAS_TAPS("r6", "r7", "r0", "r10") NAS_TAPS("r8", "r9", "r11", "r12")
/* nas_multiply_fast in two steps, so that the addend needs no shift: (high + (addend << right - 1)) >> right is
 * ((high >> right - 1) + addend) >> 1, and right - 1 is ~shift, of which the lowest byte counts. */
#define NAS_END(SUM, MULTIPLIER) \
    "lsl " SUM ", " SUM ", #1\n asr r0, " SUM ", #31\n smmlar r0, " SUM ", " MULTIPLIER ", r0\n asr r0, r0, r10\n" \
    "add r0, r0, r11\n usat r0, #8, r0, asr #1\n strb r0, [r9], #1\n"

/* Sixteen taps a round; an odd four comes first, an odd eight enters in the middle: where, `end` and `start` say, as nothing else
 * needs them here. */
NAS_PAIRS(nas_dense_one,
    "push {r0, r4-r11, lr}\n ldrd r3, r5, [r0, #8]\n ldr r4, [r0, #48]\n add lr, r3, r4, lsl #1\n"
    "adr.w r6, 2f\n adr.w r7, 3f\n tst r4, #8\n it ne\n movne r6, r7\n add r6, r6, #1\n str r6, [r0]\n"
    "adr.w r7, 1f\n tst r4, #4\n it ne\n addne r6, r7, #1\n str r6, [r0, #12]\n"
    "ldr r4, [r0, #32]\n ldr r5, [r0, #16]\n ldrd r1, r2, [r5], #8\n str r5, [r0, #16]\n bx r6\n"
    ".balign 4\n 1:\n ldrd r10, r11, [r3], #8\n ldrd r6, r7, [r4], #8\n" NAS_TAPS("r6", "r7", "r10", "r11")
    "cmp r3, lr\n beq 4f\n ldr r5, [sp]\n ldr pc, [r5]\n"
    ".balign 4\n 2:\n" NAS_EIGHT ".balign 4\n 3:\n" NAS_EIGHT "cmp r3, lr\n bne 2b\n"
    "4:\n ldr r0, [sp]\n add r12, r0, #16\n ldm r12, {r6-r9}\n ldrd r3, r5, [r7], #8\n ldrh r10, [r8], #2\n ldr r11, [r0, #40]\n mvn r10, r10\n"
    NAS_END("r1", "r3") "lsr r10, r10, #8\n" NAS_END("r2", "r5")
    "ldrd r1, r2, [r6], #8\n stm r12, {r6-r9}\n ldr r10, [r12, #28]\n ldr r3, [r12, #-8]\n cmp r8, r10\n it ne\n ldrne pc, [r12, #-4]\n"
    "pop {r0, r4-r11, pc}\n")

#else

void nas_dense_one(nas_row *row)
{
    for (; row->shift != row->last; row->bias++, row->multiplier++, row->shift++, row->to++) {
        const uint32_t other = (uint32_t)(row->last - row->shift) & 1U; /* the second one of two channels: its words alternate */
        const uint32_t *weight = row->weights + other;
        uint32_t total = (uint32_t)*row->bias;
        for (uint32_t tap = 0; tap < row->padded; tap += 4U, weight += 2) {
            total += nas_two_products(nas_weight_pair(8, *weight, 0), row->pairs[tap / 2U]);
            total += nas_two_products(nas_weight_pair(8, *weight, 1), row->pairs[tap / 2U + 1U]);
        }
        const uint32_t right = (uint32_t)-*row->shift;
        const int32_t addend = (int32_t)(row->twice_zero << (right - 1U));
        *row->to = (uint8_t)nas_clamp(nas_multiply_fast((int32_t)(total << 1), *row->multiplier, right, addend), 0, 255);
        row->weights += other ? row->padded / 2U : 0U;
    }
}

#endif
