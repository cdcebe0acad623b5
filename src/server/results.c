/* results.c - one result: who may see it, its page, its pictures, what its owner may do with it. */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "server/app.h"

#define HEAT_SIDE      512 /* pixels of the heat that is laid over the photograph */
#define BARS_MOST      4
#define BAR_LEAST      0.05

static const char *const colormaps[] = {"jet", "turbo", "viridis", "inferno"};

/* ---- access ---- */

static bool own(const server_call *call, const store_result *r)
{
    static const uint8_t none[STORE_HASH_BYTES];
    if (r->user)
        return call->signed_in && call->user.id == r->user;
    return *call->guest && memcmp(r->guest, none, sizeof none) != 0 &&
           memcmp(r->guest, call->guest_hash, sizeof none) == 0;
}

bool result_may_edit(const server_call *call, const store_result *r)
{
    return own(call, r);
}

bool result_open(server_call *call, store_result *out)
{
    dermis_error err;
    dermis_status status = DERMIS_E_NOT_FOUND;
    if (strlen(call->parts[0]) == STORE_ID_CHARS)
        status = store_result_get(call->app->store, call->parts[0], app_now(), out, &err);
    if (status == DERMIS_OK && out->user && !out->shared && !own(call, out)) {
        store_result_release(out);
        status = DERMIS_E_NOT_FOUND; /* another's: not even that it is there */
    }
    if (status == DERMIS_E_NOT_FOUND)
        answer_error(call, 404, "not_found", "there is no such result");
    else if (status != DERMIS_OK)
        answer_failure(call, &err);
    return status == DERMIS_OK;
}

/* ---- what pages are given ---- */

/* Index of a class code in the model that is loaded now; -1: it has none. */
static int32_t class_now(const server_about *about, const char *code)
{
    for (uint32_t i = 0; i < about->class_count; i++)
        if (strcmp(about->classes[i], code) == 0)
            return (int32_t)i;
    return -1;
}

static const char *class_name(const server_call *call, const server_about *about, json_t *prediction)
{
    const char *code = json_string_value(json_object_get(prediction, "class"));
    const char *name = json_string_value(json_object_get(json_object_get(prediction, "names"), call->language));
    if (!name && code) {
        int32_t now = class_now(about, code);
        name = now >= 0 ? dermis_card_name(about->card, (uint32_t)now, call->language) : NULL;
    }
    return name ? name : code ? code : "";
}

static json_t *class_context(const server_call *call, const server_about *about, json_t *prediction)
{
    char percent[32];
    const char *code = json_string_value(json_object_get(prediction, "class"));
    double value = json_number_value(json_object_get(prediction, "probability"));
    call_percent(call, value, percent, sizeof percent);
    json_t *c = json_pack("{s:O, s:s, s:s, s:s, s:f}", "index", json_object_get(prediction, "index"), "code",
                          code ? code : "", "name", class_name(call, about, prediction), "percent", percent,
                          "value", value);
    int32_t now = code ? class_now(about, code) : -1;
    if (!c || now < 0)
        return c;
    static const char *const keys[] = {"text", "urgency_text", "doctor"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        const char *text = dermis_card_class_text(about->card, (uint32_t)now, keys[i], call->language);
        if (text)
            json_object_set_new(c, keys[i], json_string(text));
    }
    const char *urgency = dermis_card_urgency(about->card, (uint32_t)now);
    if (urgency)
        json_object_set_new(c, "urgency", json_string(urgency));
    return c;
}

/* The three grades (docs/architecture.md): clear, between two, unsure. */
static json_t *sureness(const server_call *call, const server_about *about, json_t *predictions)
{
    json_t *one = json_array_get(predictions, 0), *two = json_array_get(predictions, 1);
    double first = json_number_value(json_object_get(one, "probability"));
    double second = json_number_value(json_object_get(two, "probability"));
    bool clear = first >= 0.6 && first - second >= 0.3;
    bool between = !clear && two && first - second < 0.15;
    return json_pack("{s:b, s:b, s:b, s:s, s:s}", "clear", clear, "between", between, "unsure", !clear && !between,
                     "first", class_name(call, about, one), "second", two ? class_name(call, about, two) : "");
}

/* How many of the first classes are in question: the one ahead, else two. */
static size_t in_question(json_t *sure)
{
    return json_is_true(json_object_get(sure, "clear")) ? 1 : 2;
}

static void add_bars(server_call *call, const server_about *about, json_t *predictions, json_t *out)
{
    size_t opened = in_question(json_object_get(out, "sure"));
    json_t *bars = json_array(), *others = json_array();
    size_t i, count = json_array_size(predictions);
    double rest = 0;
    json_t *p;
    json_array_foreach(predictions, i, p) {
        double value = json_number_value(json_object_get(p, "probability"));
        bool shown = i == 0 || (i < BARS_MOST && value >= BAR_LEAST) || (count == 2 && i == 1);
        json_t *c = class_context(call, about, p);
        if (shown && i < opened)
            json_object_set_new(c, "opened", json_true());
        json_array_append_new(shown ? bars : others, c);
        rest += shown ? 0 : value;
    }
    char percent[32];
    call_percent(call, rest, percent, sizeof percent);
    json_object_set(out, "best", json_array_get(bars, 0));
    json_object_set_new(out, "bars", bars);
    json_object_set_new(out, "others_count", json_integer((json_int_t)json_array_size(others)));
    json_object_set_new(out, "others_percent", json_string(percent));
    json_object_set_new(out, "others", others);
}

static json_t *find_prediction(json_t *predictions, int32_t class_index)
{
    size_t i;
    json_t *p;
    json_array_foreach(predictions, i, p)
        if (json_integer_value(json_object_get(p, "index")) == class_index)
            return p;
    return NULL;
}

static json_t *explained(server_call *call, const server_about *about, const store_result *r,
                         json_t *predictions, int32_t class_index, const char *colormap, unsigned alpha)
{
    map_set set;
    if (!r->maps_bytes || !maps_read(r->maps, r->maps_bytes, &set))
        return NULL;
    json_t *shown = find_prediction(predictions, class_index), *classes = json_array(), *colours = json_array();
    bool there = false;
    for (uint32_t i = 0; i < set.count; i++)
        there |= shown && maps_class(&set, i) == (uint32_t)class_index;
    if (!there)
        shown = find_prediction(predictions, class_index = (int32_t)maps_class(&set, 0));
    size_t n;
    json_t *p;
    json_array_foreach(predictions, n, p) {
        int32_t index = (int32_t)json_integer_value(json_object_get(p, "index"));
        for (uint32_t i = 0; i < set.count; i++)
            if (maps_class(&set, i) == (uint32_t)index)
                json_array_append_new(classes, json_pack("{s:i, s:s, s:b}", "index", index, "name",
                                                         class_name(call, about, p), "selected",
                                                         index == class_index));
    }
    for (size_t i = 0; i < sizeof colormaps / sizeof *colormaps; i++) {
        char key[32];
        snprintf(key, sizeof key, "colours.%s", colormaps[i]);
        json_array_append_new(colours, json_pack("{s:s, s:s, s:b}", "name", colormaps[i], "label", call_text(call, key),
                                                 "selected", strcmp(colormaps[i], colormap) == 0));
    }
    bool blank = true;
    float *values = base_alloc(BASE_TAG_SERVER, (size_t)set.height * set.width * sizeof *values);
    if (values)
        maps_get(&set, (uint32_t)class_index, values, &blank);
    base_free(values);
    char heat[160], overlay[200];
    snprintf(heat, sizeof heat, "/result/%s/heat.png?class=%d&colormap=%s", r->id, class_index, colormap);
    snprintf(overlay, sizeof overlay, "/result/%s/overlay.png?class=%d&colormap=%s&alpha=%.2f", r->id, class_index,
             colormap, alpha / 100.0);
    return json_pack("{s:i, s:s, s:b, s:s, s:i, s:s, s:s, s:o, s:o}", "class", class_index, "name",
                     class_name(call, about, shown), "blank", blank, "colormap", colormap, "alpha", (int)alpha,
                     "heat_src", heat, "overlay_src", overlay, "classes", classes, "colormaps", colours);
}

/* What _time.html is given: a script shows it in the reader's zone. */
static json_t *time_context(const server_call *call, int64_t when)
{
    char text[64], utc[UTC_TIME_BYTES];
    call_time(call, when, text, sizeof text);
    app_utc_time(when, utc);
    return json_pack("{s:s, s:s}", "text", text, "utc", utc);
}

static void add_times(server_call *call, const store_result *r, json_t *out)
{
    json_object_set_new(out, "created", time_context(call, r->created));
    if (r->expires)
        json_object_set_new(out, "expires", time_context(call, r->expires));
    json_object_set_new(out, "kept", json_boolean(r->expires == 0));
}

static json_t *notes_of(const store_result *r)
{
    json_t *notes = r->notes && *r->notes ? json_loads(r->notes, 0, NULL) : NULL;
    return notes;
}

json_t *result_entry(server_call *call, const store_result *r)
{
    char url[64], photo[80], thumb[80], percent[32];
    server_about *about = models_about(call->app->models);
    json_t *answer = json_loads(r->answer, 0, NULL);
    json_t *best = json_array_get(json_object_get(answer, "predictions"), 0), *notes = notes_of(r);
    snprintf(url, sizeof url, "/result/%s/", r->id);
    snprintf(photo, sizeof photo, "%sphoto.jpg", url);
    snprintf(thumb, sizeof thumb, "%sthumb.jpg", url);
    call_percent(call, json_number_value(json_object_get(best, "probability")), percent, sizeof percent);
    json_t *out = json_pack("{s:s, s:s, s:s, s:{s:s, s:i, s:i}, s:s, s:s, s:O*, s:o*}", "id", r->id, "url", url,
                            "thumb", thumb, "photo", "src", photo, "width", (int)r->width, "height",
                            (int)r->height, "name", class_name(call, about, best), "percent", percent, "site",
                            json_object_get(notes, "site"), "notes", notes);
    if (out)
        add_times(call, r, out);
    json_decref(answer);
    about_release(about);
    return out;
}

/* What the page found wanting in the photograph before it was sent, as one sentence. */
static void add_advice(const server_call *call, json_t *names, json_t *out)
{
    char text[600] = "", key[64];
    size_t i;
    json_t *name;
    json_array_foreach(names, i, name) {
        snprintf(key, sizeof key, "result.advice_%.20s", json_string_value(name) ? json_string_value(name) : "");
        size_t n = strlen(text);
        snprintf(text + n, sizeof text - n, "%s%s", n ? ", " : "", call_text(call, key));
    }
    if (*text)
        json_object_set_new(out, "advice", json_string(text));
}

json_t *result_context(server_call *call, const store_result *r, int32_t class_index, const char *colormap,
                       unsigned alpha)
{
    server_about *about = models_about(call->app->models);
    json_t *out = result_entry(call, r), *answer = json_loads(r->answer, 0, NULL);
    json_t *predictions = json_object_get(answer, "predictions");
    const char *name = json_string_value(json_object_get(answer, "model"));
    const char *sha = json_string_value(json_object_get(answer, "model_sha256"));
    if (class_index < 0)
        class_index = (int32_t)json_integer_value(json_object_get(json_array_get(predictions, 0), "index"));
    json_object_set_new(out, "old_model", json_boolean(!name || !sha || strcmp(name, about->name) != 0 ||
                                                       strcmp(sha, about->sha256) != 0));
    json_object_set_new(out, "sure", sureness(call, about, predictions));
    add_advice(call, json_object_get(answer, "advice"), out);
    add_bars(call, about, predictions, out);
    json_t *map = explained(call, about, r, predictions, class_index, colormap, alpha);
    if (map) {
        json_object_set(out, "heat_src", json_object_get(map, "heat_src"));
        json_object_set_new(out, "explained", map);
    }
    json_decref(answer);
    about_release(about);
    return out;
}

/* ---- parameters ---- */

static const char *wanted_colormap(const server_call *call)
{
    const char *asked = http_request_query(call->request, "colormap");
    for (size_t i = 0; asked && i < sizeof colormaps / sizeof *colormaps; i++)
        if (strcmp(asked, colormaps[i]) == 0)
            return colormaps[i];
    return asked ? NULL : colormaps[0];
}

/* ?class= by number or by code; the likeliest where it is not given; -1: no such class. */
static int32_t wanted_class(const server_call *call, const store_result *r)
{
    const char *asked = http_request_query(call->request, "class");
    json_t *answer = json_loads(r->answer, 0, NULL), *predictions = json_object_get(answer, "predictions"), *p;
    int32_t found = -1;
    size_t i;
    json_array_foreach(predictions, i, p) {
        char number[16];
        int32_t index = (int32_t)json_integer_value(json_object_get(p, "index"));
        const char *code = json_string_value(json_object_get(p, "class"));
        snprintf(number, sizeof number, "%d", index);
        if (found < 0 && (!asked || !*asked || strcmp(asked, number) == 0 || (code && strcmp(asked, code) == 0)))
            found = index;
    }
    json_decref(answer);
    return found;
}

/* A number of the query between 0 and 1; -1: something else. */
static double wanted_alpha(const server_call *call, double standard)
{
    const char *asked = http_request_query(call->request, "alpha");
    double v = standard;
    char behind;
    if (asked && (sscanf(asked, "%lf%c", &v, &behind) != 1 || !(v >= 0 && v <= 1)))
        return -1;
    return v;
}

/* ---- pages and pictures ---- */


void result_page(server_call *call)
{
    store_result r;
    if (!result_open(call, &r))
        return;
    const char *colormap = wanted_colormap(call), *asked = http_request_query(call->request, "alpha");
    unsigned alpha = 40;
    if (asked && strlen(asked) <= 3 && strspn(asked, "0123456789") == strlen(asked) && *asked)
        sscanf(asked, "%u", &alpha);
    alpha = (alpha > 100 ? 100 : alpha) / 10 * 10;
    json_t *context = page_context(call, "result"), *own_context;
    own_context = result_context(call, &r, wanted_class(call, &r), colormap ? colormap : "jet", alpha);
    json_object_update(context, own_context);
    json_decref(own_context);
    bool mine = own(call, &r), account = mine && r.user;
    json_object_set_new(context, "owner", json_boolean(mine));
    json_object_set_new(context, "can_keep", json_boolean(mine && r.expires));
    json_object_set_new(context, "can_delete", json_boolean(mine));
    json_object_set_new(context, "can_note", json_boolean(mine));
    json_object_set_new(context, "can_share", json_boolean(account && !r.expires));
    json_object_set_new(context, "shared", json_boolean(r.shared));
    if (!mine)
        json_object_del(context, "notes"); /* a link shows the result, not what its owner wrote */
    const char *host = http_request_header(call->request, "Host");
    char share[400];
    snprintf(share, sizeof share, "%s://%.255s/result/%s/", auth_secure(call) ? "https" : "http", host ? host : "", r.id);
    json_object_set_new(context, "share_url", json_string(share));
    page_add_notice(call, context);
    store_result_release(&r);
    answer_page(call, 200, "result", context);
}

static void send_photo(server_call *call, bool thumb)
{
    store_result r;
    dermis_error err;
    int fd;
    if (!result_open(call, &r))
        return;
    dermis_status status = store_result_photo(call->app->store, r.id, thumb, app_now(), &fd, &err);
    store_result_release(&r);
    if (status != DERMIS_OK) {
        answer_failure(call, &err);
        return;
    }
    http_answer_init(&call->answer, 200, "image/jpeg");
    call->answer.file = fd;
    http_answer_header(&call->answer, "Cache-Control", "private, no-store");
    call->answered = true;
}

void result_photo(server_call *call)
{
    send_photo(call, false);
}

void result_thumb(server_call *call)
{
    send_photo(call, true);
}

/* The map that the query asks for; its values are to be freed. False: answered. */
static bool wanted_map(server_call *call, const store_result *r, dermis_map *map, const char **colormap)
{
    map_set set;
    int32_t class_index = wanted_class(call, r);
    *colormap = wanted_colormap(call);
    if (class_index < 0 || !*colormap) {
        answer_error(call, 400, "bad_request", *colormap ? "there is no such class" : "colormap is jet, turbo, viridis or inferno");
        return false;
    }
    float *values = NULL;
    bool blank = false;
    if (r->maps_bytes && maps_read(r->maps, r->maps_bytes, &set) &&
        (values = base_alloc(BASE_TAG_SERVER, (size_t)set.height * set.width * sizeof *values)) &&
        maps_get(&set, (uint32_t)class_index, values, &blank)) {
        *map = (dermis_map){values, set.height, set.width, blank, "", "grad-cam", (uint32_t)class_index};
        return true;
    }
    base_free(values);
    answer_error(call, 404, "not_found", "there is no heat map of this class");
    return false;
}

void result_heat(server_call *call)
{
    store_result r;
    dermis_map map;
    const char *colormap;
    dermis_error err;
    if (!result_open(call, &r))
        return;
    if (wanted_map(call, &r, &map, &colormap)) {
        uint32_t longest = r.width > r.height ? r.width : r.height, w = r.width, h = r.height;
        if (longest > HEAT_SIDE) {
            w = (uint32_t)((uint64_t)w * HEAT_SIDE / longest);
            h = (uint32_t)((uint64_t)h * HEAT_SIDE / longest);
        }
        server_text png = {0};
        FILE *f = text_stream(&png);
        dermis_status status = f ? dermis_heat_write(&map, colormap, w ? w : 1, h ? h : 1, f, &err)
                                 : base_fail(&err, DERMIS_E_MEMORY, "not enough memory");
        if (f && fclose(f) != 0 && !status)
            status = base_fail(&err, DERMIS_E_MEMORY, "not enough memory");
        if (status == DERMIS_OK) {
            answer_text(call, 200, "image/png", &png);
            http_answer_header(&call->answer, "Cache-Control", "private, no-store");
        } else {
            server_text_release(&png);
            answer_failure(call, &err);
        }
        base_free((void *)map.values);
    }
    store_result_release(&r);
}

/* The stored photograph, mapped. */
static dermis_status map_photo(server_call *call, const char *id, void **data, size_t *size, dermis_error *err)
{
    int fd;
    struct stat st;
    dermis_status status = store_result_photo(call->app->store, id, false, app_now(), &fd, err);
    if (status != DERMIS_OK)
        return status;
    void *at = fstat(fd, &st) == 0 && st.st_size > 0 ? mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0)
                                                     : MAP_FAILED;
    close(fd);
    if (at == MAP_FAILED)
        return base_fail(err, DERMIS_E_IO, "a stored photograph cannot be read");
    *data = at;
    *size = (size_t)st.st_size;
    return DERMIS_OK;
}

static dermis_status draw_overlay(server_call *call, const char *id, const dermis_map *map, const char *colormap,
                                  double alpha, FILE **out, dermis_error *err)
{
    void *data = NULL;
    size_t size = 0;
    dermis_photo photo;
    dermis_status status = map_photo(call, id, &data, &size, err);
    if (status != DERMIS_OK)
        return status;
    FILE *f = NULL;
    if (!(status = dermis_photo_probe(data, size, &photo, err)) &&
        !(status = call_reserve(call, photo.overlay_bytes, err))) {
        f = app_unnamed_file(call->app, err);
        dermis_overlay options;
        dermis_overlay_default(&options);
        options.colormap = colormap;
        options.alpha = (float)alpha;
        options.memory_bytes = photo.overlay_bytes;
        status = f ? dermis_overlay_write(data, size, map, &options, f, err) : err->status;
    }
    munmap(data, size);
    if (status != DERMIS_OK) {
        if (f)
            fclose(f);
        return status;
    }
    *out = f;
    return DERMIS_OK;
}

void result_overlay(server_call *call)
{
    store_result r;
    dermis_map map;
    const char *colormap;
    dermis_error err;
    FILE *f = NULL;
    double alpha = wanted_alpha(call, 0.4), began = base_now_ms();
    if (!result_open(call, &r))
        return;
    if (alpha < 0) {
        answer_error(call, 400, "bad_request", "alpha is a number from 0 to 1");
    } else if (wanted_map(call, &r, &map, &colormap)) {
        if (draw_overlay(call, r.id, &map, colormap, alpha, &f, &err) != DERMIS_OK) {
            answer_failure(call, &err);
        } else {
            answer_stream(call, "image/png", f);
            metrics_stage(call->app->metrics, STAGE_DRAW, base_now_ms() - began);
        }
        base_free((void *)map.values);
    }
    store_result_release(&r);
}

/* ---- what an owner does ---- */

/* Opens the result of an owner's form. False: answered. */
static bool open_own(server_call *call, store_result *r)
{
    if (!result_open(call, r))
        return false;
    if (own(call, r))
        return true;
    store_result_release(r);
    answer_error(call, 404, "not_found", NULL);
    return false;
}

static void after(server_call *call, dermis_status status, const dermis_error *err, const char *notice)
{
    char location[200];
    snprintf(location, sizeof location, "/result/%s/?notice=%s", call->parts[0], notice);
    if (status == DERMIS_OK)
        answer_redirect(call, location);
    else
        answer_failure(call, err);
}

void result_keep(server_call *call)
{
    store_result r;
    dermis_error err;
    if (!open_own(call, &r))
        return;
    store_result_release(&r);
    after(call, store_result_keep(call->app->store, call->parts[0], call->user.id, &err), &err, "kept");
}

void result_share(server_call *call)
{
    store_result r;
    dermis_error err;
    char shared[8] = "";
    if (!open_own(call, &r))
        return;
    bool account = r.user != 0;
    store_result_release(&r);
    if (!account) {
        answer_error(call, 404, "not_found", NULL);
        return;
    }
    http_form_text(&call->form, "shared", shared, sizeof shared);
    bool on = strcmp(shared, "1") == 0;
    after(call, store_result_share(call->app->store, call->parts[0], on, &err), &err, on ? "shared" : "unshared");
}

void result_delete(server_call *call)
{
    store_result r;
    dermis_error err;
    if (!open_own(call, &r))
        return;
    bool account = r.user != 0;
    store_result_release(&r);
    if (store_result_delete(call->app->store, call->parts[0], &err) != DERMIS_OK)
        answer_failure(call, &err);
    else
        answer_redirect(call, account ? "/profile/?notice=deleted" : "/?notice=deleted");
}

void result_notes(server_call *call)
{
    static const struct {
        const char *name;
        size_t most; /* characters */
    } fields[] = {{"site", 200}, {"since", 200}, {"symptoms", 1000}, {"age", 200}, {"medicines", 1000}};
    store_result r;
    dermis_error err;
    if (!open_own(call, &r))
        return;
    store_result_release(&r);
    json_t *notes = json_object();
    bool empty = true;
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        char text[4 * 1000 + 1] = "";
        const http_field *field = http_form_field(&call->form, fields[i].name);
        size_t characters = 0;
        if (field && (field->size >= sizeof text || !http_form_text(&call->form, fields[i].name, text, sizeof text)))
            characters = fields[i].most + 1;
        for (const char *c = text; *c; c++)
            characters += (*c & 0xc0) != 0x80;
        if (characters > fields[i].most) {
            json_decref(notes);
            answer_error(call, 400, "note_long", NULL);
            return;
        }
        empty &= !*text;
        json_object_set_new(notes, fields[i].name, json_string(text));
    }
    char *text = empty ? strdup("") : json_dumps(notes, JSON_COMPACT);
    json_decref(notes);
    dermis_status status = text ? store_result_set_notes(call->app->store, call->parts[0], text, &err)
                                : base_fail(&err, DERMIS_E_MEMORY, "not enough memory");
    free(text);
    after(call, status, &err, "notes_saved");
}
