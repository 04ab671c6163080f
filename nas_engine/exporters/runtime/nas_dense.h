/* Dense layers: the record that their parts share, and the order of the work. Nothing here is for callers of the runtime.
 *
 * These are the 1x1 and k x k convolutions over all channels, and the dense layer, which is a 1x1 convolution of one pixel. Two or
 * three pixels and two output channels are worked on at once: each weight that is unpacked and each input that is read serves
 * several products. A last pixel, or that of a dense layer, stands alone.
 *
 *   nas_dense_expand.h  two or three pixels to pairs of 16-bit numbers
 *   nas_dense_tile.h    weights of any width to a tile of bytes
 *   nas_dense_row.h     results of two pixels for a row of channels; its inner loop is in nas_dense_pairs.h
 *   nas_dense_three.h   the same of three pixels, where rounding is quick and weights are bytes
 *   nas_dense_one.h     the same of one pixel
 *   nas_dense_add.h     the shortcut
 *   nas_dense_output.h  the clamp, and packing
 */
#ifndef NAS_DENSE_H
#define NAS_DENSE_H

#include "nas_dense_words.h"
#include "nas_runtime.h"

#define NAS_RESULTS_AT_ONCE 32U /* of a pixel, that wait for the shortcut or to be packed */

/* A quick addition, see nas_dense_add.c; assembly counts on the order. */
typedef struct {
    const uint8_t *exact;  /* the operand with the larger scale, */
    const uint8_t *scaled; /* the other one, */
    uint8_t *to;           /* where sums go, */
    const uint8_t *end;    /* and where the first operand ends: set for each call */
    int32_t scaled_zero;
    int32_t multiplier, half;
    uint32_t right;
    int32_t exact_zero;
    int32_t out_multiplier, addend;
    uint32_t out_right;
    uint32_t shortcut_exact; /* whether the shortcut is the one with the larger scale */
} nas_sum;

/* Constants of two channels as the inner loop of three pixels takes them. */
typedef struct {
    uint32_t twice_bias[2];
    struct {
        int32_t multiplier, addend; /* nas_fast_addend */
        uint32_t right;
    } channel[2];
} nas_three;

typedef struct {
    const nas_layer *layer;
    const uint8_t *input;
    uint8_t *output;
    uint32_t *pairs;      /* 4 * padded bytes, 6 * padded where three pixels are worked on */
    nas_three *constants; /* of `at_once` channels, where they are in scratch; else NULL, and these are at most 16 */
    uint32_t *tile;       /* weights of `at_once` channels, one byte each */
    uint8_t *row;         /* end of all this */
    uint32_t taps;      /* of one output channel */
    uint32_t padded;    /* the same, rounded up to 4 */
    uint32_t pixels;    /* of the output */
    uint32_t channels;  /* of the output */
    uint32_t in_flash;  /* the weights are a tile already, in Flash or unpacked before: NAS_TILE_BITS */
    uint32_t three;     /* three pixels are worked on, as long as there are so many */
    uint32_t at_once;   /* channels of which weights, and constants where three pixels are worked on, are held */
    uint32_t slot_bits; /* width at which the output is written: that of the shortcut, where that is wider */
    uint32_t zero;      /* added to every result before it is clamped to 0 .. 255 */
    uint32_t direct;    /* 8-bit results in twos that meet no shortcut go straight to the output */
    uint32_t carried;   /* words of w4: 8 - bits, the shift of their sums */
    uint32_t bit;       /* stream kernels: where the next weight begins */
    uint32_t start[2];  /* w4: -2^(bits-1) times the sum of each pixel's taps, where its accumulators begin */
    nas_sum sum;        /* NAS_QUICK_ADDITION */
    uint8_t bytes[3][NAS_RESULTS_AT_ONCE]; /* results of each pixel on their way to the output */
} nas_dense;

typedef struct nas_row nas_row; /* nas_dense_row.h */

/* Expand one to three pixels from `pixel` on into dense->pairs, the first of two again where there is no second. */
typedef void nas_dense_load(const nas_dense *dense, uint32_t pixel, uint32_t count);

/* Fill in the record; bring the shortcut to the slot width. */
NAS_RARE void nas_dense_begin(nas_dense *dense, const nas_layer *layer, uint8_t *arena);

/* Narrow the output from the shortcut's width, where that is wider. The two functions below end with it. */
NAS_RARE void nas_dense_end(const nas_dense *dense);

/* All of a 1x1 layer whose weights, of 4 bits, are multiplied as they stand in Flash: pixels outside, channels inside.
 * `pairs` is the inner loop for these bits. */
void nas_dense_native(nas_dense *dense, void (*pairs)(nas_row *row), uint32_t bits);

/* All of a 1x1 or k x k layer: tiles of channels, and for each all pixels. */
void nas_dense_stream(nas_dense *dense, nas_dense_load *load);

#endif
