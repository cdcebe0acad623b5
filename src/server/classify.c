/* classify.c - a photograph's way through the engine: memory first, then a session, the tensor, the
 * answer, the maps, and what is stored of it. Picture lane. */
#include <stdlib.h>
#include <string.h>

#include "server/app.h"

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

/* What is stored of a photograph: itself and a thumbnail. */
enum { COPY_PHOTO, COPY_THUMB, COPIES };

/* Takes what decoding (and storing) will need from the budget; given back when the call ends. */
static dermis_status reserve(server_call *call, const server_lease *lease, const void *data, size_t size,
                             const classify_options *o, const dermis_copy *copies, unsigned count, size_t *decode,
                             dermis_error *err)
{
    dermis_photo photo;
    dermis_status status = dermis_model_probe(lease->model, data, size, &o->crop, copies, count, &photo, err);
    if (status != DERMIS_OK)
        return status;
    *decode = photo.memory_bytes;
    return call_reserve(call, photo.memory_bytes + (count ? STORE_SCRATCH : 0), err);
}

/* Into the session's tensor and, where it is to be stored, the result's photograph and thumbnail. */
static dermis_status load(server_call *call, server_lease *lease, const void *data, size_t size,
                          const classify_options *o, classify_result *r, dermis_error *err)
{
    dermis_copy copies[COPIES] = {[COPY_PHOTO] = {.max_side = PHOTO_SIDE, .quality = PHOTO_QUALITY},
                                  [COPY_THUMB] = {.max_side = THUMB_SIDE, .quality = PHOTO_QUALITY}};
    server_text *texts[COPIES] = {[COPY_PHOTO] = &r->photo, [COPY_THUMB] = &r->thumb};
    dermis_photo photo;
    size_t decode = 0;
    unsigned count = o->store ? COPIES : 0;
    dermis_status status = reserve(call, lease, data, size, o, copies, count, &decode, err);
    if (status != DERMIS_OK)
        return status;
    double began = base_now_ms();
    for (unsigned i = 0; i < count && !status; i++)
        if (!(copies[i].out = text_stream(texts[i])))
            status = base_fail(err, DERMIS_E_MEMORY, "not enough memory");
    dermis_session_limit_decoding(lease->session, decode);
    if (status == DERMIS_OK)
        status = dermis_session_load(lease->session, data, size, &o->crop, copies, count, &photo, err);
    for (unsigned i = 0; i < count; i++)
        if (copies[i].out && fclose(copies[i].out) != 0 && !status)
            status = base_fail(err, DERMIS_E_MEMORY, "not enough memory");
    if (status != DERMIS_OK)
        return status;
    r->width = photo.width;
    r->height = photo.height;
    r->photo_width = copies[COPY_PHOTO].width;
    r->photo_height = copies[COPY_PHOTO].height;
    r->decode_ms = base_now_ms() - began;
    metrics_stage(call->app->metrics, STAGE_DECODE, r->decode_ms);
    return DERMIS_OK;
}

static dermis_status explain(const server_lease *lease, const classify_options *o, classify_result *r,
                             dermis_error *err)
{
    uint32_t classes = r->about->class_count, count = 1, height = 0, width = 0;
    bool asked = false;
    if (o->explain)
        count = classes <= MAX_MAPS ? classes : TOP_MAPS;
    for (uint32_t i = 0; i < count; i++) {
        dermis_map map;
        uint32_t index = r->order[i];
        asked = asked || index == (uint32_t)o->cam_class;
        if (i + 1 == count && o->cam_class >= 0 && !asked) /* the one that was asked for is among them */
            index = (uint32_t)o->cam_class;
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
    dermis_status status = load(call, lease, data, size, o, r, err);
    if (status != DERMIS_OK)
        return status;
    double began = base_now_ms();
    const float *probabilities = dermis_session_run(lease->session);
    r->run_ms = base_now_ms() - began;
    if ((status = dermis_session_check(lease->session, err)) != DERMIS_OK)
        return status;
    metrics_stage(metrics, STAGE_RUN, r->run_ms);
    memcpy(r->probabilities, probabilities, r->about->class_count * sizeof *probabilities);
    dermis_session_top(lease->session, r->about->class_count, r->order);
    if (!call->app->settings.gradcam || !r->about->explains || o->cam_class == -2)
        return DERMIS_OK;
    began = base_now_ms();
    if ((status = explain(lease, o, r, err)) != DERMIS_OK)
        return status;
    r->explain_ms = base_now_ms() - began;
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
    models_release(call->app->models, &lease, status == DERMIS_E_MODEL_CHANGED);
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

static const char *const advice_names[] = {"few", "blur", "dark", "bright", "glare"};
#define ADVICE_COUNT (sizeof advice_names / sizeof *advice_names)

unsigned classify_advice(const char *text)
{
    unsigned bits = 0;
    for (const char *c = text; *c;) {
        size_t n = strcspn(c, ",");
        for (size_t i = 0; i < ADVICE_COUNT; i++)
            if (strlen(advice_names[i]) == n && memcmp(advice_names[i], c, n) == 0)
                bits |= 1u << i;
        c += n + (c[n] == ',');
    }
    return bits;
}

static json_t *advice_json(unsigned bits)
{
    json_t *list = json_array();
    for (size_t i = 0; i < ADVICE_COUNT; i++)
        if (bits & 1u << i)
            json_array_append_new(list, json_string(advice_names[i]));
    return list;
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
    if (out && r->advice)
        json_object_set_new(out, "advice", advice_json(r->advice));
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
