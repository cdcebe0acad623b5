/* plan.h - private to nn/: the program that a plan is. Values are tensors; steps read and write
 * them in order, those of the explanation's backward pass behind those of the forward pass, so that
 * one planner places all. */
#ifndef NN_PLAN_H
#define NN_PLAN_H

#include "nn/nn.h"

#define NN_NONE UINT32_MAX

typedef struct nn_value {
    model_shape shape;
    size_t elements;
    uint32_t root;   /* the value whose place it shares: itself, or by alias or in place */
    uint32_t first, last; /* steps between which its place is taken (of roots) */
    bool pinned;     /* its place is nobody else's until the next run */
    bool gradient;
    size_t offset;   /* of roots: bytes in the arena */
} nn_value;

/* How a step derives from its node: forward, or the gradient towards one input. */
typedef enum nn_phase { NN_FORWARD, NN_GRADIENT } nn_phase;

typedef struct nn_step {
    model_op op;
    nn_phase phase;
    uint32_t node;       /* where attributes and weights stand */
    uint32_t towards;    /* NN_GRADIENT: index of the input that the gradient is taken for */
    uint32_t out;
    const uint32_t *ins; /* values; NN_GRADIENT: gradient of the output, then the inputs it needs */
    uint32_t in_count;
    uint32_t concat_offset; /* NN_GRADIENT of a concatenation */
    kernels_act act;     /* of ACTIVATION; of CONV: fused */
    kernels_residual residual; /* CONV: ins[1] */
    uint32_t in_scale;   /* CONV: value of a squeeze-excite factor, or NN_NONE */
    kernels_binary binary;
} nn_step;

struct nn_plan {
    const model_graph *graph;
    const kernels_table *kernels;
    nn_options options;
    nn_value *values;
    uint32_t value_count, value_room;
    nn_step *steps;
    uint32_t step_count, step_room;
    uint32_t forward_count;   /* the first steps are the forward pass */
    uint32_t *links;          /* what steps' ins point into; never grows past its room */
    size_t link_count, link_room;
    uint32_t *node_value;     /* [node_count] value of each node's output, or NN_NONE */
    uint32_t input, output;   /* values */
    uint32_t target;          /* value of the explained layer's output, or NN_NONE */
    float *target_shift;      /* owned, [c]; or NULL */
    uint32_t seed;            /* gradient of the output: filled by nn_backward */
    uint32_t logits;          /* gradient of the last softmax's or sigmoid's input, or NN_NONE */
    uint32_t logits_step;     /* first backward step after it exists */
    uint32_t target_gradient; /* NN_NONE: the score does not depend on the target */
    size_t activation_bytes, gradient_bytes, scratch_bytes, scratch_offset, arena_bytes;
    size_t largest_live_bytes;
};

struct nn_session {
    const nn_plan *plan;
    base_pool *pool;
    char *arena;
};

/* build.c: graph to forward steps. gradient.c: backward steps behind them. place.c: lifetimes and
 * offsets. */
dermis_status nn_build_forward(nn_plan *plan, dermis_error *err);
dermis_status nn_build_backward(nn_plan *plan, dermis_error *err);
dermis_status nn_place(nn_plan *plan, dermis_error *err);

uint32_t nn_add_value(nn_plan *plan, model_shape shape, bool gradient);
/* A step with `count` inputs copied into the plan; room was made before. */
nn_step *nn_add_step(nn_plan *plan, model_op op, nn_phase phase, uint32_t node, uint32_t out,
                     const uint32_t *ins, uint32_t count);

float *nn_data(const nn_session *session, uint32_t value);
/* run.c: the kernel's view of a convolution step; `session` NULL leaves arrays at a dummy pointer
 * where there will be one (for scratch sizes). */
kernels_conv nn_conv_of(const nn_plan *plan, const nn_session *session, const nn_step *step);
kernels_pool nn_pool_of(const nn_plan *plan, const nn_step *step);
void nn_run_gradient(const nn_session *session, const nn_step *step);

#endif
