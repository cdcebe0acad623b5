/* vec_depthwise.c - depthwise convolutions with multiplier 1 in vectors; compiled once for each
 * instruction set. No state; any thread.
 *
 * Sums of up to 4 neighbouring pixels times 2 vectors of channels stay in registers while the taps
 * run past, so that a weight serves 4 pixels. Channels are the inner walk: every tap of every pixel
 * is one stream of contiguous memory. Pixels whose window leaves the picture at the left or right
 * go one by one, with the taps inside it. */
#include "kernels/vec.h"

#define INLINE static inline __attribute__((always_inline))

enum { PIXELS = 4, VECTORS = 2 };

/* The taps of a stretch of pixels that lie inside the picture. */
typedef struct taps {
    uint32_t ky0, ky1, kx0, kx1;
} taps;

/* `vectors` vectors of channels from `first` on, of `pixels` pixels; the last vector has `left`
 * channels. `in` is the input of tap (0, 0) of the first pixel, which may lie outside. */
INLINE void sums(const kernels_dw *d, const taps *t, const float *in, float *out, size_t first,
                 size_t left, const unsigned pixels, const unsigned vectors,
                 const kernels_type type)
{
    const kernels_conv *c = d->c;
    const size_t row = (size_t)c->in_w * c->in_c * c->dilation_h;
    const size_t column = (size_t)c->in_c * c->dilation_w, step = (size_t)c->in_c * c->stride_w;
    const size_t n = (size_t)c->kernel_h * c->kernel_w; /* taps */
    const bool whole = left >= VEC_LANES;
    size_t weight[VECTORS];
    vec acc[PIXELS][VECTORS];
#pragma GCC unroll 4
    for (unsigned v = 0; v < vectors; v++) {
        size_t at = first + v * VEC_LANES;
        weight[v] = at / KERNELS_BLOCK * n * KERNELS_BLOCK + at % KERNELS_BLOCK;
        vec bias = c->bias ? vec_load(c->bias + at) : vec_zero();
#pragma GCC unroll 4
        for (unsigned p = 0; p < pixels; p++)
            acc[p][v] = bias;
    }
    for (uint32_t ky = t->ky0; ky < t->ky1; ky++) {
        const float *x = in + (ky * row + t->kx0 * column + first);
        size_t w = (ky * c->kernel_w + t->kx0) * (size_t)KERNELS_BLOCK;
        for (uint32_t kx = t->kx0; kx < t->kx1; kx++, x += column, w += KERNELS_BLOCK) {
#pragma GCC unroll 4
            for (unsigned v = 0; v < vectors; v++) {
                vec f = vec_load_weight(c->weight, w + weight[v], type);
#pragma GCC unroll 4
                for (unsigned p = 0; p < pixels; p++) {
                    const float *at = x + p * step + v * VEC_LANES;
                    vec value = v + 1 < vectors || whole ? vec_load(at) : vec_load_part(at, left);
                    acc[p][v] = vec_fma(value, f, acc[p][v]);
                }
            }
        }
    }
    const vec lo = vec_set1(d->lo), hi = vec_set1(d->hi);
#pragma GCC unroll 4
    for (unsigned p = 0; p < pixels; p++)
#pragma GCC unroll 4
        for (unsigned v = 0; v < vectors; v++) {
            vec y = vec_min(hi, vec_max(lo, acc[p][v])); /* in this order NaN stays */
            vec_store_upto(out + p * (size_t)c->out_c + first + v * VEC_LANES, y,
                           v + 1 < vectors ? VEC_LANES : left);
        }
}

INLINE void stretch(const kernels_dw *d, const taps *t, const float *in, float *out,
                    const unsigned pixels, const kernels_type type)
{
    size_t channels = d->c->out_c, i = 0;
    for (; i + VECTORS * VEC_LANES <= channels; i += VECTORS * VEC_LANES)
        sums(d, t, in, out, i, VEC_LANES, pixels, VECTORS, type);
    for (; i + VEC_LANES <= channels; i += VEC_LANES)
        sums(d, t, in, out, i, VEC_LANES, pixels, 1, type);
    if (i < channels)
        sums(d, t, in, out, i, channels - i, pixels, 1, type);
}

/* Taps of `kernel` at `dilation` from coordinate `at` on that lie in 0..size-1: [*begin, *end). */
static void inside(int64_t at, uint32_t kernel, uint32_t dilation, uint32_t size, uint32_t *begin,
                   uint32_t *end)
{
    uint32_t b = 0, e = kernel;
    while (b < e && at + (int64_t)b * dilation < 0)
        b++;
    while (e > b && at + (int64_t)(e - 1) * dilation >= size)
        e--;
    *begin = b;
    *end = e;
}

INLINE void row(const kernels_dw *d, const kernels_type type)
{
    const kernels_conv *c = d->c;
    int64_t y = (int64_t)d->oy * c->stride_h - c->pad_top;
    float *out = c->out + (size_t)d->oy * c->out_w * c->out_c;
    taps t;
    inside(y, c->kernel_h, c->dilation_h, c->in_h, &t.ky0, &t.ky1);
    for (uint32_t ox = 0; ox < c->out_w;) {
        int64_t x = (int64_t)ox * c->stride_w - c->pad_left;
        int64_t last = x + (int64_t)(PIXELS - 1) * c->stride_w +
                       (int64_t)(c->kernel_w - 1) * c->dilation_w;
        /* Computed as a number: the corner of a window may lie outside the array. */
        const float *in = (const float *)((uintptr_t)c->in +
                                          (uintptr_t)((y * c->in_w + x) * (int64_t)c->in_c) *
                                              sizeof(float));
        unsigned pixels = 1;
        inside(x, c->kernel_w, c->dilation_w, c->in_w, &t.kx0, &t.kx1);
        if (x >= 0 && last < c->in_w && ox + PIXELS <= c->out_w) {
            pixels = PIXELS;
            stretch(d, &t, in, out, PIXELS, type);
        } else {
            stretch(d, &t, in, out, 1, type);
        }
        ox += pixels;
        out += (size_t)pixels * c->out_c;
    }
}

static void row_f32(const kernels_dw *d)
{
    row(d, KERNELS_F32);
}

static void row_f16(const kernels_dw *d)
{
    row(d, KERNELS_F16);
}

void VEC_GLOBAL(init_depthwise)(kernels_table *k)
{
    k->depthwise_row[KERNELS_F32] = row_f32;
    k->depthwise_row[KERNELS_F16] = row_f16;
}
