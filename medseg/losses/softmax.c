/* The softmax of a chunk of voxels, its sums and its gradient, without a temporary of
 * the chunk's size. Class c of voxel v is at [c * stride + v]. Blocks of WIDTH voxels
 * with all their classes stay in the first cache; every inner loop runs over voxels
 * that lie side by side, so that the compiler turns it into vector instructions. */
#include <stdint.h>
#include <string.h>

#define WIDTH 256
#define EACH for (int v = 0; v < n; v++)

/* e^x for x <= 0, below -87 as at -87; relative error 2e-7 (Cephes, expf). */
static inline float exponential(float x) {
    x = x < -87.0f ? -87.0f : x;
    float n = __builtin_floorf(x * 1.44269504088896341f + 0.5f);
    float r = x - n * 0.693359375f + n * 2.12194440e-4f;
    float y = 1.9875691500e-4f;
    y = y * r + 1.3981999507e-3f;
    y = y * r + 8.3334519073e-3f;
    y = y * r + 4.1665795894e-2f;
    y = y * r + 1.6666665459e-1f;
    y = y * r + 5.0000001201e-1f;
    y = y * r * r + r + 1.0f;
    int32_t bits = ((int32_t)n + 127) * (1 << 23);
    float scale;
    memcpy(&scale, &bits, sizeof scale);
    return y * scale;
}

/* First pass. Per voxel: highest logit, sum of exp(z - highest), its inverse (0 where
 * not valid), z - highest and p of the true class (0 where not valid). Per class, added
 * up: p of the true class, and p or p squared of all. `valid` may be null. `room` holds
 * classes * WIDTH numbers. */
void medseg_soften(const float *z, int64_t stride, int64_t classes, int64_t voxels,
                   const int64_t *truth, const float *valid, int squared,
                   float *highest, float *total, float *inverse, float *above,
                   float *true_p, double *inside, double *predicted, float *room) {
    for (int64_t start = 0; start < voxels; start += WIDTH) {
        int n = voxels - start < WIDTH ? (int)(voxels - start) : WIDTH;
        float *m = highest + start, *s = total + start, *i = inverse + start;
        EACH m[v] = z[start + v];
        for (int64_t c = 1; c < classes; c++) {
            const float *row = z + c * stride + start;
            EACH m[v] = row[v] > m[v] ? row[v] : m[v];
        }
        EACH s[v] = 0;
        for (int64_t c = 0; c < classes; c++) {
            const float *row = z + c * stride + start;
            float *e = room + c * WIDTH;
            EACH e[v] = exponential(row[v] - m[v]);
            EACH s[v] += e[v];
        }
        EACH i[v] = 1.0f / s[v];
        if (valid) EACH i[v] *= valid[start + v];
        for (int64_t c = 0; c < classes; c++) {
            const float *e = room + c * WIDTH;
            float sum = 0;
            if (squared) EACH sum += e[v] * i[v] * e[v] * i[v];
            else EACH sum += e[v] * i[v];
            predicted[c] += sum;
        }
        EACH {
            int64_t t = truth[start + v];
            above[start + v] = z[t * stride + start + v] - m[v];
            true_p[start + v] = room[t * WIDTH + v] * i[v];
            inside[t] += true_p[start + v];
        }
    }
}

/* Second pass: out = p (push - mean) + [true class] pull, where mean is the sum of
 * p push over the classes plus pull; with 2 p push in place of push where squared. */
void medseg_gradient(const float *z, int64_t stride, int64_t classes, int64_t voxels,
                     const int64_t *truth, const float *highest, const float *inverse,
                     const float *pull, const float *push, int squared, float *out,
                     int64_t out_stride, float *room) {
    for (int64_t start = 0; start < voxels; start += WIDTH) {
        int n = voxels - start < WIDTH ? (int)(voxels - start) : WIDTH;
        const float *m = highest + start, *i = inverse + start;
        float mean[WIDTH];
        EACH mean[v] = pull[start + v];
        for (int64_t c = 0; c < classes; c++) {
            const float *row = z + c * stride + start;
            float *p = room + c * WIDTH, b = push[c];
            EACH p[v] = exponential(row[v] - m[v]) * i[v];
            if (squared) EACH mean[v] += 2 * b * p[v] * p[v];
            else EACH mean[v] += b * p[v];
        }
        for (int64_t c = 0; c < classes; c++) {
            const float *p = room + c * WIDTH;
            float *o = out + c * out_stride + start, b = push[c];
            if (squared) EACH o[v] = p[v] * (2 * b * p[v] - mean[v]);
            else EACH o[v] = p[v] * (b - mean[v]);
        }
        EACH out[truth[start + v] * out_stride + start + v] += pull[start + v];
    }
}

/* log(1 + a) for 0 <= a <= 1; error 1e-7 (Cephes, logf). */
static inline float log_one_plus(float a) {
    int big = a > 0.41421356f;
    float x = big ? 0.5f * (a - 1.0f) : a;
    float y = 7.0376836292e-2f;
    y = y * x - 1.1514610310e-1f;
    y = y * x + 1.1676998740e-1f;
    y = y * x - 1.2420140846e-1f;
    y = y * x + 1.4249322787e-1f;
    y = y * x - 1.6668057665e-1f;
    y = y * x + 2.0000714765e-1f;
    y = y * x - 2.4999993993e-1f;
    y = y * x + 3.3333331174e-1f;
    y = x + x * x * (y * x - 0.5f);
    return big ? y + 0.69314718f : y;
}

/* Focal loss with gamma = 2 of each number u, the logit away from the truth:
 * s^2 log(1 + e^u), s = 1 / (1 + e^-u), or its slope s^2 (2 (1 - s) log(1 + e^u) + s).
 * Row r of u is at [r * stride]; out is dense. */
void medseg_binary_focal(const float *u, int64_t stride, int64_t rows, int64_t n,
                         int slope, float *out) {
    for (int64_t r = 0; r < rows; r++) {
        const float *from = u + r * stride;
        float *to = out + r * n;
        for (int64_t v = 0; v < n; v++) {
            float x = from[v], size = x < 0 ? -x : x, a = exponential(-size);
            float small = a / (1.0f + a), large = 1.0f / (1.0f + a);
            float s = x > 0 ? large : small, rest = x > 0 ? small : large;
            float surprise = log_one_plus(a) + (x > 0 ? x : 0.0f);
            to[v] = slope ? s * s * (2 * rest * surprise + s) : s * s * surprise;
        }
    }
}
