/* codes.h - the numbers of enumerations that stand in the model file. They are those of
 * kernels/kernels.h, which this layer may not include (it stands beside, not below);
 * tests/test_codes.c holds the two lists against each other at compile time. */
#ifndef IMPORT_CODES_H
#define IMPORT_CODES_H

enum {
    CODE_ACT_LINEAR,
    CODE_ACT_RELU,
    CODE_ACT_SIGMOID,
    CODE_ACT_SILU,
    CODE_ACT_TANH,
    CODE_ACT_GELU,
    CODE_ACT_GELU_TANH,
    CODE_ACT_ELU,
    CODE_ACT_SELU,
    CODE_ACT_CELU,
    CODE_ACT_SOFTPLUS,
    CODE_ACT_SOFTSIGN,
    CODE_ACT_EXPONENTIAL,
    CODE_ACT_HARD_SIGMOID,
    CODE_ACT_HARD_SILU,
    CODE_ACT_HARD_TANH,
    CODE_ACT_HARD_SHRINK,
    CODE_ACT_SOFT_SHRINK,
    CODE_ACT_TANH_SHRINK,
    CODE_ACT_THRESHOLD,
    CODE_ACT_MISH,
    CODE_ACT_LOG_SIGMOID,
    CODE_ACT_SQUAREPLUS,
    CODE_ACT_SPARSE_PLUS,
    CODE_ACT_SPARSE_SIGMOID,
    CODE_ACT_SOFTMAX, /* from here on over the last axis */
    CODE_ACT_LOG_SOFTMAX,
    CODE_ACT_SPARSEMAX,
    CODE_ACT_COUNT
};

enum { CODE_RESIDUAL_NONE, CODE_RESIDUAL_BEFORE_ACT, CODE_RESIDUAL_AFTER_ACT };
enum { CODE_POOL_MAX, CODE_POOL_MEAN };
enum { CODE_ADD, CODE_SUB, CODE_MUL, CODE_DIV, CODE_MAX, CODE_MIN };
enum { CODE_RESIZE_NEAREST, CODE_RESIZE_BILINEAR };

#endif
