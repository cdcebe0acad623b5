/* kernels.h - arithmetic on plain arrays. A scalar reference for every kernel, faster ones per
 * instruction set, and the table that picks them. Knows no graphs and no files.
 *
 * Activations are dense float32 NHWC with batch 1: element (y, x, c) at (y * width + x) * C + c,
 * without padding; buffers are 64-byte aligned. Each kernels_*_run does one whole operator, divided
 * among the pool's threads (NULL: here), allocates nothing and cannot fail: the caller (nn) has
 * checked shapes. `out` never overlaps an input unless the function says "in place allowed". */
#ifndef KERNELS_KERNELS_H
#define KERNELS_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/base.h"

#define KERNELS_BLOCK 16 /* output channels of a weight block: one ZMM register of floats */

/* ---- instruction sets ---- */

typedef enum kernels_level {
    KERNELS_SCALAR,
    KERNELS_AVX2,   /* AVX2, FMA, F16C */
    KERNELS_AVX512, /* AVX-512 F, BW, DQ, VL (and all of AVX2 level) */
    KERNELS_LEVEL_COUNT
} kernels_level;

const char *kernels_level_name(kernels_level level); /* "scalar", "avx2", "avx512" */
bool kernels_level_parse(const char *name, kernels_level *out);
kernels_level kernels_level_best(void); /* CPUID and XGETBV, once */

/* The functions of one level. Opaque to users: kernels/table.h, private to this folder. */
typedef struct kernels_table kernels_table;

/* The table of the best level at most `cap`. */
const kernels_table *kernels_get(kernels_level cap);
/* What DERMIS_CPU allows (unset: the best there is); DERMIS_E_USAGE for an unknown name. */
dermis_status kernels_cap_from_env(kernels_level *out, dermis_error *err);
kernels_level kernels_table_level(const kernels_table *k);

/* ---- activations ----
 * Keras's names and formulas (keras.activations). p[] are the parameters named behind each. */

typedef enum kernels_act_kind {
    KERNELS_ACT_LINEAR,
    KERNELS_ACT_RELU,        /* p0 negative_slope, p1 max_value (INFINITY: none), p2 threshold:
                                x >= max ? max : x >= threshold ? x : slope * (x - threshold) */
    KERNELS_ACT_SIGMOID,
    KERNELS_ACT_SILU,        /* x * sigmoid(x), "swish" */
    KERNELS_ACT_TANH,
    KERNELS_ACT_GELU,        /* x * Phi(x), by erf */
    KERNELS_ACT_GELU_TANH,   /* approximate=True */
    KERNELS_ACT_ELU,         /* p0 alpha */
    KERNELS_ACT_SELU,
    KERNELS_ACT_CELU,        /* p0 alpha */
    KERNELS_ACT_SOFTPLUS,
    KERNELS_ACT_SOFTSIGN,
    KERNELS_ACT_EXPONENTIAL,
    KERNELS_ACT_HARD_SIGMOID, /* relu6(x + 3) / 6 (Keras 3); Keras 2's clip(.2 x + .5) is p0 = 0.2,
                                 p1 = 0.5: always clip(p0 * x + p1, 0, 1) */
    KERNELS_ACT_HARD_SILU,    /* x * clip(p0 * x + p1, 0, 1) */
    KERNELS_ACT_HARD_TANH,    /* clip(x, -1, 1) */
    KERNELS_ACT_HARD_SHRINK,  /* p0 threshold */
    KERNELS_ACT_SOFT_SHRINK,  /* p0 threshold */
    KERNELS_ACT_TANH_SHRINK,  /* x - tanh(x) */
    KERNELS_ACT_THRESHOLD,    /* x > p0 ? x : p1 */
    KERNELS_ACT_MISH,
    KERNELS_ACT_LOG_SIGMOID,
    KERNELS_ACT_SQUAREPLUS,   /* p0 b */
    KERNELS_ACT_SPARSE_PLUS,
    KERNELS_ACT_SPARSE_SIGMOID,
    /* from here on over the last axis, not element by element; never fused */
    KERNELS_ACT_SOFTMAX,
    KERNELS_ACT_LOG_SOFTMAX,
    KERNELS_ACT_SPARSEMAX,
    KERNELS_ACT_COUNT
} kernels_act_kind;

typedef struct kernels_act {
    kernels_act_kind kind;
    float p[3];
} kernels_act;

static inline bool kernels_act_is_rowwise(kernels_act_kind kind)
{
    return kind >= KERNELS_ACT_SOFTMAX;
}

/* out = act(in), rows of c elements; in place allowed. */
void kernels_activation_run(const kernels_table *k, kernels_act act, const float *in, float *out,
                            size_t rows, size_t c, base_pool *pool);
/* grad_in = grad_out * act'(in); for row-wise kinds the exact Jacobian product. `in` is the
 * activation's input. In place (grad_in == grad_out) allowed. */
void kernels_activation_grad(const kernels_table *k, kernels_act act, const float *in,
                             const float *grad_out, float *grad_in, size_t rows, size_t c,
                             base_pool *pool);

/* ---- convolutions ---- */

typedef enum kernels_type { KERNELS_F32, KERNELS_F16 } kernels_type;

typedef enum kernels_residual {
    KERNELS_RESIDUAL_NONE,
    KERNELS_RESIDUAL_BEFORE_ACT, /* out = act(conv + bias + residual) */
    KERNELS_RESIDUAL_AFTER_ACT   /* out = act(conv + bias) + residual */
} kernels_residual;

/* One convolution with its arrays.
 *   in       [in_h][in_w][in_c]
 *   weight   conv: [groups][ceil(out_c/groups/16)][K][16], K = kernel_h * kernel_w * (in_c/groups)
 *            in the order kernel row, kernel column, input channel; depthwise: [ceil(out_c/16)]
 *            [kernel_h*kernel_w][16], output channel o reads input channel o / (out_c/in_c).
 *            Places past the last channel hold zeros.
 *   bias     [ceil(out_c/groups/16)*16 for each group], or NULL
 *   in_scale [in_c] or NULL: the input is multiplied by it channel by channel as it is read
 *            (squeeze-and-excite); only for 1x1 convolutions with groups = 1
 *   residual [out_h][out_w][out_c], or NULL
 * Input outside the picture counts as zero; the bottom and right padding follow from the sizes. */
typedef struct kernels_conv {
    uint32_t in_h, in_w, in_c;
    uint32_t out_h, out_w, out_c;
    uint32_t kernel_h, kernel_w, stride_h, stride_w, dilation_h, dilation_w;
    uint32_t pad_top, pad_left;
    uint32_t groups; /* ignored by depthwise */
    kernels_type weight_type;
    kernels_act act; /* element-wise kinds only */
    kernels_residual residual_mode;
    const float *in;
    const void *weight;
    const float *bias;
    const float *in_scale;
    const float *residual;
    float *out;
} kernels_conv;

/* Bytes of scratch (64-byte aligned, given to run) for `threads`; only the geometry fields, types
 * and whether in_scale is set (any non-NULL pointer) are read. */
size_t kernels_conv_scratch(const kernels_table *k, const kernels_conv *c, unsigned threads);
void kernels_conv_run(const kernels_table *k, const kernels_conv *c, void *scratch,
                      base_pool *pool);
size_t kernels_depthwise_scratch(const kernels_table *k, const kernels_conv *c, unsigned threads);
void kernels_depthwise_run(const kernels_table *k, const kernels_conv *c, void *scratch,
                           base_pool *pool);

/* Gradient of a convolution with respect to its input (a plain transposed convolution; ignores
 * bias, act, residual): grad_out [out_h][out_w][out_c] to grad_in [in_h][in_w][in_c]. */
void kernels_conv_grad(const kernels_table *k, const kernels_conv *c, const float *grad_out,
                       float *grad_in, base_pool *pool);
void kernels_depthwise_grad(const kernels_table *k, const kernels_conv *c, const float *grad_out,
                            float *grad_in, base_pool *pool);

/* ---- pooling ---- */

typedef enum kernels_pool_kind { KERNELS_POOL_MAX, KERNELS_POOL_MEAN } kernels_pool_kind;

/* The mean counts only elements inside the picture (as Keras does with "same"). */
typedef struct kernels_pool {
    kernels_pool_kind kind;
    uint32_t in_h, in_w, c, out_h, out_w;
    uint32_t kernel_h, kernel_w, stride_h, stride_w, pad_top, pad_left;
} kernels_pool;

void kernels_pool_run(const kernels_table *k, const kernels_pool *p, const float *in, float *out,
                      base_pool *pool);
/* For the maximum the gradient goes to the first largest element of each window, as TensorFlow's
 * does; `in` is needed for it (may be NULL for the mean). */
void kernels_pool_grad(const kernels_pool *p, const float *in, const float *grad_out,
                       float *grad_in);

/* [pixels][c] to [c]. */
void kernels_global_pool_run(const kernels_table *k, kernels_pool_kind kind, const float *in,
                             size_t pixels, size_t c, float *out, base_pool *pool);

/* ---- element-wise with broadcasting ---- */

typedef enum kernels_binary_kind {
    KERNELS_ADD,
    KERNELS_SUB,
    KERNELS_MUL,
    KERNELS_DIV,
    KERNELS_MAX,
    KERNELS_MIN
} kernels_binary_kind;

/* Shapes h, w, c of each side; a side's extent is the output's or 1. In place allowed on a side
 * that has the output's shape. */
typedef struct kernels_binary {
    kernels_binary_kind kind;
    uint32_t a[3], b[3], out[3];
} kernels_binary;
void kernels_binary_run(const kernels_table *k, const kernels_binary *op, const float *a,
                        const float *b, float *out, base_pool *pool);

/* out = in * scale[c] + shift[c]; NULL scale is 1, NULL shift 0. In place allowed. */
void kernels_affine_run(const kernels_table *k, const float *in, float *out, size_t pixels,
                        size_t c, const float *scale, const float *shift, base_pool *pool);
/* out = in > 0 ? in : alpha * in; alpha [alpha_n] repeats over the elements (alpha_n = c, or
 * h*w*c). In place allowed. */
void kernels_prelu_run(const kernels_table *k, const float *in, float *out, size_t n,
                       const float *alpha, size_t alpha_n, base_pool *pool);

/* Layer normalisation over the last axis: (x - mean) / sqrt(variance + epsilon) * gamma + beta. */
void kernels_layernorm_run(const kernels_table *k, const float *in, float *out, size_t rows,
                           size_t c, float epsilon, const float *gamma, const float *beta,
                           base_pool *pool);
void kernels_layernorm_grad(const float *in, const float *grad_out, float *grad_in, size_t rows,
                            size_t c, float epsilon, const float *gamma);

/* ---- moving data: shapes h, w, c ---- */

void kernels_pad_run(const float *in, const uint32_t in_shape[3], float *out,
                     const uint32_t out_shape[3], uint32_t top, uint32_t left, float value,
                     base_pool *pool);
/* out[i] = in[start + i * step] along each axis; step may be negative. */
void kernels_slice_run(const float *in, const uint32_t in_shape[3], float *out,
                       const uint32_t out_shape[3], const int32_t start[3], const int32_t step[3],
                       base_pool *pool);
/* Copies `in` into `out` at `offset` along `axis` (0 h, 1 w, 2 c). */
void kernels_concat_run(const float *in, const uint32_t in_shape[3], float *out,
                        const uint32_t out_shape[3], unsigned axis, uint32_t offset,
                        base_pool *pool);

typedef enum kernels_resize_kind {
    KERNELS_RESIZE_NEAREST,  /* Keras UpSampling2D, and Resizing's half-pixel nearest */
    KERNELS_RESIZE_BILINEAR  /* half-pixel centres, edge clamped, no antialias */
} kernels_resize_kind;
void kernels_resize_run(kernels_resize_kind kind, const float *in, uint32_t in_h, uint32_t in_w,
                        uint32_t c, float *out, uint32_t out_h, uint32_t out_w, base_pool *pool);

#endif
