/* calls.c - a request's way: accepted or refused by its headers, put into its lane, run, replied to,
 * counted and logged. */
#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "server/app.h"

#define FORM_BYTES   ((uint64_t)64 << 10)
#define TENSOR_BYTES ((uint64_t)16 << 20) /* a 300x300x3 tensor as JSON is 2 to 6 MB */
/* A longer answer waits for its reader in a file: it stays until the last byte is taken, however slowly, and what a
 * client may hold of the memory is not to grow with the picture. Pages are mostly shorter. */
#define ANSWER_BYTES ((size_t)64 << 10)

/* ---- Host ---- */

/* Whether `host` (with or without port) is one of the list's names. */
static bool host_listed(const char *list, const char *host, size_t n)
{
    for (const char *c = list; *c;) {
        c += strspn(c, ", ");
        size_t length = strcspn(c, ", ");
        if (length == 1 && *c == '*')
            return true;
        if (length > 1 && *c == '.' && n + 1 >= length &&
            (n + 1 == length ? strncasecmp(c + 1, host, n) == 0 : strncasecmp(c, host + n - length, length) == 0))
            return true;
        if (length == n && length && strncasecmp(c, host, n) == 0)
            return true;
        c += length;
    }
    return false;
}

/* "192.0.2.7", "[2001:db8::7]" */
static bool is_address(const char *host, size_t n)
{
    char text[64];
    uint8_t binary[16];
    bool six = n > 2 && *host == '[';
    snprintf(text, sizeof text, "%.*s", (int)(six ? n - 2 : n), host + six);
    return inet_pton(six ? AF_INET6 : AF_INET, text, binary) == 1;
}

static bool host_allowed(const server_call *call)
{
    const server_settings *settings = &call->app->settings;
    const char *host = http_request_header(call->request, "Host");
    if (!host || !*host)
        return false;
    size_t n = *host == '[' ? strcspn(host, "]") + 1 : strcspn(host, ":");
    if (n > strlen(host))
        return false;
    if (*settings->allowed_hosts)
        return host_listed(settings->allowed_hosts, host, n);
    /* an address is no name that a stranger could point here (DNS rebinding) */
    return host_listed("localhost", host, n) || host_listed(settings->host, host, n) || is_address(host, n);
}

/* ---- headers are complete (event thread) ---- */

static uint64_t body_limit(const server_call *call)
{
    uint64_t upload = call->app->settings.upload_bytes;
    switch (call->route->body) {
    case BODY_NONE:
    case BODY_FORM:
        return FORM_BYTES;
    case BODY_PICTURE:
        return upload / 3 * 4 + FORM_BYTES; /* base64, and the form around it */
    case BODY_TENSOR:
        return upload * 4 / 3 > TENSOR_BYTES ? upload * 4 / 3 + FORM_BYTES : TENSOR_BYTES;
    }
    return 0;
}

static int refuse(server_call *call, int status, const char *code)
{
    call->refusal_code = code;
    return call->refusal = status;
}

static int judge(server_call *call)
{
    if (call->app->draining)
        return refuse(call, 503, "busy");
    if (!(call->route && call->route->flags & ROUTE_ANY_HOST) && !host_allowed(call))
        return refuse(call, 400, "host");
    if (!call->route)
        return refuse(call, call->methods ? 405 : 404, call->methods ? "method" : "nothing");
    uint64_t length = http_request_content_length(call->request);
    if (length != UINT64_MAX && length > body_limit(call))
        return refuse(call, 413, call->route->body == BODY_PICTURE ? "too_large" : "body");
    if (call->route->lane != LANE_EVENT && lane_full(&call->app->lanes[call->route->lane]))
        return refuse(call, 503, "busy");
    return 0;
}

/* What will be said if the body does not come in time. Made once for each language and form, so nothing
 * of the request itself may be in it: of a POST the error's page says nothing. */
static void prepare_late(server_call *call)
{
    server_call late = {.app = call->app, .request = call->request, .route = call->route, .unknown = true};
    if (http_request_method(call->request) != HTTP_POST || http_request_content_length(call->request) == 0)
        return;
    auth_identify(&late);
    int vi = strcmp(late.language, "vi") == 0;
    int form = late.route && late.route->flags & ROUTE_V2 ? 2 : call_wants_json(&late);
    if (!call->app->late[vi][form].bytes) {
        answer_error(&late, 408, "late", "the request did not arrive in time");
        answer_common_headers(&late);
        call->app->late[vi][form].bytes = http_answer_bytes(&late.answer, &call->app->late[vi][form].size);
    }
    if (call->app->late[vi][form].bytes)
        http_request_set_late(call->request, call->app->late[vi][form].bytes, call->app->late[vi][form].size);
}

int app_accept(void *context, http_request *request)
{
    server *app = context;
    server_call *call = base_calloc(BASE_TAG_SERVER, 1, sizeof *call);
    if (!call)
        return 503;
    call->app = app;
    call->request = request;
    call->language = "en";
    http_request_set_data(request, call);
    auth_random(call->id, 16);
    call->route = route_find(http_request_method(request), http_request_path(request), call, &call->methods);
    prepare_late(call);
    return judge(call);
}

/* ---- the request is complete (event thread) ---- */

/* /result/ID for /result/ID/: the path with its slash, if that is a page. */
static bool add_slash(server_call *call)
{
    char path[512];
    unsigned methods;
    server_call probe = *call;
    if (http_request_method(call->request) != HTTP_GET ||
        snprintf(path, sizeof path, "%s/", http_request_path(call->request)) >= (int)sizeof path ||
        !call_local_path(path) || !route_find(HTTP_GET, path, &probe, &methods))
        return false;
    answer_redirect(call, path);
    call->answer.status = 308;
    return true;
}

static void answer_refusal(server_call *call, int status)
{
    static const char *const names[] = {"GET, HEAD", "POST", "PUT", "DELETE", "OPTIONS"};
    char allow[80] = "";
    auth_identify(call); /* no route or a refused one: the language at most */
    if (status == 404 && add_slash(call))
        return;
    const char *code = call->refusal_code ? call->refusal_code
                       : status == 413    ? "too_large"
                       : status == 414    ? "address_too_long"
                       : status == 503    ? "busy"
                                          : "bad_request";
    if (strcmp(code, "too_large") == 0 && call->route && call->route->body != BODY_PICTURE)
        code = "body";
    static const struct {
        const char *code, *detail;
    } details[] = {
        {"host", "this name is not among the allowed hosts (setting allowed-hosts)"},
        {"nothing", "there is no such address"},
        {"method", "this address does not take this method"},
        {"body", "the request's body is too long"},
        {"too_large", "the picture is larger than the upload limit"},
        {"busy", "too many requests wait: try again"},
        {"bad_request", "the request is malformed"},
        {"address_too_long", "the address is too long"},
    };
    const char *detail = NULL;
    for (size_t i = 0; i < sizeof details / sizeof *details; i++)
        if (strcmp(details[i].code, code) == 0)
            detail = details[i].detail;
    if (strcmp(code, "host") == 0) {
        const char *host = http_request_header(call->request, "Host");
        app_log(call->app, BASE_LOG_WARN, "called by a name that is not among the allowed hosts",
                json_pack("{s:s, s:s*}", "request", call->id, "host", host && strlen(host) < 256 ? host : NULL));
    }
    answer_error(call, status, code, detail);
    if (status == 405) {
        for (int m = 0; m < 5; m++)
            if (call->methods & 1u << m)
                snprintf(allow + strlen(allow), sizeof allow - strlen(allow), "%s%s", *allow ? ", " : "", names[m]);
        http_answer_header(&call->answer, "Allow", allow);
    }
}

void app_handle(void *context, http_request *request)
{
    server *app = context;
    server_call *call = http_request_data(request);
    if (!call) { /* refused before app_accept, or out of memory in it */
        int status = http_request_refused(request);
        call = base_calloc(BASE_TAG_SERVER, 1, sizeof *call);
        if (!call) {
            http_answer answer;
            http_answer_init(&answer, 503, "text/plain");
            http_reply(request, &answer);
            return;
        }
        call->app = app;
        call->request = request;
        call->unknown = true;
        http_request_set_data(request, call);
        auth_random(call->id, 16);
        answer_refusal(call, status ? status : 503);
        call_reply(call);
        return;
    }
    size_t size;
    int status = http_request_refused(request);
    if (!status) {
        http_request_body(request, &size);
        if (call->route && size > body_limit(call))
            status = 413;
    }
    if (status) {
        call->unknown = true; /* nobody is looked up in the event thread: the error's page is a guest's */
        answer_refusal(call, status);
        call_reply(call);
    } else if (call->route->lane == LANE_EVENT) {
        call_run(call);
    } else if (!lane_put(&app->lanes[call->route->lane], call)) {
        call->unknown = true;
        auth_identify(call);
        answer_error(call, 503, "busy", "the queue is full");
        call_reply(call);
    }
}

/* ---- in its lane ---- */

static bool permitted(server_call *call)
{
    const unsigned flags = call->route->flags;
    if (flags & ROUTE_OPERATOR && !(call->signed_in && call->user.is_operator)) {
        answer_error(call, 404, "nothing", NULL);
        return false;
    }
    if (flags & ROUTE_USER && !call->signed_in) {
        if (flags & ROUTE_API || call_wants_json(call)) {
            answer_error(call, 401, "login_needed", "this needs an API token: `Authorization: Bearer TOKEN`");
            http_answer_header(&call->answer, "WWW-Authenticate", "Bearer realm=\"dermis\"");
        } else if (http_request_method(call->request) == HTTP_GET) {
            char next[1200], location[1300];
            url_encode(http_request_path(call->request), next, sizeof next);
            snprintf(location, sizeof location, "/login/?next=%s", next);
            answer_redirect(call, location);
        } else {
            answer_error(call, 401, "login_needed", NULL);
        }
        return false;
    }
    if (flags & ROUTE_RATE) {
        const server_settings *settings = &call->app->settings;
        unsigned wait = 0;
        double now = base_now_ms();
        if (call->by_token)
            wait = limits_take(call->app->limits, &call->token, sizeof call->token, settings->rate_limit, now);
        else if (call->signed_in)
            wait = limits_take(call->app->limits, call->user.name, sizeof call->user.name, settings->rate_limit, now);
        else if (*call->guest)
            wait = limits_take(call->app->limits, call->guest, sizeof call->guest, settings->rate_limit, now);
        if (wait) {
            call->retry_s = wait;
            answer_error(call, 429, "too_many_tries", "too many photographs in a short time");
            return false;
        }
    }
    return !(flags & ROUTE_POSTED) || auth_check_csrf(call, call->route->lane == LANE_PASSWORD);
}

void call_run(server_call *call)
{
    if (auth_identify(call) && permitted(call))
        call->route->handler(call);
    if (!call->answered)
        answer_error(call, 500, "failed", NULL);
    call_reply(call);
}

/* Where it cannot be written, as on a full disk, it stays in memory. */
static void put_aside(const server_call *call, http_answer *answer)
{
    int fd = base_unnamed_file(call->app->data_dir);
    if (fd >= 0 && base_write_all(fd, answer->body, answer->size)) {
        base_free(answer->body);
        answer->body = NULL;
        answer->size = 0;
        answer->file = fd;
    } else if (fd >= 0) {
        close(fd);
    }
}

void call_reply(server_call *call)
{
    if (call->answer.body && call->answer.size > ANSWER_BYTES)
        put_aside(call, &call->answer);
    if (call->reserved) { /* only now: of it was the answer made */
        budget_give(&call->app->budget, call->reserved);
        call->reserved = 0;
    }
    http_answer_header(&call->answer, "X-Request-Id", call->id);
    answer_common_headers(call);
    if (call->guest_new)
        call_cookie(call, "dermis_guest", call->guest, 86400, true);
    http_form_release(&call->form);
    call->form_read = false;
    http_request_drop_body(call->request);
    http_reply(call->request, &call->answer); /* the call may be gone from here on */
}

/* ---- over (event thread) ---- */

void app_done(void *context, http_request *request)
{
    server *app = context;
    server_call *call = http_request_data(request);
    uint64_t bytes = 0;
    int status = http_request_status(request, &bytes);
    double ms = base_now_ms() - http_request_began_ms(request);
    unsigned row = call && call->route ? (unsigned)(call->route - server_routes) : METRICS_MAX_ROUTES;
    metrics_request(app->metrics, row, status);
    metrics_stage(app->metrics, STAGE_TOTAL, ms);
    bool quiet = call && call->route && call->route->flags & ROUTE_PUBLIC && status < 400;
    json_t *fields = json_pack("{s:s, s:s, s:s, s:i, s:f, s:I}", "request", call ? call->id : "", "method",
                               http_request_method_name(request), "route",
                               call && call->route ? call->route->pattern : "(none)", "status", status, "ms",
                               ms, "bytes", (json_int_t)bytes);
    if (fields && app->settings.log_addresses)
        json_object_set_new(fields, "address", json_string(call ? auth_address(call) : ""));
    app_log(app, quiet ? BASE_LOG_DEBUG : BASE_LOG_INFO, "request", fields);
    if (call && call->form_read)
        http_form_release(&call->form);
    base_free(call);
    http_request_set_data(request, NULL);
}
