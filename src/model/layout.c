/* layout.c - plain arrays to the file's blocks of 16 output channels (kernels.h gives the layouts).
 * Pure functions. */
#include "model/model.h"

#include <string.h>

#define BLOCK 16

static size_t blocks(uint32_t channels)
{
    return ((size_t)channels + BLOCK - 1) / BLOCK;
}

size_t model_conv_weight_count(uint32_t kh, uint32_t kw, uint32_t in_c, uint32_t out_c,
                               uint32_t groups)
{
    return groups * blocks(out_c / groups) * BLOCK * kh * kw * (in_c / groups);
}

void model_conv_pack(const float *keras, uint32_t kh, uint32_t kw, uint32_t in_c, uint32_t out_c,
                     uint32_t groups, float *out)
{
    size_t group_out = out_c / groups, k = (size_t)kh * kw * (in_c / groups);
    for (size_t group = 0; group < groups; group++)
        for (size_t block = 0; block < blocks((uint32_t)group_out); block++)
            for (size_t i = 0; i < k; i++)
                for (size_t lane = 0; lane < BLOCK; lane++) {
                    size_t o = block * BLOCK + lane;
                    *out++ = o < group_out ? keras[i * out_c + group * group_out + o] : 0;
                }
}

size_t model_depthwise_weight_count(uint32_t kh, uint32_t kw, uint32_t out_c)
{
    return blocks(out_c) * BLOCK * kh * kw;
}

void model_depthwise_pack(const float *keras, uint32_t kh, uint32_t kw, uint32_t in_c,
                          uint32_t multiplier, float *out)
{
    /* Keras's [tap][in_c][multiplier] is [tap][out_c], out_c = in_c * multiplier + m */
    model_conv_pack(keras, kh, kw, 1, in_c * multiplier, 1, out);
}

size_t model_block_vector_count(uint32_t out_c, uint32_t groups)
{
    return groups * blocks(out_c / groups) * BLOCK;
}

void model_block_vector_pack(const float *vector, uint32_t out_c, uint32_t groups, float *out)
{
    model_conv_pack(vector, 1, 1, groups, out_c, groups, out);
}
