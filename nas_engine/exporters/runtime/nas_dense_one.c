/* Two channels and one pixel at once. */
#include "nas_dense_one.h"

#include "nas_dense_pairs.h"
#include "nas_requantise.h"

#if defined(NAS_ASSEMBLY)

/* r0 the record, in the loop an input  r1, r2 sums  r3 inputs  lr their end  r4 weights  r5 a pair of them
 * r6 .. r9 weights of both channels, twice  r0, r10 .. r12 inputs: eight taps a load. After the loop as NAS_CHANNEL of the two
 * pixels has them. */
#define NAS_TAPS(FIRST, OTHER, EVEN, ODD) \
    "sxtb16 r5, " FIRST "\n sxtb16 " FIRST ", " FIRST ", ror #8\n smlad r1, r5, " EVEN ", r1\n smlad r1, " FIRST ", " ODD ", r1\n" \
    "sxtb16 r5, " OTHER "\n sxtb16 " OTHER ", " OTHER ", ror #8\n smlad r2, r5, " EVEN ", r2\n smlad r2, " OTHER ", " ODD ", r2\n"
#define NAS_EIGHT \
    "ldm r4!, {r6-r9}\n ldm r3!, {r0, r10-r12}\n" NAS_TAPS("r6", "r7", "r0", "r10") NAS_TAPS("r8", "r9", "r11", "r12")
#define NAS_END(SUM) \
    "ldrsb r12, [r7], #1\n ldr r10, [r6], #4\n mvn r3, r12\n lsl r3, r9, r3\n rsb r12, r12, #0\n" \
    "add r3, r3, " SUM ", asr #31\n smmlar r3, " SUM ", r10, r3\n asr r3, r3, r12\n usat r3, #8, r3\n strb r3, [r8], #1\n"

/* Sixteen taps a round; an odd four comes first, an odd eight enters in the middle. */
NAS_PAIRS(nas_dense_one,
    "push {r0, r4-r11, lr}\n ldr r4, [r0, #32]\n"
    "0:\n ldr r5, [r0, #16]\n ldrd r1, r2, [r5], #8\n str r5, [r0, #16]\n ldr r3, [r0, #8]\n ldr r12, [r0, #48]\n"
    "add lr, r3, r12, lsl #1\n tst r12, #4\n beq 1f\n"
    "ldrd r10, r11, [r3], #8\n ldrd r6, r7, [r4], #8\n" NAS_TAPS("r6", "r7", "r10", "r11") "cmp r3, lr\n beq 4f\n"
    "1:\n tst r12, #8\n bne 3f\n"
    "2:\n" NAS_EIGHT "3:\n" NAS_EIGHT "cmp r3, lr\n bne 2b\n"
    "4:\n ldr r0, [sp]\n lsl r1, r1, #1\n lsl r2, r2, #1\n ldrd r6, r7, [r0, #20]\n ldr r8, [r0, #28]\n ldr r9, [r0, #40]\n"
    NAS_END("r1") NAS_END("r2")
    "strd r6, r7, [r0, #20]\n ldr r3, [r0, #44]\n str r8, [r0, #28]\n cmp r7, r3\n bne 0b\n pop {r0, r4-r11, pc}\n")

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
