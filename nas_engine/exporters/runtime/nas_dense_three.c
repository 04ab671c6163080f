/* Two channels and three pixels at once. */
#include "nas_dense_three.h"

#include "nas_dense_expand.h"
#include "nas_dense_output.h"
#include "nas_dense_pairs.h"
#include "nas_requantise.h"

/* What the inner loop works on; assembly counts on the order. */
typedef struct {
    const uint32_t *weights, *pairs, *end;
    const nas_three *constants, *last;
    uint8_t *to;    /* results of the first pixel */
    uint32_t apart; /* the results of the next pixel lie this much further */
    uint32_t skip;  /* bytes of the loop's code that are jumped over at first: the fours that are missing to a multiple of 4 */
} nas_job;

#if defined(NAS_ASSEMBLY)

/* r0 pairs  r1 weights  r2 .. r4 sums of the first channel, r5 .. r7 of the second  r8, r9 weights of both  r10 .. r12 inputs
 * lr a pair of weights, later r8 and r9 too; the rest lies on the stack: end, pairs, constants, to, apart, last, entry of the loop. */
/* An instruction that extends weights stands before one that multiplies, not of what it extends: a core that issues two
 * instructions at once may pair them. */
#define NAS_FOUR \
    "ldrd r8, r9, [r1], #8\n ldmia.w r0!, {r10, r11, r12}\n sxtb16 lr, r8\n" \
    "smlad r2, lr, r10, r2\n sxtb16 r8, r8, ror #8\n smlad r3, lr, r11, r3\n smlad r4, lr, r12, r4\n sxtb16 lr, r9\n" \
    "smlad r5, lr, r10, r5\n sxtb16 r9, r9, ror #8\n smlad r6, lr, r11, r6\n smlad r7, lr, r12, r7\n" \
    "ldmia.w r0!, {r10, r11, r12}\n smlad r2, r8, r10, r2\n smlad r5, r9, r10, r5\n" \
    "smlad r3, r8, r11, r3\n smlad r6, r9, r11, r6\n smlad r4, r8, r12, r4\n smlad r7, r9, r12, r7\n"
#define NAS_FOUR_BYTES 76U
#define NAS_END(SUM, TO) \
    "add lr, r9, " SUM ", asr #31\n smmlar lr, " SUM ", r8, lr\n asr lr, lr, r10\n usat lr, #8, lr\n strb lr, " TO "\n"
#define NAS_END_CHANNEL(P, Q, R) \
    "ldmia.w r0!, {r8, r9, r10}\n" NAS_END(R, "[r11, r12, lsl #1]") NAS_END(Q, "[r11, r12]") NAS_END(P, "[r11], #1")

typedef char nas_dense_three_counts_on[sizeof(nas_three) == 32 && sizeof(nas_job) == 32 ? 1 : -1];

__attribute__((naked)) static NAS_SMALL void work(__attribute__((unused)) const nas_job *job)
{
    __asm__ volatile(
        "push {r4-r11, lr}\n sub sp, sp, #32\n ldr r8, [r0, #28]\n adr.w lr, 1f\n add r8, r8, lr\n add r8, r8, #1\n ldmia r0, {r1-r7}\n"
        "str r3, [sp]\n strd r2, r4, [sp, #4]\n strd r6, r7, [sp, #12]\n strd r5, r8, [sp, #20]\n"
        "0:\n ldrd r0, r8, [sp, #4]\n ldrd r2, r5, [r8]\n mov r3, r2\n mov r4, r2\n mov r6, r5\n mov r7, r5\n ldr pc, [sp, #24]\n"
        ".balign 4\n 1:\n" NAS_FOUR NAS_FOUR NAS_FOUR NAS_FOUR "ldr lr, [sp]\n cmp r0, lr\n bne 1b\n"
        "ldr r0, [sp, #8]\n ldrd r11, r12, [sp, #12]\n add r0, r0, #8\n"
        NAS_END_CHANNEL("r2", "r3", "r4") NAS_END_CHANNEL("r5", "r6", "r7")
        "str r0, [sp, #8]\n str r11, [sp, #12]\n ldr lr, [sp, #20]\n cmp r0, lr\n bne 0b\n add sp, sp, #32\n pop {r4-r11, pc}\n");
}

#else

#define NAS_FOUR_BYTES 0U

static NAS_SMALL void work(const nas_job *job)
{
    const uint32_t *weights = job->weights;
    uint8_t *to = job->to;
    for (const nas_three *constants = job->constants; constants != job->last; constants++) {
        uint32_t sums[2][3];
        for (uint32_t i = 0; i < 3U; i++) {
            sums[0][i] = constants->twice_bias[0];
            sums[1][i] = constants->twice_bias[1];
        }
        for (const uint32_t *pairs = job->pairs; pairs != job->end; weights += 2) {
            for (uint32_t number = 0; number < 2U; number++, pairs += 3) {
                const uint32_t first = nas_weight_pair(8, weights[0], number), second = nas_weight_pair(8, weights[1], number);
                for (uint32_t i = 0; i < 3U; i++) {
                    sums[0][i] += nas_two_products(first, pairs[i]);
                    sums[1][i] += nas_two_products(second, pairs[i]);
                }
            }
        }
        for (uint32_t channel = 0; channel < 2U; channel++, to++) {
            for (uint32_t i = 0; i < 3U; i++) {
                const int32_t result = nas_multiply_fast((int32_t)sums[channel][i], constants->channel[channel].multiplier,
                    constants->channel[channel].right, constants->channel[channel].addend);
                to[i * job->apart] = (uint8_t)nas_clamp(result, 0, 255);
            }
        }
    }
}

#endif

void nas_dense_spread(const nas_dense *dense, uint32_t channel, uint32_t count)
{
    const int32_t *bias = dense->layer->constants + channel, *multiplier = bias + dense->channels;
    const int8_t *shift = (const int8_t *)(dense->layer->constants + 2U * dense->channels) + channel;
    nas_three *to = dense->constants;
    for (uint32_t done = 0; done < count; done += 2U, to++) {
        for (uint32_t i = 0; i < 2U; i++) {
            const uint32_t right = 0U - (uint32_t)*shift++;
            to->twice_bias[i] = (uint32_t)*bias++ << 1;
            to->channel[i].multiplier = *multiplier++;
            to->channel[i].addend = nas_fast_addend(right, dense->zero);
            to->channel[i].right = right;
        }
    }
}

void nas_dense_run_of_threes(
    nas_dense *dense, nas_dense_load *load, const uint32_t *weights, uint32_t end, uint32_t channel, uint32_t count)
{
    const nas_layer *layer = dense->layer;
    const uint32_t taps = dense->taps, channels = dense->channels, direct = dense->direct, at_once = direct ? count : NAS_RESULTS_AT_ONCE;
    const int plain = layer->kernel == 1U && layer->stride == 1U && layer->in_bits == 8U && taps % 4U == 0U;
    const uint8_t *from = dense->input;
    nas_job job;
    job.pairs = dense->pairs;
    job.end = dense->pairs + dense->padded / 2U * 3U;
    job.to = direct ? dense->output + channel : dense->bytes[0];
    job.apart = direct ? channels : NAS_RESULTS_AT_ONCE;
    job.skip = (0U - dense->padded / 4U) % 4U * NAS_FOUR_BYTES;
    for (uint32_t pixel = 0; pixel < end; pixel += 3U, from += 3U * taps) {
        if (plain) {
            nas_dense_expand_three(dense->pairs, from, from + taps, from + 2U * taps, taps / 4U);
        } else {
            load(dense, pixel, 3U);
        }
        job.weights = weights;
        job.last = dense->constants;
        for (uint32_t done = 0; done < count; done += at_once, job.weights += at_once * dense->padded / 4U) {
            const uint32_t left = count - done, some = left < at_once ? left : at_once;
            job.constants = job.last;
            job.last += (some + 1U) / 2U;
            work(&job);
            if (!direct) {
                nas_dense_finish(dense, pixel, 3U, channel + done, some);
            }
        }
        job.to += direct ? 3U * channels : 0U;
    }
}
