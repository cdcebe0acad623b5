/* build.c - a checked graph to the plan's forward steps: fused as the file has them, split where an
 * explanation needs the tensors in between. */
#include "nn/plan.h"

#include <string.h>

/* The file holds enumerations as numbers; model/ops.c keeps them within these ranges. */
_Static_assert(KERNELS_ACT_SPARSE_SIGMOID == 24 && KERNELS_ACT_SPARSEMAX == 27, "activations");
_Static_assert(KERNELS_RESIDUAL_AFTER_ACT == 2 && KERNELS_POOL_MEAN == 1, "residual, pool");
_Static_assert(KERNELS_MIN == 5 && KERNELS_RESIZE_BILINEAR == 1, "binary, resize");

uint32_t nn_add_value(nn_plan *plan, model_shape shape, bool gradient)
{
    uint32_t id = plan->value_count++;
    plan->values[id] = (nn_value){.shape = shape,
                                  .elements = (size_t)shape.h * shape.w * shape.c,
                                  .root = id,
                                  .gradient = gradient};
    return id;
}

nn_step *nn_add_step(nn_plan *plan, model_op op, nn_phase phase, uint32_t node, uint32_t out,
                     const uint32_t *ins, uint32_t count)
{
    nn_step *step = &plan->steps[plan->step_count++];
    uint32_t *copy = plan->links + plan->link_count;
    memcpy(copy, ins, count * sizeof *ins);
    plan->link_count += count;
    *step = (nn_step){.op = op,
                      .phase = phase,
                      .node = node,
                      .out = out,
                      .ins = copy,
                      .in_count = count,
                      .in_scale = NN_NONE};
    return step;
}

static bool is_conv(const model_node *n)
{
    return n->op == MODEL_CONV || n->op == MODEL_DEPTHWISE;
}

static kernels_act conv_act(const model_conv *c)
{
    return (kernels_act){(kernels_act_kind)c->activation,
                         {c->activation_p0, c->activation_p1, c->activation_p2}};
}

/* Nodes that depend on the target's node: its tail. */
static void mark_tail(const model_graph *g, uint32_t target, bool *tail)
{
    tail[target] = true;
    for (uint32_t i = target + 1; i < g->node_count; i++)
        for (uint32_t k = 0; k < g->nodes[i].input_count; k++)
            tail[i] |= tail[g->nodes[i].inputs[k]];
}

static void count_uses(const model_graph *g, uint32_t *uses)
{
    for (uint32_t i = 0; i < g->node_count; i++)
        for (uint32_t k = 0; k < g->nodes[i].input_count; k++)
            uses[g->nodes[i].inputs[k]]++;
}

/* Whether node `i` is x * s with s one factor a channel whose only reader is a pointwise
 * convolution: that one scales its input as it reads it, and the product is never written. */
static bool is_excite_of(const model_graph *g, uint32_t i, const uint32_t *uses)
{
    const model_node *n = &g->nodes[i];
    if (n->op != MODEL_BINARY || n->at.binary.kind != KERNELS_MUL || uses[i] != 1 ||
        i + 1 == g->node_count)
        return false;
    model_shape x = g->nodes[n->inputs[0]].out, s = g->nodes[n->inputs[1]].out;
    return s.h == 1 && s.w == 1 && s.c == x.c && (size_t)x.h * x.w > 1;
}

static bool is_pointwise(const model_node *n)
{
    const model_conv *c = &n->at.conv;
    return n->op == MODEL_CONV && c->kernel_h == 1 && c->kernel_w == 1 && c->groups == 1 &&
           c->stride_h == 1 && c->stride_w == 1 && c->pad_top + c->pad_left == 0 &&
           c->pad_bottom + c->pad_right == 0;
}

static uint32_t add_activation(nn_plan *plan, uint32_t node, kernels_act act, uint32_t in)
{
    uint32_t out = nn_add_value(plan, plan->values[in].shape, false);
    nn_add_step(plan, MODEL_ACTIVATION, NN_FORWARD, node, out, &in, 1)->act = act;
    return out;
}

static kernels_binary binary_of(const nn_plan *plan, kernels_binary_kind kind, uint32_t a,
                                uint32_t b, uint32_t out)
{
    model_shape s = plan->values[a].shape, t = plan->values[b].shape, o = plan->values[out].shape;
    return (kernels_binary){
        kind, {s.h, s.w, s.c}, {t.h, t.w, t.c}, {o.h, o.w, o.c}};
}

static uint32_t add_sum(nn_plan *plan, uint32_t node, uint32_t a, uint32_t b)
{
    uint32_t out = nn_add_value(plan, plan->values[a].shape, false);
    nn_add_step(plan, MODEL_BINARY, NN_FORWARD, node, out, (uint32_t[]){a, b}, 2)->binary =
        binary_of(plan, KERNELS_ADD, a, b, out);
    return out;
}

/* A convolution taken apart: z, activation, sum in the order of its residual mode. Returns the
 * node's output; *z and *activated name the tensors in between. */
static uint32_t add_split_conv(nn_plan *plan, uint32_t i, uint32_t in, uint32_t residual,
                               uint32_t *z, uint32_t *activated)
{
    const model_node *n = &plan->graph->nodes[i];
    kernels_act act = conv_act(&n->at.conv);
    uint32_t out = *z = nn_add_value(plan, n->out, false);
    nn_add_step(plan, n->op, NN_FORWARD, i, out, &in, 1);
    if (n->at.conv.residual == KERNELS_RESIDUAL_BEFORE_ACT)
        out = add_sum(plan, i, out, residual);
    if (act.kind != KERNELS_ACT_LINEAR)
        out = add_activation(plan, i, act, out);
    *activated = out;
    if (n->at.conv.residual == KERNELS_RESIDUAL_AFTER_ACT)
        out = add_sum(plan, i, out, residual);
    return out;
}

static void add_conv(nn_plan *plan, uint32_t i, const bool *excite)
{
    const model_graph *g = plan->graph;
    const model_node *n = &g->nodes[i];
    uint32_t from = n->inputs[0], ins[2], count = 1, scale = NN_NONE;
    if (excite[from]) {
        scale = plan->node_value[g->nodes[from].inputs[1]];
        from = g->nodes[from].inputs[0];
    }
    ins[0] = plan->node_value[from];
    if (n->at.conv.residual != KERNELS_RESIDUAL_NONE)
        ins[count++] = plan->node_value[n->inputs[1]];
    uint32_t out = nn_add_value(plan, n->out, false);
    nn_step *step = nn_add_step(plan, n->op, NN_FORWARD, i, out, ins, count);
    step->act = conv_act(&n->at.conv);
    step->residual = (kernels_residual)n->at.conv.residual;
    step->in_scale = scale;
    plan->node_value[i] = out;
}

static void add_node(nn_plan *plan, uint32_t i)
{
    const model_node *n = &plan->graph->nodes[i];
    uint32_t out = nn_add_value(plan, n->out, false);
    plan->node_value[i] = out;
    if (n->op == MODEL_INPUT) {
        plan->input = out;
        return;
    }
    uint32_t first = plan->node_value[n->inputs[0]];
    if (n->op == MODEL_RESHAPE) { /* the same bytes under another shape */
        plan->values[out].root = plan->values[first].root;
    }
    nn_step *step = nn_add_step(plan, n->op, NN_FORWARD, i, out, n->inputs, n->input_count);
    uint32_t *ins = plan->links + plan->link_count - n->input_count;
    for (uint32_t k = 0; k < n->input_count; k++)
        ins[k] = plan->node_value[n->inputs[k]];
    if (n->op == MODEL_ACTIVATION)
        step->act = (kernels_act){(kernels_act_kind)n->at.activation.kind,
                                  {n->at.activation.p0, n->at.activation.p1, n->at.activation.p2}};
    if (n->op == MODEL_BINARY)
        step->binary = binary_of(plan, (kernels_binary_kind)n->at.binary.kind, ins[0], ins[1], out);
}

/* The target's t, channel by channel: groups stand in whole blocks in the file, with gaps between
 * where a group's channels do not fill its last block. */
static dermis_status take_shift(nn_plan *plan, const model_node *n, dermis_error *err)
{
    const float *blocks = n->tensors[MODEL_SHIFT].data;
    if (!is_conv(n) || !blocks)
        return DERMIS_OK;
    size_t groups = n->op == MODEL_CONV ? (size_t)n->at.conv.groups : 1;
    size_t each = n->out.c / groups, room = base_align_up(each, KERNELS_BLOCK);
    plan->target_shift = base_calloc(BASE_TAG_NN, n->out.c, sizeof(float));
    if (!plan->target_shift)
        return base_fail(err, DERMIS_E_MEMORY, "not enough memory to plan the explanation");
    for (size_t group = 0; group < groups; group++)
        memcpy(plan->target_shift + group * each, blocks + group * room, each * sizeof(float));
    return DERMIS_OK;
}

dermis_status nn_build_forward(nn_plan *plan, dermis_error *err)
{
    const model_graph *g = plan->graph;
    const model_layer *layer =
        plan->options.cam_layer >= 0 ? &g->layers[plan->options.cam_layer] : NULL;
    bool *tail = base_calloc(BASE_TAG_NN, g->node_count, sizeof *tail);
    bool *excite = base_calloc(BASE_TAG_NN, g->node_count, sizeof *excite);
    uint32_t *uses = base_calloc(BASE_TAG_NN, g->node_count, sizeof *uses);
    dermis_status status = DERMIS_OK;
    if (!tail || !excite || !uses) {
        status = base_fail(err, DERMIS_E_MEMORY, "not enough memory to plan %u nodes",
                           g->node_count);
        goto out;
    }
    count_uses(g, uses);
    if (layer)
        mark_tail(g, layer->node, tail);
    for (uint32_t i = 1; i < g->node_count; i++)
        if (is_pointwise(&g->nodes[i]) && !tail[i] && !plan->options.keep_all &&
            is_excite_of(g, g->nodes[i].inputs[0], uses))
            excite[g->nodes[i].inputs[0]] = true;

    for (uint32_t i = 0; i < g->node_count; i++) {
        const model_node *n = &g->nodes[i];
        if (excite[i])
            continue;
        if (!is_conv(n)) {
            add_node(plan, i);
        } else if (!tail[i]) {
            add_conv(plan, i, excite);
            continue;
        } else {
            uint32_t z, activated, residual = NN_NONE;
            if (n->at.conv.residual != KERNELS_RESIDUAL_NONE)
                residual = plan->node_value[n->inputs[1]];
            plan->node_value[i] =
                add_split_conv(plan, i, plan->node_value[n->inputs[0]], residual, &z, &activated);
            if (layer && layer->node == i)
                plan->target = layer->after_activation ? activated : z;
            continue;
        }
        if (layer && layer->node == i)
            plan->target = plan->node_value[i];
    }
    if (layer)
        status = take_shift(plan, &g->nodes[layer->node], err);
    plan->output = plan->node_value[g->node_count - 1];
    plan->forward_count = plan->step_count;
out:
    base_free(tail);
    base_free(excite);
    base_free(uses);
    return status;
}
