/* test_codes.c - the numbers that the importer writes are those that the kernels read. All of it
 * happens in the compiler; the program only says so. */
#include "import/codes.h"
#include "kernels/kernels.h"

#include <stdio.h>

#define SAME(name)                                                                                 \
    _Static_assert((int)CODE_##name == (int)KERNELS_##name,                                        \
                   "codes.h differs from kernels.h: " #name)

SAME(ACT_LINEAR);
SAME(ACT_RELU);
SAME(ACT_SIGMOID);
SAME(ACT_SILU);
SAME(ACT_TANH);
SAME(ACT_GELU);
SAME(ACT_GELU_TANH);
SAME(ACT_ELU);
SAME(ACT_SELU);
SAME(ACT_CELU);
SAME(ACT_SOFTPLUS);
SAME(ACT_SOFTSIGN);
SAME(ACT_EXPONENTIAL);
SAME(ACT_HARD_SIGMOID);
SAME(ACT_HARD_SILU);
SAME(ACT_HARD_TANH);
SAME(ACT_HARD_SHRINK);
SAME(ACT_SOFT_SHRINK);
SAME(ACT_TANH_SHRINK);
SAME(ACT_THRESHOLD);
SAME(ACT_MISH);
SAME(ACT_LOG_SIGMOID);
SAME(ACT_SQUAREPLUS);
SAME(ACT_SPARSE_PLUS);
SAME(ACT_SPARSE_SIGMOID);
SAME(ACT_SOFTMAX);
SAME(ACT_LOG_SOFTMAX);
SAME(ACT_SPARSEMAX);
SAME(ACT_COUNT);
SAME(RESIDUAL_NONE);
SAME(RESIDUAL_BEFORE_ACT);
SAME(RESIDUAL_AFTER_ACT);
SAME(POOL_MAX);
SAME(POOL_MEAN);
SAME(ADD);
SAME(SUB);
SAME(MUL);
SAME(DIV);
SAME(MAX);
SAME(MIN);
SAME(RESIZE_NEAREST);
SAME(RESIZE_BILINEAR);

int main(void)
{
    puts("codes.h agrees with kernels.h");
    return 0;
}
