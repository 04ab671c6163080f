/* Average pools: sums of channels, and means of stored values, halves away from TFLite's 0 (docs/integer_model.md). */
#include "nas_pool.h"

#include "nas_bits.h"

#define MOST_BYTES 257U /* whose sum fits 16 bits */

void nas_pool_begin(nas_pool *pool, const nas_layer *layer, uint32_t count)
{
    const uint32_t bits = layer->in_bits, zero = layer->in_zero == 0U ? 128U : 1U << (bits - 1U); /* what stands for TFLite's 0 */
    pool->channels = layer->in_channels;
    pool->bits = bits;
    pool->count = count;
    pool->half = (count - 1U) / 2U;
    pool->above = count & 1U ? UINT32_MAX : count * zero + 1U; /* only an even count has halves */
}

NAS_INLINE uint32_t mean_of(const nas_pool *pool, uint32_t sum)
{
    return (sum + pool->half + (sum >= pool->above ? 1U : 0U)) / pool->count;
}

#if defined(__ARM_FEATURE_DSP) && defined(__thumb2__)

/* Bytes, eight channels at a time. Four that are left at the end are taken together with the four before, whose means are done.
 *
 * r0 the record  r1, r2 the eight channels' input and output  r3 .. r6 their sums: of channels 0 and 2, 1 and 3, 4 and 6, 5 and 7
 * r7, r8 eight bytes  r9 channels  r10 end of a run  r11 runs  r12 where it is read  lr channels from here on
 * then r7 .. r9 count, half, above  r10 a mean. On the stack: sums, end of the channels. */
#define NAS_MEAN(SUM) SUM "\n cmp r10, r9\n adc r10, r10, r8\n udiv r10, r10, r7\n strb r10, [r2], #1\n"
#define NAS_MEANS(EVEN, ODD) \
    NAS_MEAN("uxth r10, " EVEN) NAS_MEAN("uxth r10, " ODD) NAS_MEAN("lsr r10, " EVEN ", #16") NAS_MEAN("lsr r10, " ODD ", #16")
__attribute__((naked)) static NAS_SMALL void means_of_bytes(__attribute__((unused)) const nas_pool *pool,
    __attribute__((unused)) const uint8_t *from, __attribute__((unused)) uint8_t *to)
{
    __asm__ volatile(
        "push {r4-r11, lr}\n ldr r3, [r0, #32]\n ldr r4, [r0]\n add r4, r4, r1\n push {r3, r4}\n"
        "0:\n ldrd r7, lr, [sp]\n ldm r7, {r3-r6}\n ldrd r9, r11, [r0]\n sub lr, lr, r1\n mov r12, r1\n cmp lr, #4\n it eq\n subeq r12, r12, #4\n"
        "1:\n ldr r10, [r0, #8]\n add r10, r10, r12\n"
        "2:\n ldrd r7, r8, [r12]\n add r12, r12, r9\n uxtab16 r3, r3, r7\n uxtab16 r4, r4, r7, ror #8\n"
        "uxtab16 r5, r5, r8\n uxtab16 r6, r6, r8, ror #8\n cmp r12, r10\n bne 2b\n"
        "ldr r7, [r0, #12]\n add r12, r12, r7\n subs r11, r11, #1\n bne 1b\n"
        "ldr r7, [sp]\n ldr r8, [r0, #36]\n add r8, r8, r7\n str r8, [sp]\n ldr r8, [r0, #28]\n cmp r8, #0\n beq 3f\n stm r7, {r3-r6}\n b 5f\n"
        "3:\n add r10, r0, #16\n ldm r10, {r7-r9}\n cmp lr, #4\n beq 4f\n" NAS_MEANS("r3", "r4")
        "4:\n" NAS_MEANS("r5", "r6")
        "5:\n ldr r10, [sp, #4]\n add r1, r1, #8\n cmp r1, r10\n blo 0b\n add sp, sp, #8\n pop {r4-r11, pc}\n");
}

#else

/* Bytes, four channels at a time: sums of channels 0 and 2, 1 and 3. */
static NAS_SMALL void means_of_bytes(const nas_pool *pool, const uint8_t *from, uint8_t *to)
{
    uint32_t *sums = pool->sums;
    for (const uint8_t *const end = from + pool->channels; from != end; from += 4, to += 4, sums += pool->step / 8U) {
        const uint8_t *at = from;
        uint32_t even = sums[0], odd = sums[1];
        for (uint32_t runs = pool->runs; runs; runs--, at += pool->apart) {
            for (const uint8_t *const past = at + pool->size; at != past; at += pool->channels) {
                const uint32_t word = nas_word_at(at);
                even += word & 0x00FF00FFU;
                odd += (word >> 8) & 0x00FF00FFU;
            }
        }
        if (pool->more) {
            sums[0] = even;
            sums[1] = odd;
            continue;
        }
        to[0] = (uint8_t)mean_of(pool, even & 0xFFFFU);
        to[1] = (uint8_t)mean_of(pool, odd & 0xFFFFU);
        to[2] = (uint8_t)mean_of(pool, even >> 16);
        to[3] = (uint8_t)mean_of(pool, odd >> 16);
    }
}

#endif

/* Channel by channel, any width. */
static NAS_RARE void means(const nas_pool *pool, const uint8_t *input, uint32_t first, uint8_t *output, uint32_t index)
{
    const uint32_t channels = pool->channels, bits = pool->bits;
    for (uint32_t c = 0; c < channels; c++) {
        uint32_t *const kept = pool->sums + c * pool->step / 16U, sum = *kept, at = first + c;
        for (uint32_t runs = pool->runs; runs; runs--, at += pool->apart) {
            for (const uint32_t past = at + pool->size; at != past; at += channels) {
                sum += nas_get(input, at, bits);
            }
        }
        if (pool->more) {
            *kept = sum;
        } else {
            nas_put(output, index + c, bits, mean_of(pool, sum));
        }
    }
}

void nas_pool_part(const nas_pool *pool, const uint8_t *input, uint32_t first, uint8_t *output, uint32_t index)
{
    if (pool->bits == 8U && (pool->channels & 3U) == 0U && pool->channels > 4U && pool->count <= MOST_BYTES) {
        means_of_bytes(pool, input + first, output + index);
    } else {
        means(pool, input, first, output, index);
    }
}
