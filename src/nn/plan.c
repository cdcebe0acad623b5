/* plan.c - a plan's life: rooms are counted from the graph, filled by build.c and gradient.c, placed
 * by place.c. Immutable afterwards; any number of sessions may share it. */
#include "nn/plan.h"

/* Most that a graph can need: a convolution splits into three steps, and each input of a step can
 * have a gradient and a sum. */
static dermis_status make_room(nn_plan *plan, dermis_error *err)
{
    const model_graph *g = plan->graph;
    size_t nodes = g->node_count, inputs = 0;
    for (uint32_t i = 0; i < g->node_count; i++)
        inputs += g->nodes[i].input_count;
    size_t edges = inputs + 4 * nodes;
    plan->value_room = (uint32_t)(4 * nodes + 2 * edges + 2);
    plan->step_room = (uint32_t)(3 * nodes + 2 * edges);
    plan->link_room = 7 * edges;
    plan->values = base_calloc(BASE_TAG_NN, plan->value_room, sizeof *plan->values);
    plan->steps = base_calloc(BASE_TAG_NN, plan->step_room, sizeof *plan->steps);
    plan->links = base_calloc(BASE_TAG_NN, plan->link_room, sizeof *plan->links);
    plan->node_value = base_calloc(BASE_TAG_NN, nodes, sizeof *plan->node_value);
    if (!plan->values || !plan->steps || !plan->links || !plan->node_value)
        return base_fail(err, DERMIS_E_MEMORY, "not enough memory to plan %zu nodes", nodes);
    for (size_t i = 0; i < nodes; i++)
        plan->node_value[i] = NN_NONE;
    return DERMIS_OK;
}

static void measure_scratch(nn_plan *plan)
{
    for (uint32_t i = 0; i < plan->forward_count; i++) {
        const nn_step *step = &plan->steps[i];
        if (step->op != MODEL_CONV && step->op != MODEL_DEPTHWISE)
            continue;
        kernels_conv c = nn_conv_of(plan, NULL, step);
        size_t bytes = step->op == MODEL_CONV
                           ? kernels_conv_scratch(plan->kernels, &c, plan->options.threads)
                           : kernels_depthwise_scratch(plan->kernels, &c, plan->options.threads);
        if (bytes > plan->scratch_bytes)
            plan->scratch_bytes = bytes;
    }
    plan->arena_bytes = plan->scratch_offset + base_align_up(plan->scratch_bytes, BASE_ALIGNMENT);
}

dermis_status nn_plan_new(const model_graph *graph, const nn_options *options, nn_plan **out,
                          dermis_error *err)
{
    if (options->threads < 1)
        return base_fail(err, DERMIS_E_USAGE, "a plan needs at least one thread");
    if (options->cam_layer >= 0 && (uint32_t)options->cam_layer >= graph->layer_count)
        return base_fail(err, DERMIS_E_USAGE, "layer %d of %u", options->cam_layer,
                         graph->layer_count);
    nn_plan *plan = base_calloc(BASE_TAG_NN, 1, sizeof *plan);
    if (!plan)
        return base_fail(err, DERMIS_E_MEMORY, "not enough memory for a plan");
    plan->graph = graph;
    plan->options = *options;
    plan->kernels = kernels_get(options->cap);
    plan->target = plan->seed = plan->logits = plan->target_gradient = NN_NONE;
    dermis_status status;
    if ((status = make_room(plan, err)) || (status = nn_build_forward(plan, err)) ||
        (plan->target != NN_NONE && (status = nn_build_backward(plan, err))) ||
        (status = nn_place(plan, err))) {
        nn_plan_free(plan);
        return status;
    }
    measure_scratch(plan);
    *out = plan;
    return DERMIS_OK;
}

void nn_plan_free(nn_plan *plan)
{
    if (!plan)
        return;
    base_free(plan->values);
    base_free(plan->steps);
    base_free(plan->links);
    base_free(plan->node_value);
    base_free(plan->target_shift);
    base_free(plan);
}

void nn_plan_get_info(const nn_plan *plan, nn_plan_info *out)
{
    *out = (nn_plan_info){.activation_bytes = plan->activation_bytes,
                          .gradient_bytes = plan->gradient_bytes,
                          .scratch_bytes = plan->scratch_bytes,
                          .arena_bytes = plan->arena_bytes,
                          .largest_live_bytes = plan->largest_live_bytes,
                          .steps = plan->forward_count};
}

void nn_plan_get_step(const nn_plan *plan, unsigned index, nn_step_info *out)
{
    const nn_step *step = &plan->steps[index];
    const model_node *n = &plan->graph->nodes[step->node];
    const nn_value *v = &plan->values[step->out], *root = v;
    while (plan->values[root - plan->values].root != (uint32_t)(root - plan->values))
        root = &plan->values[root->root];
    bool weighted = step->op == n->op; /* not the activation or sum that a split left behind */
    size_t weights = 0;
    for (int role = 0; weighted && role < MODEL_ROLE_COUNT; role++)
        weights += n->tensors[role].bytes;
    *out = (nn_step_info){.name = n->name,
                          .op = model_op_name(step->op),
                          .node = step->node,
                          .out = v->shape,
                          .offset = root->offset,
                          .bytes = v->elements * sizeof(float),
                          .macs = weighted ? model_node_macs(plan->graph, step->node) : 0,
                          .weight_bytes = weights};
}
