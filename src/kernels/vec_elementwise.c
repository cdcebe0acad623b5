/* vec_elementwise.c - binary operators, affine, PReLU and layer normalisation in vectors; compiled
 * once for each instruction set. No state; any thread. */
#include "kernels/vec.h"

#include <math.h>

#define INLINE static inline __attribute__((always_inline))

INLINE vec binary_one(const kernels_binary_kind kind, vec a, vec b)
{
    switch (kind) {
    case KERNELS_ADD:
        return vec_add(a, b);
    case KERNELS_SUB:
        return vec_sub(a, b);
    case KERNELS_MUL:
        return vec_mul(a, b);
    case KERNELS_DIV:
        return vec_div(a, b);
    case KERNELS_MAX:
        return vec_max(a, b);
    default:
        return vec_min(a, b);
    }
}

/* `n` floats at p, or its one float in every lane. */
INLINE vec side(const float *p, unsigned step, size_t i, size_t n)
{
    return step ? vec_load_upto(p + i, n) : vec_set1(*p);
}

INLINE void binary_loop(const kernels_binary_kind kind, const float *a, const unsigned a_step,
                        const float *b, const unsigned b_step, float *out, size_t n)
{
    size_t i = 0;
    for (; i + VEC_LANES <= n; i += VEC_LANES)
        vec_store(out + i, binary_one(kind, side(a, a_step, i, VEC_LANES),
                                      side(b, b_step, i, VEC_LANES)));
    if (i < n)
        vec_store_part(out + i, binary_one(kind, side(a, a_step, i, n - i), side(b, b_step, i, n - i)),
                       n - i);
}

INLINE void binary_steps(const kernels_binary_kind kind, const float *a, unsigned a_step,
                         const float *b, unsigned b_step, float *out, size_t n)
{
    float one; /* an operand that stands still may lie where `out` is written */
    if (a_step && b_step) {
        binary_loop(kind, a, 1, b, 1, out, n);
    } else if (a_step) {
        one = *b;
        binary_loop(kind, a, 1, &one, 0, out, n);
    } else if (b_step) {
        one = *a;
        binary_loop(kind, &one, 0, b, 1, out, n);
    } else {
        float other = *b;
        one = *a;
        binary_loop(kind, &one, 0, &other, 0, out, n);
    }
}

static void binary(kernels_binary_kind kind, const float *a, unsigned a_step, const float *b,
                   unsigned b_step, float *out, size_t n)
{
    if (n == 0)
        return;
    switch (kind) {
    case KERNELS_ADD:
        binary_steps(KERNELS_ADD, a, a_step, b, b_step, out, n);
        break;
    case KERNELS_SUB:
        binary_steps(KERNELS_SUB, a, a_step, b, b_step, out, n);
        break;
    case KERNELS_MUL:
        binary_steps(KERNELS_MUL, a, a_step, b, b_step, out, n);
        break;
    case KERNELS_DIV:
        binary_steps(KERNELS_DIV, a, a_step, b, b_step, out, n);
        break;
    case KERNELS_MAX:
        binary_steps(KERNELS_MAX, a, a_step, b, b_step, out, n);
        break;
    case KERNELS_MIN:
        binary_steps(KERNELS_MIN, a, a_step, b, b_step, out, n);
        break;
    }
}

static void affine(const float *in, float *out, size_t n, const float *scale, const float *shift)
{
    size_t i = 0;
    for (; i + VEC_LANES <= n; i += VEC_LANES)
        vec_store(out + i, vec_fma(vec_load(in + i), vec_load(scale + i), vec_load(shift + i)));
    if (i < n)
        vec_store_part(out + i,
                       vec_fma(vec_load_part(in + i, n - i), vec_load_part(scale + i, n - i),
                               vec_load_part(shift + i, n - i)),
                       n - i);
}

static void prelu(const float *in, float *out, size_t n, const float *alpha)
{
    for (size_t i = 0; i < n; i += VEC_LANES) {
        vec x = vec_load_upto(in + i, n - i);
        vec y = vec_mul(vec_load_upto(alpha + i, n - i), x);
        vec_store_upto(out + i, vec_select(vec_gt(x, vec_zero()), x, y), n - i);
    }
}

/* Two passes in float, each over VEC_LANES partial sums: the mean first, so that nothing cancels in
 * the variance. */
static void layernorm_row(const float *in, float *out, size_t c, float epsilon, const float *gamma,
                          const float *beta)
{
    vec sum = vec_zero(), square = vec_zero();
    size_t i;
    for (i = 0; i < c; i += VEC_LANES)
        sum = vec_add(sum, vec_load_upto(in + i, c - i));
    const float m = vec_sum(sum) / (float)c;
    const vec mean = vec_set1(m);
    for (i = 0; i + VEC_LANES <= c; i += VEC_LANES) {
        vec x = vec_sub(vec_load(in + i), mean);
        square = vec_fma(x, x, square);
    }
    float variance = vec_sum(square);
    for (; i < c; i++)
        variance += (in[i] - m) * (in[i] - m);
    const vec inverse = vec_set1(1.0f / sqrtf(variance / (float)c + epsilon));
    for (i = 0; i < c; i += VEC_LANES) {
        size_t left = c - i;
        vec y = vec_mul(vec_sub(vec_load_upto(in + i, left), mean), inverse);
        if (gamma)
            y = vec_mul(y, vec_load_upto(gamma + i, left));
        if (beta)
            y = vec_add(y, vec_load_upto(beta + i, left));
        vec_store_upto(out + i, y, left);
    }
}

void VEC_GLOBAL(init_elementwise)(kernels_table *k)
{
    k->binary = binary;
    k->affine = affine;
    k->prelu = prelu;
    k->layernorm_row = layernorm_row;
}
