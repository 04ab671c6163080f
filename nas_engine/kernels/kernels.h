/* What the kernels of training share. Tensors are float32, channels last: value (r, i) of a tensor
 * with `channels` channels lies at r * channels + i, where a row r is one pixel of one image. */
#ifndef NAS_KERNELS_H
#define NAS_KERNELS_H

#include <stdint.h>

#define INLINE static inline __attribute__((always_inline))
#define EXPORT __attribute__((visibility("default")))

/* Channels that are worked on at once; their sums stay in the first cache. */
enum { LANES = 256 };

/* Rows whose sums are taken in float32 before they go on in float64. */
enum { BLOCK = 64 };

/* Rows of a chunk. Sums of a chunk are added in the order of the chunks, so results do not depend
 * on the number of threads that share them. A multiple of BLOCK. */
enum { CHUNK = 1024 };

INLINE int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

/* As comparisons, which compilers turn into vector instructions; a NaN stays one. */
INLINE float clamp(float v, float low, float high)
{
    v = v < low ? low : v;
    return v > high ? high : v;
}

/* The nearest integer, ties to even, of |v| < 2^22: the sum has no bits for a fraction. */
INLINE float nearest(float v) { return (v + 12582912.0f) - 12582912.0f; }

/* The nearest level within low to high, as torch's round().clamp(): the ends are integers. */
INLINE float level(float v, float low, float high) { return nearest(clamp(v, low, high)); }

#endif
