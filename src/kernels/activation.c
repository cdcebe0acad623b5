/* activation.c - activations and their gradients: scalar formulas (keras.activations) and the
 * drivers that divide them among threads. No state; any thread. */
#include "kernels/table.h"

#include <math.h>
#include <string.h>

#define SELU_ALPHA 1.6732632423543772f
#define SELU_SCALE 1.0507009873554805f
#define SQRT_HALF  0.70710678118654752f
#define INV_SQRT_2PI 0.3989422804014327f

static float sigmoid(float x)
{
    if (x >= 0)
        return 1.0f / (1.0f + expf(-x));
    float e = expf(x);
    return e / (1.0f + e);
}

static float softplus(float x)
{
    return x > 0 ? x + log1pf(expf(-x)) : log1pf(expf(x));
}

static float clip01(float x)
{
    return x < 0.0f ? 0.0f : x > 1.0f ? 1.0f : x;
}

#define GELU_C 0.7978845608028654f /* sqrt(2 / pi) */

static float act_one(kernels_act a, float x)
{
    const float *p = a.p;
    float s;
    switch (a.kind) {
    case KERNELS_ACT_LINEAR:
        return x;
    case KERNELS_ACT_RELU:
        if (x < p[2] && p[0] == 0.0f) /* at -infinity too */
            return 0.0f;
        return x >= p[1] ? p[1] : x >= p[2] ? x : p[0] * (x - p[2]);
    case KERNELS_ACT_SIGMOID:
        return sigmoid(x);
    case KERNELS_ACT_SILU:
        return x * sigmoid(x);
    case KERNELS_ACT_TANH:
        return tanhf(x);
    case KERNELS_ACT_GELU:
        return 0.5f * x * erfcf(-x * SQRT_HALF);
    case KERNELS_ACT_GELU_TANH:
        return 0.5f * x * (1.0f + tanhf(GELU_C * (x + 0.044715f * x * x * x)));
    case KERNELS_ACT_ELU:
        return x > 0 ? x : p[0] * expm1f(x);
    case KERNELS_ACT_SELU:
        return SELU_SCALE * (x > 0 ? x : SELU_ALPHA * expm1f(x));
    case KERNELS_ACT_CELU:
        return x > 0 ? x : p[0] * expm1f(x / p[0]);
    case KERNELS_ACT_SOFTPLUS:
        return softplus(x);
    case KERNELS_ACT_SOFTSIGN:
        return x / (1.0f + fabsf(x));
    case KERNELS_ACT_EXPONENTIAL:
        return expf(x);
    case KERNELS_ACT_HARD_SIGMOID:
        return clip01(p[0] * x + p[1]);
    case KERNELS_ACT_HARD_SILU:
        return x * clip01(p[0] * x + p[1]);
    case KERNELS_ACT_HARD_TANH:
        return x < -1.0f ? -1.0f : x > 1.0f ? 1.0f : x;
    case KERNELS_ACT_HARD_SHRINK:
        return fabsf(x) > p[0] ? x : 0.0f;
    case KERNELS_ACT_SOFT_SHRINK:
        return x > p[0] ? x - p[0] : x < -p[0] ? x + p[0] : 0.0f;
    case KERNELS_ACT_TANH_SHRINK:
        return x - tanhf(x);
    case KERNELS_ACT_THRESHOLD:
        return x > p[0] ? x : p[1];
    case KERNELS_ACT_MISH:
        return x * tanhf(softplus(x));
    case KERNELS_ACT_LOG_SIGMOID:
        return -softplus(-x);
    case KERNELS_ACT_SQUAREPLUS:
        s = sqrtf(x * x + p[0]); /* below 0 x + s would cancel: (x + s) (s - x) = p0 */
        return x >= 0 ? 0.5f * (x + s) : 0.5f * p[0] / (s - x);
    case KERNELS_ACT_SPARSE_PLUS:
        return x <= -1.0f ? 0.0f : x < 1.0f ? 0.25f * (x + 1.0f) * (x + 1.0f) : x;
    case KERNELS_ACT_SPARSE_SIGMOID:
        return x <= -1.0f ? 0.0f : x < 1.0f ? 0.5f * (x + 1.0f) : 1.0f;
    default:
        return x;
    }
}

/* Derivative at x. At kinks the side that TensorFlow takes. */
static float act_slope(kernels_act a, float x)
{
    const float *p = a.p;
    float s, t;
    switch (a.kind) {
    case KERNELS_ACT_LINEAR:
        return 1.0f;
    case KERNELS_ACT_RELU:
        return x >= p[1] ? 0.0f : x > p[2] ? 1.0f : p[0];
    case KERNELS_ACT_SIGMOID:
        s = sigmoid(x);
        return s * (1.0f - s);
    case KERNELS_ACT_SILU:
        s = sigmoid(x);
        return s * (1.0f + x * (1.0f - s));
    case KERNELS_ACT_TANH:
        t = tanhf(x);
        return 1.0f - t * t;
    case KERNELS_ACT_GELU:
        return 0.5f * erfcf(-x * SQRT_HALF) + x * INV_SQRT_2PI * expf(-0.5f * x * x);
    case KERNELS_ACT_GELU_TANH:
        t = tanhf(GELU_C * (x + 0.044715f * x * x * x));
        return 0.5f * (1.0f + t) +
               0.5f * x * (1.0f - t * t) * GELU_C * (1.0f + 3.0f * 0.044715f * x * x);
    case KERNELS_ACT_ELU:
        return x > 0 ? 1.0f : p[0] * expf(x);
    case KERNELS_ACT_SELU:
        return SELU_SCALE * (x > 0 ? 1.0f : SELU_ALPHA * expf(x));
    case KERNELS_ACT_CELU:
        return x > 0 ? 1.0f : expf(x / p[0]);
    case KERNELS_ACT_SOFTPLUS:
        return sigmoid(x);
    case KERNELS_ACT_SOFTSIGN:
        t = 1.0f + fabsf(x);
        return 1.0f / (t * t);
    case KERNELS_ACT_EXPONENTIAL:
        return expf(x);
    case KERNELS_ACT_HARD_SIGMOID:
        t = p[0] * x + p[1];
        return t > 0.0f && t < 1.0f ? p[0] : 0.0f;
    case KERNELS_ACT_HARD_SILU:
        t = p[0] * x + p[1];
        return clip01(t) + (t > 0.0f && t < 1.0f ? p[0] * x : 0.0f);
    case KERNELS_ACT_HARD_TANH:
        return x > -1.0f && x < 1.0f ? 1.0f : 0.0f;
    case KERNELS_ACT_HARD_SHRINK:
    case KERNELS_ACT_SOFT_SHRINK:
        return fabsf(x) > p[0] ? 1.0f : 0.0f;
    case KERNELS_ACT_TANH_SHRINK:
        t = tanhf(x);
        return t * t;
    case KERNELS_ACT_THRESHOLD:
        return x > p[0] ? 1.0f : 0.0f;
    case KERNELS_ACT_MISH:
        t = tanhf(softplus(x));
        return t + x * (1.0f - t * t) * sigmoid(x);
    case KERNELS_ACT_LOG_SIGMOID:
        return sigmoid(-x);
    case KERNELS_ACT_SQUAREPLUS:
        return 0.5f * (1.0f + x / sqrtf(x * x + p[0]));
    case KERNELS_ACT_SPARSE_PLUS:
        return x <= -1.0f ? 0.0f : x < 1.0f ? 0.5f * (x + 1.0f) : 1.0f;
    case KERNELS_ACT_SPARSE_SIGMOID:
        return x > -1.0f && x < 1.0f ? 0.5f : 0.0f;
    default:
        return 1.0f;
    }
}

void kernels_act_scalar(kernels_act act, const float *in, float *out, size_t n)
{
    for (size_t i = 0; i < n; i++)
        out[i] = act_one(act, in[i]);
}

void kernels_act_grad_scalar(kernels_act act, const float *in, const float *grad_out,
                             float *grad_in, size_t n)
{
    for (size_t i = 0; i < n; i++)
        grad_in[i] = grad_out[i] * act_slope(act, in[i]);
}

bool kernels_act_clamp(kernels_act act, float *lo, float *hi)
{
    *lo = -INFINITY;
    *hi = INFINITY;
    switch (act.kind) {
    case KERNELS_ACT_LINEAR:
        return true;
    case KERNELS_ACT_RELU:
        if (act.p[0] != 0.0f || act.p[2] != 0.0f || !(act.p[1] >= 0.0f))
            return false;
        *lo = 0.0f;
        *hi = act.p[1];
        return true;
    case KERNELS_ACT_HARD_TANH:
        *lo = -1.0f;
        *hi = 1.0f;
        return true;
    default:
        return false;
    }
}

/* ---- row-wise kinds ---- */

/* The threshold tau of sparsemax (Martins and Astudillo 2016): sum of max(x - tau, 0) is 1. Found
 * by Newton's steps from below on a convex piecewise linear function: exact after at most as many
 * steps as there are elements, and without sorting or memory. */
static float sparsemax_tau(const float *x, size_t n)
{
    double tau = -INFINITY;
    for (size_t i = 0; i < n; i++)
        if (x[i] > tau)
            tau = x[i];
    tau -= 1.0; /* the largest element alone gives 1 here, so the sum is at least 1 */
    for (size_t step = 0; step <= n; step++) {
        double sum = 0;
        size_t count = 0;
        for (size_t i = 0; i < n; i++) {
            if (x[i] > tau) {
                sum += x[i];
                count++;
            }
        }
        double next = (sum - 1.0) / (double)count;
        if (!(next > tau))
            break;
        tau = next;
    }
    return (float)tau;
}

static void act_row_scalar(kernels_act act, const float *in, float *out, size_t n)
{
    float max = -INFINITY;
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        max = in[i] > max ? in[i] : max;
    switch (act.kind) {
    case KERNELS_ACT_SOFTMAX:
        for (size_t i = 0; i < n; i++) {
            out[i] = expf(in[i] - max);
            sum += out[i];
        }
        for (size_t i = 0; i < n; i++)
            out[i] = (float)(out[i] / sum);
        break;
    case KERNELS_ACT_LOG_SOFTMAX:
        for (size_t i = 0; i < n; i++)
            sum += expf(in[i] - max);
        sum = log(sum) + max;
        for (size_t i = 0; i < n; i++)
            out[i] = (float)(in[i] - sum);
        break;
    case KERNELS_ACT_SPARSEMAX: {
        float tau = sparsemax_tau(in, n);
        for (size_t i = 0; i < n; i++)
            out[i] = in[i] > tau ? in[i] - tau : 0.0f;
        break;
    }
    default:
        memmove(out, in, n * sizeof *out);
        break;
    }
}

static void act_row_grad(kernels_act act, const float *in, const float *go, float *gi, size_t n)
{
    float max = -INFINITY, tau = 0;
    double sum = 0, dot = 0;
    size_t count = 0;
    switch (act.kind) {
    case KERNELS_ACT_SOFTMAX: /* s_i * (g_i - sum_j g_j s_j) */
        for (size_t i = 0; i < n; i++)
            max = in[i] > max ? in[i] : max;
        for (size_t i = 0; i < n; i++) {
            double e = exp((double)in[i] - max);
            sum += e;
            dot += e * go[i];
        }
        dot /= sum;
        for (size_t i = 0; i < n; i++)
            gi[i] = (float)(exp((double)in[i] - max) / sum * (go[i] - dot));
        break;
    case KERNELS_ACT_LOG_SOFTMAX: /* g_i - s_i * sum_j g_j */
        for (size_t i = 0; i < n; i++)
            max = in[i] > max ? in[i] : max;
        for (size_t i = 0; i < n; i++) {
            sum += exp((double)in[i] - max);
            dot += go[i];
        }
        for (size_t i = 0; i < n; i++)
            gi[i] = (float)(go[i] - exp((double)in[i] - max) / sum * dot);
        break;
    case KERNELS_ACT_SPARSEMAX: /* on the support: g_i - mean of g there */
        tau = sparsemax_tau(in, n);
        for (size_t i = 0; i < n; i++) {
            if (in[i] > tau) {
                dot += go[i];
                count++;
            }
        }
        for (size_t i = 0; i < n; i++)
            gi[i] = in[i] > tau ? (float)(go[i] - dot / (double)count) : 0.0f;
        break;
    default:
        memmove(gi, go, n * sizeof *gi);
        break;
    }
}

/* ---- drivers ---- */

typedef struct act_job {
    const kernels_table *k;
    kernels_act act;
    const float *in, *grad_out;
    float *out;
    size_t rows, c, pieces;
} act_job;

static void act_task(void *context, size_t task, unsigned worker)
{
    const act_job *j = context;
    size_t begin, end;
    (void)worker;
    if (kernels_act_is_rowwise(j->act.kind)) {
        kernels_piece(j->rows, j->pieces, task, &begin, &end);
        for (size_t r = begin; r < end; r++) {
            if (j->grad_out)
                act_row_grad(j->act, j->in + r * j->c, j->grad_out + r * j->c, j->out + r * j->c,
                             j->c);
            else
                j->k->act_row(j->act, j->in + r * j->c, j->out + r * j->c, j->c);
        }
        return;
    }
    kernels_piece(j->rows * j->c, j->pieces, task, &begin, &end);
    if (j->grad_out)
        j->k->act_grad(j->act, j->in + begin, j->grad_out + begin, j->out + begin, end - begin);
    else
        j->k->act(j->act, j->in + begin, j->out + begin, end - begin);
}

static void act_drive(act_job *j, base_pool *pool)
{
    size_t n = j->rows * j->c;
    if (n == 0)
        return;
    j->pieces = n < KERNELS_PARALLEL_MIN ? 1 : (size_t)base_pool_threads(pool) * 2;
    base_pool_run(j->pieces > 1 ? pool : NULL, j->pieces, act_task, j);
}

void kernels_activation_run(const kernels_table *k, kernels_act act, const float *in, float *out,
                            size_t rows, size_t c, base_pool *pool)
{
    act_job j = {.k = k, .act = act, .in = in, .out = out, .rows = rows, .c = c};
    act_drive(&j, pool);
}

void kernels_activation_grad(const kernels_table *k, kernels_act act, const float *in,
                             const float *grad_out, float *grad_in, size_t rows, size_t c,
                             base_pool *pool)
{
    act_job j = {.k = k, .act = act, .in = in, .grad_out = grad_out, .out = grad_in, .rows = rows,
                 .c = c};
    act_drive(&j, pool);
}

void kernels_init_scalar_activation(kernels_table *k)
{
    k->act = kernels_act_scalar;
    k->act_grad = kernels_act_grad_scalar;
    k->act_row = act_row_scalar;
}
