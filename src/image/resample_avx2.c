/* resample_avx2.c - the passes of resample.c with AVX2; same bytes. Built with -mavx2, called only
 * through the table after the CPU was asked. A coefficient does not fit 16 bits, so each product is
 * taken twice, with its low 15 bits and with the rest: two VPMADDWD beat two VPMULLD. Sums wrap
 * modulo 2^32, the whole sum fits. */
#include "image/image_private.h"

#include <immintrin.h>
#include <string.h>

/* The eight partial sums of one output, low and high part together. */
static inline __m256i sums(const image_axis *axis, uint32_t output, const uint8_t *in)
{
    const uint8_t *p = in + axis->first[output];
    const int16_t *low = axis->low + (size_t)output * axis->stride;
    const int16_t *high = axis->high + (size_t)output * axis->stride;
    __m256i sum_low = _mm256_setzero_si256(), sum_high = sum_low;
    for (uint32_t j = 0, n = axis->count[output]; j < n; j += 16) {
        __m256i px = _mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *)(p + j)));
        __m256i a = _mm256_loadu_si256((const __m256i *)(low + j));
        __m256i b = _mm256_loadu_si256((const __m256i *)(high + j));
        sum_low = _mm256_add_epi32(sum_low, _mm256_madd_epi16(px, a));
        sum_high = _mm256_add_epi32(sum_high, _mm256_madd_epi16(px, b));
    }
    return _mm256_add_epi32(sum_low, _mm256_slli_epi32(sum_high, 15));
}

/* Four outputs a time (the axis's last one again where there are fewer), so that adding up across lanes and
 * rounding is done once for four. */
static inline uint32_t four(const image_axis *axis, uint32_t i, const uint8_t *in)
{
    const uint32_t last = axis->out - 1;
    __m256i a = sums(axis, i, in), b = sums(axis, i + 1 < last ? i + 1 : last, in);
    __m256i c = sums(axis, i + 2 < last ? i + 2 : last, in), d = sums(axis, i + 3 < last ? i + 3 : last, in);
    __m256i all = _mm256_hadd_epi32(_mm256_hadd_epi32(a, b), _mm256_hadd_epi32(c, d));
    __m128i v = _mm_add_epi32(_mm256_castsi256_si128(all), _mm256_extracti128_si256(all, 1));
    v = _mm_srai_epi32(_mm_add_epi32(v, _mm_set1_epi32(1 << (IMAGE_PRECISION_BITS - 1))), IMAGE_PRECISION_BITS);
    v = _mm_packus_epi16(_mm_packs_epi32(v, v), v); /* saturates at 0 and 255 */
    return (uint32_t)_mm_cvtsi128_si32(v);
}

static void along_avx2(const image_axis *axis, const uint8_t *in, uint8_t *out)
{
    uint32_t i = 0, bytes;
    for (; i + 4 <= axis->out; i += 4) {
        bytes = four(axis, i, in);
        memcpy(out + i, &bytes, 4);
    }
    if (i < axis->out) {
        bytes = four(axis, i, in);
        for (; i < axis->out; i++, bytes >>= 8)
            out[i] = (uint8_t)bytes;
    }
}

static void across_avx2(const image_axis *axis, uint32_t output, const uint8_t *const *rows,
                        size_t width, uint8_t *out)
{
    const int16_t *low = axis->low + (size_t)output * axis->stride;
    const int16_t *high = axis->high + (size_t)output * axis->stride;
    uint32_t count = axis->count[output];
    for (size_t x = 0; x < width; x += 16) {
        __m256i low_a = _mm256_setzero_si256(), low_b = low_a, high_a = low_a, high_b = low_a;
        for (uint32_t j = 0; j < count; j += 2) {
            /* an odd last row is paired with itself; its second coefficient is 0 (stride is even)
             */
            const uint8_t *second = rows[j + 1 < count ? j + 1 : j];
            int32_t pair_low, pair_high;
            memcpy(&pair_low, low + j, 4);
            memcpy(&pair_high, high + j, 4);
            __m256i k = _mm256_set1_epi32(pair_low), l = _mm256_set1_epi32(pair_high);
            __m256i p = _mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *)(rows[j] + x)));
            __m256i q = _mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *)(second + x)));
            __m256i a = _mm256_unpacklo_epi16(p, q), b = _mm256_unpackhi_epi16(p, q);
            low_a = _mm256_add_epi32(low_a, _mm256_madd_epi16(a, k));
            low_b = _mm256_add_epi32(low_b, _mm256_madd_epi16(b, k));
            high_a = _mm256_add_epi32(high_a, _mm256_madd_epi16(a, l));
            high_b = _mm256_add_epi32(high_b, _mm256_madd_epi16(b, l));
        }
        __m256i half = _mm256_set1_epi32(1 << (IMAGE_PRECISION_BITS - 1));
        __m256i a = _mm256_add_epi32(_mm256_add_epi32(low_a, half), _mm256_slli_epi32(high_a, 15));
        __m256i b = _mm256_add_epi32(_mm256_add_epi32(low_b, half), _mm256_slli_epi32(high_b, 15));
        a = _mm256_srai_epi32(a, IMAGE_PRECISION_BITS);
        b = _mm256_srai_epi32(b, IMAGE_PRECISION_BITS);
        __m256i words =
            _mm256_packs_epi32(a, b); /* undoes the interleaving of unpacklo, unpackhi */
        __m128i bytes =
            _mm_packus_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
        _mm_storeu_si128((__m128i *)(out + x), bytes);
    }
}

/* 16 pixels a step: in each of three 16-byte loads, pick the bytes of one channel and merge. */
static void split_avx2(const uint8_t *rgb, size_t pixels, uint8_t *planes, size_t stride)
{
    int8_t pick[3][3][16];
    memset(pick, -1, sizeof pick);
    for (int channel = 0; channel < 3; channel++)
        for (int i = 0; i < 16; i++) {
            int at = 3 * i + channel;
            pick[channel][at / 16][i] = (int8_t)(at % 16);
        }
    __m128i m[3][3];
    for (int channel = 0; channel < 3; channel++)
        for (int part = 0; part < 3; part++)
            m[channel][part] = _mm_loadu_si128((const __m128i *)pick[channel][part]);
    size_t i = 0;
    for (; i + 16 <= pixels; i += 16) {
        const __m128i *p = (const __m128i *)(rgb + 3 * i);
        __m128i a = _mm_loadu_si128(p), b = _mm_loadu_si128(p + 1), c = _mm_loadu_si128(p + 2);
        for (int channel = 0; channel < 3; channel++) {
            __m128i v = _mm_or_si128(_mm_or_si128(_mm_shuffle_epi8(a, m[channel][0]),
                                                  _mm_shuffle_epi8(b, m[channel][1])),
                                     _mm_shuffle_epi8(c, m[channel][2]));
            _mm_storeu_si128((__m128i *)(planes + (size_t)channel * stride + i), v);
        }
    }
    for (; i < pixels; i++)
        for (int channel = 0; channel < 3; channel++)
            planes[(size_t)channel * stride + i] = rgb[3 * i + (size_t)channel];
}

const image_resampler *image_resampler_avx2(void)
{
    static const image_resampler avx2 = {along_avx2, across_avx2, split_avx2, "avx2"};
    return __builtin_cpu_supports("avx2") ? &avx2 : NULL;
}
