/* vec.h - one vocabulary of float vectors for the vec_*.c files, each of which is compiled once for
 * every instruction set (see meson.build) and defines its functions under that set's name. Private
 * to this folder; header of inlines only. */
#ifndef KERNELS_VEC_H
#define KERNELS_VEC_H

#include <immintrin.h>

#include "kernels/table.h"

#if defined(__AVX512F__)

#define VEC_GLOBAL(name) kernels_##name##_avx512
#define VEC_LANES 16

typedef __m512 vec;
typedef __mmask16 vec_mask;  /* a bit a lane */
typedef __m512i vec_int;

static inline vec vec_zero(void) { return _mm512_setzero_ps(); }
static inline vec vec_set1(float x) { return _mm512_set1_ps(x); }
static inline vec vec_load(const float *p) { return _mm512_loadu_ps(p); }
static inline void vec_store(float *p, vec v) { _mm512_storeu_ps(p, v); }
static inline vec vec_add(vec a, vec b) { return _mm512_add_ps(a, b); }
static inline vec vec_sub(vec a, vec b) { return _mm512_sub_ps(a, b); }
static inline vec vec_mul(vec a, vec b) { return _mm512_mul_ps(a, b); }
static inline vec vec_div(vec a, vec b) { return _mm512_div_ps(a, b); }
static inline vec vec_sqrt(vec a) { return _mm512_sqrt_ps(a); }
/* As the instructions: b where either is NaN. */
static inline vec vec_max(vec a, vec b) { return _mm512_max_ps(a, b); }
static inline vec vec_min(vec a, vec b) { return _mm512_min_ps(a, b); }
static inline vec vec_fma(vec a, vec b, vec c) { return _mm512_fmadd_ps(a, b, c); }   /* a b + c */
static inline vec vec_fnma(vec a, vec b, vec c) { return _mm512_fnmadd_ps(a, b, c); } /* c - a b */
static inline vec vec_round(vec a)
{
    return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
static inline vec vec_abs(vec a) { return _mm512_abs_ps(a); }
/* The sign bit of `s` set on top of a, which is not negative. */
static inline vec vec_or_sign(vec a, vec s)
{
    const vec sign = _mm512_castsi512_ps(_mm512_set1_epi32((int)0x80000000u));
    return _mm512_or_ps(a, _mm512_and_ps(s, sign));
}
/* a * 2^n; n whole, -126..127. */
static inline vec vec_scale2(vec a, vec n)
{
    vec_int e = _mm512_slli_epi32(_mm512_add_epi32(_mm512_cvtps_epi32(n), _mm512_set1_epi32(127)), 23);
    return _mm512_mul_ps(a, _mm512_castsi512_ps(e));
}
/* Ordered comparisons: false where a lane is NaN; vec_is_nan: true there. */
static inline vec_mask vec_gt(vec a, vec b) { return _mm512_cmp_ps_mask(a, b, _CMP_GT_OQ); }
static inline vec_mask vec_ge(vec a, vec b) { return _mm512_cmp_ps_mask(a, b, _CMP_GE_OQ); }
static inline vec_mask vec_is_nan(vec a) { return _mm512_cmp_ps_mask(a, a, _CMP_UNORD_Q); }
/* yes where the mask is set, else no. */
static inline vec vec_select(vec_mask m, vec yes, vec no) { return _mm512_mask_blend_ps(m, no, yes); }
/* The first n lanes, n < VEC_LANES: memory past them is not touched; the others load as zero. */
static inline vec_mask vec_first(size_t n) { return (vec_mask)((1u << n) - 1); }
static inline vec vec_load_part(const float *p, size_t n)
{
    return _mm512_maskz_loadu_ps(vec_first(n), p);
}
static inline void vec_store_part(float *p, vec v, size_t n)
{
    _mm512_mask_storeu_ps(p, vec_first(n), v);
}
static inline vec vec_load_half(const uint16_t *p)
{
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p));
}
static inline float vec_sum(vec a) { return _mm512_reduce_add_ps(a); }
static inline float vec_largest(vec a) { return _mm512_reduce_max_ps(a); }

#elif defined(__AVX2__)

#define VEC_GLOBAL(name) kernels_##name##_avx2
#define VEC_LANES 8

typedef __m256 vec;
typedef __m256 vec_mask; /* all bits of a lane */
typedef __m256i vec_int;

static inline vec vec_zero(void) { return _mm256_setzero_ps(); }
static inline vec vec_set1(float x) { return _mm256_set1_ps(x); }
static inline vec vec_load(const float *p) { return _mm256_loadu_ps(p); }
static inline void vec_store(float *p, vec v) { _mm256_storeu_ps(p, v); }
static inline vec vec_add(vec a, vec b) { return _mm256_add_ps(a, b); }
static inline vec vec_sub(vec a, vec b) { return _mm256_sub_ps(a, b); }
static inline vec vec_mul(vec a, vec b) { return _mm256_mul_ps(a, b); }
static inline vec vec_div(vec a, vec b) { return _mm256_div_ps(a, b); }
static inline vec vec_sqrt(vec a) { return _mm256_sqrt_ps(a); }
static inline vec vec_max(vec a, vec b) { return _mm256_max_ps(a, b); }
static inline vec vec_min(vec a, vec b) { return _mm256_min_ps(a, b); }
static inline vec vec_fma(vec a, vec b, vec c) { return _mm256_fmadd_ps(a, b, c); }
static inline vec vec_fnma(vec a, vec b, vec c) { return _mm256_fnmadd_ps(a, b, c); }
static inline vec vec_round(vec a)
{
    return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
static inline vec vec_sign_bit(void) { return _mm256_castsi256_ps(_mm256_set1_epi32((int)0x80000000u)); }
static inline vec vec_abs(vec a) { return _mm256_andnot_ps(vec_sign_bit(), a); }
static inline vec vec_or_sign(vec a, vec s)
{
    return _mm256_or_ps(a, _mm256_and_ps(s, vec_sign_bit()));
}
static inline vec vec_scale2(vec a, vec n)
{
    vec_int e = _mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23);
    return _mm256_mul_ps(a, _mm256_castsi256_ps(e));
}
static inline vec_mask vec_gt(vec a, vec b) { return _mm256_cmp_ps(a, b, _CMP_GT_OQ); }
static inline vec_mask vec_ge(vec a, vec b) { return _mm256_cmp_ps(a, b, _CMP_GE_OQ); }
static inline vec_mask vec_is_nan(vec a) { return _mm256_cmp_ps(a, a, _CMP_UNORD_Q); }
static inline vec vec_select(vec_mask m, vec yes, vec no) { return _mm256_blendv_ps(no, yes, m); }
static inline vec_int vec_first(size_t n)
{
    return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
static inline vec vec_load_part(const float *p, size_t n)
{
    return _mm256_maskload_ps(p, vec_first(n));
}
static inline void vec_store_part(float *p, vec v, size_t n)
{
    _mm256_maskstore_ps(p, vec_first(n), v);
}
static inline vec vec_load_half(const uint16_t *p)
{
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p));
}
static inline float vec_sum(vec a)
{
    __m128 v = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    v = _mm_add_ps(v, _mm_movehl_ps(v, v));
    return _mm_cvtss_f32(_mm_add_ss(v, _mm_movehdup_ps(v)));
}
static inline float vec_largest(vec a)
{
    __m128 v = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    v = _mm_max_ps(v, _mm_movehl_ps(v, v));
    return _mm_cvtss_f32(_mm_max_ss(v, _mm_movehdup_ps(v)));
}

#else
#error "vec_*.c files are compiled with an instruction set's flags"
#endif

/* Before a loop of constant length: written out, so that arrays of vectors are registers. */
#if defined(__clang__)
#if __has_feature(address_sanitizer) /* written out with its checks a tile compiles for minutes */
#define VEC_UNROLL
#else
#define VEC_UNROLL _Pragma("clang loop unroll(full)")
#endif
#else
#define VEC_UNROLL _Pragma("GCC unroll 36")
#endif

#define VEC_BLOCK (KERNELS_BLOCK / VEC_LANES) /* vectors in a block of 16 channels */

/* What of n floats is left at i for one vector: whole ones, then a part. */
static inline vec vec_load_upto(const float *p, size_t left)
{
    return left >= VEC_LANES ? vec_load(p) : vec_load_part(p, left);
}
static inline void vec_store_upto(float *p, vec v, size_t left)
{
    if (left >= VEC_LANES)
        vec_store(p, v);
    else
        vec_store_part(p, v, left);
}
/* VEC_LANES weights at p[at], widened to float. */
static inline vec vec_load_weight(const void *p, size_t at, kernels_type type)
{
    return type == KERNELS_F32 ? vec_load((const float *)p + at)
                               : vec_load_half((const uint16_t *)p + at);
}

#endif
