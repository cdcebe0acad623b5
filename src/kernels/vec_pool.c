/* vec_pool.c - windows of pooling in vectors of channels; compiled once for each instruction set. No
 * state; any thread. */
#include "kernels/vec.h"

#define INLINE static inline __attribute__((always_inline))

enum {
    VECTORS = 4,
    RUN = 32, /* pixels that are added up before they join the sum: its error grows with n / RUN */
};

INLINE void window(const kernels_pool_kind kind, const float *in, size_t row_stride,
                   size_t pixel_stride, size_t ny, size_t nx, size_t left, float factor, float *out,
                   const unsigned vectors)
{
    vec all[VECTORS], part[VECTORS];
    const bool whole = left >= VEC_LANES; /* of the last vector */
#define LOAD(p, v) \
    ((v) + 1 < vectors || whole ? vec_load((p) + (v) * VEC_LANES) \
                                : vec_load_part((p) + (v) * VEC_LANES, left))
    VEC_UNROLL
    for (unsigned v = 0; v < vectors; v++)
        all[v] = kind == KERNELS_POOL_MAX ? LOAD(in, v) : vec_zero();
    for (size_t y = 0; y < ny; y++) {
        const float *p = in + y * row_stride;
        for (size_t x = 0; x < nx;) {
            size_t end = nx - x < RUN ? nx : x + RUN;
            VEC_UNROLL
            for (unsigned v = 0; v < vectors; v++)
                part[v] = kind == KERNELS_POOL_MAX ? all[v] : vec_zero();
            for (; x < end; x++, p += pixel_stride)
                VEC_UNROLL
                for (unsigned v = 0; v < vectors; v++)
                    part[v] = kind == KERNELS_POOL_MAX ? vec_max(LOAD(p, v), part[v])
                                                       : vec_add(part[v], LOAD(p, v));
            VEC_UNROLL
            for (unsigned v = 0; v < vectors; v++)
                all[v] = kind == KERNELS_POOL_MAX ? part[v] : vec_add(all[v], part[v]);
        }
    }
#undef LOAD
    VEC_UNROLL
    for (unsigned v = 0; v < vectors; v++) {
        vec y = kind == KERNELS_POOL_MAX ? all[v] : vec_mul(all[v], vec_set1(factor));
        vec_store_upto(out + v * VEC_LANES, y, v + 1 < vectors ? VEC_LANES : left);
    }
}

INLINE void channels(const kernels_pool_kind kind, const float *in, size_t row_stride,
                     size_t pixel_stride, size_t ny, size_t nx, size_t c, float factor, float *out)
{
    size_t i = 0;
    for (; i + VECTORS * VEC_LANES <= c; i += VECTORS * VEC_LANES)
        window(kind, in + i, row_stride, pixel_stride, ny, nx, VEC_LANES, factor, out + i, VECTORS);
    for (; i < c; i += VEC_LANES)
        window(kind, in + i, row_stride, pixel_stride, ny, nx, c - i, factor, out + i, 1);
}

static void pool(kernels_pool_kind kind, const float *in, size_t row_stride, size_t pixel_stride,
                 size_t ny, size_t nx, size_t c, float factor, float *out)
{
    if (kind == KERNELS_POOL_MAX)
        channels(KERNELS_POOL_MAX, in, row_stride, pixel_stride, ny, nx, c, factor, out);
    else
        channels(KERNELS_POOL_MEAN, in, row_stride, pixel_stride, ny, nx, c, factor, out);
}

void VEC_GLOBAL(init_pool)(kernels_table *k)
{
    k->pool = pool;
}
