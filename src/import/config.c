/* config.c - a Keras configuration to calls of layers: functional and Sequential models, nested to
 * any depth (bounded), layers that are called several times. Each call of a model walks back from
 * its output with a stack of its own, so that a long chain costs no C stack and a cycle is seen. */
#include "import/internal.h"

#include <ctype.h>
#include <string.h>

#define CALL_LIMIT (1u << 18) /* of layers, in one import: nesting multiplies them */

typedef struct import_ref {
    uint32_t layer, node;
} import_ref;

typedef struct import_model {
    const char *name, *path;
    bool sequential;
    import_layer *layers;
    uint32_t layer_count;
    json_t *index; /* name -> number */
    json_t *inputs, *outputs;
    json_t *build_shape; /* Sequential that says its input beside its layers */
} import_model;

typedef enum { CALL_NEW, CALL_OPEN, CALL_DONE } call_state;
typedef struct call_slot {
    call_state state;
    import_tensor out;
} call_slot;

struct import_frame { /* one call of one model */
    const import_model *model;
    call_slot **slots; /* [layer][node] */
    uint32_t *counts;
};

/* ---- names of weight groups (Keras 3 and Keras 2's `.keras`) ---- */

/* Keras's to_snake_case: two regular expressions, then lower case. */
void import_snake_case(const char *name, char *out, size_t room)
{
    char once[256];
    size_t n = 0, m = 0, len = strlen(name);
    for (size_t i = 0; i < len && n + 3 < sizeof once;) {
        /* (.)([A-Z][a-z]+) -> \1_\2 */
        if (i + 2 < len && isupper((unsigned char)name[i + 1]) &&
            islower((unsigned char)name[i + 2])) {
            once[n++] = name[i++];
            once[n++] = '_';
            once[n++] = name[i++];
            while (i < len && islower((unsigned char)name[i]) && n + 3 < sizeof once)
                once[n++] = name[i++];
        } else {
            once[n++] = name[i++];
        }
    }
    once[n] = 0;
    for (size_t i = 0; i < n && m + 3 < room;) {
        /* ([a-z])([A-Z]) -> \1_\2 */
        if (i + 1 < n && islower((unsigned char)once[i]) && isupper((unsigned char)once[i + 1])) {
            out[m++] = once[i++];
            out[m++] = '_';
            out[m++] = once[i++];
        } else {
            out[m++] = once[i++];
        }
    }
    out[m] = 0;
    for (size_t i = 0; i < m; i++)
        out[i] = (char)tolower((unsigned char)out[i]);
}

/* Groups of the layers of one model under `base` ("" or "layers/functional_1"). The usual names are
 * <class>_<n> counted in the model's order. Where such a group is missing, the layer's own name;
 * and where that is missing too, the n-th existing group of the class (Keras 2.13 counts twice). */
static dermis_status name_groups(import_context *c, import_model *m, const char *base)
{
    const char *holder = NULL;
    static const char *const holders[] = {"layers", "_layer_checkpoint_dependencies"};
    for (size_t i = 0; i < 2 && !holder; i++) {
        const char *path = import_text(c, "%s%s%s", base, *base ? "/" : "", holders[i]);
        if (!path)
            return DERMIS_E_MEMORY;
        if (import_hdf5_exists(c, path))
            holder = path;
    }
    if (!holder)
        return DERMIS_OK; /* no weights here; a layer that wants some will say so */
    json_t *used = json_object(), *reached = json_object();
    dermis_status status = DERMIS_OK;
    for (uint32_t i = 0; i < m->layer_count && status == DERMIS_OK; i++) {
        import_layer *l = &m->layers[i];
        char snake[256];
        import_snake_case(l->class_name, snake, sizeof snake);
        if (m->sequential && !strcmp(l->class_name, "InputLayer"))
            continue;
        json_int_t n = json_integer_value(json_object_get(used, snake));
        json_object_set_new(used, snake, json_integer(n + 1));
        const char *counted = n ? import_text(c, "%s/%s_%lld", holder, snake, (long long)n)
                                : import_text(c, "%s/%s", holder, snake);
        const char *own = strlen(l->name) && !strchr(l->name, '/')
                              ? import_text(c, "%s/%s", holder, l->name)
                              : counted;
        if (!counted || !own) {
            status = DERMIS_E_MEMORY;
        } else if (!json_object_get(reached, snake) && import_hdf5_exists(c, counted)) {
            l->group = counted;
        } else if (!json_object_get(reached, snake) && import_hdf5_exists(c, own)) {
            l->group = own;
        } else {
            /* from here on this class is counted by what exists */
            json_int_t at = json_integer_value(json_object_get(reached, snake));
            if (at < n)
                at = n;
            for (json_int_t tries = 0; tries < 64; tries++, at++) {
                const char *path = at ? import_text(c, "%s/%s_%lld", holder, snake, (long long)at)
                                      : import_text(c, "%s/%s", holder, snake);
                if (!path)
                    break;
                if (import_hdf5_exists(c, path)) {
                    l->group = path;
                    json_object_set_new(reached, snake, json_integer(at + 1));
                    break;
                }
            }
        }
    }
    json_decref(used);
    json_decref(reached);
    return status;
}

/* ---- configuration to layers ---- */

static bool is_model_class(const char *name, json_t *config)
{
    return (!strcmp(name, "Functional") || !strcmp(name, "Model") || !strcmp(name, "Sequential")) &&
           json_is_array(json_object_get(config, "layers"));
}

static dermis_status load_model(import_context *c, json_t *object, const char *path,
                                const char *group, const char *top, import_model **out);

static dermis_status load_layer(import_context *c, const import_model *m, json_t *object,
                                uint32_t i, import_layer *l)
{
    static json_t *none; /* one empty object for all: never changed */
    const char *class_name = json_string_value(json_object_get(object, "class_name"));
    json_t *config = json_object_get(object, "config");
    if (!none)
        none = json_object();
    if (!class_name)
        return import_fail(c, DERMIS_E_MODEL_INVALID, "layer %u of '%s' has no class_name", i,
                           m->name);
    const char *prefix = strrchr(class_name, '>'); /* "Package>LayerScale" */
    l->class_name = prefix ? prefix + 1 : class_name;
    l->config = json_is_object(config) ? config : none;
    l->name = json_string_value(json_object_get(object, "name"));
    if (!l->name)
        l->name = json_string_value(json_object_get(l->config, "name"));
    if (!l->name)
        l->name = import_text(c, "%s_%u", l->class_name, i);
    if (l->name && strlen(l->name) > IMPORT_NAME_LIMIT)
        return import_fail(c, DERMIS_E_MODEL_INVALID, "a layer's name is longer than %d bytes",
                           IMPORT_NAME_LIMIT);
    l->path = l->name ? import_text(c, "%s%s%s", m->path, *m->path ? "/" : "", l->name) : NULL;
    if (!l->path)
        return DERMIS_E_MEMORY;
    const char *module = json_string_value(json_object_get(object, "module"));
    json_t *inbound = json_object_get(object, "inbound_nodes");
    l->inbound = json_is_array(inbound) ? inbound : NULL;
    /* Keras 3's HDF5 leaves the module out; but no operation's config says "trainable", and nearly
     * every layer's does. */
    l->operation = module
                       ? !strncmp(module, "keras.src.ops", 13) || !strncmp(module, "keras.ops", 9)
                       : c->keras_major >= 3 && json_array_size(l->inbound) > 0 &&
                             json_is_object(json_array_get(l->inbound, 0)) &&
                             !json_object_get(l->config, "trainable") &&
                             import_is_operation(c, l->class_name);
    return DERMIS_OK;
}

/* `top`: legacy files: the top layer under whose group all weights of this model stand, or NULL. */
static dermis_status load_model(import_context *c, json_t *object, const char *path,
                                const char *group, const char *top, import_model **out)
{
    json_t *config = json_object_get(object, "config");
    const char *class_name = json_string_value(json_object_get(object, "class_name"));
    /* Keras 1 and early Keras 2 wrote a Sequential's config as the bare list of its layers. */
    json_t *list = json_is_array(config) ? config : json_object_get(config, "layers");
    import_model *m = import_new(c, 1, sizeof *m);
    if (!m)
        return DERMIS_E_MEMORY;
    if (!class_name || !json_is_array(list))
        return import_fail(c, DERMIS_E_MODEL_UNSUPPORTED,
                           "the model is of class %s, which has no list of layers: only "
                           "functional and Sequential models can be converted; rebuild it with "
                           "keras.Model(inputs, outputs)",
                           class_name ? class_name : "unknown");
    if (c->nest >= IMPORT_NEST_LIMIT)
        return import_fail(c, DERMIS_E_MODEL_UNSUPPORTED,
                           "models nested more than %d deep; flatten the model", IMPORT_NEST_LIMIT);
    const char *name = json_string_value(json_object_get(config, "name"));
    m->name = name ? name : "model";
    m->path = path;
    m->sequential = !strcmp(class_name, "Sequential");
    m->inputs = json_object_get(config, "input_layers");
    m->outputs = json_object_get(config, "output_layers");
    m->build_shape = json_object_get(config, "build_input_shape");
    if (!json_is_array(m->build_shape))
        m->build_shape = json_object_get(json_object_get(object, "build_config"), "input_shape");
    if (json_array_size(list) == 0 || json_array_size(list) > MODEL_MAX_NODES)
        return import_fail(c, DERMIS_E_MODEL_INVALID, "the model '%s' has %zu layers", m->name,
                           json_array_size(list));
    m->layer_count = (uint32_t)json_array_size(list);
    m->index = json_object();
    json_array_append_new(c->keep, m->index); /* freed with the context */
    m->layers = import_new(c, m->layer_count, sizeof *m->layers);
    if (!m->layers || !m->index)
        return DERMIS_E_MEMORY;
    for (uint32_t i = 0; i < m->layer_count; i++) {
        TRY(load_layer(c, m, json_array_get(list, i), i, &m->layers[i]));
        json_object_set_new(m->index, m->layers[i].name, json_integer(i));
    }
    if (!c->legacy)
        TRY(name_groups(c, m, group));
    for (uint32_t i = 0; i < m->layer_count; i++) {
        import_layer *l = &m->layers[i];
        l->order = c->order++; /* nested models' layers come where those stand */
        if (c->legacy) {
            l->group = import_text(c, "model_weights/%s", top ? top : l->name);
            if (!l->group)
                return DERMIS_E_MEMORY;
            l->outer = top ? m->name : NULL;
        }
        if (is_model_class(l->class_name, l->config)) {
            c->nest++;
            TRY(load_model(c, json_array_get(list, i), l->path, l->group ? l->group : "?",
                           top ? top : l->name, &l->model));
            c->nest--;
        } else {
            c->keras_layers++;
        }
    }
    *out = m;
    return DERMIS_OK;
}

/* ---- references ---- */

/* Keras 3: {"class_name": "__keras_tensor__", "config": {"keras_history": [layer, node, tensor]}};
 * Keras 2: [layer, node, tensor] or [layer, node, tensor, kwargs]. */
static bool parse_ref(const import_model *m, json_t *value, import_ref *out)
{
    json_t *history = value;
    if (json_is_object(value)) {
        const char *class_name = json_string_value(json_object_get(value, "class_name"));
        if (!class_name || strcmp(class_name, "__keras_tensor__"))
            return false;
        history = json_object_get(json_object_get(value, "config"), "keras_history");
    }
    size_t n = json_array_size(history);
    if (n < 3 || n > 4 || !json_is_integer(json_array_get(history, 1)) ||
        !json_is_integer(json_array_get(history, 2)))
        return false;
    const char *name = json_string_value(json_array_get(history, 0));
    json_t *at = name ? json_object_get(m->index, name) : NULL;
    json_int_t node = json_integer_value(json_array_get(history, 1));
    if (!at || node < 0 || node > 1 << 20)
        return false;
    *out = (import_ref){(uint32_t)json_integer_value(at), (uint32_t)node};
    return true;
}

bool import_is_tensor(const import_call *call, json_t *value, import_tensor *out)
{
    import_ref ref;
    if (!call->frame || !parse_ref(call->frame->model, value, &ref))
        return false;
    const import_layer *l = &call->frame->model->layers[ref.layer];
    uint32_t node = ref.node >= l->call_base ? ref.node - l->call_base : 0;
    if (node >= call->frame->counts[ref.layer] ||
        call->frame->slots[ref.layer][node].state != CALL_DONE)
        return false;
    *out = call->frame->slots[ref.layer][node].out;
    return true;
}

typedef struct ref_list {
    import_ref *refs;
    size_t count, room;
} ref_list;

/* All references in an argument, in order. JSON's depth is bounded by its parser. */
static dermis_status collect(import_context *c, const import_model *m, json_t *value,
                             ref_list *list)
{
    import_ref ref;
    if (parse_ref(m, value, &ref)) {
        if (list->count == list->room) {
            size_t room = list->room ? list->room * 2 : 8;
            import_ref *grown = import_new(c, room, sizeof *grown);
            if (!grown)
                return DERMIS_E_MEMORY;
            if (list->count)
                memcpy(grown, list->refs, list->count * sizeof *grown);
            list->refs = grown;
            list->room = room;
        }
        list->refs[list->count++] = ref;
        json_t *kwargs = json_is_array(value) ? json_array_get(value, 3) : NULL;
        return kwargs ? collect(c, m, kwargs, list) : DERMIS_OK;
    }
    if (json_is_array(value)) {
        size_t i;
        json_t *item;
        json_array_foreach(value, i, item) TRY(collect(c, m, item, list));
    } else if (json_is_object(value)) {
        const char *key;
        json_t *item;
        json_object_foreach(value, key, item) TRY(collect(c, m, item, list));
    }
    return DERMIS_OK;
}

/* One inbound node as positional arguments and keyword arguments. New reference in *args. */
static void split_node(json_t *node, json_t **args, json_t **kwargs)
{
    *kwargs = NULL;
    if (json_is_object(node)) { /* Keras 3 */
        json_t *a = json_object_get(node, "args");
        json_t *k = json_object_get(node, "kwargs");
        *args = json_is_array(a) ? json_incref(a) : json_array();
        *kwargs = json_is_object(k) ? k : NULL;
        return;
    }
    /* Keras 2: [[l, n, t, kwargs], ...], or [l, n, t, kwargs] alone. */
    json_t *first = json_array_get(node, 0);
    bool alone = json_is_string(first);
    json_t *lead = alone ? node : first;
    json_t *k = json_array_get(lead, 3);
    *kwargs = json_is_object(k) && json_object_size(k) ? k : NULL;
    *args = json_array();
    json_array_append(*args, alone || json_array_size(node) == 1 ? lead : node);
}

/* The single reference of input_layers or output_layers: ["name", 0, 0], [["name", 0, 0]], or an
 * object of those. */
static dermis_status single_ref(import_context *c, const import_model *m, json_t *value,
                                const char *what, import_ref *out)
{
    ref_list list = {0};
    TRY(collect(c, m, value, &list));
    if (list.count != 1)
        return import_fail(c, list.count ? DERMIS_E_MODEL_UNSUPPORTED : DERMIS_E_MODEL_INVALID,
                           "the model '%s' has %zu %s; exactly one can be converted: build a model "
                           "around the one that is wanted, keras.Model(inputs, output)",
                           m->name, list.count, what);
    *out = list.refs[0];
    return DERMIS_OK;
}

/* ---- one call of a model ---- */

static dermis_status call_model(import_context *c, const import_model *m, import_tensor input,
                                uint64_t key, import_tensor *out);

static dermis_status call_layer(import_context *c, const import_layer *l, import_frame *frame,
                                import_tensor *in, uint32_t in_count, json_t *args, json_t *kwargs,
                                uint64_t key, import_tensor *out)
{
    if (++c->calls > CALL_LIMIT)
        return import_fail(c, DERMIS_E_MODEL_UNSUPPORTED, "the model calls more than %u layers",
                           CALL_LIMIT);
    import_progress(c, 0.2 + 0.6 * (double)c->calls / (double)(c->calls + c->keras_layers / 2 + 1),
                    "layers");
    if (l->model) {
        if (in_count != 1)
            return import_fail(c, DERMIS_E_MODEL_UNSUPPORTED,
                               "the nested model '%s' is called with %u inputs; only one can be "
                               "converted",
                               l->path, in_count);
        return call_model(c, l->model, in[0], key, out);
    }
    import_call call = {c, l, l->config, in, in_count, args, kwargs, frame, key};
    return import_emit_layer(&call, out);
}

static dermis_status call_sequential(import_context *c, const import_model *m, import_tensor input,
                                     uint64_t key, import_tensor *out)
{
    import_tensor t = input;
    for (uint32_t i = 0; i < m->layer_count; i++) {
        if (!strcmp(m->layers[i].class_name, "InputLayer"))
            continue;
        import_tensor in = t;
        TRY(call_layer(c, &m->layers[i], NULL, &in, 1, NULL, NULL, key, &t));
    }
    *out = t;
    return DERMIS_OK;
}

/* Which number a nested model's first call has: 1 in Keras 2 (and for Functional in Keras 3), where
 * 0 is the model's own construction. Seen from the references themselves. */
static dermis_status number_calls(import_context *c, const import_model *m)
{
    uint32_t *lowest = import_new(c, m->layer_count, sizeof *lowest);
    if (!lowest)
        return DERMIS_E_MEMORY;
    for (uint32_t i = 0; i < m->layer_count; i++)
        lowest[i] = UINT32_MAX;
    ref_list list = {0};
    for (uint32_t i = 0; i < m->layer_count; i++)
        if (m->layers[i].inbound)
            TRY(collect(c, m, m->layers[i].inbound, &list));
    TRY(collect(c, m, m->outputs, &list));
    for (size_t i = 0; i < list.count; i++)
        if (list.refs[i].node < lowest[list.refs[i].layer])
            lowest[list.refs[i].layer] = list.refs[i].node;
    for (uint32_t i = 0; i < m->layer_count; i++)
        m->layers[i].call_base = m->layers[i].model && lowest[i] == 1 ? 1 : 0;
    return DERMIS_OK;
}

static dermis_status call_functional(import_context *c, const import_model *m, import_tensor input,
                                     uint64_t key, import_tensor *out)
{
    import_ref in_ref = {0, 0}, out_ref = {0, 0};
    TRY(single_ref(c, m, m->inputs, "inputs", &in_ref));
    TRY(single_ref(c, m, m->outputs, "outputs", &out_ref));
    if (out_ref.layer == in_ref.layer) { /* whatever call of it the file names */
        *out = input;
        return DERMIS_OK;
    }
    TRY(number_calls(c, m));
    import_frame *frame = import_new(c, 1, sizeof *frame);
    if (!frame)
        return DERMIS_E_MEMORY;
    frame->model = m;
    frame->slots = import_new(c, m->layer_count, sizeof *frame->slots);
    frame->counts = import_new(c, m->layer_count, sizeof *frame->counts);
    size_t total = 0;
    if (!frame->slots || !frame->counts)
        return DERMIS_E_MEMORY;
    for (uint32_t i = 0; i < m->layer_count; i++) {
        size_t n = m->layers[i].inbound ? json_array_size(m->layers[i].inbound) : 0;
        if (n == 0)
            n = 1;
        frame->counts[i] = (uint32_t)n;
        frame->slots[i] = import_new(c, n, sizeof *frame->slots[i]);
        if (!frame->slots[i])
            return DERMIS_E_MEMORY;
        total += n;
    }
    frame->slots[in_ref.layer][0] = (call_slot){CALL_DONE, input};
    import_ref *stack = import_new(c, total + 1, sizeof *stack); /* each call stands on it once */
    if (!stack)
        return DERMIS_E_MEMORY;
    size_t depth = 0;
    stack[depth++] = out_ref;
    while (depth > 0) {
        import_ref at = stack[depth - 1];
        const import_layer *l = &m->layers[at.layer];
        uint32_t node = at.node >= l->call_base ? at.node - l->call_base : UINT32_MAX;
        if (node >= frame->counts[at.layer])
            return import_fail(c, DERMIS_E_MODEL_INVALID,
                               "layer '%s' is used from a call (%u) that the file does not have",
                               l->path, at.node);
        call_slot *slot = &frame->slots[at.layer][node];
        if (!strcmp(l->class_name, "InputLayer"))
            return import_fail(c, DERMIS_E_MODEL_UNSUPPORTED,
                               "layer '%s' is a second input; only models with one input can be "
                               "converted",
                               l->path);
        json_t *entry = l->inbound ? json_array_get(l->inbound, node) : NULL;
        json_t *args, *kwargs;
        ref_list list = {0};
        split_node(entry, &args, &kwargs);
        dermis_status status = entry ? collect(c, m, args, &list) : DERMIS_OK;
        /* Keras 2 keeps the keyword arguments in the first reference: collect has seen them. */
        if (status == DERMIS_OK && json_is_object(entry) && kwargs)
            status = collect(c, m, kwargs, &list);
        if (status == DERMIS_OK && list.count == 0)
            status = import_fail(c, DERMIS_E_MODEL_INVALID,
                                 "layer '%s' (%s) has no input, or one that does not exist",
                                 l->path, l->class_name);
        bool ready = true;
        for (size_t i = 0; status == DERMIS_OK && ready && i < list.count; i++) {
            import_ref need = list.refs[i];
            const import_layer *from = &m->layers[need.layer];
            uint32_t k = need.node >= from->call_base ? need.node - from->call_base : UINT32_MAX;
            if (k >= frame->counts[need.layer])
                status = import_fail(c, DERMIS_E_MODEL_INVALID,
                                     "layer '%s' uses call %u of layer '%s', which has %u", l->path,
                                     need.node, from->path, frame->counts[need.layer]);
            else if (frame->slots[need.layer][k].state == CALL_OPEN)
                status = import_fail(c, DERMIS_E_MODEL_INVALID,
                                     "the model '%s' has a cycle through layer '%s'", m->name,
                                     from->path);
            else if (frame->slots[need.layer][k].state == CALL_NEW)
                ready = false, stack[depth++] = need;
        }
        if (status == DERMIS_OK && !ready) {
            slot->state = CALL_OPEN;
            json_decref(args);
            continue;
        }
        if (status == DERMIS_OK) {
            import_tensor *in = import_new(c, list.count, sizeof *in);
            for (size_t i = 0; in && i < list.count; i++) {
                const import_layer *from = &m->layers[list.refs[i].layer];
                in[i] = frame->slots[list.refs[i].layer][list.refs[i].node - from->call_base].out;
            }
            uint64_t sub = key * 64 + (node < 63 ? node : 63);
            status = in ? call_layer(c, l, frame, in, (uint32_t)list.count, args, kwargs, sub,
                                     &slot->out)
                        : DERMIS_E_MEMORY;
            slot->state = CALL_DONE;
            depth--;
        }
        json_decref(args);
        if (status != DERMIS_OK)
            return status;
    }
    *out = frame
               ->slots[out_ref.layer][out_ref.node >= m->layers[out_ref.layer].call_base
                                          ? out_ref.node - m->layers[out_ref.layer].call_base
                                          : 0]
               .out;
    return DERMIS_OK;
}

static dermis_status call_model(import_context *c, const import_model *m, import_tensor input,
                                uint64_t key, import_tensor *out)
{
    return m->sequential ? call_sequential(c, m, input, key, out)
                         : call_functional(c, m, input, key, out);
}

/* ---- the whole ---- */

/* The shape that the outermost model wants: of its InputLayer, or (Sequential) of its first layer
 * or of itself. NULL where nothing says it. */
static json_t *input_shape(const import_model *m, uint32_t input_layer)
{
    const import_layer *l = &m->layers[input_layer];
    static const char *const keys[] = {"batch_shape", "batch_input_shape"};
    for (size_t i = 0; i < 2; i++) {
        json_t *shape = import_arg_list(json_object_get(l->config, keys[i]));
        if (shape)
            return shape;
    }
    if (m->build_shape && import_arg_list(m->build_shape))
        return import_arg_list(m->build_shape);
    return l->model ? input_shape(l->model, 0) : NULL;
}

static dermis_status make_input(import_context *c, const import_model *m, import_tensor *out)
{
    import_ref in_ref = {0, 0};
    if (!m->sequential)
        TRY(single_ref(c, m, m->inputs, "inputs", &in_ref));
    const import_layer *l = &m->layers[in_ref.layer];
    json_t *shape = input_shape(m, in_ref.layer);
    if (!shape)
        return import_fail(c, DERMIS_E_MODEL_INVALID,
                           "the model '%s' does not say its input's shape; call it once on data "
                           "(or give it an Input) before it is saved",
                           m->name);
    if (json_array_size(shape) != 4)
        return import_fail(c, DERMIS_E_MODEL_UNSUPPORTED,
                           "input '%s' has %zu axes; a picture has 4 (batch, height, width, "
                           "channels)",
                           l->path, json_array_size(shape));
    uint32_t want[2] = {c->options->input_h, c->options->input_w}, z[3];
    for (int i = 0; i < 3; i++) {
        json_t *v = json_array_get(shape, (size_t)i + 1);
        json_int_t n = json_integer_value(v);
        if (json_is_null(v) && i < 2 && want[i]) {
            z[i] = want[i];
            continue;
        }
        if (json_is_null(v))
            return import_fail(c, DERMIS_E_MODEL_UNSUPPORTED,
                               i < 2 ? "input '%s' has free height or width; say which: "
                                       "`dermis convert IN OUT.gguf --input-size HEIGHTxWIDTH`"
                                     : "input '%s' has a free number of channels; save the model "
                                       "with 1 or 3",
                               l->path);
        if (!json_is_integer(v) || n < 1 || n > 16384)
            return import_fail(c, DERMIS_E_MODEL_INVALID,
                               "input '%s': an extent is not a number from 1 to 16384", l->path);
        if (i < 2 && want[i] && want[i] != (uint32_t)n)
            return import_fail(c, DERMIS_E_USAGE,
                               "--input-size %ux%u, but input '%s' is fixed at %lldx%lld; leave "
                               "the option out",
                               want[0], want[1], l->path,
                               (long long)json_integer_value(json_array_get(shape, 1)),
                               (long long)json_integer_value(json_array_get(shape, 2)));
        z[i] = (uint32_t)n;
    }
    if (z[2] != 1 && z[2] != 3)
        return import_fail(c, DERMIS_E_MODEL_UNSUPPORTED,
                           "input '%s' is %u x %u x %u; a photograph has 1 or 3 channels, last%s",
                           l->path, z[0], z[1], z[2],
                           z[0] == 3 || z[0] == 1 ? " (save the model with channels_last)" : "");
    model_attributes at = {.input = {z[0], z[1], z[2]}};
    uint32_t node = 0;
    TRY(import_ir_append(c, MODEL_INPUT, l->path, NULL, 0, at, at.input, &node));
    *out = (import_tensor){node, 3};
    return DERMIS_OK;
}

dermis_status import_build(import_context *c)
{
    import_model *m;
    import_tensor raw, input, output;
    TRY(load_model(c, c->config, "", "", NULL, &m));
    snprintf(c->name, sizeof c->name, "%s", m->name);
    TRY(make_input(c, m, &raw));
    input = raw;
    TRY(import_preprocess(c, c->options->preprocess, &input));
    TRY(call_model(c, m, input, 0, &output));
    model_shape s = import_ir_shape(c, output);
    if (s.h != 1 || s.w != 1 || s.c > MODEL_MAX_CLASSES)
        return import_fail(c, DERMIS_E_MODEL_UNSUPPORTED,
                           "the model's answer is %u x %u x %u; a classifier's is one row of at "
                           "most %d scores (was it saved with include_top=False?)",
                           s.h, s.w, s.c, MODEL_MAX_CLASSES);
    if (output.node == raw.node)
        return import_fail(c, DERMIS_E_MODEL_INVALID, "the model '%s' does nothing", m->name);
    c->output = output.node;
    /* who says "none" knows what was done */
    return c->options->preprocess ? DERMIS_OK : import_check_scaling(c, raw);
}
