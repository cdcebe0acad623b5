/* run.c - a session: one arena and the walk over the plan's steps. One thread at a time; what runs
 * neither allocates nor fails. */
#include "nn/plan.h"

#include <string.h>

/* Under the address sanitizer the whole arena is a red zone but for what the step at hand may touch
 * and what its caller may read: tensors share places over time, so fixed gaps between them would
 * not do. */
#if defined(__SANITIZE_ADDRESS__)
#define GUARDED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define GUARDED 1
#endif
#endif
#ifdef GUARDED
#include <sanitizer/asan_interface.h>
#else
#define GUARDED 0
#define __asan_poison_memory_region(at, bytes) ((void)(at), (void)(bytes))
#define __asan_unpoison_memory_region(at, bytes) ((void)(at), (void)(bytes))
#endif

static void admit(const nn_session *s, uint32_t value)
{
    if (value != NN_NONE)
        __asan_unpoison_memory_region(nn_data(s, value),
                                      s->plan->values[value].elements * sizeof(float));
}

/* Only the operands of `step` may be touched from here on; NULL: what callers see. */
static void guard(const nn_session *s, const nn_step *step)
{
    if (!GUARDED)
        return;
    const nn_plan *plan = s->plan;
    __asan_poison_memory_region(s->arena, plan->arena_bytes);
    if (step) {
        admit(s, step->out);
        for (uint32_t k = 0; k < step->in_count; k++)
            admit(s, step->ins[k]);
        admit(s, step->in_scale);
        __asan_unpoison_memory_region(s->arena + plan->scratch_offset, plan->scratch_bytes);
        return;
    }
    for (uint32_t v = 0; v < plan->value_count; v++) {
        uint32_t root = v;
        while (plan->values[root].root != root)
            root = plan->values[root].root;
        if (plan->values[root].pinned)
            admit(s, v);
    }
    admit(s, plan->seed);
    admit(s, plan->logits);
}

dermis_status nn_session_new(const nn_plan *plan, base_pool *pool, nn_session **out,
                             dermis_error *err)
{
    if (base_pool_threads(pool) > plan->options.threads)
        return base_fail(err, DERMIS_E_USAGE, "a pool of %u threads for a plan of %u",
                         base_pool_threads(pool), plan->options.threads);
    nn_session *s = base_calloc(BASE_TAG_NN, 1, sizeof *s);
    char *arena = base_alloc(BASE_TAG_NN, plan->arena_bytes);
    if (!s || !arena) {
        base_free(s);
        base_free(arena);
        return base_fail(err, DERMIS_E_MEMORY, "not enough memory for a session's arena of %zu bytes",
                         plan->arena_bytes);
    }
    *s = (nn_session){plan, pool, arena};
    guard(s, NULL);
    *out = s;
    return DERMIS_OK;
}

void nn_session_free(nn_session *s)
{
    if (!s)
        return;
    __asan_unpoison_memory_region(s->arena, s->plan->arena_bytes);
    base_free(s->arena);
    base_free(s);
}

float *nn_data(const nn_session *s, uint32_t value)
{
    const nn_value *values = s->plan->values;
    while (values[value].root != value)
        value = values[value].root;
    return (float *)(s->arena + values[value].offset);
}

kernels_conv nn_conv_of(const nn_plan *plan, const nn_session *session, const nn_step *step)
{
    static const float dummy[1];
    const model_node *n = &plan->graph->nodes[step->node];
    const model_conv *a = &n->at.conv;
    model_shape in = plan->graph->nodes[n->inputs[0]].out;
    kernels_conv c = {
        .in_h = in.h, .in_w = in.w, .in_c = in.c,
        .out_h = n->out.h, .out_w = n->out.w, .out_c = n->out.c,
        .kernel_h = (uint32_t)a->kernel_h, .kernel_w = (uint32_t)a->kernel_w,
        .stride_h = (uint32_t)a->stride_h, .stride_w = (uint32_t)a->stride_w,
        .dilation_h = (uint32_t)a->dilation_h, .dilation_w = (uint32_t)a->dilation_w,
        .pad_top = (uint32_t)a->pad_top, .pad_left = (uint32_t)a->pad_left,
        .groups = (uint32_t)a->groups,
        .weight_type = n->tensors[MODEL_WEIGHT].type == MODEL_F16 ? KERNELS_F16 : KERNELS_F32,
        .act = step->act,
        .residual_mode = step->residual,
        .weight = n->tensors[MODEL_WEIGHT].data,
        .bias = n->tensors[MODEL_BIAS].data,
    };
    if (step->phase == NN_GRADIENT)
        return c;
    bool residual = step->residual != KERNELS_RESIDUAL_NONE, scaled = step->in_scale != NN_NONE;
    if (!session) {
        c.residual = residual ? dummy : NULL;
        c.in_scale = scaled ? dummy : NULL;
        return c;
    }
    c.in = nn_data(session, step->ins[0]);
    c.residual = residual ? nn_data(session, step->ins[1]) : NULL;
    c.in_scale = scaled ? nn_data(session, step->in_scale) : NULL;
    c.out = nn_data(session, step->out);
    return c;
}

kernels_pool nn_pool_of(const nn_plan *plan, const nn_step *step)
{
    const model_node *n = &plan->graph->nodes[step->node];
    const model_pool *a = &n->at.pool;
    model_shape in = plan->graph->nodes[n->inputs[0]].out;
    return (kernels_pool){
        .kind = (kernels_pool_kind)a->kind,
        .in_h = in.h, .in_w = in.w, .c = in.c,
        .out_h = n->out.h, .out_w = n->out.w,
        .kernel_h = (uint32_t)a->kernel_h, .kernel_w = (uint32_t)a->kernel_w,
        .stride_h = (uint32_t)a->stride_h, .stride_w = (uint32_t)a->stride_w,
        .pad_top = (uint32_t)a->pad_top, .pad_left = (uint32_t)a->pad_left,
    };
}

static void run_concat(const nn_session *session, const nn_step *step, const model_node *n)
{
    const nn_value *values = session->plan->values;
    model_shape o = values[step->out].shape;
    uint32_t out_shape[3] = {o.h, o.w, o.c}, offset = 0;
    for (uint32_t k = 0; k < step->in_count; k++) {
        model_shape s = values[step->ins[k]].shape;
        uint32_t in_shape[3] = {s.h, s.w, s.c};
        kernels_concat_run(nn_data(session, step->ins[k]), in_shape, nn_data(session, step->out),
                           out_shape, (unsigned)n->at.concat.axis, offset, session->pool);
        offset += in_shape[n->at.concat.axis];
    }
}

static void run_forward(const nn_session *session, const nn_step *step)
{
    const nn_plan *plan = session->plan;
    const kernels_table *k = plan->kernels;
    base_pool *pool = session->pool;
    const model_node *n = &plan->graph->nodes[step->node];
    void *scratch = session->arena + plan->scratch_offset;
    const float *in = nn_data(session, step->ins[0]);
    float *out = nn_data(session, step->out);
    model_shape s = plan->values[step->ins[0]].shape, o = plan->values[step->out].shape;
    uint32_t in_shape[3] = {s.h, s.w, s.c}, out_shape[3] = {o.h, o.w, o.c};
    size_t pixels = (size_t)s.h * s.w;

    switch (step->op) {
    case MODEL_CONV: {
        kernels_conv c = nn_conv_of(plan, session, step);
        kernels_conv_run(k, &c, scratch, pool);
        break;
    }
    case MODEL_DEPTHWISE: {
        kernels_conv c = nn_conv_of(plan, session, step);
        kernels_depthwise_run(k, &c, scratch, pool);
        break;
    }
    case MODEL_POOL: {
        kernels_pool p = nn_pool_of(plan, step);
        kernels_pool_run(k, &p, in, out, pool);
        break;
    }
    case MODEL_GLOBAL_POOL:
        kernels_global_pool_run(k, (kernels_pool_kind)n->at.global_pool.kind, in, pixels, s.c, out,
                                pool);
        break;
    case MODEL_BINARY:
        kernels_binary_run(k, &step->binary, in, nn_data(session, step->ins[1]), out, pool);
        break;
    case MODEL_AFFINE:
        kernels_affine_run(k, in, out, pixels, s.c, n->tensors[MODEL_SCALE].data,
                           n->tensors[MODEL_SHIFT].data, pool);
        break;
    case MODEL_ACTIVATION:
        kernels_activation_run(k, step->act, in, out, pixels, s.c, pool);
        break;
    case MODEL_PRELU:
        kernels_prelu_run(k, in, out, pixels * s.c, n->tensors[MODEL_WEIGHT].data,
                          n->tensors[MODEL_WEIGHT].bytes / sizeof(float), pool);
        break;
    case MODEL_LAYERNORM:
        kernels_layernorm_run(k, in, out, pixels, s.c, n->at.layernorm.epsilon,
                              n->tensors[MODEL_SCALE].data, n->tensors[MODEL_BIAS].data, pool);
        break;
    case MODEL_CONCAT:
        run_concat(session, step, n);
        break;
    case MODEL_PAD:
        kernels_pad_run(in, in_shape, out, out_shape, (uint32_t)n->at.pad.top,
                        (uint32_t)n->at.pad.left, n->at.pad.value, pool);
        break;
    case MODEL_SLICE: {
        int32_t start[3] = {n->at.slice.start_h, n->at.slice.start_w, n->at.slice.start_c};
        int32_t by[3] = {n->at.slice.step_h, n->at.slice.step_w, n->at.slice.step_c};
        kernels_slice_run(in, in_shape, out, out_shape, start, by, pool);
        break;
    }
    case MODEL_RESIZE:
        kernels_resize_run((kernels_resize_kind)n->at.resize.kind, in, s.h, s.w, s.c, out, o.h, o.w,
                           pool);
        break;
    case MODEL_RESHAPE: /* shares its place */
    case MODEL_INPUT:
    case MODEL_OP_COUNT:
        break;
    }
}

float *nn_session_input(nn_session *s)
{
    return nn_data(s, s->plan->input);
}

void nn_run(nn_session *s)
{
    for (uint32_t i = 0; i < s->plan->forward_count; i++) {
        guard(s, &s->plan->steps[i]);
        run_forward(s, &s->plan->steps[i]);
    }
    guard(s, NULL);
}

void nn_run_timed(nn_session *s, double *step_ms)
{
    for (uint32_t i = 0; i < s->plan->forward_count; i++) {
        guard(s, &s->plan->steps[i]);
        double start = base_now_ms();
        run_forward(s, &s->plan->steps[i]);
        step_ms[i] = base_now_ms() - start;
    }
    guard(s, NULL);
}

const float *nn_session_output(const nn_session *s, size_t *count)
{
    *count = s->plan->values[s->plan->output].elements;
    return nn_data(s, s->plan->output);
}

const float *nn_session_tensor(const nn_session *s, uint32_t node)
{
    uint32_t v = s->plan->node_value[node];
    if (v == NN_NONE)
        return NULL;
    uint32_t root = v;
    while (s->plan->values[root].root != root)
        root = s->plan->values[root].root;
    return s->plan->values[root].pinned ? nn_data(s, v) : NULL;
}

void nn_session_target(const nn_session *s, nn_target *out)
{
    *out = (nn_target){nn_data(s, s->plan->target), s->plan->target_shift,
                       s->plan->values[s->plan->target].shape};
}

const float *nn_backward(nn_session *s, uint32_t index, nn_score score, bool flip)
{
    const nn_plan *plan = s->plan;
    if (plan->target_gradient == NN_NONE)
        return NULL;
    bool logit = score == NN_SCORE_LOGIT && plan->logits != NN_NONE;
    uint32_t seed = logit ? plan->logits : plan->seed;
    float *gradient = nn_data(s, seed);
    memset(gradient, 0, plan->values[seed].elements * sizeof *gradient);
    gradient[index] = flip ? -1.0f : 1.0f;
    for (uint32_t i = logit ? plan->logits_step : plan->forward_count; i < plan->step_count; i++) {
        const nn_step *step = &plan->steps[i];
        guard(s, step);
        if (step->phase == NN_GRADIENT)
            nn_run_gradient(s, step);
        else
            run_forward(s, step);
    }
    guard(s, NULL);
    return nn_data(s, plan->target_gradient);
}
