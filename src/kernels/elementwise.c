/* elementwise.c - binary operators with broadcasting, affine, PReLU: scalar functions and drivers.
 * No state; any thread. */
#include "kernels/table.h"

#include <string.h>

static void binary_scalar(kernels_binary_kind kind, const float *a, unsigned as, const float *b,
                          unsigned bs, float *out, size_t n)
{
    switch (kind) {
    case KERNELS_ADD:
        for (size_t i = 0; i < n; i++)
            out[i] = a[i * as] + b[i * bs];
        break;
    case KERNELS_SUB:
        for (size_t i = 0; i < n; i++)
            out[i] = a[i * as] - b[i * bs];
        break;
    case KERNELS_MUL:
        for (size_t i = 0; i < n; i++)
            out[i] = a[i * as] * b[i * bs];
        break;
    case KERNELS_DIV:
        for (size_t i = 0; i < n; i++)
            out[i] = a[i * as] / b[i * bs];
        break;
    case KERNELS_MAX:
        for (size_t i = 0; i < n; i++)
            out[i] = a[i * as] > b[i * bs] ? a[i * as] : b[i * bs];
        break;
    case KERNELS_MIN:
        for (size_t i = 0; i < n; i++)
            out[i] = a[i * as] < b[i * bs] ? a[i * as] : b[i * bs];
        break;
    }
}

static void affine_scalar(const float *in, float *out, size_t n, const float *scale,
                          const float *shift)
{
    for (size_t i = 0; i < n; i++)
        out[i] = in[i] * scale[i] + shift[i];
}

static void prelu_scalar(const float *in, float *out, size_t n, const float *alpha)
{
    for (size_t i = 0; i < n; i++)
        out[i] = in[i] > 0.0f ? in[i] : alpha[i] * in[i];
}

typedef struct binary_job {
    const kernels_table *k;
    const kernels_binary *op;
    const float *a, *b;
    float *out;
    size_t a_stride[3], b_stride[3]; /* floats a step along h, w, c; 0 where broadcast */
    size_t pixels, pieces;
    bool flat; /* each side is the whole output or one element */
} binary_job;

static void binary_task(void *context, size_t task, unsigned worker)
{
    const binary_job *j = context;
    size_t begin, end, c = j->op->out[2], w = j->op->out[1];
    (void)worker;
    kernels_piece(j->pixels, j->pieces, task, &begin, &end);
    unsigned as = j->a_stride[2] != 0, bs = j->b_stride[2] != 0;
    if (j->flat) {
        j->k->binary(j->op->kind, j->a + begin * c * as, as, j->b + begin * c * bs, bs,
                     j->out + begin * c, (end - begin) * c);
        return;
    }
    size_t y = begin / w, x = begin % w;
    for (size_t p = begin; p < end; p++) {
        j->k->binary(j->op->kind, j->a + y * j->a_stride[0] + x * j->a_stride[1], as,
                     j->b + y * j->b_stride[0] + x * j->b_stride[1], bs, j->out + p * c, c);
        if (++x == w) {
            x = 0;
            y++;
        }
    }
}

static void broadcast_strides(const uint32_t shape[3], const uint32_t out[3], size_t stride[3],
                              bool *whole, bool *single)
{
    size_t step = 1;
    *whole = *single = true;
    for (int i = 2; i >= 0; i--) {
        stride[i] = shape[i] == 1 && out[i] != 1 ? 0 : step;
        step *= shape[i];
        *whole = *whole && shape[i] == out[i];
        *single = *single && shape[i] == 1;
    }
}

void kernels_binary_run(const kernels_table *k, const kernels_binary *op, const float *a,
                        const float *b, float *out, base_pool *pool)
{
    binary_job j = {.k = k, .op = op, .a = a, .b = b, .out = out};
    bool a_whole, a_single, b_whole, b_single;
    j.pixels = (size_t)op->out[0] * op->out[1];
    if (j.pixels == 0 || op->out[2] == 0)
        return;
    broadcast_strides(op->a, op->out, j.a_stride, &a_whole, &a_single);
    broadcast_strides(op->b, op->out, j.b_stride, &b_whole, &b_single);
    j.flat = (a_whole || a_single) && (b_whole || b_single);
    if (j.flat) {
        j.a_stride[2] = a_whole;
        j.b_stride[2] = b_whole;
    }
    j.pieces = j.pixels * op->out[2] < KERNELS_PARALLEL_MIN ? 1 : (size_t)base_pool_threads(pool) * 2;
    base_pool_run(j.pieces > 1 ? pool : NULL, j.pieces, binary_task, &j);
}

typedef struct affine_job {
    const kernels_table *k;
    const float *in, *scale, *shift;
    float *out;
    size_t pixels, c, pieces;
} affine_job;

/* n elements, which begin with channel 0; scale and shift as long as n, or NULL. */
static void affine_piece(const affine_job *j, const float *in, float *out, size_t n,
                         const float *scale, const float *shift)
{
    if (scale && shift)
        j->k->affine(in, out, n, scale, shift);
    else if (scale)
        j->k->binary(KERNELS_MUL, in, 1, scale, 1, out, n);
    else if (shift)
        j->k->binary(KERNELS_ADD, in, 1, shift, 1, out, n);
    else
        memmove(out, in, n * sizeof *out);
}

/* Pixels with few channels (a picture's three) go through several at once, with scale and shift
 * written out as often. */
static void affine_task(void *context, size_t task, unsigned worker)
{
    enum { ROOM = 192 };
    const affine_job *j = context;
    float room[2][ROOM];
    const float *scale = j->scale, *shift = j->shift;
    size_t begin, end, c = j->c, at_once = c <= ROOM / 4 ? ROOM / c : 1;
    (void)worker;
    kernels_piece(j->pixels, j->pieces, task, &begin, &end);
    if (at_once > 1) {
        for (size_t i = 0; i < at_once * c; i++) {
            room[0][i] = scale ? scale[i % c] : 1;
            room[1][i] = shift ? shift[i % c] : 0;
        }
        scale = scale ? room[0] : NULL;
        shift = shift ? room[1] : NULL;
    }
    for (size_t p = begin; p < end; p += at_once) {
        size_t pixels = end - p < at_once ? end - p : at_once;
        affine_piece(j, j->in + p * c, j->out + p * c, pixels * c, scale, shift);
    }
}

void kernels_affine_run(const kernels_table *k, const float *in, float *out, size_t pixels,
                        size_t c, const float *scale, const float *shift, base_pool *pool)
{
    affine_job j = {.k = k, .in = in, .scale = scale, .shift = shift, .out = out, .pixels = pixels,
                    .c = c};
    if (pixels == 0 || c == 0)
        return;
    j.pieces = pixels * c < KERNELS_PARALLEL_MIN ? 1 : (size_t)base_pool_threads(pool) * 2;
    base_pool_run(j.pieces > 1 ? pool : NULL, j.pieces, affine_task, &j);
}

void kernels_prelu_run(const kernels_table *k, const float *in, float *out, size_t n,
                       const float *alpha, size_t alpha_n, base_pool *pool)
{
    (void)pool; /* memory-bound and rare: one thread */
    for (size_t at = 0; at < n; at += alpha_n)
        k->prelu(in + at, out + at, alpha_n < n - at ? alpha_n : n - at, alpha);
}

void kernels_init_scalar_elementwise(kernels_table *k)
{
    k->binary = binary_scalar;
    k->affine = affine_scalar;
    k->prelu = prelu_scalar;
}
