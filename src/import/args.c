/* args.c - arguments of layers out of their configuration, checked. */
#include "import/internal.h"

#include <math.h>
#include <string.h>

/* Keras 3 wraps what JSON does not have: {"class_name": "__tuple__", "items": [...]},
 * {"class_name": "__numpy__" or "__tensor__", "config": {"value": ..., "dtype": ...}}. */
static json_t *unwrap(json_t *value)
{
    if (!json_is_object(value))
        return value;
    const char *class_name = json_string_value(json_object_get(value, "class_name"));
    if (!class_name)
        return value;
    if (!strcmp(class_name, "__tuple__"))
        return json_object_get(value, "items");
    if (!strcmp(class_name, "__numpy__") || !strcmp(class_name, "__tensor__"))
        return json_object_get(json_object_get(value, "config"), "value");
    if (!strcmp(class_name, "TensorShape"))
        return json_object_get(value, "items");
    return value;
}

json_t *import_arg_list(json_t *value)
{
    value = unwrap(value);
    return json_is_array(value) ? value : NULL;
}

bool import_arg_is_number(json_t *value, double *out)
{
    value = unwrap(value);
    if (!json_is_number(value) || !isfinite(json_number_value(value)))
        return false;
    *out = json_number_value(value);
    return true;
}

static dermis_status bad(const import_call *call, const char *key)
{
    return import_fail(call->c, DERMIS_E_MODEL_INVALID,
                       "layer '%s' (%s): its argument '%s' is missing, of a wrong kind or out of "
                       "range",
                       call->layer->path, call->layer->class_name, key);
}

dermis_status import_arg_int(const import_call *call, const char *key, int32_t fallback,
                             int32_t minimum, int32_t maximum, int32_t *out)
{
    json_t *v = json_object_get(call->config, key);
    double x = fallback;
    if (v && !json_is_null(v) && !import_arg_is_number(v, &x))
        return bad(call, key);
    if (!(x >= minimum && x <= maximum) || x != floor(x))
        return bad(call, key);
    *out = (int32_t)x;
    return DERMIS_OK;
}

dermis_status import_arg_pair(const import_call *call, const char *key, int32_t fallback,
                              int32_t minimum, int32_t maximum, int32_t out[2])
{
    json_t *v = json_object_get(call->config, key), *list = import_arg_list(v);
    double x[2] = {fallback, fallback};
    if (list) {
        size_t n = json_array_size(list);
        if (n < 1 || n > 2 || !import_arg_is_number(json_array_get(list, 0), &x[0]) ||
            !import_arg_is_number(json_array_get(list, n - 1), &x[1]))
            return bad(call, key);
    } else if (v && !json_is_null(v)) {
        if (!import_arg_is_number(v, &x[0]))
            return bad(call, key);
        x[1] = x[0];
    }
    for (int i = 0; i < 2; i++) {
        if (!(x[i] >= minimum && x[i] <= maximum) || x[i] != floor(x[i]))
            return bad(call, key);
        out[i] = (int32_t)x[i];
    }
    return DERMIS_OK;
}

dermis_status import_arg_number(const import_call *call, const char *key, double fallback,
                                double *out)
{
    json_t *v = json_object_get(call->config, key);
    double x = fallback;
    if (v && !json_is_null(v) && !import_arg_is_number(v, &x))
        return bad(call, key);
    *out = x;
    return DERMIS_OK;
}

bool import_arg_bool(const import_call *call, const char *key, bool fallback)
{
    json_t *v = json_object_get(call->config, key);
    return json_is_boolean(v) ? json_is_true(v) : fallback;
}

const char *import_arg_text(const import_call *call, const char *key, const char *fallback)
{
    const char *v = json_string_value(json_object_get(call->config, key));
    return v ? v : fallback;
}

dermis_status import_arg_channels_last(const import_call *call)
{
    if (!strcmp(import_arg_text(call, "data_format", "channels_last"), "channels_first"))
        return import_fail(call->c, DERMIS_E_MODEL_UNSUPPORTED,
                           "layer '%s' (%s) has data_format channels_first; build the model with "
                           "channels_last (the weights are the same) and save it again",
                           call->layer->path, call->layer->class_name);
    return DERMIS_OK;
}

dermis_status import_arg_unsupported(const import_call *call, const char *what)
{
    return import_fail(call->c, DERMIS_E_MODEL_UNSUPPORTED, "layer '%s' (%s): %s",
                       call->layer->path, call->layer->class_name, what);
}
