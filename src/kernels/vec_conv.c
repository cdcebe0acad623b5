/* vec_conv.c - convolution tiles in vectors, and the dot products of the gradient; compiled once for
 * each instruction set. No state; any thread.
 *
 * A tile keeps rows x blocks x 16 sums in registers while K runs past: for each k one load of
 * weights a block, one broadcast of input a row, and their product added. AVX-512: 12 rows x 2
 * blocks, 24 of 32 registers; AVX2: 6 rows x 1 block (two registers each), 12 of 16. Every smaller
 * shape is its own instance, so that the inner loop has no branch and no spill. */
#include "kernels/vec.h"

#if defined(__AVX512F__)
#define ROWS   12
#define BLOCKS 2
#else
#define ROWS   6
#define BLOCKS 1
#endif

/* Bytes from a weight to the one fetched beside it: weights of a whole network come from the third
 * cache or from memory, at the first tile of a task, and the processor's own prefetching ends at
 * each page. */
#define AHEAD 2048

#define INLINE static inline __attribute__((always_inline))

INLINE void finish(const kernels_tile *t, const vec *acc, unsigned r, unsigned vectors)
{
    const vec lo = vec_set1(t->lo), hi = vec_set1(t->hi);
    for (unsigned v = 0; v < vectors && v * VEC_LANES < t->channels; v++) {
        size_t at = r * t->out_stride + v * VEC_LANES, left = t->channels - v * VEC_LANES;
        vec x = acc[v];
        if (t->residual)
            x = vec_add(x, vec_load_upto(t->residual + at, left));
        x = vec_min(hi, vec_max(lo, x)); /* in this order NaN stays */
        vec_store_upto(t->out + at, x, left);
    }
}

INLINE void tile(const kernels_tile *t, const unsigned rows, const unsigned blocks,
                 const kernels_type type)
{
    enum { MAX = BLOCKS * VEC_BLOCK };
    const unsigned vectors = blocks * VEC_BLOCK;
    const size_t size = type == KERNELS_F32 ? 4 : 2;
    vec acc[ROWS][MAX];
    const char *w[BLOCKS];
    VEC_UNROLL
    for (unsigned v = 0; v < vectors; v++) {
        vec bias = t->bias ? vec_load(t->bias + v * VEC_LANES) : vec_zero();
        VEC_UNROLL
        for (unsigned r = 0; r < rows; r++)
            acc[r][v] = bias;
    }
    VEC_UNROLL
    for (unsigned b = 0; b < blocks; b++)
        w[b] = (const char *)t->weight + b * t->block_bytes;

    const float *const *ptr = t->ptr;
    for (size_t run = 0; run < t->runs; run++, ptr += rows) {
        const float *in[ROWS];
        VEC_UNROLL
        for (unsigned r = 0; r < rows; r++)
            in[r] = ptr[r];
        for (size_t k = 0; k < t->run_len; k++) {
            vec x[MAX];
            VEC_UNROLL
            for (unsigned v = 0; v < vectors; v++)
                x[v] = vec_load_weight(w[v / VEC_BLOCK], v % VEC_BLOCK * VEC_LANES, type);
            VEC_UNROLL
            for (unsigned b = 0; b < blocks; b++) {
                __builtin_prefetch(w[b] + AHEAD);
                w[b] += KERNELS_BLOCK * size;
            }
            VEC_UNROLL
            for (unsigned r = 0; r < rows; r++) {
                vec a = vec_set1(in[r][k]);
                VEC_UNROLL
                for (unsigned v = 0; v < vectors; v++)
                    acc[r][v] = vec_fma(a, x[v], acc[r][v]);
            }
        }
    }
    VEC_UNROLL
    for (unsigned r = 0; r < rows; r++)
        finish(t, acc[r], r, vectors);
}

/* One row has too few sums to hide the latency of the additions: K is summed four ways. */
INLINE void tile_one(const kernels_tile *t, const unsigned blocks, const kernels_type type)
{
    enum { MAX = BLOCKS * VEC_BLOCK, WAYS = 4 };
    const unsigned vectors = blocks * VEC_BLOCK;
    const size_t size = type == KERNELS_F32 ? 4 : 2;
    vec acc[WAYS][MAX];
    const char *w = t->weight;
    VEC_UNROLL
    for (unsigned v = 0; v < vectors; v++) {
        acc[0][v] = t->bias ? vec_load(t->bias + v * VEC_LANES) : vec_zero();
        VEC_UNROLL
        for (unsigned i = 1; i < WAYS; i++)
            acc[i][v] = vec_zero();
    }
    for (size_t run = 0; run < t->runs; run++) {
        const float *in = t->ptr[run];
        size_t k = 0;
        for (; k + WAYS <= t->run_len; k += WAYS, w += WAYS * KERNELS_BLOCK * size) {
            VEC_UNROLL
            for (unsigned i = 0; i < WAYS; i++) {
                vec a = vec_set1(in[k + i]);
                VEC_UNROLL
                for (unsigned v = 0; v < vectors; v++)
                    acc[i][v] = vec_fma(a,
                                        vec_load_weight(w + v / VEC_BLOCK * t->block_bytes,
                                                        i * KERNELS_BLOCK + v % VEC_BLOCK * VEC_LANES,
                                                        type),
                                        acc[i][v]);
            }
        }
        for (; k < t->run_len; k++, w += KERNELS_BLOCK * size) {
            vec a = vec_set1(in[k]);
            VEC_UNROLL
            for (unsigned v = 0; v < vectors; v++)
                acc[0][v] = vec_fma(a,
                                    vec_load_weight(w + v / VEC_BLOCK * t->block_bytes,
                                                    v % VEC_BLOCK * VEC_LANES, type),
                                    acc[0][v]);
        }
    }
    VEC_UNROLL
    for (unsigned v = 0; v < vectors; v++)
        acc[0][v] = vec_add(vec_add(acc[0][v], acc[1][v]), vec_add(acc[2][v], acc[3][v]));
    finish(t, acc[0], 0, vectors);
}

#define CASE(rows, blocks, type) \
    case rows: \
        tile(t, rows, blocks, type); \
        break;
#if defined(__AVX512F__)
#define CASES_ABOVE_6(blocks, type) \
    CASE(7, blocks, type) \
    CASE(8, blocks, type) \
    CASE(9, blocks, type) \
    CASE(10, blocks, type) \
    CASE(11, blocks, type) \
    CASE(12, blocks, type)
#else
#define CASES_ABOVE_6(blocks, type)
#endif
#define SHAPES(name, blocks, type) \
    static void name(const kernels_tile *t) \
    { \
        switch (t->rows) { \
        case 1: \
            tile_one(t, blocks, type); \
            break; \
            CASE(2, blocks, type) \
            CASE(3, blocks, type) \
            CASE(4, blocks, type) \
            CASE(5, blocks, type) \
            CASE(6, blocks, type) \
            CASES_ABOVE_6(blocks, type) \
        } \
    }

SHAPES(one_block_f32, 1, KERNELS_F32)
SHAPES(one_block_f16, 1, KERNELS_F16)
#if BLOCKS == 2
SHAPES(two_blocks_f32, 2, KERNELS_F32)
SHAPES(two_blocks_f16, 2, KERNELS_F16)

static void tile_f32(const kernels_tile *t)
{
    (t->blocks == 2 ? two_blocks_f32 : one_block_f32)(t);
}

static void tile_f16(const kernels_tile *t)
{
    (t->blocks == 2 ? two_blocks_f16 : one_block_f16)(t);
}
#else
#define tile_f32 one_block_f32
#define tile_f16 one_block_f16
#endif

/* ---- gradient ---- */

INLINE void grad_dot(const void *weight, size_t block_bytes, const float *g, size_t channels,
                     float *acc, size_t n, const kernels_type type)
{
    const size_t size = type == KERNELS_F32 ? 4 : 2;
    for (size_t i = 0; i < n; i++) {
        const char *w = (const char *)weight + i * KERNELS_BLOCK * size;
        vec sum[VEC_BLOCK];
        VEC_UNROLL
        for (unsigned v = 0; v < VEC_BLOCK; v++)
            sum[v] = vec_zero();
        size_t o = 0;
        for (; o + KERNELS_BLOCK <= channels; o += KERNELS_BLOCK, w += block_bytes)
            VEC_UNROLL
            for (unsigned v = 0; v < VEC_BLOCK; v++)
                sum[v] = vec_fma(vec_load_weight(w, v * VEC_LANES, type),
                                 vec_load(g + o + v * VEC_LANES), sum[v]);
        for (unsigned v = 0; v < VEC_BLOCK && o + v * VEC_LANES < channels; v++)
            sum[v] = vec_fma(vec_load_weight(w, v * VEC_LANES, type),
                             vec_load_upto(g + o + v * VEC_LANES, channels - o - v * VEC_LANES),
                             sum[v]);
        vec all = sum[0];
        for (unsigned v = 1; v < VEC_BLOCK; v++)
            all = vec_add(all, sum[v]);
        acc[i] += vec_sum(all);
    }
}

static void grad_dot_f32(const void *weight, size_t block_bytes, const float *g, size_t channels,
                         float *acc, size_t n)
{
    grad_dot(weight, block_bytes, g, channels, acc, n, KERNELS_F32);
}

static void grad_dot_f16(const void *weight, size_t block_bytes, const float *g, size_t channels,
                         float *acc, size_t n)
{
    grad_dot(weight, block_bytes, g, channels, acc, n, KERNELS_F16);
}

void VEC_GLOBAL(init_conv)(kernels_table *k)
{
    k->conv_rows = ROWS;
    k->conv_blocks = BLOCKS;
    k->conv_tile[KERNELS_F32] = tile_f32;
    k->conv_tile[KERNELS_F16] = tile_f16;
    k->grad_dot[KERNELS_F32] = grad_dot_f32;
    k->grad_dot[KERNELS_F16] = grad_dot_f16;
}
