/* Depth-wise convolution, forward and backward, of square kernels of 3, 5 or 7 and strides 1 and 2.
 * A block of channels of one image lies padded in a scratch buffer; taps are unrolled. */
#include "kernels.h"

#include <string.h>

/* Here arithmetic decides: products are added in one instruction where there is one. */
#if defined(__clang__)
#pragma clang fp contract(fast)
#elif defined(__GNUC__)
#pragma GCC optimize("fp-contract=fast")
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
 * in reverse. */
INLINE Shape turned(const Shape *s)
{
    Shape t = *s;
    t.height = s->out_height;
    t.width = s->out_width;
    t.out_height = s->height;
    t.out_width = s->width;
    t.top = s->kernel - 1 - s->top;
    t.left = s->kernel - 1 - s->left;
    return t;
}

/* Floats of scratch that each chunk of images needs. */
EXPORT int64_t nas_depthwise_scratch(const Shape *s)
{
    const Shape t = turned(s);
    const int64_t own = padded_height(s) * padded_width(s);
    const int64_t other = padded_height(&t) * padded_width(&t);
    const int64_t pixels = own + s->out_height * s->out_width + (own > other ? own : other);
    return (pixels + 2 * blocks_of(s) * s->kernel * s->kernel) * WIDTH;
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

/* Puts a block of channels into a padded image that is zero at its edges; unused lanes stay. */
static void pad(const Shape *s, const float *x, int64_t lanes, float *to)
{
    const int64_t wide = padded_width(s);
    for (int64_t i = 0; i < s->height; i++)
        for (int64_t j = 0; j < s->width; j++)
            copy(x + (i * s->width + j) * s->channels, lanes,
                 to + ((i + s->top) * wide + j + s->left) * WIDTH);
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

/* Adds the gradient of the weights of one image; `g` has no other channels. */
INLINE void weigh(int K, int S, const Shape *s, const float *x, const float *g, float *of_weights)
{
    const int64_t wide = padded_width(s);
    for (int first = 0; first < K; first += ROWS(K)) {
        Vector sum[7 * 7];
#pragma GCC unroll 49
        for (int t = 0; t < ROWS(K) * K; t++)
            sum[t] = (Vector){0};
        for (int64_t i = 0; i < s->out_height; i++)
            for (int64_t j = 0; j < s->out_width; j++) {
                const Vector gradient = *(const Vector *)(g + (i * s->out_width + j) * WIDTH);
                const float *at = x + ((i * S + first) * wide + j * S) * WIDTH;
#pragma GCC unroll 8
                for (int u = 0; u < ROWS(K); u++) {
                    /* The last group may reach below the kernel: its first row stands in. */
                    const float *row = at + (first + u < K ? u : 0) * wide * WIDTH;
#pragma GCC unroll 8
                    for (int v = 0; v < K; v++)
                        sum[u * K + v] += *(const Vector *)(row + v * WIDTH) * gradient;
                }
            }
        for (int u = 0; u < ROWS(K) && first + u < K; u++)
            for (int v = 0; v < K; v++)
                *(Vector *)(of_weights + ((first + u) * K + v) * WIDTH) += sum[u * K + v];
    }
}

/* Adds the gradient of a padded image at stride 2. */
INLINE void spread(int K, const Shape *s, const float *g, const float *weights, float *of_x)
{
    const int64_t wide = padded_width(s);
    for (int64_t i = 0; i < s->out_height; i++)
        for (int64_t j = 0; j < s->out_width; j++) {
            const Vector gradient = *(const Vector *)(g + (i * s->out_width + j) * WIDTH);
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
    float *turned_weights = scratch + first * nas_depthwise_scratch(s);
    float *padded = turned_weights + blocks * taps * WIDTH;
    gather(s, weights, 0, turned_weights);
    zero(padded, pixels);
    for (int64_t n = first * IMAGES; n < least(s->images, last * IMAGES); n++)
        for (int64_t block = 0; block < blocks; block++) {
            const int64_t c = block * WIDTH, lanes = least(s->channels - c, WIDTH);
            const float *own = turned_weights + block * taps * WIDTH;
            float *to = y + n * s->out_height * s->out_width * s->channels + c;
            pad(s, x + n * s->height * s->width * s->channels + c, lanes, padded);
#define DO(K, S) convolve(K, S, s, padded, own, lanes, to)
            BY_SHAPE(DO)
#undef DO
        }
}

/* Gradients of x, and of the weights for each chunk of images, [chunks][channels][taps]. */
EXPORT void nas_depthwise_backward(const Shape *s, const float *x, const float *weights,
                                   const float *g, float *scratch, float *of_x, float *of_weights,
                                   int64_t first, int64_t last)
{
    const Shape t = turned(s);
    const int64_t taps = s->kernel * s->kernel, blocks = blocks_of(s);
    const int64_t in = s->height * s->width, out = s->out_height * s->out_width;
    const int64_t pixels = padded_height(s) * padded_width(s), wide = padded_width(s);
    float *turned_weights = scratch + first * nas_depthwise_scratch(s);
    float *sums = turned_weights + blocks * taps * WIDTH;
    float *padded = sums + blocks * taps * WIDTH, *gradient = padded + pixels * WIDTH;
    float *other = gradient + out * WIDTH;
    gather(s, weights, s->stride == 1, turned_weights);
    zero(padded, pixels);
    zero(gradient, out);
    if (s->stride == 1)
        zero(other, padded_height(&t) * padded_width(&t));
    for (int64_t chunk = first; chunk < last; chunk++) {
        zero(sums, blocks * taps);
        for (int64_t n = chunk * IMAGES; n < least(s->images, (chunk + 1) * IMAGES); n++)
            for (int64_t block = 0; block < blocks; block++) {
                const int64_t c = block * WIDTH, lanes = least(s->channels - c, WIDTH);
                const float *own = turned_weights + block * taps * WIDTH;
                const float *from = g + n * out * s->channels + c;
                float *to = of_x + n * in * s->channels + c, *sum = sums + block * taps * WIDTH;
                pad(s, x + n * in * s->channels + c, lanes, padded);
                for (int64_t p = 0; p < out; p++)
                    copy(from + p * s->channels, lanes, gradient + p * WIDTH);
#define DO(K, S) weigh(K, S, s, padded, gradient, sum)
                BY_SHAPE(DO)
#undef DO
                if (s->stride == 1) {
                    pad(&t, from, lanes, other);
                    if (s->kernel == 3) convolve(3, 1, &t, other, own, lanes, to);
                    else if (s->kernel == 5) convolve(5, 1, &t, other, own, lanes, to);
                    else convolve(7, 1, &t, other, own, lanes, to);
                    continue;
                }
                zero(other, pixels);
                if (s->kernel == 3) spread(3, s, gradient, own, other);
                else if (s->kernel == 5) spread(5, s, gradient, own, other);
                else spread(7, s, gradient, own, other);
                for (int64_t i = 0; i < s->height; i++)
                    for (int64_t j = 0; j < s->width; j++)
                        copy(other + ((i + s->top) * wide + j + s->left) * WIDTH, lanes,
                              to + (i * s->width + j) * s->channels);
            }
        for (int64_t c = 0; c < s->channels; c++)
            for (int64_t tap = 0; tap < taps; tap++)
                of_weights[(chunk * s->channels + c) * taps + tap] =
                    sums[(c / WIDTH * taps + tap) * WIDTH + c % WIDTH];
    }
}
