/* api.c - the JSON API: predict, model, results. Tokens, no cookies. */
#include <sodium.h>
#include <string.h>
#include <strings.h>

#include "server/app.h"
#include "server/upload.h"

#define OVERLAY_SIDE   1600 /* pixels of an overlay in JSON */
#define MOST_RESULTS   100

/* ---- parameters: of the query or of the form ---- */

static bool parameter(server_call *call, const char *name, char *out, size_t size)
{
    const char *value = http_request_query(call->request, name);
    *out = 0;
    if (value)
        return strlen(value) < size ? snprintf(out, size, "%s", value), true : false;
    return !call->form_read || !http_form_field(&call->form, name) || http_form_text(&call->form, name, out, size);
}

/* A switch; `standard` where it is not given. False: neither true nor false, answered. */
static bool flag(server_call *call, const char *name, bool standard, bool *out)
{
    char text[16];
    bool fine = parameter(call, name, text, sizeof text);
    bool on = strcasecmp(text, "true") == 0 || strcmp(text, "1") == 0 || strcasecmp(text, "on") == 0;
    bool off = strcasecmp(text, "false") == 0 || strcmp(text, "0") == 0 || strcasecmp(text, "off") == 0;
    if (fine && (on || off || !http_request_query(call->request, name)) && (!*text || on || off)) {
        *out = *text ? on : standard;
        return true;
    }
    char detail[80];
    snprintf(detail, sizeof detail, "%s is true or false", name);
    answer_error(call, 400, "bad_request", detail);
    return false;
}

static bool number(server_call *call, const char *name, unsigned standard, unsigned most, unsigned *out)
{
    char text[16], detail[80];
    bool fine = parameter(call, name, text, sizeof text) && strspn(text, "0123456789") == strlen(text) && strlen(text) < 8;
    unsigned v = standard;
    if (!*text && http_request_query(call->request, name))
        fine = false; /* ?top= */
    if (fine && *text)
        sscanf(text, "%u", &v);
    if (fine && v <= most) {
        *out = v;
        return true;
    }
    snprintf(detail, sizeof detail, "%s is a whole number from 0 to %u", name, most);
    answer_error(call, 400, "bad_request", detail);
    return false;
}

typedef struct predict_request {
    upload photo;
    unsigned top;
    bool cam, overlay, map, keep;
    char class_name[128], colormap[16];
} predict_request;

static bool read_crop(server_call *call, predict_request *r)
{
    char crop[64];
    if (parameter(call, "crop", crop, sizeof crop) && upload_crop(crop, &r->photo.crop) &&
        (*crop || !http_request_query(call->request, "crop")))
        return true;
    answer_error(call, 400, "bad_crop", "crop is x,y,width,height in pixels");
    return false;
}

static bool read_photo(server_call *call, predict_request *r)
{
    const char *type = http_request_header(call->request, "Content-Type");
    size_t size;
    const void *body = http_request_body(call->request, &size);
    bool urlencoded = type && strncasecmp(type, "application/x-www-form-urlencoded", 33) == 0;
    if (urlencoded && upload_is_picture(body, size)) /* what curl says of --data-binary */
        type = "application/octet-stream", urlencoded = false;
    if (urlencoded || (type && strncasecmp(type, "multipart/", 10) == 0)) {
        if (!call_form(call) || !upload_from_form(call, &r->photo))
            return false;
        return !http_request_query(call->request, "crop") || read_crop(call, r);
    }
    if (type && strncasecmp(type, "image/", 6) != 0 && strncasecmp(type, "application/octet-stream", 24) != 0) {
        answer_error(call, 415, "not_picture", "send the picture as image/*, application/octet-stream or a form");
        return false;
    }
    if (size == 0 || size > call->app->settings.upload_bytes) {
        answer_error(call, size ? 413 : 400, size ? "too_large" : "no_picture",
                     size ? "the picture is larger than the upload limit" : "the body is empty: send the picture");
        return false;
    }
    r->photo.data = body;
    r->photo.size = size;
    return read_crop(call, r);
}

static bool read_request(server_call *call, predict_request *r)
{
    if (!read_photo(call, r))
        return false;
    if (!number(call, "top", 0, 65536, &r->top) || !flag(call, "cam", true, &r->cam) ||
        !flag(call, "overlay", false, &r->overlay) || !flag(call, "map", false, &r->map) ||
        !flag(call, "keep", false, &r->keep))
        return false;
    if (!parameter(call, "class", r->class_name, sizeof r->class_name) ||
        !parameter(call, "colormap", r->colormap, sizeof r->colormap)) {
        answer_error(call, 400, "bad_request", "a parameter is too long");
        return false;
    }
    if (r->keep && !call->signed_in) {
        answer_error(call, 401, "login_needed", "keep=true needs an API token");
        return false;
    }
    if ((r->overlay || r->map) && !(r->cam && call->app->settings.gradcam)) {
        answer_error(call, 400, "bad_request", "overlay and map need the explanation (cam)");
        return false;
    }
    return true;
}

/* ---- the answer ---- */

/* The heat map over the photograph as the model saw it, at most OVERLAY_SIDE pixels, as base64. */
static dermis_status overlay_text(server_call *call, const predict_request *r, const dermis_map *map, json_t *out,
                                  dermis_error *err)
{
    server_text photo = {0}, png = {0};
    dermis_photo probed;
    dermis_copy reduced = {.max_side = OVERLAY_SIDE, .quality = 95};
    dermis_overlay options;
    dermis_overlay_default(&options);
    if (*r->colormap)
        options.colormap = r->colormap;
    /* the picture, PNG, base64 and JSON of an overlay that does not compress */
    dermis_status status = dermis_model_probe(NULL, r->photo.data, r->photo.size, &r->photo.crop, &reduced, 1, &probed, err);
    size_t need = status ? 0 : probed.memory_bytes + (size_t)OVERLAY_SIDE * OVERLAY_SIDE * 3 * 4;
    if (need > call->reserved) {
        status = call_reserve(call, need - call->reserved, err);
    }
    if (status != DERMIS_OK)
        return status;
    FILE *f = reduced.out = text_stream(&photo);
    status = f ? dermis_photo_write(r->photo.data, r->photo.size, &r->photo.crop, &reduced, 1, probed.memory_bytes, err)
               : base_fail(err, DERMIS_E_MEMORY, "not enough memory");
    if (f && fclose(f) != 0 && !status)
        status = base_fail(err, DERMIS_E_MEMORY, "not enough memory");
    f = status ? NULL : text_stream(&png);
    if (!status)
        status = f ? dermis_overlay_write(photo.data, photo.size, map, &options, f, err)
                   : base_fail(err, DERMIS_E_MEMORY, "not enough memory");
    if (f && fclose(f) != 0 && !status)
        status = base_fail(err, DERMIS_E_MEMORY, "not enough memory");
    server_text_release(&photo);
    if (status == DERMIS_OK) {
        size_t length = sodium_base64_encoded_len(png.size, sodium_base64_VARIANT_ORIGINAL);
        char *text = base_alloc(BASE_TAG_SERVER, length);
        if (text)
            sodium_bin2base64(text, length, (const uint8_t *)png.data, png.size, sodium_base64_VARIANT_ORIGINAL);
        if (!text || json_object_set_new(out, "overlay_png", json_string(text)) != 0)
            status = base_fail(err, DERMIS_E_MEMORY, "not enough memory");
        base_free(text);
    }
    server_text_release(&png);
    return status;
}

static json_t *map_rows(const dermis_map *map)
{
    json_t *rows = json_array();
    for (uint32_t y = 0; y < map->height; y++) {
        json_t *row = json_array();
        for (uint32_t x = 0; x < map->width; x++)
            json_array_append_new(row, json_real((double)map->values[(size_t)y * map->width + x]));
        json_array_append_new(rows, row);
    }
    return rows;
}

/* Adds "cam", and the map and overlay where they are wanted. */
static dermis_status add_cam(server_call *call, const predict_request *r, const classify_result *result, int32_t shown,
                             json_t *out, dermis_error *err)
{
    map_set set;
    bool blank = false;
    if (!result->maps || !maps_read(result->maps, result->maps_bytes, &set)) {
        json_object_set_new(out, "cam", json_null());
        return DERMIS_OK;
    }
    uint32_t index = shown >= 0 ? (uint32_t)shown : result->order[0];
    float *values = base_alloc(BASE_TAG_SERVER, (size_t)set.height * set.width * sizeof *values);
    if (!values || !maps_get(&set, index, values, &blank)) {
        base_free(values);
        return base_fail(err, values ? DERMIS_E_USAGE : DERMIS_E_MEMORY, "there is no map of this class");
    }
    dermis_map map = {values, set.height, set.width, blank, result->about->cam_layer, "grad-cam", index};
    json_t *cam = json_pack("{s:s, s:s, s:s, s:b}", "method", map.method, "layer", map.layer, "class",
                            result->about->classes[index], "blank", blank);
    if (r->map)
        json_object_set_new(cam, "map", map_rows(&map));
    dermis_status status = r->overlay ? overlay_text(call, r, &map, cam, err) : DERMIS_OK;
    json_object_set_new(out, "cam", cam);
    base_free(values);
    return status;
}

static int32_t find_class(const server_about *about, const char *name)
{
    for (uint32_t i = 0; i < about->class_count; i++)
        if (strcasecmp(about->classes[i], name) == 0)
            return (int32_t)i;
    char number_text[16];
    for (uint32_t i = 0; i < about->class_count; i++) {
        snprintf(number_text, sizeof number_text, "%u", i);
        if (strcmp(number_text, name) == 0)
            return (int32_t)i;
    }
    return -1;
}

static bool known_colormap(const char *name)
{
    return !*name || strcmp(name, "jet") == 0 || strcmp(name, "turbo") == 0 || strcmp(name, "viridis") == 0 ||
           strcmp(name, "inferno") == 0;
}

void api_predict(server_call *call)
{
    predict_request r = {0};
    classify_result result;
    dermis_error err;
    char id[STORE_ID_CHARS + 1] = "";
    if (!read_request(call, &r)) {
        upload_release(&r.photo);
        return;
    }
    classify_options options = {.crop = r.photo.crop, .explain = r.keep, .cam_class = r.cam ? -1 : -2, .store = r.keep};
    if (*r.class_name) {
        server_about *about = models_about(call->app->models);
        int32_t index = find_class(about, r.class_name);
        about_release(about);
        if (index < 0) {
            upload_release(&r.photo);
            answer_error(call, 400, "bad_request", "the model has no such class; GET /api/v1/model lists them");
            return;
        }
        if (r.cam)
            options.cam_class = index;
    }
    if (!known_colormap(r.colormap)) {
        upload_release(&r.photo);
        answer_error(call, 400, "bad_request", "colormap is jet, turbo, viridis or inferno");
        return;
    }
    dermis_status status = classify(call, r.photo.data, r.photo.size, &options, &result, &err);
    if (status != DERMIS_OK) {
        upload_release(&r.photo);
        if (status == DERMIS_E_USAGE)
            answer_error(call, 400, "bad_crop", err.text);
        else
            answer_failure(call, &err);
        return;
    }
    json_t *out = classify_json(&result, r.top, call->language);
    status = out ? add_cam(call, &r, &result, options.cam_class, out, &err)
                 : base_fail(&err, DERMIS_E_MEMORY, "not enough memory");
    if (status == DERMIS_OK && r.keep) /* last: nothing can fail once it is kept */
        status = classify_store(call, &result, true, id, &err);
    if (status == DERMIS_OK) {
        json_object_set_new(out, "timing_ms", json_pack("{s:f, s:f, s:f}", "decode", result.decode_ms, "run",
                                                        result.run_ms, "cam", result.explain_ms));
        if (*id) {
            char url[80];
            snprintf(url, sizeof url, "/api/v1/results/%s", id);
            json_object_set_new(out, "id", json_string(id));
            json_object_set_new(out, "url", json_string(url));
        }
        answer_json(call, *id ? 201 : 200, out);
    } else {
        json_decref(out);
        answer_failure(call, &err);
    }
    classify_release(&result);
    upload_release(&r.photo);
}

/* ---- model ---- */

void api_model(server_call *call)
{
    server_about *about = models_about(call->app->models);
    server_models_state state;
    models_state(call->app->models, &state);
    json_t *classes = json_array();
    for (uint32_t i = 0; i < about->class_count; i++) {
        json_t *c = json_pack("{s:i, s:s}", "index", (int)i, "class", about->classes[i]);
        const char *name = dermis_card_name(about->card, i, call->language);
        if (name)
            json_object_set_new(c, "name", json_string(name));
        json_array_append_new(classes, c);
    }
    json_t *out = json_pack("{s:s, s:s, s:s, s:s, s:[i,i,i], s:I, s:I, s:I, s:b, s:b, s:s, s:o}", "name", about->name,
                            "source_sha256", about->sha256, "license", about->license, "weights", about->weight_type,
                            "input", (int)about->height, (int)about->width, (int)about->channels, "parameters",
                            (json_int_t)about->parameters, "macs", (json_int_t)about->macs, "file_bytes",
                            (json_int_t)about->file_bytes, "loaded", state.loaded, "explains",
                            about->explains && call->app->settings.gradcam, "layer", about->cam_layer, "classes",
                            classes);
    about_release(about);
    answer_json(call, 200, out);
}

/* ---- results ---- */

static json_t *result_json(const store_result *r, bool own)
{
    json_t *answer = json_loads(r->answer, 0, NULL);
    json_t *out = json_pack("{s:s, s:I, s:o, s:b, s:o*}", "id", r->id, "created", (json_int_t)r->created, "expires",
                            r->expires ? json_integer(r->expires) : json_null(), "shared", r->shared, "notes",
                            own && r->notes && *r->notes ? json_loads(r->notes, 0, NULL) : NULL);
    json_object_update_missing(out, answer);
    json_decref(answer);
    return out;
}

static bool add_id(void *list, const store_result *r)
{
    json_array_append_new(list, json_string(r->id));
    return true;
}

/* One after the other into a file: together they may be far more than a page may take. */
static dermis_status write_results(server_call *call, json_t *ids, FILE *f, dermis_error *err)
{
    const char *between = "";
    size_t i;
    json_t *id;
    json_array_foreach(ids, i, id) {
        store_result r;
        dermis_status status = store_result_get(call->app->store, json_string_value(id), app_now(), &r, err);
        if (status == DERMIS_E_NOT_FOUND) /* deleted meanwhile */
            continue;
        if (status != DERMIS_OK)
            return status;
        json_t *one = result_json(&r, true);
        store_result_release(&r);
        fputs(between, f);
        bool fine = one && json_dumpf(one, f, JSON_COMPACT | JSON_REAL_PRECISION(9)) == 0;
        json_decref(one);
        if (!fine)
            return base_fail(err, DERMIS_E_IO, "the results cannot be written to the data folder");
        between = ",";
    }
    return DERMIS_OK;
}

void api_results(server_call *call)
{
    dermis_error err;
    unsigned offset, limit, total;
    char class[65];
    if (!number(call, "offset", 0, 1000000, &offset) || !number(call, "limit", 20, MOST_RESULTS, &limit))
        return;
    if (!parameter(call, "class", class, sizeof class)) {
        answer_error(call, 400, "bad_request", "class is too long");
        return;
    }
    store_filter filter = {.top = *class ? class : NULL, .now = app_now(), .offset = offset, .limit = limit ? limit : 1};
    json_t *ids = json_array();
    FILE *f = NULL;
    dermis_status status = store_result_list(call->app->store, call->user.id, &filter, add_id, ids, &total, &err);
    if (limit == 0)
        json_array_clear(ids);
    if (status == DERMIS_OK && !(f = app_unnamed_file(call->app, &err)))
        status = err.status;
    if (status == DERMIS_OK) {
        fprintf(f, "{\"total\":%u,\"offset\":%u,\"results\":[", total, offset);
        status = write_results(call, ids, f, &err);
        fputs("]}\n", f);
    }
    json_decref(ids);
    if (status == DERMIS_OK) {
        answer_stream(call, "application/json", f);
        return;
    }
    answer_failure(call, &err);
    if (f)
        fclose(f);
}

void api_result(server_call *call)
{
    store_result r;
    if (!result_open(call, &r))
        return;
    json_t *out = result_json(&r, result_may_edit(call, &r));
    store_result_release(&r);
    answer_json(call, 200, out);
}

void api_result_delete(server_call *call)
{
    store_result r;
    dermis_error err;
    if (!result_open(call, &r))
        return;
    bool own = result_may_edit(call, &r);
    store_result_release(&r);
    if (!own) {
        answer_error(call, 404, "not_found", "there is no such result");
    } else if (store_result_delete(call->app->store, call->parts[0], &err) != DERMIS_OK) {
        answer_failure(call, &err);
    } else {
        http_answer_init(&call->answer, 204, NULL);
        call->answered = true;
    }
}

void api_overlay(server_call *call)
{
    result_overlay(call);
}
