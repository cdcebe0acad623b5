/* move.c - pad, slice, concatenate, resize: moving data without arithmetic worth a vector file.
 * No state; any thread. */
#include "kernels/table.h"

#include <math.h>
#include <string.h>

void kernels_pad_run(const float *in, const uint32_t in_shape[3], float *out,
                     const uint32_t out_shape[3], uint32_t top, uint32_t left, float value,
                     base_pool *pool)
{
    size_t row = (size_t)out_shape[1] * out_shape[2], in_row = (size_t)in_shape[1] * in_shape[2];
    size_t before = (size_t)left * out_shape[2];
    (void)pool;
    for (size_t y = 0; y < out_shape[0]; y++) {
        float *o = out + y * row;
        bool inside = y >= top && y - top < in_shape[0];
        size_t b = inside ? before : row, n = inside ? in_row : 0;
        for (size_t i = 0; i < b; i++)
            o[i] = value;
        if (inside)
            memcpy(o + b, in + (y - top) * in_row, n * sizeof *o);
        for (size_t i = b + n; i < row; i++)
            o[i] = value;
    }
}

void kernels_slice_run(const float *in, const uint32_t in_shape[3], float *out,
                       const uint32_t out_shape[3], const int32_t start[3], const int32_t step[3],
                       base_pool *pool)
{
    (void)pool;
    for (int64_t y = 0; y < out_shape[0]; y++) {
        int64_t iy = start[0] + y * step[0];
        for (int64_t x = 0; x < out_shape[1]; x++) {
            int64_t ix = start[1] + x * step[1];
            const float *i = in + (iy * in_shape[1] + ix) * in_shape[2];
            float *o = out + (y * out_shape[1] + x) * out_shape[2];
            if (step[2] == 1)
                memcpy(o, i + start[2], out_shape[2] * sizeof *o);
            else
                for (int64_t c = 0; c < out_shape[2]; c++)
                    o[c] = i[start[2] + c * step[2]];
        }
    }
}

void kernels_concat_run(const float *in, const uint32_t in_shape[3], float *out,
                        const uint32_t out_shape[3], unsigned axis, uint32_t offset,
                        base_pool *pool)
{
    /* Everything from `axis` on is one contiguous stretch on both sides. */
    size_t outer = 1, in_n = 1, out_n = 1, inner = 1;
    (void)pool;
    for (unsigned i = 0; i < 3; i++) {
        if (i < axis) {
            outer *= in_shape[i];
        } else {
            in_n *= in_shape[i];
            out_n *= out_shape[i];
            if (i > axis)
                inner *= in_shape[i];
        }
    }
    for (size_t i = 0; i < outer; i++)
        memcpy(out + i * out_n + offset * inner, in + i * in_n, in_n * sizeof *out);
}

typedef struct resize_job {
    kernels_resize_kind kind;
    const float *in;
    float *out;
    uint32_t in_h, in_w, c, out_h, out_w;
} resize_job;

/* Half-pixel centres: (o + 1/2) * in / out - 1/2, edges clamped. */
static void source(uint32_t o, uint32_t in, uint32_t out, size_t *low, size_t *high, float *part)
{
    float at = ((float)o + 0.5f) * ((float)in / (float)out) - 0.5f;
    float f = floorf(at);
    *part = at - f;
    *low = f < 0 ? 0 : (size_t)f;
    *high = f + 1 < 0 ? 0 : (size_t)(f + 1);
    *low = *low > in - 1 ? in - 1 : *low;
    *high = *high > in - 1 ? in - 1 : *high;
}

static size_t nearest(uint32_t o, uint32_t in, uint32_t out) /* floor((o + 1/2) * in / out) */
{
    return (size_t)((2 * (uint64_t)o + 1) * in / (2 * (uint64_t)out));
}

static void resize_task(void *context, size_t oy, unsigned worker)
{
    const resize_job *j = context;
    float *out = j->out + oy * j->out_w * j->c;
    size_t c = j->c, row = (size_t)j->in_w * c;
    (void)worker;
    if (j->kind == KERNELS_RESIZE_NEAREST) {
        const float *in = j->in + nearest((uint32_t)oy, j->in_h, j->out_h) * row;
        for (uint32_t x = 0; x < j->out_w; x++)
            memcpy(out + x * c, in + nearest(x, j->in_w, j->out_w) * c, c * sizeof *out);
        return;
    }
    size_t y0, y1, x0, x1;
    float fy, fx;
    source((uint32_t)oy, j->in_h, j->out_h, &y0, &y1, &fy);
    for (uint32_t x = 0; x < j->out_w; x++) {
        source(x, j->in_w, j->out_w, &x0, &x1, &fx);
        const float *a = j->in + y0 * row + x0 * c, *b = j->in + y0 * row + x1 * c;
        const float *d = j->in + y1 * row + x0 * c, *e = j->in + y1 * row + x1 * c;
        for (size_t i = 0; i < c; i++) {
            float top = a[i] + (b[i] - a[i]) * fx, bottom = d[i] + (e[i] - d[i]) * fx;
            out[x * c + i] = top + (bottom - top) * fy;
        }
    }
}

void kernels_resize_run(kernels_resize_kind kind, const float *in, uint32_t in_h, uint32_t in_w,
                        uint32_t c, float *out, uint32_t out_h, uint32_t out_w, base_pool *pool)
{
    resize_job j = {.kind = kind, .in = in, .out = out, .in_h = in_h, .in_w = in_w, .c = c,
                    .out_h = out_h, .out_w = out_w};
    size_t work = (size_t)out_h * out_w * c;
    base_pool_run(work < KERNELS_PARALLEL_MIN ? NULL : pool, out_h, resize_task, &j);
}
