/* A softmax loss over a chunk of voxels: its sums, and its gradient, without a temporary
 * of the chunk's size. Class c of voxel v is at [c * stride + v]. Blocks of WIDTH voxels
 * with all their classes stay in the first cache; every inner loop runs over voxels
 * that lie side by side, so that the compiler turns it into vector instructions. Labels
 * are classes, or IGNORED. */
#include <stdint.h>
#include <string.h>

#define WIDTH 256
#define IGNORED 255
#define EACH for (int v = 0; v < n; v++)

enum { NOTHING, CROSS_ENTROPY, FOCAL };

typedef struct {
    int32_t squared; /* regions sum p^2 in place of p */
    int32_t voxel;   /* what is summed of each voxel's true class */
    int32_t channel; /* what is summed of each class by itself, through a sigmoid */
    float gamma;     /* exponent of either focal loss */
} Terms;

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

/* log(x) for a normal x > 0; error 1e-7, relative where x >= 2 or x <= 1/2. */
static inline float logarithm(float x) {
    int32_t bits;
    memcpy(&bits, &x, sizeof bits);
    int32_t mantissa = (bits & 0x007fffff) | 0x3f800000;
    float m;
    memcpy(&m, &mantissa, sizeof m);
    return (float)((bits >> 23) - 127) * 0.69314718f + log_one_plus(m - 1.0f);
}

/* Each x to the exponent, for 0 <= x <= 1. */
static inline void power(float *x, float exponent, int n) {
    if (exponent == 2.0f) EACH x[v] *= x[v];
    else if (exponent == 0.0f) EACH x[v] = 1.0f;
    else if (exponent != 1.0f)
        EACH x[v] = exponential(exponent * logarithm(x[v] > 1e-37f ? x[v] : 1e-37f));
}

/* Whether x is NaN or +infinity, by its bits: the compiler may order comparisons of
 * floats as if there were no NaN. */
static inline int32_t is_broken(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return ((bits << 1) > 0xff000000u) | (bits == 0x7f800000u);
}

/* A block of voxels after the softmax. */
typedef struct {
    float inverse[WIDTH]; /* of the sum of exponentials; 0 where ignored */
    float log_p[WIDTH];   /* log-probability of the true class, at most 0 */
    float p[WIDTH];       /* probability of the true class, 0 where ignored */
    float weight[WIDTH];  /* the table's entry for the true class, 0 where ignored */
    int32_t label[WIDTH];
} Block;

/* Fills the block, and `room` with exp(z - highest) of every class. */
static inline void soften(const float *z, int64_t stride, int64_t classes, int n,
                          const uint8_t *labels, const float *table, Block *b,
                          float *room) {
    float highest[WIDTH], total[WIDTH];
    EACH b->label[v] = labels[v];
    EACH highest[v] = z[v];
    for (int64_t c = 1; c < classes; c++) {
        const float *row = z + c * stride;
        EACH highest[v] = row[v] > highest[v] ? row[v] : highest[v];
    }
    EACH total[v] = b->p[v] = b->log_p[v] = b->weight[v] = 0;
    for (int64_t c = 0; c < classes; c++) {
        const float *row = z + c * stride;
        float *e = room + c * WIDTH, w = table[c];
        EACH {
            float x = row[v] - highest[v];
            e[v] = exponential(x);
            total[v] += e[v];
            int hit = b->label[v] == (int32_t)c;
            b->log_p[v] = hit ? x : b->log_p[v];
            b->p[v] = hit ? e[v] : b->p[v];
            b->weight[v] = hit ? w : b->weight[v];
        }
    }
    EACH {
        float inverse = 1.0f / total[v];
        b->p[v] *= inverse;
        b->inverse[v] = b->label[v] == IGNORED ? 0.0f : inverse;
        float log_p = b->log_p[v] - logarithm(total[v]);
        b->log_p[v] = log_p < 0 ? log_p : 0.0f;
    }
}

/* (1 - p)^gamma of each voxel. */
static inline void modulate(const Block *b, float gamma, float *factor, int n) {
    EACH factor[v] = 1.0f - b->p[v] > 0 ? 1.0f - b->p[v] : 0.0f;
    power(factor, gamma, n);
}

/* Weighted sum of -log p, or -(1 - p)^gamma log p. */
static inline float voxel_sum(const Block *b, const Terms *terms, int n) {
    float factor[WIDTH], sum = 0;
    if (terms->voxel == FOCAL) modulate(b, terms->gamma, factor, n);
    else EACH factor[v] = 1.0f;
    EACH sum -= b->weight[v] * factor[v] * b->log_p[v];
    return sum;
}

/* Of u, the logit away from the truth: s = 1 / (1 + e^-u) and log(1 + e^u). */
static inline void wrongness(float u, float *s, float *surprise) {
    float a = exponential(u < 0 ? u : -u), inverse = 1.0f / (1.0f + a);
    *s = u > 0 ? inverse : a * inverse;
    *surprise = log_one_plus(a) + (u > 0 ? u : 0.0f);
}

/* log(1 + e^u), times s^gamma where focal; or its derivative with respect to u. */
static inline void channel_loss(const float *u, const Terms *terms, int slope,
                                float *out, int n) {
    float s[WIDTH], factor[WIDTH];
    EACH wrongness(u[v], &s[v], &out[v]);
    if (terms->channel == CROSS_ENTROPY) {
        if (slope) EACH out[v] = s[v];
        return;
    }
    EACH factor[v] = s[v];
    power(factor, terms->gamma, n);
    if (slope) EACH out[v] = terms->gamma * (1.0f - s[v]) * out[v] + s[v];
    EACH out[v] *= factor[v];
}

/* First pass: adds to each class's sums of p of the true class and of p (or p squared)
 * of all voxels, and to `value` the voxels' and the channels' sums, each weighed by its
 * table. `room` holds classes * WIDTH numbers. */
void medseg_sums(const float *z, int64_t stride, int64_t classes, int64_t voxels,
                 const uint8_t *labels, const Terms *terms, const float *voxel_weights,
                 const float *channel_weights, double *inside, double *predicted,
                 double *value, float *room) {
    Block b;
    int32_t broken = 0;
    for (int64_t start = 0; start < voxels; start += WIDTH) {
        int n = voxels - start < WIDTH ? (int)(voxels - start) : WIDTH;
        soften(z + start, stride, classes, n, labels + start, voxel_weights, &b, room);
        for (int64_t c = 0; c < classes; c++) {
            const float *row = z + c * stride + start;
            EACH broken |= is_broken(row[v]);
        }
        if (terms->voxel) value[0] += voxel_sum(&b, terms, n);
        for (int64_t c = 0; c < classes; c++) {
            const float *e = room + c * WIDTH;
            float in = 0, all = 0;
            EACH in += b.label[v] == (int32_t)c ? b.p[v] : 0.0f;
            if (terms->squared) EACH all += e[v] * b.inverse[v] * e[v] * b.inverse[v];
            else EACH all += e[v] * b.inverse[v];
            inside[c] += in;
            predicted[c] += all;
            if (terms->channel && channel_weights[c] != 0) {
                const float *row = z + c * stride + start;
                float u[WIDTH], loss[WIDTH], sum = 0;
                EACH u[v] = b.label[v] == (int32_t)c ? -row[v] : row[v];
                channel_loss(u, terms, 0, loss, n);
                EACH sum += b.label[v] == IGNORED ? 0.0f : loss[v];
                value[1] += channel_weights[c] * sum;
            }
        }
    }
    if (broken) value[0] = __builtin_nan("");
}

/* Second pass: the gradient. `by_inside` and `by_predicted` are derivatives of the loss
 * with respect to a class's sums, `voxel_slope` and `channel_slope` what each voxel's
 * own loss counts, by class. */
void medseg_gradient(const float *z, int64_t stride, int64_t classes, int64_t voxels,
                     const uint8_t *labels, const Terms *terms,
                     const float *voxel_slope, const float *channel_slope,
                     const float *by_inside, const float *by_predicted, float *out,
                     int64_t out_stride, float *room) {
    Block b;
    for (int64_t start = 0; start < voxels; start += WIDTH) {
        int n = voxels - start < WIDTH ? (int)(voxels - start) : WIDTH;
        float mean[WIDTH], pull[WIDTH], factor[WIDTH];
        soften(z + start, stride, classes, n, labels + start, voxel_slope, &b, room);
        if (terms->voxel == FOCAL) {
            modulate(&b, terms->gamma, factor, n);
            EACH {
                float rest = 1.0f - b.p[v] > 1e-37f ? 1.0f - b.p[v] : 1e-37f;
                float ratio = terms->gamma * b.p[v] * b.log_p[v] / rest;
                pull[v] = b.weight[v] * factor[v] * (ratio - 1.0f);
            }
        } else {
            EACH pull[v] = -b.weight[v];
        }
        for (int64_t c = 0; c < classes; c++) {
            float a = by_inside[c];
            EACH pull[v] += b.label[v] == (int32_t)c ? a * b.p[v] : 0.0f;
        }
        EACH mean[v] = pull[v];
        for (int64_t c = 0; c < classes; c++) {
            float *p = room + c * WIDTH, push = by_predicted[c];
            EACH p[v] *= b.inverse[v];
            if (terms->squared) EACH mean[v] += 2 * push * p[v] * p[v];
            else EACH mean[v] += push * p[v];
        }
        for (int64_t c = 0; c < classes; c++) {
            const float *p = room + c * WIDTH;
            float *o = out + c * out_stride + start, push = by_predicted[c];
            int32_t me = (int32_t)c;
            if (terms->squared) EACH o[v] = p[v] * (2 * push * p[v] - mean[v]);
            else EACH o[v] = p[v] * (push - mean[v]);
            EACH o[v] += b.label[v] == me ? pull[v] : 0.0f;
            if (terms->channel && channel_slope[c] != 0) {
                const float *row = z + c * stride + start;
                float u[WIDTH], slope[WIDTH], s = channel_slope[c];
                EACH u[v] = b.label[v] == me ? -row[v] : row[v];
                channel_loss(u, terms, 1, slope, n);
                EACH slope[v] = b.label[v] == IGNORED ? 0.0f : slope[v];
                EACH o[v] += b.label[v] == me ? -s * slope[v] : s * slope[v];
            }
        }
    }
}

/* The loss of channels by themselves, or its slope: of each number u, the logit away
 * from the truth. Row r of u is at [r * stride]; out is dense. */
void medseg_channels(const float *u, int64_t stride, int64_t rows, int64_t n_row,
                     const Terms *terms, int slope, float *out) {
    for (int64_t r = 0; r < rows; r++)
        for (int64_t start = 0; start < n_row; start += WIDTH) {
            int n = n_row - start < WIDTH ? (int)(n_row - start) : WIDTH;
            channel_loss(u + r * stride + start, terms, slope, out + r * n_row + start, n);
        }
}
