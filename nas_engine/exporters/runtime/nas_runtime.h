/* nas-search runtime: mixed-precision integer networks on Cortex-M and any other little-endian C99 target.
 *
 * A network is a table of layers (nas_layer) over one static arena. Every tensor is a dense little-endian bit stream in
 * height-width-channel order: element i of a b-bit tensor lies in bits [i*b, (i+1)*b), least significant bit first, from
 * the tensor's first byte on. What is stored is `value - low`: 0 .. 2^b - 1, low being the least value of the tensor's range.
 * Tensors and scratch start at multiples of 4 bytes.
 *
 * No heap, no global state, nothing from the C library but memcpy and memset.
 */
#ifndef NAS_RUNTIME_H
#define NAS_RUNTIME_H

#include <stddef.h>
#include <stdint.h>

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "nas-search runtime: weights and tensors are little-endian"
#endif

#define NAS_TILE_BITS 0U /* weight_bits of weights that were unpacked before: nas_rows_unpack.c */
#define NAS_CHANNELS_AT_ONCE 16U /* output channels of which unpacked weights are held */

/* Multiplier (Q31) and shift (positive to the left) of the shortcut, of the layer's own result, and of their sum. */
typedef struct {
    int32_t first_multiplier, first_shift;
    int32_t second_multiplier, second_shift;
    int32_t out_multiplier, out_shift;
} nas_addition;

enum {
    NAS_BACKWARD = 1,      /* in place: last row first */
    NAS_AT_END = 1,        /* sums and pools: what they are written over ends, not begins, with the output: nas_rows_layer */
    NAS_FAST_ROUNDING = 2, /* |accumulator| < 2^30, every shift in -20 .. -1, nothing overflows: see nas_requantise.h. Depth-wise with
                            * an out_zero of 0: every shift in -20 .. 8, |accumulator| shifted to the left < 2^30 */
    NAS_ADD_SHORTCUT = 4,  /* add the tensor that lies where the output goes */
    NAS_SAME_SCALE = 8,    /* shortcut, the layer's own result and output share their scale, shortcut and output their zero */
    NAS_QUICK_ADDITION = 16, /* one operand has multiplier 2^30 and shift 0, every other shift is in -20 .. -1: nas_dense_add.c */
    NAS_TWICE_THE_TILE = 32, NAS_FOUR_TIMES_THE_TILE = 64, /* dense layers: scratch for so many more channels; both: eight times */
    NAS_ONE_ROW = 128      /* depth-wise: make output row `out_height` alone, from the ring of `shortcut_bits` rows at `input`: row r lies
                            * in slot r % k, or, where the ring has k + 1, in slot (r + pad_top) % (k + 1); then also the row below,
                            * behind the first. See nas_depthwise_rows.c */
};

typedef struct nas_layer nas_layer;

/* One step of the network: 52 bytes where pointers have 4. */
struct nas_layer {
    void (*run)(const nas_layer *layer, uint8_t *arena); /* the kernel; NULL for a pool that nas_rows_pool works on */
    const uint32_t *weights;      /* packed; NULL for a pool */
    const int32_t *constants;     /* bias[O], multiplier[O] (Q31), then int8 shift[O] (positive to the left), padded to words */
    const nas_addition *addition; /* with NAS_ADD_SHORTCUT, else NULL */
    uint32_t input;               /* first bytes in the arena */
    uint32_t output;
    uint32_t scratch;
    uint16_t in_height, in_width, in_channels;
    uint16_t out_height, out_width, out_channels;
    uint8_t kernel, stride, pad_top, pad_left;
    uint8_t weight_bits, in_bits, out_bits, shortcut_bits; /* shortcut_bits: 0 without one */
    uint8_t in_zero, out_zero, shortcut_zero; /* stored value of the real 0: 2^(bits-1) if signed, else 0 */
    uint8_t flags;
};

/* Called with values of a layer's output as soon as they are made, `bytes` of them as they are packed: all of them, row 0, or
 * one row of a layer that runs by rows. */
typedef void nas_after(unsigned step, unsigned row, const void *values, unsigned bytes, void *context);

/* One run of a network. */
typedef struct {
    uint8_t *arena;
    const nas_layer *layers;                              /* the table, in which steps are counted */
    const uint8_t *(*image)(void *context, unsigned row); /* returns a row of the image; NULL where the image is whole */
    void *image_context;
    nas_after *after;                                     /* or NULL */
    void *after_context;
} nas_call;

static inline void nas_tell(const nas_call *call, const nas_layer *layer, uint32_t row, uint32_t rows, const uint8_t *values)
{
    if (call->after != NULL) {
        const uint32_t bits = rows * layer->out_width * layer->out_channels * layer->out_bits;
        call->after((unsigned)(layer - call->layers), row, values, (bits + 7U) / 8U, call->after_context);
    }
}

/* Kernels. What each needs of scratch is nas_engine.costs' arena model:
 *   pointwise    T*(P + 4) bytes, T = taps rounded up to 4, P = min(O rounded up to 2, 16)
 *   rows         the same and ceil(W*O*out_bits/32)*4 (a row of W pixels of the output; all rows where rows are no whole bytes)
 *   convolution  T*(P + 6) bytes
 *                with flags that double the tile: see nas_dense.c
 *   depthwise    ceil(k*W*C*in_bits/32)*4 (ring of k packed input rows) + ceil(k*k*C/4)*4 (weights, one byte each)
 *                + 8*k*pitch, pitch = W + W%2 + 2*(k/2) (4 channels of k rows, 16 bit)
 */
void nas_pointwise_w8(const nas_layer *layer, uint8_t *arena);     /* 1x1; weights in words, taps % 8 == 0, O % 2 == 0 */
void nas_pointwise_w4(const nas_layer *layer, uint8_t *arena);     /* the same */
void nas_pointwise_stream(const nas_layer *layer, uint8_t *arena); /* 1x1, any width and shape; dense layers too */
void nas_pointwise_rows(const nas_layer *layer, uint8_t *arena);   /* the same, in place: output over input, any stride */
void nas_convolution_stream(const nas_layer *layer, uint8_t *arena); /* k x k, any width, shape, stride and padding */
void nas_depthwise_3x3(const nas_layer *layer, uint8_t *arena);    /* in place: output over input, any stride and padding */
void nas_depthwise_5x5(const nas_layer *layer, uint8_t *arena);    /* the same; both are fastest with a stride of 1 or 2 */
void nas_depthwise(const nas_layer *layer, uint8_t *arena);        /* the same for any kernel */
void nas_average_pool(const nas_layer *layer, uint8_t *arena);     /* may work in place, see the file */

#endif
