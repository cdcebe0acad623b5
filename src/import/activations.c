/* activations.c - Keras's activations: by name, as serialised functions, as layers. */
#include "import/internal.h"

#include <math.h>
#include <string.h>

typedef struct named {
    const char *name;
    int32_t kind;
    float p0, p1, p2;
} named;

/* Defaults as in keras.activations. */
static const named list[] = {
    {"linear", CODE_ACT_LINEAR, 0, 0, 0},
    {"relu", CODE_ACT_RELU, 0, INFINITY, 0},
    {"relu6", CODE_ACT_RELU, 0, 6, 0},
    {"leaky_relu", CODE_ACT_RELU, 0.2f, INFINITY, 0},
    {"sigmoid", CODE_ACT_SIGMOID, 0, 0, 0},
    {"silu", CODE_ACT_SILU, 0, 0, 0},
    {"swish", CODE_ACT_SILU, 0, 0, 0},
    {"tanh", CODE_ACT_TANH, 0, 0, 0},
    {"gelu", CODE_ACT_GELU, 0, 0, 0},
    {"elu", CODE_ACT_ELU, 1, 0, 0},
    {"selu", CODE_ACT_SELU, 0, 0, 0},
    {"celu", CODE_ACT_CELU, 1, 0, 0},
    {"softplus", CODE_ACT_SOFTPLUS, 0, 0, 0},
    {"softsign", CODE_ACT_SOFTSIGN, 0, 0, 0},
    {"exponential", CODE_ACT_EXPONENTIAL, 0, 0, 0},
    {"hard_silu", CODE_ACT_HARD_SILU, 1.0f / 6, 0.5f, 0},
    {"hard_swish", CODE_ACT_HARD_SILU, 1.0f / 6, 0.5f, 0},
    {"hard_tanh", CODE_ACT_HARD_TANH, 0, 0, 0},
    {"hard_shrink", CODE_ACT_HARD_SHRINK, 0.5f, 0, 0},
    {"soft_shrink", CODE_ACT_SOFT_SHRINK, 0.5f, 0, 0},
    {"tanh_shrink", CODE_ACT_TANH_SHRINK, 0, 0, 0},
    {"mish", CODE_ACT_MISH, 0, 0, 0},
    {"log_sigmoid", CODE_ACT_LOG_SIGMOID, 0, 0, 0},
    {"squareplus", CODE_ACT_SQUAREPLUS, 4, 0, 0},
    {"sparse_plus", CODE_ACT_SPARSE_PLUS, 0, 0, 0},
    {"sparse_sigmoid", CODE_ACT_SPARSE_SIGMOID, 0, 0, 0},
    {"softmax", CODE_ACT_SOFTMAX, 0, 0, 0},
    {"log_softmax", CODE_ACT_LOG_SOFTMAX, 0, 0, 0},
    {"sparsemax", CODE_ACT_SPARSEMAX, 0, 0, 0},
};

bool import_activation_named(import_context *c, const char *name, model_activation *out)
{
    /* Keras 2: clip(0.2 x + 0.5); Keras 3: relu6(x + 3) / 6. */
    if (!strcmp(name, "hard_sigmoid")) {
        float slope = c->keras_major < 3 ? 0.2f : 1.0f / 6;
        *out = (model_activation){CODE_ACT_HARD_SIGMOID, slope, 0.5f, 0};
        return true;
    }
    for (size_t i = 0; i < sizeof list / sizeof list[0]; i++)
        if (!strcmp(list[i].name, name)) {
            *out = (model_activation){list[i].kind, list[i].p0, list[i].p1, list[i].p2};
            return true;
        }
    return false;
}

/* An activation layer's own arguments. `class_name` ReLU, LeakyReLU, ELU, Softmax, ...; false when
 * it is none. */
static dermis_status of_layer(const import_call *call, const char *class_name,
                              model_activation *out, bool *known)
{
    double a, b, d;
    *known = true;
    if (!strcmp(class_name, "ReLU")) {
        TRY(import_arg_number(call, "negative_slope", 0, &a));
        TRY(import_arg_number(call, "max_value", INFINITY, &b));
        TRY(import_arg_number(call, "threshold", 0, &d));
        *out = (model_activation){CODE_ACT_RELU, (float)a, (float)b, (float)d};
    } else if (!strcmp(class_name, "LeakyReLU")) {
        TRY(import_arg_number(call, "alpha", 0.3, &b)); /* Keras 2's name */
        TRY(import_arg_number(call, "negative_slope", b, &a));
        *out = (model_activation){CODE_ACT_RELU, (float)a, INFINITY, 0};
    } else if (!strcmp(class_name, "ThresholdedReLU")) {
        TRY(import_arg_number(call, "theta", 1, &a));
        *out = (model_activation){CODE_ACT_THRESHOLD, (float)a, 0, 0};
    } else if (!strcmp(class_name, "ELU")) {
        TRY(import_arg_number(call, "alpha", 1, &a));
        *out = (model_activation){CODE_ACT_ELU, (float)a, 0, 0};
    } else if (!strcmp(class_name, "Softmax")) {
        json_t *axis = json_object_get(call->config, "axis");
        double at = -1;
        json_t *axes = import_arg_list(axis);
        if (axes && json_array_size(axes) == 1)
            axis = json_array_get(axes, 0);
        if (axis && !json_is_null(axis) && !import_arg_is_number(axis, &at))
            return import_arg_unsupported(call, "a softmax over several axes; use axis=-1");
        if (at != -1 && !(call->in_count == 1 && at == call->in[0].rank))
            return import_arg_unsupported(call,
                                          "a softmax over another axis than the last; use axis=-1");
        *out = (model_activation){CODE_ACT_SOFTMAX, 0, 0, 0};
    } else {
        *known = false;
    }
    return DERMIS_OK;
}

dermis_status import_activation_parse(const import_call *call, json_t *value, model_activation *out)
{
    *out = (model_activation){CODE_ACT_LINEAR, 0, 0, 0};
    if (!value || json_is_null(value))
        return DERMIS_OK;
    const char *name = json_string_value(value);
    if (json_is_object(value)) {
        /* {"class_name": "function", "config": "relu6"}, or a layer with its config */
        json_t *config = json_object_get(value, "config");
        const char *class_name = json_string_value(json_object_get(value, "class_name"));
        name = json_string_value(config);
        if (!name && class_name) {
            import_call inner = *call;
            bool known;
            inner.config = json_is_object(config) ? config : call->layer->config;
            TRY(of_layer(&inner, class_name, out, &known));
            if (known)
                return DERMIS_OK;
            if (!strcmp(class_name, "Activation"))
                return import_activation_parse(&inner, json_object_get(config, "activation"), out);
            name = class_name;
        }
    }
    const char *prefix = name ? strrchr(name, '>') : NULL; /* "Custom>swish" */
    if (prefix)
        name = prefix + 1;
    if (name && import_activation_named(call->c, name, out)) {
        if (out->kind == CODE_ACT_SPARSEMAX) /* tau from a sum of sums, seen in Keras 3.8 */
            import_warn(call->c,
                        "layer '%s': Keras 3.8 computes sparsemax otherwise than its definition "
                        "where several elements stay above zero; the definition is followed here",
                        call->layer->path);
        return DERMIS_OK;
    }
    return import_fail(call->c, DERMIS_E_MODEL_UNSUPPORTED,
                       "layer '%s' (%s): activation '%s' is not one of Keras's; use one of "
                       "keras.activations and save the model again",
                       call->layer->path, call->layer->class_name, name ? name : "of another kind");
}

/* a * sigmoid(b) with the two halves of the last axis. */
static dermis_status glu(const import_call *call, import_tensor in, import_tensor *out)
{
    model_shape s = import_ir_shape(call->c, in);
    const int32_t zero[3] = {0, 0, 0}, half[3] = {0, 0, (int32_t)(s.c / 2)}, one[3] = {1, 1, 1};
    const uint32_t extent[3] = {s.h, s.w, s.c / 2};
    import_tensor a, b;
    if (s.c % 2)
        return import_arg_unsupported(call, "activation glu needs an even number of channels");
    TRY(import_ir_slice(call, in, zero, one, extent, &a));
    TRY(import_ir_slice(call, in, half, one, extent, &b));
    TRY(import_ir_activation(call, b, (model_activation){CODE_ACT_SIGMOID, 0, 0, 0}, false, &b));
    return import_ir_binary(call, CODE_MUL, a, b, out);
}

dermis_status import_activation_own(const import_call *call, import_tensor in, import_tensor *out)
{
    json_t *value = json_object_get(call->config, "activation");
    const char *name = json_string_value(value);
    model_activation a;
    if (name && !strcmp(name, "glu"))
        return glu(call, in, out);
    TRY(import_activation_parse(call, value, &a));
    return import_ir_activation(call, in, a, strcmp(call->layer->class_name, "Activation") != 0,
                                out);
}

/* Layers that are an activation: ReLU and the like. */
dermis_status import_activation_layer(import_call *call, import_tensor *out)
{
    model_activation a;
    bool known;
    TRY(of_layer(call, call->layer->class_name, &a, &known));
    return known ? import_ir_activation(call, call->in[0], a, false, out)
                 : import_activation_own(call, call->in[0], out);
}
