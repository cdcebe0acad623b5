/* gguf_write.c - a checked graph to a GGUF file that appears whole or not at all. */
#include "model/gguf.h"

#include <string.h>

const char *const model_role_names[MODEL_ROLE_COUNT] = {"weight", "bias", "scale", "shift"};

bool model_text_valid(const char *text, size_t n, size_t most)
{
    if (n > most)
        return false;
    for (size_t at = 0, length; at < n; at += length) {
        length = most == MODEL_MAX_TEXT ? base_utf8_next(text + at, n - at)
                                        : base_utf8_next_printable(text + at, n - at);
        if (length == 0 || text[at] == 0)
            return false;
    }
    return true;
}

typedef struct writer {
    FILE *file;
    uint64_t at; /* bytes written */
} writer;

static void put(writer *w, const void *data, size_t n)
{
    fwrite(data, 1, n, w->file); /* errors stick to the stream; base_out_commit sees them */
    w->at += n;
}

static void put_number(writer *w, uint64_t v, size_t bytes)
{
    uint8_t raw[8];
    for (size_t i = 0; i < bytes; i++)
        raw[i] = (uint8_t)(v >> (8 * i));
    put(w, raw, bytes);
}

static void put_u32(writer *w, uint32_t v)
{
    put_number(w, v, 4);
}

static void put_u64(writer *w, uint64_t v)
{
    put_number(w, v, 8);
}

static void put_string(writer *w, const char *text)
{
    size_t n = strlen(text);
    put_u64(w, n);
    put(w, text, n);
}

static void put_padding(writer *w)
{
    static const uint8_t zeros[GGUF_ALIGNMENT];
    put(w, zeros, (size_t)(base_align_up((size_t)w->at, GGUF_ALIGNMENT) - w->at));
}

/* ---- metadata: each key is counted by a first pass that writes nothing ---- */

typedef struct metadata {
    writer *w; /* NULL: count only */
    uint64_t count;
} metadata;

static writer *key(metadata *m, const char *name, enum gguf_type type)
{
    m->count++;
    if (m->w) {
        put_string(m->w, name);
        put_u32(m->w, type);
    }
    return m->w;
}

static void key_u32(metadata *m, const char *name, uint32_t v)
{
    writer *w = key(m, name, GGUF_U32);
    if (w)
        put_u32(w, v);
}

static void key_string(metadata *m, const char *name, const char *text)
{
    writer *w = text ? key(m, name, GGUF_STRING) : NULL;
    if (w)
        put_string(w, text);
}

/* Begins an array; an empty one is left out of the file. */
static writer *key_array(metadata *m, const char *name, enum gguf_type element, uint64_t count)
{
    writer *w = count ? key(m, name, GGUF_ARRAY) : NULL;
    if (w) {
        put_u32(w, element);
        put_u64(w, count);
    }
    return w;
}

/* All attributes of one kind (integers or floats) of all nodes, in the tables' order. */
static uint64_t each_attribute(const model_graph *g, bool floats, writer *w)
{
    uint64_t n = 0;
    for (uint32_t i = 0; i < g->node_count; i++) {
        size_t count;
        const model_attribute *list = model_op_attributes(g->nodes[i].op, &count);
        for (size_t k = 0; k < count; k++) {
            if (list[k].is_float != floats)
                continue;
            uint32_t bits;
            memcpy(&bits, (const char *)&g->nodes[i].at + list[k].offset, sizeof bits);
            if (w)
                put_u32(w, bits);
            n++;
        }
    }
    return n;
}

static void put_nodes(metadata *m, const model_graph *g)
{
    uint64_t inputs = 0;
    for (uint32_t i = 0; i < g->node_count; i++)
        inputs += g->nodes[i].input_count;
    writer *w = key_array(m, "dermis.graph.op", GGUF_STRING, g->node_count);
    for (uint32_t i = 0; w && i < g->node_count; i++)
        put_string(w, model_op_name(g->nodes[i].op));
    w = key_array(m, "dermis.graph.name", GGUF_STRING, g->node_count);
    for (uint32_t i = 0; w && i < g->node_count; i++)
        put_string(w, g->nodes[i].name);
    w = key_array(m, "dermis.graph.input_count", GGUF_U32, g->node_count);
    for (uint32_t i = 0; w && i < g->node_count; i++)
        put_u32(w, g->nodes[i].input_count);
    w = key_array(m, "dermis.graph.inputs", GGUF_U32, inputs);
    for (uint32_t i = 0; w && i < g->node_count; i++)
        for (uint32_t k = 0; k < g->nodes[i].input_count; k++)
            put_u32(w, g->nodes[i].inputs[k]);
    w = key_array(m, "dermis.graph.ints", GGUF_I32, each_attribute(g, false, NULL));
    if (w)
        each_attribute(g, false, w);
    w = key_array(m, "dermis.graph.floats", GGUF_F32, each_attribute(g, true, NULL));
    if (w)
        each_attribute(g, true, w);
}

static void put_layers(metadata *m, const model_graph *g)
{
    writer *w = key_array(m, "dermis.layers.name", GGUF_STRING, g->layer_count);
    for (uint32_t i = 0; w && i < g->layer_count; i++)
        put_string(w, g->layers[i].name);
    w = key_array(m, "dermis.layers.node", GGUF_U32, g->layer_count);
    for (uint32_t i = 0; w && i < g->layer_count; i++)
        put_u32(w, g->layers[i].node);
    w = key_array(m, "dermis.layers.after_activation", GGUF_BOOL, g->layer_count);
    for (uint32_t i = 0; w && i < g->layer_count; i++)
        put_number(w, g->layers[i].after_activation, 1);
}

static bool any_f16(const model_graph *g)
{
    for (uint32_t i = 0; i < g->node_count; i++)
        if (g->nodes[i].tensors[MODEL_WEIGHT].type == MODEL_F16)
            return true;
    return false;
}

static void put_metadata(metadata *m, const model_graph *g)
{
    key_string(m, "general.architecture", "dermis");
    key_string(m, "general.name", g->name);
    key_string(m, "general.license", g->license);
    key_u32(m, "general.alignment", GGUF_ALIGNMENT);
    key_u32(m, "general.quantization_version", 2);
    key_u32(m, "general.file_type", any_f16(g) ? 1 : 0);
    key_u32(m, "dermis.format_version", DERMIS_FORMAT);
    key_string(m, "dermis.source", g->source);
    key_string(m, "dermis.source_sha256", g->source_sha256);
    key_string(m, "dermis.preprocess", g->preprocess);
    writer *w = key_array(m, "dermis.classes", GGUF_STRING, g->class_count);
    for (uint32_t i = 0; w && i < g->class_count; i++)
        put_string(w, g->classes[i]);
    key_string(m, "dermis.class_card", g->class_card);
    w = key_array(m, "dermis.warnings", GGUF_STRING, g->warning_count);
    for (uint32_t i = 0; w && i < g->warning_count; i++)
        put_string(w, g->warnings[i]);
    put_nodes(m, g);
    put_layers(m, g);
    w = key(m, "dermis.cam.layer", GGUF_I32);
    if (w)
        put_u32(w, (uint32_t)g->cam_layer);
}

/* ---- tensors ---- */

/* Dimensions as GGUF writes them, fastest first. */
static uint32_t dimensions(const model_node *n, model_role role, uint64_t dims[3])
{
    uint64_t count = n->tensors[role].bytes / (n->tensors[role].type == MODEL_F16 ? 2 : 4);
    bool conv = n->op == MODEL_CONV || n->op == MODEL_DEPTHWISE;
    if (!conv || role != MODEL_WEIGHT) {
        dims[0] = count;
        return 1;
    }
    uint64_t out = (uint64_t)n->at.conv.out_c, groups = (uint64_t)n->at.conv.groups;
    uint64_t blocks = groups * ((out / groups + 15) / 16);
    dims[0] = 16;
    dims[1] = count / 16 / blocks;
    dims[2] = blocks;
    return 3;
}

/* Calls for each tensor in the order of the file: information (data false) or the data. */
static void put_tensors(writer *w, const model_graph *g, bool data)
{
    uint64_t offset = 0;
    for (uint32_t i = 0; i < g->node_count; i++)
        for (int role = 0; role < MODEL_ROLE_COUNT; role++) {
            const model_tensor *t = &g->nodes[i].tensors[role];
            if (!t->data)
                continue;
            if (data) {
                put(w, t->data, t->bytes);
                put_padding(w);
                continue;
            }
            char name[64];
            snprintf(name, sizeof name, "node.%u.%s", i, model_role_names[role]);
            put_string(w, name);
            uint64_t dims[3];
            uint32_t count = dimensions(&g->nodes[i], (model_role)role, dims);
            put_u32(w, count);
            for (uint32_t k = 0; k < count; k++)
                put_u64(w, dims[k]);
            put_u32(w, t->type == MODEL_F16 ? GGML_F16 : GGML_F32);
            put_u64(w, offset);
            offset += base_align_up(t->bytes, GGUF_ALIGNMENT);
        }
}

static dermis_status check_text(const char *text, size_t most, const char *what, dermis_error *err)
{
    if (!text || model_text_valid(text, strlen(text), most))
        return DERMIS_OK;
    return base_fail(err, DERMIS_E_MODEL_INVALID,
                     "%s is longer than %zu bytes, not UTF-8, or has control characters: %.60s", what,
                     most, text);
}

/* What the reader would refuse is not written. */
static dermis_status check_texts(const model_graph *g, dermis_error *err)
{
    const struct {
        const char *text, *what;
        size_t most;
    } single[] = {{g->name, "the model's name", MODEL_MAX_NAME},
                  {g->license, "the licence", MODEL_MAX_NAME},
                  {g->source, "the source", MODEL_MAX_TEXT},
                  {g->source_sha256, "the source's checksum", MODEL_MAX_NAME},
                  {g->preprocess, "the preprocessing", MODEL_MAX_NAME},
                  {g->class_card, "the class card", MODEL_MAX_TEXT}};
    dermis_status status = DERMIS_OK;
    for (size_t i = 0; !status && i < sizeof single / sizeof *single; i++)
        status = check_text(single[i].text, single[i].most, single[i].what, err);
    for (uint32_t i = 0; !status && i < g->node_count; i++)
        status = check_text(g->nodes[i].name, MODEL_MAX_NAME, "a node's name", err);
    for (uint32_t i = 0; !status && i < g->layer_count; i++)
        status = check_text(g->layers[i].name, MODEL_MAX_NAME, "a layer's name", err);
    for (uint32_t i = 0; !status && i < g->class_count; i++)
        status = check_text(g->classes[i], MODEL_MAX_NAME, "a class's name", err);
    for (uint32_t i = 0; !status && i < g->warning_count; i++)
        status = check_text(g->warnings[i], MODEL_MAX_NAME, "a warning", err);
    if (!status && g->warning_count > MODEL_MAX_WARNINGS)
        status = base_fail(err, DERMIS_E_MODEL_INVALID, "%u warnings; at most %d", g->warning_count, MODEL_MAX_WARNINGS);
    return status;
}

dermis_status model_write(const model_graph *g, const char *path, dermis_error *err)
{
    base_out out;
    dermis_status status = check_texts(g, err);
    if (status == DERMIS_OK)
        status = base_out_open(path, &out, err);
    if (status != DERMIS_OK)
        return status;
    uint64_t tensors = 0;
    for (uint32_t i = 0; i < g->node_count; i++)
        for (int role = 0; role < MODEL_ROLE_COUNT; role++)
            tensors += g->nodes[i].tensors[role].data != NULL;
    metadata counted = {NULL, 0};
    put_metadata(&counted, g);

    writer w = {out.file, 0};
    put_u32(&w, GGUF_MAGIC);
    put_u32(&w, GGUF_VERSION);
    put_u64(&w, tensors);
    put_u64(&w, counted.count);
    metadata written = {&w, 0};
    put_metadata(&written, g);
    put_tensors(&w, g, false);
    put_padding(&w);
    put_tensors(&w, g, true);
    return base_out_commit(&out, err);
}
