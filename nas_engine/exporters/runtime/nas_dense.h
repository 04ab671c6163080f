/* Pieces that the pointwise, dense and k x k kernels share. Nothing here is for callers of the runtime.
 *
 * Two pixels and two output channels are worked on at once: each weight that is unpacked and each input that is read serves
 * two products.
 *
 *   pairs    the taps of two pixels as unsigned 16-bit numbers. Taps are taken in fours, 0 1 2 3; two words hold the pairs
 *            (0, 2) and (1, 3), as UXTB16 takes them from a word of four bytes. The words of the two pixels alternate.
 *   weights  the words of two output channels alternate. w8: four int8 taps a word in their natural order, so that SXTB16 gives
 *            the same pairs. w4, w2: 8 or 16 taps a word, stored as w + 2^(bits-1); shifting a word to the right by
 *            0, bits, 2*bits, ... leaves the next pair in its two halves, below a mask.
 *   tile     weights of at most 16 output channels, unpacked to the w8 layout and shifted to the left by 8 - bits.
 */
#ifndef NAS_DENSE_H
#define NAS_DENSE_H

#include <string.h>

#include "nas_bits.h"
#include "nas_requantise.h"
#include "nas_runtime.h"

#define NAS_APART __attribute__((noinline)) /* its registers on the stack are given back when it returns, and its code is there once */

typedef struct {
    const nas_layer *layer;
    const uint8_t *input;
    uint8_t *output;
    uint32_t *pairs;    /* 4 * padded bytes */
    uint32_t *tile;     /* padded * min(O rounded up to 2, 16) bytes */
    uint8_t *gathered;  /* k x k: 2 * padded bytes */
    uint32_t taps;      /* of one output channel */
    uint32_t padded;    /* the same, rounded up to 4 */
    uint32_t pixels;    /* of the output */
    uint32_t channels;  /* of the output */
    uint32_t slot_bits; /* width at which the output is written: that of the shortcut, where that is wider */
    uint32_t zero;      /* added to every result before it is clamped to 0 .. 255 */
    uint32_t direct;    /* 8-bit results in twos that meet no shortcut go straight to the output */
    uint32_t carried;   /* words of w4 and w2: 8 - bits, the shift of their sums */
    uint32_t bit;       /* stream kernels: where the next weight begins */
    uint32_t start[2];  /* w4, w2: -2^(bits-1) times the sum of each pixel's taps, where its accumulators begin */
    uint8_t bytes[2][NAS_CHANNELS_AT_ONCE]; /* results of two pixels on their way to the output */
} nas_dense;

/* Fill in the record; bring the shortcut to the slot width. */
void nas_dense_begin(nas_dense *dense, const nas_layer *layer, uint8_t *arena);

/* Expand pixel and pixel + 1 of a 1x1 layer into pairs; the last pixel alone is expanded twice. */
NAS_APART void nas_dense_expand(const nas_dense *dense, uint32_t pixel);

/* Expand the taps of a k x k layer's two pixels, which stand in dense->gathered. */
void nas_dense_expand_gathered(const nas_dense *dense);

/* Set dense->start for weights stored as w + 2^shift. */
void nas_dense_offset(nas_dense *dense, uint32_t shift);

/* Return the next `count` output channels of the stream in the w8 layout, unpacked into the tile where they must be. */
NAS_APART const uint32_t *nas_dense_unpack(nas_dense *dense, uint32_t count);

/* Add the shortcut to dense->bytes, clamp, pack into the output. Not with dense->direct. */
NAS_APART void nas_dense_finish(nas_dense *dense, uint32_t pixel, uint32_t channel, uint32_t count);

/* All of a 1x1 or k x k layer: tiles of 16 channels, and for each all pixels. `load` puts two pixels into pairs. */
void nas_dense_stream(nas_dense *dense, void (*load)(const nas_dense *dense, uint32_t pixel));

/* Narrow the output from the shortcut's width, where that is wider. */
void nas_dense_end(const nas_dense *dense);

/* `count` elements of a bit stream of `size` bytes, one byte each. */
NAS_APART void nas_fetch(const uint8_t *stream, uint32_t size, uint32_t element, uint32_t count, uint32_t bits, uint8_t *to);

/* Bytes of a tensor with its padding to whole words. */
static inline uint32_t nas_stream_bytes(uint32_t elements, uint32_t bits)
{
    return (elements * bits + 31U) / 32U * 4U;
}

static inline uint32_t nas_load_word(const uint8_t *from) /* at any address */
{
    uint32_t word;
    memcpy(&word, from, sizeof word);
    return word;
}

static inline void nas_store_word(uint8_t *to, uint32_t word)
{
    memcpy(to, &word, sizeof word);
}

/* Whether four elements at a bit lie in one word of those that may be read, and do not leave it. */
static inline int nas_four_in_word(uint32_t size, uint32_t bit, uint32_t bits)
{
    return (bit >> 3) + 4U <= size && (bit & 7U) + 4U * bits <= 32U;
}

/* Four elements in the low 4 * bits bits of a word to the upper bits of its four bytes; what lies above them is ignored. */
static inline uint32_t nas_spread(uint32_t word, uint32_t bits)
{
    const uint32_t up = 16U - 2U * bits, low = (0xFFU << (8U - bits)) & 0xFFU, even = low | low << 16;
    const uint32_t halves = (word & 0xFFFFU) | ((word << up) & 0xFFFF0000U); /* two elements in each, and bits without meaning */
    return ((halves << (8U - bits)) & even) | ((halves << up) & (even << 8));
}

/* A row of output channels for two pixels, as the inner loops see it. Thirteen words before `sums`; assembly counts on the order. */
typedef struct {
    uint32_t start[2];         /* w4, w2: where the accumulators of each pixel begin; w8 begins at the bias */
    const uint32_t *pairs, *end;
    const int32_t *bias, *multiplier;
    const int8_t *shift;
    uint8_t *to;               /* results of the first pixel */
    const uint32_t *weights;
    uint32_t apart;            /* the results of the second pixel lie this much further; 0: it is the first one again */
    uint32_t twice_zero;       /* 2 * zero + 1; 0: stop after two channels and leave their sums, for the general rounding */
    const int8_t *last;        /* end of the shifts: where to stop */
    uint32_t padded;
    uint32_t sums[4];          /* channel 0: pixel 0, pixel 1; channel 1: pixel 0, pixel 1; modulo 2^32 */
} nas_row;

/* Sums of products for two channels at a time, rounded by nas_multiply_fast and clamped to 0 .. 255. */
void nas_dense_pairs_w8(nas_row *row);
void nas_dense_pairs_w4(nas_row *row);
void nas_dense_pairs_w2(nas_row *row);

#if defined(__ARM_FEATURE_DSP) && defined(__thumb2__) /* every Cortex-M with DSP instructions */
#define NAS_ASSEMBLY

/* In assembly because all 14 registers are needed, and a compiler that is short of one puts loads and stores into the loop.
 *
 *   r0 the record   r1 .. r4 sums: channel 0, pixels 0 and 1; channel 1, pixels 0 and 1   r5 weights
 *   in the loop     r6 pairs  r7 their end  r8, r9 weights of the two channels  r10 one pair of them  r11, r12 inputs  lr mask
 *   after it        r6 2 * zero + 1  r7 multipliers  r8 shifts  r9 results  r10, r11, r12, lr free
 */
#define NAS_TWO(P, Q) "smlad " P ", r10, r11, " P "\n smlad " Q ", r10, r12, " Q "\n"
#define NAS_MASKED(SHIFT) \
    "ldrd r11, r12, [r6], #8\n" \
    "and r10, lr, r8" SHIFT "\n" NAS_TWO("r1", "r2") \
    "and r10, lr, r9" SHIFT "\n" NAS_TWO("r3", "r4")
#define NAS_EXTENDED(TURN) \
    "ldrd r11, r12, [r6], #8\n" \
    "sxtb16 r10, r8" TURN "\n" NAS_TWO("r1", "r2") \
    "sxtb16 r10, r9" TURN "\n" NAS_TWO("r3", "r4")
#define NAS_FOUR_W8 "ldrd r8, r9, [r5], #8\n" NAS_EXTENDED("") NAS_EXTENDED(", ror #8")

#define NAS_BEGIN "push {r4-r11, lr}\n ldr r5, [r0, #32]\n 0:\n"
#define NAS_START(MASK) \
    "ldrd r1, r2, [r0]\n ldrd r6, r7, [r0, #8]\n mov r3, r1\n mov r4, r2\n mov lr, #" MASK "\n" \
    "1:\n ldrd r8, r9, [r5], #8\n"
#define NAS_AGAIN "cmp r6, r7\n bne 1b\n"
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
#define NAS_RESULTS \
    "ldr r7, [r0, #20]\n ldrd r8, r9, [r0, #24]\n" NAS_CHANNEL("r1", "r2") NAS_CHANNEL("r3", "r4") \
    "str r7, [r0, #20]\n ldr r10, [r0, #44]\n strd r8, r9, [r0, #24]\n cmp r8, r10\n bne 0b\n pop {r4-r11, pc}\n"

#define NAS_PAIRS(NAME, BODY) \
    typedef char NAME##_counts_on[sizeof(nas_row) == 68 ? 1 : -1]; \
    __attribute__((naked)) NAS_APART void NAME(__attribute__((unused)) nas_row *row) \
    { \
        __asm__ volatile(BODY); \
    }

#else

static inline uint32_t nas_two_products(uint32_t weight_pair, uint32_t input_pair)
{
    const int32_t low = (int32_t)(int16_t)(weight_pair & 0xFFFFU) * (int32_t)(input_pair & 0xFFFFU);
    const int32_t high = (int32_t)(int16_t)(weight_pair >> 16) * (int32_t)(input_pair >> 16);
    return (uint32_t)low + (uint32_t)high;
}

/* Pair number `number` of a word of weights. */
static inline uint32_t nas_weight_pair(uint32_t bits, uint32_t word, uint32_t number)
{
    if (bits == 8U) {
        const uint32_t turned = word >> (8U * number);
        return ((uint32_t)(int32_t)(int8_t)(turned & 0xFFU) & 0xFFFFU) | (uint32_t)(int32_t)(int8_t)((turned >> 16) & 0xFFU) << 16;
    }
    return (word >> (bits * number)) & (bits == 4U ? 0x000F000FU : 0x00030003U);
}

/* The same in C. */
static inline void nas_dense_pairs(nas_row *row, uint32_t bits)
{
    do {
        const uint32_t own0 = bits == 8U ? (uint32_t)row->bias[0] : 0U, own1 = bits == 8U ? (uint32_t)row->bias[1] : 0U;
        uint32_t a = own0 + row->start[0], b = own0 + row->start[1], c = own1 + row->start[0], d = own1 + row->start[1];
        for (const uint32_t *pairs = row->pairs; pairs != row->end; row->weights += 2) {
            for (uint32_t number = 0; number < 16U / bits; number++, pairs += 2) {
                const uint32_t first = nas_weight_pair(bits, row->weights[0], number);
                const uint32_t second = nas_weight_pair(bits, row->weights[1], number);
                a += nas_two_products(first, pairs[0]);
                b += nas_two_products(first, pairs[1]);
                c += nas_two_products(second, pairs[0]);
                d += nas_two_products(second, pairs[1]);
            }
        }
        row->sums[0] = a;
        row->sums[1] = b;
        row->sums[2] = c;
        row->sums[3] = d;
        for (uint32_t channel = 0; channel < 2U && row->twice_zero; channel++, row->to++, row->shift++, row->multiplier++) {
            const uint32_t right = (uint32_t)-*row->shift, up = 9U - bits, bias = bits == 8U ? 0U : (uint32_t)row->bias[channel] << 1;
            for (uint32_t pixel = 0; pixel < 2U; pixel++) {
                const int32_t twice = (int32_t)((row->sums[2U * channel + pixel] << up) + bias);
                const int32_t result = nas_multiply_fast(twice, *row->multiplier, right, (int32_t)(row->twice_zero << (right - 1U)));
                row->to[pixel * row->apart] = (uint8_t)nas_clamp(result, 0, 255);
            }
        }
        row->bias += 2;
    } while (row->twice_zero && row->shift != row->last);
}

#endif

/* Results of `count` channels from `channel` on, for two pixels; `pairs` is one of the inner loops above.
 *
 * An odd count computes one channel more than there is: its constants are whatever follows in the same array (the shift is the
 * -1 that fills up the last word), its result stays in dense->bytes.
 */
NAS_APART void nas_dense_row(
    nas_dense *dense, void (*pairs)(nas_row *row), const uint32_t *weights, uint32_t pixel, uint32_t channel, uint32_t count);

/* All of a 1x1 layer whose weights are multiplied as they stand in Flash: pixels outside, channels inside. */
void nas_dense_native(nas_dense *dense, void (*pairs)(nas_row *row), uint32_t bits);

#endif
