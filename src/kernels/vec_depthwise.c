/* vec_depthwise.c - depthwise convolutions with multiplier 1 in vectors; compiled once for each
 * instruction set. No state; any thread.
 *
 * The usual kernels (3, 5 or 7 wide, stride 1 or 2) go by windows: the sums of 4 neighbouring pixels
 * stay in registers while the columns under them run past, and each input is loaded once for all
 * pixels and taps that it serves. Any other kernel goes pixel by pixel, tap by tap. Both add a
 * pixel's taps in the same order. */
#include "kernels/vec.h"

#define INLINE static inline __attribute__((always_inline))

enum { PIXELS = 4, VECTORS = 2 };

/* Where `in` would be `columns` columns and `rows` rows further on: the corner of a window may lie
 * outside the array, so this is computed as a number. */
INLINE const float *moved(const kernels_conv *c, const float *in, int64_t rows, int64_t columns)
{
    return (const float *)((uintptr_t)in +
                           (uintptr_t)((rows * c->in_w + columns) * (int64_t)c->in_c) * sizeof(float));
}

/* Place of channel `at`'s weights: tap 0. */
INLINE size_t weight_place(const kernels_conv *c, size_t at)
{
    return at / KERNELS_BLOCK * c->kernel_h * c->kernel_w * KERNELS_BLOCK + at % KERNELS_BLOCK;
}

INLINE vec clamped(const kernels_dw *d, vec x)
{
    return vec_min(vec_set1(d->hi), vec_max(vec_set1(d->lo), x)); /* in this order NaN stays */
}

/* ---- windows ---- */

/* `vectors` vectors of channels from `first` on (`left` of them in the last one, or more) of PIXELS
 * pixels. `in` is the first column of the first tap's row; of the columns j those from j0 to below
 * j1 are inside the picture, of the kernel's rows those from ky0 to below ky1. */
typedef struct window {
    const float *in;
    float *out;
    unsigned j0, j1;
    uint32_t ky0, ky1;
} window;

INLINE void window_sums(const kernels_dw *d, const window *at, size_t first, size_t left,
                        const unsigned kernel, const unsigned stride, const bool edge,
                        const unsigned vectors, const kernels_type type)
{
    const kernels_conv *c = d->c;
    const size_t n = c->in_c, row = (size_t)c->in_w * n;
    const bool whole = vectors > 1; /* else the vector may be part of one */
    size_t place[VECTORS];
    vec acc[PIXELS][VECTORS], weight[7][VECTORS];
    VEC_UNROLL
    for (unsigned v = 0; v < vectors; v++) {
        place[v] = weight_place(c, first + v * VEC_LANES);
        vec bias = c->bias ? vec_load(c->bias + first + v * VEC_LANES) : vec_zero();
        VEC_UNROLL
        for (unsigned p = 0; p < PIXELS; p++)
            acc[p][v] = bias;
    }
    for (uint32_t ky = at->ky0; ky < at->ky1; ky++) {
        const float *in = (const float *)((uintptr_t)at->in + (ky * row + first) * sizeof(float));
        VEC_UNROLL
        for (unsigned k = 0; k < kernel; k++)
            VEC_UNROLL
            for (unsigned v = 0; v < vectors; v++)
                weight[k][v] = vec_load_weight(
                    c->weight, place[v] + (ky * kernel + k) * KERNELS_BLOCK, type);
        VEC_UNROLL
        for (unsigned j = 0; j < (PIXELS - 1) * stride + kernel; j++) {
            if (edge && (j < at->j0 || j >= at->j1))
                continue;
            const float *x = (const float *)((uintptr_t)in + j * n * sizeof(float));
            VEC_UNROLL
            for (unsigned v = 0; v < vectors; v++) {
                vec value = whole ? vec_load(x + v * VEC_LANES) : vec_load_upto(x, left);
                VEC_UNROLL
                for (unsigned p = 0; p < PIXELS; p++)
                    if (j >= p * stride && j - p * stride < kernel)
                        acc[p][v] = vec_fma(value, weight[j - p * stride][v], acc[p][v]);
            }
        }
    }
    VEC_UNROLL
    for (unsigned p = 0; p < PIXELS; p++)
        VEC_UNROLL
        for (unsigned v = 0; v < vectors; v++)
            vec_store_upto(at->out + p * (size_t)c->out_c + first + v * VEC_LANES,
                           clamped(d, acc[p][v]), whole ? VEC_LANES : left);
}

INLINE void window_channels(const kernels_dw *d, const window *at, const unsigned kernel,
                            const unsigned stride, const bool edge, const kernels_type type)
{
    size_t channels = d->c->out_c, i = 0;
    for (; i + VECTORS * VEC_LANES <= channels; i += VECTORS * VEC_LANES)
        window_sums(d, at, i, VEC_LANES, kernel, stride, edge, VECTORS, type);
    for (; i < channels; i += VEC_LANES)
        window_sums(d, at, i, channels - i, kernel, stride, edge, 1, type);
}

/* ---- any kernel ---- */

/* The taps of a pixel that lie inside the picture. */
typedef struct taps {
    uint32_t ky0, ky1, kx0, kx1;
} taps;

/* A vector of channels from `first` on, `left` of them or more; `in` is the input of tap (0, 0). */
INLINE void pixel_sums(const kernels_dw *d, const taps *t, const float *in, float *out, size_t first,
                       size_t left, const kernels_type type)
{
    const kernels_conv *c = d->c;
    const size_t place = weight_place(c, first);
    vec acc = c->bias ? vec_load(c->bias + first) : vec_zero();
    for (uint32_t ky = t->ky0; ky < t->ky1; ky++)
        for (uint32_t kx = t->kx0; kx < t->kx1; kx++) {
            const float *x = moved(c, in, (int64_t)ky * c->dilation_h, (int64_t)kx * c->dilation_w);
            size_t tap = (size_t)ky * c->kernel_w + kx;
            acc = vec_fma(vec_load_upto(x + first, left),
                          vec_load_weight(c->weight, place + tap * KERNELS_BLOCK, type), acc);
        }
    vec_store_upto(out + first, clamped(d, acc), left);
}

/* ---- rows ---- */

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

/* kernel 0: any. */
INLINE void row(const kernels_dw *d, const unsigned kernel, const unsigned stride,
                const kernels_type type)
{
    const kernels_conv *c = d->c;
    int64_t y = (int64_t)d->oy * c->stride_h - c->pad_top;
    float *out = c->out + (size_t)d->oy * c->out_w * c->out_c;
    taps t;
    inside(y, c->kernel_h, c->dilation_h, c->in_h, &t.ky0, &t.ky1);
    for (uint32_t ox = 0; ox < c->out_w;) {
        if (kernel) { /* the last window begins early enough to be whole */
            uint32_t first = ox + PIXELS <= c->out_w ? ox : c->out_w - PIXELS;
            int64_t x = (int64_t)first * stride - c->pad_left;
            window at = {.in = moved(c, c->in, y, x), .out = out + (size_t)first * c->out_c,
                         .ky0 = t.ky0, .ky1 = t.ky1};
            inside(x, (PIXELS - 1) * stride + kernel, 1, c->in_w, &at.j0, &at.j1);
            if (at.j0 > 0 || at.j1 < (PIXELS - 1) * stride + kernel)
                window_channels(d, &at, kernel, stride, true, type);
            else
                window_channels(d, &at, kernel, stride, false, type);
            ox = first + PIXELS;
        } else {
            int64_t x = (int64_t)ox * c->stride_w - c->pad_left;
            inside(x, c->kernel_w, c->dilation_w, c->in_w, &t.kx0, &t.kx1);
            for (size_t i = 0; i < c->out_c; i += VEC_LANES)
                pixel_sums(d, &t, moved(c, c->in, y, x), out + (size_t)ox * c->out_c, i,
                           c->out_c - i, type);
            ox++;
        }
    }
}

INLINE void row_of(const kernels_dw *d, const kernels_type type)
{
    const kernels_conv *c = d->c;
    bool windows = c->dilation_h == 1 && c->dilation_w == 1 && c->out_w >= PIXELS && c->stride_w <= 2;
    switch (windows ? c->kernel_w * 10 + c->stride_w : 0) {
    case 31:
        row(d, 3, 1, type);
        break;
    case 32:
        row(d, 3, 2, type);
        break;
    case 51:
        row(d, 5, 1, type);
        break;
    case 52:
        row(d, 5, 2, type);
        break;
    case 71:
        row(d, 7, 1, type);
        break;
    default:
        row(d, 0, 0, type);
        break;
    }
}

static void row_f32(const kernels_dw *d)
{
    row_of(d, KERNELS_F32);
}

static void row_f16(const kernels_dw *d)
{
    row_of(d, KERNELS_F16);
}

void VEC_GLOBAL(init_depthwise)(kernels_table *k)
{
    k->depthwise_row[KERNELS_F32] = row_f32;
    k->depthwise_row[KERNELS_F16] = row_f16;
}
