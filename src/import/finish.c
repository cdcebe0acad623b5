/* finish.c - from the graph while it is built to the model file: weights into the file's layout and
 * type, layers for explanations, provenance. */
#include "import/codes.h"
#include "import/internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static dermis_status floats_of(import_context *c, const double *from, uint32_t n, float **out)
{
    float *v = import_new(c, n, sizeof *v);
    if (!v)
        return DERMIS_E_MEMORY;
    for (uint32_t i = 0; i < n; i++)
        v[i] = (float)from[i];
    *out = v;
    return DERMIS_OK;
}

static dermis_status put_vector(import_context *c, model_node *n, model_role role,
                                const double *from, uint32_t count)
{
    float *v;
    if (!from)
        return DERMIS_OK;
    TRY(floats_of(c, from, count, &v));
    n->tensors[role] = (model_tensor){MODEL_F32, v, count * sizeof *v};
    return DERMIS_OK;
}

static dermis_status put_block_vector(import_context *c, model_node *n, model_role role,
                                      const double *from, uint32_t count, uint32_t groups)
{
    float *v;
    if (!from)
        return DERMIS_OK;
    size_t room = model_block_vector_count(count, groups);
    float *blocks = import_new(c, room, sizeof *blocks);
    if (!blocks)
        return DERMIS_E_MEMORY;
    TRY(floats_of(c, from, count, &v));
    model_block_vector_pack(v, count, groups, blocks);
    n->tensors[role] = (model_tensor){MODEL_F32, blocks, room * sizeof *blocks};
    return DERMIS_OK;
}

static dermis_status put_kernel(import_context *c, const ir_node *from, model_node *n)
{
    const model_conv *at = &from->at.conv;
    uint32_t in_c = c->nodes[from->inputs[0]].out.c, out_c = from->out.c;
    uint32_t kh = (uint32_t)at->kernel_h, kw = (uint32_t)at->kernel_w;
    uint32_t groups = (uint32_t)at->groups;
    bool depthwise = from->op == MODEL_DEPTHWISE;
    size_t room = depthwise ? model_depthwise_weight_count(kh, kw, out_c)
                            : model_conv_weight_count(kh, kw, in_c, out_c, groups);
    float *blocks = import_new(c, room, sizeof *blocks);
    if (!blocks)
        return DERMIS_E_MEMORY;
    if (depthwise)
        model_depthwise_pack(from->weight, kh, kw, in_c, out_c / in_c, blocks);
    else
        model_conv_pack(from->weight, kh, kw, in_c, out_c, groups, blocks);
    n->tensors[MODEL_WEIGHT] = (model_tensor){MODEL_F32, blocks, room * sizeof *blocks};
    if (c->options->type == MODEL_F16) { /* in place: the halves never overtake the floats */
        for (size_t i = 0; i < room; i++) {
            uint16_t half = base_f32_to_f16(blocks[i]);
            if ((half & 0x7c00) == 0x7c00)
                return import_fail(c, DERMIS_E_MODEL_UNSUPPORTED,
                                   "layer '%s': a weight of %g is too large for float16; convert "
                                   "with --type f32",
                                   from->name, (double)blocks[i]);
            memcpy((char *)blocks + i * sizeof half, &half, sizeof half);
        }
        n->tensors[MODEL_WEIGHT] = (model_tensor){MODEL_F16, blocks, room * sizeof(uint16_t)};
    }
    TRY(put_block_vector(c, n, MODEL_BIAS, from->bias, out_c, groups));
    return put_block_vector(c, n, MODEL_SHIFT, from->fold, out_c, groups);
}

static dermis_status put_node(import_context *c, const ir_node *from, const uint32_t *number,
                              model_node *n)
{
    uint32_t *in = import_new(c, from->input_count, sizeof *in);
    if (!in)
        return DERMIS_E_MEMORY;
    for (uint32_t i = 0; i < from->input_count; i++)
        in[i] = number[from->inputs[i]];
    n->op = from->op;
    n->name = from->name;
    n->inputs = in;
    n->input_count = from->input_count;
    n->at = from->at;
    if (from->op == MODEL_CONV || from->op == MODEL_DEPTHWISE)
        return put_kernel(c, from, n);
    if (from->op == MODEL_PRELU)
        n->tensors[MODEL_WEIGHT] =
            (model_tensor){MODEL_F32, from->weight, from->weight_count * sizeof(float)};
    bool norm = from->op == MODEL_LAYERNORM;
    TRY(put_vector(c, n, MODEL_SCALE, from->scale, from->out.c));
    return put_vector(c, n, norm ? MODEL_BIAS : MODEL_SHIFT, from->shift, from->out.c);
}

static int by_order(const void *a, const void *b)
{
    uint32_t x = ((const ir_layer *)a)->layer->order, y = ((const ir_layer *)b)->layer->order;
    return x < y ? -1 : x > y;
}

static dermis_status put_layers(import_context *c, const uint32_t *number, model_graph *g)
{
    model_layer *layers = import_new(c, c->layer_count, sizeof *layers);
    if (!layers)
        return DERMIS_E_MEMORY;
    if (c->layer_count)
        qsort(c->layers, c->layer_count, sizeof *c->layers, by_order);
    g->layers = layers;
    g->cam_layer = -1;
    for (uint32_t i = 0; i < c->layer_count; i++) {
        const ir_layer *l = &c->layers[i];
        const ir_node *n = &c->nodes[l->node];
        if (n->dead)
            continue; /* does not lead to the answer */
        if (n->out.h > 1 || n->out.w > 1)
            g->cam_layer = (int32_t)g->layer_count;
        layers[g->layer_count++] = (model_layer){l->name, number[l->node], l->own_activation};
    }
    return DERMIS_OK;
}

/* Scores become probabilities, as the loss that they were trained with made of them. */
static dermis_status answer_probabilities(import_context *c)
{
    import_answer wanted = c->options->answer;
    const ir_node *last = &c->nodes[c->output];
    if (last->op == MODEL_ACTIVATION && (wanted == IMPORT_ANSWER_AUTO || wanted == IMPORT_ANSWER_AS_IS))
        return DERMIS_OK;
    if (last->op == MODEL_ACTIVATION)
        return import_fail(c, DERMIS_E_USAGE, "--answer: the model's last layer has an activation already; leave "
                                              "the option out");
    if (wanted == IMPORT_ANSWER_AS_IS) {
        import_warn(c, "the model's last layer has neither softmax nor sigmoid: its answers are scores, and "
                       "what is shown as per cent means nothing");
        return DERMIS_OK;
    }
    bool each = wanted == IMPORT_ANSWER_SIGMOID || (wanted == IMPORT_ANSWER_AUTO && last->out.c == 1);
    if (wanted == IMPORT_ANSWER_AUTO)
        import_warn(c, "the model's last layer has no activation: a %s makes probabilities of its scores "
                       "(if that is right or wrong, say so: `dermis convert IN OUT.gguf --answer softmax`, sigmoid or "
                       "as-is)", each ? "sigmoid" : "softmax");
    model_attributes at = {.activation = {each ? CODE_ACT_SIGMOID : CODE_ACT_SOFTMAX, 0, 0, 0}};
    return import_ir_append(c, MODEL_ACTIVATION, "probabilities", &(import_tensor){c->output, 1}, 1, at, last->out,
                            &c->output);
}

dermis_status import_finish(import_context *c, import_summary *summary)
{
    const import_options *o = c->options;
    char hex[65];
    model_graph g = {0};
    TRY(answer_probabilities(c));
    uint32_t *number = import_new(c, c->node_count, sizeof *number);
    model_node *nodes = import_new(c, c->node_count, sizeof *nodes);
    if (!number || !nodes)
        return DERMIS_E_MEMORY;
    g.nodes = nodes;
    for (uint32_t i = 0; i < c->node_count; i++) {
        if (c->nodes[i].dead)
            continue;
        import_progress(c, 0.8 + 0.1 * i / c->node_count, "packing");
        number[i] = g.node_count;
        TRY(put_node(c, &c->nodes[i], number, &nodes[g.node_count++]));
    }
    TRY(put_layers(c, number, &g));
    TRY(import_classes_read(c, o->classes, &g.classes, &g.class_count, &g.class_card));
    uint32_t answers = c->nodes[c->output].out.c;
    if (g.class_count && g.class_count != answers && !(answers == 1 && g.class_count == 2))
        return import_fail(c, DERMIS_E_USAGE, "--classes has %u names, the model has %u answers",
                           g.class_count, answers);
    TRY(import_sha256_file(c, o->in, hex));
    const char *base = strrchr(o->in, '/');
    import_clean(c->name);
    g.name = o->name ? o->name : c->name;
    char *source = import_text(c, "%.200s, Keras %s", base ? base + 1 : o->in, c->keras_version);
    if (source)
        import_clean(source);
    g.source = source;
    g.source_sha256 = hex;
    g.preprocess = o->preprocess ? o->preprocess : "none";
    g.warnings = c->warnings;
    g.warning_count = c->warning_count;
    g.license = o->license ? o->license : c->card_license;
    if (!g.source)
        return DERMIS_E_MEMORY;
    TRY(model_graph_check(&g, c->err));
    if (c->err->status != DERMIS_OK) /* a failure that its caller passed over, as memory can be */
        return c->err->status;
    import_progress(c, 0.92, "writing");
    TRY(model_write(&g, o->out, c->err));
    import_progress(c, 1, "done");
    if (!summary)
        return DERMIS_OK;
    *summary = (import_summary){.input = nodes[0].out,
                                .outputs = answers,
                                .nodes = g.node_count,
                                .keras_layers = c->keras_layers,
                                .parameters = c->parameters};
    snprintf(summary->model, sizeof summary->model, "%s", g.name);
    snprintf(summary->source, sizeof summary->source, "%s", g.source);
    if (g.cam_layer >= 0)
        snprintf(summary->cam_layer, sizeof summary->cam_layer, "%s", g.layers[g.cam_layer].name);
    for (uint32_t i = 0; i < g.node_count; i++) {
        summary->macs += model_node_macs(&g, i);
        for (int r = 0; r < MODEL_ROLE_COUNT; r++)
            summary->weight_bytes += nodes[i].tensors[r].bytes;
    }
    return DERMIS_OK;
}
