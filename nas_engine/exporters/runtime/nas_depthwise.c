/* Depth-wise convolution, k x k, in place: the output may lie over the input.
 *
 * Row by row: the packed input rows that an output row needs are copied into a ring of k rows before the output row is
 * written over the input. Of these rows, four channels at a time are unpacked to 16-bit planes with their padding, and each
 * channel's plane is multiplied by its weights. Nothing else is ever held unpacked.
 *
 * Scratch, in this order:
 *   ring     k packed input rows, row r in slot r % k
 *   planes   4 of `pitch` columns x k rows; a word holds columns 2q (low half) and 2q + 1 of one row, and word q*k + i
 *            is row i, so that the rows of a pair of columns are one LDM. Values are doubled, see the DSP loops.
 *   weights  one signed byte each, already shifted to 8 bits
 * Wide loads may go a few bytes beyond the ring (into the planes), and the loops a pair of columns beyond the planes (into
 * the weights). What they find there is never used.
 *
 * Results of less than 8 bits are first kept as bytes in their plane, over columns that are no longer needed, then packed.
 */
#include "nas_runtime.h"

#include <stdbool.h>
#include <string.h>

#include "nas_requantise.h"

/* Without optimisation compilers do not have the registers for the assembly. */
#if defined(__ARM_FEATURE_DSP) && defined(__OPTIMIZE__)
#define NAS_DW_DSP 1
#else
#define NAS_DW_DSP 0
#endif

#if defined(__GNUC__)
#define NAS_WORD(p) __builtin_assume_aligned((p), 4)
#define NAS_APART __attribute__((noinline)) /* short frames, small code, and registers free for the inner loops */
#define NAS_COPY __builtin_memcpy           /* one instruction for a word, also where the C library is not to be assumed */
#else
#define NAS_WORD(p) (p)
#define NAS_APART
#define NAS_COPY memcpy
#endif

#if defined(__clang__)
#define NAS_ROLLED _Pragma("clang loop unroll(disable) vectorize(disable)") /* small code */
#else
#define NAS_ROLLED
#endif
#if NAS_DW_DSP
#define NAS_OPAQUE(x) __asm volatile("" : "+r"(x)) /* no clones of a loop for each of its values, no extra pointers along with it */
#else
#define NAS_OPAQUE(x) (void)(x)
#endif

#if NAS_DW_DSP
/* For kernels of 3: the loop's table, and what goes on from channel to channel. The assembly knows the offsets. */
typedef struct {
    uint32_t words[12];
    const int8_t *weights;    /* 48 */
    const int32_t *constants; /* 52: bias */
    const int8_t *shift;      /* 56 */
    uint32_t channels;        /* 60: bytes from bias to multiplier */
    uint32_t zero;            /* 64: 2 * out_zero + 1 */
    const uint8_t *p;         /* 68 */
    uint8_t *y;               /* 72 */
    uint32_t plane;           /* 76: bytes from channel to channel, of p */
    uint32_t apart;           /* 80: and of y */
    uint32_t even;            /* 84: bytes of all pairs of results */
} nas_dw_state;
#endif

/* What the parts share. */
typedef struct {
    const nas_layer *layer;
    uint8_t *ring;
    uint8_t *planes;
    int8_t *weights;
    uint32_t plane;    /* bytes of one plane */
    uint32_t row_bits; /* bits of an input row */
    uint32_t begin;    /* columns of the planes: begin .. stop - 1 are input, the others up to `wanted` are padding */
    uint32_t stop;
    uint32_t wanted;
    uint32_t start;    /* bit of column `begin` in an input row */
    uint32_t lead;     /* bytes of a plane before the pair of columns with `begin` in it */
    uint32_t pairs;    /* pairs of columns that are all input */
    uint32_t first;    /* rows first .. past - 1 of the planes are input, the others are padding */
    uint32_t past;
    uint32_t slot;     /* of row `first` in the ring */
    bool pad;          /* the padding has yet to be written */
    bool again;        /* and is overwritten by results */
    uint32_t count;    /* results in this part of a row */
    uint32_t step;     /* bytes from result to result */
    uint32_t apart;    /* bytes from channel to channel */
#if NAS_DW_DSP
    union {
        nas_dw_state three;
        uint32_t five[26]; /* the table for kernels of 5 */
    } table;
#endif
} nas_dw_job;

static inline uint32_t nas_dw_load(const uint8_t *p) /* any address */
{
    uint32_t word;
    NAS_COPY(&word, p, 4);
    return word;
}

static inline void nas_dw_store(uint8_t *p, uint32_t word) /* a multiple of 4 */
{
    NAS_COPY(NAS_WORD(p), &word, 4);
}

static inline void nas_dw_store_half(uint8_t *p, uint32_t value) /* any address */
{
    const uint16_t half = (uint16_t)value;
    NAS_COPY(p, &half, 2);
}

/* Two lower halves as a word, and two upper ones. */
static inline uint32_t nas_dw_pair(uint32_t low, uint32_t high)
{
#if NAS_DW_DSP
    uint32_t word;
    __asm("pkhbt %0, %1, %2, lsl #16" : "=r"(word) : "r"(low), "r"(high));
    return word;
#else
    return (low & 0xFFFFU) | (high << 16);
#endif
}

static inline uint32_t nas_dw_upper(uint32_t low, uint32_t high)
{
#if NAS_DW_DSP
    uint32_t word;
    __asm("pkhtb %0, %2, %1, asr #16" : "=r"(word) : "r"(low), "r"(high));
    return word;
#else
    return (low >> 16) | (high & 0xFFFF0000U);
#endif
}

/* Writes a value of `count` bits, at most 24, at bit `at`. */
static NAS_APART void nas_dw_put(uint8_t *base, uint32_t at, uint32_t count, uint32_t value)
{
    const uint32_t shift = at & 7U;
    uint32_t mask = ((1U << count) - 1U) << shift;
    uint8_t *byte = base + (at >> 3);
    NAS_ROLLED
    for (value <<= shift; mask != 0U; mask >>= 8, value >>= 8, byte++) {
        *byte = (uint8_t)((*byte & ~mask) | (value & mask));
    }
}

/* Copies input row `row` into its slot of the ring. */
static NAS_APART void nas_dw_fetch(const nas_dw_job *job, uint32_t slot, const uint8_t *input, uint32_t row)
{
    uint32_t count = job->row_bits, from = row * count, to = slot * count;
    if (((from | to | count) & 7U) == 0U) {
        const uint8_t *source = input + (from >> 3);
        uint8_t *target = job->ring + (to >> 3);
        uint32_t bytes = count >> 3;
#if NAS_DW_DSP
        if ((((from | to) >> 3) & 3U) == 0U && bytes >= 16U) {
            uint32_t rounds = bytes / 16U;
            bytes %= 16U;
            __asm volatile("1:\n ldm %[f]!, {r0, r1, r2, r3}\n stm %[t]!, {r0, r1, r2, r3}\n subs %[n], %[n], #1\n bne 1b\n"
                           : [f] "+r"(source), [t] "+r"(target), [n] "+r"(rounds)
                           :
                           : "r0", "r1", "r2", "r3", "cc", "memory");
        }
#endif
        memcpy(target, source, bytes);
        return;
    }
    NAS_ROLLED
    while (count > 0U) {
        const uint32_t bits = count < 8U ? count : 8U, shift = from & 7U;
        const uint8_t *byte = input + (from >> 3);
        uint32_t window = byte[0];
        if (shift + bits > 8U) {
            window |= (uint32_t)byte[1] << 8;
        }
        nas_dw_put(job->ring, to, bits, (window >> shift) & ((1U << bits) - 1U));
        from += bits;
        to += bits;
        count -= bits;
    }
}

/* Unpacks the weights, each shifted to the upper end of a byte. */
static NAS_APART void nas_dw_unpack(const nas_layer *layer, int8_t *weights)
{
    const uint8_t *stream = (const uint8_t *)layer->weights;
    const uint32_t bits = layer->weight_bits, count = (uint32_t)layer->kernel * layer->kernel * layer->in_channels;
    uint32_t window = 0U, held = 0U;
    if (bits == 8U) {
        memcpy(weights, stream, count);
        return;
    }
    NAS_ROLLED
    for (uint32_t i = 0U; i < count; i++) {
        if (held < bits) {
            window |= (uint32_t)*stream++ << held;
            held += 8U;
        }
        weights[i] = (int8_t)(uint8_t)(window << (8U - bits));
        window >>= bits;
        held -= bits;
    }
}

static inline void nas_dw_store_planes(uint8_t *to, uint32_t plane, uint32_t a, uint32_t b, uint32_t c, uint32_t d)
{
    uint8_t *const third = to + 2U * plane;
    nas_dw_store(to, a);
    nas_dw_store(to + plane, b);
    nas_dw_store(third, c);
    nas_dw_store(third + plane, d);
}

/* Fills columns first .. last - 1 of one row of all planes with the stored zero; `row` is where column 0 begins. */
static NAS_APART void nas_dw_pad(const nas_dw_job *job, uint8_t *row, uint32_t first, uint32_t last)
{
    const nas_layer *layer = job->layer;
    const uint32_t both = layer->in_zero * 0x20002U;
    NAS_ROLLED
    for (; (first & 1U) == 0U && first + 2U <= last; first += 2U) {
        nas_dw_store_planes(row + 2U * layer->kernel * first, job->plane, both, both, both, both);
    }
    NAS_ROLLED
    for (; first < last; first++) {
        uint8_t *to = row + 4U * layer->kernel * (first >> 1) + 2U * (first & 1U);
        NAS_ROLLED
        for (uint32_t j = 0U; j < 4U; j++, to += job->plane) {
            nas_dw_store_half(to, 2U * layer->in_zero);
        }
    }
}

/* Four channels of two neighbouring pixels to the planes. Of 8 bits, as channels 0 and 2, 1 and 3, doubled; */
static inline void nas_dw_emit_bytes(uint8_t *to, uint32_t plane, uint32_t p02, uint32_t p13, uint32_t q02, uint32_t q13)
{
    nas_dw_store_planes(to, plane, nas_dw_pair(p02, q02), nas_dw_pair(p13, q13), nas_dw_upper(p02, q02), nas_dw_upper(p13, q13));
}

/* of at most 4 bits, `both` holding 16 bits of either pixel; */
static inline void nas_dw_emit_narrow(uint8_t *to, uint32_t plane, uint32_t both, uint32_t bits)
{
    const uint32_t mask = ((1U << bits) - 1U) * 0x20002U;
    const uint32_t b = both >> (bits - 1U), c = b >> bits, d = c >> bits;
    nas_dw_store_planes(to, plane, (both << 1) & mask, b & mask, c & mask, d & mask);
}

/* of any width. */
static NAS_APART void nas_dw_emit(uint8_t *to, uint32_t plane, uint32_t p, uint32_t q, uint32_t bits)
{
    const uint32_t mask = (1U << bits) - 1U;
    NAS_ROLLED
    for (uint32_t j = 0U; j < 4U; j++, to += plane, p >>= bits, q >>= bits) {
        nas_dw_store(to, ((p & mask) << 1) | ((q & mask) << 17));
    }
}

/* Four neighbouring channels at bit `at` of the ring, and possibly more behind them. */
static inline uint32_t nas_dw_group(const uint8_t *ring, uint32_t at, uint32_t bits)
{
    const uint8_t *byte = ring + (at >> 3);
    const uint32_t shift = at & 7U;
    uint32_t word = nas_dw_load(byte) >> shift;
    if (shift + 4U * bits > 32U) {
        word |= (uint32_t)byte[4] << (32U - shift);
    }
    return word;
}

static inline uint32_t nas_dw_half(const uint8_t *p)
{
    uint16_t half;
    NAS_COPY(&half, p, 2);
    return half;
}

/* Writes the padding: rows above and below the input, and columns beside it where they are not there yet. */
static NAS_APART void nas_dw_surround(const nas_dw_job *job)
{
    NAS_ROLLED
    for (uint32_t i = 0U; i < job->layer->kernel; i++) {
        uint8_t *const row = job->planes + 4U * i;
        if (i < job->first || i >= job->past) {
            nas_dw_pad(job, row, 0U, job->wanted);
        } else if (job->pad) {
            nas_dw_pad(job, row, 0U, job->begin);
            nas_dw_pad(job, row, job->stop, job->wanted);
        }
    }
}

#if NAS_DW_DSP
/* The loop over pairs of pixels of 8 bits, `next` bytes of plane each; at least one. */
#define DW_PAIRS(next)                                                                                             \
    do {                                                                                                           \
        uint8_t *third = to + 2U * plane;                                                                          \
        uint32_t a, b, c, d, e;                                                                                    \
        __asm volatile("1:\n ldr %[a], [%[f]]\n ldr %[b], [%[f], %[s]]\n add %[f], %[f], %[s], lsl #1\n"            \
                       "and %[c], %[m], %[a], lsl #1\n and %[a], %[m], %[a], lsr #7\n"                             \
                       "and %[d], %[m], %[b], lsl #1\n and %[b], %[m], %[b], lsr #7\n"                             \
                       "pkhbt %[e], %[a], %[b], lsl #16\n str %[e], [%[t], %[p]]\n"                                \
                       "pkhbt %[e], %[c], %[d], lsl #16\n str %[e], [%[t]], #" next "\n"                           \
                       "pkhtb %[a], %[b], %[a], asr #16\n str %[a], [%[u], %[p]]\n"                                \
                       "pkhtb %[c], %[d], %[c], asr #16\n str %[c], [%[u]], #" next "\n"                           \
                       "cmp %[t], %[z]\n bne 1b\n"                                                                 \
                       : [f] "+r"(from), [t] "+r"(to), [u] "+r"(third), [a] "=&r"(a), [b] "=&r"(b), [c] "=&r"(c),   \
                         [d] "=&r"(d), [e] "=&r"(e)                                                                \
                       : [s] "r"(channels), [p] "r"(plane), [m] "r"(mask), [z] "r"(end)                      \
                       : "cc", "memory");                                                                          \
    } while (false)
#endif

/* Unpacks four channels of the rows first .. past - 1 to the planes: 8 bits. */
static NAS_APART void nas_dw_expand_bytes(const nas_dw_job *job, uint32_t channel)
{
    const uint32_t kernel = job->layer->kernel, channels = job->layer->in_channels, plane = job->plane;
    const uint32_t zeros = job->layer->in_zero * 0x20002U, next = 4U * kernel;
    uint32_t mask = 0x1FE01FEU;
    const uint8_t *const origin = job->ring + job->start / 8U + channel, *source = origin + job->slot * (job->row_bits / 8U);
    const uint8_t *const around = origin + kernel * (job->row_bits / 8U);
    const uint32_t size = job->row_bits / 8U, span = next * job->pairs;
    const bool odd = (job->begin & 1U) != 0U, rest = (job->stop & 1U) != 0U;
    NAS_OPAQUE(mask);
    uint8_t *row = job->planes + 4U * job->first + job->lead, *const bottom = job->planes + 4U * job->past + job->lead;
    NAS_ROLLED
    for (; row != bottom; row += 4) {
        const uint8_t *from = source;
        uint8_t *to = row;
        NAS_OPAQUE(to);
        source += size;
        if (source == around) {
            source = origin;
        }
        if (odd) {
            const uint32_t q = nas_dw_load(from);
            nas_dw_emit_bytes(to, plane, zeros, zeros, (q << 1) & mask, (q >> 7) & mask);
            to += next;
            from += channels;
        }
        uint8_t *const end = to + span;
        if (to != end) {
#if NAS_DW_DSP
            if (kernel == 3U) {
                DW_PAIRS("12");
            } else {
                DW_PAIRS("20");
            }
#else
            NAS_ROLLED
            for (; to != end; to += next, from += 2U * channels) {
                const uint32_t p = nas_dw_load(from), q = nas_dw_load(from + channels);
                nas_dw_emit_bytes(to, plane, (p << 1) & mask, (p >> 7) & mask, (q << 1) & mask, (q >> 7) & mask);
            }
#endif
        }
        if (rest) {
            const uint32_t p = nas_dw_load(from);
            nas_dw_emit_bytes(to, plane, (p << 1) & mask, (p >> 7) & mask, zeros, zeros);
        }
    }
}

/* The same for any width. */
static NAS_APART void nas_dw_expand(const nas_dw_job *job, uint32_t channel)
{
    const nas_layer *layer = job->layer;
    const uint32_t kernel = layer->kernel, bits = layer->in_bits, step = layer->in_channels * bits, plane = job->plane;
    const uint32_t zeros = layer->in_zero * (1U + (1U << bits) + (1U << (2U * bits)) + (1U << (3U * bits)));
    const uint32_t next = 4U * kernel;
    const bool narrow = (bits == 4U || bits == 2U) && (step & 7U) == 0U, odd = (job->begin & 1U) != 0U;
    uint32_t slot = job->slot;
    NAS_ROLLED
    for (uint32_t i = job->first; i < job->past; i++) {
        uint32_t at = slot * job->row_bits + job->start + channel * bits;
        slot = slot + 1U == kernel ? 0U : slot + 1U;
        uint8_t *to = job->planes + 4U * i + job->lead;
        if (narrow) {
            const uint8_t *from = job->ring + (at >> 3);
            if (odd) {
                nas_dw_emit_narrow(to, plane, nas_dw_pair(zeros, nas_dw_half(from)), bits);
                to += next;
                from += step / 8U;
            }
            NAS_ROLLED
            for (uint8_t *const end = to + next * job->pairs; to != end; to += next, from += step / 4U) {
                nas_dw_emit_narrow(to, plane, nas_dw_pair(nas_dw_half(from), nas_dw_half(from + step / 8U)), bits);
            }
            if ((job->stop & 1U) != 0U) {
                nas_dw_emit_narrow(to, plane, nas_dw_pair(nas_dw_half(from), zeros), bits);
            }
            continue;
        }
        uint32_t p = zeros;
        NAS_ROLLED
        for (uint32_t column = job->begin; column != job->stop; column++, at += step) {
            const uint32_t q = nas_dw_group(job->ring, at, bits);
            if ((column & 1U) != 0U) {
                nas_dw_emit(to, plane, p, q, bits);
                to += next;
            }
            p = q;
        }
        if ((job->stop & 1U) != 0U) {
            nas_dw_emit(to, plane, p, zeros, bits);
        }
    }
}

/* A row of up to four channels: `count` results each, as bytes. Any kernel, stride and rounding. */
static NAS_APART void nas_dw_plain(nas_dw_job *job, uint32_t channel, uint32_t held, uint8_t *output)
{
    const nas_layer *layer = job->layer;
    const uint32_t kernel = layer->kernel, channels = layer->in_channels;
    const int32_t high = (int32_t)((1U << layer->out_bits) - 1U), zero = layer->out_zero;
    const uint8_t *plane = job->planes;
    NAS_ROLLED
    for (; held != 0U; held--, channel++, plane += job->plane, output += job->apart) {
        const int32_t bias = layer->constants[channel], multiplier = layer->constants[channels + channel];
        const int32_t shift = ((const int8_t *)(layer->constants + 2U * channels))[channel];
        uint8_t *out = output;
        NAS_ROLLED
        for (uint32_t o = 0U; o < job->count; o++, out += job->step) {
            const int8_t *weight = job->weights + kernel * kernel * channel;
            uint32_t total = (uint32_t)bias;
            NAS_ROLLED
            for (uint32_t i = 0U; i < kernel; i++) {
                NAS_ROLLED
                for (uint32_t column = o * layer->stride, j = 0U; j < kernel; j++, column++) {
                    const uint32_t twice = nas_dw_half(plane + 4U * (kernel * (column >> 1) + i) + 2U * (column & 1U));
                    total += (uint32_t)((int32_t)(twice >> 1) * *weight++);
                }
            }
            /* Clamped before the zero is added: the result can be any int32. */
            *out = (uint8_t)(nas_clamp(nas_multiply((int32_t)total, multiplier, shift), -zero, high - zero) + zero);
        }
    }
}

#if NAS_DW_DSP

/* The DSP loops, for NAS_FAST_ROUNDING. In a round, u and v are the sums of two neighbouring results, counted twice (inputs
 * and bias are doubled), so that SMMLAR is nas_doubling_high_mul and adds the offset in the same step. An LDM brings a pair of
 * columns, one word for each row; another LDM brings the weights they meet. `k` walks through the table `words`: three pairs
 * of weights, the bias, the other pairs (for kernels of 5 the bias is first), then multiplier, offset, right shift, step and end.
 *
 * Halves are rounded away from zero by the sign of u instead of that of the product. They differ only where the product is 0,
 * and there the result is the same: (2^(r-1) - 1) >> r = 0. */
#define DW_MAC(op, sum, data, weights) op " " sum ", " data ", " weights ", " sum "\n"
#define DW_MAC3(op, sum) DW_MAC(op, sum, "r0", "r4") DW_MAC(op, sum, "r1", "r5") DW_MAC(op, sum, "r2", "r6")
#define DW_MAC5A(op, sum) DW_MAC(op, sum, "r0", "r5") DW_MAC(op, sum, "r1", "r6") DW_MAC(op, sum, "r2", "r8")
#define DW_MAC5B(op, sum) DW_MAC(op, sum, "r3", "r5") DW_MAC(op, sum, "r4", "r6")
#define DW_U "r10"
#define DW_V "%[v]"
#define DW_ROUND(sum, spare) "add " spare ", r1, " sum ", asr #31\n smmlar " sum ", " sum ", r0, " spare "\n"
#define DW_BYTE(sum) "asr " sum ", " sum ", r4\n usat " sum ", #8, " sum "\n"
#define DW_LAST(bytes) "ldm %[k], {r0, r1, r4, r5, r6}\n sub %[k], %[k], #" bytes "\n"
/* v is stored first: with a step of 0 only u remains. */
#define DW_TWO(bytes)                                                                                              \
    DW_LAST(bytes) DW_ROUND(DW_U, "r2") DW_ROUND(DW_V, "r1") DW_BYTE(DW_U) DW_BYTE(DW_V)                           \
    "strb %[v], [%[y], r5]\n strb r10, [%[y]]\n add %[y], %[y], r5, lsl #1\n cmp %[y], r6\n bne 1b\n"
#define DW_ONE(bytes)                                                                                              \
    DW_LAST(bytes) DW_ROUND(DW_U, "r2") DW_BYTE(DW_U) "strb r10, [%[y]]\n add %[y], %[y], r5\n cmp %[y], r6\n bne 1b\n"
#define DW_LOOP(body)                                                                                              \
    __asm volatile("1:\n" body                                                                                     \
                   : [p] "+r"(p), [k] "+r"(k), [y] "+r"(y), [v] "=&r"(v)                                           \
                   :                                                                                               \
                   : "r0", "r1", "r2", "r3", "r4", "r5", "r6", "r8", "r10", "cc", "memory")
#define DW_DATA3 "ldm %[p]!, {r0, r1, r2}\n"
#define DW_DATA5 "ldm %[p]!, {r0, r1, r2, r3, r4}\n"
#define DW_WEIGHTS3 "ldm %[k]!, {r4, r5, r6}\n"
#define DW_WEIGHTS3_BIAS "ldm %[k]!, {r4, r5, r6, r10}\n"
#define DW_WEIGHTS5A "ldm %[k]!, {r5, r6, r8}\n"
#define DW_WEIGHTS5A_BIAS "ldr r10, [%[k]], #4\n ldm %[k]!, {r5, r6, r8}\n"
#define DW_WEIGHTS5B "ldm %[k]!, {r5, r6}\n"

/* Two weights as a word. */
static inline uint32_t nas_dw_taps(int32_t low, int32_t high)
{
    return nas_dw_pair((uint32_t)low, (uint32_t)high);
}

/* A channel's bias, multiplier, offset and right shift; `zero` is 2 * out_zero + 1. */
static inline void nas_dw_constants(
    const int32_t *constants, uint32_t channels, int32_t shift, uint32_t zero, uint32_t *bias, uint32_t *last)
{
    *bias = (uint32_t)constants[0] << 1;
    last[0] = (uint32_t)constants[channels];
    last[1] = zero << (-shift - 1);
    last[2] = (uint32_t)-shift;
}

/* Three weights of a row, r0 pointing to them, as two pairs. */
#define DW_TAPS(first, second)                                                                                     \
    "ldrsb r1, [r0, #1]\n ldrsb r2, [r0, #2]\n ldrsb r3, [r0], #3\n"                                              \
    "pkhbt " first ", r3, r1, lsl #16\n pkhbt " second ", r1, r2, lsl #16\n"

/* nas_dw_plain for a kernel of 3 and a stride of 1 or 2. Results are clamped to 8 bits; nas_dw_pack does the rest. */
static NAS_APART void nas_dw_fast3(nas_dw_job *job, uint32_t channel, uint32_t held, uint8_t *output)
{
    nas_dw_state *const state = &job->table.three;
    const uint32_t odd = job->count & 1U, stride = job->layer->stride;
    if (channel == 0U) {
        const nas_layer *const layer = job->layer;
        state->weights = job->weights;
        state->constants = layer->constants;
        state->shift = (const int8_t *)(layer->constants + 2U * layer->in_channels);
        state->channels = 4U * layer->in_channels;
        state->zero = 2U * layer->out_zero + 1U;
        state->plane = job->plane;
        state->apart = job->apart;
        state->even = (job->count - odd) * job->step;
    }
    state->p = job->planes;
    state->y = output;
    /* Pairs of results, then with a step of 0 a last single one. */
    const uint32_t first = job->count > 1U ? job->step : 0U, times = job->count > 1U ? 1U + odd : 1U;
    nas_dw_state *k = state;
    NAS_ROLLED
    for (; held != 0U; held--) {
        const uint8_t *p;
        uint8_t *y;
        uint32_t v;
        __asm volatile("ldr r0, [%[k], #48]\n" DW_TAPS("r8", "r4") DW_TAPS("r10", "r5") DW_TAPS("r12", "r6")
                       "str r0, [%[k], #48]\n stm %[k], {r8, r10, r12}\n"
                       "ldrd r0, r1, [%[k], #52]\n ldr r2, [%[k], #60]\n ldr r8, [r0, r2]\n ldr r3, [r0], #4\n"
                       "lsl r3, r3, #1\n ldrsb r12, [r1], #1\n strd r0, r1, [%[k], #52]\n rsb r12, r12, #0\n"
                       "ldr r10, [%[k], #64]\n sub r2, r12, #1\n lsl r10, r10, r2\n add r2, %[k], #12\n"
                       "stm r2, {r3, r4, r5, r6, r8, r10, r12}\n"
                       "ldrd %[p], %[y], [%[k], #68]\n ldrd r2, r3, [%[k], #76]\n add r2, r2, %[p]\n add r3, r3, %[y]\n"
                       "strd r2, r3, [%[k], #68]\n ldr r2, [%[k], #84]\n add r2, r2, %[y]\n str r2, [%[k], #44]\n"
                       : [p] "=&r"(p), [y] "=&r"(y)
                       : [k] "r"(k)
                       : "r0", "r1", "r2", "r3", "r4", "r5", "r6", "r8", "r10", "r12", "cc", "memory");
        uint32_t step = first, left = times;
        NAS_ROLLED
        do {
            uint32_t one = stride;
            NAS_OPAQUE(one);
            state->words[10] = step;
            if (one == 1U) {
                DW_LOOP(DW_DATA3 DW_WEIGHTS3_BIAS
                        "smlatb %[v], r0, r4, r10\n" DW_MAC("smlatb", DW_V, "r1", "r5") DW_MAC("smlatb", DW_V, "r2", "r6")
                        DW_MAC3("smlad", DW_U)
                        "ldm %[p], {r0, r1, r2}\n" DW_WEIGHTS3 DW_MAC3("smlad", DW_V) DW_MAC3("smlabt", DW_U) DW_TWO("28"));
            } else {
                DW_LOOP(DW_DATA3 DW_WEIGHTS3_BIAS "mov %[v], r10\n" DW_MAC3("smlad", DW_U)
                        DW_DATA3 DW_MAC3("smlad", DW_V) DW_WEIGHTS3 DW_MAC3("smlabt", DW_U)
                        "ldm %[p], {r0, r1, r2}\n" DW_MAC3("smlabt", DW_V) DW_TWO("28"));
            }
            step = 0U;
        } while (--left != 0U);
    }
}

/* The same for a kernel of 5. */
static NAS_APART void nas_dw_fast5(nas_dw_job *job, uint32_t channel, uint32_t held, uint8_t *output)
{
    const nas_layer *const layer = job->layer;
    const uint32_t channels = layer->in_channels, stride = layer->stride, zero = 2U * layer->out_zero + 1U;
    const int32_t *constants = layer->constants + channel;
    const int8_t *shift = (const int8_t *)(layer->constants + 2U * channels) + channel, *const past = shift + held;
    const int8_t *tap = job->weights + 25U * channel;
    const uint8_t *plane = job->planes;
    uint32_t *const words = job->table.five;
    NAS_ROLLED
    for (; shift != past; shift++, constants++, plane += job->plane, output += job->apart) {
        uint32_t *k = words, v;
        const uint8_t *p = plane;
        uint8_t *y = output;
        NAS_ROLLED
        for (uint32_t *to = words + 1; to != words + 6; to++, tap += 5) {
            const int32_t second = tap[1], third = tap[2], fourth = tap[3];
            to[0] = nas_dw_taps(tap[0], second);
            to[5] = nas_dw_taps(second, third);
            to[10] = nas_dw_taps(third, fourth);
            to[15] = nas_dw_taps(fourth, tap[4]);
        }
        nas_dw_constants(constants, channels, *shift, zero, words, words + 21);
        words[24] = job->step;
        if (stride == 2U) {
            words[25] = (uint32_t)(uintptr_t)(y + job->count * job->step);
            DW_LOOP(DW_DATA5 DW_WEIGHTS5A_BIAS DW_MAC5A("smlad", DW_U) DW_WEIGHTS5B DW_MAC5B("smlad", DW_U)
                    "add %[k], %[k], #20\n"
                    DW_DATA5 DW_WEIGHTS5A DW_MAC5A("smlad", DW_U) DW_WEIGHTS5B DW_MAC5B("smlad", DW_U)
                    DW_DATA5 DW_WEIGHTS5A DW_MAC5A("smlabt", DW_U) DW_WEIGHTS5B DW_MAC5B("smlabt", DW_U)
                    "sub %[p], %[p], #40\n" DW_ONE("84"));
            continue;
        }
        uint32_t left = job->count;
        words[25] = (uint32_t)(uintptr_t)(y + (left & ~1U) * job->step);
        NAS_ROLLED
        do { /* as in nas_dw_fast3 */
            if (left == 1U) {
                words[24] = 0U;
            }
            DW_LOOP(DW_DATA5 DW_WEIGHTS5A_BIAS
                    "smlatb %[v], r0, r5, r10\n" DW_MAC("smlatb", DW_V, "r1", "r6") DW_MAC("smlatb", DW_V, "r2", "r8")
                    DW_MAC5A("smlad", DW_U) DW_WEIGHTS5B DW_MAC5B("smlad", DW_U) DW_MAC5B("smlatb", DW_V)
                    DW_DATA5 DW_WEIGHTS5A DW_MAC5A("smlad", DW_V) DW_WEIGHTS5B DW_MAC5B("smlad", DW_V)
                    DW_WEIGHTS5A DW_MAC5A("smlad", DW_U) DW_WEIGHTS5B DW_MAC5B("smlad", DW_U)
                    DW_DATA5 DW_WEIGHTS5A DW_MAC5A("smlad", DW_V) DW_MAC5A("smlabt", DW_U)
                    DW_WEIGHTS5B DW_MAC5B("smlad", DW_V) DW_MAC5B("smlabt", DW_U)
                    "sub %[p], %[p], #40\n" DW_TWO("84"));
            left = left > 1U ? left & 1U : 0U;
        } while (left != 0U);
    }
}

#endif

/* Four bytes, none above the largest result; the DSP loops clamp to 8 bits only. */
static inline uint32_t nas_dw_clamp(uint32_t four, uint32_t room)
{
#if NAS_DW_DSP
    __asm("uqadd8 %0, %0, %1\n usub8 %0, %0, %1" : "+r"(four) : "r"(room) : "cc");
#else
    (void)room;
#endif
    return four;
}

/* Packs the results of up to four channels, kept as bytes in their planes, from bit `at` on. */
static NAS_APART void nas_dw_pack(const nas_dw_job *job, uint8_t *output, uint32_t at, uint32_t held)
{
    const uint32_t bits = job->layer->out_bits, room = (256U - (1U << bits)) * 0x1010101U, plane = job->plane;
    const uint8_t *from = job->planes;
    NAS_ROLLED
    for (uint32_t left = job->count; left != 0U; left--, from += job->step, at += bits * job->layer->in_channels) {
        const uint8_t *const third = from + 2U * plane;
        uint32_t four = from[0] | (uint32_t)from[plane] << 8 | (uint32_t)third[0] << 16 | (uint32_t)third[plane] << 24;
        four = nas_dw_clamp(four, room);
        const uint32_t two = (four & 0xFF00FFU) | ((four >> 8) & 0xFF00FFU) << bits; /* channels 0 and 1, 2 and 3 */
        uint32_t value = (two & 0xFFFFU) | (two >> 16) << (2U * bits), count = held * bits, place = at;
        if (count == 16U && (at & 7U) == 0U) {
            nas_dw_store_half(output + (at >> 3), value);
            continue;
        }
        if (count > 24U) {
            nas_dw_put(output, place, 16U, value & 0xFFFFU);
            value >>= 16;
            place += 16U;
            count -= 16U;
        }
        nas_dw_put(output, place, count, value);
    }
}

/* A part of an output row: `job->count` results of every channel, from element `index` on. */
static NAS_APART void nas_dw_part(nas_dw_job *job, uint8_t *output, uint32_t index)
{
    const nas_layer *layer = job->layer;
    const uint32_t channels = layer->in_channels;
    const bool bytes = layer->out_bits == 8U;
    void (*expand)(const nas_dw_job *, uint32_t) = layer->in_bits == 8U ? nas_dw_expand_bytes : nas_dw_expand;
    void (*multiply)(nas_dw_job *, uint32_t, uint32_t, uint8_t *) = nas_dw_plain;
#if NAS_DW_DSP
    if (layer->kernel != 3U && layer->kernel != 5U) { /* no loop of its own */
        expand = nas_dw_expand;
    }
    if ((layer->flags & NAS_FAST_ROUNDING) != 0 && layer->stride <= 2U) {
        multiply = layer->kernel == 3U ? nas_dw_fast3 : layer->kernel == 5U ? nas_dw_fast5 : nas_dw_plain;
    }
#endif
    NAS_ROLLED
    for (uint32_t c = 0U; c < channels; c += 4U) {
        const uint32_t held = channels - c < 4U ? channels - c : 4U;
        if (c == 0U || !bytes) { /* narrow results are kept in the planes, and may lie where padding was */
            nas_dw_surround(job);
            job->pad = job->again;
        }
        expand(job, c);
        multiply(job, c, held, bytes ? output + index + c : job->planes);
        if (!bytes) {
            nas_dw_pack(job, output, (index + c) * layer->out_bits, held);
        }
    }
}

void nas_depthwise(const nas_layer *layer, uint8_t *arena)
{
    const uint32_t kernel = layer->kernel, stride = layer->stride, channels = layer->in_channels;
    const uint32_t rows = layer->out_height, columns = layer->out_width;
    const int32_t width = layer->in_width, height = layer->in_height;
    const uint32_t pitch = layer->in_width + layer->in_width % 2U + 2U * (kernel / 2U);
    const uint32_t most = (pitch - kernel) / stride + 1U; /* results of which the planes hold all columns */
    nas_dw_job job;
    job.layer = layer;
    job.row_bits = layer->in_width * channels * layer->in_bits;
    job.plane = 2U * kernel * pitch;
    job.ring = arena + layer->scratch;
    job.planes = job.ring + 4U * ((kernel * job.row_bits + 31U) / 32U);
    job.weights = (int8_t *)(job.planes + 4U * job.plane);
    job.step = layer->out_bits == 8U ? channels : 2U * kernel * stride;
    job.apart = layer->out_bits == 8U ? 1U : job.plane;
    job.pad = true;
    nas_dw_unpack(layer, job.weights);

    int32_t from = 0, below = 0; /* input rows from .. below - 1 have been fetched */
    NAS_ROLLED
    for (uint32_t n = 0U; n < rows; n++) {
        const uint32_t row = (layer->flags & NAS_BACKWARD) != 0 ? rows - 1U - n : n;
        const int32_t top = (int32_t)(row * stride) - layer->pad_top, bottom = top + (int32_t)kernel;
        const int32_t first = top < 0 ? 0 : top, end = bottom > height ? height : bottom;
        NAS_ROLLED
        for (int32_t r = first; r < end; r++) {
            if (r < from || r >= below) {
                nas_dw_fetch(&job, (uint32_t)r % kernel, arena + layer->input, (uint32_t)r);
            }
        }
        from = first;
        below = end;
        job.first = (uint32_t)(first - top);
        job.past = (uint32_t)(end - top);
        job.slot = (uint32_t)first % kernel;
        NAS_ROLLED
        for (uint32_t o = 0U; o < columns; o += most) { /* more than one part only if the padding is unusually wide */
            const int32_t left = (int32_t)(o * stride) - layer->pad_left; /* input column that is column 0 */
            job.count = columns - o < most ? columns - o : most;
            job.wanted = (job.count - 1U) * stride + kernel;
            job.begin = left < 0 ? (uint32_t)-left : 0U;
            job.stop = width - left < (int32_t)job.wanted ? (uint32_t)(width - left) : job.wanted;
            job.start = (uint32_t)(left + (int32_t)job.begin) * channels * layer->in_bits;
            job.lead = 4U * kernel * (job.begin / 2U);
            job.pairs = job.stop / 2U - (job.begin + 1U) / 2U;
            /* Padding beside column `begin`, where that is odd, is written together with it. */
            job.again = columns > most || (job.begin > 1U && layer->out_bits != 8U);
            job.pad = job.pad || job.again;
            nas_dw_part(&job, arena + layer->output, (row * columns + o) * channels);
        }
    }
}
