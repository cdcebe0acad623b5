/* depthwise.c - drivers of depthwise convolution and its gradient, and the scalar rows. No state;
 * any thread. */
#include "kernels/conv.h"

#include <string.h>

static float weight_at(const kernels_conv *c, size_t tap, size_t channel)
{
    size_t at = (channel / KERNELS_BLOCK * c->kernel_h * c->kernel_w + tap) * KERNELS_BLOCK +
                channel % KERNELS_BLOCK;
    return c->weight_type == KERNELS_F32 ? ((const float *)c->weight)[at]
                                         : base_f16_to_f32(((const uint16_t *)c->weight)[at]);
}

/* Any multiplier; the reference, and the fallback where the multiplier is not 1. */
static void row_scalar(const kernels_dw *d)
{
    const kernels_conv *c = d->c;
    uint32_t multiplier = c->out_c / c->in_c;
    for (uint32_t ox = 0; ox < c->out_w; ox++) {
        float *out = c->out + ((size_t)d->oy * c->out_w + ox) * c->out_c;
        for (uint32_t o = 0; o < c->out_c; o++)
            out[o] = c->bias ? c->bias[o] : 0.0f;
        for (uint32_t ky = 0; ky < c->kernel_h; ky++) {
            int64_t iy = (int64_t)d->oy * c->stride_h + (int64_t)ky * c->dilation_h - c->pad_top;
            if (iy < 0 || iy >= c->in_h)
                continue;
            for (uint32_t kx = 0; kx < c->kernel_w; kx++) {
                int64_t ix = (int64_t)ox * c->stride_w + (int64_t)kx * c->dilation_w - c->pad_left;
                if (ix < 0 || ix >= c->in_w)
                    continue;
                const float *in = c->in + (iy * c->in_w + ix) * c->in_c;
                for (uint32_t o = 0; o < c->out_c; o++)
                    out[o] += in[o / multiplier] * weight_at(c, ky * c->kernel_w + kx, o);
            }
        }
        for (uint32_t o = 0; o < c->out_c; o++)
            out[o] = out[o] < d->lo ? d->lo : out[o] > d->hi ? d->hi : out[o];
    }
}

typedef struct dw_job {
    const kernels_table *k;
    const kernels_conv *c;
    kernels_dw d;
    bool tail, residual_in_tile;
} dw_job;

static void dw_task(void *context, size_t oy, unsigned worker)
{
    const dw_job *j = context;
    const kernels_conv *c = j->c;
    kernels_dw d = j->d;
    size_t n = (size_t)c->out_w * c->out_c, at = oy * n;
    float lo, hi;
    (void)worker;
    d.oy = (uint32_t)oy;
    if (c->in_c == c->out_c)
        j->k->depthwise_row[c->weight_type](&d);
    else
        row_scalar(&d);
    if (j->residual_in_tile) {
        j->k->binary(KERNELS_ADD, c->out + at, 1, c->residual + at, 1, c->out + at, n);
        if (c->act.kind != KERNELS_ACT_LINEAR && kernels_act_clamp(c->act, &lo, &hi))
            j->k->act(c->act, c->out + at, c->out + at, n);
    }
    if (j->tail)
        kernels_tail(j->k, c, at, n);
}

size_t kernels_depthwise_scratch(const kernels_table *k, const kernels_conv *c, unsigned threads)
{
    (void)k;
    (void)c;
    (void)threads;
    return 0;
}

void kernels_depthwise_run(const kernels_table *k, const kernels_conv *c, void *scratch,
                           base_pool *pool)
{
    dw_job j = {.k = k, .c = c, .d = {.c = c}};
    (void)scratch;
    j.residual_in_tile = kernels_residual_in_tile(c);
    j.tail = kernels_tail_needed(c);
    kernels_act_clamp(c->act, &j.d.lo, &j.d.hi);
    if (j.residual_in_tile) /* the activation comes behind the residual */
        kernels_act_clamp((kernels_act){.kind = KERNELS_ACT_LINEAR}, &j.d.lo, &j.d.hi);
    base_pool_run(pool, c->out_h, dw_task, &j);
}

typedef struct dw_grad_job {
    const kernels_conv *c;
    const float *grad_out;
    float *grad_in;
} dw_grad_job;

static void dw_grad_task(void *context, size_t iy, unsigned worker)
{
    const dw_grad_job *j = context;
    const kernels_conv *c = j->c;
    uint32_t multiplier = c->out_c / c->in_c;
    float *row = j->grad_in + iy * c->in_w * c->in_c;
    size_t oy, ox;
    (void)worker;
    memset(row, 0, (size_t)c->in_w * c->in_c * sizeof *row);
    for (uint32_t ky = 0; ky < c->kernel_h; ky++) {
        if (!kernels_grad_source((uint32_t)iy, ky, c->pad_top, c->dilation_h, c->stride_h, c->out_h,
                                 &oy))
            continue;
        for (uint32_t ix = 0; ix < c->in_w; ix++) {
            for (uint32_t kx = 0; kx < c->kernel_w; kx++) {
                if (!kernels_grad_source(ix, kx, c->pad_left, c->dilation_w, c->stride_w, c->out_w,
                                         &ox))
                    continue;
                const float *g = j->grad_out + (oy * c->out_w + ox) * c->out_c;
                float *out = row + (size_t)ix * c->in_c;
                for (uint32_t o = 0; o < c->out_c; o++)
                    out[o / multiplier] += g[o] * weight_at(c, ky * c->kernel_w + kx, o);
            }
        }
    }
}

void kernels_depthwise_grad(const kernels_table *k, const kernels_conv *c, const float *grad_out,
                            float *grad_in, base_pool *pool)
{
    dw_grad_job j = {.c = c, .grad_out = grad_out, .grad_in = grad_in};
    (void)k;
    base_pool_run(pool, c->in_h, dw_grad_task, &j);
}

void kernels_init_scalar_depthwise(kernels_table *k)
{
    k->depthwise_row[KERNELS_F32] = row_scalar;
    k->depthwise_row[KERNELS_F16] = row_scalar;
}
