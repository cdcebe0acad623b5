/* gguf_read.c - a model file as a validated, read-only view. Every number is bounds-checked before
 * it is used; memory is taken only for what the file's own size can hold. The view is immutable:
 * any number of threads may read it. model_close frees everything. */
#include "model/gguf.h"

#include <stdarg.h>
#include <string.h>

#define MAX_KEYS        1024  /* a dermis file has about 25 */

struct model {
    base_map map;
    char *path;
    const uint8_t *data;
    size_t size;
    model_graph graph;
    /* what graph points into */
    model_node *nodes;
    model_layer *layers;
    const char **classes, **warnings;
    uint32_t *inputs;
    char *texts; /* all strings, each NUL-terminated */
    size_t texts_used, texts_size;
};

/* A metadata value as it stands in the file. */
typedef struct value {
    enum gguf_type type, element; /* element: of arrays */
    uint64_t count;               /* 1, or of the array */
    size_t at, end;               /* bytes of the payload in the file */
    const uint8_t *key;
    size_t key_bytes;
} value;

typedef struct parser {
    base_reader in;
    model *m;
    value *values;
    size_t value_count;
    uint64_t tensor_count;
    dermis_error *err;
} parser;

static dermis_status invalid(parser *p, const char *format, ...) __attribute__((format(printf, 2, 3)));

static dermis_status invalid(parser *p, const char *format, ...)
{
    char text[DERMIS_ERROR_TEXT_BYTES];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return base_fail(p->err, DERMIS_E_MODEL_INVALID, "%s: not a valid model: %s", p->m->path, text);
}

static dermis_status no_memory(parser *p)
{
    return base_fail(p->err, DERMIS_E_MEMORY, "%s: not enough memory to open it", p->m->path);
}

/* ---- first pass: where each metadata value stands ---- */

static size_t scalar_bytes(enum gguf_type type)
{
    static const uint8_t bytes[] = {[GGUF_U8] = 1,  [GGUF_I8] = 1,   [GGUF_U16] = 2, [GGUF_I16] = 2,
                                    [GGUF_U32] = 4, [GGUF_I32] = 4,  [GGUF_F32] = 4, [GGUF_BOOL] = 1,
                                    [GGUF_U64] = 8, [GGUF_I64] = 8,  [GGUF_F64] = 8};
    return (unsigned)type < sizeof bytes ? bytes[type] : 0;
}

static const uint8_t *read_text(base_reader *r, size_t most, size_t *bytes)
{
    uint64_t n = base_read_u64(r);
    if (n > most) {
        r->failed = true;
        return NULL;
    }
    *bytes = (size_t)n;
    return base_read_bytes(r, (size_t)n);
}

/* Steps over `count` elements; false past the end or for a type that cannot stand there. */
static bool skip_elements(base_reader *r, enum gguf_type type, uint64_t count)
{
    if (type == GGUF_STRING) {
        size_t n;
        for (uint64_t i = 0; i < count && !r->failed; i++)
            read_text(r, MODEL_MAX_TEXT, &n);
        return !r->failed;
    }
    size_t each = scalar_bytes(type), whole;
    if (each == 0 || count > r->size || !base_mul_size(each, (size_t)count, &whole))
        return false;
    return base_read_bytes(r, whole) != NULL;
}

static dermis_status read_header(parser *p)
{
    uint32_t magic = base_read_u32(&p->in), version = base_read_u32(&p->in);
    if (p->in.failed || magic != GGUF_MAGIC)
        return invalid(p, "it is neither GGUF, nor a Keras model (zip or HDF5)");
    if (version != GGUF_VERSION)
        return invalid(p, "GGUF version %u; version %u can be read", version, GGUF_VERSION);
    p->tensor_count = base_read_u64(&p->in);
    uint64_t keys = base_read_u64(&p->in);
    if (p->in.failed || keys > MAX_KEYS ||
        p->tensor_count > (uint64_t)MODEL_MAX_NODES * MODEL_ROLE_COUNT)
        return invalid(p, "its header asks for too much, or ends early");
    p->values = base_calloc(BASE_TAG_MODEL, (size_t)keys + 1, sizeof *p->values);
    if (!p->values)
        return no_memory(p);
    for (uint64_t i = 0; i < keys; i++) {
        value v = {.count = 1};
        v.key = read_text(&p->in, MODEL_MAX_NAME, &v.key_bytes);
        v.type = base_read_u32(&p->in);
        enum gguf_type type = v.type;
        if (type == GGUF_ARRAY) {
            type = v.element = base_read_u32(&p->in);
            v.count = base_read_u64(&p->in);
        }
        v.at = p->in.at;
        if (p->in.failed || !skip_elements(&p->in, type, v.count))
            return invalid(p, "metadata entry %llu holds a text of more than %zu bytes, runs past "
                              "the end, or has an unknown type",
                           (unsigned long long)i, MODEL_MAX_TEXT);
        v.end = p->in.at;
        for (size_t k = 0; k < p->value_count; k++)
            if (p->values[k].key_bytes == v.key_bytes &&
                memcmp(p->values[k].key, v.key, v.key_bytes) == 0)
                return invalid(p, "the key %.*s stands there twice", (int)v.key_bytes, v.key);
        p->values[p->value_count++] = v;
    }
    return DERMIS_OK;
}

static const value *find(const parser *p, const char *key)
{
    size_t n = strlen(key);
    for (size_t i = 0; i < p->value_count; i++)
        if (p->values[i].key_bytes == n && memcmp(p->values[i].key, key, n) == 0)
            return &p->values[i];
    return NULL;
}

/* *out NULL where the key is absent and may be. */
static dermis_status get(parser *p, const char *key, enum gguf_type type, enum gguf_type element,
                         bool required, const value **out)
{
    const value *v = find(p, key);
    if (!v && required)
        return invalid(p, "the key %s is missing", key);
    if (v && (v->type != type || (type == GGUF_ARRAY && v->element != element)))
        return invalid(p, "the key %s has the wrong type", key);
    *out = v;
    return DERMIS_OK;
}

static base_reader payload(const parser *p, const value *v)
{
    base_reader r;
    base_reader_init(&r, p->m->data, v ? v->end : 0);
    r.at = v ? v->at : 0;
    return r;
}

/* ---- strings ---- */

/* Copies the next string of `r` behind the others; room was made for the whole file's strings. */
static dermis_status take_string(parser *p, base_reader *r, size_t most, const char *key,
                                 const char **out)
{
    size_t n = 0;
    const uint8_t *s = read_text(r, most, &n);
    if (!s)
        return invalid(p, "the key %s holds a text of more than %zu bytes", key, most);
    if (!model_text_valid((const char *)s, n, most))
        return invalid(p, "the key %s holds text that is not UTF-8, or control characters", key);
    char *copy = p->m->texts + p->m->texts_used;
    if (n + 1 > p->m->texts_size - p->m->texts_used)
        return invalid(p, "the key %s holds more text than the file", key);
    memcpy(copy, s, n);
    copy[n] = 0;
    p->m->texts_used += n + 1;
    *out = copy;
    return DERMIS_OK;
}

static dermis_status get_string(parser *p, const char *key, size_t most, const char **out)
{
    const value *v;
    dermis_status status = get(p, key, GGUF_STRING, 0, false, &v);
    if (status != DERMIS_OK || !v)
        return status;
    base_reader r = payload(p, v);
    return take_string(p, &r, most, key, out);
}

static dermis_status get_u32(parser *p, const char *key, uint32_t *out)
{
    const value *v;
    dermis_status status = get(p, key, GGUF_U32, 0, true, &v);
    if (status != DERMIS_OK)
        return status;
    base_reader r = payload(p, v);
    *out = base_read_u32(&r);
    return DERMIS_OK;
}

/* ---- graph ---- */

static void *room(uint64_t count, size_t each)
{
    return base_calloc(BASE_TAG_MODEL, (size_t)count + 1, each); /* never NULL for zero elements */
}

/* An array of names, which may be absent: then *count is 0. */
static dermis_status get_names(parser *p, const char *key, uint64_t most, const char ***out, uint32_t *count)
{
    const value *v;
    dermis_status status = get(p, key, GGUF_ARRAY, GGUF_STRING, false, &v);
    if (status || !v)
        return status;
    if (v->count > most)
        return invalid(p, "the key %s has %llu texts; at most %llu can be read", key, (unsigned long long)v->count,
                       (unsigned long long)most);
    if (!(*out = room(v->count, sizeof **out)))
        return no_memory(p);
    base_reader r = payload(p, v);
    for (uint64_t i = 0; i < v->count && !status; i++)
        status = take_string(p, &r, MODEL_MAX_NAME, key, &(*out)[i]);
    *count = (uint32_t)v->count;
    return status;
}

static dermis_status read_texts(parser *p)
{
    model *m = p->m;
    model_graph *g = &m->graph;
    dermis_status status;
    if ((status = get_string(p, "general.name", MODEL_MAX_NAME, &g->name)) ||
        (status = get_string(p, "general.license", MODEL_MAX_NAME, &g->license)) ||
        (status = get_string(p, "dermis.source", MODEL_MAX_TEXT, &g->source)) ||
        (status = get_string(p, "dermis.source_sha256", MODEL_MAX_NAME, &g->source_sha256)) ||
        (status = get_string(p, "dermis.preprocess", MODEL_MAX_NAME, &g->preprocess)) ||
        (status = get_string(p, "dermis.class_card", MODEL_MAX_TEXT, &g->class_card)))
        return status;
    if ((status = get_names(p, "dermis.classes", MODEL_MAX_CLASSES, &m->classes, &g->class_count)) ||
        (status = get_names(p, "dermis.warnings", MODEL_MAX_WARNINGS, &m->warnings, &g->warning_count)))
        return status;
    g->classes = m->classes;
    g->warnings = m->warnings;
    return DERMIS_OK;
}

static dermis_status read_attributes(parser *p, model_node *node, base_reader *ints,
                                     base_reader *floats)
{
    size_t count;
    const model_attribute *list = model_op_attributes(node->op, &count);
    for (size_t k = 0; k < count; k++) {
        uint32_t bits = base_read_u32(list[k].is_float ? floats : ints);
        memcpy((char *)&node->at + list[k].offset, &bits, sizeof bits);
    }
    if (ints->failed || floats->failed)
        return invalid(p, "the keys dermis.graph.ints or .floats end early");
    return DERMIS_OK;
}

static dermis_status read_nodes(parser *p)
{
    model *m = p->m;
    const value *ops, *names, *counts, *inputs, *ints, *floats;
    dermis_status status;
    if ((status = get(p, "dermis.graph.op", GGUF_ARRAY, GGUF_STRING, true, &ops)) ||
        (status = get(p, "dermis.graph.name", GGUF_ARRAY, GGUF_STRING, true, &names)) ||
        (status = get(p, "dermis.graph.input_count", GGUF_ARRAY, GGUF_U32, true, &counts)) ||
        (status = get(p, "dermis.graph.inputs", GGUF_ARRAY, GGUF_U32, true, &inputs)) ||
        (status = get(p, "dermis.graph.ints", GGUF_ARRAY, GGUF_I32, true, &ints)) ||
        (status = get(p, "dermis.graph.floats", GGUF_ARRAY, GGUF_F32, false, &floats)))
        return status;
    if (ops->count > MODEL_MAX_NODES || names->count != ops->count || counts->count != ops->count)
        return invalid(p, "the lists of nodes differ in length, or are too long");
    m->nodes = room(ops->count, sizeof *m->nodes);
    m->inputs = room(inputs->count, sizeof *m->inputs);
    if (!m->nodes || !m->inputs)
        return no_memory(p);
    base_reader op = payload(p, ops), name = payload(p, names), count = payload(p, counts),
                input = payload(p, inputs), i32 = payload(p, ints), f32 = payload(p, floats);
    for (uint64_t i = 0; i < inputs->count; i++)
        m->inputs[i] = base_read_u32(&input);
    uint64_t used = 0;
    for (uint64_t i = 0; i < ops->count; i++) {
        model_node *node = &m->nodes[i];
        char text[32];
        size_t n = 0;
        const uint8_t *s = read_text(&op, sizeof text - 1, &n);
        if (s) {
            memcpy(text, s, n);
            text[n] = 0;
        }
        if (!s || !model_op_parse(text, &node->op))
            return invalid(p, "node %llu has an operator that this version does not know",
                           (unsigned long long)i);
        if ((status = take_string(p, &name, MODEL_MAX_NAME, "dermis.graph.name", &node->name)) ||
            (status = read_attributes(p, node, &i32, &f32)))
            return status;
        node->input_count = base_read_u32(&count);
        if (node->input_count > inputs->count - used)
            return invalid(p, "the key dermis.graph.inputs ends early");
        node->inputs = m->inputs + used;
        used += node->input_count;
    }
    if (used != inputs->count || i32.at != i32.size || f32.at != f32.size)
        return invalid(p, "the lists of inputs or attributes are longer than the nodes take");
    m->graph.nodes = m->nodes;
    m->graph.node_count = (uint32_t)ops->count;
    return DERMIS_OK;
}

static dermis_status read_layers(parser *p)
{
    model *m = p->m;
    const value *names, *nodes, *after, *cam;
    dermis_status status;
    if ((status = get(p, "dermis.layers.name", GGUF_ARRAY, GGUF_STRING, false, &names)) ||
        (status = get(p, "dermis.layers.node", GGUF_ARRAY, GGUF_U32, names != NULL, &nodes)) ||
        (status = get(p, "dermis.layers.after_activation", GGUF_ARRAY, GGUF_BOOL, names != NULL,
                      &after)) ||
        (status = get(p, "dermis.cam.layer", GGUF_I32, 0, true, &cam)))
        return status;
    base_reader c = payload(p, cam);
    m->graph.cam_layer = (int32_t)base_read_u32(&c);
    if (!names)
        return DERMIS_OK;
    if (names->count > MODEL_MAX_NODES || nodes->count != names->count ||
        after->count != names->count)
        return invalid(p, "the lists of layers differ in length, or are too long");
    if (!(m->layers = room(names->count, sizeof *m->layers)))
        return no_memory(p);
    base_reader name = payload(p, names), node = payload(p, nodes), flag = payload(p, after);
    for (uint64_t i = 0; i < names->count && !status; i++) {
        m->layers[i].node = base_read_u32(&node);
        m->layers[i].after_activation = base_read_u8(&flag) != 0;
        status = take_string(p, &name, MODEL_MAX_NAME, "dermis.layers.name", &m->layers[i].name);
    }
    m->graph.layers = m->layers;
    m->graph.layer_count = (uint32_t)names->count;
    return status;
}

/* ---- tensors ---- */

/* "node.<index>.<role>"; false for any other name. */
static bool parse_tensor_name(const uint8_t *s, size_t n, uint32_t nodes, uint32_t *node, int *role)
{
    char text[64];
    if (n >= sizeof text)
        return false;
    memcpy(text, s, n);
    text[n] = 0;
    unsigned index;
    if (sscanf(text, "node.%9u.", &index) != 1 || index >= nodes)
        return false;
    for (int i = 0; i < MODEL_ROLE_COUNT; i++) {
        char only[sizeof text]; /* one spelling: no sign, blank or leading zero */
        snprintf(only, sizeof only, "node.%u.%s", index, model_role_names[i]);
        if (strcmp(text, only) == 0) {
            *node = index;
            *role = i;
            return true;
        }
    }
    return false;
}

static dermis_status read_tensor(parser *p, uint64_t *next_offset, model_tensor *out,
                                 uint32_t *node, int *role)
{
    size_t n = 0;
    const uint8_t *name = read_text(&p->in, MODEL_MAX_NAME, &n);
    uint32_t dimensions = base_read_u32(&p->in);
    if (!name || dimensions > 4 || !parse_tensor_name(name, n, p->m->graph.node_count, node, role))
        return invalid(p, "a tensor's description is cut short or has a name that belongs nowhere");
    size_t count = 1;
    bool fits = true;
    for (uint32_t i = 0; i < dimensions; i++) {
        uint64_t extent = base_read_u64(&p->in);
        fits = fits && extent <= SIZE_MAX && base_mul_size(count, (size_t)extent, &count);
    }
    uint32_t type = base_read_u32(&p->in);
    uint64_t offset = base_read_u64(&p->in);
    if (p->in.failed || (type != GGML_F32 && type != GGML_F16))
        return invalid(p, "the tensor %.*s is cut short or of a type other than F32 and F16",
                       (int)n, name);
    out->type = type == GGML_F16 ? MODEL_F16 : MODEL_F32;
    fits = fits && base_mul_size(count, type == GGML_F16 ? 2 : 4, &out->bytes);
    /* tensors stand in the order of their descriptions without overlap */
    if (!fits || out->bytes == 0 || offset % GGUF_ALIGNMENT != 0 || offset < *next_offset ||
        offset > p->m->size || out->bytes > p->m->size)
        return invalid(p, "the tensor %.*s is misplaced, overlaps another or is too large", (int)n,
                       name);
    *next_offset = offset + out->bytes;
    out->data = (const void *)(uintptr_t)offset; /* made a pointer when the data's start is known */
    return DERMIS_OK;
}

static dermis_status read_tensors(parser *p)
{
    model *m = p->m;
    uint64_t next = 0;
    bool *present = room((uint64_t)m->graph.node_count * MODEL_ROLE_COUNT, sizeof *present);
    if (!present)
        return no_memory(p);
    dermis_status status = DERMIS_OK;
    for (uint64_t i = 0; i < p->tensor_count && !status; i++) {
        model_tensor t;
        uint32_t node = 0;
        int role = 0;
        status = read_tensor(p, &next, &t, &node, &role);
        if (status)
            break;
        if (present[node * MODEL_ROLE_COUNT + role])
            status = invalid(p, "the tensor node.%u.%s stands there twice", node,
                             model_role_names[role]);
        present[node * MODEL_ROLE_COUNT + role] = true;
        m->nodes[node].tensors[role] = t;
    }
    size_t start = base_align_up(p->in.at, GGUF_ALIGNMENT);
    for (size_t i = 0; !status && i < (size_t)m->graph.node_count * MODEL_ROLE_COUNT; i++) {
        model_tensor *t = &m->nodes[i / MODEL_ROLE_COUNT].tensors[i % MODEL_ROLE_COUNT];
        if (!present[i])
            continue;
        size_t offset = (size_t)(uintptr_t)t->data;
        if (start > m->size || offset > m->size - start || t->bytes > m->size - start - offset)
            status = invalid(p, "the tensor node.%zu.%s runs past the end: the file is cut short",
                             i / MODEL_ROLE_COUNT, model_role_names[i % MODEL_ROLE_COUNT]);
        else
            t->data = m->data + start + offset;
    }
    base_free(present);
    return status;
}

static dermis_status parse(parser *p)
{
    model *m = p->m;
    dermis_status status = read_header(p);
    if (status != DERMIS_OK)
        return status;
    /* every string has 8 bytes of length in the file: more than its NUL */
    m->texts_size = p->in.at;
    if (!(m->texts = base_alloc(BASE_TAG_MODEL, m->texts_size)))
        return no_memory(p);
    const char *architecture = NULL;
    uint32_t format = 0, alignment = 0;
    if ((status = get_string(p, "general.architecture", MODEL_MAX_NAME, &architecture)))
        return status;
    if (!architecture || strcmp(architecture, "dermis") != 0)
        return invalid(p, "a GGUF file of the architecture %s, not dermis",
                       architecture ? architecture : "(none)");
    if ((status = get_u32(p, "dermis.format_version", &format)) ||
        (status = get_u32(p, "general.alignment", &alignment)))
        return status;
    if (format != DERMIS_FORMAT)
        return invalid(p, "format version %u; this program reads version %u", format,
                       DERMIS_FORMAT);
    if (alignment != GGUF_ALIGNMENT)
        return invalid(p, "an alignment of %u where %u belongs", alignment, GGUF_ALIGNMENT);
    if ((status = read_texts(p)) || (status = read_nodes(p)) || (status = read_layers(p)) ||
        (status = read_tensors(p)))
        return status;
    status = model_graph_check(&m->graph, p->err);
    return status && p->err ? base_fail_prefix(p->err, "%s", m->path) : status;
}

static dermis_status open_parsed(model *m, model **out, dermis_error *err)
{
    parser p = {.m = m, .err = err};
    base_reader_init(&p.in, m->data, m->size);
    dermis_status status = parse(&p);
    base_free(p.values);
    if (status == DERMIS_OK)
        *out = m;
    else
        model_close(m);
    return status;
}

static model *model_new(const char *path)
{
    model *m = base_calloc(BASE_TAG_MODEL, 1, sizeof *m);
    if (!m)
        return NULL;
    m->map.fd = -1;
    m->graph.cam_layer = -1;
    m->path = base_strdup(BASE_TAG_MODEL, path);
    if (!m->path) {
        base_free(m);
        return NULL;
    }
    return m;
}

dermis_status model_open(const char *path, model **out, dermis_error *err)
{
    model *m = model_new(path);
    if (!m)
        return base_fail(err, DERMIS_E_MEMORY, "%s: not enough memory to open it", path);
    dermis_status status = base_map_open(path, &m->map, err);
    if (status != DERMIS_OK) {
        model_close(m);
        return status;
    }
    m->data = m->map.data;
    m->size = m->map.size;
    return open_parsed(m, out, err);
}

dermis_status model_open_memory(const void *data, size_t size, model **out, dermis_error *err)
{
    model *m = model_new("(memory)");
    if (!m)
        return base_fail(err, DERMIS_E_MEMORY, "not enough memory to open a model");
    m->data = data;
    m->size = size;
    return open_parsed(m, out, err);
}

void model_close(model *m)
{
    if (!m)
        return;
    base_map_close(&m->map);
    base_free(m->path);
    base_free(m->nodes);
    base_free(m->layers);
    base_free(m->classes);
    base_free(m->warnings);
    base_free(m->inputs);
    base_free(m->texts);
    base_free(m);
}

const model_graph *model_get_graph(const model *m)
{
    return &m->graph;
}

size_t model_file_bytes(const model *m)
{
    return m->size;
}

dermis_status model_check_unchanged(const model *m, dermis_error *err)
{
    return m->map.data ? base_map_check(&m->map, m->path, err) : DERMIS_OK;
}
