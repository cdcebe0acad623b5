/* conv.c - drivers of convolution and its gradient, and the scalar tile. No state; any thread.
 *
 * Implicit matrix multiplication: rows are output pixels, columns output channels, and the depth K
 * runs over kernel row, kernel column, input channel. For each tile of pixels the driver writes the
 * addresses of the input stretches ("runs") into scratch; stretches outside the picture point to a
 * row of zeros. No im2col copy exists.
 *
 * Scratch: [zeros: run_len floats][per thread: addresses | patches | scaled rows]. */
#include "kernels/conv.h"

#include <string.h>

#define GROUP_BYTES (256 * 1024) /* weights that one task keeps in L2 while it walks over pixels */
#define MERGE_MAX_C 64 /* a kernel row of up to so many channels is one run: fewer, longer loops */

static size_t type_bytes(kernels_type t)
{
    return t == KERNELS_F16 ? 2 : 4;
}

typedef struct conv_plan {
    uint32_t in_cg, out_cg; /* channels of a group */
    size_t blocks;          /* weight blocks of a group */
    size_t block_bytes;
    size_t pixels;
    bool merged; /* a run is a whole kernel row; else one tap */
    bool padded; /* some run lies outside the picture */
    size_t runs, run_len;
    unsigned rows; /* of a full tile */
    /* per-thread scratch, bytes */
    size_t zeros_bytes, ptr_bytes, patch_bytes, scaled_bytes, thread_bytes;
} conv_plan;

static conv_plan plan_make(const kernels_table *k, const kernels_conv *c)
{
    conv_plan p = {0};
    p.in_cg = c->in_c / c->groups;
    p.out_cg = c->out_c / c->groups;
    p.blocks = (p.out_cg + KERNELS_BLOCK - 1) / KERNELS_BLOCK;
    p.block_bytes = (size_t)c->kernel_h * c->kernel_w * p.in_cg * KERNELS_BLOCK *
                    type_bytes(c->weight_type);
    p.pixels = (size_t)c->out_h * c->out_w;
    p.merged = c->kernel_w > 1 && c->dilation_w == 1 && c->groups == 1 && c->in_c <= MERGE_MAX_C;
    p.runs = p.merged ? c->kernel_h : (size_t)c->kernel_h * c->kernel_w;
    p.run_len = p.merged ? (size_t)c->kernel_w * p.in_cg : p.in_cg;
    p.padded = c->pad_top || c->pad_left ||
               (uint64_t)(c->out_h - 1) * c->stride_h + (c->kernel_h - 1) * c->dilation_h >=
                   c->in_h ||
               (uint64_t)(c->out_w - 1) * c->stride_w + (c->kernel_w - 1) * c->dilation_w >=
                   c->in_w;
    p.rows = k->conv_rows;
    p.zeros_bytes = p.padded ? base_align_up(p.run_len * sizeof(float), 64) : 0;
    p.ptr_bytes = base_align_up(p.runs * p.rows * sizeof(float *), 64);
    if (p.merged && p.padded)
        p.patch_bytes = base_align_up(p.runs * p.rows * p.run_len * sizeof(float), 64);
    if (c->in_scale)
        p.scaled_bytes = base_align_up((size_t)p.rows * c->in_c * sizeof(float), 64);
    p.thread_bytes = p.ptr_bytes + p.patch_bytes + p.scaled_bytes;
    return p;
}

size_t kernels_conv_scratch(const kernels_table *k, const kernels_conv *c, unsigned threads)
{
    conv_plan p = plan_make(k, c);
    size_t bytes = p.zeros_bytes + p.thread_bytes * threads;
    size_t winograd = kernels_winograd_scratch(k, c, threads);
    return winograd > bytes ? winograd : bytes;
}

typedef struct conv_job {
    const kernels_table *k;
    const kernels_conv *c;
    conv_plan p;
    char *scratch;
    const float *zeros;
    float lo, hi;
    bool residual_in_tile, tail;
    size_t group_blocks; /* blocks of one task */
    size_t block_groups; /* tasks along the channels, within one convolution group */
    size_t chunks;       /* tasks along the pixels */
} conv_job;

/* Addresses of one pixel's runs: ptr[run * stride]. `patch` holds run copies of this pixel that
 * straddle the left or right edge. */
static void pixel_runs(const conv_job *j, const float *in, uint32_t oy, uint32_t ox,
                       const float **ptr, size_t stride, float *patch)
{
    const kernels_conv *c = j->c;
    size_t row = (size_t)c->in_w * c->in_c;
    int64_t y = (int64_t)oy * c->stride_h - c->pad_top;
    int64_t x = (int64_t)ox * c->stride_w - c->pad_left;
    bool inside = !j->p.padded ||
                  (y >= 0 && x >= 0 && y + (int64_t)(c->kernel_h - 1) * c->dilation_h < c->in_h &&
                   x + (int64_t)(c->kernel_w - 1) * c->dilation_w < c->in_w);
    if (inside) {
        const float *at = in + y * (int64_t)row + x * (int64_t)c->in_c;
        size_t step_y = row * c->dilation_h, step_x = (size_t)c->in_c * c->dilation_w;
        for (uint32_t ky = 0; ky < c->kernel_h; ky++, at += step_y) {
            if (j->p.merged) {
                *ptr = at;
                ptr += stride;
                continue;
            }
            const float *a = at;
            for (uint32_t kx = 0; kx < c->kernel_w; kx++, a += step_x, ptr += stride)
                *ptr = a;
        }
        return;
    }
    for (uint32_t ky = 0; ky < c->kernel_h; ky++) {
        int64_t iy = y + (int64_t)ky * c->dilation_h;
        bool row_in = iy >= 0 && iy < c->in_h;
        const float *at = in + (row_in ? iy : 0) * (int64_t)row;
        if (!j->p.merged) {
            for (uint32_t kx = 0; kx < c->kernel_w; kx++, ptr += stride) {
                int64_t ix = x + (int64_t)kx * c->dilation_w;
                *ptr = row_in && ix >= 0 && ix < c->in_w ? at + ix * c->in_c : j->zeros;
            }
            continue;
        }
        if (!row_in) {
            *ptr = j->zeros;
        } else if (x >= 0 && x + c->kernel_w <= c->in_w) {
            *ptr = at + x * c->in_c;
        } else {
            float *out = patch + ky * j->p.run_len;
            for (uint32_t kx = 0; kx < c->kernel_w; kx++, out += c->in_c) {
                int64_t ix = x + kx;
                if (ix >= 0 && ix < c->in_w)
                    memcpy(out, at + ix * c->in_c, c->in_c * sizeof *out);
                else
                    memset(out, 0, c->in_c * sizeof *out);
            }
            *ptr = patch + ky * j->p.run_len;
        }
        ptr += stride;
    }
}

static void tile_pointers(const conv_job *j, size_t group, size_t pixel, unsigned rows, char *mine)
{
    const kernels_conv *c = j->c;
    const float **ptr = (const float **)mine;
    float *patch = (float *)(mine + j->p.ptr_bytes);
    const float *in = c->in + group * j->p.in_cg;
    uint32_t oy = (uint32_t)(pixel / c->out_w), ox = (uint32_t)(pixel % c->out_w);
    for (unsigned r = 0; r < rows; r++) {
        pixel_runs(j, in, oy, ox, ptr + r, rows, patch + r * j->p.runs * j->p.run_len);
        if (++ox == c->out_w) {
            ox = 0;
            oy++;
        }
    }
    if (c->in_scale) { /* 1x1, so one run of in_c a row */
        float *scaled = (float *)(mine + j->p.ptr_bytes + j->p.patch_bytes);
        for (unsigned r = 0; r < rows; r++, scaled += c->in_c) {
            j->k->binary(KERNELS_MUL, ptr[r], 1, c->in_scale, 1, scaled, c->in_c);
            ptr[r] = scaled;
        }
    }
}

bool kernels_tail_needed(const kernels_conv *c)
{
    float lo, hi;
    return !kernels_act_clamp(c->act, &lo, &hi) ||
           (c->residual && c->residual_mode == KERNELS_RESIDUAL_AFTER_ACT &&
            c->act.kind != KERNELS_ACT_LINEAR);
}

bool kernels_residual_in_tile(const kernels_conv *c)
{
    return c->residual && c->residual_mode != KERNELS_RESIDUAL_NONE &&
           (c->residual_mode == KERNELS_RESIDUAL_BEFORE_ACT || c->act.kind == KERNELS_ACT_LINEAR);
}

void kernels_tail(const kernels_table *k, const kernels_conv *c, size_t at, size_t n)
{
    float lo, hi;
    if (!kernels_act_clamp(c->act, &lo, &hi))
        k->act(c->act, c->out + at, c->out + at, n);
    if (c->residual && c->residual_mode == KERNELS_RESIDUAL_AFTER_ACT &&
        c->act.kind != KERNELS_ACT_LINEAR)
        k->binary(KERNELS_ADD, c->out + at, 1, c->residual + at, 1, c->out + at, n);
}

static void conv_task(void *context, size_t task, unsigned worker)
{
    const conv_job *j = context;
    const kernels_conv *c = j->c;
    const conv_plan *p = &j->p;
    char *mine = j->scratch + p->zeros_bytes + worker * p->thread_bytes;
    size_t chunk = task % j->chunks, part = task / j->chunks;
    size_t group = part / j->block_groups, b0, b1, t0, t1;
    kernels_piece((p->pixels + p->rows - 1) / p->rows, j->chunks, chunk, &t0, &t1);
    b0 = part % j->block_groups * j->group_blocks;
    b1 = b0 + j->group_blocks < p->blocks ? b0 + j->group_blocks : p->blocks;
    size_t c0 = b0 * KERNELS_BLOCK;
    size_t c1 = b1 * KERNELS_BLOCK < p->out_cg ? b1 * KERNELS_BLOCK : p->out_cg;

    kernels_tile t = {.runs = p->runs, .run_len = p->run_len, .ptr = (const float *const *)mine,
                      .block_bytes = p->block_bytes, .out_stride = c->out_c, .lo = j->lo,
                      .hi = j->hi};
    for (size_t i = t0; i < t1; i++) {
        size_t pixel = i * p->rows;
        t.rows = (unsigned)(p->pixels - pixel < p->rows ? p->pixels - pixel : p->rows);
        tile_pointers(j, group, pixel, t.rows, mine);
        for (size_t b = b0; b < b1; b += t.blocks) {
            size_t left = b1 - b;
            t.blocks = (unsigned)(left < j->k->conv_blocks ? left : j->k->conv_blocks);
            size_t first = b * KERNELS_BLOCK;
            size_t at = pixel * c->out_c + group * p->out_cg + first;
            t.channels = (unsigned)(p->out_cg - first < t.blocks * KERNELS_BLOCK
                                        ? p->out_cg - first
                                        : t.blocks * KERNELS_BLOCK);
            t.weight = (const char *)c->weight + (group * p->blocks + b) * p->block_bytes;
            t.bias = c->bias ? c->bias + (group * p->blocks + b) * KERNELS_BLOCK : NULL;
            t.residual = j->residual_in_tile ? c->residual + at : NULL;
            t.out = c->out + at;
            j->k->conv_tile[c->weight_type](&t);
        }
        if (j->tail) {
            size_t at = pixel * c->out_c + group * p->out_cg + c0;
            if (c1 - c0 == c->out_c)
                kernels_tail(j->k, c, at, t.rows * (size_t)c->out_c);
            else
                for (unsigned r = 0; r < t.rows; r++)
                    kernels_tail(j->k, c, at + r * (size_t)c->out_c, c1 - c0);
        }
    }
}

void kernels_conv_run(const kernels_table *k, const kernels_conv *c, void *scratch, base_pool *pool)
{
    if (c->out_h == 0 || c->out_w == 0 || c->out_c == 0)
        return;
    if (kernels_winograd_fits(k, c)) {
        kernels_winograd_run(k, c, scratch, pool);
        return;
    }
    conv_job j = {.k = k, .c = c, .p = plan_make(k, c), .scratch = scratch, .zeros = scratch};
    unsigned threads = base_pool_threads(pool);
    kernels_act_clamp(c->act, &j.lo, &j.hi);
    j.residual_in_tile = kernels_residual_in_tile(c);
    j.tail = kernels_tail_needed(c);
    if (j.p.zeros_bytes)
        memset(scratch, 0, j.p.zeros_bytes);

    /* Weights of a task stay in L2; with few pixels (a dense layer has one) the channels are
     * divided further, so that every thread has work. */
    size_t tiles = (j.p.pixels + j.p.rows - 1) / j.p.rows, unit = k->conv_blocks;
    size_t want = threads > 1 ? (size_t)threads * 8 : 1;
    size_t fit = GROUP_BYTES / j.p.block_bytes;
    if (fit < 2 * unit)
        fit = 2 * unit;
    if (tiles < want) {
        size_t parts = (want + tiles * c->groups - 1) / (tiles * c->groups);
        size_t most = (j.p.blocks + parts - 1) / parts;
        fit = fit < most ? fit : most;
    }
    j.group_blocks = fit < unit ? unit : fit / unit * unit;
    j.block_groups = (j.p.blocks + j.group_blocks - 1) / j.group_blocks;
    size_t parts = j.block_groups * c->groups;
    j.chunks = (want + parts - 1) / parts;
    j.chunks = j.chunks > tiles ? tiles : j.chunks;
    base_pool_run(pool, parts * j.chunks, conv_task, &j);
}

/* ---- scalar tile: the reference ---- */

#define SCALAR_ROWS 4

static void weights_16(const void *weight, size_t at, kernels_type type, float out[KERNELS_BLOCK])
{
    if (type == KERNELS_F32)
        memcpy(out, (const float *)weight + at, KERNELS_BLOCK * sizeof *out);
    else
        for (int i = 0; i < KERNELS_BLOCK; i++)
            out[i] = base_f16_to_f32(((const uint16_t *)weight)[at + i]);
}

static void tile_scalar(const kernels_tile *t, kernels_type type)
{
    float acc[SCALAR_ROWS][KERNELS_BLOCK], w[KERNELS_BLOCK];
    for (unsigned b = 0; b < t->blocks; b++) {
        const void *weight = (const char *)t->weight + b * t->block_bytes;
        for (unsigned r = 0; r < t->rows; r++)
            for (int i = 0; i < KERNELS_BLOCK; i++)
                acc[r][i] = t->bias ? t->bias[b * KERNELS_BLOCK + i] : 0.0f;
        for (size_t run = 0; run < t->runs; run++) {
            for (size_t n = 0; n < t->run_len; n++) {
                weights_16(weight, (run * t->run_len + n) * KERNELS_BLOCK, type, w);
                for (unsigned r = 0; r < t->rows; r++) {
                    float v = t->ptr[run * t->rows + r][n];
                    for (int i = 0; i < KERNELS_BLOCK; i++)
                        acc[r][i] += v * w[i];
                }
            }
        }
        for (unsigned r = 0; r < t->rows; r++) {
            for (unsigned i = 0; i < KERNELS_BLOCK && b * KERNELS_BLOCK + i < t->channels; i++) {
                size_t at = r * t->out_stride + b * KERNELS_BLOCK + i;
                float v = acc[r][i] + (t->residual ? t->residual[at] : 0.0f);
                t->out[at] = v < t->lo ? t->lo : v > t->hi ? t->hi : v;
            }
        }
    }
}

static void tile_scalar_f32(const kernels_tile *t)
{
    tile_scalar(t, KERNELS_F32);
}

static void tile_scalar_f16(const kernels_tile *t)
{
    tile_scalar(t, KERNELS_F16);
}

/* ---- gradient with respect to the input ---- */

static void grad_dot_scalar(const void *weight, size_t block_bytes, const float *g, size_t channels,
                            float *acc, size_t n, kernels_type type)
{
    float w[KERNELS_BLOCK];
    for (size_t i = 0; i < n; i++) {
        float sum = 0;
        for (size_t o = 0; o < channels; o += KERNELS_BLOCK) {
            size_t lanes = channels - o < KERNELS_BLOCK ? channels - o : KERNELS_BLOCK;
            weights_16((const char *)weight + o / KERNELS_BLOCK * block_bytes, i * KERNELS_BLOCK,
                       type, w);
            for (size_t l = 0; l < lanes; l++)
                sum += w[l] * g[o + l];
        }
        acc[i] += sum;
    }
}

static void grad_dot_f32(const void *weight, size_t block_bytes, const float *g, size_t channels,
                         float *acc, size_t n)
{
    grad_dot_scalar(weight, block_bytes, g, channels, acc, n, KERNELS_F32);
}

static void grad_dot_f16(const void *weight, size_t block_bytes, const float *g, size_t channels,
                         float *acc, size_t n)
{
    grad_dot_scalar(weight, block_bytes, g, channels, acc, n, KERNELS_F16);
}

bool kernels_grad_source(uint32_t i, uint32_t k, uint32_t pad, uint32_t dilation, uint32_t stride,
                         uint32_t out, size_t *o)
{
    int64_t at = (int64_t)i + pad - (int64_t)k * dilation;
    if (at < 0 || at % stride || at / stride >= out)
        return false;
    *o = (size_t)(at / stride);
    return true;
}

typedef struct grad_job {
    const kernels_table *k;
    const kernels_conv *c;
    const float *grad_out;
    float *grad_in;
} grad_job;

static void conv_grad_task(void *context, size_t iy, unsigned worker)
{
    const grad_job *j = context;
    const kernels_conv *c = j->c;
    uint32_t in_cg = c->in_c / c->groups, out_cg = c->out_c / c->groups;
    size_t blocks = (out_cg + KERNELS_BLOCK - 1) / KERNELS_BLOCK, oy, ox;
    size_t w_bytes = KERNELS_BLOCK * type_bytes(c->weight_type);
    size_t block_bytes = (size_t)c->kernel_h * c->kernel_w * in_cg * w_bytes;
    float *row = j->grad_in + iy * c->in_w * c->in_c;
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
                for (uint32_t g = 0; g < c->groups; g++) {
                    const char *w = (const char *)c->weight + g * blocks * block_bytes +
                                    ((size_t)ky * c->kernel_w + kx) * in_cg * w_bytes;
                    j->k->grad_dot[c->weight_type](
                        w, block_bytes,
                        j->grad_out + (oy * c->out_w + ox) * c->out_c + (size_t)g * out_cg, out_cg,
                        row + (size_t)ix * c->in_c + (size_t)g * in_cg, in_cg);
                }
            }
        }
    }
}

void kernels_conv_grad(const kernels_table *k, const kernels_conv *c, const float *grad_out,
                       float *grad_in, base_pool *pool)
{
    grad_job j = {.k = k, .c = c, .grad_out = grad_out, .grad_in = grad_in};
    base_pool_run(pool, c->in_h, conv_grad_task, &j);
}

void kernels_init_scalar_conv(kernels_table *k)
{
    k->conv_rows = SCALAR_ROWS;
    k->conv_blocks = 1;
    k->conv_tile[KERNELS_F32] = tile_scalar_f32;
    k->conv_tile[KERNELS_F16] = tile_scalar_f16;
    k->grad_dot[KERNELS_F32] = grad_dot_f32;
    k->grad_dot[KERNELS_F16] = grad_dot_f16;
}
