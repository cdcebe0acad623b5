/* vec_winograd.c - the transforms of Winograd's F(4x4, 3x3) (see winograd.c) in vectors of channels;
 * compiled once for each instruction set. No state; any thread. */
#include "kernels/vec.h"

#define INLINE static inline __attribute__((always_inline))

/* B' d: six inputs of a line. */
INLINE void input_line(const vec d[6], vec t[6])
{
    const vec two = vec_set1(2.0f), four = vec_set1(4.0f), five = vec_set1(5.0f);
    vec a = vec_fnma(four, d[2], d[4]), b = vec_fnma(four, d[1], d[3]);
    vec c = vec_sub(d[4], d[2]), e = vec_sub(d[3], d[1]);
    t[0] = vec_fnma(five, d[2], vec_fma(four, d[0], d[4]));
    t[1] = vec_add(a, b);
    t[2] = vec_sub(a, b);
    t[3] = vec_fma(two, e, c);
    t[4] = vec_fnma(two, e, c);
    t[5] = vec_fnma(five, d[3], vec_fma(four, d[1], d[5]));
}

/* G g: three weights of a line. */
INLINE void weight_line(const vec g[3], vec u[6])
{
    const vec sixth = vec_set1(1.0f / 6.0f), twelfth = vec_set1(1.0f / 12.0f);
    vec a = vec_mul(vec_add(g[0], g[2]), sixth), b = vec_mul(g[1], sixth);
    vec p = vec_fma(g[0], vec_set1(1.0f / 24.0f), vec_mul(g[2], sixth));
    u[0] = vec_mul(g[0], vec_set1(0.25f));
    u[1] = vec_sub(vec_zero(), vec_add(a, b));
    u[2] = vec_sub(b, a);
    u[3] = vec_fma(g[1], twelfth, p);
    u[4] = vec_fnma(g[1], twelfth, p);
    u[5] = g[2];
}

/* A' m: six products of a line. */
INLINE void output_line(const vec m[6], vec y[4])
{
    vec p = vec_add(m[1], m[2]), q = vec_sub(m[1], m[2]);
    vec r = vec_add(m[3], m[4]), s = vec_sub(m[3], m[4]);
    y[0] = vec_add(vec_add(m[0], p), r);
    y[1] = vec_fma(vec_set1(2.0f), s, q);
    y[2] = vec_fma(vec_set1(4.0f), r, p);
    y[3] = vec_add(vec_fma(vec_set1(8.0f), s, q), m[5]);
}

INLINE void weights(const void *block, size_t channels, float *u, const kernels_type type)
{
    for (size_t i = 0; i < channels; i++) {
        for (size_t lane = 0; lane < KERNELS_BLOCK; lane += VEC_LANES) {
            vec half[3][6]; /* [column of the kernel][transformed row] */
            for (size_t x = 0; x < 3; x++) {
                vec g[3];
                for (size_t y = 0; y < 3; y++)
                    g[y] = vec_load_weight(block, ((y * 3 + x) * channels + i) * KERNELS_BLOCK + lane,
                                           type);
                weight_line(g, half[x]);
            }
            for (size_t y = 0; y < 6; y++) {
                vec line[3] = {half[0][y], half[1][y], half[2][y]}, out[6];
                weight_line(line, out);
                for (size_t x = 0; x < 6; x++)
                    vec_store(u + ((y * 6 + x) * channels + i) * KERNELS_BLOCK + lane, out[x]);
            }
        }
    }
}

static void weights_f32(const void *block, size_t channels, float *u)
{
    weights(block, channels, u, KERNELS_F32);
}

static void weights_f16(const void *block, size_t channels, float *u)
{
    weights(block, channels, u, KERNELS_F16);
}

/* One vector of channels, `left` of them where `part`. */
INLINE void input_vector(const float *const pixel[36], size_t c, float *v, size_t stride,
                         const bool part, size_t left)
{
    vec half[6][6]; /* [column][transformed row] */
    VEC_UNROLL
    for (size_t x = 0; x < 6; x++) {
        vec d[6];
        VEC_UNROLL
        for (size_t y = 0; y < 6; y++)
            d[y] = part ? vec_load_part(pixel[y * 6 + x] + c, left) : vec_load(pixel[y * 6 + x] + c);
        input_line(d, half[x]);
    }
    VEC_UNROLL
    for (size_t y = 0; y < 6; y++) {
        vec line[6], t[6];
        VEC_UNROLL
        for (size_t x = 0; x < 6; x++)
            line[x] = half[x][y];
        input_line(line, t);
        VEC_UNROLL
        for (size_t x = 0; x < 6; x++) {
            float *at = v + (y * 6 + x) * stride + c;
            if (part)
                vec_store_part(at, t[x], left);
            else
                vec_store(at, t[x]);
        }
    }
}

static void input(const float *const pixel[36], size_t channels, float *v, size_t stride)
{
    size_t c = 0;
    for (; c + VEC_LANES <= channels; c += VEC_LANES)
        input_vector(pixel, c, v, stride, false, VEC_LANES);
    if (c < channels)
        input_vector(pixel, c, v, stride, true, channels - c);
}

static void output(const kernels_winograd_tile *t)
{
    const vec lo = vec_set1(t->lo), hi = vec_set1(t->hi);
    for (size_t c = 0; c < t->channels; c += VEC_LANES) {
        size_t left = t->channels - c;
        vec bias = t->bias ? vec_load(t->bias + c) : vec_zero();
        vec half[6][4]; /* [column][output row] */
        VEC_UNROLL
        for (size_t x = 0; x < 6; x++) {
            vec m[6];
            VEC_UNROLL
            for (size_t y = 0; y < 6; y++)
                m[y] = vec_load(t->m + (y * 6 + x) * t->m_stride + c);
            output_line(m, half[x]);
        }
        VEC_UNROLL
        for (size_t y = 0; y < 4; y++) {
            vec line[6], out[4];
            VEC_UNROLL
            for (size_t x = 0; x < 6; x++)
                line[x] = half[x][y];
            output_line(line, out);
            if (y >= t->rows)
                continue;
            VEC_UNROLL
            for (size_t x = 0; x < 4; x++) {
                if (x >= t->columns)
                    continue;
                size_t at = y * t->row_stride + x * t->pixel_stride + c;
                vec sum = vec_add(out[x], bias);
                if (t->residual)
                    sum = vec_add(sum, vec_load_upto(t->residual + at, left));
                /* in this order NaN stays */
                vec_store_upto(t->out + at, vec_min(hi, vec_max(lo, sum)), left);
            }
        }
    }
}

void VEC_GLOBAL(init_winograd)(kernels_table *k)
{
    k->winograd_weights[KERNELS_F32] = weights_f32;
    k->winograd_weights[KERNELS_F16] = weights_f16;
    k->winograd_input = input;
    k->winograd_output = output;
}
