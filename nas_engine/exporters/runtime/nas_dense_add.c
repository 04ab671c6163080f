/* The shortcut. TFLite scales both operands by 2^20, and each by a multiplier and a shift; it adds them, and scales the sum.
 *
 * With NAS_SAME_SCALE all of that comes to one addition. With NAS_QUICK_ADDITION the operand x with the larger scale has the
 * multiplier 2^30 and no shift, so that its scaled value is x << 19, exactly; the other one and the sum have shifts of
 * -20 .. -1, so that nas_multiply_fast scales them.
 */
#include "nas_dense_add.h"

#include "nas_dense_streams.h"
#include "nas_requantise.h"

NAS_RARE void nas_dense_add_begin(nas_dense *dense)
{
    const nas_layer *layer = dense->layer;
    const nas_addition *addition = layer->addition;
    const int first = addition->first_multiplier == (1 << 30) && addition->first_shift == 0;
    const int32_t multiplier = first ? addition->second_multiplier : addition->first_multiplier;
    const uint32_t right = (uint32_t)-(first ? addition->second_shift : addition->first_shift);
    nas_sum *sum = &dense->sum;
    sum->shortcut_exact = (uint32_t)first;
    sum->exact_zero = (first ? layer->shortcut_zero : 128) << 20;
    sum->scaled_zero = (first ? 128 : layer->shortcut_zero) << 21;
    sum->right = right ? right : 1U; /* equal scales: 2^31 - 1 halved makes the same of 8 bits as 2^30 */
    sum->multiplier = right ? multiplier : INT32_MAX;
    sum->half = nas_fast_addend(sum->right, 0);
    sum->out_right = (uint32_t)-addition->out_shift;
    sum->out_multiplier = addition->out_multiplier;
    sum->addend = nas_fast_addend(sum->out_right, layer->out_zero);
}

#if defined(__ARM_FEATURE_DSP) && defined(__thumb2__)

/* Two elements at a time, side by side, so that a core with two pipelines need not wait for the results of one; an odd one comes
 * first. r0 exact, r1 scaled, and so on as the record has them; r2, r11, r12 and lr are free. On the stack: where the next sum
 * goes, and the end. */
#define NAS_SCALED_UP(X) "rsb " X ", r3, " X ", lsl #21\n"
#define NAS_SCALED(X, T) "add " T ", r5, " X ", asr #31\n smmlar " T ", " X ", r4, " T "\n"
#define NAS_EXACT(X, T) "rsb " X ", r7, " X ", lsl #20\n add " X ", " X ", " T ", lsl #1\n"
#define NAS_SUM(X, T) "add " T ", r9, " X ", asr #31\n smmlar " T ", " X ", r8, " T "\n"
#define NAS_DOWN(T, BY) "asr " T ", " T ", " BY "\n"
#define NAS_CLAMP(T) "usat " T ", #8, " T "\n"
__attribute__((naked)) static NAS_SMALL void add_quick(__attribute__((unused)) const nas_sum *sum)
{
    __asm__ volatile(
        "ldrd r1, r2, [r0, #8]\n push {r1, r2, r4-r11, lr}\n ldr r1, [r0]\n sub r2, r2, r1\n lsls r2, r2, #31\n"
        "ldr r1, [r0, #4]\n add r12, r0, #16\n ldr r0, [r0]\n ldm r12, {r3-r10}\n bpl 1f\n"
        "ldrb r12, [r1], #1\n" NAS_SCALED_UP("r12") NAS_SCALED("r12", "lr") NAS_DOWN("lr", "r6")
        "ldrb r12, [r0], #1\n" NAS_EXACT("r12", "lr") NAS_SUM("r12", "lr") NAS_DOWN("lr", "r10") NAS_CLAMP("lr")
        "ldrd r11, r12, [sp]\n strb lr, [r11], #1\n str r11, [sp]\n cmp r0, r12\n beq 2f\n"
        "1:\n ldrb r12, [r1], #2\n ldrb r11, [r1, #-1]\n" NAS_SCALED_UP("r12") NAS_SCALED_UP("r11")
        NAS_SCALED("r12", "lr") NAS_SCALED("r11", "r2")
        "ldrb r12, [r0], #2\n ldrb r11, [r0, #-1]\n" NAS_DOWN("lr", "r6") NAS_DOWN("r2", "r6")
        NAS_EXACT("r12", "lr") NAS_EXACT("r11", "r2") NAS_SUM("r12", "lr") NAS_SUM("r11", "r2")
        NAS_DOWN("lr", "r10") NAS_DOWN("r2", "r10") NAS_CLAMP("lr") NAS_CLAMP("r2")
        "ldrd r11, r12, [sp]\n strb lr, [r11], #1\n strb r2, [r11], #1\n str r11, [sp]\n cmp r0, r12\n bne 1b\n"
        "2:\n pop {r1, r2, r4-r11, pc}\n");
}

#else

static NAS_SMALL void add_quick(const nas_sum *sum)
{
    const uint8_t *scaled = sum->scaled;
    uint8_t *to = sum->to;
    for (const uint8_t *exact = sum->exact; exact != sum->end; exact++, scaled++, to++) {
        const int32_t other = *scaled * (1 << 21) - sum->scaled_zero;
        const int32_t twice = *exact * (1 << 20) - sum->exact_zero + 2 * nas_multiply_fast(other, sum->multiplier, sum->right, sum->half);
        *to = (uint8_t)nas_clamp(nas_multiply_fast(twice, sum->out_multiplier, sum->out_right, sum->addend), 0, 255);
    }
}

#endif

/* Sums of unsigned bytes of which 128 stands for the second one's 0, as sums of signed ones, where 128 is 0 everywhere. */
static NAS_SMALL void add_same_scale(uint32_t count, const uint8_t *shortcut, const uint8_t *results, uint8_t *to)
{
#if defined(__ARM_FEATURE_DSP)
    for (const uint32_t signs = 0x80808080U; count >= 4U; count -= 4U, shortcut += 4, results += 4, to += 4) {
        uint32_t first = nas_word_at(shortcut) ^ signs, second = nas_word_at(results) ^ signs;
        __asm__("qadd8 %0, %0, %1" : "+r"(first) : "r"(second));
        nas_store_word(to, first ^ signs);
    }
#endif
    for (; count; count--) {
        *to++ = (uint8_t)nas_clamp(*shortcut++ + *results++ - 128, 0, 255);
    }
}

static NAS_RARE void add_any(const nas_layer *layer, uint32_t count, const uint8_t *shortcut, uint8_t *results)
{
    const nas_addition *addition = layer->addition;
    const int32_t zero = layer->shortcut_zero, out_zero = layer->out_zero;
    for (uint32_t i = 0; i < count; i++) {
        const int32_t first = shortcut[i] - zero, second = results[i] - 128;
        const int32_t scaled = nas_multiply(first * (1 << 20), addition->first_multiplier, addition->first_shift) +
                               nas_multiply(second * (1 << 20), addition->second_multiplier, addition->second_shift);
        results[i] = (uint8_t)nas_clamp(nas_multiply(scaled, addition->out_multiplier, addition->out_shift) + out_zero, 0, 255);
    }
}

NAS_SMALL int nas_dense_add(nas_dense *dense, uint32_t element, uint32_t pixels, uint32_t count)
{
    const nas_layer *const layer = dense->layer;
    const uint32_t bits = dense->slot_bits, quick = layer->flags & (uint32_t)NAS_QUICK_ADDITION;
    const int in_place = layer->flags & (NAS_SAME_SCALE | NAS_QUICK_ADDITION) && bits == 8U && layer->out_bits == 8U;
    nas_sum *const sum = &dense->sum;
    uint8_t fetched[NAS_RESULTS_AT_ONCE], *results = dense->bytes[0], *shortcut = in_place ? dense->output + element : fetched;
    for (; pixels; pixels--, results += NAS_RESULTS_AT_ONCE) {
        uint8_t *const to = in_place ? shortcut : results;
        if (!in_place) {
            nas_fetch(dense->output, nas_readable(dense->output, dense->pixels * dense->channels, bits), element, count, bits, fetched);
            element += dense->channels;
        }
        if (layer->flags & NAS_SAME_SCALE) {
            add_same_scale(count, shortcut, results, to);
        } else if (quick) {
            sum->exact = sum->shortcut_exact ? shortcut : results;
            sum->scaled = sum->shortcut_exact ? results : shortcut;
            sum->to = to;
            sum->end = sum->exact + count;
            add_quick(sum);
        } else {
            add_any(layer, count, shortcut, results);
        }
        shortcut += in_place ? dense->channels : 0U;
    }
    return in_place;
}
