/* layers_math.c - layers of arithmetic: normalisation, merging, scaling; and those that do nothing
 * at inference. */
#include "import/internal.h"

#include <math.h>
#include <string.h>

/* Whether `axis` of the config (a number or a list of one) is the channels. */
static bool axis_is_last(const import_call *call, double fallback)
{
    json_t *value = json_object_get(call->config, "axis"), *list = import_arg_list(value);
    double axis = fallback;
    if (list) {
        if (json_array_size(list) != 1)
            return false;
        value = json_array_get(list, 0);
    }
    if (value && !json_is_null(value) && !import_arg_is_number(value, &axis))
        return false;
    return call->in[0].rank <= 3 && (axis == -1 || axis == call->in[0].rank);
}

static dermis_status batch_normalization(import_call *call, import_tensor *out)
{
    import_context *c = call->c;
    import_tensor in = call->in[0];
    uint32_t n = import_ir_shape(c, in).c;
    unsigned at = 0;
    double epsilon, *gamma = NULL, *beta = NULL, *mean, *variance;
    if (!axis_is_last(call, -1))
        return import_arg_unsupported(call, "its axis is not the channels; build the model with "
                                            "channels_last");
    TRY(import_arg_number(call, "epsilon", 1e-3, &epsilon));
    if (import_arg_bool(call, "scale", true))
        TRY(import_weight_double(c, call->layer, at++, "gamma", n, &gamma));
    if (import_arg_bool(call, "center", true))
        TRY(import_weight_double(c, call->layer, at++, "beta", n, &beta));
    TRY(import_weight_double(c, call->layer, at, "moving_mean", n, &mean));
    TRY(import_weight_double(c, call->layer, at + 1, "moving_variance", n, &variance));
    double *s = import_new(c, n, sizeof *s), *t = import_new(c, n, sizeof *t);
    if (!s || !t)
        return DERMIS_E_MEMORY;
    for (uint32_t i = 0; i < n; i++) {
        s[i] = (gamma ? gamma[i] : 1) / sqrt(variance[i] + epsilon);
        t[i] = (beta ? beta[i] : 0) - mean[i] * s[i];
    }
    TRY(import_ir_affine(c, call->layer->path, in, s, t, out));
    if (out->node != in.node)
        c->nodes[out->node].bn_mean = mean;
    return DERMIS_OK;
}

static dermis_status layer_normalization(import_call *call, import_tensor *out)
{
    import_context *c = call->c;
    import_tensor in = call->in[0];
    model_shape s = import_ir_shape(c, in);
    double epsilon, *gamma = NULL, *beta = NULL;
    unsigned at = 0;
    if (!axis_is_last(call, -1))
        return import_arg_unsupported(call, "its axis is not the channels alone; use axis=-1");
    if (import_arg_bool(call, "rms_scaling", false))
        return import_arg_unsupported(call, "rms_scaling=True cannot be converted");
    TRY(import_arg_number(call, "epsilon", 1e-3, &epsilon));
    if (import_arg_bool(call, "scale", true))
        TRY(import_weight_double(c, call->layer, at++, "gamma", s.c, &gamma));
    if (import_arg_bool(call, "center", true))
        TRY(import_weight_double(c, call->layer, at, "beta", s.c, &beta));
    model_attributes attributes = {0};
    attributes.layernorm.epsilon = (float)epsilon;
    uint32_t node = 0;
    TRY(import_ir_append(c, MODEL_LAYERNORM, call->layer->path, &in, 1, attributes, s, &node));
    c->nodes[node].scale = gamma;
    c->nodes[node].shift = beta;
    *out = (import_tensor){node, in.rank};
    return DERMIS_OK;
}

/* ---- merging ---- */

/* Left to right, as Keras does. */
static dermis_status merge(import_call *call, int32_t kind, import_tensor *out)
{
    import_tensor t = call->in[0];
    if (call->in_count < 2)
        return import_arg_unsupported(call, "it merges fewer than two tensors");
    for (uint32_t i = 1; i < call->in_count; i++) {
        if ((call->in[i].rank == 1) != (t.rank == 1) && (call->in[i].rank == 2 || t.rank == 2))
            return import_arg_unsupported(call, "it merges a vector with a sequence");
        TRY(import_ir_binary(call, kind, t, call->in[i], &t));
    }
    *out = t;
    return DERMIS_OK;
}

static dermis_status add(import_call *call, import_tensor *out)
{
    return merge(call, CODE_ADD, out);
}
static dermis_status subtract(import_call *call, import_tensor *out)
{
    return merge(call, CODE_SUB, out);
}
static dermis_status multiply(import_call *call, import_tensor *out)
{
    return merge(call, CODE_MUL, out);
}
static dermis_status maximum(import_call *call, import_tensor *out)
{
    return merge(call, CODE_MAX, out);
}
static dermis_status minimum(import_call *call, import_tensor *out)
{
    return merge(call, CODE_MIN, out);
}
static dermis_status average(import_call *call, import_tensor *out)
{
    import_tensor sum;
    TRY(merge(call, CODE_ADD, &sum));
    return import_ir_affine_all(call->c, call->layer->path, sum, 1.0 / call->in_count, 0, out);
}

/* ---- scaling ---- */

/* A number, or a list (nested ones too) with one number or one a channel. */
dermis_status import_vector(const import_call *call, json_t *value, uint32_t n, double fallback,
                            double **out)
{
    double *v = import_new(call->c, n, sizeof *v), one = fallback;
    if (!v)
        return DERMIS_E_MEMORY;
    json_t *list = import_arg_list(value);
    while (json_array_size(list) == 1 && import_arg_list(json_array_get(list, 0)))
        list = import_arg_list(json_array_get(list, 0));
    if (list && json_array_size(list) == 1)
        value = json_array_get(list, 0), list = NULL;
    if (list && json_array_size(list) != n)
        return import_arg_unsupported(
            call, "a constant has neither one element nor one for each channel");
    if (!list && value && !json_is_null(value) && !import_arg_is_number(value, &one))
        return import_arg_unsupported(call, "a constant cannot be read");
    for (uint32_t i = 0; i < n; i++) {
        v[i] = one;
        if (list && !import_arg_is_number(json_array_get(list, i), &v[i]))
            return import_arg_unsupported(call, "a constant cannot be read");
    }
    *out = v;
    return DERMIS_OK;
}

static dermis_status rescaling(import_call *call, import_tensor *out)
{
    import_context *c = call->c;
    uint32_t n = import_ir_shape(c, call->in[0]).c;
    double *scale, *offset;
    TRY(import_vector(call, json_object_get(call->config, "scale"), n, 1, &scale));
    TRY(import_vector(call, json_object_get(call->config, "offset"), n, 0, &offset));
    return import_ir_affine(c, call->layer->path, call->in[0], scale, offset, out);
}

/* (x - mean) / max(sqrt(variance), 1e-7); mean and variance as arguments, or learnt by adapt(). */
static dermis_status normalization(import_call *call, import_tensor *out)
{
    import_context *c = call->c;
    uint32_t n = import_ir_shape(c, call->in[0]).c;
    double *mean, *variance;
    json_t *given = json_object_get(call->config, "mean");
    json_t *axis = json_object_get(call->config, "axis");
    json_t *axes = import_arg_list(axis);
    bool scalar = (axis && json_is_null(axis)) || (axes && json_array_size(axes) == 0);
    if (!scalar && !axis_is_last(call, -1))
        return import_arg_unsupported(call, "its axis is not the channels; use axis=-1");
    if (given && !json_is_null(given)) {
        TRY(import_vector(call, given, n, 0, &mean));
        TRY(import_vector(call, json_object_get(call->config, "variance"), n, 1, &variance));
    } else if (scalar) {
        double *one_mean, *one_variance;
        TRY(import_weight_double(c, call->layer, 0, "mean", 1, &one_mean));
        TRY(import_weight_double(c, call->layer, 1, "variance", 1, &one_variance));
        mean = import_new(c, n, sizeof *mean);
        variance = import_new(c, n, sizeof *variance);
        if (!mean || !variance)
            return DERMIS_E_MEMORY;
        for (uint32_t i = 0; i < n; i++)
            mean[i] = *one_mean, variance[i] = *one_variance;
    } else {
        TRY(import_weight_double(c, call->layer, 0, "mean", n, &mean));
        TRY(import_weight_double(c, call->layer, 1, "variance", n, &variance));
    }
    double *s = import_new(c, n, sizeof *s), *t = import_new(c, n, sizeof *t);
    if (!s || !t)
        return DERMIS_E_MEMORY;
    bool invert = import_arg_bool(call, "invert", false);
    for (uint32_t i = 0; i < n; i++) {
        double deviation = fmax(sqrt(variance[i]), 1e-7);
        if (variance[i] < 0)
            deviation = NAN; /* refused by import_ir_affine, by name */
        s[i] = invert ? deviation : 1 / deviation;
        t[i] = invert ? mean[i] : -mean[i] / deviation;
    }
    return import_ir_affine(c, call->layer->path, call->in[0], s, t, out);
}

/* keras.applications.convnext: x * gamma */
static dermis_status layer_scale(import_call *call, import_tensor *out)
{
    import_context *c = call->c;
    double *gamma;
    TRY(import_weight_double(c, call->layer, 0, "gamma", import_ir_shape(c, call->in[0]).c,
                             &gamma));
    return import_ir_affine(c, call->layer->path, call->in[0], gamma, NULL, out);
}

/* keras.applications.inception_resnet_v2: x0 + scale * x1 */
static dermis_status custom_scale(import_call *call, import_tensor *out)
{
    double scale;
    import_tensor scaled;
    if (call->in_count != 2)
        return import_arg_unsupported(call, "it wants two inputs");
    TRY(import_arg_number(call, "scale", 1, &scale));
    TRY(import_ir_affine_all(call->c, call->layer->path, call->in[1], scale, 0, &scaled));
    return import_ir_binary(call, CODE_ADD, call->in[0], scaled, out);
}

static dermis_status prelu(import_call *call, import_tensor *out)
{
    import_context *c = call->c;
    import_tensor in = call->in[0];
    model_shape s = import_ir_shape(c, in);
    uint32_t extent[3] = {s.h, s.w, s.c}, have[3] = {s.h, s.w, s.c};
    json_t *shared = import_arg_list(json_object_get(call->config, "shared_axes"));
    for (size_t i = 0; i < json_array_size(shared); i++) {
        double axis;
        if (in.rank > 3 || !import_arg_is_number(json_array_get(shared, i), &axis) || axis < 1 ||
            axis > in.rank || axis != (int)axis)
            return import_arg_unsupported(call, "its shared_axes cannot be read");
        have[(int)axis - 1 + 3 - in.rank] = 1;
    }
    float *alpha;
    size_t count = (size_t)have[0] * have[1] * have[2], full = (size_t)s.h * s.w * s.c;
    TRY(import_weight(c, call->layer, 0, "alpha", count, &alpha));
    bool per_channel = have[0] == 1 && have[1] == 1 && have[2] == s.c;
    if (!per_channel && count != full) { /* shared along some axes: written out */
        float *wide = import_new(c, full, sizeof *wide);
        if (!wide)
            return DERMIS_E_MEMORY;
        for (size_t y = 0, at = 0; y < extent[0]; y++)
            for (size_t x = 0; x < extent[1]; x++)
                for (size_t k = 0; k < extent[2]; k++)
                    wide[at++] =
                        alpha[((have[0] > 1 ? y : 0) * have[1] + (have[1] > 1 ? x : 0)) * have[2] +
                              (have[2] > 1 ? k : 0)];
        alpha = wide;
        count = full;
    }
    uint32_t node = 0;
    TRY(import_ir_append(c, MODEL_PRELU, call->layer->path, &in, 1, (model_attributes){0}, s,
                         &node));
    c->nodes[node].weight = alpha;
    c->nodes[node].weight_count = count;
    *out = (import_tensor){node, in.rank};
    return DERMIS_OK;
}

static dermis_status nothing(import_call *call, import_tensor *out)
{
    *out = call->in[0];
    return DERMIS_OK;
}

const import_entry import_layers_math[] = {
    {"BatchNormalization", batch_normalization},
    {"SyncBatchNormalization", batch_normalization},
    {"BatchNormalizationV1", batch_normalization},
    {"BatchNormalizationV2", batch_normalization},
    {"LayerNormalization", layer_normalization},
    {"Add", add},
    {"Subtract", subtract},
    {"Multiply", multiply},
    {"Average", average},
    {"Maximum", maximum},
    {"Minimum", minimum},
    {"Rescaling", rescaling},
    {"Normalization", normalization},
    {"LayerScale", layer_scale},
    {"CustomScaleLayer", custom_scale},
    {"PReLU", prelu},
    {"Activation", import_activation_layer},
    {"ReLU", import_activation_layer},
    {"LeakyReLU", import_activation_layer},
    {"ThresholdedReLU", import_activation_layer},
    {"ELU", import_activation_layer},
    {"Softmax", import_activation_layer},
    /* nothing at inference */
    {"Identity", nothing},
    {"Dropout", nothing},
    {"FixedDropout", nothing},    /* of the efficientnet package: a Dropout */
    {"StochasticDepth", nothing}, /* of keras.applications.convnext */
    {"SpatialDropout1D", nothing},
    {"SpatialDropout2D", nothing},
    {"AlphaDropout", nothing},
    {"GaussianDropout", nothing},
    {"GaussianNoise", nothing},
    {"ActivityRegularization", nothing},
    {"RandomFlip", nothing},
    {"RandomRotation", nothing},
    {"RandomZoom", nothing},
    {"RandomTranslation", nothing},
    {"RandomShear", nothing},
    {"RandomPerspective", nothing},
    {"RandomElasticTransform", nothing},
    {"RandomHeight", nothing},
    {"RandomWidth", nothing},
    {"RandomContrast", nothing},
    {"RandomBrightness", nothing},
    {"RandomSaturation", nothing},
    {"RandomHue", nothing},
    {"RandomGrayscale", nothing},
    {"RandomColorJitter", nothing},
    {"RandomColorDegeneration", nothing},
    {"RandomSharpness", nothing},
    {"RandomPosterization", nothing},
    {"RandomInvert", nothing},
    {"RandomErasing", nothing},
    {"RandomGaussianBlur", nothing},
    {"RandAugment", nothing},
    {"AugMix", nothing},
    {"MixUp", nothing},
    {"CutMix", nothing},
    {NULL, NULL},
};
