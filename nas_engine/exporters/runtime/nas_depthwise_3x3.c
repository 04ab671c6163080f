/* Depth-wise convolution with a kernel of 3. With DSP instructions, a stride of 1 or 2 and NAS_FAST_ROUNDING a loop of its own,
 * see nas_depthwise_dsp.h; else the plain one. */
#include "nas_depthwise_dsp.h"
#include "nas_depthwise_twos.h"

#if defined(__ARM_FEATURE_DSP)

typedef struct {
    uint32_t left[3];  /* weights 0 and 1 of each kernel row */
    uint32_t bias;     /* doubled */
    uint32_t right[3]; /* weights 1 and 2 */
    nas_depthwise_tail tail;
} table;

typedef char table_has_no_gaps[sizeof(table) == 4U * (3U + 1U + 3U + 6U) ? 1 : -1];

#define DATA "ldm %[p]!, {r3, r4, r5}\n"
#define DATA_KEPT "ldm %[p], {r3, r4, r5}\n" /* the next round begins with the same columns */
#define WEIGHTS "ldm %[k]!, {r8, r9, r10}\n"
#define WEIGHTS_BIAS "ldm %[k]!, {r8, r9, r10, r12}\n"
#define MACS(op, sum) NAS_MAC(op, sum, "r3", "r8") NAS_MAC(op, sum, "r4", "r9") NAS_MAC(op, sum, "r5", "r10")

/* Columns 0 1, 2 3: u is of columns 0 to 2, v of 1 to 3. */
static NAS_SMALL void stride_1(const table *k, const uint8_t *p, uint8_t *y)
{
    NAS_LOOP(DATA WEIGHTS_BIAS
         "smlatb %[v], r3, r8, r12\n" NAS_MAC("smlatb", NAS_V, "r4", "r9") NAS_MAC("smlatb", NAS_V, "r5", "r10")
         MACS("smlad", NAS_U)
         DATA_KEPT WEIGHTS
         MACS("smlad", NAS_V)
         MACS("smlabt", NAS_U)
         NAS_TWO_RESULTS);
}

/* Columns 0 1, 2 3, 4 5: u is of columns 0 to 2, v of 2 to 4. */
static NAS_SMALL void stride_2(const table *k, const uint8_t *p, uint8_t *y)
{
    NAS_LOOP(DATA WEIGHTS_BIAS "mov %[v], r12\n"
         MACS("smlad", NAS_U)
         DATA
         MACS("smlad", NAS_V)
         WEIGHTS
         MACS("smlabt", NAS_U)
         DATA_KEPT
         MACS("smlabt", NAS_V)
         NAS_TWO_RESULTS);
}

/* Columns 0 1, 2 3 of four rows. */
NAS_FOURS(two_rows,
    "ldm r1!, {r3-r6}\n ldm r0!, {r8-r11}\n"
    NAS_FOUR_BEGIN NAS_FOUR_SUMS("smlad", "smlatb", "r4", "r5", "r9") NAS_FOUR_SUMS("smlad", "smlatb", "r5", "r6", "r10")
    "ldm r1, {r3-r6}\n ldm r0!, {r8-r10}\n"
    NAS_FOUR_SUMS("smlabt", "smlad", "r3", "r4", "r8") NAS_FOUR_SUMS("smlabt", "smlad", "r4", "r5", "r9")
    NAS_FOUR_SUMS("smlabt", "smlad", "r5", "r6", "r10")
    NAS_FOUR_RESULTS("28"))

NAS_INLINE void set_row(table *k, uint32_t row, const int8_t *weight)
{
    const uint32_t middle = (uint32_t)weight[1];
    k->left[row] = nas_lower_halves((uint32_t)weight[0], middle);
    k->right[row] = nas_lower_halves(middle, (uint32_t)weight[2]);
}

/* A nas_depthwise_multiply. */
static NAS_SMALL void multiply(const nas_depthwise_job *job, uint32_t channel, uint32_t held, uint8_t *output)
{
    const nas_layer *const layer = job->layer;
    const uint32_t channels = layer->in_channels, stride = layer->stride, pairs = job->count / 2U;
    const uint32_t step = pairs != 0U ? job->step : 0U, even = 2U * pairs * step, zero = layer->out_zero;
    const uint32_t odd = pairs != 0U ? job->count & 1U : 0U; /* a last result, after pairs of them */
    const int8_t *weight = job->weights + 9U * channel, *shift = (const int8_t *)(layer->constants + 2U * channels) + channel;
    const int32_t *constants = layer->constants + channel, *const past = constants + held;
    const uint8_t *plane = job->planes;
    void (*const loop)(const table *, const uint8_t *, uint8_t *) = job->rows == 4U ? two_rows : stride == 1U ? stride_1 : stride_2;
    table k;
    k.tail.step = step;
    k.tail.below = job->below;
    do {
        NAS_OPAQUE(constants);
        set_row(&k, 0U, weight);
        set_row(&k, 1U, weight + 3);
        set_row(&k, 2U, weight + 6);
        nas_depthwise_constants(constants, channels, *shift, zero, &k.bias, &k.tail, (uint8_t *)&k);
        k.tail.end = output + even;
        loop(&k, plane, output);
        if (odd != 0U) {
            k.tail.step = 0U;
            loop(&k, plane + pairs * 4U * job->rows * stride, k.tail.end);
            k.tail.step = step;
        }
        weight += 9;
        shift++;
        plane += job->plane;
        output += job->apart;
    } while (++constants != past);
}

#endif

void nas_depthwise_3x3(const nas_layer *layer, uint8_t *arena)
{
#if defined(__ARM_FEATURE_DSP)
    nas_depthwise_quick(layer, arena, multiply);
#else
    nas_depthwise_quick(layer, arena, nas_depthwise_plain);
#endif
}
