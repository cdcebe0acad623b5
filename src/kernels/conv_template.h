/* conv_template.h - convolution tiles for one vector type; included by conv_<level>.c behind its
 * simd_<level>.h and TILE_ROWS, TILE_BLOCKS. The accumulators of a whole tile stay in registers:
 * every loop over rows and vectors has constant bounds and is unrolled (look at the assembly: the
 * inner loop holds no store). */
#include "kernels/table.h"

#define TILE_VECTORS (KERNELS_BLOCK / V_LANES) /* vectors of a block */
#define INLINE static inline __attribute__((always_inline))

INLINE v_f tile_weight(const void *p, size_t lane, kernels_type type)
{
    return type == KERNELS_F32 ? v_load((const float *)p + lane)
                               : v_load_f16((const uint16_t *)p + lane);
}

/* One dense pixel: a long dot product, bound by memory; four chains hide the adder's latency. */
INLINE void tile_one(const kernels_tile *t, kernels_type type, v_f acc[TILE_BLOCKS * TILE_VECTORS])
{
    const size_t step = KERNELS_BLOCK * (type == KERNELS_F32 ? 4 : 2);
    for (unsigned b = 0; b < t->blocks; b++) {
        const char *w = (const char *)t->weight + b * t->block_bytes;
        v_f part[4][TILE_VECTORS];
        for (int u = 0; u < 4; u++)
            for (int v = 0; v < TILE_VECTORS; v++)
                part[u][v] = v_zero();
        for (size_t run = 0; run < t->runs; run++) {
            const float *in = t->ptr[run];
            size_t n = 0;
            for (; n + 4 <= t->run_len; n += 4, w += 4 * step)
                for (int u = 0; u < 4; u++)
                    for (int v = 0; v < TILE_VECTORS; v++)
                        part[u][v] = v_fma(v_set(in[n + u]),
                                           tile_weight(w + u * step, v * V_LANES, type), part[u][v]);
            for (; n < t->run_len; n++, w += step)
                for (int v = 0; v < TILE_VECTORS; v++)
                    part[0][v] = v_fma(v_set(in[n]), tile_weight(w, v * V_LANES, type), part[0][v]);
        }
        for (int v = 0; v < TILE_VECTORS; v++)
            acc[b * TILE_VECTORS + v] =
                v_add(v_add(part[0][v], part[1][v]), v_add(part[2][v], part[3][v]));
    }
}

INLINE void tile_store(const kernels_tile *t, unsigned row, unsigned vector, v_f acc)
{
    size_t at = row * t->out_stride + vector * V_LANES;
    unsigned left = t->channels > vector * V_LANES ? t->channels - vector * V_LANES : 0;
    if (left >= V_LANES) {
        if (t->residual)
            acc = v_add(acc, v_load(t->residual + at));
        v_store(t->out + at, v_min(v_set(t->hi), v_max(v_set(t->lo), acc)));
    } else if (left) {
        v_part m = v_first(left);
        if (t->residual)
            acc = v_add(acc, v_load_part(t->residual + at, m));
        v_store_part(t->out + at, m, v_min(v_set(t->hi), v_max(v_set(t->lo), acc)));
    }
}

INLINE void tile_body(const kernels_tile *t, const int rows, const int blocks, kernels_type type)
{
    const size_t step = KERNELS_BLOCK * (type == KERNELS_F32 ? 4 : 2);
    const int vectors = blocks * TILE_VECTORS;
    v_f acc[TILE_ROWS][TILE_BLOCKS * TILE_VECTORS];
    const char *w = t->weight;
    const size_t block_bytes = t->block_bytes;
    const float *const *ptr = t->ptr;
    const ptrdiff_t len = (ptrdiff_t)t->run_len;
#pragma GCC unroll 16
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++)
            acc[r][v] = t->bias ? v_load(t->bias + v * V_LANES) : v_zero();
    for (size_t run = t->runs; run > 0; run--, ptr += rows) {
        const float *in[TILE_ROWS];
#pragma GCC unroll 16
        for (int r = 0; r < rows; r++)
            in[r] = ptr[r] + len;
        for (ptrdiff_t n = -len; n < 0; n++, w += step) {
            v_f weight[TILE_BLOCKS * TILE_VECTORS];
#pragma GCC unroll 4
            for (int v = 0; v < vectors; v++)
                weight[v] = tile_weight(w + (v / TILE_VECTORS) * block_bytes,
                                        v % TILE_VECTORS * V_LANES, type);
#pragma GCC unroll 16
            for (int r = 0; r < rows; r++) {
                v_f x = v_set(in[r][n]);
#pragma GCC unroll 4
                for (int v = 0; v < vectors; v++)
                    acc[r][v] = v_fma(x, weight[v], acc[r][v]);
            }
        }
    }
#pragma GCC unroll 16
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++)
            tile_store(t, (unsigned)r, (unsigned)v, acc[r][v]);
}

INLINE void tile_gemv(const kernels_tile *t, kernels_type type)
{
    v_f acc[TILE_BLOCKS * TILE_VECTORS];
    tile_one(t, type, acc);
    for (unsigned v = 0; v < t->blocks * TILE_VECTORS; v++)
        tile_store(t, 0, v, t->bias ? v_add(acc[v], v_load(t->bias + v * V_LANES)) : acc[v]);
}

#define TILE_CASE(ROWS, BLOCKS, TYPE)                                                              \
    static __attribute__((noinline)) void tile_##ROWS##_##BLOCKS##_##TYPE(const kernels_tile *t)   \
    {                                                                                              \
        tile_body(t, ROWS, BLOCKS, TYPE);                                                          \
    }
