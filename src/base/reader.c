/* reader.c - the only way in which bytes from outside become numbers, and half precision. */
#include "base/base.h"

#include <string.h>

void base_reader_init(base_reader *r, const void *data, size_t size)
{
    *r = (base_reader){.data = data, .size = size};
}

const void *base_read_bytes(base_reader *r, size_t n)
{
    if (r->failed || n > r->size - r->at) {
        r->failed = true;
        return NULL;
    }
    const void *p = r->data + r->at;
    r->at += n;
    return p;
}

static uint64_t little_endian(base_reader *r, size_t n)
{
    const uint8_t *p = base_read_bytes(r, n);
    uint64_t v = 0;
    if (p)
        for (size_t i = 0; i < n; i++)
            v |= (uint64_t)p[i] << (8 * i);
    return v;
}

uint8_t base_read_u8(base_reader *r)
{
    return (uint8_t)little_endian(r, 1);
}

uint16_t base_read_u16(base_reader *r)
{
    return (uint16_t)little_endian(r, 2);
}

uint32_t base_read_u32(base_reader *r)
{
    return (uint32_t)little_endian(r, 4);
}

uint64_t base_read_u64(base_reader *r)
{
    return little_endian(r, 8);
}

float base_read_f32(base_reader *r)
{
    uint32_t bits = base_read_u32(r);
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

double base_read_f64(base_reader *r)
{
    uint64_t bits = base_read_u64(r);
    double f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

float base_f16_to_f32(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, exponent = (h >> 10) & 31, mantissa = h & 1023;
    uint32_t bits;
    if (exponent == 31) {
        bits = sign | 0x7f800000 | mantissa << 13;
    } else if (exponent > 0) {
        bits = sign | (exponent + 112) << 23 | mantissa << 13;
    } else if (mantissa == 0) {
        bits = sign;
    } else { /* subnormal: normalise */
        int shift = __builtin_clz(mantissa) - 21;
        bits = sign | (uint32_t)(113 - shift) << 23 | ((mantissa << shift) & 1023) << 13;
    }
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

uint16_t base_f32_to_f16(float f)
{
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    uint16_t sign = (uint16_t)(bits >> 16 & 0x8000);
    bits &= 0x7fffffff;
    if (bits > 0x7f800000) /* NaN stays NaN */
        return (uint16_t)(sign | 0x7e00);
    if (bits >= 0x477ff000) /* rounds to 65536 or more: infinity */
        return (uint16_t)(sign | 0x7c00);
    if (bits < 0x33000001) /* at most half of the smallest subnormal: zero (ties to even) */
        return sign;
    uint32_t exponent = bits >> 23, mantissa = (bits & 0x7fffff) | 0x800000;
    uint32_t shift = exponent >= 113 ? 13 : 126 - exponent;
    uint32_t half = mantissa >> shift, rest = mantissa & ((1u << shift) - 1), tie = 1u << (shift - 1);
    if (rest > tie || (rest == tie && (half & 1)))
        half++;
    /* `half` holds the hidden bit for normal numbers: a carry runs into the exponent as it should */
    return (uint16_t)(sign | (exponent >= 113 ? half + ((exponent - 113) << 10) : half));
}
