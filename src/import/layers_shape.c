/* layers_shape.c - layers that move elements: concatenation, reshaping, padding, resizing. */
#include "import/internal.h"

#include <string.h>

/* Keras's axis (batch is 0, negative from the end) to 0 h, 1 w, 2 c; -1 where there is none such.
 */
static int axis_of(double axis, int rank)
{
    if (axis < 0)
        axis += rank + 1;
    if (axis < 1 || axis > rank || axis != (int)axis)
        return -1;
    return (int)axis - 1 + (3 - rank); /* (C): 2; (N, C): 1, 2; (H, W, C): 0, 1, 2 */
}

dermis_status import_concat(const import_call *call, const import_tensor *in, uint32_t count,
                            double axis, import_tensor *out)
{
    if (count == 0)
        return import_arg_unsupported(call, "it has no input");
    for (uint32_t i = 1; i < count; i++)
        if (in[i].rank != in[0].rank)
            return import_arg_unsupported(call, "its inputs have different numbers of axes");
    int at = in[0].rank <= 3 ? axis_of(axis, in[0].rank) : -1;
    if (at < 0)
        return import_arg_unsupported(call,
                                      "it concatenates along an axis that cannot be had here");
    return import_ir_concat(call, in, count, at, out);
}

static dermis_status concatenate(import_call *call, import_tensor *out)
{
    double axis;
    TRY(import_arg_number(call, "axis", -1, &axis));
    return import_concat(call, call->in, call->in_count, axis, out);
}

/* To `n` extents (without the batch), one of which may be -1. */
dermis_status import_reshape_to(const import_call *call, import_tensor in, json_t *list,
                                import_tensor *out)
{
    model_shape s = import_ir_shape(call->c, in);
    uint64_t total = (uint64_t)s.h * s.w * s.c, known = 1;
    uint32_t z[3] = {1, 1, 1};
    size_t n = json_array_size(list);
    int open_at = -1;
    if (n < 1 || n > 3)
        return import_arg_unsupported(call, "it reshapes to more than 3 axes (batch not counted)");
    for (size_t i = 0; i < n; i++) {
        double v;
        size_t at = i + 3 - n;
        if (!import_arg_is_number(json_array_get(list, i), &v) || v != (int64_t)v || v < -1 ||
            v == 0 || v > MODEL_MAX_EXTENT || (v < 0 && open_at >= 0))
            return import_arg_unsupported(call, "its target shape cannot be read");
        if (v < 0)
            open_at = (int)at;
        else
            z[at] = (uint32_t)v, known *= (uint64_t)v;
        if (known > MODEL_MAX_ELEMENTS)
            return import_arg_unsupported(call, "its target shape is past the limit");
    }
    if (open_at >= 0)
        z[open_at] = total % known ? 0 : (uint32_t)(total / known);
    return import_ir_reshape(call, in, (model_shape){z[0], z[1], z[2]}, (int)n, out);
}

static dermis_status reshape(import_call *call, import_tensor *out)
{
    json_t *target = json_object_get(call->config, "target_shape"), *list = import_arg_list(target);
    if (!list)
        return import_arg_unsupported(call, "it has no target_shape");
    return import_reshape_to(call, call->in[0], list, out);
}

static dermis_status flatten(import_call *call, import_tensor *out)
{
    model_shape s = import_ir_shape(call->c, call->in[0]);
    TRY(import_arg_channels_last(call));
    return import_ir_reshape(call, call->in[0], (model_shape){1, 1, s.h * s.w * s.c}, 1, out);
}

/* Only where no element moves: the axes longer than 1 keep their order. */
static dermis_status permute(import_call *call, import_tensor *out)
{
    import_tensor in = call->in[0];
    model_shape s = import_ir_shape(call->c, in);
    uint32_t from[3] = {s.h, s.w, s.c}, z[3] = {1, 1, 1};
    json_t *dims = import_arg_list(json_object_get(call->config, "dims"));
    size_t n = json_array_size(dims);
    int last = -1;
    bool seen[3] = {false, false, false}, free_of_cost = true;
    if (in.rank > 3 || n != (size_t)in.rank)
        return import_arg_unsupported(call, "its dims do not fit its input");
    for (size_t i = 0; i < n; i++) {
        double v;
        int at = import_arg_is_number(json_array_get(dims, i), &v) ? axis_of(v, in.rank) : -1;
        if (at < 0 || v < 1 || seen[at])
            return import_arg_unsupported(call, "its dims are no permutation");
        seen[at] = true;
        z[i + 3 - n] = from[at];
        if (from[at] > 1) {
            free_of_cost = free_of_cost && at > last;
            last = at;
        }
    }
    if (!free_of_cost)
        return import_arg_unsupported(call,
                                      "it transposes its input, which only channels_first models "
                                      "need; build the model with channels_last");
    return import_ir_reshape(call, in, (model_shape){z[0], z[1], z[2]}, in.rank, out);
}

/* n, [n, m] or [[top, bottom], [left, right]] */
static dermis_status borders(const import_call *call, const char *key, int32_t out[4])
{
    json_t *value = json_object_get(call->config, key), *list = import_arg_list(value);
    for (int i = 0; i < 2; i++) {
        json_t *side = list ? json_array_get(list, (size_t)i) : value, *two = import_arg_list(side);
        double a, b;
        bool ok = two ? import_arg_is_number(json_array_get(two, 0), &a) &&
                            import_arg_is_number(json_array_get(two, 1), &b)
                      : import_arg_is_number(side, &a);
        if (ok && !two)
            b = a;
        if (!ok || a < 0 || b < 0 || a > 16384 || b > 16384 || a != (int)a || b != (int)b)
            return import_arg_unsupported(call, "its borders cannot be read");
        out[2 * i] = (int32_t)a;
        out[2 * i + 1] = (int32_t)b;
    }
    return DERMIS_OK;
}

static dermis_status zero_padding(import_call *call, import_tensor *out)
{
    import_tensor in = call->in[0];
    model_shape s = import_ir_shape(call->c, in);
    int32_t b[4];
    TRY(import_arg_channels_last(call));
    TRY(borders(call, "padding", b));
    if (in.rank != 3)
        return import_arg_unsupported(call, "its input is not height x width x channels");
    if (!b[0] && !b[1] && !b[2] && !b[3]) {
        *out = in;
        return DERMIS_OK;
    }
    model_attributes at = {0};
    at.pad.top = b[0], at.pad.bottom = b[1], at.pad.left = b[2], at.pad.right = b[3];
    uint32_t node = 0;
    TRY(import_ir_append(
        call->c, MODEL_PAD, call->layer->path, &in, 1, at,
        (model_shape){s.h + (uint32_t)(b[0] + b[1]), s.w + (uint32_t)(b[2] + b[3]), s.c}, &node));
    *out = (import_tensor){node, 3};
    return DERMIS_OK;
}

static dermis_status crop_to(const import_call *call, import_tensor in, int32_t top, int32_t left,
                             uint32_t h, uint32_t w, import_tensor *out)
{
    const int32_t start[3] = {top, left, 0}, step[3] = {1, 1, 1};
    const uint32_t extent[3] = {h, w, import_ir_shape(call->c, in).c};
    return import_ir_slice(call, in, start, step, extent, out);
}

static dermis_status cropping(import_call *call, import_tensor *out)
{
    import_tensor in = call->in[0];
    model_shape s = import_ir_shape(call->c, in);
    int32_t b[4];
    TRY(import_arg_channels_last(call));
    TRY(borders(call, "cropping", b));
    if (in.rank != 3)
        return import_arg_unsupported(call, "its input is not height x width x channels");
    if ((uint32_t)(b[0] + b[1]) >= s.h || (uint32_t)(b[2] + b[3]) >= s.w)
        return import_arg_unsupported(call,
                                      "it crops all of its input; is --input-size too small?");
    return crop_to(call, in, b[0], b[2], s.h - (uint32_t)(b[0] + b[1]),
                   s.w - (uint32_t)(b[2] + b[3]), out);
}

static dermis_status resize(const import_call *call, const char *how, int64_t h, int64_t w,
                            import_tensor *out)
{
    import_tensor in = call->in[0];
    model_shape s = import_ir_shape(call->c, in);
    TRY(import_arg_channels_last(call));
    if (in.rank != 3)
        return import_arg_unsupported(call, "its input is not height x width x channels");
    if (h < 1 || w < 1 || h > MODEL_MAX_EXTENT || w > MODEL_MAX_EXTENT)
        return import_arg_unsupported(call, "its size is out of range");
    bool nearest = !strcmp(how, "nearest");
    if (!nearest && strcmp(how, "bilinear"))
        return import_arg_unsupported(call,
                                      "its interpolation is neither 'nearest' nor 'bilinear'");
    if (s.h == (uint64_t)h && s.w == (uint64_t)w) {
        *out = in;
        return DERMIS_OK;
    }
    model_attributes at = {0};
    at.resize.kind = nearest ? CODE_RESIZE_NEAREST : CODE_RESIZE_BILINEAR;
    at.resize.h = (int32_t)h;
    at.resize.w = (int32_t)w;
    uint32_t node = 0;
    TRY(import_ir_append(call->c, MODEL_RESIZE, call->layer->path, &in, 1, at,
                         (model_shape){(uint32_t)h, (uint32_t)w, s.c}, &node));
    *out = (import_tensor){node, 3};
    return DERMIS_OK;
}

static dermis_status up_sampling(import_call *call, import_tensor *out)
{
    model_shape s = import_ir_shape(call->c, call->in[0]);
    int32_t size[2];
    TRY(import_arg_pair(call, "size", 2, 1, 16384, size));
    return resize(call, import_arg_text(call, "interpolation", "nearest"), (int64_t)s.h * size[0],
                  (int64_t)s.w * size[1], out);
}

static dermis_status resizing(import_call *call, import_tensor *out)
{
    int32_t h, w;
    TRY(import_arg_int(call, "height", 0, 1, 16384, &h));
    TRY(import_arg_int(call, "width", 0, 1, 16384, &w));
    model_shape s = import_ir_shape(call->c, call->in[0]);
    bool ratio = import_arg_bool(call, "crop_to_aspect_ratio", false) ||
                 import_arg_bool(call, "pad_to_aspect_ratio", false);
    if (ratio && (uint64_t)s.h * (uint32_t)w != (uint64_t)s.w * (uint32_t)h)
        return import_arg_unsupported(
            call, "it crops or pads to keep the aspect ratio; give --input-size "
                  "the ratio of its output");
    if (import_arg_bool(call, "antialias", false) && ((uint32_t)h < s.h || (uint32_t)w < s.w))
        return import_arg_unsupported(call,
                                      "antialias=True; remove the layer and let --input-size say "
                                      "the size");
    return resize(call, import_arg_text(call, "interpolation", "bilinear"), h, w, out);
}

/* CenterCrop cuts the middle where the input is large enough; a RandomCrop of the input's own size
 * does nothing. */
static dermis_status center_crop(import_call *call, import_tensor *out)
{
    model_shape s = import_ir_shape(call->c, call->in[0]);
    int32_t h, w;
    TRY(import_arg_channels_last(call));
    TRY(import_arg_int(call, "height", 0, 1, 16384, &h));
    TRY(import_arg_int(call, "width", 0, 1, 16384, &w));
    bool random = !strcmp(call->layer->class_name, "RandomCrop");
    if (random ? s.h != (uint32_t)h || s.w != (uint32_t)w : s.h < (uint32_t)h || s.w < (uint32_t)w)
        return import_arg_unsupported(
            call, "it would resize its input; let --input-size give it the size "
                  "that it crops to");
    return crop_to(call, call->in[0], (int32_t)(s.h - (uint32_t)h) / 2,
                   (int32_t)(s.w - (uint32_t)w) / 2, (uint32_t)h, (uint32_t)w, out);
}

const import_entry import_layers_shape[] = {
    {"Concatenate", concatenate},
    {"Reshape", reshape},
    {"Flatten", flatten},
    {"Permute", permute},
    {"ZeroPadding2D", zero_padding},
    {"Cropping2D", cropping},
    {"UpSampling2D", up_sampling},
    {"Resizing", resizing},
    {"CenterCrop", center_crop},
    {"RandomCrop", center_crop},
    {NULL, NULL},
};
