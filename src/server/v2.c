/* v2.c - the Open Inference Protocol, version 2: metadata and inference with a batch of one. The input
 * is the network's own tensor ("input", FP32 [1, height, width, channels], 0..255) or a picture
 * ("image", BYTES [1]); the output "probabilities", FP32 [1, classes]. Tensors are JSON or, by the
 * binary extension, bytes behind the JSON header. */
#include <math.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "server/app.h"

#define MAX_DEPTH      32

static json_t *tensor_about(const char *name, const char *type, json_t *shape)
{
    return json_pack("{s:s, s:s, s:o}", "name", name, "datatype", type, "shape", shape);
}

void v2_server(server_call *call)
{
    answer_json(call, 200, json_pack("{s:s, s:s, s:[s]}", "name", "dermis", "version", dermis_version(), "extensions",
                                     "binary_tensor_data"));
}

/* The model that the path names; NULL: answered 404. */
static server_about *named(server_call *call)
{
    server_about *about = models_about(call->app->models);
    if (strcmp(about->name, call->parts[0]) == 0 && (!*call->parts[1] || strcmp(call->parts[1], "1") == 0))
        return about;
    about_release(about);
    answer_error(call, 404, "nothing", "there is no such model or version");
    return NULL;
}

void v2_model(server_call *call)
{
    server_about *about = named(call);
    if (!about)
        return;
    json_t *inputs = json_array(), *outputs = json_array();
    json_array_append_new(inputs, tensor_about("input", "FP32", json_pack("[i,i,i,i]", 1, (int)about->height,
                                                                          (int)about->width, (int)about->channels)));
    json_array_append_new(inputs, tensor_about("image", "BYTES", json_pack("[i]", 1)));
    json_array_append_new(outputs, tensor_about("probabilities", "FP32", json_pack("[i,i]", 1, (int)about->class_count)));
    answer_json(call, 200, json_pack("{s:s, s:[s], s:s, s:o, s:o}", "name", about->name, "versions", "1", "platform",
                                     "dermis_gguf", "inputs", inputs, "outputs", outputs));
    about_release(about);
}

void v2_model_ready(server_call *call)
{
    server_about *about = named(call);
    if (!about)
        return;
    bool ready = models_ready(call->app->models);
    answer_json(call, ready ? 200 : 503, json_pack("{s:s, s:b}", "name", about->name, "ready", ready));
    about_release(about);
}

/* ---- the request ---- */

typedef struct infer {
    const server_about *about; /* of the model that was asked for */
    json_t *root;
    const uint8_t *bytes; /* behind the JSON header */
    size_t byte_count;
    const uint8_t *picture; /* or NULL */
    size_t picture_size;
    uint8_t *owned;
    json_t *values;        /* of "input" as JSON */
    const uint8_t *tensor; /* or binary */
    size_t tensor_size;
    bool binary_output;
} infer;

static bool bad(server_call *call, const char *why)
{
    answer_error(call, 400, "bad_request", why);
    return false;
}

/* Per value of jansson on the heap: a number is 32 bytes and a place in a list that grows by doubling; of a
 * text three copies stand at once while it is read. */
#define VALUE_BYTES  64
#define TEXT_BYTES   96 /* also of a key with its place in a table */
#define ARRAY_BYTES  192
#define OBJECT_BYTES 640

size_t v2_json_bytes(const char *text, size_t size)
{
    unsigned depth = 0;
    size_t bytes = 0;
    for (size_t i = 0; i < size; i++) {
        char c = text[i];
        if (c == '"') {
            size_t begin = i++;
            while (i < size && text[i] != '"')
                i += text[i] == '\\' ? 2 : 1;
            bytes += TEXT_BYTES + 3 * ((i < size ? i : size) - begin);
        } else if (c == '[' || c == '{') {
            bytes += c == '[' ? ARRAY_BYTES : OBJECT_BYTES;
            if (++depth > MAX_DEPTH) /* the parser recurses */
                return SIZE_MAX;
        } else if (c == ',') {
            bytes += VALUE_BYTES;
        } else if ((c == ']' || c == '}') && depth) {
            depth--;
        }
    }
    return bytes;
}

static bool has_shape(json_t *shape, const uint32_t *expected, size_t count)
{
    if (json_array_size(shape) != count)
        return false;
    for (size_t i = 0; i < count; i++)
        if (!json_is_integer(json_array_get(shape, i)) || json_integer_value(json_array_get(shape, i)) != expected[i])
            return false;
    return true;
}

static bool read_picture(server_call *call, infer *q, json_t *input, const uint8_t *binary, size_t size)
{
    static const uint32_t one[] = {1};
    if (!has_shape(json_object_get(input, "shape"), one, 1))
        return bad(call, "the shape of `image` is [1]");
    if (binary) { /* each element: its length in 4 bytes, then itself */
        uint32_t n = size >= 4 ? binary[0] | (uint32_t)binary[1] << 8 | (uint32_t)binary[2] << 16 | (uint32_t)binary[3] << 24 : 0;
        if (size < 4 || n != size - 4)
            return bad(call, "`image` is one element: its length in 4 bytes, then the picture");
        q->picture = binary + 4;
        q->picture_size = n;
        return true;
    }
    json_t *data = json_object_get(input, "data"), *text = json_array_get(data, 0);
    if (json_array_size(data) != 1 || !json_is_string(text))
        return bad(call, "`image` as JSON is one text: the picture in base64");
    size_t room = json_string_length(text) / 4 * 3 + 3;
    q->owned = base_alloc(BASE_TAG_SERVER, room);
    if (!q->owned || sodium_base642bin(q->owned, room, json_string_value(text), json_string_length(text), " \r\n",
                                       &q->picture_size, NULL, sodium_base64_VARIANT_ORIGINAL) != 0)
        return bad(call, "`image` is not base64");
    q->picture = q->owned;
    return true;
}

static bool read_input(server_call *call, infer *q, json_t *input)
{
    const char *name = json_string_value(json_object_get(input, "name"));
    const char *type = json_string_value(json_object_get(input, "datatype"));
    json_t *length = json_object_get(json_object_get(input, "parameters"), "binary_data_size");
    const uint8_t *binary = NULL;
    size_t size = 0;
    if (length) {
        if (!json_is_integer(length) || json_integer_value(length) < 0 ||
            (uint64_t)json_integer_value(length) != q->byte_count)
            return bad(call, "binary_data_size is not the number of bytes behind the header");
        binary = q->bytes;
        size = q->byte_count;
    } else if (q->byte_count) {
        return bad(call, "there are bytes behind the header that no input claims");
    }
    if (name && type && strcmp(name, "image") == 0 && strcmp(type, "BYTES") == 0)
        return read_picture(call, q, input, binary, size);
    uint32_t shape[] = {1, q->about->height, q->about->width, q->about->channels};
    if (!name || !type || strcmp(name, "input") != 0 || strcmp(type, "FP32") != 0)
        return bad(call, "the input is `input` (FP32) or `image` (BYTES)");
    if (!has_shape(json_object_get(input, "shape"), shape, 4))
        return bad(call, "the shape of `input` is not the model's; GET /v2/models/NAME gives it");
    if (binary) {
        q->tensor = binary;
        q->tensor_size = size;
        return true;
    }
    q->values = json_object_get(input, "data");
    return json_is_array(q->values) || bad(call, "`input` has no data");
}

static bool wants_binary(json_t *object, const char *name)
{
    return json_is_true(json_object_get(json_object_get(object, "parameters"), name));
}

static bool read_infer(server_call *call, infer *q)
{
    size_t size;
    dermis_error err;
    const char *body = http_request_body(call->request, &size);
    const char *header = http_request_header(call->request, "Inference-Header-Content-Length");
    size_t json_size = size;
    if (header) {
        if (!*header || strspn(header, "0123456789") != strlen(header) || strlen(header) > 9 ||
            (json_size = strtoul(header, NULL, 10)) > size)
            return bad(call, "Inference-Header-Content-Length is no length within the body");
        q->bytes = (const uint8_t *)body + json_size;
        q->byte_count = size - json_size;
    }
    json_error_t where;
    size_t need = v2_json_bytes(body, json_size);
    if (need == SIZE_MAX)
        return bad(call, "the JSON is nested too deeply");
    if (call_reserve(call, need, &err) != DERMIS_OK) {
        answer_failure(call, &err);
        return false;
    }
    q->root = json_loadb(body, json_size, JSON_REJECT_DUPLICATES, &where);
    json_t *inputs = json_object_get(q->root, "inputs"), *outputs = json_object_get(q->root, "outputs"), *output;
    if (!q->root) {
        char detail[240];
        snprintf(detail, sizeof detail, "not JSON: line %d, column %d: %.160s", where.line, where.column, where.text);
        return bad(call, detail);
    }
    if (json_array_size(inputs) != 1)
        return bad(call, "there is to be one input");
    if (!read_input(call, q, json_array_get(inputs, 0)))
        return false;
    q->binary_output = wants_binary(q->root, "binary_data_output");
    size_t i;
    json_array_foreach(outputs, i, output) {
        const char *name = json_string_value(json_object_get(output, "name"));
        if (!name || strcmp(name, "probabilities") != 0)
            return bad(call, "the only output is `probabilities`");
        q->binary_output |= wants_binary(output, "binary_data");
    }
    return true;
}

/* Numbers of lists in lists, in order. */
static bool flatten(json_t *values, float *out, size_t room, size_t *count, unsigned depth)
{
    size_t i;
    json_t *v;
    json_array_foreach(values, i, v) {
        if (json_is_array(v)) {
            if (depth == 4 || !flatten(v, out, room, count, depth + 1))
                return false;
        } else {
            if (!json_is_number(v) || *count == room)
                return false;
            out[(*count)++] = (float)json_number_value(v);
        }
    }
    return true;
}

/* The file at the model's path may have been changed since the request was read for `q->about`: then the model
 * that was leased is another. False: answered 503. */
static bool still_meant(server_call *call, const infer *q, const server_about *leased)
{
    const server_about *meant = q->about;
    if (meant == leased || (strcmp(meant->name, leased->name) == 0 && meant->height == leased->height &&
                            meant->width == leased->width && meant->channels == leased->channels))
        return true;
    answer_error(call, 503, "no_model", "the model was changed meanwhile: ask again");
    return false;
}

static bool fill_tensor(server_call *call, const infer *q, const server_about *about, float *out)
{
    size_t room = (size_t)about->height * about->width * about->channels, count = 0;
    if (q->tensor && q->tensor_size != room * 4)
        return bad(call, "`input` has the wrong number of bytes for its shape");
    if (q->tensor) {
        for (size_t i = 0; i < room; i++) {
            const uint8_t *b = q->tensor + 4 * i;
            uint32_t bits = b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
            memcpy(&out[i], &bits, 4);
        }
    } else if (!flatten(q->values, out, room, &count, 1) || count != room) {
        return bad(call, "`input` has not as many numbers as its shape says");
    }
    for (size_t i = 0; i < room; i++)
        if (!isfinite(out[i]))
            return bad(call, "`input` holds what is no number");
    return true;
}

static void answer_infer(server_call *call, const infer *q, const server_about *about, const float *probabilities)
{
    json_t *output = tensor_about("probabilities", "FP32", json_pack("[i,i]", 1, (int)about->class_count));
    size_t bytes = about->class_count * sizeof(float);
    if (q->binary_output) {
        json_object_set_new(output, "parameters", json_pack("{s:i}", "binary_data_size", (int)bytes));
    } else {
        json_t *data = json_array();
        for (uint32_t i = 0; i < about->class_count; i++)
            json_array_append_new(data, json_real((double)probabilities[i]));
        json_object_set_new(output, "data", data);
    }
    const char *id = json_string_value(json_object_get(q->root, "id"));
    json_t *out = json_pack("{s:s, s:s, s:s*, s:[o]}", "model_name", about->name, "model_version", "1", "id", id,
                            "outputs", output);
    answer_json(call, 200, out);
    if (q->binary_output && call->answer.body) {
        char header[24];
        snprintf(header, sizeof header, "%zu", call->answer.size);
        void *grown = base_realloc(BASE_TAG_SERVER, call->answer.body, call->answer.size + bytes);
        if (!grown) {
            answer_error(call, 503, "busy", NULL);
            return;
        }
        for (uint32_t i = 0; i < about->class_count; i++) {
            uint32_t bits;
            uint8_t *at = (uint8_t *)grown + call->answer.size + 4 * i;
            memcpy(&bits, &probabilities[i], 4);
            for (int k = 0; k < 4; k++)
                at[k] = (uint8_t)(bits >> 8 * k);
        }
        call->answer.body = grown;
        call->answer.size += bytes;
        http_answer_header(&call->answer, "Inference-Header-Content-Length", header);
        call->answer.type = "application/octet-stream";
    }
}

static void run_picture(server_call *call, infer *q)
{
    classify_result result;
    classify_options options = {.cam_class = -2};
    dermis_error err;
    if (classify(call, q->picture, q->picture_size, &options, &result, &err) != DERMIS_OK) {
        answer_failure(call, &err);
        return;
    }
    if (still_meant(call, q, result.about))
        answer_infer(call, q, result.about, result.probabilities);
    classify_release(&result);
}

static void run_tensor(server_call *call, infer *q)
{
    server_lease lease;
    dermis_error err;
    if (models_acquire(call->app->models, &lease, &err) != DERMIS_OK) {
        answer_failure(call, &err);
        return;
    }
    dermis_status status = DERMIS_OK;
    if (still_meant(call, q, lease.about) && fill_tensor(call, q, lease.about, dermis_session_input(lease.session))) {
        double began = base_now_ms();
        const float *probabilities = dermis_session_run(lease.session);
        metrics_stage(call->app->metrics, STAGE_RUN, base_now_ms() - began);
        if ((status = dermis_session_check(lease.session, &err)) == DERMIS_OK)
            answer_infer(call, q, lease.about, probabilities);
        else
            answer_failure(call, &err);
    }
    models_release(call->app->models, &lease, status == DERMIS_E_MODEL_CHANGED);
}

void v2_infer(server_call *call)
{
    server_about *about = named(call);
    if (!about)
        return;
    infer q = {.about = about};
    if (read_infer(call, &q)) {
        if (q.picture)
            run_picture(call, &q);
        else
            run_tensor(call, &q);
    }
    json_decref(q.root);
    base_free(q.owned);
    about_release(about);
}
