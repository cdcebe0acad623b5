/* ir.c - the graph while it is built: memory, nodes, and the few operators that many layers emit.
 */
#include "import/internal.h"

#include <math.h>
#include <stdarg.h>
#include <string.h>

dermis_status import_fail(import_context *c, dermis_status status, const char *format, ...)
{
    char text[DERMIS_ERROR_TEXT_BYTES];
    va_list list;
    va_start(list, format);
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    return base_fail(c->err, status, "%s", text);
}

/* Names from files and file systems may be cut within a character, or not be UTF-8. */
void import_clean(char *text)
{
    for (size_t left = strlen(text); left > 0;) {
        size_t length = base_utf8_next_printable(text, left);
        if (length == 0)
            *text = '?';
        text += length ? length : 1;
        left -= length ? length : 1;
    }
}

void import_warn(import_context *c, const char *format, ...)
{
    char text[DERMIS_ERROR_TEXT_BYTES];
    va_list list;
    va_start(list, format);
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    import_clean(text); /* names come from the file */
    if (c->options->warn)
        c->options->warn(c->options->context, text);
    const char *kept = c->warning_count < MODEL_MAX_WARNINGS ? import_text(c, "%s", text) : NULL;
    if (kept) /* else err is filled: import_finish looks */
        c->warnings[c->warning_count++] = kept;
}

void import_progress(import_context *c, double fraction, const char *stage)
{
    if (fraction < c->fraction)
        fraction = c->fraction;
    c->fraction = fraction;
    if (c->options->progress)
        c->options->progress(c->options->context, fraction, stage);
}

void *import_new(import_context *c, size_t count, size_t bytes)
{
    if (c->block_count == c->block_room) {
        size_t room = c->block_room ? c->block_room * 2 : 256;
        void **grown = base_realloc(BASE_TAG_IMPORT, c->blocks, room * sizeof *grown);
        if (!grown) {
            import_fail(c, DERMIS_E_MEMORY, "out of memory while converting");
            return NULL;
        }
        c->blocks = grown;
        c->block_room = room;
    }
    void *p = base_calloc(BASE_TAG_IMPORT, count ? count : 1, bytes ? bytes : 1);
    if (!p) {
        import_fail(c, DERMIS_E_MEMORY,
                    "out of memory while converting (%zu elements of %zu bytes)", count, bytes);
        return NULL;
    }
    c->blocks[c->block_count++] = p;
    return p;
}

char *import_text(import_context *c, const char *format, ...)
{
    char text[IMPORT_NAME_LIMIT + 256];
    va_list list;
    va_start(list, format);
    int n = vsnprintf(text, sizeof text, format, list);
    va_end(list);
    if (n < 0 || (size_t)n >= sizeof text) {
        import_fail(c, DERMIS_E_MODEL_INVALID, "a layer's name is longer than %d bytes",
                    IMPORT_NAME_LIMIT);
        return NULL;
    }
    char *copy = import_new(c, (size_t)n + 1, 1);
    if (copy)
        memcpy(copy, text, (size_t)n + 1);
    return copy;
}

char *import_text_long(import_context *c, const char *text)
{
    size_t n = strlen(text) + 1;
    char *copy = import_new(c, n, 1);
    if (copy)
        memcpy(copy, text, n);
    return copy;
}

model_shape import_ir_shape(const import_context *c, import_tensor t)
{
    return c->nodes[t.node].out;
}

dermis_status import_ir_append(import_context *c, model_op op, const char *name,
                               const import_tensor *inputs, uint32_t count, model_attributes at,
                               model_shape out, uint32_t *node)
{
    if (out.h < 1 || out.w < 1 || out.c < 1 || out.h > MODEL_MAX_EXTENT ||
        out.w > MODEL_MAX_EXTENT || out.c > MODEL_MAX_EXTENT ||
        (double)out.h * out.w * out.c > (double)MODEL_MAX_ELEMENTS)
        return import_fail(c, DERMIS_E_MODEL_UNSUPPORTED,
                           "layer '%s': its output %u x %u x %u is empty or past the limit of %zu "
                           "elements; check --input-size",
                           name, out.h, out.w, out.c, MODEL_MAX_ELEMENTS);
    if (count > MODEL_MAX_INPUTS)
        return import_fail(c, DERMIS_E_MODEL_UNSUPPORTED, "layer '%s' has %u inputs, at most %u",
                           name, count, MODEL_MAX_INPUTS);
    if (c->node_count >= MODEL_MAX_NODES)
        return import_fail(c, DERMIS_E_MODEL_UNSUPPORTED, "the model has more than %u operators",
                           MODEL_MAX_NODES);
    if (c->node_count == c->node_room) {
        uint32_t room = c->node_room ? c->node_room * 2 : 256;
        ir_node *grown = base_realloc(BASE_TAG_IMPORT, c->nodes, room * sizeof *grown);
        if (!grown)
            return import_fail(c, DERMIS_E_MEMORY, "out of memory while converting");
        c->nodes = grown;
        c->node_room = room;
    }
    uint32_t *in = import_new(c, count, sizeof *in);
    if (!in)
        return DERMIS_E_MEMORY;
    for (uint32_t i = 0; i < count; i++)
        in[i] = inputs[i].node;
    c->nodes[c->node_count] =
        (ir_node){.op = op, .name = name, .inputs = in, .input_count = count, .at = at, .out = out};
    *node = c->node_count++;
    return DERMIS_OK;
}

dermis_status import_ir_activation(const import_call *call, import_tensor in, model_activation a,
                                   bool own, import_tensor *out)
{
    import_context *c = call->c;
    if (a.kind == CODE_ACT_LINEAR) {
        *out = in;
        return DERMIS_OK;
    }
    model_attributes at = {.activation = a};
    uint32_t node = 0;
    TRY(import_ir_append(c, MODEL_ACTIVATION, call->layer->path, &in, 1, at, import_ir_shape(c, in),
                         &node));
    c->nodes[node].own_activation = own;
    *out = (import_tensor){node, in.rank};
    return DERMIS_OK;
}

dermis_status import_ir_affine(import_context *c, const char *name, import_tensor in, double *scale,
                               double *shift, import_tensor *out)
{
    model_shape shape = import_ir_shape(c, in);
    bool plain = true;
    for (uint32_t i = 0; i < shape.c; i++) {
        double s = scale ? scale[i] : 1, t = shift ? shift[i] : 0;
        if (!isfinite((float)s) || !isfinite((float)t))
            return import_fail(c, DERMIS_E_MODEL_INVALID,
                               "layer '%s': scale or offset of channel %u is not a finite number; "
                               "the model is damaged or was not trained to an end",
                               name, i);
        plain = plain && s == 1 && t == 0;
    }
    if (plain) {
        *out = in;
        return DERMIS_OK;
    }
    uint32_t node = 0;
    TRY(import_ir_append(c, MODEL_AFFINE, name, &in, 1, (model_attributes){0}, shape, &node));
    c->nodes[node].scale = scale;
    c->nodes[node].shift = shift;
    *out = (import_tensor){node, in.rank};
    return DERMIS_OK;
}

dermis_status import_ir_affine_all(import_context *c, const char *name, import_tensor in,
                                   double scale, double shift, import_tensor *out)
{
    uint32_t n = import_ir_shape(c, in).c;
    double *s = import_new(c, n, sizeof *s), *t = import_new(c, n, sizeof *t);
    if (!s || !t)
        return DERMIS_E_MEMORY;
    for (uint32_t i = 0; i < n; i++)
        s[i] = scale, t[i] = shift;
    return import_ir_affine(c, name, in, s, t, out);
}

dermis_status import_ir_binary(const import_call *call, int32_t kind, import_tensor a,
                               import_tensor b, import_tensor *out)
{
    import_context *c = call->c;
    model_shape x = import_ir_shape(c, a), y = import_ir_shape(c, b), r;
    uint32_t p[3] = {x.h, x.w, x.c}, q[3] = {y.h, y.w, y.c}, z[3];
    for (int i = 0; i < 3; i++) {
        if (p[i] != q[i] && p[i] != 1 && q[i] != 1)
            return import_fail(c, DERMIS_E_MODEL_INVALID,
                               "layer '%s' (%s) combines %u x %u x %u with %u x %u x %u",
                               call->layer->path, call->layer->class_name, p[0], p[1], p[2], q[0],
                               q[1], q[2]);
        z[i] = p[i] == 1 ? q[i] : p[i];
    }
    r = (model_shape){z[0], z[1], z[2]};
    model_attributes at = {0};
    at.binary.kind = kind;
    uint32_t node = 0;
    import_tensor in[2] = {a, b};
    TRY(import_ir_append(c, MODEL_BINARY, call->layer->path, in, 2, at, r, &node));
    *out = (import_tensor){node, a.rank > b.rank ? a.rank : b.rank};
    return DERMIS_OK;
}

dermis_status import_ir_reshape(const import_call *call, import_tensor in, model_shape to, int rank,
                                import_tensor *out)
{
    import_context *c = call->c;
    model_shape from = import_ir_shape(c, in);
    if ((uint64_t)from.h * from.w * from.c != (uint64_t)to.h * to.w * to.c)
        return import_fail(
            c, DERMIS_E_MODEL_INVALID, "layer '%s' (%s) reshapes %u x %u x %u to %u x %u x %u",
            call->layer->path, call->layer->class_name, from.h, from.w, from.c, to.h, to.w, to.c);
    if (from.h == to.h && from.w == to.w && from.c == to.c) {
        *out = (import_tensor){in.node, rank};
        return DERMIS_OK;
    }
    model_attributes at = {0};
    at.reshape.h = (int32_t)to.h;
    at.reshape.w = (int32_t)to.w;
    at.reshape.c = (int32_t)to.c;
    uint32_t node = 0;
    TRY(import_ir_append(c, MODEL_RESHAPE, call->layer->path, &in, 1, at, to, &node));
    *out = (import_tensor){node, rank};
    return DERMIS_OK;
}

dermis_status import_ir_slice(const import_call *call, import_tensor in, const int32_t start[3],
                              const int32_t step[3], const uint32_t extent[3], import_tensor *out)
{
    import_context *c = call->c;
    model_shape s = import_ir_shape(c, in);
    if (extent[0] == s.h && extent[1] == s.w && extent[2] == s.c && step[0] == 1 && step[1] == 1 &&
        step[2] == 1) {
        *out = in;
        return DERMIS_OK;
    }
    model_attributes at = {0};
    at.slice.start_h = start[0], at.slice.start_w = start[1], at.slice.start_c = start[2];
    at.slice.step_h = step[0], at.slice.step_w = step[1], at.slice.step_c = step[2];
    at.slice.h = (int32_t)extent[0], at.slice.w = (int32_t)extent[1];
    at.slice.c = (int32_t)extent[2];
    uint32_t node = 0;
    TRY(import_ir_append(c, MODEL_SLICE, call->layer->path, &in, 1, at,
                         (model_shape){extent[0], extent[1], extent[2]}, &node));
    *out = (import_tensor){node, in.rank};
    return DERMIS_OK;
}

dermis_status import_ir_global_pool(const import_call *call, import_tensor in, int32_t kind,
                                    bool keepdims, import_tensor *out)
{
    import_context *c = call->c;
    model_shape s = import_ir_shape(c, in);
    int rank = keepdims ? in.rank : 1;
    if (s.h == 1 && s.w == 1) {
        *out = (import_tensor){in.node, rank};
        return DERMIS_OK;
    }
    model_attributes at = {0};
    at.global_pool.kind = kind;
    uint32_t node = 0;
    TRY(import_ir_append(c, MODEL_GLOBAL_POOL, call->layer->path, &in, 1, at,
                         (model_shape){1, 1, s.c}, &node));
    *out = (import_tensor){node, rank};
    return DERMIS_OK;
}

dermis_status import_ir_concat(const import_call *call, const import_tensor *in, uint32_t count,
                               int axis, import_tensor *out)
{
    import_context *c = call->c;
    if (count == 1) {
        *out = in[0];
        return DERMIS_OK;
    }
    uint64_t sum = 0;
    model_shape first = import_ir_shape(c, in[0]);
    uint32_t z[3] = {first.h, first.w, first.c};
    for (uint32_t i = 0; i < count; i++) {
        model_shape s = import_ir_shape(c, in[i]);
        uint32_t p[3] = {s.h, s.w, s.c};
        for (int k = 0; k < 3; k++)
            if (k != axis && p[k] != z[k])
                return import_fail(c, DERMIS_E_MODEL_INVALID,
                                   "layer '%s' concatenates %u x %u x %u and %u x %u x %u",
                                   call->layer->path, z[0], z[1], z[2], p[0], p[1], p[2]);
        sum += p[axis];
    }
    z[axis] = sum > MODEL_MAX_EXTENT ? 0 : (uint32_t)sum; /* 0 is refused below */
    model_attributes at = {0};
    at.concat.axis = axis;
    uint32_t node = 0;
    TRY(import_ir_append(c, MODEL_CONCAT, call->layer->path, in, count, at,
                         (model_shape){z[0], z[1], z[2]}, &node));
    *out = (import_tensor){node, in[0].rank};
    return DERMIS_OK;
}
