/* classify.c - a photograph's way through the engine: memory first, then a session, the tensor, the
 * answer, the maps, and what is stored of it. Picture lane. */
#include <stdlib.h>
#include <string.h>

#include "server/app.h"

#define MEMORY_WAIT_MS 20000
#define TOP_MAPS       5
#define KEPT_MAPS      (STORE_RESULT_BYTES / 4 * 3) /* bytes of a stored result's maps; the rest is its answer's */

/* ---- streams ---- */

static ssize_t stream_write(void *cookie, const char *bytes, size_t n)
{
    server_text_add(cookie, bytes, n);
    return ((server_text *)cookie)->failed ? 0 : (ssize_t)n;
}

FILE *text_stream(server_text *text)
{
    FILE *f = fopencookie(text, "w", (cookie_io_functions_t){.write = stream_write});
    if (f)
        setvbuf(f, NULL, _IOFBF, 16384);
    return f;
}

/* ---- steps ---- */

static dermis_photo_options photo_options(uint32_t side, size_t memory)
{
    return (dermis_photo_options){.max_side = side, .quality = PHOTO_QUALITY, .memory_bytes = memory};
}

/* Takes what decoding (and storing) will need from the budget; given back when the call ends. */
static dermis_status reserve(server_call *call, const server_lease *lease, const void *data, size_t size,
                             const classify_options *o, size_t *decode, dermis_error *err)
{
    dermis_photo photo;
    dermis_status status = dermis_model_probe(lease->model, data, size, &o->crop, &photo, err);
    if (status != DERMIS_OK)
        return status;
    size_t need = photo.memory_bytes;
    if (o->store) {
        dermis_photo_options options = photo_options(PHOTO_SIDE, 0);
        size_t writing = dermis_photo_write_memory(data, size, &o->crop, &options) + STORE_SCRATCH;
        need = need > writing ? need : writing;
    }
    status = budget_take(&call->app->budget, need, MEMORY_WAIT_MS, err);
    if (status == DERMIS_OK) {
        call->reserved += need;
        *decode = photo.memory_bytes;
    }
    return status;
}

static dermis_status write_jpeg(const void *data, size_t size, const dermis_crop *crop, uint32_t side,
                                server_text *out, uint32_t *width, uint32_t *height, dermis_error *err)
{
    dermis_photo_options options = photo_options(side, 0);
    FILE *f = text_stream(out);
    if (!f)
        return base_fail(err, DERMIS_E_MEMORY, "not enough memory");
    dermis_status status = dermis_photo_write(data, size, crop, &options, f, width, height, err);
    if (fclose(f) != 0 && !status)
        status = base_fail(err, DERMIS_E_MEMORY, "not enough memory");
    return status;
}

static dermis_status explain(const server_lease *lease, const classify_options *o, classify_result *r,
                             dermis_error *err)
{
    uint32_t classes = r->about->class_count, count = 1, height = 0, width = 0;
    if (o->explain)
        count = classes <= MAX_MAPS ? classes : TOP_MAPS;
    for (uint32_t i = 0; i < count; i++) {
        dermis_map map;
        uint32_t index = !o->explain && o->cam_class >= 0 ? (uint32_t)o->cam_class : r->order[i];
        dermis_status status = dermis_session_explain(lease->session, index, DERMIS_SCORE_PROBABILITY, &map, err);
        if (status != DERMIS_OK)
            return status;
        if (!r->maps) { /* a model with maps as large as photographs: fewer of them, or none */
            if (o->store)
                count = maps_fitting(count, map.height, map.width, KEPT_MAPS);
            if (count == 0)
                return DERMIS_OK;
            height = map.height;
            width = map.width;
            r->maps_bytes = maps_size(count, height, width);
            r->maps = base_alloc(BASE_TAG_SERVER, r->maps_bytes);
            if (!r->maps)
                return base_fail(err, DERMIS_E_MEMORY, "not enough memory");
            maps_begin(r->maps, count, height, width);
        }
        maps_put(r->maps, i, &map);
    }
    return DERMIS_OK;
}

static dermis_status run(server_call *call, server_lease *lease, const void *data, size_t size,
                         const classify_options *o, classify_result *r, dermis_error *err)
{
    server_metrics *metrics = call->app->metrics;
    dermis_photo photo;
    size_t decode = 0;
    dermis_status status = reserve(call, lease, data, size, o, &decode, err);
    if (status != DERMIS_OK)
        return status;
    double at[4];
    at[0] = base_now_ms();
    dermis_session_limit_decoding(lease->session, decode);
    if ((status = dermis_session_load(lease->session, data, size, &o->crop, &photo, err)) != DERMIS_OK)
        return status;
    at[1] = base_now_ms();
    const float *probabilities = dermis_session_run(lease->session);
    at[2] = base_now_ms();
    if ((status = dermis_session_check(lease->session, err)) != DERMIS_OK)
        return status;
    r->width = photo.width;
    r->height = photo.height;
    memcpy(r->probabilities, probabilities, r->about->class_count * sizeof *probabilities);
    dermis_session_top(lease->session, r->about->class_count, r->order);
    bool maps = call->app->settings.gradcam && r->about->explains && o->cam_class != -2;
    if (maps && (status = explain(lease, o, r, err)) != DERMIS_OK)
        return status;
    at[3] = base_now_ms();
    r->decode_ms = at[1] - at[0];
    r->run_ms = at[2] - at[1];
    r->explain_ms = at[3] - at[2];
    metrics_stage(metrics, STAGE_DECODE, r->decode_ms);
    metrics_stage(metrics, STAGE_RUN, r->run_ms);
    if (maps)
        metrics_stage(metrics, STAGE_EXPLAIN, r->explain_ms);
    return DERMIS_OK;
}

dermis_status classify(server_call *call, const void *data, size_t size, const classify_options *options,
                       classify_result *out, dermis_error *err)
{
    classify_result r = {0};
    server_lease lease;
    double began = base_now_ms();
    dermis_status status = models_acquire(call->app->models, &lease, err);
    if (status != DERMIS_OK)
        return status;
    metrics_stage(call->app->metrics, STAGE_LOAD, base_now_ms() - began);
    r.about = lease.about;
    atomic_fetch_add(&r.about->references, 1);
    r.probabilities = base_calloc(BASE_TAG_SERVER, r.about->class_count, sizeof *r.probabilities);
    r.order = base_calloc(BASE_TAG_SERVER, r.about->class_count, sizeof *r.order);
    if (!r.probabilities || !r.order)
        status = base_fail(err, DERMIS_E_MEMORY, "not enough memory");
    else if (options->cam_class >= (int32_t)r.about->class_count)
        status = base_fail(err, DERMIS_E_USAGE, "the model has no class %d", options->cam_class);
    else
        status = run(call, &lease, data, size, options, &r, err);
    /* the session is free for others while the photograph is written */
    models_release(call->app->models, &lease, status == DERMIS_E_MODEL_CHANGED);
    if (status == DERMIS_OK && options->store) {
        uint32_t w, h;
        status = write_jpeg(data, size, &options->crop, PHOTO_SIDE, &r.photo, &r.photo_width, &r.photo_height, err);
        if (status == DERMIS_OK)
            status = write_jpeg(r.photo.data, r.photo.size, NULL, THUMB_SIDE, &r.thumb, &w, &h, err);
    }
    if (status != DERMIS_OK) {
        classify_release(&r);
        return status;
    }
    *out = r;
    return DERMIS_OK;
}

void classify_release(classify_result *r)
{
    about_release(r->about);
    base_free(r->probabilities);
    base_free(r->order);
    base_free(r->maps);
    server_text_release(&r->photo);
    server_text_release(&r->thumb);
    memset(r, 0, sizeof *r);
}

/* ---- as JSON ---- */

static json_t *prediction(const classify_result *r, uint32_t index, const char *language)
{
    json_t *p = json_pack("{s:i, s:s, s:f}", "index", (int)index, "class", r->about->classes[index],
                          "probability", (double)r->probabilities[index]);
    if (language) {
        const char *name = dermis_card_name(r->about->card, index, language);
        if (p && name)
            json_object_set_new(p, "name", json_string(name));
    } else if (p && r->about->card) {
        json_object_set_new(p, "names", json_pack("{s:s*, s:s*}", "en", dermis_card_name(r->about->card, index, "en"),
                                                  "vi", dermis_card_name(r->about->card, index, "vi")));
    }
    return p;
}

json_t *classify_json(const classify_result *r, unsigned top, const char *language)
{
    json_t *predictions = json_array();
    for (uint32_t i = 0; i < r->about->class_count && (top == 0 || i < top); i++)
        json_array_append_new(predictions, prediction(r, r->order[i], language));
    json_t *out = json_pack("{s:s, s:s, s:i, s:i, s:o}", "model", r->about->name, "model_sha256", r->about->sha256,
                            "width", (int)r->width, "height", (int)r->height, "predictions", predictions);
    if (out && r->maps)
        json_object_set_new(out, "layer", json_string(r->about->cam_layer));
    return out;
}

/* With as many of the likeliest classes as the store takes beside the maps. */
static char *stored_answer(const classify_result *r)
{
    char *text = NULL;
    for (unsigned top = r->about->class_count; top && !text; top /= 2) {
        json_t *answer = classify_json(r, top, NULL);
        text = answer ? json_dumps(answer, JSON_COMPACT | JSON_REAL_PRECISION(9)) : NULL;
        json_decref(answer);
        if (!text)
            return NULL;
        if (strlen(text) > STORE_RESULT_BYTES - r->maps_bytes) {
            free(text);
            text = NULL;
        }
    }
    return text;
}

dermis_status classify_store(server_call *call, const classify_result *r, bool keep,
                             char id[STORE_ID_CHARS + 1], dermis_error *err)
{
    double began = base_now_ms();
    char *text = stored_answer(r);
    if (!text)
        return base_fail(err, DERMIS_E_MEMORY, "not enough memory");
    int64_t now = app_now();
    store_result row = {.user = call->signed_in ? call->user.id : 0,
                        .created = now,
                        .expires = keep ? 0 : now + call->app->settings.retention_s,
                        .width = r->photo_width,
                        .height = r->photo_height,
                        .answer = text,
                        .notes = "",
                        .maps = r->maps,
                        .maps_bytes = r->maps_bytes};
    memcpy(row.guest, call->guest_hash, sizeof row.guest);
    snprintf(row.top, sizeof row.top, "%s", r->about->classes[r->order[0]]);
    dermis_status status = store_result_add(call->app->store, &row, r->photo.data, r->photo.size, r->thumb.data,
                                            r->thumb.size, id, err);
    free(text);
    metrics_stage(call->app->metrics, STAGE_STORE, base_now_ms() - began);
    return status;
}
