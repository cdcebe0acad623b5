/* simd_avx512.h - vectors of 16 floats for the *_template.h files; private to this folder.
 * Reads and writes of the last, partial vector go through masks, so nothing past an array's end is
 * touched. */
#ifndef KERNELS_SIMD_AVX512_H
#define KERNELS_SIMD_AVX512_H

#include <immintrin.h>

#define V_LANES 16
#define V_NAME(x) x##_avx512

typedef __m512 v_f;
typedef __m512i v_i;
typedef __mmask16 v_mask; /* result of a comparison */
typedef __mmask16 v_part; /* the first n lanes */

#define v_load(p)          _mm512_loadu_ps(p)
#define v_store(p, v)      _mm512_storeu_ps(p, v)
#define v_load_f16(p)      _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(p)))
#define v_set(x)           _mm512_set1_ps(x)
#define v_zero()           _mm512_setzero_ps()
#define v_add(a, b)        _mm512_add_ps(a, b)
#define v_sub(a, b)        _mm512_sub_ps(a, b)
#define v_mul(a, b)        _mm512_mul_ps(a, b)
#define v_div(a, b)        _mm512_div_ps(a, b)
#define v_fma(a, b, c)     _mm512_fmadd_ps(a, b, c)  /* a * b + c */
#define v_fnma(a, b, c)    _mm512_fnmadd_ps(a, b, c) /* c - a * b */
#define v_max(a, b)        _mm512_max_ps(a, b) /* b where either is NaN */
#define v_min(a, b)        _mm512_min_ps(a, b)
#define v_abs(a)           _mm512_andnot_ps(v_set(-0.0f), a)
#define v_sign(a)          _mm512_and_ps(v_set(-0.0f), a)
#define v_or(a, b)         _mm512_or_ps(a, b)
#define v_round(a)         _mm512_roundscale_ps(a, 8) /* to nearest, no exceptions */
#define v_gt(a, b)         _mm512_cmp_ps_mask(a, b, _CMP_GT_OQ)
#define v_ge(a, b)         _mm512_cmp_ps_mask(a, b, _CMP_GE_OQ)
#define v_select(m, a, b)  _mm512_mask_blend_ps(m, b, a) /* m ? a : b */
#define v_scale2(a, n)     _mm512_scalef_ps(a, n) /* a * 2^n, n whole */
#define v_sum(a)           _mm512_reduce_add_ps(a)
#define v_hmax(a)          _mm512_reduce_max_ps(a)

static inline v_part v_first(size_t n)
{
    return (v_part)(n >= 16 ? 0xffff : (1u << n) - 1);
}
#define v_load_part(p, m)     _mm512_maskz_loadu_ps(m, p)
#define v_store_part(p, m, v) _mm512_mask_storeu_ps(p, m, v)

#endif
