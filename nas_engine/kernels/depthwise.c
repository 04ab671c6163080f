/* Depth-wise convolution, forward and backward, of square kernels of 3, 5 or 7 and strides 1 and 2.
 * A block of channels of one image lies padded in a scratch buffer; taps are unrolled. */
#include "kernels.h"

#include <string.h>

/* Here arithmetic decides: products are added in one instruction where there is one. */
#if defined(__clang__)
#pragma clang fp contract(fast)
#elif defined(__GNUC__)
#pragma GCC optimize("fp-contract=fast", "no-predictive-commoning")
#endif

/* Channels of a block, and rows of taps whose sums fit the registers. */
#ifdef __AVX512F__
enum { WIDTH = 16 };
#define ROWS(K) (K == 7 ? 3 : K)
#else
enum { WIDTH = 8 };
#define ROWS(K) (K == 3 ? 3 : K == 5 ? 2 : 1)
#endif

typedef float Vector __attribute__((vector_size(4 * WIDTH), aligned(4)));

/* Output pixels that are worked on at once. */
enum { PIXELS = 4 };

/* Images of a chunk: the gradient of the weights is summed by chunks, in their order. */
enum { IMAGES = 8 };

typedef struct {
    int64_t images, height, width, channels, kernel, stride, top, left, out_height, out_width;
} Shape;

/* Height and width of the padded image, with room for what the last pixels read. */
INLINE int64_t padded_height(const Shape *s)
{
    int64_t read = (s->out_height - 1) * s->stride + s->kernel, image = s->height + s->top;
    return read > image ? read : image;
}

INLINE int64_t padded_width(const Shape *s)
{
    int64_t read = (s->out_width + PIXELS - 1) * s->stride + s->kernel, image = s->width + s->left;
    return read > image ? read : image;
}

INLINE int64_t blocks_of(const Shape *s) { return (s->channels + WIDTH - 1) / WIDTH; }

/* The gradient of the input at stride 1 is the convolution of that of the output, by the weights
 * in reverse. At stride 2 only the image of this shape is used, without edges. */
INLINE Shape turned(const Shape *s)
{
    Shape t = *s;
    t.stride = 1;
    t.height = s->out_height;
    t.width = s->out_width;
    t.out_height = s->height;
    t.out_width = s->width;
    t.top = s->stride == 1 ? s->kernel - 1 - s->top : 0;
    t.left = s->stride == 1 ? s->kernel - 1 - s->left : 0;
    if (s->stride != 1) {
        t.out_height = t.out_width = 1;
    }
    return t;
}

/* Floats of scratch that each chunk of images needs: weights and their gradients, the padded image,
 * the padded gradient, and at stride 2 one block of the padded gradient of the image. */
EXPORT int64_t nas_depthwise_scratch(const Shape *s)
{
    const Shape t = turned(s);
    const int64_t image = padded_height(s) * padded_width(s);
    const int64_t gradient = padded_height(&t) * padded_width(&t);
    return (blocks_of(s) * (2 * s->kernel * s->kernel + image + gradient) + image) * WIDTH;
}

INLINE void copy(const float *from, int64_t lanes, float *to)
{
    if (lanes == WIDTH) {
        *(Vector *)to = *(const Vector *)from;
        return;
    }
    for (int64_t l = 0; l < lanes; l++)
        to[l] = from[l];
}

/* Puts an image into padded blocks of channels, [blocks][pixels][WIDTH], whose edges are zero. It is
 * read in the order of memory. */
static void pad(const Shape *s, const float *x, float *to)
{
    const int64_t wide = padded_width(s), size = padded_height(s) * wide * WIDTH;
    const int64_t blocks = blocks_of(s), rest = s->channels - (blocks - 1) * WIDTH;
    for (int64_t i = 0; i < s->height; i++)
        for (int64_t j = 0; j < s->width; j++) {
            const float *from = x + (i * s->width + j) * s->channels;
            float *at = to + ((i + s->top) * wide + j + s->left) * WIDTH;
            for (int64_t block = 0; block < blocks - 1; block++)
                copy(from + block * WIDTH, WIDTH, at + block * size);
            copy(from + (blocks - 1) * WIDTH, rest, at + (blocks - 1) * size);
        }
}

INLINE void convolve(int K, int S, const Shape *s, const float *x, const float *weights,
                     int64_t lanes, float *y)
{
    const int64_t wide = padded_width(s);
    for (int64_t i = 0; i < s->out_height; i++)
        for (int64_t j = 0; j < s->out_width; j += PIXELS) {
            Vector sum[PIXELS] = {{0}};
#pragma GCC unroll 8
            for (int u = 0; u < K; u++)
#pragma GCC unroll 8
                for (int v = 0; v < K; v++) {
                    const float *at = x + ((i * S + u) * wide + j * S + v) * WIDTH;
                    const Vector weight = *(const Vector *)(weights + (u * K + v) * WIDTH);
#pragma GCC unroll 4
                    for (int p = 0; p < PIXELS; p++)
                        sum[p] += *(const Vector *)(at + p * S * WIDTH) * weight;
                }
            for (int64_t p = 0; p < least(PIXELS, s->out_width - j); p++) {
                copy((const float *)&sum[p], lanes, y + (i * s->out_width + j + p) * s->channels);
            }
        }
}

/* Adds the gradient of the weights of one image; rows of `g` are `g_wide` pixels long. */
INLINE void weigh(int K, int S, const Shape *s, const float *x, const float *g, int64_t g_wide,
                  float *of_weights)
{
    const int64_t wide = padded_width(s);
    const int rows = ROWS(K), taps = rows * K;
    for (int first = 0; first < K; first += rows) {
        Vector sum[7 * 7];
#pragma GCC unroll 49
        for (int t = 0; t < taps; t++)
            sum[t] = (Vector){0};
        for (int64_t i = 0; i < s->out_height; i++)
            for (int64_t j = 0; j < s->out_width; j++) {
                const Vector gradient = *(const Vector *)(g + (i * g_wide + j) * WIDTH);
                const float *at = x + ((i * S + first) * wide + j * S) * WIDTH;
#pragma GCC unroll 8
                for (int u = 0; u < rows; u++) {
                    /* The last group may reach below the kernel: its first row stands in. */
                    const float *row = at + (first + u < K ? u : 0) * wide * WIDTH;
#pragma GCC unroll 8
                    for (int v = 0; v < K; v++)
                        sum[u * K + v] += *(const Vector *)(row + v * WIDTH) * gradient;
                }
            }
        for (int u = 0; u < rows && first + u < K; u++)
            for (int v = 0; v < K; v++)
                *(Vector *)(of_weights + ((first + u) * K + v) * WIDTH) += sum[u * K + v];
    }
}

/* Adds the gradient of a padded image at stride 2. */
INLINE void spread(int K, const Shape *s, const float *g, int64_t g_wide, const float *weights,
                   float *of_x)
{
    const int64_t wide = padded_width(s);
    for (int64_t i = 0; i < s->out_height; i++)
        for (int64_t j = 0; j < s->out_width; j++) {
            const Vector gradient = *(const Vector *)(g + (i * g_wide + j) * WIDTH);
            float *at = of_x + (i * 2 * wide + j * 2) * WIDTH;
#pragma GCC unroll 8
            for (int u = 0; u < K; u++)
#pragma GCC unroll 8
                for (int v = 0; v < K; v++)
                    *(Vector *)(at + (u * wide + v) * WIDTH) +=
                        gradient * *(const Vector *)(weights + (u * K + v) * WIDTH);
        }
}

/* Weights [channels][taps] as [blocks][taps][WIDTH], in reverse if asked for. */
static void gather(const Shape *s, const float *weights, int reverse, float *to)
{
    const int64_t taps = s->kernel * s->kernel;
    memset(to, 0, (size_t)(blocks_of(s) * taps * WIDTH) * sizeof *to);
    for (int64_t c = 0; c < s->channels; c++)
        for (int64_t t = 0; t < taps; t++)
            to[(c / WIDTH * taps + t) * WIDTH + c % WIDTH] =
                weights[c * taps + (reverse ? taps - 1 - t : t)];
}

static void zero(float *to, int64_t pixels)
{
    memset(to, 0, (size_t)(pixels * WIDTH) * sizeof *to);
}

#define BY_SHAPE(DO) \
    switch (s->kernel * 2 + s->stride - 1) { \
    case 6: DO(3, 1); break; \
    case 7: DO(3, 2); break; \
    case 10: DO(5, 1); break; \
    case 11: DO(5, 2); break; \
    case 14: DO(7, 1); break; \
    default: DO(7, 2); break; \
    }

/* y = x * weights for chunks of images from `first` to `last`; `scratch` is for all chunks. */
EXPORT void nas_depthwise(const Shape *s, const float *x, const float *weights, float *scratch,
                          float *y, int64_t first, int64_t last)
{
    const int64_t taps = s->kernel * s->kernel, blocks = blocks_of(s);
    const int64_t pixels = padded_height(s) * padded_width(s);
    float *own = scratch + first * nas_depthwise_scratch(s), *padded = own + blocks * taps * WIDTH;
    gather(s, weights, 0, own);
    zero(padded, blocks * pixels);
    for (int64_t n = first * IMAGES; n < least(s->images, last * IMAGES); n++) {
        pad(s, x + n * s->height * s->width * s->channels, padded);
        for (int64_t block = 0; block < blocks; block++) {
            const int64_t c = block * WIDTH, lanes = least(s->channels - c, WIDTH);
            float *to = y + n * s->out_height * s->out_width * s->channels + c;
#define DO(K, S) \
    convolve(K, S, s, padded + block * pixels * WIDTH, own + block * taps * WIDTH, lanes, to)
            BY_SHAPE(DO)
#undef DO
        }
    }
}

/* Gradients of x, and of the weights for each chunk of images, [chunks][channels][taps]. */
EXPORT void nas_depthwise_backward(const Shape *s, const float *x, const float *weights,
                                   const float *g, float *scratch, float *of_x, float *of_weights,
                                   int64_t first, int64_t last)
{
    const Shape t = turned(s);
    const int64_t taps = s->kernel * s->kernel, blocks = blocks_of(s);
    const int64_t in = s->height * s->width * s->channels;
    const int64_t out = s->out_height * s->out_width * s->channels;
    const int64_t wide = padded_width(s), pixels = padded_height(s) * wide;
    const int64_t g_wide = padded_width(&t), g_pixels = padded_height(&t) * g_wide;
    float *turned_weights = scratch + first * nas_depthwise_scratch(s);
    float *sums = turned_weights + blocks * taps * WIDTH, *padded = sums + blocks * taps * WIDTH;
    float *gradients = padded + blocks * pixels * WIDTH;
    float *spread_out = gradients + blocks * g_pixels * WIDTH;
    gather(s, weights, s->stride == 1, turned_weights);
    zero(padded, blocks * pixels);
    zero(gradients, blocks * g_pixels);
    for (int64_t chunk = first; chunk < last; chunk++) {
        zero(sums, blocks * taps);
        for (int64_t n = chunk * IMAGES; n < least(s->images, (chunk + 1) * IMAGES); n++) {
            pad(s, x + n * in, padded);
            pad(&t, g + n * out, gradients);
            for (int64_t block = 0; block < blocks; block++) {
                const int64_t c = block * WIDTH, lanes = least(s->channels - c, WIDTH);
                const float *own = turned_weights + block * taps * WIDTH;
                const float *image = padded + block * pixels * WIDTH;
                const float *edged = gradients + block * g_pixels * WIDTH;
                const float *gradient = edged + (t.top * g_wide + t.left) * WIDTH;
                float *to = of_x + n * in + c, *sum = sums + block * taps * WIDTH;
#define DO(K, S) weigh(K, S, s, image, gradient, g_wide, sum)
                BY_SHAPE(DO)
#undef DO
                if (s->stride == 1) {
                    if (s->kernel == 3) convolve(3, 1, &t, edged, own, lanes, to);
                    else if (s->kernel == 5) convolve(5, 1, &t, edged, own, lanes, to);
                    else convolve(7, 1, &t, edged, own, lanes, to);
                    continue;
                }
                zero(spread_out, pixels);
                if (s->kernel == 3) spread(3, s, gradient, g_wide, own, spread_out);
                else if (s->kernel == 5) spread(5, s, gradient, g_wide, own, spread_out);
                else spread(7, s, gradient, g_wide, own, spread_out);
                for (int64_t i = 0; i < s->height; i++)
                    for (int64_t j = 0; j < s->width; j++)
                        copy(spread_out + ((i + s->top) * wide + j + s->left) * WIDTH, lanes,
                             to + (i * s->width + j) * s->channels);
            }
        }
        for (int64_t c = 0; c < s->channels; c++)
            for (int64_t tap = 0; tap < taps; tap++)
                of_weights[(chunk * s->channels + c) * taps + tap] =
                    sums[(c / WIDTH * taps + tap) * WIDTH + c % WIDTH];
    }
}
