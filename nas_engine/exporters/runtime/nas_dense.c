/* What the pointwise, dense and k x k kernels share: see nas_dense.h. */
#include "nas_dense.h"

/* Elements from one width to another, in place. To wider ones from the last on, to narrower ones from the first on: an
 * element's new place never covers an element that is still to be moved. */
static NAS_APART void change_width(uint8_t *stream, uint32_t count, uint32_t from, uint32_t to)
{
    for (uint32_t done = 0; done < count; done++) {
        const uint32_t element = to > from ? count - 1U - done : done;
        nas_put(stream, element, to, nas_get(stream, element, from));
    }
}

void nas_dense_begin(nas_dense *dense, const nas_layer *layer, uint8_t *arena)
{
    const uint32_t taps = (uint32_t)layer->kernel * layer->kernel * layer->in_channels, padded = (taps + 3U) & ~3U;
    const uint32_t even = (layer->out_channels + 1U) & ~1U, at_once = even < NAS_CHANNELS_AT_ONCE ? even : NAS_CHANNELS_AT_ONCE;
    const uint32_t shortcut = layer->flags & (uint32_t)NAS_ADD_SHORTCUT;
    dense->layer = layer;
    dense->input = arena + layer->input;
    dense->output = arena + layer->output;
    dense->pairs = (uint32_t *)(void *)(arena + layer->scratch);
    dense->tile = dense->pairs + padded;
    dense->gathered = arena + layer->scratch + padded * (4U + at_once);
    dense->taps = taps;
    dense->padded = padded;
    dense->pixels = (uint32_t)layer->out_height * layer->out_width;
    dense->channels = layer->out_channels;
    dense->slot_bits = shortcut && layer->shortcut_bits > layer->out_bits ? layer->shortcut_bits : layer->out_bits;
    dense->zero = shortcut ? 128U : layer->out_zero; /* a result that meets a shortcut is a signed byte: stored + 128 */
    dense->direct = !shortcut && layer->out_bits == 8U && layer->out_channels % 2U == 0U;
    dense->bit = 0;
    dense->carried = 0;
    dense->start[0] = dense->start[1] = 0;
    if (shortcut && layer->shortcut_bits < layer->out_bits) {
        change_width(dense->output, dense->pixels * dense->channels, layer->shortcut_bits, layer->out_bits);
    }
}

void nas_dense_end(const nas_dense *dense)
{
    if (dense->slot_bits > dense->layer->out_bits) {
        change_width(dense->output, dense->pixels * dense->channels, dense->slot_bits, dense->layer->out_bits);
    }
}

/* Bytes 0 and 2 of a word as 16-bit numbers, and bytes 1 and 3. */
static inline uint32_t even_bytes(uint32_t word)
{
    return word & 0x00FF00FFU;
}

static inline uint32_t odd_bytes(uint32_t word)
{
#if defined(__ARM_FEATURE_DSP)
    uint32_t result; /* compilers make two instructions of it */
    __asm__("uxtb16 %0, %1, ror #8" : "=r"(result) : "r"(word));
    return result;
#else
    return (word >> 8) & 0x00FF00FFU;
#endif
}

/* Two pixels of bytes. */
static NAS_APART void expand_bytes(uint32_t *pairs, const uint8_t *first, const uint8_t *second, uint32_t fours)
{
    for (; fours; fours--, first += 4, second += 4, pairs += 4) {
        const uint32_t a = nas_load_word(first), b = nas_load_word(second);
        pairs[0] = even_bytes(a);
        pairs[1] = even_bytes(b);
        pairs[2] = odd_bytes(a);
        pairs[3] = odd_bytes(b);
    }
}

/* Two pixels of nibbles that begin at whole bytes. */
static NAS_APART void expand_nibbles(uint32_t *pairs, const uint8_t *first, const uint8_t *second, uint32_t fours)
{
    for (; fours; fours--, first += 2, second += 2, pairs += 4) {
        uint16_t low, high;
        memcpy(&low, first, sizeof low);
        memcpy(&high, second, sizeof high);
        const uint32_t a = low | (uint32_t)low << 8, b = high | (uint32_t)high << 8;
        pairs[0] = a & 0x000F000FU;
        pairs[1] = b & 0x000F000FU;
        pairs[2] = (a >> 4) & 0x000F000FU;
        pairs[3] = (b >> 4) & 0x000F000FU;
    }
}

/* Two pixels of any width: the two lower elements of a four to the lower half, the others to the upper half, and mask. */
static NAS_APART void expand_bits(uint32_t *pairs, const uint8_t *base, uint32_t first, uint32_t second, uint32_t fours, uint32_t bits)
{
    const uint32_t up = 16U - 2U * bits, one = (1U << bits) - 1U, mask = one | one << 16;
    const uint32_t *end = pairs + 4U * fours;
    for (; pairs != end; pairs += 4) {
        uint32_t a = nas_load_word(base + (first >> 3)) >> (first & 7U);
        uint32_t b = nas_load_word(base + (second >> 3)) >> (second & 7U);
        first += 4U * bits;
        second += 4U * bits;
        a = (a & 0xFFFFU) | ((a << up) & 0xFFFF0000U);
        b = (b & 0xFFFFU) | ((b << up) & 0xFFFF0000U);
        pairs[0] = a & mask;
        pairs[1] = b & mask;
        pairs[2] = (a >> bits) & mask;
        pairs[3] = (b >> bits) & mask;
    }
}

/* Element of the input that is the first tap of a pixel of a 1x1 layer. */
static uint32_t first_element(const nas_layer *layer, uint32_t pixel)
{
    if (layer->stride != 1U) {
        const uint32_t y = pixel / layer->out_width, x = pixel - y * layer->out_width;
        pixel = (y * layer->in_width + x) * layer->stride;
    }
    return pixel * layer->in_channels;
}

void nas_dense_expand(const nas_dense *dense, uint32_t pixel)
{
    const nas_layer *layer = dense->layer;
    const uint32_t bits = layer->in_bits, fours = dense->padded / 4U;
    const uint32_t elements = (uint32_t)layer->in_height * layer->in_width * layer->in_channels;
    const uint32_t first = first_element(layer, pixel);
    const uint32_t second = pixel + 1U < dense->pixels ? first_element(layer, pixel + 1U) : first;
    /* A four is read as a word, which may reach beyond the tensor at its end, or be too short where pixels start anywhere. */
    const uint32_t last = (nas_stream_bytes(elements, bits) - 4U) * 8U + 7U; /* last bit at which a word may begin */
    uint32_t whole = fours;
    if (bits == 7U && ((first | second) & 3U) != 0U) {
        whole = 0;
    } else if ((second + dense->padded - 4U) * bits > last) {
        whole = second * bits > last ? 0U : (last - second * bits) / (4U * bits) + 1U;
    }
    if (bits == 8U) {
        expand_bytes(dense->pairs, dense->input + first, dense->input + second, whole);
    } else if (bits == 4U && ((first | second) & 1U) == 0U) {
        expand_nibbles(dense->pairs, dense->input + first / 2U, dense->input + second / 2U, whole);
    } else {
        expand_bits(dense->pairs, dense->input, first * bits, second * bits, whole, bits);
    }
    for (uint32_t tap = 4U * whole; tap < dense->padded; tap++) {
        /* Element by element; taps that only fill up meet weights of 0. */
        uint32_t *pair = dense->pairs + (tap & ~3U) + 2U * (tap & 1U);
        const uint32_t half = 8U * (tap & 2U), kept = half ? 0xFFFFU : 0U;
        const int real = tap < dense->taps;
        pair[0] = (pair[0] & kept) | (real ? nas_get(dense->input, first + tap, bits) : 0U) << half;
        pair[1] = (pair[1] & kept) | (real ? nas_get(dense->input, second + tap, bits) : 0U) << half;
    }
}

void nas_dense_expand_gathered(const nas_dense *dense)
{
    expand_bytes(dense->pairs, dense->gathered, dense->gathered + dense->padded, dense->padded / 4U);
}

void nas_dense_offset(nas_dense *dense, uint32_t shift)
{
    const uint32_t *pairs = dense->pairs, *end = pairs + dense->padded;
    uint32_t first = 0, second = 0;
    for (; pairs != end; pairs += 4) {
#if defined(__ARM_FEATURE_DSP)
        const uint32_t ones = 0x00010001U;
        __asm__("smlad %0, %1, %2, %0" : "+r"(first) : "r"(pairs[0]), "r"(ones));
        __asm__("smlad %0, %1, %2, %0" : "+r"(second) : "r"(pairs[1]), "r"(ones));
        __asm__("smlad %0, %1, %2, %0" : "+r"(first) : "r"(pairs[2]), "r"(ones));
        __asm__("smlad %0, %1, %2, %0" : "+r"(second) : "r"(pairs[3]), "r"(ones));
#else
        first += (pairs[0] & 0xFFFFU) + (pairs[0] >> 16) + (pairs[2] & 0xFFFFU) + (pairs[2] >> 16);
        second += (pairs[1] & 0xFFFFU) + (pairs[1] >> 16) + (pairs[3] & 0xFFFFU) + (pairs[3] >> 16);
#endif
    }
    dense->start[0] = 0U - (first << shift);
    dense->start[1] = 0U - (second << shift);
}

/* `count` weights, at most 4, from the stream, shifted to the left to 8 bits each; absent ones are 0. */
static NAS_APART uint32_t few_weights(const uint8_t *stream, uint32_t element, uint32_t count, uint32_t bits)
{
    uint32_t word = 0;
    for (uint32_t i = 0; i < count; i++) {
        word |= (nas_get(stream, element + i, bits) << (8U - bits)) << (8U * i);
    }
    return word;
}

/* Groups of eight weights that begin at a whole byte: `bits` bytes to two words. */
static NAS_APART void unpack_eights(const uint8_t *from, uint32_t count, uint32_t bits, uint32_t *to)
{
    const uint32_t second = bits >> 1, shift = (4U * bits) & 7U;
    for (const uint32_t *end = to + 2U * count; to != end; to += 2, from += bits) {
        const uint32_t a = nas_load_word(from), b = nas_load_word(from + second) >> shift;
        to[0] = nas_spread(a, bits);
        to[1] = nas_spread(b, bits);
    }
}

/* The stream holds, for each two channels, four taps of the one, four of the other, and so on; a last channel stands alone. */
const uint32_t *nas_dense_unpack(nas_dense *dense, uint32_t count)
{
    const nas_layer *layer = dense->layer;
    const uint8_t *stream = (const uint8_t *)layer->weights;
    const uint32_t bits = layer->weight_bits, taps = dense->taps, fours = taps / 4U;
    const uint32_t last = nas_stream_bytes(taps * dense->channels, bits) - 4U - (bits >> 1); /* byte where eight may begin, or < 0 */
    uint32_t bit = dense->bit, *to = dense->tile;
    if (bits == 8U && (taps & 3U) == 0U && (count & 1U) == 0U) {
        dense->bit += count * taps * 8U;
        return layer->weights + bit / 32U; /* a tile already */
    }
    for (; count; count -= count > 1U ? 2U : 1U) {
        uint32_t four = 0;
        if (count > 1U && (bit & 7U) == 0U && (int32_t)(bit >> 3) <= (int32_t)last) {
            four = (last - (bit >> 3)) / bits + 1U;
            four = four < fours ? four : fours;
            unpack_eights(stream + (bit >> 3), four, bits, to);
            bit += 8U * four * bits;
            to += 2U * four;
        }
        for (; four * 4U < dense->padded; four++) {
            const uint32_t rest = taps - 4U * four < 4U ? taps - 4U * four : 4U;
            *to++ = few_weights(stream, bit / bits, rest, bits);
            bit += rest * bits;
            *to++ = count > 1U ? few_weights(stream, bit / bits, rest, bits) : 0U;
            bit += count > 1U ? rest * bits : 0U;
        }
    }
    dense->bit = bit;
    return dense->tile;
}

/* One result, not yet clamped, where some shift or total of the layer asks for the general rounding; most do not even there. */
static inline int32_t round_one(uint32_t total, int32_t multiplier, int32_t shift, int32_t zero, int32_t addend)
{
    const uint32_t twice = total << 1;
    if (shift >= 0) {
        const int32_t high = nas_doubling_high_mul((int32_t)(total << shift), multiplier); /* may be at an end of int32 */
        return nas_clamp(high, -256, 256) + zero;
    }
    if (addend && !((total ^ twice) >> 31)) { /* doubling keeps the sign: it fits */
        return nas_multiply_fast((int32_t)twice, multiplier, (uint32_t)-shift, addend);
    }
    return nas_multiply((int32_t)total, multiplier, shift) + zero;
}

/* A channel of two pixels. `by` points to its shift, `bias` to its bias; the multiplier lies dense->channels further. */
static NAS_APART void round_two(
    const nas_dense *dense, const uint32_t *sums, const int32_t *bias, const int8_t *by, uint8_t *to, uint32_t apart)
{
    const uint32_t carried = dense->carried, added = carried ? (uint32_t)bias[0] : 0U; /* w8 begins at the bias */
    const int32_t multiplier = bias[dense->channels], shift = by[0], zero = (int32_t)dense->zero;
    const int32_t addend = shift < 0 && shift >= -20 ? nas_fast_addend((uint32_t)-shift, dense->zero) : 0;
    to[0] = (uint8_t)nas_clamp(round_one((sums[0] << carried) + added, multiplier, shift, zero, addend), 0, 255);
    to[apart] = (uint8_t)nas_clamp(round_one((sums[1] << carried) + added, multiplier, shift, zero, addend), 0, 255);
}

void nas_dense_row(
    nas_dense *dense, void (*pairs)(nas_row *row), const uint32_t *weights, uint32_t pixel, uint32_t channel, uint32_t count)
{
    const nas_layer *layer = dense->layer;
    const uint32_t channels = dense->channels, even = (count + 1U) & ~1U;
    const int32_t *bias = layer->constants + channel;
    const int8_t *shift = (const int8_t *)(layer->constants + 2U * channels) + channel;
    nas_row row;
    row.start[0] = dense->start[0];
    row.start[1] = dense->start[1];
    row.pairs = dense->pairs;
    row.end = dense->pairs + dense->padded;
    row.bias = bias;
    row.multiplier = bias + channels;
    row.shift = shift;
    row.to = dense->bytes[0];
    row.weights = weights;
    row.apart = NAS_CHANNELS_AT_ONCE;
    row.twice_zero = 2U * dense->zero + 1U;
    row.last = shift + even;
    row.padded = dense->padded;
    if (dense->direct) {
        row.to = dense->output + pixel * channels + channel;
        row.apart = pixel + 1U < dense->pixels ? channels : 0U;
    }
    if (layer->flags & NAS_FAST_ROUNDING) {
        pairs(&row);
        return;
    }
    row.twice_zero = 0;
    uint8_t *to = row.to;
    for (const int8_t *last = row.last; shift != last; shift += 2, bias += 2, to += 2) {
        pairs(&row);
        round_two(dense, row.sums, bias, shift, to, row.apart);
        round_two(dense, row.sums + 2, bias + 1, shift + 1, to + 1, row.apart);
    }
}

void nas_dense_native(nas_dense *dense, void (*pairs)(nas_row *row), uint32_t bits)
{
    const uint32_t pair_words = dense->padded * bits / 16U, at_once = dense->direct ? dense->channels : NAS_CHANNELS_AT_ONCE;
    dense->carried = 8U - bits;
    for (uint32_t pixel = 0; pixel < dense->pixels; pixel += 2U) {
        nas_dense_expand(dense, pixel);
        if (bits != 8U) {
            nas_dense_offset(dense, bits - 1U);
        }
        for (uint32_t channel = 0; channel < dense->channels; channel += at_once) {
            const uint32_t left = dense->channels - channel, count = left < at_once ? left : at_once;
            nas_dense_row(dense, pairs, dense->layer->weights + channel / 2U * pair_words, pixel, channel, count);
            if (!dense->direct) {
                nas_dense_finish(dense, pixel, channel, count);
            }
        }
    }
    nas_dense_end(dense);
}

#if defined(NAS_ASSEMBLY)
/* Eight taps a round; an odd four enters in the middle. */
NAS_PAIRS(nas_dense_pairs_w8,
    NAS_BEGIN
    "ldr r6, [r0, #16]\n ldr r10, [r0, #48]\n ldrd r1, r3, [r6], #8\n str r6, [r0, #16]\n ldrd r6, r7, [r0, #8]\n"
    "mov r2, r1\n mov r4, r3\n lsls r10, r10, #29\n bmi 2f\n"
    "1:\n" NAS_FOUR_W8 "2:\n" NAS_FOUR_W8 NAS_AGAIN
    NAS_STOP
    "lsl r1, r1, #1\n lsl r2, r2, #1\n lsl r3, r3, #1\n lsl r4, r4, #1\n"
    NAS_RESULTS)
#else
void nas_dense_pairs_w8(nas_row *row)
{
    nas_dense_pairs(row, 8);
}
#endif

void nas_fetch(const uint8_t *stream, uint32_t size, uint32_t element, uint32_t count, uint32_t bits, uint8_t *to)
{
    uint32_t bit = element * bits;
    while (count >= 4U && nas_four_in_word(size, bit, bits)) {
        nas_store_word(to, nas_spread(nas_load_word(stream + (bit >> 3)) >> (bit & 7U), bits) >> (8U - bits));
        bit += 4U * bits;
        to += 4;
        count -= 4U;
    }
    for (; count; count--, bit += bits) {
        *to++ = (uint8_t)nas_get(stream, bit / bits, bits);
    }
}

/* Four bytes of results, clamped to at most 255 - above in each, to 4 * bits bits. */
static inline uint32_t squeeze(uint32_t word, uint32_t above, uint32_t bits)
{
#if defined(__ARM_FEATURE_DSP)
    __asm__("uqadd8 %0, %0, %1\n uqsub8 %0, %0, %1" : "+r"(word) : "r"(above * 0x01010101U));
#else
    uint32_t clamped = 0;
    for (uint32_t i = 0; i < 32U; i += 8U) {
        const uint32_t value = (word >> i) & 0xFFU;
        clamped |= (value < 255U - above ? value : 255U - above) << i;
    }
    word = clamped;
#endif
    word = even_bytes(word) | odd_bytes(word) << bits;
    return (word & 0xFFFFU) | (word >> 16) << (2U * bits);
}

/* Groups of eight results to whole bytes of nibbles, and of any width: `bits` bytes a group. */
static NAS_APART void store_nibbles(uint8_t *to, const uint8_t *from, uint32_t groups, uint32_t above)
{
    for (; groups; groups--, from += 8, to += 4) {
        nas_store_word(to, squeeze(nas_load_word(from), above, 4) | squeeze(nas_load_word(from + 4), above, 4) << 16);
    }
}

static NAS_APART void store_bits(uint8_t *to, const uint8_t *from, uint32_t groups, uint32_t above, uint32_t bits)
{
    for (; groups; groups--, from += 8) {
        const uint32_t a = squeeze(nas_load_word(from), above, bits), b = squeeze(nas_load_word(from + 4), above, bits);
        uint32_t window = bits == 8U ? a : a | b << (4U * bits), rest = bits;
        if (bits >= 4U) {
            nas_store_word(to, window);
            to += 4;
            rest = bits - 4U;
            window = b >> (32U - 4U * bits) % 32U;
        }
        for (; rest; rest--, window >>= 8) {
            *to++ = (uint8_t)window;
        }
    }
}

/* results[i] is the layer's own result + 128; it becomes the stored value of its sum with the shortcut. */
static NAS_APART void add_shortcut(const nas_dense *dense, uint32_t element, uint32_t count, uint8_t *results)
{
    const nas_layer *layer = dense->layer;
    const nas_addition *addition = layer->addition;
    const uint32_t bits = dense->slot_bits;
    uint8_t shortcut[NAS_CHANNELS_AT_ONCE];
    nas_fetch(dense->output, nas_stream_bytes(dense->pixels * dense->channels, bits), element, count, bits, shortcut);
    const int32_t zero = layer->shortcut_zero, out_zero = layer->out_zero, most = (1 << layer->out_bits) - 1;
    for (uint32_t i = 0; i < count; i++) {
        const int32_t first = shortcut[i] - zero, second = results[i] - 128;
        int32_t sum = first + second;
        if (!(layer->flags & NAS_SAME_SCALE)) {
            const int32_t scaled = nas_multiply(first * (1 << 20), addition->first_multiplier, addition->first_shift) +
                                   nas_multiply(second * (1 << 20), addition->second_multiplier, addition->second_shift);
            sum = nas_multiply(scaled, addition->out_multiplier, addition->out_shift);
        }
        results[i] = (uint8_t)nas_clamp(sum + out_zero, 0, most);
    }
}

void nas_dense_finish(nas_dense *dense, uint32_t pixel, uint32_t channel, uint32_t count)
{
    const nas_layer *layer = dense->layer;
    const uint32_t bits = dense->slot_bits, most = (1U << layer->out_bits) - 1U;
    const uint32_t after = pixel + 1U < dense->pixels ? pixel + 2U : pixel + 1U;
    uint8_t *from = dense->bytes[0];
    for (; pixel < after; pixel++, from += NAS_CHANNELS_AT_ONCE) {
        const uint32_t element = pixel * dense->channels + channel, bit = element * bits;
        uint32_t done = 0;
        if (layer->flags & NAS_ADD_SHORTCUT) {
            add_shortcut(dense, element, count, from);
        }
        if ((bit & 7U) == 0U) {
            done = count & ~7U;
            if (bits == 4U) {
                store_nibbles(dense->output + bit / 8U, from, count / 8U, 255U - most);
            } else {
                store_bits(dense->output + bit / 8U, from, count / 8U, 255U - most, bits);
            }
        }
        for (; done < count; done++) {
            nas_put(dense->output, element + done, bits, from[done] < most ? from[done] : most);
        }
    }
}

void nas_dense_stream(nas_dense *dense, void (*load)(const nas_dense *dense, uint32_t pixel))
{
    for (uint32_t channel = 0; channel < dense->channels; channel += NAS_CHANNELS_AT_ONCE) {
        const uint32_t left = dense->channels - channel, count = left < NAS_CHANNELS_AT_ONCE ? left : NAS_CHANNELS_AT_ONCE;
        const uint32_t *weights = nas_dense_unpack(dense, count);
        for (uint32_t pixel = 0; pixel < dense->pixels; pixel += 2U) {
            load(dense, pixel);
            nas_dense_row(dense, nas_dense_pairs_w8, weights, pixel, channel, count);
            if (!dense->direct) {
                nas_dense_finish(dense, pixel, channel, count);
            }
        }
    }
    nas_dense_end(dense);
}
