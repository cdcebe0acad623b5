/* operator.c - health, memory, metrics and the operator's status page. */
#include <string.h>
#include <unistd.h>

#include "server/app.h"

static void plain(server_call *call, int status, const char *text)
{
    http_answer_init(&call->answer, status, "text/plain; charset=utf-8");
    call->answer.fixed = text;
    call->answer.size = strlen(text);
    http_answer_header(&call->answer, "Cache-Control", "no-store");
    call->answered = true;
}

void health_old(server_call *call)
{
    plain(call, 200, "ok");
}

void health_live(server_call *call)
{
    plain(call, 200, "ok\n");
}

/* Ready: the model was valid when it was last opened and can be opened now, and nothing drains. */
static bool ready(const server *app)
{
    return !app->draining && models_ready(app->models);
}

void health_ready(server_call *call)
{
    if (ready(call->app))
        plain(call, 200, "ready\n");
    else
        plain(call, 503, call->app->draining ? "draining\n" : "the model file cannot be used\n");
}

void v2_live(server_call *call)
{
    answer_json(call, 200, json_pack("{s:b}", "live", 1));
}

void v2_ready(server_call *call)
{
    answer_json(call, ready(call->app) ? 200 : 503, json_pack("{s:b}", "ready", ready(call->app)));
}

/* Size of the address space, bytes. */
static double virtual_bytes(void)
{
    FILE *f = fopen("/proc/self/statm", "r");
    unsigned long pages = 0;
    if (f && fscanf(f, "%lu", &pages) != 1)
        pages = 0;
    if (f)
        fclose(f);
    return (double)pages * (double)sysconf(_SC_PAGESIZE);
}

void memory_old(server_call *call)
{
    server_models_state model;
    models_state(call->app->models, &model);
    double rss = (double)base_rss_bytes();
    double physical = (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE);
    json_t *memory = json_pack("{s:f, s:f, s:f}", "rss_mb", (double)(long)(rss / 1048576 * 100 + .5) / 100, "vms_mb",
                               (double)(long)(virtual_bytes() / 1048576 * 100 + .5) / 100, "percent",
                               (double)(long)(rss / physical * 1e4 + .5) / 100);
    answer_json(call, 200, json_pack("{s:s, s:o, s:b, s:b}", "status", "ok", "memory", memory, "model_loaded",
                                     model.loaded, "gradcam_enabled", call->app->settings.gradcam));
}

/* From this machine, not through a proxy on it that nobody named as trusted. */
static bool local(const server_call *call)
{
    const char *address = auth_address(call);
    if (strcmp(address, http_request_address(call->request)) == 0 && http_request_header(call->request, "X-Forwarded-For"))
        return false;
    return strncmp(address, "127.", 4) == 0 || strcmp(address, "::1") == 0;
}

void metrics_text(server_call *call)
{
    unsigned who = call->app->settings.metrics;
    bool allowed = who == SERVER_METRICS_ALL || (who == SERVER_METRICS_LOCAL && local(call)) ||
                   (who != SERVER_METRICS_NONE && call->signed_in && call->user.is_operator);
    if (!allowed) {
        answer_error(call, who == SERVER_METRICS_NONE ? 404 : 403, who == SERVER_METRICS_NONE ? "nothing" : "denied",
                     "metrics may not be read from here (setting metrics)");
        return;
    }
    server_text text = {0};
    metrics_write_prometheus(call->app, &text);
    answer_text(call, 200, "text/plain; version=0.0.4; charset=utf-8", &text);
    http_answer_header(&call->answer, "Cache-Control", "no-store");
}

void status_data(server_call *call)
{
    answer_json(call, 200, metrics_status(call->app));
}

static void add_number(server_call *call, json_t *list, const char *key, double value, int decimals, const char *unit)
{
    char path[64], number[64], text[96];
    snprintf(path, sizeof path, "status.%s", key);
    call_number(call, value, decimals, number, sizeof number);
    snprintf(text, sizeof text, "%s%s%s", number, *unit ? " " : "", unit);
    const char *name = call_text(call, path);
    json_array_append_new(list, json_pack("{s:s, s:s}", "name", *name ? name : key, "value", text));
}

void status_page(server_call *call)
{
    server_models_state model;
    models_state(call->app->models, &model);
    server_lane *lane = &call->app->lanes[LANE_PICTURE];
    json_t *context = page_context(call, "status"), *numbers = json_array();
    add_number(call, numbers, "rss", (double)base_rss_bytes() / 1e6, 1, "MB");
    add_number(call, numbers, "peak", (double)base_rss_peak_bytes() / 1e6, 1, "MB");
    add_number(call, numbers, "bound", (double)call->app->bound_bytes / 1e6, 1, "MB");
    pthread_mutex_lock(&lane->mutex);
    unsigned waiting = lane->waiting, running = lane->running;
    pthread_mutex_unlock(&lane->mutex);
    add_number(call, numbers, "waiting", waiting, 0, "");
    add_number(call, numbers, "running", running, 0, "");
    add_number(call, numbers, "loads", (double)model.loads, 0, "");
    json_object_set_new(context, "numbers", numbers);
    answer_page(call, 200, "status", context);
}
