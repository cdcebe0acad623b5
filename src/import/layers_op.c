/* layers_op.c - bare operations in a model: Keras 3's operation nodes (modules keras.src.ops) and
 * Keras 2's TFOpLambda and SlicingOpLambda; the dispatch from class name to function. */
#include "import/internal.h"

#include <ctype.h>
#include <math.h>
#include <string.h>

/* ---- arguments of operations: positional, then by name ---- */

/* Keras 2 keeps keyword arguments inside the first reference; config.c has taken them out. A tensor
 * whose place holds a constant is ["_CONSTANT_VALUE", -1, value, ...]. */
static json_t *operand(const import_call *call, size_t at, const char *name)
{
    json_t *v = json_array_get(call->args, at);
    if (!v && call->kwargs)
        v = json_object_get(call->kwargs, name);
    const char *mark = json_string_value(json_array_get(v, 0));
    if (mark && !strcmp(mark, "_CONSTANT_VALUE"))
        return json_array_get(v, 2);
    return v;
}

/* A setting of the operation: in its config (Keras 3) or among its keyword arguments. */
static json_t *setting(const import_call *call, const char *name)
{
    json_t *v = json_object_get(call->config, name);
    return v || !call->kwargs ? v : json_object_get(call->kwargs, name);
}

static bool setting_number(const import_call *call, const char *name, double *out)
{
    return import_arg_is_number(setting(call, name), out);
}

/* ---- arithmetic ---- */

static dermis_status negate(const import_call *call, import_tensor in, import_tensor *out)
{
    return import_ir_affine_all(call->c, call->layer->path, in, -1, 0, out);
}

/* min(x, k): "relu" with slope 1 below 0 and the maximum k. */
static dermis_status at_most(const import_call *call, import_tensor in, double k,
                             import_tensor *out)
{
    return import_ir_activation(call, in, (model_activation){CODE_ACT_RELU, 1, (float)k, 0}, false,
                                out);
}

static dermis_status at_least(const import_call *call, import_tensor in, double k,
                              import_tensor *out)
{
    if (k == 0)
        return import_ir_activation(call, in, (model_activation){CODE_ACT_RELU, 0, INFINITY, 0},
                                    false, out);
    TRY(negate(call, in, &in));
    TRY(at_most(call, in, -k, &in));
    return negate(call, in, out);
}

static dermis_status with_constant(const import_call *call, int32_t kind, import_tensor in,
                                   json_t *constant, bool constant_first, import_tensor *out)
{
    import_context *c = call->c;
    uint32_t n = import_ir_shape(c, in).c;
    double *k, *s, *t;
    TRY(import_vector(call, constant, n, 0, &k));
    if (kind == CODE_MAX || kind == CODE_MIN) {
        for (uint32_t i = 1; i < n; i++)
            if (k[i] != k[0])
                return import_arg_unsupported(
                    call, "maximum or minimum with a vector cannot be converted");
        return kind == CODE_MAX ? at_least(call, in, k[0], out) : at_most(call, in, k[0], out);
    }
    s = import_new(c, n, sizeof *s);
    t = import_new(c, n, sizeof *t);
    if (!s || !t)
        return DERMIS_E_MEMORY;
    if (kind == CODE_DIV && constant_first)
        return import_arg_unsupported(call, "a constant divided by a tensor cannot be converted");
    for (uint32_t i = 0; i < n; i++) {
        s[i] = kind == CODE_MUL ? k[i] : kind == CODE_DIV ? 1 / k[i] : 1;
        t[i] = kind == CODE_ADD ? k[i] : kind == CODE_SUB ? -k[i] : 0;
        if (kind == CODE_SUB && constant_first)
            s[i] = -1, t[i] = k[i];
    }
    return import_ir_affine(c, call->layer->path, in, s, t, out);
}

static dermis_status arithmetic(const import_call *call, int32_t kind, import_tensor *out)
{
    static const char *const first[] = {"x1", "x"}, *const second[] = {"x2", "y"};
    json_t *a = NULL, *b = NULL;
    import_tensor x, y;
    for (int i = 0; i < 2; i++) {
        if (!a)
            a = operand(call, 0, first[i]);
        if (!b)
            b = operand(call, 1, second[i]);
    }
    if (!b && call->kwargs)
        b = json_object_get(call->kwargs, "bias"); /* nn.bias_add */
    bool left = import_is_tensor(call, a, &x), right = import_is_tensor(call, b, &y);
    if (!a || !b || (!left && !right))
        return import_arg_unsupported(call, "its operands cannot be read");
    if (left && right) {
        if (x.rank != y.rank)
            return import_arg_unsupported(call, "its operands have different numbers of axes");
        return import_ir_binary(call, kind, x, y, out);
    }
    return with_constant(call, kind, left ? x : y, left ? b : a, !left, out);
}

static dermis_status op_add(import_call *call, import_tensor *out)
{
    return arithmetic(call, CODE_ADD, out);
}
static dermis_status op_subtract(import_call *call, import_tensor *out)
{
    return arithmetic(call, CODE_SUB, out);
}
static dermis_status op_multiply(import_call *call, import_tensor *out)
{
    return arithmetic(call, CODE_MUL, out);
}
static dermis_status op_divide(import_call *call, import_tensor *out)
{
    return arithmetic(call, CODE_DIV, out);
}
static dermis_status op_maximum(import_call *call, import_tensor *out)
{
    return arithmetic(call, CODE_MAX, out);
}
static dermis_status op_minimum(import_call *call, import_tensor *out)
{
    return arithmetic(call, CODE_MIN, out);
}
static dermis_status op_negative(import_call *call, import_tensor *out)
{
    return negate(call, call->in[0], out);
}
static dermis_status op_square(import_call *call, import_tensor *out)
{
    return import_ir_binary(call, CODE_MUL, call->in[0], call->in[0], out);
}
static dermis_status op_absolute(import_call *call, import_tensor *out)
{
    return import_ir_activation(call, call->in[0],
                                (model_activation){CODE_ACT_RELU, -1, INFINITY, 0}, false, out);
}
static dermis_status op_nothing(import_call *call, import_tensor *out)
{
    *out = call->in[0];
    return DERMIS_OK;
}

static dermis_status op_clip(import_call *call, import_tensor *out)
{
    double low = -INFINITY, high = INFINITY;
    static const char *const lows[] = {"x_min", "clip_value_min", "min_value"};
    static const char *const highs[] = {"x_max", "clip_value_max", "max_value"};
    import_tensor t = call->in[0];
    bool any = false;
    for (int i = 0; i < 3; i++) {
        bool has_low = setting_number(call, lows[i], &low);
        bool has_high = setting_number(call, highs[i], &high);
        any = any || has_low || has_high;
    }
    if (!any)
        return import_arg_unsupported(call, "its limits cannot be read");
    if (low == 0 && high >= 0)
        return import_ir_activation(call, t, (model_activation){CODE_ACT_RELU, 0, (float)high, 0},
                                    false, out);
    if (isfinite(low))
        TRY(at_least(call, t, low, &t));
    if (isfinite(high))
        TRY(at_most(call, t, high, &t));
    *out = t;
    return DERMIS_OK;
}

/* ---- indexing ---- */

static bool is_ellipsis(json_t *v)
{
    const char *class_name = json_string_value(json_object_get(v, "class_name"));
    return class_name && !strcmp(class_name, "__ellipsis__");
}

/* One axis of x[...]: an index or a slice, as Python has it. */
static dermis_status one_slice(const import_call *call, json_t *v, uint32_t n, int32_t *start,
                               int32_t *step, uint32_t *extent, bool *drops)
{
    double d, ends[3];
    bool have[3];
    static const char *const keys[3] = {"start", "stop", "step"};
    if (import_arg_is_number(v, &d)) {
        if (d != floor(d) || d < -(double)n || d >= n)
            return import_arg_unsupported(call, "it takes an element that does not exist");
        *start = (int32_t)(d < 0 ? d + n : d);
        *step = 1;
        *extent = 1;
        *drops = true;
        return DERMIS_OK;
    }
    json_t *config = json_object_get(v, "config");
    if (!json_is_object(v))
        return import_arg_unsupported(call, "its index is neither a number nor a slice");
    for (int i = 0; i < 3; i++) {
        json_t *item = json_object_get(json_is_object(config) ? config : v, keys[i]);
        have[i] = item && !json_is_null(item);
        if (have[i] && (!import_arg_is_number(item, &ends[i]) || ends[i] != floor(ends[i]) ||
                        fabs(ends[i]) > MODEL_MAX_EXTENT * 128.0))
            return import_arg_unsupported(call, "its slice cannot be read");
    }
    double by = have[2] ? ends[2] : 1;
    if (by == 0 || fabs(by) > MODEL_MAX_EXTENT)
        return import_arg_unsupported(call, "its slice has a step of 0 or an absurd one");
    /* Python's slice.indices() */
    double low = by > 0 ? 0 : -1, high = by > 0 ? n : n - 1.0;
    double from = by > 0 ? low : high, to = by > 0 ? high : low;
    if (have[0])
        from = fmin(fmax(ends[0] < 0 ? ends[0] + n : ends[0], low), high);
    if (have[1])
        to = fmin(fmax(ends[1] < 0 ? ends[1] + n : ends[1], low), high);
    double count = ceil((to - from) / by);
    if (count < 1)
        return import_arg_unsupported(call, "its slice is empty; is --input-size too small?");
    *start = (int32_t)from;
    *step = (int32_t)by;
    *extent = (uint32_t)count;
    *drops = false;
    return DERMIS_OK;
}

static dermis_status op_get_item(import_call *call, import_tensor *out)
{
    import_tensor in = call->in[0];
    model_shape s = import_ir_shape(call->c, in);
    json_t *spec = operand(call, 1, "key"), *items[5];
    if (!spec && call->kwargs)
        spec = json_object_get(call->kwargs, "slice_spec");
    json_t *list = import_arg_list(spec);
    size_t n = list ? json_array_size(list) : 1, rank = (size_t)in.rank + 1, count = 0;
    if (in.rank > 3 || !spec || n > rank + 1)
        return import_arg_unsupported(call, "its index cannot be read");
    /* the ellipsis stands for as many whole axes as are left */
    bool dots = false;
    for (size_t i = 0; i < n; i++)
        dots = dots || is_ellipsis(list ? json_array_get(list, i) : spec);
    for (size_t i = 0; i < n; i++) {
        json_t *item = list ? json_array_get(list, i) : spec;
        if (!is_ellipsis(item)) {
            if (count < 5)
                items[count++] = item;
            continue;
        }
        for (size_t left = rank + 1 > n ? rank + 1 - n : 0; left > 0 && count < 5; left--)
            items[count++] = NULL;
    }
    while (!dots && count < rank)
        items[count++] = NULL;
    if (count != rank)
        return import_arg_unsupported(call, "its index does not fit its input");
    int32_t start[3] = {0, 0, 0}, step[3] = {1, 1, 1};
    uint32_t extent[3] = {s.h, s.w, s.c};
    bool drops = false, dropped[3] = {false, false, false};
    for (size_t i = 0; i < rank; i++) {
        size_t at = i + 3 - rank; /* i = 0 is the batch */
        if (!items[i])
            continue;
        if (i == 0) {
            int32_t first, by;
            uint32_t whole;
            TRY(one_slice(call, items[0], 1, &first, &by, &whole, &drops));
            if (drops || by != 1)
                return import_arg_unsupported(call, "it indexes the batch");
            continue;
        }
        TRY(one_slice(call, items[i], extent[at], &start[at], &step[at], &extent[at],
                      &dropped[at]));
    }
    TRY(import_ir_slice(call, in, start, step, extent, out));
    if (dropped[2] && !dropped[0] && !dropped[1] && in.rank == 3) {
        out->rank = IMPORT_RANK_PLANE; /* height x width without channels: for Stack */
        return DERMIS_OK;
    }
    model_shape to = {1, 1, 1};
    uint32_t *z[3] = {&to.h, &to.w, &to.c};
    int kept = 0;
    for (int at = 2; at >= 3 - in.rank; at--)
        if (!dropped[at])
            *z[2 - kept++] = extent[at];
    if (kept == 0)
        return import_arg_unsupported(call, "it leaves a single number");
    return import_ir_reshape(call, *out, to, kept, out);
}

static dermis_status op_stack(import_call *call, import_tensor *out)
{
    double axis = 0;
    setting_number(call, "axis", &axis);
    for (uint32_t i = 0; i < call->in_count; i++)
        if (call->in[i].rank != IMPORT_RANK_PLANE)
            return import_arg_unsupported(call, "it stacks tensors other than single channels");
    if (axis != -1 && axis != 3)
        return import_arg_unsupported(call, "it stacks along another axis than the channels");
    TRY(import_ir_concat(call, call->in, call->in_count, 2, out));
    out->rank = 3;
    return DERMIS_OK;
}

/* ---- shape ---- */

static dermis_status op_concatenate(import_call *call, import_tensor *out)
{
    double axis = -1;
    setting_number(call, "axis", &axis);
    return import_concat(call, call->in, call->in_count, axis, out);
}

static dermis_status op_reshape(import_call *call, import_tensor *out)
{
    json_t *list = import_arg_list(setting(call, "newshape"));
    if (!list)
        list = import_arg_list(setting(call, "shape"));
    if (!list)
        list = import_arg_list(operand(call, 1, "newshape"));
    double batch;
    size_t n = json_array_size(list);
    json_t *first = json_array_get(list, 0);
    if (n < 2 || (!json_is_null(first) &&
                  (!import_arg_is_number(first, &batch) || (batch != -1 && batch != 1))))
        return import_arg_unsupported(call, "its target shape cannot be read");
    json_t *rest = json_array();
    for (size_t i = 1; i < n; i++)
        json_array_append(rest, json_array_get(list, i));
    dermis_status status = import_reshape_to(call, call->in[0], rest, out);
    json_decref(rest);
    return status;
}

/* Reduction over height and width. */
static dermis_status reduce(import_call *call, int32_t kind, import_tensor *out)
{
    import_tensor in = call->in[0];
    json_t *axes = import_arg_list(setting(call, "axis"));
    json_t *keep = setting(call, "keepdims");
    double axis;
    unsigned seen = 0;
    for (size_t i = 0; i < json_array_size(axes); i++) {
        if (!import_arg_is_number(json_array_get(axes, i), &axis))
            axis = 0;
        if (axis < 0)
            axis += in.rank + 1;
        if (axis >= 1 && axis <= 3)
            seen |= 1u << (int)axis;
    }
    if (in.rank != 3 || seen != 6)
        return import_arg_unsupported(call, "it reduces other axes than height and width");
    return import_ir_global_pool(call, in, kind, json_is_true(keep), out);
}

static dermis_status op_mean(import_call *call, import_tensor *out)
{
    return reduce(call, CODE_POOL_MEAN, out);
}
static dermis_status op_max(import_call *call, import_tensor *out)
{
    return reduce(call, CODE_POOL_MAX, out);
}

/* ---- activations as operations ---- */

static dermis_status op_activation(import_call *call, const char *name, import_tensor *out)
{
    model_activation a;
    double v;
    if (!import_activation_named(call->c, name, &a))
        return import_arg_unsupported(call, "this operation cannot be converted");
    if (a.kind == CODE_ACT_RELU || a.kind == CODE_ACT_ELU || a.kind == CODE_ACT_CELU)
        if (setting_number(call, "negative_slope", &v) || setting_number(call, "alpha", &v))
            a.p0 = (float)v;
    if ((a.kind == CODE_ACT_HARD_SHRINK || a.kind == CODE_ACT_SOFT_SHRINK) &&
        setting_number(call, "threshold", &v))
        a.p0 = (float)v;
    if (a.kind == CODE_ACT_SQUAREPLUS && setting_number(call, "b", &v))
        a.p0 = (float)v;
    if (a.kind == CODE_ACT_GELU) { /* the operation approximates unless it is told not to */
        json_t *approximate = setting(call, "approximate");
        bool plain =
            call->c->keras_major >= 3 ? !json_is_false(approximate) : json_is_true(approximate);
        if (plain)
            a.kind = CODE_ACT_GELU_TANH;
    }
    if (a.kind >= CODE_ACT_SOFTMAX && setting_number(call, "axis", &v) && v != -1 &&
        v != call->in[0].rank)
        return import_arg_unsupported(call, "it works along another axis than the last");
    return import_ir_activation(call, call->in[0], a, false, out);
}

/* ---- dispatch ---- */

const import_entry import_layers_op[] = {
    {"add", op_add},
    {"add_v2", op_add},
    {"bias_add", op_add},
    {"subtract", op_subtract},
    {"sub", op_subtract},
    {"multiply", op_multiply},
    {"mul", op_multiply},
    {"true_divide", op_divide},
    {"truediv", op_divide},
    {"divide", op_divide},
    {"maximum", op_maximum},
    {"minimum", op_minimum},
    {"negative", op_negative},
    {"neg", op_negative},
    {"square", op_square},
    {"absolute", op_absolute},
    {"abs", op_absolute},
    {"cast", op_nothing},
    {"identity", op_nothing},
    {"stop_gradient", op_nothing},
    {"clip", op_clip},
    {"clip_by_value", op_clip},
    {"get_item", op_get_item},
    {"getitem", op_get_item},
    {"stack", op_stack},
    {"concatenate", op_concatenate},
    {"concat", op_concatenate},
    {"reshape", op_reshape},
    {"mean", op_mean},
    {"reduce_mean", op_mean},
    {"max", op_max},
    {"reduce_max", op_max},
    {NULL, NULL},
};

bool import_is_operation(import_context *c, const char *class_name)
{
    char snake[256];
    model_activation a;
    import_snake_case(class_name, snake, sizeof snake);
    for (const import_entry *e = import_layers_op; e->class_name; e++)
        if (!strcmp(e->class_name, snake))
            return true;
    return import_activation_named(c, snake, &a);
}

static dermis_status emit_operation(import_call *call, const char *name, import_tensor *out)
{
    if (call->in_count < 1)
        return import_arg_unsupported(call, "it has no input");
    for (const import_entry *e = import_layers_op; e->class_name; e++)
        if (!strcmp(e->class_name, name))
            return e->emit(call, out);
    static const struct {
        const char *op, *activation;
    } renamed[] = {{"exp", "exponential"}, {"leaky_relu", "leaky_relu"}, {"softmax_v2", "softmax"}};
    for (size_t i = 0; i < sizeof renamed / sizeof renamed[0]; i++)
        if (!strcmp(renamed[i].op, name))
            name = renamed[i].activation;
    model_activation a;
    if (import_activation_named(call->c, name, &a))
        return op_activation(call, name, out);
    return import_fail(call->c, DERMIS_E_MODEL_UNSUPPORTED,
                       "layer '%s': the operation '%s' cannot be converted; build the model with a "
                       "layer of keras.layers instead",
                       call->layer->path, name);
}

/* What to do about classes that are known not to work. */
static const char *advice(const char *name)
{
    static const char *const recurrent[] = {"LSTM",          "GRU",        "SimpleRNN",      "RNN",
                                            "Bidirectional", "ConvLSTM2D", "TimeDistributed"};
    for (size_t i = 0; i < sizeof recurrent / sizeof recurrent[0]; i++)
        if (!strcmp(name, recurrent[i]))
            return "recurrent layers cannot be converted: a photograph is no sequence";
    if (!strcmp(name, "Lambda"))
        return "a Lambda holds code, which is never run; replace it by layers such as Rescaling";
    if (!strcmp(name, "Conv2DTranspose") || !strcmp(name, "Conv3D"))
        return "this kind of convolution cannot be converted: it is not of a picture's classifier";
    return "this class is not known here (a custom layer?); rebuild the model with layers of "
           "keras.layers and save it again";
}

dermis_status import_emit_layer(import_call *call, import_tensor *out)
{
    static const import_entry *const tables[] = {import_layers_conv, import_layers_shape,
                                                 import_layers_math};
    const char *name = call->layer->class_name;
    if (!strcmp(name, "TFOpLambda") || !strcmp(name, "SlicingOpLambda")) {
        const char *function = import_arg_text(call, "function", "");
        const char *dot = strrchr(function, '.');
        return emit_operation(call, dot ? dot + 1 : function, out);
    }
    if (call->layer->operation) {
        char snake[256];
        import_snake_case(name, snake, sizeof snake);
        return emit_operation(call, snake, out);
    }
    if (call->in_count < 1)
        return import_arg_unsupported(call, "it has no input");
    for (size_t t = 0; t < sizeof tables / sizeof tables[0]; t++)
        for (const import_entry *e = tables[t]; e->class_name; e++)
            if (!strcmp(e->class_name, name))
                return e->emit(call, out);
    return import_arg_unsupported(call, advice(name));
}

dermis_status import_note_layer(import_call *call, uint32_t node, bool own_activation)
{
    import_context *c = call->c;
    ir_layer *l = NULL;
    for (uint32_t i = 0; i < c->layer_count && !l; i++)
        if (c->layers[i].layer == call->layer)
            l = &c->layers[i];
    if (!l) {
        if (c->layer_count == c->layer_room) {
            uint32_t room = c->layer_room ? c->layer_room * 2 : 64;
            ir_layer *grown = base_realloc(BASE_TAG_IMPORT, c->layers, room * sizeof *grown);
            if (!grown)
                return import_fail(c, DERMIS_E_MEMORY, "out of memory while converting");
            c->layers = grown;
            c->layer_room = room;
        }
        l = &c->layers[c->layer_count++];
        *l = (ir_layer){.name = call->layer->path, .layer = call->layer};
    } else if (call->key < l->key) {
        return DERMIS_OK;
    }
    l->node = node;
    l->own_activation = own_activation;
    l->key = call->key;
    return DERMIS_OK;
}
