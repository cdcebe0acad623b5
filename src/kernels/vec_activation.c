/* vec_activation.c - element-wise activations in vectors; compiled once for each instruction set. No
 * state; any thread.
 *
 * The exponential stands behind most of them: e^x = 2^n e^r with n = round(x / ln 2), and a
 * polynomial for e^r on |r| <= ln 2 / 2 (coefficients of Cephes' expf; those of erf and erfc are of
 * its ndtrf). Errors are a few units in the last place of what the scalar formulas give. NaN stays
 * NaN throughout. */
#include "kernels/vec.h"

#include <float.h>
#include <math.h>

#define SELU_ALPHA 1.6732632423543772f
#define SELU_SCALE 1.0507009873554805f
#define GELU_C     0.7978845608028654f /* sqrt(2 / pi) */

#define INLINE static inline __attribute__((always_inline))

/* (x, lowest, highest) with NaN kept. */
INLINE vec clip(vec x, float lo, float hi)
{
    return vec_min(vec_set1(hi), vec_max(vec_set1(lo), x));
}

INLINE vec poly(vec x, const float *c, int n)
{
    vec y = vec_set1(c[0]);
    VEC_UNROLL
    for (int i = 1; i < n; i++)
        y = vec_fma(y, x, vec_set1(c[i]));
    return y;
}

/* x, no lower than `lo`, as the factor of what has vanished there: the exponential's clipping leaves
 * some 1e-38 of it, which a large x must not make visible. */
INLINE vec no_less(vec x, float lo)
{
    return vec_max(vec_set1(lo), x);
}

/* n = round(x / ln 2), and e^r - 1 for the rest r = x - n ln 2. */
INLINE vec exp_rest(vec x, vec *n)
{
    static const float c[] = {1.9875691500e-4f, 1.3981999507e-3f, 8.3334519073e-3f,
                              4.1665795894e-2f, 1.6666665459e-1f, 5.0000001201e-1f};
    *n = vec_round(vec_mul(x, vec_set1(1.44269504088896341f)));
    vec r = vec_fnma(*n, vec_set1(0.693359375f), x);
    r = vec_fnma(*n, vec_set1(-2.12194440e-4f), r);
    return vec_fma(poly(r, c, 6), vec_mul(r, r), r);
}

/* For x in -87..87; clipped to it: neither the power nor its reciprocal is subnormal, which would cost
 * many cycles a vector. */
INLINE vec exp_normal(vec x)
{
    vec n, y = exp_rest(clip(x, -87.0f, 87.0f), &n);
    return vec_scale2(vec_add(y, vec_set1(1.0f)), n);
}

/* Any x, infinite and subnormal results included: the power of two is applied in two steps. */
INLINE vec exp_any(vec x)
{
    vec n, y = exp_rest(clip(x, -104.0f, 89.0f), &n);
    vec half = vec_round(vec_mul(n, vec_set1(0.5f)));
    return vec_scale2(vec_scale2(vec_add(y, vec_set1(1.0f)), half), vec_sub(n, half));
}

/* e^x - 1 without cancellation, for x in -87..87; clipped to it. */
INLINE vec exp_minus_1(vec x)
{
    const vec one = vec_set1(1.0f);
    vec n, y = exp_rest(clip(x, -87.0f, 87.0f), &n);
    vec power = vec_scale2(one, n);
    return vec_fma(power, y, vec_sub(power, one));
}

INLINE vec sigmoid(vec x)
{
    const vec one = vec_set1(1.0f);
    return vec_div(one, vec_add(one, exp_normal(vec_sub(vec_zero(), x))));
}

INLINE vec tanh_of(vec x)
{
    vec e = exp_minus_1(vec_mul(vec_abs(x), vec_set1(2.0f)));
    return vec_or_sign(vec_div(e, vec_add(e, vec_set1(2.0f))), x);
}

/* Phi(x) = erfc(-x / sqrt 2) / 2, the distribution function of the normal distribution. */
INLINE vec gauss(vec x)
{
    static const float near[] = {7.853861353153693e-5f, -8.010193625184903e-4f,
                                 5.188327685732524e-3f, -2.685381193529856e-2f,
                                 1.128358514861418e-1f, -3.761262582423300e-1f,
                                 1.128379165726710e+0f};
    static const float mid[] = {2.326819970068386e-2f, -1.387039388740657e-1f,
                                3.687424674597105e-1f, -5.824733027278666e-1f,
                                6.210004621745983e-1f, -4.944515323274145e-1f,
                                3.404879937665872e-1f, -2.741127028184656e-1f,
                                5.638259427386472e-1f};
    static const float far[] = {-1.047766399936249e+1f, 1.297719955372516e+1f,
                                -7.495518717768503e+0f, 2.921019019210786e+0f,
                                -1.015265279202700e+0f, 4.218463358204948e-1f,
                                -2.820767439740514e-1f, 5.641895067754075e-1f};
    const vec one = vec_set1(1.0f), half = vec_set1(0.5f);
    vec a = vec_mul(vec_abs(x), vec_set1(0.70710678118654752f));
    vec square = vec_mul(a, a);
    vec erf = vec_mul(a, poly(square, near, 7)); /* a <= 1 */
    vec q = vec_div(one, vec_max(one, a)), y = vec_mul(q, q);
    vec p = vec_select(vec_gt(vec_set1(2.0f), a), poly(y, mid, 9), poly(y, far, 8));
    vec erfc = vec_mul(vec_mul(exp_normal(vec_sub(vec_zero(), square)), q), p); /* a >= 1 */
    erfc = vec_select(vec_gt(one, a), vec_sub(one, erf), erfc);
    vec phi = vec_mul(half, erfc); /* of -|x| */
    return vec_select(vec_gt(x, vec_zero()), vec_sub(one, phi), phi);
}

/* With w = 1 + e^x: tanh(log w) = (w^2 - 1) / (w^2 + 1); it is 1 in float from x = 9 on. */
INLINE vec mish(vec x)
{
    const vec two = vec_set1(2.0f);
    vec e = exp_normal(vec_min(vec_set1(20.0f), x));
    vec s = vec_mul(e, vec_add(e, two));
    return vec_mul(no_less(x, -104.0f), vec_div(s, vec_add(s, two)));
}

INLINE vec act_one(kernels_act_kind kind, vec x, vec p0, vec p1, vec p2)
{
    const vec zero = vec_zero(), one = vec_set1(1.0f);
    vec t;
    switch (kind) {
    case KERNELS_ACT_RELU:
        /* a slope of 0 is 0 at -infinity too */
        t = vec_select(vec_gt(vec_abs(p0), zero), vec_set1(-INFINITY), vec_set1(-FLT_MAX));
        t = vec_select(vec_ge(x, p2), x, vec_mul(p0, vec_max(t, vec_sub(x, p2))));
        return vec_select(vec_ge(x, p1), p1, t);
    case KERNELS_ACT_SIGMOID:
        return sigmoid(x);
    case KERNELS_ACT_SILU:
        return vec_mul(no_less(x, -104.0f), sigmoid(x));
    case KERNELS_ACT_TANH:
        return tanh_of(x);
    case KERNELS_ACT_GELU:
        return vec_mul(no_less(x, -20.0f), gauss(x));
    case KERNELS_ACT_GELU_TANH: /* (1 + tanh u) / 2 = sigmoid(2 u) */
        t = vec_fma(vec_mul(vec_mul(x, x), x), vec_set1(0.044715f), x);
        return vec_mul(no_less(x, -20.0f), sigmoid(vec_mul(vec_set1(2.0f * GELU_C), t)));
    case KERNELS_ACT_ELU:
        return vec_select(vec_gt(x, zero), x, vec_mul(p0, exp_minus_1(x)));
    case KERNELS_ACT_SELU:
        t = vec_mul(vec_set1(SELU_ALPHA), exp_minus_1(x));
        return vec_mul(vec_set1(SELU_SCALE), vec_select(vec_gt(x, zero), x, t));
    case KERNELS_ACT_CELU:
        return vec_select(vec_gt(x, zero), x, vec_mul(p0, exp_minus_1(vec_div(x, p0))));
    case KERNELS_ACT_SOFTSIGN:
        return vec_div(x, vec_add(one, vec_abs(x)));
    case KERNELS_ACT_EXPONENTIAL:
        return exp_any(x);
    case KERNELS_ACT_HARD_SIGMOID:
        return clip(vec_fma(p0, x, p1), 0.0f, 1.0f);
    case KERNELS_ACT_HARD_SILU:
        return vec_mul(x, clip(vec_fma(p0, x, p1), 0.0f, 1.0f));
    case KERNELS_ACT_HARD_TANH:
        return clip(x, -1.0f, 1.0f);
    case KERNELS_ACT_TANH_SHRINK:
        return vec_sub(x, tanh_of(x));
    case KERNELS_ACT_MISH:
        return mish(x);
    case KERNELS_ACT_SQUAREPLUS:
        t = vec_sqrt(vec_fma(x, x, p0));
        t = vec_select(vec_ge(x, zero), vec_add(x, t), vec_div(p0, vec_sub(t, x)));
        return vec_mul(vec_set1(0.5f), t);
    default:
        return x;
    }
}

/* Derivative at x, as act_slope in activation.c. */
INLINE vec slope_one(kernels_act_kind kind, vec x, vec p0, vec p1, vec p2)
{
    const vec zero = vec_zero(), one = vec_set1(1.0f);
    vec t, s, inside;
    switch (kind) {
    case KERNELS_ACT_RELU:
        t = vec_select(vec_gt(x, p2), one, p0);
        return vec_select(vec_ge(x, p1), zero, t);
    case KERNELS_ACT_SIGMOID:
        s = sigmoid(x);
        return vec_mul(s, vec_sub(one, s));
    case KERNELS_ACT_SILU:
        s = sigmoid(x);
        return vec_mul(s, vec_fma(no_less(x, -104.0f), vec_sub(one, s), one));
    case KERNELS_ACT_TANH:
        t = tanh_of(x);
        return vec_fnma(t, t, one);
    case KERNELS_ACT_GELU:
        t = exp_normal(vec_mul(vec_mul(x, x), vec_set1(-0.5f)));
        return vec_fma(vec_mul(x, t), vec_set1(0.3989422804014327f), gauss(x));
    case KERNELS_ACT_GELU_TANH: /* d of x s(2 u) */
        t = vec_mul(x, x);
        s = sigmoid(vec_mul(vec_mul(x, vec_set1(2.0f * GELU_C)),
                            vec_fma(t, vec_set1(0.044715f), one)));
        t = vec_mul(vec_set1(2.0f * GELU_C), vec_fma(t, vec_set1(3.0f * 0.044715f), one));
        return vec_mul(s, vec_fma(vec_mul(x, t), vec_sub(one, s), one));
    case KERNELS_ACT_ELU:
        return vec_select(vec_gt(x, zero), one, vec_mul(p0, exp_normal(x)));
    case KERNELS_ACT_SELU:
        t = vec_select(vec_gt(x, zero), one, vec_mul(vec_set1(SELU_ALPHA), exp_normal(x)));
        return vec_mul(vec_set1(SELU_SCALE), t);
    case KERNELS_ACT_HARD_SIGMOID:
    case KERNELS_ACT_HARD_SILU:
        t = vec_fma(p0, x, p1);
        inside = vec_select(vec_gt(t, zero), vec_select(vec_gt(one, t), p0, zero), zero);
        return kind == KERNELS_ACT_HARD_SIGMOID ? inside
                                                : vec_fma(inside, x, clip(t, 0.0f, 1.0f));
    default:
        return one;
    }
}

/* `kind` is a constant where these are used, so the switches above are resolved by the compiler. */
INLINE void each(const kernels_act_kind kind, const float *p, const float *in, float *out, size_t n)
{
    const vec p0 = vec_set1(p[0]), p1 = vec_set1(p[1]), p2 = vec_set1(p[2]);
    for (size_t i = 0; i < n; i += VEC_LANES)
        vec_store_upto(out + i, act_one(kind, vec_load_upto(in + i, n - i), p0, p1, p2), n - i);
}

INLINE void each_slope(const kernels_act_kind kind, const float *p, const float *in,
                       const float *grad_out, float *grad_in, size_t n)
{
    const vec p0 = vec_set1(p[0]), p1 = vec_set1(p[1]), p2 = vec_set1(p[2]);
    for (size_t i = 0; i < n; i += VEC_LANES) {
        vec slope = slope_one(kind, vec_load_upto(in + i, n - i), p0, p1, p2);
        vec_store_upto(grad_in + i, vec_mul(vec_load_upto(grad_out + i, n - i), slope), n - i);
    }
}

static void act(kernels_act a, const float *in, float *out, size_t n)
{
#define KIND(name) \
    case KERNELS_ACT_##name: \
        each(KERNELS_ACT_##name, a.p, in, out, n); \
        return;
    switch (a.kind) {
        KIND(RELU)
        KIND(SIGMOID)
        KIND(SILU)
        KIND(TANH)
        KIND(GELU)
        KIND(GELU_TANH)
        KIND(ELU)
        KIND(SELU)
        KIND(CELU)
        KIND(SOFTSIGN)
        KIND(EXPONENTIAL)
        KIND(HARD_SIGMOID)
        KIND(HARD_SILU)
        KIND(HARD_TANH)
        KIND(TANH_SHRINK)
        KIND(MISH)
        KIND(SQUAREPLUS)
    default: /* rare ones */
        kernels_act_scalar(a, in, out, n);
    }
#undef KIND
}

static void act_grad(kernels_act a, const float *in, const float *grad_out, float *grad_in, size_t n)
{
#define KIND(name) \
    case KERNELS_ACT_##name: \
        each_slope(KERNELS_ACT_##name, a.p, in, grad_out, grad_in, n); \
        return;
    switch (a.kind) {
        KIND(RELU)
        KIND(SIGMOID)
        KIND(SILU)
        KIND(TANH)
        KIND(GELU)
        KIND(GELU_TANH)
        KIND(ELU)
        KIND(SELU)
        KIND(HARD_SIGMOID)
        KIND(HARD_SILU)
    default: /* rare ones */
        kernels_act_grad_scalar(a, in, grad_out, grad_in, n);
    }
#undef KIND
}

void VEC_GLOBAL(init_activation)(kernels_table *k)
{
    k->act = act;
    k->act_grad = act_grad;
}
