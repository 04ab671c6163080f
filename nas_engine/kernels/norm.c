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

/* Mean, factor and summand of each channel: of a batch by its sums, or (`sums` NULL) of the running
 * statistics, which a batch moves. The factor holds gamma, `inverse` is 1 / sqrt(variance + eps). */
EXPORT void nas_statistics(const double *sums, const float *y, int64_t rows, int64_t channels,
                           float eps, float momentum, const float *gamma, const float *beta,
                           float *running_mean, float *running_variance, float *mean,
                           float *inverse, float *scale, float *shift)
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
        mean[i] = (float)centre;
        inverse[i] = (float)(1 / __builtin_sqrt(variance + eps));
        scale[i] = gamma[i] * inverse[i];
        shift[i] = beta[i] - mean[i] * scale[i];
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
                    int64_t channels, const float *scale, const float *shift, int64_t first,
                    int64_t last, float *out)
{
    int64_t end = least(rows, last * CHUNK);
    for (int64_t r = first * CHUNK; r < end; r += BLOCK)
        for (int64_t i = 0; i < channels; i += LANES) {
            int64_t at = r * channels + i, n = least(BLOCK, end - r);
            int64_t lanes = least(channels - i, LANES);
            forward_tile(kind, summed, l, y + at, x + at, n, channels, scale + i, shift + i,
                             lanes, out + at);
        }
}

/* out = end(y * scale + shift), with `x` the shortcut of a sum, else NULL. */
EXPORT void nas_forward(int kind, const Levels *l, const float *y, const float *x, int64_t rows,
                        int64_t channels, const float *scale, const float *shift, float *out,
                        int64_t first, int64_t last)
{
#define CASE(K, S) forward(K, S, *l, y, S ? x : y, rows, channels, scale, shift, first, last, out)
    if (x) {
        if (kind == LEVELS) CASE(LEVELS, 1);
        else if (kind == RELU6) CASE(RELU6, 1);
        else CASE(LINEAR, 1);
    } else {
        if (kind == LEVELS) CASE(LEVELS, 0);
        else if (kind == RELU6) CASE(RELU6, 0);
        else CASE(LINEAR, 0);
    }
#undef CASE
}

/* What the gradient of the output `g` gives: of the norm's result to `of_z`, of the shortcut to
 * `of_x`; sums of of_z, of of_z * (y - mean), and of the gradients of the two steps. */
enum { SUMS = 4 };

INLINE void backward_tile(int kind, int summed, Levels l, const float *restrict g,
                          const float *restrict y, const float *restrict x, int64_t rows,
                          int64_t channels, const float *restrict scale,
                          const float *restrict shift, const float *restrict mean, int64_t lanes,
                          float *restrict of_z, float *restrict of_x, double *restrict sums)
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
                v = u > l.low && u < l.high ? v : 0;
                s2[i] += whole * level(u, l.low, l.high) - v * u;
                if (summed) {
                    whole = v;
                    of_x[at] = v;
                    v = own > OWN_LOW && own < OWN_HIGH ? v : 0;
                    s3[i] += whole * near - v * own;
                }
            } else if (kind == RELU6) {
                if (summed)
                    z += x[at];
                v = z > 0 && z < 6 ? v : 0;
                if (summed)
                    of_x[at] = v;
            }
            of_z[at] = v;
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

INLINE void backward(int kind, int summed, Levels l, const float *g, const float *y, const float *x,
                     int64_t rows, int64_t channels, const float *scale, const float *shift,
                     const float *mean, int64_t first, int64_t last, float *of_z, float *of_x,
                     double *sums)
{
    for (int64_t chunk = first; chunk < last; chunk++) {
        int64_t end = least(rows, (chunk + 1) * CHUNK);
        for (int64_t r = chunk * CHUNK; r < end; r += BLOCK)
            for (int64_t i = 0; i < channels; i += LANES) {
                int64_t at = r * channels + i, n = least(BLOCK, end - r);
                int64_t lanes = least(channels - i, LANES);
                double *into = sums + chunk * SUMS * channels + i;
                backward_tile(kind, summed, l, g + at, y + at, x + at, n, channels, scale + i,
                                  shift + i, mean + i, lanes, of_z + at, of_x + at, into);
            }
    }
}

/* `sums`: [chunks][4][channels], zero before. `of_x` is written for a sum that is not LINEAR. */
EXPORT void nas_backward(int kind, const Levels *l, const float *g, const float *y, const float *x,
                         int64_t rows, int64_t channels, const float *scale, const float *shift,
                         const float *mean, float *of_z, float *of_x, double *sums,
                         int64_t first, int64_t last)
{
#define CASE(K, S) \
    backward(K, S, *l, g, y, S ? x : y, rows, channels, scale, shift, mean, first, last, of_z, \
             S ? of_x : of_z, sums)
    if (x && kind != LINEAR) {
        if (kind == LEVELS) CASE(LEVELS, 1);
        else CASE(RELU6, 1);
    } else {
        if (kind == LEVELS) CASE(LEVELS, 0);
        else if (kind == RELU6) CASE(RELU6, 0);
        else CASE(LINEAR, 0);
    }
#undef CASE
}

/* Gradients of gamma, beta and the two steps from the sums, and what the gradient of y needs: zero
 * where the statistics are constants (`frozen`). */
EXPORT void nas_gradients(const double *sums, int64_t rows, int64_t channels, int frozen,
                          const float *scale, const float *inverse, const float *step_scales,
                          float *of_gamma, float *of_beta, float *slope, float *offset,
                          float *of_steps)
{
    const int64_t chunks = (rows + CHUNK - 1) / CHUNK;
    double steps[2] = {0, 0};
    for (int64_t i = 0; i < channels; i++) {
        double total[SUMS] = {0};
        for (int64_t chunk = 0; chunk < chunks; chunk++)
            for (int which = 0; which < SUMS; which++)
                total[which] += sums[(chunk * SUMS + which) * channels + i];
        double of_normed = total[1] * inverse[i], part = frozen ? 0 : 1.0 / (double)rows;
        of_beta[i] = (float)total[0];
        of_gamma[i] = (float)of_normed;
        slope[i] = (float)(scale[i] * of_normed * inverse[i] * part);
        offset[i] = (float)(scale[i] * total[0] * part);
        steps[0] += total[2];
        steps[1] += total[3];
    }
    for (int which = 0; which < 2; which++)
        of_steps[which] = (float)(steps[which] * step_scales[which]);
}

/* of_y = scale * of_z - slope * (y - mean) - offset, in the place of of_z. */
EXPORT void nas_backward_norm(float *of_z, const float *y, int64_t rows, int64_t channels,
                              const float *scale, const float *mean, const float *slope,
                              const float *offset, int64_t first, int64_t last)
{
    int64_t end = least(rows, last * CHUNK);
    for (int64_t r = first * CHUNK; r < end; r++) {
        float *restrict to = of_z + r * channels;
        const float *restrict from = y + r * channels;
        for (int64_t i = 0; i < channels; i++)
            to[i] = scale[i] * to[i] - slope[i] * (from[i] - mean[i]) - offset[i];
    }
}
