/* pool.c - pooling and global pooling: scalar functions and drivers. No state; any thread. */
#include "kernels/table.h"

#include <string.h>

static void pool_scalar(kernels_pool_kind kind, const float *in, size_t row_stride,
                        size_t pixel_stride, size_t ny, size_t nx, size_t c, float factor,
                        float *out)
{
    for (size_t i = 0; i < c; i++) {
        if (kind == KERNELS_POOL_MAX) {
            float max = in[i];
            for (size_t y = 0; y < ny; y++)
                for (size_t x = 0; x < nx; x++) {
                    float v = in[y * row_stride + x * pixel_stride + i];
                    max = v > max ? v : max;
                }
            out[i] = max;
        } else {
            double sum = 0;
            for (size_t y = 0; y < ny; y++)
                for (size_t x = 0; x < nx; x++)
                    sum += in[y * row_stride + x * pixel_stride + i];
            out[i] = (float)(sum * factor);
        }
    }
}

/* The part of a window that lies inside the picture: [*begin, *end) along one axis. */
static void window(uint32_t o, uint32_t stride, uint32_t pad, uint32_t kernel, uint32_t size,
                   size_t *begin, size_t *end)
{
    int64_t b = (int64_t)o * stride - pad, e = b + kernel;
    *begin = (size_t)(b < 0 ? 0 : b > size ? size : b);
    *end = (size_t)(e < 0 ? 0 : e > size ? size : e);
}

typedef struct pool_job {
    const kernels_table *k;
    const kernels_pool *p;
    const float *in;
    float *out;
} pool_job;

static void pool_task(void *context, size_t oy, unsigned worker)
{
    const pool_job *j = context;
    const kernels_pool *p = j->p;
    size_t y0, y1, x0, x1, row = (size_t)p->in_w * p->c;
    (void)worker;
    window((uint32_t)oy, p->stride_h, p->pad_top, p->kernel_h, p->in_h, &y0, &y1);
    for (uint32_t ox = 0; ox < p->out_w; ox++) {
        float *out = j->out + (oy * p->out_w + ox) * p->c;
        window(ox, p->stride_w, p->pad_left, p->kernel_w, p->in_w, &x0, &x1);
        if (y0 >= y1 || x0 >= x1) {
            memset(out, 0, p->c * sizeof *out);
            continue;
        }
        j->k->pool(p->kind, j->in + y0 * row + x0 * p->c, row, p->c, y1 - y0, x1 - x0, p->c,
                   1.0f / (float)((y1 - y0) * (x1 - x0)), out);
    }
}

void kernels_pool_run(const kernels_table *k, const kernels_pool *p, const float *in, float *out,
                      base_pool *pool)
{
    pool_job j = {.k = k, .p = p, .in = in, .out = out};
    size_t work = (size_t)p->out_h * p->out_w * p->c;
    base_pool_run(work < KERNELS_PARALLEL_MIN ? NULL : pool, p->out_h, pool_task, &j);
}

void kernels_pool_grad(const kernels_pool *p, const float *in, const float *grad_out,
                       float *grad_in)
{
    size_t y0, y1, x0, x1, row = (size_t)p->in_w * p->c;
    memset(grad_in, 0, p->in_h * row * sizeof *grad_in);
    for (uint32_t oy = 0; oy < p->out_h; oy++) {
        window(oy, p->stride_h, p->pad_top, p->kernel_h, p->in_h, &y0, &y1);
        for (uint32_t ox = 0; ox < p->out_w; ox++) {
            const float *g = grad_out + ((size_t)oy * p->out_w + ox) * p->c;
            window(ox, p->stride_w, p->pad_left, p->kernel_w, p->in_w, &x0, &x1);
            if (y0 >= y1 || x0 >= x1)
                continue;
            for (size_t i = 0; i < p->c; i++) {
                float share = g[i] / (float)((y1 - y0) * (x1 - x0));
                size_t best = y0 * row + x0 * p->c + i;
                for (size_t y = y0; y < y1; y++)
                    for (size_t x = x0; x < x1; x++) {
                        size_t at = y * row + x * p->c + i;
                        if (p->kind == KERNELS_POOL_MEAN)
                            grad_in[at] += share;
                        else if (in[at] > in[best])
                            best = at;
                    }
                if (p->kind == KERNELS_POOL_MAX)
                    grad_in[best] += g[i];
            }
        }
    }
}

#define GLOBAL_CHANNELS 64 /* a task's channels: four cache lines of each pixel */

typedef struct global_job {
    const kernels_table *k;
    kernels_pool_kind kind;
    const float *in;
    size_t pixels, c;
    float *out;
} global_job;

static void global_task(void *context, size_t task, unsigned worker)
{
    const global_job *j = context;
    size_t c0 = task * GLOBAL_CHANNELS;
    size_t n = j->c - c0 < GLOBAL_CHANNELS ? j->c - c0 : GLOBAL_CHANNELS;
    (void)worker;
    j->k->pool(j->kind, j->in + c0, 0, j->c, 1, j->pixels, n, 1.0f / (float)j->pixels, j->out + c0);
}

void kernels_global_pool_run(const kernels_table *k, kernels_pool_kind kind, const float *in,
                             size_t pixels, size_t c, float *out, base_pool *pool)
{
    global_job j = {.k = k, .kind = kind, .in = in, .pixels = pixels, .c = c, .out = out};
    if (pixels == 0) {
        memset(out, 0, c * sizeof *out);
        return;
    }
    base_pool_run(pixels * c < KERNELS_PARALLEL_MIN ? NULL : pool,
                  (c + GLOBAL_CHANNELS - 1) / GLOBAL_CHANNELS, global_task, &j);
}

void kernels_init_scalar_pool(kernels_table *k)
{
    k->pool = pool_scalar;
}
