/* metrics.c - counters, histograms and the curve of resident memory: fixed size, lock-free where a
 * request touches them. Written as Prometheus text and as the operator's status page wants it. */
#include <string.h>

#include "server/app.h"

static const int statuses[] = {0,   200, 201, 204, 302, 303, 304, 308, 400, 401, 403, 404,
                               405, 408, 409, 413, 415, 429, 431, 499, 500, 501, 503, 1};
#define STATUS_COUNT (sizeof statuses / sizeof *statuses) /* the last one: any other */

static const double bounds_ms[] = {1,   2.5, 5,    10,   25,   50,    100,   250,
                                   500, 1000, 2500, 5000, 10000, 30000, 120000};
#define BOUND_COUNT (sizeof bounds_ms / sizeof *bounds_ms)

static const char *const stage_names[STAGE_COUNT] = {"wait",    "load",  "decode", "run",
                                                     "explain", "store", "draw",   "total"};

typedef struct histogram {
    atomic_uint_fast64_t buckets[BOUND_COUNT + 1];
    atomic_uint_fast64_t sum_us;
} histogram;

struct server_metrics {
    atomic_uint_fast64_t requests[METRICS_MAX_ROUTES + 1][STATUS_COUNT]; /* the last row: no route */
    histogram stages[STAGE_COUNT];
    pthread_mutex_t mutex; /* of the samples */
    double sample_ms[METRICS_SAMPLES];
    size_t sample_bytes[METRICS_SAMPLES];
    unsigned sample_count, sample_next;
};

server_metrics *metrics_new(void)
{
    server_metrics *m = base_calloc(BASE_TAG_SERVER, 1, sizeof *m);
    if (m)
        pthread_mutex_init(&m->mutex, NULL);
    return m;
}

void metrics_free(server_metrics *m)
{
    if (!m)
        return;
    pthread_mutex_destroy(&m->mutex);
    base_free(m);
}

void metrics_request(server_metrics *m, unsigned route, int status)
{
    size_t column = 0;
    while (column < STATUS_COUNT - 1 && statuses[column] != status)
        column++;
    unsigned row = route < METRICS_MAX_ROUTES ? route : METRICS_MAX_ROUTES;
    atomic_fetch_add_explicit(&m->requests[row][column], 1, memory_order_relaxed);
}

void metrics_stage(server_metrics *m, server_stage stage, double ms)
{
    size_t i = 0;
    while (i < BOUND_COUNT && ms > bounds_ms[i])
        i++;
    atomic_fetch_add_explicit(&m->stages[stage].buckets[i], 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&m->stages[stage].sum_us, (uint_fast64_t)(ms > 0 ? ms * 1e3 : 0),
                              memory_order_relaxed);
}

void metrics_sample(server_metrics *m, double now_ms)
{
    size_t bytes = base_rss_bytes();
    pthread_mutex_lock(&m->mutex);
    m->sample_ms[m->sample_next] = now_ms;
    m->sample_bytes[m->sample_next] = bytes;
    m->sample_next = (m->sample_next + 1) % METRICS_SAMPLES;
    if (m->sample_count < METRICS_SAMPLES)
        m->sample_count++;
    pthread_mutex_unlock(&m->mutex);
}

/* ---- Prometheus ---- */

static const char *route_name(unsigned row)
{
    return row < server_route_count ? server_routes[row].pattern : "(none)";
}

static const char *route_method(unsigned row)
{
    static const char *const names[] = {"GET", "POST", "PUT", "DELETE", "OPTIONS", "OTHER"};
    return row < server_route_count ? names[server_routes[row].method] : "";
}

static void write_requests(server_metrics *m, server_text *out)
{
    server_text_addf(out, "# HELP dermis_requests_total Requests by route and status (0: none sent).\n"
                          "# TYPE dermis_requests_total counter\n");
    for (unsigned row = 0; row <= METRICS_MAX_ROUTES; row++)
        for (size_t column = 0; column < STATUS_COUNT; column++) {
            uint64_t n = atomic_load_explicit(&m->requests[row][column], memory_order_relaxed);
            if (n == 0)
                continue;
            char status[16] = "other";
            if (column < STATUS_COUNT - 1)
                snprintf(status, sizeof status, "%d", statuses[column]);
            server_text_addf(out, "dermis_requests_total{method=\"%s\",route=\"%s\",status=\"%s\"} %llu\n",
                             route_method(row), route_name(row), status, (unsigned long long)n);
        }
}

static void write_stages(server_metrics *m, server_text *out)
{
    server_text_addf(out, "# HELP dermis_stage_seconds Time of a request's stages.\n"
                          "# TYPE dermis_stage_seconds histogram\n");
    for (int s = 0; s < STAGE_COUNT; s++) {
        uint64_t sum = 0;
        for (size_t i = 0; i <= BOUND_COUNT; i++) {
            sum += atomic_load_explicit(&m->stages[s].buckets[i], memory_order_relaxed);
            char bound[24] = "+Inf";
            if (i < BOUND_COUNT)
                snprintf(bound, sizeof bound, "%g", bounds_ms[i] / 1e3);
            server_text_addf(out, "dermis_stage_seconds_bucket{stage=\"%s\",le=\"%s\"} %llu\n",
                             stage_names[s], bound, (unsigned long long)sum);
        }
        server_text_addf(out, "dermis_stage_seconds_sum{stage=\"%s\"} %.6f\n", stage_names[s],
                         (double)atomic_load(&m->stages[s].sum_us) / 1e6);
        server_text_addf(out, "dermis_stage_seconds_count{stage=\"%s\"} %llu\n", stage_names[s],
                         (unsigned long long)sum);
    }
}

static void one(server_text *out, const char *name, const char *type, const char *help, double value)
{
    server_text_addf(out, "# HELP %s %s\n# TYPE %s %s\n%s %.17g\n", name, help, name, type, name, value);
}

void metrics_write_prometheus(server *app, server_text *out)
{
    server_models_state model;
    http_counts http;
    models_state(app->models, &model);
    http_server_counts(app->http, &http);
    server_lane *lane = &app->lanes[LANE_PICTURE];
    pthread_mutex_lock(&lane->mutex);
    unsigned waiting = lane->waiting, running = lane->running;
    pthread_mutex_unlock(&lane->mutex);
    pthread_mutex_lock(&app->budget.mutex);
    size_t used = app->budget.used;
    pthread_mutex_unlock(&app->budget.mutex);
    write_requests(app->metrics, out);
    write_stages(app->metrics, out);
    one(out, "dermis_queue_depth", "gauge", "Photographs that wait.", waiting);
    one(out, "dermis_queue_limit", "gauge", "Photographs that may wait.", lane->limit);
    one(out, "dermis_workers_busy", "gauge", "Photographs being looked at.", running);
    one(out, "dermis_connections", "gauge", "Open connections.", http.connections);
    one(out, "dermis_connections_cut_total", "counter", "Connections cut by a deadline.", (double)http.cut);
    one(out, "dermis_body_memory_bytes", "gauge", "Bodies of requests in memory.", (double)http.body_memory_bytes);
    one(out, "dermis_body_file_bytes", "gauge", "Bodies of requests in unnamed files.", (double)http.body_file_bytes);
    one(out, "dermis_photo_memory_bytes", "gauge", "Memory reserved for decoding.", (double)used);
    one(out, "dermis_arena_bytes", "gauge", "Arenas of the sessions.", (double)model.arena_bytes);
    one(out, "dermis_memory_bound_bytes", "gauge", "What the process may come to at most.", (double)app->bound_bytes);
    one(out, "dermis_model_loaded", "gauge", "1 while the model is mapped.", model.loaded);
    one(out, "dermis_model_loads_total", "counter", "Times the model was mapped.", (double)model.loads);
    one(out, "dermis_model_load_failures_total", "counter", "Times that failed.", (double)model.failures);
    one(out, "process_resident_memory_bytes", "gauge", "Resident memory.", (double)base_rss_bytes());
    one(out, "dermis_peak_resident_memory_bytes", "gauge", "Its peak.", (double)base_rss_peak_bytes());
    one(out, "dermis_uptime_seconds", "gauge", "Since the start.", (base_now_ms() - app->started_ms) / 1e3);
}

/* ---- the status page ---- */

static double quantile(const uint64_t counts[BOUND_COUNT + 1], uint64_t total, double q)
{
    uint64_t sum = 0;
    for (size_t i = 0; i <= BOUND_COUNT; i++) {
        if (counts[i] && (double)(sum + counts[i]) >= q * (double)total) { /* evenly within the bucket */
            double low = i ? bounds_ms[i - 1] : 0, high = bounds_ms[i < BOUND_COUNT ? i : BOUND_COUNT - 1];
            return low + (high - low) * (q * (double)total - (double)sum) / (double)counts[i];
        }
        sum += counts[i];
    }
    return 0;
}

static json_t *latency(server_metrics *m)
{
    json_t *list = json_array();
    for (int s = 0; s < STAGE_COUNT; s++) {
        uint64_t counts[BOUND_COUNT + 1], total = 0;
        json_t *buckets = json_array();
        for (size_t i = 0; i <= BOUND_COUNT; i++) {
            counts[i] = atomic_load_explicit(&m->stages[s].buckets[i], memory_order_relaxed);
            total += counts[i];
            json_array_append_new(buckets, json_pack("[f, I]", i < BOUND_COUNT ? bounds_ms[i] : 1e9,
                                                     (json_int_t)counts[i]));
        }
        json_array_append_new(list, json_pack("{s:s, s:o, s:I, s:f, s:f, s:f}", "stage", stage_names[s],
                                              "buckets", buckets, "count", (json_int_t)total, "p50_ms",
                                              quantile(counts, total, .5), "p95_ms",
                                              quantile(counts, total, .95), "p99_ms",
                                              quantile(counts, total, .99)));
    }
    return list;
}

static json_t *requests(server_metrics *m)
{
    json_t *list = json_array();
    for (unsigned row = 0; row <= METRICS_MAX_ROUTES; row++)
        for (size_t column = 0; column < STATUS_COUNT; column++) {
            uint64_t n = atomic_load_explicit(&m->requests[row][column], memory_order_relaxed);
            char name[160];
            snprintf(name, sizeof name, "%s %s", route_method(row), route_name(row));
            if (n)
                json_array_append_new(list, json_pack("{s:s, s:i, s:I}", "route", name, "status",
                                                      statuses[column], "count", (json_int_t)n));
        }
    return list;
}

json_t *metrics_status(server *app)
{
    server_metrics *m = app->metrics;
    server_models_state model;
    models_state(app->models, &model);
    server_about *about = models_about(app->models);
    server_lane *lane = &app->lanes[LANE_PICTURE];
    pthread_mutex_lock(&lane->mutex);
    json_t *queue = json_pack("{s:i, s:i, s:i}", "waiting", (int)lane->waiting, "limit", (int)lane->limit,
                              "running", (int)lane->running);
    pthread_mutex_unlock(&lane->mutex);
    double now = base_now_ms();
    json_t *memory = json_array();
    pthread_mutex_lock(&m->mutex);
    for (unsigned i = 0; i < m->sample_count; i++) {
        unsigned at = (m->sample_next + METRICS_SAMPLES - m->sample_count + i) % METRICS_SAMPLES;
        json_array_append_new(memory, json_pack("[i, I]", (int)((now - m->sample_ms[at]) / 1e3),
                                                (json_int_t)m->sample_bytes[at]));
    }
    pthread_mutex_unlock(&m->mutex);
    json_t *out = json_pack(
        "{s:I, s:I, s:I, s:o, s:o, s:o, s:o, s:{s:s, s:s, s:I, s:s}, s:I, s:s}", "rss_bytes",
        (json_int_t)base_rss_bytes(), "peak_bytes", (json_int_t)base_rss_peak_bytes(), "bound_bytes",
        (json_int_t)app->bound_bytes, "memory", memory, "requests", requests(m), "latency", latency(m),
        "queue", queue, "model", "name", about->name, "state", model.loaded ? "loaded" : "idle", "loads",
        (json_int_t)model.loads, "sha256", about->sha256, "uptime_s",
        (json_int_t)((now - app->started_ms) / 1e3), "version", dermis_version());
    about_release(about);
    return out;
}
