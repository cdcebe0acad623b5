/* resample.c - Pillow's Lanczos resize (src/libImaging/Resample.c) taken apart into axes and
 * passes: coefficients in double and then 22-bit fixed point, and the scalar passes. Sums of
 * integers are the same in any order, so passes may run along or across stored rows, forwards or
 * backwards, and SIMD gives the same bytes. Built without contraction of multiply and add: a fused
 * one rounds otherwise than Pillow's build. Axes are owned by the caller; passes are stateless. */
#include "image/image_private.h"

#include <limits.h>
#include <math.h>
#include <string.h>

static double sinc(double x)
{
    if (x == 0.0)
        return 1.0;
    x = x * M_PI;
    return sin(x) / x;
}

static double lanczos(double x)
{
    return x >= -3.0 && x < 3.0 ? sinc(x) * sinc(x / 3) : 0.0;
}

static double axis_support(uint32_t in, uint32_t out)
{
    double scale = (double)in / out;
    return 3.0 * (scale < 1.0 ? 1.0 : scale);
}

static size_t axis_longest(uint32_t in, uint32_t out)
{
    size_t longest = (size_t)ceil(axis_support(in, out)) * 2 + 1;
    return longest > in ? in : longest;
}

size_t image_axis_memory(uint32_t in, uint32_t out)
{
    if (in == out || in == 0 || out == 0)
        return 0;
    size_t longest = axis_longest(in, out);
    return image_sum(image_product(out, base_align_up(longest, 16), 2 * sizeof(int16_t)),
                     image_sum(image_product(out, 2, sizeof(uint32_t)),
                               image_product(longest, 1, sizeof(double))));
}

void image_axis_release(image_axis *axis)
{
    base_free(axis->first);
    base_free(axis->count);
    base_free(axis->low);
    base_free(axis->high);
    memset(axis, 0, sizeof *axis);
}

/* Coefficients of picture output `index` into weights[]; the window's start into *first. */
static uint32_t window(const image_axis *axis, uint32_t index, double *weights, uint32_t *first)
{
    double scale = (double)axis->in / axis->out;
    double filter_scale = scale < 1.0 ? 1.0 : scale;
    double support = 3.0 * filter_scale, center = (index + 0.5) * scale,
           inverse = 1.0 / filter_scale;
    int begin = (int)(center - support + 0.5);
    if (begin < 0)
        begin = 0;
    int end = (int)(center + support + 0.5);
    if (end > (int)axis->in)
        end = (int)axis->in;
    double sum = 0.0;
    for (int i = 0; i < end - begin; i++) {
        weights[i] = lanczos((i + begin - center + 0.5) * inverse);
        sum += weights[i];
    }
    for (int i = 0; i < end - begin; i++)
        if (sum != 0.0)
            weights[i] /= sum;
    *first = (uint32_t)begin;
    return (uint32_t)(end - begin);
}

dermis_status image_axis_init(image_axis *axis, uint32_t in, uint32_t out, bool flip,
                              dermis_error *err)
{
    memset(axis, 0, sizeof *axis);
    axis->in = in;
    axis->out = out;
    axis->longest = 1;
    if (in == out) { /* reversed input and reversed outputs cancel: still a copy */
        axis->copy = true;
        return DERMIS_OK;
    }
    if (in > INT_MAX || out > INT_MAX)
        return base_fail(err, DERMIS_E_USAGE, "cannot resize %u pixels to %u", in, out);
    size_t longest = axis_longest(in, out), stride = base_align_up(longest, 16);
    double *weights = base_calloc(BASE_TAG_IMAGE, longest + 2, sizeof(double));
    axis->stride = (uint32_t)stride;
    axis->longest = (uint32_t)longest;
    axis->first = base_calloc(BASE_TAG_IMAGE, out, sizeof(uint32_t));
    axis->count = base_calloc(BASE_TAG_IMAGE, out, sizeof(uint32_t));
    axis->low = base_calloc(BASE_TAG_IMAGE, image_product(out, stride, 1), sizeof(int16_t));
    axis->high = base_calloc(BASE_TAG_IMAGE, image_product(out, stride, 1), sizeof(int16_t));
    if (!weights || !axis->first || !axis->count || !axis->low || !axis->high) {
        base_free(weights);
        image_axis_release(axis);
        return base_fail(err, DERMIS_E_MEMORY, "not enough memory to resize %u pixels to %u", in,
                         out);
    }
    for (uint32_t i = 0; i < out; i++) {
        uint32_t first, count = window(axis, flip ? out - 1 - i : i, weights, &first);
        axis->first[i] = flip ? in - first - count : first;
        axis->count[i] = count;
        for (uint32_t j = 0; j < count; j++) {
            double w = weights[flip ? count - 1 - j : j] * (1 << IMAGE_PRECISION_BITS);
            int32_t k = (int32_t)(w < 0 ? w - 0.5 : w + 0.5);
            axis->low[i * stride + j] = (int16_t)(k & 0x7fff);
            axis->high[i * stride + j] = (int16_t)(k >> 15);
        }
    }
    base_free(weights);
    return DERMIS_OK;
}

static inline int32_t coefficient(const image_axis *axis, size_t at)
{
    return axis->high[at] * 32768 + axis->low[at];
}

static void along_scalar(const image_axis *axis, const uint8_t *in, uint8_t *out)
{
    for (uint32_t i = 0; i < axis->out; i++) {
        const uint8_t *p = in + axis->first[i];
        const int16_t *low = axis->low + (size_t)i * axis->stride;
        const int16_t *high = axis->high + (size_t)i * axis->stride;
        int32_t low_sum = 0, high_sum = 0;
        for (uint32_t j = 0, n = axis->count[i]; j < n; j++) {
            low_sum = (int32_t)((uint32_t)low_sum + (uint32_t)(p[j] * low[j]));
            high_sum += p[j] * high[j];
        }
        /* mod 2^32: the whole sum fits, its low part alone may not */
        uint32_t sum =
            (1u << (IMAGE_PRECISION_BITS - 1)) + (uint32_t)low_sum + (uint32_t)high_sum * 32768u;
        out[i] = image_clip8((int32_t)sum);
    }
}

static void across_scalar(const image_axis *axis, uint32_t output, const uint8_t *const *rows,
                          size_t width, uint8_t *out)
{
    enum { BLOCK = 512 };
    uint32_t sum[BLOCK];
    for (size_t x = 0; x < width; x += BLOCK) {
        size_t n = width - x < BLOCK ? width - x : BLOCK;
        for (size_t i = 0; i < n; i++)
            sum[i] = 1u << (IMAGE_PRECISION_BITS - 1);
        for (uint32_t j = 0; j < axis->count[output]; j++) {
            uint32_t k = (uint32_t)coefficient(axis, (size_t)output * axis->stride + j);
            const uint8_t *row = rows[j] + x;
            for (size_t i = 0; i < n; i++)
                sum[i] += k * row[i];
        }
        for (size_t i = 0; i < n; i++)
            out[x + i] = image_clip8((int32_t)sum[i]);
    }
}

static void split_scalar(const uint8_t *rgb, size_t pixels, uint8_t *planes, size_t stride)
{
    uint8_t *restrict r = planes, *restrict g = planes + stride, *restrict b = planes + 2 * stride;
    for (size_t i = 0; i < pixels; i++) {
        r[i] = rgb[3 * i];
        g[i] = rgb[3 * i + 1];
        b[i] = rgb[3 * i + 2];
    }
}

const image_resampler *image_resampler_scalar(void)
{
    static const image_resampler scalar = {along_scalar, across_scalar, split_scalar, "scalar"};
    return &scalar;
}

#ifndef IMAGE_HAVE_AVX2
const image_resampler *image_resampler_avx2(void)
{
    return NULL;
}
#endif

const image_resampler *image_resampler_best(void)
{
    const image_resampler *avx2 = image_resampler_avx2();
    return avx2 ? avx2 : image_resampler_scalar();
}
