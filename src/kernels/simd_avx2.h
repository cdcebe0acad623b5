/* simd_avx2.h - vectors of 8 floats for the *_template.h files; private to this folder. Names as in
 * simd_avx512.h. */
#ifndef KERNELS_SIMD_AVX2_H
#define KERNELS_SIMD_AVX2_H

#include <immintrin.h>

#define V_LANES 8
#define V_NAME(x) x##_avx2

typedef __m256 v_f;
typedef __m256i v_i;
typedef __m256 v_mask;
typedef __m256i v_part;

#define v_load(p)          _mm256_loadu_ps(p)
#define v_store(p, v)      _mm256_storeu_ps(p, v)
#define v_load_f16(p)      _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(p)))
#define v_set(x)           _mm256_set1_ps(x)
#define v_zero()           _mm256_setzero_ps()
#define v_add(a, b)        _mm256_add_ps(a, b)
#define v_sub(a, b)        _mm256_sub_ps(a, b)
#define v_mul(a, b)        _mm256_mul_ps(a, b)
#define v_div(a, b)        _mm256_div_ps(a, b)
#define v_fma(a, b, c)     _mm256_fmadd_ps(a, b, c)
#define v_fnma(a, b, c)    _mm256_fnmadd_ps(a, b, c)
#define v_max(a, b)        _mm256_max_ps(a, b)
#define v_min(a, b)        _mm256_min_ps(a, b)
#define v_abs(a)           _mm256_andnot_ps(v_set(-0.0f), a)
#define v_sign(a)          _mm256_and_ps(v_set(-0.0f), a)
#define v_or(a, b)         _mm256_or_ps(a, b)
#define v_round(a)         _mm256_round_ps(a, 8)
#define v_gt(a, b)         _mm256_cmp_ps(a, b, _CMP_GT_OQ)
#define v_ge(a, b)         _mm256_cmp_ps(a, b, _CMP_GE_OQ)
#define v_select(m, a, b)  _mm256_blendv_ps(b, a, m)

/* a * 2^n in two steps, so that results down to the denormals and overflow come out right. */
static inline v_f v_scale2(v_f a, v_f n)
{
    __m256i whole = _mm256_cvtps_epi32(n), half = _mm256_srai_epi32(whole, 1);
    __m256i rest = _mm256_sub_epi32(whole, half), bias = _mm256_set1_epi32(127);
    a = v_mul(a, _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(half, bias), 23)));
    return v_mul(a, _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(rest, bias), 23)));
}

static inline float v_sum(v_f a)
{
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_shuffle_ps(s, s, 1)));
}

static inline float v_hmax(v_f a)
{
    __m128 s = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    s = _mm_max_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_max_ss(s, _mm_shuffle_ps(s, s, 1)));
}

static inline v_part v_first(size_t n)
{
    __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(n > 8 ? 8 : (int)n), lane);
}
#define v_load_part(p, m)     _mm256_maskload_ps(p, m)
#define v_store_part(p, m, v) _mm256_maskstore_ps(p, m, v)

#endif
