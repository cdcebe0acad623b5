/* graph.c - validation and shape inference: what a graph must be before anything runs it. Works on
 * graphs from files and on those that the importer builds. Pure functions over the caller's graph. */
#include "model/model.h"

#include <math.h>
#include <stdarg.h>
#include <string.h>

/* One node under check; `fail` names it. */
typedef struct site {
    model_graph *graph;
    uint32_t index;
    model_node *node;
    dermis_error *err;
} site;

#define FAIL(s, ...) fail_at(s, __VA_ARGS__)

__attribute__((format(printf, 2, 3))) static dermis_status fail_at(const site *s,
                                                                   const char *format, ...)
{
    char text[DERMIS_ERROR_TEXT_BYTES];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return base_fail(s->err, DERMIS_E_MODEL_INVALID, "node %u (%s, %s): %s", s->index,
                     s->node->name, model_op_name(s->node->op), text);
}

static model_shape input_shape(const model_graph *graph, const model_node *node, uint32_t i)
{
    return graph->nodes[node->inputs[i]].out;
}

static bool is_conv(const model_node *node)
{
    return node->op == MODEL_CONV || node->op == MODEL_DEPTHWISE;
}

static dermis_status check_attributes(const site *s)
{
    size_t count;
    const model_attribute *list = model_op_attributes(s->node->op, &count);
    for (size_t i = 0; i < count; i++) {
        const char *at = (const char *)&s->node->at + list[i].offset;
        if (list[i].is_float) {
            float v;
            memcpy(&v, at, sizeof v);
            /* a ceiling may be infinite (ReLU without maximum), nothing may be NaN */
            if (isnan(v))
                return FAIL(s, "attribute %s is not a number", list[i].name);
        } else {
            int32_t v;
            memcpy(&v, at, sizeof v);
            if (v < list[i].minimum || v > list[i].maximum)
                return FAIL(s, "attribute %s = %d is outside %d..%d", list[i].name, v,
                            list[i].minimum, list[i].maximum);
        }
    }
    return DERMIS_OK;
}

static dermis_status check_inputs(const site *s)
{
    const model_node *n = s->node;
    uint32_t least = 1, most = 1;
    if (n->op == MODEL_INPUT)
        least = most = 0;
    else if (n->op == MODEL_BINARY || (is_conv(n) && n->at.conv.residual != 0))
        least = most = 2;
    else if (n->op == MODEL_CONCAT)
        most = MODEL_MAX_INPUTS;
    if (n->input_count < least || n->input_count > most)
        return FAIL(s, "%u inputs where %u to %u belong", n->input_count, least, most);
    for (uint32_t i = 0; i < n->input_count; i++)
        if (n->inputs[i] >= s->index)
            return FAIL(s, "input %u is node %u, which does not stand before it", i, n->inputs[i]);
    if ((n->op == MODEL_INPUT) != (s->index == 0))
        return FAIL(s, "the input must be node 0 and no other");
    return DERMIS_OK;
}

/* Extent of a window operator's output; false where the window does not fit. */
static bool window(uint32_t in, int32_t before, int32_t after, int32_t kernel, int32_t stride,
                   int32_t dilation, uint32_t *out)
{
    int64_t room = (int64_t)in + before + after - ((int64_t)dilation * (kernel - 1) + 1);
    if (room < 0)
        return false;
    *out = (uint32_t)(room / stride + 1);
    return true;
}

static dermis_status infer_conv(const site *s, model_shape in, model_shape *out)
{
    const model_conv *c = &s->node->at.conv;
    uint32_t out_c = (uint32_t)c->out_c, groups = (uint32_t)c->groups;
    if (s->node->op == MODEL_DEPTHWISE) {
        if (groups != 1 || out_c % in.c != 0)
            return FAIL(s, "%u output channels over %u input channels in %u groups", out_c, in.c,
                        groups);
    } else if (in.c % groups != 0 || out_c % groups != 0) {
        return FAIL(s, "%u input and %u output channels do not divide into %u groups", in.c, out_c,
                    groups);
    }
    if (!window(in.h, c->pad_top, c->pad_bottom, c->kernel_h, c->stride_h, c->dilation_h, &out->h) ||
        !window(in.w, c->pad_left, c->pad_right, c->kernel_w, c->stride_w, c->dilation_w, &out->w))
        return FAIL(s, "the kernel is larger than its padded input of %u x %u", in.h, in.w);
    out->c = out_c;
    if (c->residual != 0) {
        model_shape r = input_shape(s->graph, s->node, 1);
        if (r.h != out->h || r.w != out->w || r.c != out->c)
            return FAIL(s, "the residual's shape %u x %u x %u differs from the output's", r.h, r.w,
                        r.c);
    }
    return DERMIS_OK;
}

static bool broadcast(uint32_t a, uint32_t b, uint32_t *out)
{
    *out = a > b ? a : b;
    return a == b || a == 1 || b == 1;
}

static dermis_status infer_concat(const site *s, model_shape *out)
{
    uint64_t sum = 0;
    int axis = s->node->at.concat.axis;
    for (uint32_t i = 0; i < s->node->input_count; i++) {
        model_shape in = input_shape(s->graph, s->node, i);
        if (i == 0)
            *out = in;
        if ((axis != 0 && in.h != out->h) || (axis != 1 && in.w != out->w) ||
            (axis != 2 && in.c != out->c))
            return FAIL(s, "input %u of shape %u x %u x %u does not fit the others", i, in.h, in.w,
                        in.c);
        sum += axis == 0 ? in.h : axis == 1 ? in.w : in.c;
    }
    if (sum > MODEL_MAX_EXTENT)
        return FAIL(s, "the sum of extents is too large");
    *(axis == 0 ? &out->h : axis == 1 ? &out->w : &out->c) = (uint32_t)sum;
    return DERMIS_OK;
}

static bool slice_fits(uint32_t in, int32_t start, int32_t step, int32_t count)
{
    int64_t last = start + (int64_t)step * (count - 1);
    return (uint32_t)start < in && last >= 0 && last < in && (step != 0 || count == 1);
}

static dermis_status infer(const site *s, model_shape *out)
{
    const model_node *n = s->node;
    const model_attributes *at = &n->at;
    model_shape in = n->input_count ? input_shape(s->graph, n, 0) : (model_shape){0, 0, 0};
    *out = in;
    switch (n->op) {
    case MODEL_INPUT:
        *out = at->input;
        return DERMIS_OK;
    case MODEL_CONV:
    case MODEL_DEPTHWISE:
        return infer_conv(s, in, out);
    case MODEL_POOL: {
        const model_pool *p = &at->pool;
        if (p->pad_top >= p->kernel_h || p->pad_left >= p->kernel_w ||
            p->pad_bottom >= p->kernel_h || p->pad_right >= p->kernel_w)
            return FAIL(s, "padding of a whole window: it would pool nothing");
        if (!window(in.h, p->pad_top, p->pad_bottom, p->kernel_h, p->stride_h, 1, &out->h) ||
            !window(in.w, p->pad_left, p->pad_right, p->kernel_w, p->stride_w, 1, &out->w))
            return FAIL(s, "the window is larger than its padded input of %u x %u", in.h, in.w);
        return DERMIS_OK;
    }
    case MODEL_GLOBAL_POOL:
        out->h = out->w = 1;
        return DERMIS_OK;
    case MODEL_BINARY: {
        model_shape b = input_shape(s->graph, n, 1);
        if (!broadcast(in.h, b.h, &out->h) || !broadcast(in.w, b.w, &out->w) ||
            !broadcast(in.c, b.c, &out->c))
            return FAIL(s, "shapes %u x %u x %u and %u x %u x %u do not go together", in.h, in.w,
                        in.c, b.h, b.w, b.c);
        return DERMIS_OK;
    }
    case MODEL_LAYERNORM:
        if (!(at->layernorm.epsilon >= 0) || isinf(at->layernorm.epsilon))
            return FAIL(s, "epsilon must be finite and not negative");
        return DERMIS_OK;
    case MODEL_AFFINE:
    case MODEL_ACTIVATION:
    case MODEL_PRELU:
        return DERMIS_OK;
    case MODEL_CONCAT:
        return infer_concat(s, out);
    case MODEL_PAD:
        out->h = (uint32_t)(in.h + (uint64_t)at->pad.top + at->pad.bottom);
        out->w = (uint32_t)(in.w + (uint64_t)at->pad.left + at->pad.right);
        return DERMIS_OK;
    case MODEL_SLICE:
        if (!slice_fits(in.h, at->slice.start_h, at->slice.step_h, at->slice.h) ||
            !slice_fits(in.w, at->slice.start_w, at->slice.step_w, at->slice.w) ||
            !slice_fits(in.c, at->slice.start_c, at->slice.step_c, at->slice.c))
            return FAIL(s, "the slice leaves its input of %u x %u x %u", in.h, in.w, in.c);
        *out = (model_shape){(uint32_t)at->slice.h, (uint32_t)at->slice.w, (uint32_t)at->slice.c};
        return DERMIS_OK;
    case MODEL_RESIZE:
        out->h = (uint32_t)at->resize.h;
        out->w = (uint32_t)at->resize.w;
        return DERMIS_OK;
    case MODEL_RESHAPE:
        *out = (model_shape){(uint32_t)at->reshape.h, (uint32_t)at->reshape.w,
                             (uint32_t)at->reshape.c};
        if ((double)out->h * out->w * out->c != (double)in.h * in.w * in.c)
            return FAIL(s, "%u x %u x %u does not hold the elements of %u x %u x %u", out->h,
                        out->w, out->c, in.h, in.w, in.c);
        return DERMIS_OK;
    case MODEL_OP_COUNT:
        break;
    }
    return FAIL(s, "unknown operator");
}

/* Product of up to five extents; SIZE_MAX on overflow. */
static size_t product(size_t a, size_t b, size_t c, size_t d)
{
    size_t r = a;
    if (!base_mul_size(r, b, &r) || !base_mul_size(r, c, &r) || !base_mul_size(r, d, &r))
        return SIZE_MAX;
    return r;
}

/* Elements that `role` must have, 0 where it may not stand, SIZE_MAX on overflow. PReLU's two
 * possible counts are told apart by what is there. */
static size_t tensor_count(const model_graph *graph, const model_node *n, model_role role)
{
    if (n->input_count == 0)
        return 0;
    model_shape in = input_shape(graph, n, 0);
    size_t blocks, per_group;
    switch (n->op) {
    case MODEL_CONV:
    case MODEL_DEPTHWISE: {
        const model_conv *c = &n->at.conv;
        size_t groups = n->op == MODEL_CONV ? (size_t)c->groups : 1;
        per_group = n->op == MODEL_CONV ? in.c / groups : 1;
        blocks = groups * (((size_t)c->out_c / groups + 15) / 16);
        if (role == MODEL_WEIGHT)
            return product(blocks * 16, (size_t)c->kernel_h, (size_t)c->kernel_w, per_group);
        return role == MODEL_BIAS || role == MODEL_SHIFT ? blocks * 16 : 0;
    }
    case MODEL_AFFINE:
        return role == MODEL_SCALE || role == MODEL_SHIFT ? in.c : 0;
    case MODEL_LAYERNORM:
        return role == MODEL_SCALE || role == MODEL_BIAS ? in.c : 0;
    case MODEL_PRELU: {
        if (role != MODEL_WEIGHT)
            return 0;
        size_t whole = product(in.h, in.w, in.c, 1);
        return n->tensors[role].bytes == whole * sizeof(float) ? whole : in.c;
    }
    default:
        return 0;
    }
}

size_t model_tensor_bytes(const model_graph *graph, uint32_t node, model_role role, model_type type)
{
    size_t bytes;
    if (!base_mul_size(tensor_count(graph, &graph->nodes[node], role), type == MODEL_F16 ? 2 : 4,
                       &bytes))
        return SIZE_MAX;
    return bytes;
}

static dermis_status check_tensors(const site *s)
{
    static const char *const names[MODEL_ROLE_COUNT] = {"weight", "bias", "scale", "shift"};
    const model_node *n = s->node;
    for (int role = 0; role < MODEL_ROLE_COUNT; role++) {
        const model_tensor *t = &n->tensors[role];
        bool required = role == MODEL_WEIGHT && (is_conv(n) || n->op == MODEL_PRELU);
        if (!t->data) {
            if (required)
                return FAIL(s, "its weight is missing");
            continue;
        }
        size_t bytes = model_tensor_bytes(s->graph, s->index, (model_role)role, t->type);
        if (bytes == 0)
            return FAIL(s, "a %s does not belong here", names[role]);
        if (t->bytes != bytes)
            return FAIL(s, "its %s has %zu bytes where %zu belong", names[role], t->bytes, bytes);
        if (t->type != MODEL_F32 && !(role == MODEL_WEIGHT && is_conv(n)))
            return FAIL(s, "its %s must be float32", names[role]);
    }
    return DERMIS_OK;
}

static dermis_status check_node(const site *s)
{
    dermis_status status;
    model_shape out;
    if ((unsigned)s->node->op >= MODEL_OP_COUNT)
        return FAIL(s, "unknown operator");
    if ((status = check_attributes(s)) || (status = check_inputs(s)) || (status = infer(s, &out)))
        return status;
    size_t elements = product(out.h, out.w, out.c, 1);
    if (elements == 0 || elements > MODEL_MAX_ELEMENTS)
        return FAIL(s, "an output of %u x %u x %u is past the limit of %zu elements", out.h, out.w,
                    out.c, (size_t)MODEL_MAX_ELEMENTS);
    s->node->out = out;
    return check_tensors(s);
}

static dermis_status check_layers(const model_graph *g, dermis_error *err)
{
    for (uint32_t i = 0; i < g->layer_count; i++)
        if (g->layers[i].node == 0 || g->layers[i].node >= g->node_count)
            return base_fail(err, DERMIS_E_MODEL_INVALID, "layer %u (%s) names node %u of %u", i,
                             g->layers[i].name, g->layers[i].node, g->node_count);
    if (g->cam_layer < -1 || (g->cam_layer >= 0 && (uint32_t)g->cam_layer >= g->layer_count))
        return base_fail(err, DERMIS_E_MODEL_INVALID, "the explained layer is %d of %u",
                         g->cam_layer, g->layer_count);
    return DERMIS_OK;
}

dermis_status model_graph_check(model_graph *g, dermis_error *err)
{
    if (g->node_count < 2 || g->node_count > MODEL_MAX_NODES)
        return base_fail(err, DERMIS_E_MODEL_INVALID, "a graph of %u nodes; 2 to %u are possible",
                         g->node_count, MODEL_MAX_NODES);
    for (uint32_t i = 0; i < g->node_count; i++) {
        site s = {g, i, &g->nodes[i], err};
        dermis_status status = check_node(&s);
        if (status != DERMIS_OK)
            return status;
    }
    dermis_status status = check_layers(g, err);
    if (status != DERMIS_OK)
        return status;
    model_shape in = g->nodes[0].out, out = g->nodes[g->node_count - 1].out;
    size_t answers = (size_t)out.h * out.w * out.c;
    if (in.c != 1 && in.c != 3)
        return base_fail(err, DERMIS_E_MODEL_UNSUPPORTED,
                         "an input of %u channels; a photograph has 3 (colour) or 1 (grey)", in.c);
    if (answers > MODEL_MAX_CLASSES)
        return base_fail(err, DERMIS_E_MODEL_UNSUPPORTED,
                         "%zu answers; a classifier has at most %d", answers, MODEL_MAX_CLASSES);
    if (g->class_count && g->class_count != answers && !(answers == 1 && g->class_count == 2))
        return base_fail(err, DERMIS_E_MODEL_INVALID, "%u class names for %zu answers",
                         g->class_count, answers);
    return DERMIS_OK;
}

uint64_t model_node_macs(const model_graph *graph, uint32_t node)
{
    const model_node *n = &graph->nodes[node];
    if (!is_conv(n))
        return 0;
    uint64_t per_output = (uint64_t)n->at.conv.kernel_h * (uint64_t)n->at.conv.kernel_w;
    if (n->op == MODEL_CONV)
        per_output *= input_shape(graph, n, 0).c / (uint32_t)n->at.conv.groups;
    return per_output * n->out.h * n->out.w * n->out.c;
}
