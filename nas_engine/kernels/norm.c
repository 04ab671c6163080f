/* Batch norm and what follows it (nothing, ReLU6, LSQ's levels, before them a sum with a shortcut),
 * forward and backward in two passes over memory each. nas_engine/kernels/functions.py has the
 * formulas in the words of torch. */
#include "kernels.h"

enum { LINEAR, RELU6, LEVELS };

/* Levels of the output, and the step in which a sum takes the result of the norm. */
typedef struct {
    float step, low, high, own;
} Levels;

enum { OWN_LOW = -128, OWN_HIGH = 127 };

/* The sum of squares is taken about the first row: about zero it would cancel where a channel's
 * mean is large. */
INLINE void moments_tile(const float *restrict y, int64_t rows, int64_t channels,
                         const float *restrict about,
                         int64_t lanes, double *sums)
{
    float sum[LANES], square[LANES];
    for (int64_t i = 0; i < lanes; i++)
        sum[i] = square[i] = 0;
    for (int64_t r = 0; r < rows; r++)
        for (int64_t i = 0; i < lanes; i++) {
            float d = y[r * channels + i] - about[i];
            sum[i] += d;
            square[i] += d * d;
        }
    for (int64_t i = 0; i < lanes; i++) {
        sums[i] += sum[i];
        sums[channels + i] += square[i];
    }
}

/* Sums of each chunk from `first` to `last`: [chunks][2][channels], zero before. */
EXPORT void nas_moments(const float *y, int64_t rows, int64_t channels, double *sums,
                        int64_t first, int64_t last)
{
    for (int64_t chunk = first; chunk < last; chunk++) {
        int64_t end = least(rows, (chunk + 1) * CHUNK);
        for (int64_t r = chunk * CHUNK; r < end; r += BLOCK)
            for (int64_t i = 0; i < channels; i += LANES) {
                const float *at = y + r * channels + i;
                double *into = sums + chunk * 2 * channels + i;
                int64_t lanes = least(channels - i, LANES);
                moments_tile(at, least(BLOCK, end - r), channels, y + i, lanes, into);
            }
    }
}

/* What a norm does to each channel, [4][channels]: y * scale + shift, where the factor holds gamma and
 * inverse = 1 / sqrt(variance + eps). */
typedef struct {
    const float *mean, *inverse, *scale, *shift;
} Norm;

INLINE Norm norm_of(const float *statistics, int64_t channels)
{
    Norm norm = {statistics, statistics + channels, statistics + 2 * channels,
                 statistics + 3 * channels};
    return norm;
}

/* Statistics of a batch by its sums, or (`sums` NULL) of the running ones, which a batch moves. */
EXPORT void nas_statistics(const double *sums, const float *y, int64_t rows, int64_t channels,
                           float eps, float momentum, const float *gamma, const float *beta,
                           float *running_mean, float *running_variance, float *statistics)
{
    const int64_t chunks = (rows + CHUNK - 1) / CHUNK;
    for (int64_t i = 0; i < channels; i++) {
        double centre = running_mean[i], variance = running_variance[i];
        if (sums) {
            double sum = 0, square = 0;
            for (int64_t chunk = 0; chunk < chunks; chunk++) {
                sum += sums[chunk * 2 * channels + i];
                square += sums[(chunk * 2 + 1) * channels + i];
            }
            sum /= (double)rows;
            variance = square / (double)rows - sum * sum;
            variance = variance < 0 ? 0 : variance;
            centre = y[i] + sum;
            double unbiased = rows > 1 ? variance * (double)rows / (double)(rows - 1) : variance;
            running_mean[i] = (1 - momentum) * running_mean[i] + momentum * (float)centre;
            running_variance[i] = (1 - momentum) * running_variance[i] + momentum * (float)unbiased;
        }
        float inverse = (float)(1 / __builtin_sqrt(variance + eps)), scale = gamma[i] * inverse;
        statistics[i] = (float)centre;
        statistics[channels + i] = inverse;
        statistics[2 * channels + i] = scale;
        statistics[3 * channels + i] = beta[i] - (float)centre * scale;
    }
}

INLINE float finished(int kind, int summed, Levels l, float z, float x)
{
    if (kind == LEVELS) {
        if (summed)
            z = (level(z / l.own, OWN_LOW, OWN_HIGH) * l.own + x) / l.step;
        else
            z = z / l.step;
        return level(z, l.low, l.high) * l.step;
    }
    if (summed)
        z += x;
    return kind == RELU6 ? clamp(z, 0, 6) : z;
}

INLINE void forward_tile(int kind, int summed, Levels l, const float *restrict y,
                         const float *restrict x, int64_t rows, int64_t channels,
                         const float *restrict scale, const float *restrict shift, int64_t lanes,
                         float *restrict out)
{
    for (int64_t r = 0; r < rows; r++)
        for (int64_t i = 0; i < lanes; i++) {
            int64_t at = r * channels + i;
            float z = y[at] * scale[i] + shift[i];
            out[at] = finished(kind, summed, l, z, summed ? x[at] : 0);
        }
}

INLINE void forward(int kind, int summed, Levels l, const float *y, const float *x, int64_t rows,
                    int64_t channels, Norm norm, int64_t first, int64_t last, float *out)
{
    int64_t end = least(rows, last * CHUNK);
    for (int64_t r = first * CHUNK; r < end; r += BLOCK)
        for (int64_t i = 0; i < channels; i += LANES) {
            int64_t at = r * channels + i, n = least(BLOCK, end - r);
            int64_t lanes = least(channels - i, LANES);
            forward_tile(kind, summed, l, y + at, x + at, n, channels, norm.scale + i,
                         norm.shift + i, lanes, out + at);
        }
}

#define BY_KIND(CASE) \
    if (kind == LEVELS) CASE(LEVELS); \
    else if (kind == RELU6) CASE(RELU6); \
    else CASE(LINEAR)

/* out = end(y * scale + shift), with `x` the shortcut of a sum, else NULL. */
EXPORT void nas_forward(int kind, const Levels *l, const float *y, const float *x, int64_t rows,
                        int64_t channels, const float *statistics, float *out, int64_t first,
                        int64_t last)
{
    const Norm norm = norm_of(statistics, channels);
#define SUM(K) forward(K, 1, *l, y, x, rows, channels, norm, first, last, out)
#define ALONE(K) forward(K, 0, *l, y, y, rows, channels, norm, first, last, out)
    if (x) {
        BY_KIND(SUM);
    } else {
        BY_KIND(ALONE);
    }
#undef SUM
#undef ALONE
}

/* Gradients pass where a value is strictly within the ends. */
INLINE float inside(float v, float low, float high, float gradient)
{
    return v > low && v < high ? gradient : 0;
}

/* Sums of the gradient of the norm's result z, of its product with y - mean, and of the gradients
 * of the steps of the output and of a summand. */
enum { SUMS = 4 };

INLINE void sums_tile(int kind, int summed, Levels l, const float *restrict g,
                      const float *restrict y, const float *restrict x, int64_t rows,
                      int64_t channels, const float *restrict scale, const float *restrict shift,
                      const float *restrict mean, int64_t lanes, float *restrict of_x,
                      double *sums)
{
    float s0[LANES], s1[LANES], s2[LANES], s3[LANES];
    for (int64_t i = 0; i < lanes; i++)
        s0[i] = s1[i] = s2[i] = s3[i] = 0;
    for (int64_t r = 0; r < rows; r++)
        for (int64_t i = 0; i < lanes; i++) {
            int64_t at = r * channels + i;
            float v = g[at], z = y[at] * scale[i] + shift[i];
            if (kind == LEVELS) {
                float whole = v, own = z / (summed ? l.own : l.step), u = own, near = 0;
                if (summed) {
                    near = level(own, OWN_LOW, OWN_HIGH);
                    u = (near * l.own + x[at]) / l.step;
                }
                v = inside(u, l.low, l.high, v);
                s2[i] += whole * level(u, l.low, l.high) - v * u;
                if (summed) {
                    whole = of_x[at] = v;
                    v = inside(own, OWN_LOW, OWN_HIGH, v);
                    s3[i] += whole * near - v * own;
                }
            } else if (kind == RELU6) {
                v = inside(summed ? z + x[at] : z, 0, 6, v);
                if (summed)
                    of_x[at] = v;
            }
            s0[i] += v;
            s1[i] += v * (y[at] - mean[i]);
        }
    for (int64_t i = 0; i < lanes; i++) {
        sums[i] += s0[i];
        sums[channels + i] += s1[i];
        if (kind == LEVELS) {
            sums[2 * channels + i] += s2[i];
            sums[3 * channels + i] += s3[i];
        }
    }
}

INLINE void sums_of(int kind, int summed, Levels l, const float *g, const float *y, const float *x,
                    int64_t rows, int64_t channels, Norm norm, int64_t first, int64_t last,
                    float *of_x, double *sums)
{
    for (int64_t chunk = first; chunk < last; chunk++) {
        int64_t end = least(rows, (chunk + 1) * CHUNK);
        for (int64_t r = chunk * CHUNK; r < end; r += BLOCK)
            for (int64_t i = 0; i < channels; i += LANES) {
                int64_t at = r * channels + i;
                sums_tile(kind, summed, l, g + at, y + at, x + at, least(BLOCK, end - r), channels,
                          norm.scale + i, norm.shift + i, norm.mean + i,
                          least(channels - i, LANES), of_x + at,
                          sums + chunk * SUMS * channels + i);
            }
    }
}

/* First pass: the sums, [chunks][4][channels], zero before, and the gradient of a shortcut, unless
 * that is the output's own (LINEAR). */
EXPORT void nas_backward_sums(int kind, const Levels *l, const float *g, const float *y,
                              const float *x, int64_t rows, int64_t channels,
                              const float *statistics, float *of_x, double *sums, int64_t first,
                              int64_t last)
{
    const Norm norm = norm_of(statistics, channels);
#define SUM(K) sums_of(K, 1, *l, g, y, x, rows, channels, norm, first, last, of_x, sums)
#define ALONE(K) sums_of(K, 0, *l, g, y, y, rows, channels, norm, first, last, 0, sums)
    if (x && kind != LINEAR) {
        BY_KIND(SUM);
    } else {
        BY_KIND(ALONE);
    }
#undef SUM
#undef ALONE
}

/* From the sums: gradients of gamma and beta, and of y what is proportional to y - mean and what is
 * constant, [4][channels]; gradients of the two steps. Statistics may be constants (`frozen`). */
EXPORT void nas_gradients(const double *sums, int64_t rows, int64_t channels, int frozen,
                          const float *statistics, const float *step_scales, float *gradients,
                          float *of_steps)
{
    const Norm norm = norm_of(statistics, channels);
    const int64_t chunks = (rows + CHUNK - 1) / CHUNK;
    const double part = frozen ? 0 : 1.0 / (double)rows;
    double steps[2] = {0, 0};
    for (int64_t i = 0; i < channels; i++) {
        double total[SUMS] = {0};
        for (int64_t chunk = 0; chunk < chunks; chunk++)
            for (int which = 0; which < SUMS; which++)
                total[which] += sums[(chunk * SUMS + which) * channels + i];
        double of_gamma = total[1] * norm.inverse[i], scale = norm.scale[i] * part;
        gradients[i] = (float)of_gamma;
        gradients[channels + i] = (float)total[0];
        gradients[2 * channels + i] = (float)(scale * of_gamma * norm.inverse[i]);
        gradients[3 * channels + i] = (float)(scale * total[0]);
        steps[0] += total[2];
        steps[1] += total[3];
    }
    for (int which = 0; which < 2; which++)
        of_steps[which] = (float)(steps[which] * step_scales[which]);
}

/* A sum's gates are in the gradient of its shortcut already, but for that of the summand's levels. */
INLINE void gradient_row(int kind, int summed, Levels l, const float *restrict g,
                         const float *restrict y, int64_t channels, Norm norm,
                         const float *restrict slope, const float *restrict offset,
                         float *restrict of_y)
{
    const float *restrict scale = norm.scale, *restrict shift = norm.shift;
    const float *restrict mean = norm.mean;
    for (int64_t i = 0; i < channels; i++) {
        float v = g[i], z = y[i] * scale[i] + shift[i];
        if (kind == LEVELS)
            v = summed ? inside(z / l.own, OWN_LOW, OWN_HIGH, v) : inside(z / l.step, l.low, l.high, v);
        else if (kind == RELU6 && !summed)
            v = inside(z, 0, 6, v);
        of_y[i] = scale[i] * v - slope[i] * (y[i] - mean[i]) - offset[i];
    }
}

/* Second pass: the gradient of y, from that of the output, or of the shortcut (`summed`). */
EXPORT void nas_backward_norm(int kind, const Levels *l, int summed, const float *g, const float *y,
                              int64_t rows, int64_t channels, const float *statistics,
                              const float *gradients, float *of_y, int64_t first, int64_t last)
{
    const Norm norm = norm_of(statistics, channels);
    const float *slope = gradients + 2 * channels, *offset = gradients + 3 * channels;
    const int64_t end = least(rows, last * CHUNK);
#define ROWS_OF(K, S) \
    for (int64_t r = first * CHUNK; r < end; r++) \
    gradient_row(K, S, *l, g + r * channels, y + r * channels, channels, norm, slope, offset, \
                 of_y + r * channels)
#define SUM(K) ROWS_OF(K, 1)
#define ALONE(K) ROWS_OF(K, 0)
    if (summed) {
        BY_KIND(SUM);
    } else {
        BY_KIND(ALONE);
    }
#undef SUM
#undef ALONE
#undef ROWS_OF
}
