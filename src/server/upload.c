/* upload.c - a photograph from a form or an API's body: taken apart, looked at, stored or answered. */
#include <sodium.h>
#include <string.h>
#include <strings.h>

#include "server/app.h"
#include "server/upload.h"

#define LEAST_SIDE 32 /* pixels: in fewer nobody sees a spot, and the model answers all the same */

/* "data:image/jpeg;base64,..." decoded into base_alloc'd bytes. False: answered. */
static bool decode_data_url(server_call *call, const uint8_t *text, size_t size, uint8_t **out, size_t *out_size)
{
    dermis_error err;
    const uint8_t *comma = memchr(text, ',', size < 200 ? size : 200);
    if (!comma || !memmem(text, (size_t)(comma - text), ";base64", 7)) {
        answer_error(call, 400, "no_picture", "the data URL is not base64");
        return false;
    }
    size_t n = size - (size_t)(comma + 1 - text), room = n / 4 * 3 + 3;
    if (call_reserve(call, room, &err) != DERMIS_OK) {
        answer_failure(call, &err);
        return false;
    }
    uint8_t *bytes = base_alloc(BASE_TAG_SERVER, room);
    if (bytes && sodium_base642bin(bytes, room, (const char *)comma + 1, n, " \r\n\t", out_size, NULL,
                                   sodium_base64_VARIANT_ORIGINAL) == 0 && *out_size) {
        *out = bytes;
        return true;
    }
    base_free(bytes);
    answer_error(call, 400, "no_picture", "the data URL is not base64");
    return false;
}

bool upload_is_picture(const void *data, size_t size)
{
    return size >= 12 && (memcmp(data, "\xff\xd8\xff", 3) == 0 || memcmp(data, "\x89PNG", 4) == 0 ||
                          memcmp(data, "RIFF", 4) == 0);
}

static bool is_data_url(const http_field *field)
{
    return field->size > 5 && memcmp(field->data, "data:", 5) == 0;
}

bool upload_crop(const char *text, dermis_crop *out)
{
    unsigned v[4];
    char behind;
    if (!*text) {
        *out = (dermis_crop){0};
        return true;
    }
    if (strspn(text, "0123456789,") != strlen(text) || strlen(text) > 40 ||
        sscanf(text, "%u,%u,%u,%u%c", &v[0], &v[1], &v[2], &v[3], &behind) != 4 || v[2] == 0 || v[3] == 0)
        return false;
    *out = (dermis_crop){v[0], v[1], v[2], v[3]};
    return true;
}

bool upload_from_form(server_call *call, upload *out)
{
    const http_field *field = http_form_field(&call->form, "image");
    char crop[64] = "";
    size_t limit = call->app->settings.upload_bytes;
    memset(out, 0, sizeof *out);
    if (!field || field->size == 0)
        field = http_form_field(&call->form, "image_data");
    if (!field || field->size == 0) {
        answer_error(call, 400, "no_picture", "there is no picture in the field `image`");
        return false;
    }
    out->data = field->data;
    out->size = field->size;
    if (is_data_url(field) && !decode_data_url(call, field->data, field->size, &out->owned, &out->size))
        return false;
    if (out->owned)
        out->data = out->owned;
    if (out->size > limit) {
        upload_release(out);
        answer_error(call, 413, "too_large", "the picture is larger than the upload limit");
        return false;
    }
    if (http_form_field(&call->form, "crop") &&
        (!http_form_text(&call->form, "crop", crop, sizeof crop) || !upload_crop(crop, &out->crop))) {
        upload_release(out);
        answer_error(call, 400, "bad_crop", "crop is x,y,width,height in pixels");
        return false;
    }
    return true;
}

void upload_release(upload *u)
{
    base_free(u->owned);
    memset(u, 0, sizeof *u);
}

static bool wants_keep(const server_call *call)
{
    char keep[8] = "";
    http_form_text(&call->form, "keep", keep, sizeof keep);
    return strcmp(keep, "1") == 0 || strcasecmp(keep, "on") == 0 || strcasecmp(keep, "true") == 0;
}

void upload_post(server_call *call)
{
    upload photo;
    classify_result result;
    dermis_error err;
    char id[STORE_ID_CHARS + 1], url[64], advice[64] = "";
    if (!call_form(call) || !upload_from_form(call, &photo))
        return;
    bool keep = call->signed_in && wants_keep(call);
    classify_options options = {.crop = photo.crop, .explain = true, .cam_class = -1, .store = true};
    if (!call->app->settings.gradcam)
        options.cam_class = -2;
    dermis_status status = classify(call, photo.data, photo.size, &options, &result, &err);
    uint32_t width = photo.crop.width, height = photo.crop.height;
    if (status == DERMIS_OK && !width) {
        width = result.width;
        height = result.height;
    }
    upload_release(&photo);
    if (status == DERMIS_OK && (width < LEAST_SIDE || height < LEAST_SIDE)) {
        classify_release(&result);
        answer_error(call, 400, "too_few_pixels", NULL);
        return;
    }
    if (status == DERMIS_OK) {
        http_form_text(&call->form, "advice", advice, sizeof advice);
        result.advice = classify_advice(advice);
        status = classify_store(call, &result, keep, id, &err);
        classify_release(&result);
    }
    if (status != DERMIS_OK) {
        if (status == DERMIS_E_USAGE)
            answer_error(call, 400, "bad_crop", err.text);
        else
            answer_failure(call, &err);
        return;
    }
    if (call->signed_in && keep != call->user.keeps) /* the box stands next time as it was left */
        store_user_set_choices(call->app->store, call->user.id, call->user.language, keep, NULL);
    snprintf(url, sizeof url, "/result/%s/", id);
    if (call_wants_json(call)) {
        answer_json(call, 201, json_pack("{s:s, s:s}", "id", id, "url", url));
        http_answer_header(&call->answer, "Location", url);
    } else {
        answer_redirect(call, url);
    }
}
