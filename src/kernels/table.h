/* table.h - the functions that one instruction set offers; private to this folder. The scalar set
 * is the reference and complete; each further set copies the one below it and overrides what it
 * does faster. Tables are built once and constant from then on, so any thread may read them.
 * Functions here work on one piece of an operator; the drivers (conv.c, ...) divide the operator. */
#ifndef KERNELS_TABLE_H
#define KERNELS_TABLE_H

#include "kernels/kernels.h"

/* One register tile of a convolution: `rows` output pixels times `blocks` blocks of 16 channels.
 * out = clamp(bias + sum over runs, k of ptr[run][row][k] * weight[block][run * run_len + k]
 *             + residual, lo, hi) */
typedef struct kernels_tile {
    unsigned rows;     /* 1..conv_rows */
    unsigned blocks;   /* 1..conv_blocks */
    unsigned channels; /* valid ones of blocks * 16 */
    size_t runs;       /* stretches of contiguous input that make up K */
    size_t run_len;    /* floats in each */
    const float *const *ptr; /* [runs][rows] */
    const void *weight;
    size_t block_bytes; /* from one weight block to the next */
    const float *bias;  /* NULL, or blocks * 16 */
    const float *residual; /* NULL, or rows of out_stride as in out */
    float *out;
    size_t out_stride; /* floats from one row to the next */
    float lo, hi;
} kernels_tile;

/* The 36 products of a Winograd tile, and where its outputs go:
 * out[y][x] = clamp(bias + (A' M A)[y][x] + residual[y][x], lo, hi). */
typedef struct kernels_winograd_tile {
    const float *m;  /* [36 of m_stride floats][channels, padded to whole blocks] */
    size_t m_stride;
    size_t channels;
    unsigned rows, columns; /* outputs that exist, 1..4 */
    const float *bias;      /* NULL, or channels padded to whole blocks */
    const float *residual;  /* NULL, or strided as out */
    float *out;
    size_t row_stride, pixel_stride; /* floats */
    float lo, hi;
} kernels_winograd_tile;

/* A stretch of one output row of a depthwise convolution with multiplier 1. */
typedef struct kernels_dw {
    const kernels_conv *c;
    uint32_t oy;
    float lo, hi;
} kernels_dw;

struct kernels_table {
    kernels_level level;
    unsigned conv_rows, conv_blocks; /* largest tile of conv_tile */
    void (*conv_tile[2])(const kernels_tile *t); /* by kernels_type */
    /* Winograd's transforms; NULL in the scalar set, which convolves directly. One weight block to
     * u [36][channels][16]; the 36 pixels under a tile to v [36 of `stride` floats][channels]. */
    void (*winograd_weights[2])(const void *block, size_t channels, float *u);
    void (*winograd_input)(const float *const pixel[36], size_t channels, float *v, size_t stride);
    void (*winograd_output)(const kernels_winograd_tile *t);
    /* One output row, all channels, bias and clamp but no residual; in_c == out_c. */
    void (*depthwise_row[2])(const kernels_dw *d);
    /* acc[i] += sum over blocks, lanes of weight[block][i][lane] * g[block * 16 + lane], i < n; g
     * has `channels` elements. */
    void (*grad_dot[2])(const void *weight, size_t block_bytes, const float *g, size_t channels,
                        float *acc, size_t n);
    /* Element-wise kinds only; in place allowed. */
    void (*act)(kernels_act act, const float *in, float *out, size_t n);
    /* grad_in = grad_out * act'(in); element-wise kinds only; in place allowed. */
    void (*act_grad)(kernels_act act, const float *in, const float *grad_out, float *grad_in,
                     size_t n);
    /* Row-wise kinds; one row; in place allowed. */
    void (*act_row)(kernels_act act, const float *in, float *out, size_t n);
    /* a and b advance by a_step, b_step (0 or 1) floats an element; in place allowed. */
    void (*binary)(kernels_binary_kind kind, const float *a, unsigned a_step, const float *b,
                   unsigned b_step, float *out, size_t n);
    /* out = in * scale + shift, elements; in place allowed; neither NULL. */
    void (*affine)(const float *in, float *out, size_t n, const float *scale, const float *shift);
    void (*prelu)(const float *in, float *out, size_t n, const float *alpha);
    /* Maximum or sum * factor over ny * nx pixels (both > 0), c channels; strides in floats. */
    void (*pool)(kernels_pool_kind kind, const float *in, size_t row_stride, size_t pixel_stride,
                 size_t ny, size_t nx, size_t c, float factor, float *out);
    void (*layernorm_row)(const float *in, float *out, size_t c, float epsilon, const float *gamma,
                          const float *beta);
};

/* The scalar set, by family. */
void kernels_init_scalar_conv(kernels_table *k);
void kernels_init_scalar_depthwise(kernels_table *k);
void kernels_init_scalar_activation(kernels_table *k);
void kernels_init_scalar_elementwise(kernels_table *k);
void kernels_init_scalar_pool(kernels_table *k);
void kernels_init_scalar_layernorm(kernels_table *k);

#if defined(__x86_64__)
/* The vector sets: vec_*.c, compiled once for each. */
#define KERNELS_DECLARE_SET(set) \
    void kernels_init_activation_##set(kernels_table *k); \
    void kernels_init_conv_##set(kernels_table *k); \
    void kernels_init_depthwise_##set(kernels_table *k); \
    void kernels_init_elementwise_##set(kernels_table *k); \
    void kernels_init_pool_##set(kernels_table *k); \
    void kernels_init_winograd_##set(kernels_table *k);
KERNELS_DECLARE_SET(avx2)
KERNELS_DECLARE_SET(avx512)
#undef KERNELS_DECLARE_SET
#endif

/* Scalar functions that vector files use for kinds they do not have. */
void kernels_act_scalar(kernels_act act, const float *in, float *out, size_t n);
void kernels_act_grad_scalar(kernels_act act, const float *in, const float *grad_out,
                             float *grad_in, size_t n);
/* Activations that are a clamp, done in the tile; false: a pass of its own is needed. */
bool kernels_act_clamp(kernels_act act, float *lo, float *hi);
/* What is left after the tile: activation that is not a clamp, residual behind an activation. */
bool kernels_tail_needed(const kernels_conv *c);
void kernels_tail(const kernels_table *k, const kernels_conv *c, size_t at, size_t n);

/* Below this many elements an operator is not worth waking the pool's threads. */
#define KERNELS_PARALLEL_MIN 16384

/* Pieces of `total` units for the pool: range of piece i of n. */
static inline void kernels_piece(size_t total, size_t n, size_t i, size_t *begin, size_t *end)
{
    *begin = total / n * i + (i < total % n ? i : total % n);
    *end = *begin + total / n + (i < total % n);
}

#endif
