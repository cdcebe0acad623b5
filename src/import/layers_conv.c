/* layers_conv.c - layers with kernels: convolutions, dense layers, pooling. */
#include "import/internal.h"

#include <string.h>

#define EXTENT_MAX 16384 /* of kernels, strides, dilations: larger than any picture here */

typedef struct window {
    int32_t kernel[2], stride[2], dilation[2];
    int32_t before[2], after[2];
    uint32_t out[2];
} window;

/* TensorFlow's padding: "same" gives ceil(in / stride) outputs and puts the odd pixel behind. */
static dermis_status place(const import_call *call, model_shape in, window *w)
{
    const char *padding = import_arg_text(call, "padding", "valid");
    bool same = !strcmp(padding, "same");
    const uint32_t extent[2] = {in.h, in.w};
    TRY(import_arg_channels_last(call));
    if (!same && strcmp(padding, "valid"))
        return import_arg_unsupported(call,
                                      "padding is neither 'valid' nor 'same'; use one of them");
    for (int i = 0; i < 2; i++) {
        int64_t n = extent[i], s = w->stride[i], d = w->dilation[i];
        int64_t reach = (int64_t)(w->kernel[i] - 1) * d + 1;
        if (same) {
            int64_t outputs = (n + s - 1) / s;
            int64_t pad = (outputs - 1) * s + reach - n;
            if (pad < 0)
                pad = 0;
            if (pad > EXTENT_MAX * 2)
                return import_arg_unsupported(call, "its kernel is far larger than its input");
            w->before[i] = (int32_t)(pad / 2);
            w->after[i] = (int32_t)(pad - pad / 2);
            w->out[i] = (uint32_t)outputs;
        } else {
            if (reach > n)
                return import_fail(call->c, DERMIS_E_MODEL_INVALID,
                                   "layer '%s' (%s): its window of %lld is larger than its input "
                                   "of %lld; is --input-size too small?",
                                   call->layer->path, call->layer->class_name, (long long)reach,
                                   (long long)n);
            w->out[i] = (uint32_t)((n - reach) / s + 1);
        }
    }
    return DERMIS_OK;
}

static dermis_status window_of_conv(const import_call *call, model_shape in, window *w)
{
    *w = (window){0};
    TRY(import_arg_pair(call, "kernel_size", 0, 1, EXTENT_MAX, w->kernel));
    TRY(import_arg_pair(call, "strides", 1, 1, EXTENT_MAX, w->stride));
    TRY(import_arg_pair(call, "dilation_rate", 1, 1, EXTENT_MAX, w->dilation));
    return place(call, in, w);
}

static model_attributes conv_attributes(const window *w, int32_t groups, int32_t out_c)
{
    model_attributes at = {0};
    at.conv = (model_conv){
        .kernel_h = w->kernel[0],
        .kernel_w = w->kernel[1],
        .stride_h = w->stride[0],
        .stride_w = w->stride[1],
        .dilation_h = w->dilation[0],
        .dilation_w = w->dilation[1],
        .pad_top = w->before[0],
        .pad_left = w->before[1],
        .pad_bottom = w->after[0],
        .pad_right = w->after[1],
        .groups = groups,
        .out_c = out_c,
        .activation = CODE_ACT_LINEAR,
    };
    return at;
}

static dermis_status weight_count(const import_call *call, size_t a, size_t b, size_t d, size_t e,
                                  size_t *out)
{
    if (!base_mul_size(a, b, out) || !base_mul_size(*out, d, out) || !base_mul_size(*out, e, out))
        return import_arg_unsupported(call,
                                      "its kernel has more elements than memory has addresses");
    return DERMIS_OK;
}

/* One convolution node with its kernel and bias; `first` is the kernel's number among the layer's
 * weights. */
static dermis_status emit_conv(import_call *call, model_op op, import_tensor in, const window *w,
                               int32_t groups, int32_t out_c, unsigned kernel_index,
                               const char *kernel_name, int bias_index, import_tensor *out)
{
    import_context *c = call->c;
    uint32_t in_c = import_ir_shape(c, in).c, node = 0;
    size_t count = 0;
    float *kernel;
    double *bias = NULL;
    size_t per = op == MODEL_DEPTHWISE ? 1 : in_c / (uint32_t)groups;
    TRY(weight_count(call, (size_t)w->kernel[0], (size_t)w->kernel[1], per, (size_t)out_c, &count));
    TRY(import_weight(c, call->layer, kernel_index, kernel_name, count, &kernel));
    if (bias_index >= 0)
        TRY(import_weight_double(c, call->layer, (unsigned)bias_index, "bias", (size_t)out_c,
                                 &bias));
    TRY(import_ir_append(c, op, call->layer->path, &in, 1, conv_attributes(w, groups, out_c),
                         (model_shape){w->out[0], w->out[1], (uint32_t)out_c}, &node));
    c->nodes[node].weight = kernel;
    c->nodes[node].weight_count = count;
    c->nodes[node].bias = bias;
    *out = (import_tensor){node, in.rank};
    return DERMIS_OK;
}

/* The layer's own activation, and a note of the layer for explanations. */
static dermis_status finish_conv(import_call *call, import_tensor conv, import_tensor *out)
{
    TRY(import_activation_own(call, conv, out));
    return import_note_layer(call, conv.node, out->node != conv.node);
}

static dermis_status need_picture(const import_call *call)
{
    if (call->in[0].rank != 3)
        return import_arg_unsupported(call, "its input is not height x width x channels");
    return DERMIS_OK;
}

static dermis_status conv2d(import_call *call, import_tensor *out)
{
    import_tensor in = call->in[0], conv;
    model_shape s = import_ir_shape(call->c, in);
    window w;
    int32_t filters = 0, groups = 1;
    TRY(need_picture(call));
    TRY(window_of_conv(call, s, &w));
    TRY(import_arg_int(call, "filters", 0, 1, MODEL_MAX_EXTENT, &filters));
    TRY(import_arg_int(call, "groups", 1, 1, MODEL_MAX_EXTENT, &groups));
    if (s.c % (uint32_t)groups || filters % groups)
        return import_arg_unsupported(call, "channels are not divisible by its groups");
    /* One channel a group is a depthwise convolution in the same order of weights. */
    bool depthwise = groups > 1 && (uint32_t)groups == s.c;
    TRY(emit_conv(call, depthwise ? MODEL_DEPTHWISE : MODEL_CONV, in, &w, depthwise ? 1 : groups,
                  filters, 0, "kernel", import_arg_bool(call, "use_bias", true) ? 1 : -1, &conv));
    return finish_conv(call, conv, out);
}

static dermis_status depthwise_channels(const import_call *call, uint32_t in_c, int32_t *out)
{
    int32_t multiplier = 1;
    TRY(import_arg_int(call, "depth_multiplier", 1, 1, 4096, &multiplier));
    uint64_t n = (uint64_t)in_c * (uint64_t)multiplier;
    if (n > MODEL_MAX_EXTENT)
        return import_arg_unsupported(call, "too many channels");
    *out = (int32_t)n;
    return DERMIS_OK;
}

static dermis_status depthwise2d(import_call *call, import_tensor *out)
{
    import_tensor in = call->in[0], conv;
    model_shape s = import_ir_shape(call->c, in);
    window w;
    int32_t channels = 0;
    TRY(need_picture(call));
    TRY(window_of_conv(call, s, &w));
    TRY(depthwise_channels(call, s.c, &channels));
    TRY(emit_conv(call, MODEL_DEPTHWISE, in, &w, 1, channels, 0,
                  call->c->keras_major < 3 ? "depthwise_kernel" : "kernel",
                  import_arg_bool(call, "use_bias", true) ? 1 : -1, &conv));
    return finish_conv(call, conv, out);
}

static dermis_status separable2d(import_call *call, import_tensor *out)
{
    import_tensor in = call->in[0], middle, conv;
    model_shape s = import_ir_shape(call->c, in);
    window w, point = {.kernel = {1, 1}, .stride = {1, 1}, .dilation = {1, 1}};
    int32_t channels = 0, filters = 0;
    TRY(need_picture(call));
    TRY(window_of_conv(call, s, &w));
    TRY(depthwise_channels(call, s.c, &channels));
    TRY(import_arg_int(call, "filters", 0, 1, MODEL_MAX_EXTENT, &filters));
    TRY(emit_conv(call, MODEL_DEPTHWISE, in, &w, 1, channels, 0, "depthwise_kernel", -1, &middle));
    point.out[0] = w.out[0];
    point.out[1] = w.out[1];
    TRY(emit_conv(call, MODEL_CONV, middle, &point, 1, filters, 1, "pointwise_kernel",
                  import_arg_bool(call, "use_bias", true) ? 2 : -1, &conv));
    return finish_conv(call, conv, out);
}

/* A convolution along a sequence (1 x N x C), as channel attention uses it; the same arguments with
 * one number each. */
static dermis_status conv1d(import_call *call, import_tensor *out)
{
    import_tensor in = call->in[0], conv;
    model_shape s = import_ir_shape(call->c, in);
    window w;
    int32_t filters = 0, groups = 1;
    if (in.rank != 2)
        return import_arg_unsupported(call, "its input is not a sequence of vectors");
    TRY(import_arg_channels_last(call));
    w = (window){0};
    TRY(import_arg_pair(call, "kernel_size", 0, 1, EXTENT_MAX, w.kernel));
    TRY(import_arg_pair(call, "strides", 1, 1, EXTENT_MAX, w.stride));
    TRY(import_arg_pair(call, "dilation_rate", 1, 1, EXTENT_MAX, w.dilation));
    w.kernel[0] = w.stride[0] = w.dilation[0] = 1;
    TRY(place(call, s, &w));
    TRY(import_arg_int(call, "filters", 0, 1, MODEL_MAX_EXTENT, &filters));
    TRY(import_arg_int(call, "groups", 1, 1, MODEL_MAX_EXTENT, &groups));
    if (s.c % (uint32_t)groups || filters % groups)
        return import_arg_unsupported(call, "channels are not divisible by its groups");
    TRY(emit_conv(call, MODEL_CONV, in, &w, groups, filters, 0, "kernel",
                  import_arg_bool(call, "use_bias", true) ? 1 : -1, &conv));
    return import_activation_own(call, conv, out);
}

/* Dense works on the last axis of whatever comes: a 1x1 convolution. */
static dermis_status dense(import_call *call, import_tensor *out)
{
    import_tensor in = call->in[0], conv;
    model_shape s = import_ir_shape(call->c, in);
    window w = {.kernel = {1, 1}, .stride = {1, 1}, .dilation = {1, 1}, .out = {s.h, s.w}};
    int32_t units = 0;
    if (in.rank > 3)
        return import_arg_unsupported(call, "its input has no channels");
    TRY(import_arg_int(call, "units", 0, 1, MODEL_MAX_EXTENT, &units));
    TRY(emit_conv(call, MODEL_CONV, in, &w, 1, units, 0, "kernel",
                  import_arg_bool(call, "use_bias", true) ? 1 : -1, &conv));
    return import_activation_own(call, conv, out);
}

/* ---- pooling ---- */

static dermis_status pool(import_call *call, int32_t kind, bool sequence, import_tensor *out)
{
    import_context *c = call->c;
    import_tensor in = call->in[0];
    model_shape s = import_ir_shape(c, in);
    window w = {.dilation = {1, 1}};
    if (in.rank != (sequence ? 2 : 3))
        return import_arg_unsupported(call, "its input has another number of axes than it wants");
    TRY(import_arg_pair(call, "pool_size", 2, 1, EXTENT_MAX, w.kernel));
    w.stride[0] = w.kernel[0];
    w.stride[1] = w.kernel[1];
    json_t *strides = json_object_get(call->config, "strides");
    if (strides && !json_is_null(strides))
        TRY(import_arg_pair(call, "strides", 1, 1, EXTENT_MAX, w.stride));
    if (sequence)
        w.kernel[0] = w.stride[0] = 1;
    TRY(place(call, s, &w));
    model_attributes at = {0};
    at.pool = (model_pool){.kind = kind,
                           .kernel_h = w.kernel[0],
                           .kernel_w = w.kernel[1],
                           .stride_h = w.stride[0],
                           .stride_w = w.stride[1],
                           .pad_top = w.before[0],
                           .pad_left = w.before[1],
                           .pad_bottom = w.after[0],
                           .pad_right = w.after[1]};
    uint32_t node = 0;
    TRY(import_ir_append(c, MODEL_POOL, call->layer->path, &in, 1, at,
                         (model_shape){w.out[0], w.out[1], s.c}, &node));
    *out = (import_tensor){node, in.rank};
    return DERMIS_OK;
}

static dermis_status max2d(import_call *call, import_tensor *out)
{
    return pool(call, CODE_POOL_MAX, false, out);
}
static dermis_status mean2d(import_call *call, import_tensor *out)
{
    return pool(call, CODE_POOL_MEAN, false, out);
}
static dermis_status max1d(import_call *call, import_tensor *out)
{
    return pool(call, CODE_POOL_MAX, true, out);
}
static dermis_status mean1d(import_call *call, import_tensor *out)
{
    return pool(call, CODE_POOL_MEAN, true, out);
}

static dermis_status global(import_call *call, int32_t kind, int rank, import_tensor *out)
{
    TRY(import_arg_channels_last(call));
    if (call->in[0].rank != rank)
        return import_arg_unsupported(call, "its input has another number of axes than it wants");
    return import_ir_global_pool(call, call->in[0], kind, import_arg_bool(call, "keepdims", false),
                                 out);
}

static dermis_status global_max2d(import_call *call, import_tensor *out)
{
    return global(call, CODE_POOL_MAX, 3, out);
}
static dermis_status global_mean2d(import_call *call, import_tensor *out)
{
    return global(call, CODE_POOL_MEAN, 3, out);
}
static dermis_status global_max1d(import_call *call, import_tensor *out)
{
    return global(call, CODE_POOL_MAX, 2, out);
}
static dermis_status global_mean1d(import_call *call, import_tensor *out)
{
    return global(call, CODE_POOL_MEAN, 2, out);
}

const import_entry import_layers_conv[] = {
    {"Conv2D", conv2d},
    {"Convolution2D", conv2d},
    {"DepthwiseConv2D", depthwise2d},
    {"SeparableConv2D", separable2d},
    {"SeparableConvolution2D", separable2d},
    {"Conv1D", conv1d},
    {"Dense", dense},
    {"MaxPooling2D", max2d},
    {"MaxPool2D", max2d},
    {"AveragePooling2D", mean2d},
    {"AvgPool2D", mean2d},
    {"MaxPooling1D", max1d},
    {"AveragePooling1D", mean1d},
    {"GlobalMaxPooling2D", global_max2d},
    {"GlobalMaxPool2D", global_max2d},
    {"GlobalAveragePooling2D", global_mean2d},
    {"GlobalAvgPool2D", global_mean2d},
    {"GlobalMaxPooling1D", global_max1d},
    {"GlobalAveragePooling1D", global_mean1d},
    {NULL, NULL},
};
