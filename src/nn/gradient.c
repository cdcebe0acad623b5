/* gradient.c - exact gradients of the network's tail: the backward steps at plan time, and what each
 * computes. A step takes the gradient of its node's output to that of one input; several readers of
 * one tensor are summed by further steps. */
#include "nn/plan.h"

#include <string.h>

/* ---- plan time ---- */

static bool pools_mean(const nn_step *forward, const model_node *node)
{
    return (forward->op == MODEL_POOL ? node->at.pool.kind : node->at.global_pool.kind) ==
           KERNELS_POOL_MEAN;
}

/* Copies the inputs that the gradient needs behind the output's gradient; returns how many. */
static uint32_t needed(const nn_step *forward, const model_node *node, uint32_t gradient,
                       uint32_t ins[3])
{
    ins[0] = gradient;
    switch (forward->op) {
    case MODEL_POOL: /* a mean's gradient does not depend on its input */
    case MODEL_GLOBAL_POOL:
        if (pools_mean(forward, node))
            return 1;
        ins[1] = forward->ins[0];
        return 2;
    case MODEL_ACTIVATION:
    case MODEL_PRELU:
    case MODEL_LAYERNORM:
        ins[1] = forward->ins[0];
        return 2;
    case MODEL_BINARY:
        if (forward->binary.kind == KERNELS_ADD || forward->binary.kind == KERNELS_SUB)
            return 1;
        ins[1] = forward->ins[0];
        ins[2] = forward->ins[1];
        return 3;
    default:
        return 1;
    }
}

static bool same_shape(const uint32_t a[3], const uint32_t b[3])
{
    return a[0] == b[0] && a[1] == b[1] && a[2] == b[2];
}

/* Gradient towards input `k` of forward step `f`, whose output has the gradient `gradient`. */
static uint32_t add_gradient(nn_plan *plan, const nn_step *f, uint32_t k, uint32_t gradient)
{
    const uint32_t *side = k == 0 ? f->binary.a : f->binary.b;
    if (f->op == MODEL_BINARY && same_shape(side, f->binary.out) &&
        (f->binary.kind == KERNELS_ADD || (f->binary.kind == KERNELS_SUB && k == 0)))
        return gradient; /* a sum passes it on as it is */
    uint32_t ins[3], count = needed(f, &plan->graph->nodes[f->node], gradient, ins);
    uint32_t out = nn_add_value(plan, plan->values[f->ins[k]].shape, true);
    if (f->op == MODEL_RESHAPE)
        plan->values[out].root = plan->values[gradient].root;
    nn_step *step = nn_add_step(plan, f->op, NN_GRADIENT, f->node, out, ins, count);
    step->towards = k;
    step->act = f->act;
    step->binary = f->binary;
    if (f->op == MODEL_CONCAT)
        for (uint32_t i = 0; i < k; i++) {
            model_shape s = plan->values[f->ins[i]].shape;
            int axis = plan->graph->nodes[f->node].at.concat.axis;
            step->concat_offset += axis == 0 ? s.h : axis == 1 ? s.w : s.c;
        }
    return out;
}

static uint32_t accumulate(nn_plan *plan, uint32_t node, uint32_t a, uint32_t b)
{
    model_shape s = plan->values[a].shape;
    uint32_t out = nn_add_value(plan, s, true);
    nn_step *step =
        nn_add_step(plan, MODEL_BINARY, NN_FORWARD, node, out, (uint32_t[]){a, b}, 2);
    step->binary = (kernels_binary){
        KERNELS_ADD, {s.h, s.w, s.c}, {s.h, s.w, s.c}, {s.h, s.w, s.c}};
    return out;
}

dermis_status nn_build_backward(nn_plan *plan, dermis_error *err)
{
    uint32_t count = plan->value_count;
    bool *on_path = base_calloc(BASE_TAG_NN, count, sizeof *on_path);
    uint32_t *gradient = base_calloc(BASE_TAG_NN, count, sizeof *gradient);
    dermis_status status = DERMIS_OK;
    if (!on_path || !gradient) {
        status = base_fail(err, DERMIS_E_MEMORY, "not enough memory to plan the explanation");
        goto out;
    }
    for (uint32_t v = 0; v < count; v++)
        gradient[v] = NN_NONE;
    on_path[plan->target] = true;
    for (uint32_t s = 0; s < plan->forward_count; s++)
        for (uint32_t k = 0; k < plan->steps[s].in_count; k++)
            on_path[plan->steps[s].out] |= on_path[plan->steps[s].ins[k]];
    plan->seed = nn_add_value(plan, plan->values[plan->output].shape, true);
    gradient[plan->output] = plan->seed;

    for (uint32_t s = plan->forward_count; s-- > 0;) {
        const nn_step *f = &plan->steps[s];
        if (!on_path[f->out] || gradient[f->out] == NN_NONE || f->out == plan->target)
            continue;
        for (uint32_t k = 0; k < f->in_count; k++) {
            uint32_t in = f->ins[k];
            if (!on_path[in])
                continue;
            uint32_t g = add_gradient(plan, f, k, gradient[f->out]);
            gradient[in] = gradient[in] == NN_NONE ? g : accumulate(plan, f->node, gradient[in], g);
        }
        if (f->out == plan->output && f->op == MODEL_ACTIVATION && on_path[f->ins[0]] &&
            (f->act.kind == KERNELS_ACT_SOFTMAX || f->act.kind == KERNELS_ACT_SIGMOID)) {
            plan->logits = gradient[f->ins[0]];
            plan->logits_step = plan->step_count;
        }
    }
    plan->target_gradient = gradient[plan->target];
out:
    base_free(on_path);
    base_free(gradient);
    return status;
}

/* ---- run time ---- */

/* Sum of `g` (shape out) over the axes along which the side is broadcast; term(o, i) weighs. */
typedef struct reduce {
    const kernels_binary *op;
    const float *gradient, *a, *b;
    bool towards_b;
} reduce;

static float weight_of(const reduce *r, float a, float b)
{
    switch (r->op->kind) {
    case KERNELS_ADD:
        return 1;
    case KERNELS_SUB:
        return r->towards_b ? -1.0f : 1.0f;
    case KERNELS_MUL:
        return r->towards_b ? a : b;
    case KERNELS_DIV:
        return r->towards_b ? -a / (b * b) : 1 / b;
    case KERNELS_MAX: /* ties go to the first operand, as TensorFlow's Maximum and Minimum do */
        return (a >= b) == !r->towards_b;
    case KERNELS_MIN:
        return (a <= b) == !r->towards_b;
    }
    return 0;
}

static size_t index_in(const uint32_t shape[3], uint32_t y, uint32_t x, uint32_t c)
{
    return ((size_t)(shape[0] == 1 ? 0 : y) * shape[1] + (shape[1] == 1 ? 0 : x)) * shape[2] +
           (shape[2] == 1 ? 0 : c);
}

static void binary_gradient(const reduce *r, float *out)
{
    const kernels_binary *op = r->op;
    const uint32_t *side = r->towards_b ? op->b : op->a;
    memset(out, 0, (size_t)side[0] * side[1] * side[2] * sizeof *out);
    size_t o = 0;
    for (uint32_t y = 0; y < op->out[0]; y++)
        for (uint32_t x = 0; x < op->out[1]; x++)
            for (uint32_t c = 0; c < op->out[2]; c++, o++) {
                float a = r->a ? r->a[index_in(op->a, y, x, c)] : 0;
                float b = r->b ? r->b[index_in(op->b, y, x, c)] : 0;
                out[index_in(side, y, x, c)] += r->gradient[o] * weight_of(r, a, b);
            }
}

static void global_pool_gradient(kernels_pool_kind kind, const float *in, const float *gradient,
                                 size_t pixels, size_t c, float *out)
{
    if (kind == KERNELS_POOL_MEAN) {
        for (size_t k = 0; k < c; k++)
            out[k] = gradient[k] / (float)pixels;
        for (size_t p = 1; p < pixels; p++)
            memcpy(out + p * c, out, c * sizeof *out);
        return;
    }
    /* TensorFlow's reduce_max divides the gradient equally among ties */
    for (size_t k = 0; k < c; k++) {
        float most = in[k];
        size_t ties = 0;
        for (size_t p = 0; p < pixels; p++)
            most = in[p * c + k] > most ? in[p * c + k] : most;
        for (size_t p = 0; p < pixels; p++)
            ties += in[p * c + k] == most;
        for (size_t p = 0; p < pixels; p++)
            out[p * c + k] = in[p * c + k] == most ? gradient[k] / (float)ties : 0;
    }
}

static void prelu_gradient(const float *in, const float *gradient, float *out, size_t n,
                           const float *alpha, size_t alpha_n)
{
    for (size_t i = 0; i < n; i++)
        out[i] = gradient[i] * (in[i] > 0 ? 1 : alpha[i % alpha_n]);
}

static void slice_gradient(const model_node *n, model_shape in, model_shape g, const float *gradient,
                           float *out)
{
    memset(out, 0, (size_t)in.h * in.w * in.c * sizeof *out);
    for (uint32_t y = 0; y < g.h; y++)
        for (uint32_t x = 0; x < g.w; x++)
            for (uint32_t c = 0; c < g.c; c++) {
                size_t iy = (size_t)(n->at.slice.start_h + (int64_t)y * n->at.slice.step_h);
                size_t ix = (size_t)(n->at.slice.start_w + (int64_t)x * n->at.slice.step_w);
                size_t ic = (size_t)(n->at.slice.start_c + (int64_t)c * n->at.slice.step_c);
                out[(iy * in.w + ix) * in.c + ic] = gradient[((size_t)y * g.w + x) * g.c + c];
            }
}

/* Source position of output `o` along one axis, half-pixel centres: lower neighbour and the weight
 * of the upper one (0 for nearest), as kernels_resize_run reads them. */
static uint32_t resize_source(kernels_resize_kind kind, uint32_t o, uint32_t in, uint32_t out,
                              uint32_t *upper, float *weight)
{
    float scale = (float)in / (float)out, at = ((float)o + 0.5f) * scale;
    if (kind == KERNELS_RESIZE_NEAREST) {
        uint32_t i = (uint32_t)at;
        *upper = i < in ? i : in - 1;
        *weight = 0;
        return *upper;
    }
    at -= 0.5f;
    at = at < 0 ? 0 : at;
    uint32_t lower = (uint32_t)at < in - 1 ? (uint32_t)at : in - 1;
    *upper = lower + 1 < in ? lower + 1 : in - 1;
    *weight = at - (float)lower;
    return lower;
}

static void resize_gradient(kernels_resize_kind kind, model_shape in, model_shape g,
                            const float *gradient, float *out)
{
    memset(out, 0, (size_t)in.h * in.w * in.c * sizeof *out);
    for (uint32_t y = 0; y < g.h; y++)
        for (uint32_t x = 0; x < g.w; x++) {
            uint32_t ys[2], xs[2];
            float wy, wx;
            ys[0] = resize_source(kind, y, in.h, g.h, &ys[1], &wy);
            xs[0] = resize_source(kind, x, in.w, g.w, &xs[1], &wx);
            const float *from = gradient + ((size_t)y * g.w + x) * g.c;
            for (int k = 0; k < 4; k++) {
                float weight = (k & 2 ? wy : 1 - wy) * (k & 1 ? wx : 1 - wx);
                float *to = out + ((size_t)ys[k >> 1] * in.w + xs[k & 1]) * in.c;
                for (uint32_t c = 0; c < in.c; c++)
                    to[c] += weight * from[c];
            }
        }
}

void nn_run_gradient(const nn_session *session, const nn_step *step)
{
    const nn_plan *plan = session->plan;
    const model_node *n = &plan->graph->nodes[step->node];
    const nn_value *out_value = &plan->values[step->out];
    const float *gradient = nn_data(session, step->ins[0]);
    const float *in = step->in_count > 1 ? nn_data(session, step->ins[1]) : NULL;
    float *out = nn_data(session, step->out);
    model_shape s = out_value->shape, g = plan->values[step->ins[0]].shape;
    uint32_t in_shape[3] = {s.h, s.w, s.c}, out_shape[3] = {g.h, g.w, g.c};
    size_t pixels = (size_t)s.h * s.w;

    switch (step->op) {
    case MODEL_CONV: {
        kernels_conv c = nn_conv_of(plan, session, step);
        kernels_conv_grad(plan->kernels, &c, gradient, out, session->pool);
        break;
    }
    case MODEL_DEPTHWISE: {
        kernels_conv c = nn_conv_of(plan, session, step);
        kernels_depthwise_grad(plan->kernels, &c, gradient, out, session->pool);
        break;
    }
    case MODEL_POOL: {
        kernels_pool p = nn_pool_of(plan, step);
        kernels_pool_grad(&p, in, gradient, out);
        break;
    }
    case MODEL_GLOBAL_POOL:
        global_pool_gradient((kernels_pool_kind)n->at.global_pool.kind, in, gradient, pixels, s.c,
                             out);
        break;
    case MODEL_BINARY: {
        const float *b = step->in_count > 2 ? nn_data(session, step->ins[2]) : NULL;
        reduce r = {&step->binary, gradient, in, b, step->towards == 1};
        binary_gradient(&r, out);
        break;
    }
    case MODEL_AFFINE:
        kernels_affine_run(plan->kernels, gradient, out, pixels, s.c,
                           n->tensors[MODEL_SCALE].data, NULL, session->pool);
        break;
    case MODEL_ACTIVATION:
        kernels_activation_grad(plan->kernels, step->act, in, gradient, out, pixels, s.c,
                                session->pool);
        break;
    case MODEL_PRELU:
        prelu_gradient(in, gradient, out, out_value->elements, n->tensors[MODEL_WEIGHT].data,
                       n->tensors[MODEL_WEIGHT].bytes / sizeof(float));
        break;
    case MODEL_LAYERNORM:
        kernels_layernorm_grad(in, gradient, out, pixels, s.c, n->at.layernorm.epsilon,
                               n->tensors[MODEL_SCALE].data);
        break;
    case MODEL_CONCAT: {
        int32_t start[3] = {0}, unit[3] = {1, 1, 1};
        start[n->at.concat.axis] = (int32_t)step->concat_offset;
        kernels_slice_run(gradient, out_shape, out, in_shape, start, unit, session->pool);
        break;
    }
    case MODEL_PAD: {
        int32_t start[3] = {n->at.pad.top, n->at.pad.left, 0}, unit[3] = {1, 1, 1};
        kernels_slice_run(gradient, out_shape, out, in_shape, start, unit, session->pool);
        break;
    }
    case MODEL_SLICE:
        slice_gradient(n, s, g, gradient, out);
        break;
    case MODEL_RESIZE:
        resize_gradient((kernels_resize_kind)n->at.resize.kind, s, g, gradient, out);
        break;
    case MODEL_RESHAPE: /* shares its place */
    case MODEL_INPUT:
    case MODEL_OP_COUNT:
        break;
    }
}
