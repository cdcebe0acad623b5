/* kernels_harness.h - what test_kernels.c and bench_kernels.c share: a seeded generator, arrays with
 * guard bytes on both sides, and the levels of this machine. Header of inlines only. */
#ifndef TESTS_KERNELS_HARNESS_H
#define TESTS_KERNELS_HARNESS_H

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/kernels.h"

/* ---- random numbers: xorshift, so that a printed seed repeats a run anywhere ---- */

static uint64_t harness_state = 1;

static inline uint32_t draw_bits(void)
{
    harness_state ^= harness_state << 13;
    harness_state ^= harness_state >> 7;
    harness_state ^= harness_state << 17;
    return (uint32_t)(harness_state >> 32);
}

static inline uint32_t draw_upto(uint32_t n) /* 0..n */
{
    return draw_bits() % (n + 1);
}

static inline float draw_float(void) /* -1..1 */
{
    return (float)(int32_t)draw_bits() / 2147483648.0f;
}

#define DRAW_FROM(list) ((list)[draw_bits() % (sizeof(list) / sizeof *(list))])

/* ---- arrays ---- */

#define GUARD_BYTES 256 /* before and behind; more than any vector */
#define GUARD_BYTE  0xff /* as floats: NaN, so that what is read past the end is seen in the result */

typedef struct array {
    void *data; /* 64-byte aligned */
    size_t count, bytes;
} array;

static inline array array_bytes(size_t bytes)
{
    char *at = NULL;
    if (posix_memalign((void **)&at, 64, bytes + 2 * (size_t)GUARD_BYTES))
        abort();
    memset(at, GUARD_BYTE, bytes + 2 * (size_t)GUARD_BYTES);
    return (array){at + GUARD_BYTES, bytes, bytes};
}

static inline array array_new(size_t floats) /* of NaN */
{
    array a = array_bytes(floats * sizeof(float));
    a.count = floats;
    return a;
}

static inline float *f32(array a)
{
    return a.data;
}

static inline array array_random(size_t floats, float scale)
{
    array a = array_new(floats);
    for (size_t i = 0; i < floats; i++)
        f32(a)[i] = draw_upto(15) ? draw_float() * scale : 0.0f;
    return a;
}

/* Whether nothing wrote outside the array. */
static inline bool array_intact(array a)
{
    const uint8_t *at = (const uint8_t *)a.data - GUARD_BYTES;
    for (size_t i = 0; i < GUARD_BYTES; i++)
        if (at[i] != GUARD_BYTE || at[GUARD_BYTES + a.bytes + i] != GUARD_BYTE)
            return false;
    return true;
}

static inline void array_free(array a)
{
    if (a.data)
        free((char *)a.data - GUARD_BYTES);
}

/* ---- convolutions with arrays of their own ---- */

typedef struct conv_case {
    kernels_conv c; /* pointers but `out` set */
    array in, weight, bias, in_scale, residual;
    bool depthwise;
} conv_case;

static inline size_t conv_blocks_of(uint32_t channels)
{
    return (channels + KERNELS_BLOCK - 1) / KERNELS_BLOCK;
}

static inline size_t conv_weight_at(const conv_case *t, uint32_t group, uint32_t o, size_t k)
{
    const kernels_conv *c = &t->c;
    size_t taps = (size_t)c->kernel_h * c->kernel_w;
    if (t->depthwise)
        return (o / KERNELS_BLOCK * taps + k) * KERNELS_BLOCK + o % KERNELS_BLOCK;
    size_t depth = taps * (c->in_c / c->groups), blocks = conv_blocks_of(c->out_c / c->groups);
    return ((group * blocks + o / KERNELS_BLOCK) * depth + k) * KERNELS_BLOCK + o % KERNELS_BLOCK;
}

static inline float conv_weight(const conv_case *t, size_t at)
{
    return t->c.weight_type == KERNELS_F32 ? f32(t->weight)[at]
                                           : base_f16_to_f32(((uint16_t *)t->weight.data)[at]);
}

/* Draws weights (zeros past the last channel), bias and input for the geometry of t->c. */
static inline void conv_fill(conv_case *t, bool bias, bool scale)
{
    kernels_conv *c = &t->c;
    uint32_t groups = t->depthwise ? 1 : c->groups, per_group = c->out_c / groups;
    size_t depth = (size_t)c->kernel_h * c->kernel_w * (t->depthwise ? 1 : c->in_c / groups);
    size_t padded = groups * conv_blocks_of(per_group) * KERNELS_BLOCK;
    t->in = array_random((size_t)c->in_h * c->in_w * c->in_c, 1.0f);
    t->weight = array_bytes(padded * depth * (c->weight_type == KERNELS_F16 ? 2 : 4));
    memset(t->weight.data, 0, t->weight.bytes);
    float size = 1.0f / sqrtf((float)depth);
    for (uint32_t g = 0; g < groups; g++)
        for (uint32_t o = 0; o < per_group; o++)
            for (size_t k = 0; k < depth; k++) {
                size_t at = conv_weight_at(t, g, o, k);
                float w = draw_float() * size;
                if (c->weight_type == KERNELS_F16)
                    ((uint16_t *)t->weight.data)[at] = base_f32_to_f16(w);
                else
                    f32(t->weight)[at] = w;
            }
    if (bias) {
        t->bias = array_new(padded);
        for (size_t i = 0; i < padded; i++)
            f32(t->bias)[i] = i % (padded / groups) < per_group ? draw_float() * 0.2f : 0.0f;
        c->bias = t->bias.data;
    }
    if (scale) {
        t->in_scale = array_random(c->in_c, 1.0f);
        c->in_scale = t->in_scale.data;
    }
    if (c->residual_mode != KERNELS_RESIDUAL_NONE) {
        t->residual = array_random((size_t)c->out_h * c->out_w * c->out_c, 0.5f);
        c->residual = t->residual.data;
    }
    c->in = t->in.data;
    c->weight = t->weight.data;
}

static inline void conv_free(conv_case *t)
{
    array_free(t->in);
    array_free(t->weight);
    array_free(t->bias);
    array_free(t->in_scale);
    array_free(t->residual);
}

void bench_kernels(void);

/* ---- levels ---- */

/* Prints which levels will not be tried; returns the highest that will. */
static inline kernels_level levels_announce(void)
{
    kernels_level best = kernels_level_best();
    for (kernels_level l = KERNELS_SCALAR; l < KERNELS_LEVEL_COUNT; l++)
        printf("# level %s: %s\n", kernels_level_name(l),
               l <= best ? "tested" : "skipped, not on this machine");
    return best;
}

#endif
