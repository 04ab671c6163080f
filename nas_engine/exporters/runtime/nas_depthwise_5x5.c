/* Depth-wise convolution with a kernel of 5. With DSP instructions, a stride of 1 or 2 and NAS_FAST_ROUNDING a loop of its own,
 * see nas_depthwise_dsp.h; else the plain one. */
#include <stdbool.h>

#include "nas_depthwise_dsp.h"
#include "nas_depthwise_twos.h"

#if defined(__ARM_FEATURE_DSP)

typedef struct {
    uint32_t bias;                                             /* doubled */
    uint32_t first[3], first_[2];                              /* weights 0 and 1 of kernel rows 0 to 2, and of 3 and 4 */
    uint32_t second[3], third[3], second_[2], third_[2];       /* weights 1 and 2, 2 and 3 */
    uint32_t fourth[3], fourth_[2];                            /* weights 3 and 4 */
    nas_depthwise_tail tail;
} table;

typedef char table_has_no_gaps[sizeof(table) == 4U * (1U + 4U * 5U + 6U) ? 1 : -1];

/* Data of a pair of columns; a pair of weights for each row, first of three rows, then of two. */
#define DATA "ldm %[p]!, {r3, r4, r5, r6, r8}\n"
#define BIAS "ldr r12, [%[k]], #4\n"
#define WEIGHTS3 "ldm %[k]!, {r9, r10, r11}\n"
#define WEIGHTS2 "ldm %[k]!, {r9, r10}\n"
#define MACS3(op, sum) NAS_MAC(op, sum, "r3", "r9") NAS_MAC(op, sum, "r4", "r10") NAS_MAC(op, sum, "r5", "r11")
#define MACS2(op, sum) NAS_MAC(op, sum, "r6", "r9") NAS_MAC(op, sum, "r8", "r10")
#define THIRD3 "ldm %[k]!, {r3, r4, r5, r9, r10, r11}\n" /* passes over `second` */
#define THIRD2 "ldm %[k]!, {r3, r4, r9, r10}\n"
#define TWO_PAIRS_BACK "sub %[p], %[p], #40\n" /* the next round begins one pair of columns, five words, further on */

/* Columns 0 1, 2 3, 4 5: u is of columns 0 to 4, v of 1 to 5. */
static NAS_SMALL void stride_1(const table *k, const uint8_t *p, uint8_t *y)
{
    NAS_LOOP(DATA BIAS
         WEIGHTS3 "smlatb %[v], r3, r9, r12\n" NAS_MAC("smlatb", NAS_V, "r4", "r10") NAS_MAC("smlatb", NAS_V, "r5", "r11") MACS3("smlad", NAS_U)
         WEIGHTS2 MACS2("smlad", NAS_U) MACS2("smlatb", NAS_V)
         DATA
         WEIGHTS3 MACS3("smlad", NAS_V)
         WEIGHTS3 MACS3("smlad", NAS_U)
         WEIGHTS2 MACS2("smlad", NAS_V)
         WEIGHTS2 MACS2("smlad", NAS_U)
         DATA
         WEIGHTS3 MACS3("smlad", NAS_V) MACS3("smlabt", NAS_U)
         WEIGHTS2 MACS2("smlad", NAS_V) MACS2("smlabt", NAS_U)
         TWO_PAIRS_BACK NAS_TWO_RESULTS);
}

/* Columns 0 1, 2 3, 4 5: one result, u, of columns 0 to 4. Weights 1 and 2 are passed over. */
static NAS_SMALL void stride_2(const table *k, const uint8_t *p, uint8_t *y)
{
    NAS_LOOP(DATA BIAS
         WEIGHTS3 MACS3("smlad", NAS_U)
         WEIGHTS2 MACS2("smlad", NAS_U)
         THIRD3 DATA
         MACS3("smlad", NAS_U)
         THIRD2 MACS2("smlad", NAS_U)
         DATA
         WEIGHTS3 MACS3("smlabt", NAS_U)
         WEIGHTS2 MACS2("smlabt", NAS_U)
         TWO_PAIRS_BACK NAS_ONE_RESULT);
}

/* Columns 0 1, 2 3, 4 5 of six rows: first 0 to 3 of a pair of columns, then 4 and 5. */
#define UPPER "ldm r1!, {r3-r6}\n"
#define LOWER "ldm r1!, {r3-r4}\n"
#define UPPER_WEIGHTS "ldm r0!, {r8-r10}\n"
#define LOWER_WEIGHTS "ldm r0!, {r8-r9}\n"
#define UPPER_SUMS(sums) sums("r3", "r4", "r8") sums("r4", "r5", "r9") sums("r5", "r6", "r10")
#define LOWER_SUMS(sums) sums("r6", "r3", "r8") sums("r3", "r4", "r9")
#define IN_FIRST(data, under, weights) NAS_FOUR_SUMS("smlad", "smlatb", data, under, weights)
#define IN_SECOND(data, under, weights) NAS_FOUR_V("smlad", data, under, weights)
#define IN_THIRD(data, under, weights) NAS_FOUR_U("smlad", data, under, weights)
#define IN_FOURTH(data, under, weights) NAS_FOUR_SUMS("smlabt", "smlad", data, under, weights)
NAS_FOURS(two_rows,
    "ldr r11, [r0], #4\n"
    UPPER UPPER_WEIGHTS NAS_FOUR_BEGIN IN_FIRST("r4", "r5", "r9") IN_FIRST("r5", "r6", "r10")
    LOWER LOWER_WEIGHTS LOWER_SUMS(IN_FIRST)
    UPPER UPPER_WEIGHTS UPPER_SUMS(IN_SECOND) UPPER_WEIGHTS UPPER_SUMS(IN_THIRD)
    LOWER LOWER_WEIGHTS LOWER_SUMS(IN_SECOND) LOWER_WEIGHTS LOWER_SUMS(IN_THIRD)
    UPPER UPPER_WEIGHTS UPPER_SUMS(IN_FOURTH)
    LOWER LOWER_WEIGHTS LOWER_SUMS(IN_FOURTH)
    "sub r1, r1, #48\n" NAS_FOUR_RESULTS("84"))

/* Five weights of a kernel row as pairs. */
NAS_INLINE void set_row(uint32_t *first, uint32_t *second, uint32_t *third, uint32_t *fourth, const int8_t *weight)
{
    const uint32_t one = (uint32_t)weight[1], two = (uint32_t)weight[2], three = (uint32_t)weight[3];
    *first = nas_lower_halves((uint32_t)weight[0], one);
    *second = nas_lower_halves(one, two);
    *third = nas_lower_halves(two, three);
    *fourth = nas_lower_halves(three, (uint32_t)weight[4]);
}

/* A nas_depthwise_multiply. */
static NAS_SMALL void multiply(const nas_depthwise_job *job, uint32_t channel, uint32_t held, uint8_t *output)
{
    const nas_layer *const layer = job->layer;
    const uint32_t channels = layer->in_channels, zero = layer->out_zero;
    const bool twos = layer->stride == 1U, single = twos && job->count == 1U; /* one result where the loop makes two */
    const uint32_t odd = twos && !single ? job->count & 1U : 0U;              /* a last result, after pairs of them */
    const uint32_t step = single ? 0U : job->step, most = (job->count - odd) * step;
    const int8_t *weight = job->weights + 25U * channel, *shift = (const int8_t *)(layer->constants + 2U * channels) + channel;
    const int32_t *constants = layer->constants + channel, *const past = constants + held;
    const uint8_t *plane = job->planes;
    void (*const loop)(const table *, const uint8_t *, uint8_t *) = job->rows == 6U ? two_rows : twos ? stride_1 : stride_2;
    table k;
    k.tail.step = step;
    k.tail.below = job->below;
    do {
        for (uint32_t row = 0U; row < 3U; row++, weight += 5) {
            NAS_OPAQUE(weight);
            set_row(&k.first[row], &k.second[row], &k.third[row], &k.fourth[row], weight);
        }
        for (uint32_t row = 0U; row < 2U; row++, weight += 5) {
            NAS_OPAQUE(weight);
            set_row(&k.first_[row], &k.second_[row], &k.third_[row], &k.fourth_[row], weight);
        }
        nas_depthwise_constants(constants, channels, *shift, zero, &k.bias, &k.tail, (uint8_t *)&k);
        k.tail.end = output + most;
        loop(&k, plane, output);
        if (odd != 0U) {
            k.tail.step = 0U;
            loop(&k, plane + 2U * job->rows * (job->count - odd), k.tail.end);
            k.tail.step = step;
        }
        shift++;
        plane += job->plane;
        output += job->apart;
    } while (++constants != past);
}

#endif

void nas_depthwise_5x5(const nas_layer *layer, uint8_t *arena)
{
#if defined(__ARM_FEATURE_DSP)
    nas_depthwise_quick(layer, arena, multiply);
#else
    nas_depthwise_quick(layer, arena, nas_depthwise_plain);
#endif
}
