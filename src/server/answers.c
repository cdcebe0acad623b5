/* answers.c - filling a call's answer: pages in the reader's language, JSON, redirects, errors; and the
 * reading of forms. */
#include <errno.h>
#include <math.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

#include "server/app.h"
#include "server/web.h"

#define SMALL_FORM ((size_t)64 << 10) /* what a call may take without asking */

/* ---- texts and numbers of the reader's language ---- */

static json_t *texts(const server_call *call)
{
    return call->app->texts[strcmp(call->language, "vi") == 0];
}

const char *call_text(const server_call *call, const char *key)
{
    json_t *at = texts(call);
    while (at && *key) {
        size_t n = strcspn(key, ".");
        at = json_object_getn(at, key, n);
        key += n + (key[n] == '.');
    }
    const char *text = json_string_value(at);
    return text ? text : "";
}

void call_number(const server_call *call, double value, int decimals, char *out, size_t size)
{
    snprintf(out, size, "%.*f", decimals, value);
    char *point = strchr(out, '.');
    if (point && strcmp(call->language, "vi") == 0)
        *point = ',';
}

void call_percent(const server_call *call, double value, char *out, size_t size)
{
    char number[32];
    double percent = value * 100;
    bool tiny = percent > 0 && percent < 0.1;
    /* whole numbers where tenths say nothing; never 100 % or 0 % for what is not */
    int decimals = percent > 99.5 || percent < 9.95 ? 1 : 0;
    if (percent > 99.9 && value < 1)
        percent = 99.9;
    call_number(call, tiny ? 0.1 : percent, percent == 0 || value >= 1 ? 0 : decimals, number, sizeof number);
    snprintf(out, size, "%s%s\u00a0%%", tiny ? "< " : "", number);
}

void call_time(const server_call *call, int64_t when, char *out, size_t size)
{
    struct tm t;
    time_t at = (time_t)when;
    localtime_r(&at, &t);
    strftime(out, size, strcmp(call->language, "vi") == 0 ? "%H:%M %Z, %d/%m/%Y" : "%e %b %Y, %H:%M %Z", &t);
    if (*out == ' ')
        memmove(out, out + 1, strlen(out));
}

void app_utc_time(int64_t when, char out[UTC_TIME_BYTES])
{
    struct tm t;
    time_t at = (time_t)when;
    gmtime_r(&at, &t);
    strftime(out, UTC_TIME_BYTES, "%Y-%m-%dT%H:%M:%SZ", &t);
}

/* A length of time in the reader's words, in the largest unit that it fills whole: "30 minutes", "1 day". */
static void span_text(const server_call *call, uint64_t seconds, char *out, size_t size)
{
    static const struct {
        unsigned seconds;
        const char *one, *many;
    } units[] = {{86400, "span.day", "span.days"},
                 {3600, "span.hour", "span.hours"},
                 {60, "span.minute", "span.minutes"},
                 {1, "span.second", "span.seconds"}};
    size_t i = 0;
    while (seconds % units[i].seconds)
        i++;
    uint64_t n = seconds / units[i].seconds;
    snprintf(out, size, "%llu\u00a0%s", (unsigned long long)n, call_text(call, n == 1 ? units[i].one : units[i].many));
}

void url_encode(const char *text, char *out, size_t size)
{
    static const char digits[] = "0123456789ABCDEF";
    size_t n = 0;
    for (const unsigned char *c = (const unsigned char *)text; *c && n + 4 < size; c++) {
        if ((*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') || (*c >= '0' && *c <= '9') || strchr("-_.~/", *c)) {
            out[n++] = (char)*c;
        } else {
            out[n++] = '%';
            out[n++] = digits[*c >> 4];
            out[n++] = digits[*c & 15];
        }
    }
    out[n] = 0;
}

/* ---- headers ---- */

void answer_common_headers(server_call *call)
{
    http_answer *a = &call->answer;
    http_answer_header(a, "X-Content-Type-Options", "nosniff");
    http_answer_header(a, "Referrer-Policy", "same-origin");
    http_answer_header(a, "X-Frame-Options", "DENY");
    http_answer_header(a, "Permissions-Policy", "camera=(self), microphone=(), geolocation=()");
    http_answer_header(a, "Cross-Origin-Opener-Policy", "same-origin");
    http_answer_header(a, "Cross-Origin-Resource-Policy", "same-origin");
    http_answer_header(a, "Content-Security-Policy",
                       "default-src 'none'; img-src 'self' blob:; style-src 'self'; script-src 'self'; "
                       "connect-src 'self'; media-src blob:; form-action 'self'; base-uri 'none'; "
                       "frame-ancestors 'none'");
    if (auth_secure(call))
        http_answer_header(a, "Strict-Transport-Security", "max-age=31536000");
}

/* ---- pages ---- */

static const char *find_page(const char *name, size_t *size)
{
    char path[96];
    snprintf(path, sizeof path, "pages/%s.html", name);
    const server_web_file *file = server_web_find(path);
    if (file)
        *size = file->size;
    return file ? (const char *)file->data : NULL;
}

static json_t *model_context(const server_call *call)
{
    server_about *about = models_about(call->app->models);
    json_t *classes = json_array();
    for (uint32_t i = 0; i < about->class_count && i < 1000; i++) {
        const char *name = dermis_card_name(about->card, i, call->language);
        json_array_append_new(classes, json_pack("{s:s, s:s}", "code", about->classes[i], "name",
                                                 name ? name : about->classes[i]));
    }
    json_t *model = json_pack("{s:s, s:i, s:o, s:b, s:s*, s:s*}", "name", about->name, "count",
                              (int)about->class_count, "classes", classes, "has_card", about->card != NULL,
                              "knows", dermis_card_about(about->card, "knows", call->language), "never",
                              dermis_card_about(about->card, "never", call->language));
    about_release(about);
    return model;
}

/* "5 MB", "64 KB", "1,5 MB": as the setting counts them. */
static void limit_text(const server_call *call, char *out, size_t size)
{
    double mb = (double)call->app->settings.upload_bytes / 1048576;
    char number[32];
    call_number(call, mb < 1 ? mb * 1024 : mb, mb < 1 || mb == (double)(long)mb ? 0 : 1, number, sizeof number);
    snprintf(out, size, "%s\u00a0%s", number, mb < 1 ? "KB" : "MB");
}

json_t *page_context(server_call *call, const char *page)
{
    const server_settings *settings = &call->app->settings;
    char here[1200], path[400], stays[64], limit[40];
    const char *query = http_request_method(call->request) == HTTP_GET ? http_request_path(call->request) : "/";
    snprintf(path, sizeof path, "%s", strlen(query) < sizeof path ? query : "/");
    url_encode(path, here, sizeof here);
    bool vi = strcmp(call->language, "vi") == 0;
    span_text(call, (uint64_t)settings->retention_s, stays, sizeof stays);
    limit_text(call, limit, sizeof limit);
    json_t *c = json_pack(
        "{s:s, s:O, s:s, s:b, s:b, s:s, s:s, s:s, s:b, s:s, s:I, s:s, s:b, s:o}", "page", page, "t", texts(call),
        "lang", call->language, "lang_en", !vi, "lang_vi", vi, "here", here, "v", call->app->web_hash, "csrf",
        auth_csrf(call), "signup_open", settings->signup == SERVER_SIGNUP_OPEN, "stays", stays, "upload_bytes",
        (json_int_t)settings->upload_bytes, "upload_limit", limit, "heat", settings->gradcam, "model", model_context(call));
    if (c && call->signed_in)
        json_object_set_new(c, "user", json_pack("{s:s, s:b}", "name", call->user.name, "is_operator",
                                                 call->user.is_operator));
    return c;
}

void answer_text(server_call *call, int status, const char *type, server_text *text)
{
    http_answer_init(&call->answer, status, type);
    call->answered = true;
    if (text->failed) {
        server_text_release(text);
        call->answer.status = 503;
        return;
    }
    call->answer.body = text->data;
    call->answer.size = text->size;
    memset(text, 0, sizeof *text);
}

void answer_page(server_call *call, int status, const char *page, json_t *context)
{
    server_text text = {0};
    bool fine = context && server_template_render(find_page, page, context, &text);
    json_decref(context);
    if (!fine) {
        server_text_release(&text);
        app_log(call->app, BASE_LOG_ERROR, "a page could not be made", json_pack("{s:s}", "page", page));
        server_text_addf(&text, "dermis: this page could not be made.\n");
        answer_text(call, 500, "text/plain; charset=utf-8", &text);
        return;
    }
    answer_text(call, status, "text/html; charset=utf-8", &text);
    http_answer_header(&call->answer, "Cache-Control", "no-store");
}

/* ---- JSON ---- */

static int put_json(const char *bytes, size_t n, void *text)
{
    server_text_add(text, bytes, n);
    return 0;
}

void answer_json(server_call *call, int status, json_t *body)
{
    server_text text = {0};
    if (!body || json_dump_callback(body, put_json, &text, JSON_COMPACT | JSON_REAL_PRECISION(9)) != 0)
        text.failed = true;
    json_decref(body);
    server_text_add(&text, "\n", 1);
    answer_text(call, status, "application/json", &text);
    http_answer_header(&call->answer, "Cache-Control", "no-store");
}

bool call_local_path(const char *path)
{
    if (*path != '/' || path[1] == '/' || path[1] == '\\')
        return false;
    for (const unsigned char *c = (const unsigned char *)path; *c; c++)
        if (*c <= 0x20 || *c >= 0x7f || *c == '\\')
            return false;
    return true;
}

void answer_redirect(server_call *call, const char *location)
{
    http_answer_init(&call->answer, 303, "text/plain; charset=utf-8");
    http_answer_header(&call->answer, "Location", call_local_path(location) ? location : "/");
    http_answer_header(&call->answer, "Cache-Control", "no-store");
    call->answered = true;
}

/* ---- a file ---- */

void answer_stream(server_call *call, const char *type, FILE *f)
{
    dermis_error err;
    int fd = fflush(f) == 0 ? dup(fileno(f)) : -1, why = errno;
    fclose(f);
    if (fd < 0) {
        base_fail(&err, DERMIS_E_IO, "an answer cannot be written to the data folder: %s", strerror(why));
        answer_failure(call, &err);
        return;
    }
    http_answer_init(&call->answer, 200, type);
    call->answer.file = fd;
    http_answer_header(&call->answer, "Cache-Control", "private, no-store");
    call->answered = true;
}

/* ---- errors ---- */

/* For a program, whether or not the address exists. */
static bool for_program(const server_call *call)
{
    const char *path = http_request_path(call->request);
    return (call->route && call->route->flags & ROUTE_API) || strncmp(path, "/api/", 5) == 0 || strncmp(path, "/v2", 3) == 0;
}

bool call_wants_json(const server_call *call)
{
    if (for_program(call))
        return true;
    const char *accept = http_request_header(call->request, "Accept");
    return accept && strstr(accept, "application/json") && !strstr(accept, "text/html");
}

static void error_page(server_call *call, int status, const char *code, const char *reason)
{
    char key[80];
    json_t *c = page_context(call, "error");
    snprintf(key, sizeof key, "error.%s", code); /* a title of its own, where the status has another's */
    const char *general = call_text(call, key);
    snprintf(key, sizeof key, "error.s%d.reason", status);
    if (!*general)
        general = call_text(call, key);
    if (!*general)
        general = call_text(call, status >= 500 ? "error.s500.reason" : "error.s400.reason");
    snprintf(key, sizeof key, "error.s%d.todo", status);
    const char *todo = call_text(call, key);
    if (!*todo)
        todo = call_text(call, status >= 500 ? "error.s500.todo" : "error.s400.todo");
    json_object_set_new(c, "status", json_integer(status));
    json_object_set_new(c, "reason", json_string(general));
    json_object_set_new(c, "todo", json_string(*reason ? reason : todo));
    json_object_set_new(c, "request", json_string(call->id));
    json_object_set_new(c, "heic", json_boolean(strcmp(code, "heic") == 0));
    answer_page(call, status, "error", c);
}

/* Puts {upload_limit} and {seconds} into a text for JSON; pages have their context for it. */
static void fill_in(const server_call *call, const char *text, char *out, size_t size)
{
    size_t n = 0;
    while (*text && n + 1 < size) {
        int written = -1;
        if (strncmp(text, "{upload_limit}", 14) == 0) {
            char limit[40];
            limit_text(call, limit, sizeof limit);
            written = snprintf(out + n, size - n, "%s", limit);
            text += 14;
        } else if (strncmp(text, "{seconds}", 9) == 0) {
            written = snprintf(out + n, size - n, "%u", call->retry_s);
            text += 9;
        }
        if (written < 0)
            out[n++] = *text++;
        else
            n += (size_t)written < size - n ? (size_t)written : size - n - 1;
    }
    out[n] = 0;
}

void answer_error(server_call *call, int status, const char *code, const char *detail)
{
    char key[80], reason[600];
    if (call->answered)
        http_answer_release(&call->answer);
    if (!call->language)
        call->language = "en";
    snprintf(key, sizeof key, "server.%s", code);
    fill_in(call, call_text(call, key), reason, sizeof reason);
    if (call->route && call->route->flags & ROUTE_V2) {
        answer_json(call, status, json_pack("{s:s}", "error", detail ? detail : *reason ? reason : code));
    } else if (call_wants_json(call)) {
        const char *message = for_program(call) ? detail : NULL;
        char dashed[80];
        snprintf(dashed, sizeof dashed, "%s", code);
        for (char *c = dashed; *c; c++)
            *c = *c == '_' ? '-' : *c;
        if (!message)
            message = *reason ? reason : detail ? detail : code;
        answer_json(call, status, json_pack("{s:{s:s, s:s, s:s}}", "error", "code", dashed, "message", message,
                                            "request", call->id));
    } else {
        error_page(call, status, code, reason);
    }
    if (call->retry_s || status == 503) {
        char seconds[16];
        snprintf(seconds, sizeof seconds, "%u", call->retry_s ? call->retry_s : 1);
        http_answer_header(&call->answer, "Retry-After", seconds);
    }
}

void answer_failure(server_call *call, const dermis_error *err)
{
    static const struct {
        dermis_status status;
        const char *code;
    } codes[] = {
        {DERMIS_E_NOT_PICTURE, "not_picture"},  {DERMIS_E_PICTURE_DAMAGED, "damaged"},
        {DERMIS_E_PICTURE_LIMIT, "too_many_pixels"}, {DERMIS_E_BUDGET, "too_many_pixels"},
        {DERMIS_E_BUSY, "busy"},                {DERMIS_E_MEMORY, "busy"},
        {DERMIS_E_NOT_FOUND, "not_found"},      {DERMIS_E_USAGE, "bad_request"},
        {DERMIS_E_IO, "disk_full"},             {DERMIS_E_MODEL_CHANGED, "no_model"},
        {DERMIS_E_MODEL_INVALID, "no_model"},   {DERMIS_E_MODEL_UNSUPPORTED, "no_model"},
    };
    const char *code = "failed";
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++)
        if (codes[i].status == err->status)
            code = codes[i].code;
    if (err->status == DERMIS_E_NOT_PICTURE && strstr(err->text, "HEI"))
        code = "heic";
    int status = base_status_http(err->status);
    if (err->status == DERMIS_E_IO || err->status == DERMIS_E_MODEL_INVALID)
        status = 503; /* an operator has to do something; the client may come again */
    if (status >= 500) {
        app_log(call->app, BASE_LOG_ERROR, "a request failed",
                json_pack("{s:s, s:s, s:s}", "request", call->id, "code", base_status_name(err->status),
                          "text", err->text));
        /* paths and causes of the machine are the operator's, not the client's */
        answer_error(call, status, code, base_status_text(err->status));
    } else {
        answer_error(call, status, code, err->text);
    }
}

/* ---- forms and cookies ---- */

bool call_form(server_call *call)
{
    size_t size;
    dermis_error err;
    if (call->form_read)
        return true;
    const void *body = http_request_body(call->request, &size);
    const char *type = http_request_header(call->request, "Content-Type");
    /* the values of such a form are decoded into memory of their own; those of a multipart one are not */
    if (size > SMALL_FORM && type && strncasecmp(type, "multipart/", 10) != 0 && call_reserve(call, size, &err) != DERMIS_OK) {
        answer_failure(call, &err);
        return false;
    }
    if (http_form_parse(type, body, size, &call->form, &err) !=
        DERMIS_OK) {
        answer_error(call, err.status == DERMIS_E_NOT_PICTURE ? 415 : base_status_http(err.status),
                     "bad_form", err.text);
        return false;
    }
    return call->form_read = true;
}

bool call_cookie(server_call *call, const char *name, const char *value, long max_age_s, bool http_only)
{
    char cookie[256];
    snprintf(cookie, sizeof cookie, "%s=%s; Path=/; Max-Age=%ld; SameSite=Lax%s%s", name, value, max_age_s,
             http_only ? "; HttpOnly" : "", auth_secure(call) ? "; Secure" : "");
    return http_answer_header(&call->answer, "Set-Cookie", cookie);
}
