/* app.c - the running service: what is started in which order, what the process may come to, the
 * janitor, signals, and the orderly end. */
#include <errno.h>
#include <malloc.h>
#include <signal.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "server/app.h"
#include "server/web.h"

#define TICK_MS          250
#define SAMPLE_MS        10000
#define SWEEP_MS         20000
#define PAGE_THREADS     2
#define PAGE_QUEUE       256
#define PASSWORD_QUEUE   32
#define EXPORT_QUEUE     8
#define PASSWORD_BYTES   ((size_t)13 << 20)  /* argon2id's 12 MiB and what is around them */
#define PHOTOS_UNBOUND   ((size_t)256 << 20) /* for photographs where no budget is set */
#define PHOTOS_LEAST     ((size_t)18 << 20)  /* one 12-megapixel photograph, turned and stored, beside the bodies */
#define PAGES_BYTES      ((size_t)3 << 20)   /* pages being made, their contexts, answers being sent */
#define CONNECTION_BYTES ((size_t)24 << 10) /* request line and headers */
#define AROUND_BYTES     ((size_t)16 << 10) /* its address (8 KiB at most), libmicrohttpd's own, its request and call */
#define TLS_BYTES        ((size_t)48 << 10) /* GnuTLS: 11 KiB of a quiet connection, a record each way, the handshake */
#define BODY_FILES_BYTES ((size_t)256 << 20) /* at least, of bodies past their memory: a queue full of photographs, no full disk */
#define DRAIN_MS         30000
#define OTHER_FILES      128 /* beside connections: database, model, photographs being written, logs */

/* ---- texts ---- */

static dermis_status load_texts(server *app, dermis_error *err)
{
    static const char *const paths[] = {"texts/en.json", "texts/vi.json"};
    crypto_generichash_state state;
    unsigned char digest[16];
    crypto_generichash_init(&state, NULL, 0, sizeof digest);
    for (unsigned i = 0; i < server_web_count; i++)
        crypto_generichash_update(&state, (const unsigned char *)server_web_files[i].hash,
                                  strlen(server_web_files[i].hash));
    crypto_generichash_final(&state, digest, sizeof digest);
    sodium_bin2hex(app->web_hash, sizeof app->web_hash, digest, 8);
    for (int i = 0; i < 2; i++) {
        const server_web_file *file = server_web_find(paths[i]);
        app->texts[i] = file ? json_loadb((const char *)file->data, file->size, 0, NULL) : NULL;
        if (!app->texts[i])
            return base_fail(err, DERMIS_E_INTERNAL, "%s is not in the program or not JSON", paths[i]);
    }
    return DERMIS_OK;
}

/* ---- the data folder ---- */

dermis_status server_data_path(const server_settings *settings, char *out, size_t size, dermis_error *err)
{
    const char *given = settings->data_dir, *xdg = getenv("XDG_DATA_HOME"), *home = getenv("HOME");
    int n;
    if (*given)
        n = snprintf(out, size, "%s", given);
    else if (xdg && *xdg == '/')
        n = snprintf(out, size, "%s/dermis", xdg);
    else if (home && *home == '/')
        n = snprintf(out, size, "%s/.local/share/dermis", home);
    else
        return base_fail(err, DERMIS_E_USAGE, "HOME is not set: name the folder for data with --data-dir");
    if (n >= (int)size)
        return base_fail(err, DERMIS_E_USAGE, "the data folder's path is too long");
    return DERMIS_OK;
}

dermis_status server_data_dir(const server_settings *settings, char *out, size_t size, dermis_error *err)
{
    dermis_status status = server_data_path(settings, out, size, err);
    if (status != DERMIS_OK)
        return status;
    for (char *slash = strchr(out + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = 0; /* the folders above it, as mkdir -p; the store makes the last one */
        int failed = mkdir(out, 0755) != 0 && errno != EEXIST ? errno : 0;
        if (failed)
            base_fail(err, DERMIS_E_IO, "%s: cannot make the folder: %s", out, strerror(failed));
        *slash = '/';
        if (failed)
            return err ? err->status : DERMIS_E_IO;
    }
    return DERMIS_OK;
}

FILE *app_unnamed_file(const server *app, dermis_error *err)
{
    int fd = base_unnamed_file(app->data_dir);
    FILE *f = fd >= 0 ? fdopen(fd, "w+") : NULL;
    if (!f) {
        base_fail(err, DERMIS_E_IO, "cannot make a temporary file in the data folder: %s", strerror(errno));
        if (fd >= 0)
            close(fd);
    }
    return f;
}

/* ---- memory: what the process may come to, added up before anything is served ---- */

typedef struct memory_plan {
    size_t program, model, sessions, connections, database, password, pages, photos, bodies;
} memory_plan;

static size_t fixed(const memory_plan *p)
{
    return p->program + p->model + p->sessions + p->connections + p->database + p->password + p->pages;
}

static size_t connections_memory(const server_settings *s)
{
    return s->connections * (CONNECTION_BYTES + AROUND_BYTES + (*s->tls_certificate ? TLS_BYTES : 0));
}

static dermis_status plan_memory(server *app, size_t limit, server_program_bytes *program, memory_plan *out,
                                 dermis_error *err)
{
    server_about *about = models_about(app->models);
    memory_plan p = {.program = program(),
                     .model = base_align_up(about->file_bytes, 4096),
                     .sessions = app->settings.workers * about->session_bytes,
                     .connections = connections_memory(&app->settings),
                     .database = store_memory_bytes(),
                     .password = PASSWORD_BYTES,
                     .pages = PAGES_BYTES};
    size_t asked = app->settings.workers, session = about->session_bytes;
    about_release(about);
    size_t budget = app->settings.memory_bytes ? app->settings.memory_bytes : limit;
    /* fewer workers, then fewer connections, before it is refused */
    while (budget && app->settings.workers > 1 && fixed(&p) + PHOTOS_LEAST > budget) {
        app->settings.workers--;
        p.sessions -= session;
    }
    while (budget && app->settings.connections > 64 && fixed(&p) + PHOTOS_LEAST > budget) {
        app->settings.connections /= 2;
        p.connections = connections_memory(&app->settings);
    }
    if (budget && fixed(&p) + PHOTOS_LEAST > budget)
        return base_fail(err, DERMIS_E_BUDGET,
                         "the memory budget is %.4g MiB (%.1f MB); it takes %.1f: program %.1f, model %.1f, one session %.1f, "
                         "connections %.1f, database %.1f, log-in %.1f, pages %.1f, photographs at least %.1f; "
                         "convert the model with --type f16, or allow more",
                         (double)budget / 1048576, (double)budget / 1e6, (double)(fixed(&p) + PHOTOS_LEAST) / 1e6, (double)p.program / 1e6,
                         (double)p.model / 1e6, (double)p.sessions / 1e6, (double)p.connections / 1e6,
                         (double)p.database / 1e6, (double)p.password / 1e6, (double)p.pages / 1e6,
                         (double)PHOTOS_LEAST / 1e6);
    if (app->settings.workers < asked)
        app_log(app, BASE_LOG_WARN, "fewer workers than asked for fit the memory budget",
                json_pack("{s:i, s:i}", "workers", (int)app->settings.workers, "asked", (int)asked));
    size_t left = budget ? budget - fixed(&p) : PHOTOS_UNBOUND;
    left = left < PHOTOS_UNBOUND ? left : PHOTOS_UNBOUND;
    p.bodies = left / 5;
    p.photos = left - p.bodies;
    app->fixed_bytes = fixed(&p);
    app->bound_bytes = fixed(&p) + left;
    *out = p;
    return DERMIS_OK;
}

static void print_plan(const server *app, const memory_plan *p, const char *host)
{
    bool six = strchr(host, ':') != NULL;
    printf("dermis %s is at %s://%s%s%s:%u/\n", dermis_version(), *app->settings.tls_certificate ? "https" : "http",
           six ? "[" : "", host, six ? "]" : "", http_server_port(app->http));
    printf("memory: at most %.1f MB (program %.1f, model %.1f, %u workers %.1f, %u connections %.1f, database %.1f, "
           "log-in %.1f, pages %.1f, photographs %.1f, uploads %.1f)\n",
           (double)app->bound_bytes / 1e6, (double)p->program / 1e6, (double)p->model / 1e6, app->settings.workers,
           (double)p->sessions / 1e6, app->settings.connections, (double)p->connections / 1e6,
           (double)p->database / 1e6, (double)p->password / 1e6, (double)p->pages / 1e6, (double)p->photos / 1e6,
           (double)p->bodies / 1e6);
    fflush(stdout);
}

/* Each connection may have its socket and one file, a body's or an answer's: the process's limit is raised
 * to that, or connections are fewer. */
static void fit_descriptors(server *app)
{
    struct rlimit limit;
    rlim_t wanted = 2 * (rlim_t)app->settings.connections + OTHER_FILES;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= wanted)
        return;
    limit.rlim_cur = limit.rlim_max >= wanted ? wanted : limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur >= wanted)
        return;
    unsigned fit = limit.rlim_cur > OTHER_FILES + 8 ? (unsigned)(limit.rlim_cur - OTHER_FILES) / 2 : 4;
    app_log(app, BASE_LOG_WARN, "the limit on open files allows fewer connections than were asked for",
            json_pack("{s:i, s:i}", "connections", (int)fit, "asked", (int)app->settings.connections));
    app->settings.connections = fit;
}

/* ---- the janitor: what has to be done from time to time ---- */

static void tick(server *app, double now, double *sampled, double *swept)
{
    for (int i = 1; i < LANE_COUNT; i++)
        lane_sweep(&app->lanes[i]);
    if (app->settings.idle_unload_s && models_unload_idle(app->models, app->settings.idle_unload_s * 1e3))
        app_log(app, BASE_LOG_INFO, "the model was let go", NULL);
    if (now - *sampled >= SAMPLE_MS) {
        *sampled = now;
        metrics_sample(app->metrics, now);
    }
    if (now - *swept >= SWEEP_MS) {
        unsigned removed = 0;
        dermis_error err;
        *swept = now;
        if (store_sweep(app->store, app_now(), &removed, &err) != DERMIS_OK)
            app_log(app, BASE_LOG_WARN, "expired results could not be removed", json_pack("{s:s}", "text", err.text));
        else if (removed)
            app_log(app, BASE_LOG_INFO, "expired results removed", json_pack("{s:i}", "count", (int)removed));
        malloc_trim(0);
    }
}

static void *janitor(void *argument)
{
    server *app = argument;
    double sampled = -SAMPLE_MS, swept = base_now_ms();
    pthread_mutex_lock(&app->janitor_mutex);
    while (!app->janitor_stop) {
        pthread_mutex_unlock(&app->janitor_mutex);
        tick(app, base_now_ms(), &sampled, &swept);
        pthread_mutex_lock(&app->janitor_mutex);
        if (!app->janitor_stop)
            base_cond_wait_until(&app->janitor_wake, &app->janitor_mutex, base_now_ms() + TICK_MS);
    }
    pthread_mutex_unlock(&app->janitor_mutex);
    return NULL;
}

/* ---- start and end ---- */

static dermis_status read_pem(const char *path, char **out, dermis_error *err)
{
    uint8_t *data;
    size_t size;
    dermis_status status = base_file_read(path, 1 << 20, BASE_TAG_SERVER, &data, &size, err);
    if (status != DERMIS_OK)
        return status;
    char *text = base_alloc(BASE_TAG_SERVER, size + 1);
    if (text) {
        memcpy(text, data, size);
        text[size] = 0;
        *out = text;
    }
    base_free(data);
    return text ? DERMIS_OK : base_fail(err, DERMIS_E_MEMORY, "not enough memory");
}

static dermis_status start_http(server *app, const memory_plan *plan, dermis_error *err)
{
    const server_settings *s = &app->settings;
    char *certificate = NULL, *key = NULL;
    http_options options;
    http_options_default(&options);
    options.host = s->host;
    options.port = (uint16_t)s->port;
    options.connections = s->connections;
    options.connection_bytes = CONNECTION_BYTES;
    options.request_s = s->request_limit_s;
    options.body_bytes = s->upload_bytes * 4 / 3 + 65536 > ((size_t)16 << 20) ? s->upload_bytes * 4 / 3 + 65536
                                                                            : (size_t)16 << 20;
    options.bodies_bytes = plan->bodies;
    options.files_bytes = 16 * plan->bodies > BODY_FILES_BYTES ? 16 * plan->bodies : BODY_FILES_BYTES;
    options.spill_folder = app->data_dir;
    options.context = app;
    options.accept = app_accept;
    options.handle = app_handle;
    options.done = app_done;
    dermis_status status = DERMIS_OK;
    if (*s->tls_certificate) {
        status = read_pem(s->tls_certificate, &certificate, err);
        if (!status)
            status = read_pem(s->tls_key, &key, err);
        if (!status && strstr(key, "ENCRYPTED"))
            status = base_fail(err, DERMIS_E_USAGE, "%s: the key is encrypted; give one that is not, with mode 0600 (`openssl pkey -in "
                               "ENCRYPTED.pem -out KEY.pem`)", s->tls_key);
        options.tls_certificate = certificate;
        options.tls_key = key;
    }
    if (!status)
        status = http_server_start(&options, &app->http, err);
    if (status == DERMIS_E_IO && err) {
        dermis_error why = *err;
        base_fail(err, status, "%.300s; --port (DERMIS_PORT) and --host (DERMIS_HOST) name another", why.text);
    }
    base_free(certificate);
    if (key)
        explicit_bzero(key, strlen(key));
    base_free(key);
    return status;
}

static dermis_status start(server *app, const char *model_path, size_t limit, server_program_bytes *program,
                           memory_plan *plan, dermis_error *err)
{
    server_settings *s = &app->settings;
    dermis_status status;
    if (s->workers == 0)
        s->workers = base_cpu_count() < 64 ? base_cpu_count() : 64;
    server_models_options models = {.path = model_path,
                                    .cpu = s->cpu,
                                    .sessions = s->workers,
                                    .threads = s->threads,
                                    .explain = s->gradcam,
                                    .drain_ms = s->request_limit_s * 1000};
    size_t budget = s->memory_bytes ? s->memory_bytes : limit;
    fit_descriptors(app);
    if ((status = load_texts(app, err)) || (status = server_data_dir(s, app->data_dir, sizeof app->data_dir, err)) ||
        (status = store_open(app->data_dir, true, app_now(), &app->store, err)) ||
        (status = models_open(&models, &app->models, err)) ||
        (status = plan_memory(app, limit, program, plan, err)))
        return status;
    models_limit(app->models, s->workers, budget ? plan->model + plan->sessions + (budget - app->bound_bytes) : 0);
    if (*s->secret_key)
        auth_hash(s->secret_key, app->secret);
    else if ((status = store_secret(app->store, app->secret, err)))
        return status;
    app->metrics = metrics_new();
    app->limits = limits_new();
    if (!app->metrics || !app->limits)
        return base_fail(err, DERMIS_E_MEMORY, "not enough memory");
    budget_init(&app->budget, plan->photos);
    unsigned queue = s->queue ? s->queue : 8 * s->workers;
    if ((status = lane_start(&app->lanes[LANE_PAGE], app, LANE_PAGE, PAGE_THREADS, PAGE_QUEUE, err)) ||
        (status = lane_start(&app->lanes[LANE_PASSWORD], app, LANE_PASSWORD, 1, PASSWORD_QUEUE, err)) ||
        (status = lane_start(&app->lanes[LANE_EXPORT], app, LANE_EXPORT, 1, EXPORT_QUEUE, err)) ||
        (status = lane_start(&app->lanes[LANE_PICTURE], app, LANE_PICTURE, s->workers, queue, err)))
        return status;
    if (s->preload) {
        server_lease lease;
        if ((status = models_acquire(app->models, &lease, err)))
            return status;
        models_release(app->models, &lease, false);
    }
    if ((status = start_http(app, plan, err)))
        return status;
    pthread_mutex_init(&app->janitor_mutex, NULL);
    base_cond_init(&app->janitor_wake);
    if (pthread_create(&app->janitor, NULL, janitor, app) != 0)
        return base_fail(err, DERMIS_E_MEMORY, "cannot start the janitor's thread");
    pthread_setname_np(app->janitor, "janitor");
    app->janitor_runs = true;
    return DERMIS_OK;
}

static void stop(server *app)
{
    atomic_store(&app->draining, true);
    if (app->http && !http_server_drain(app->http, DRAIN_MS))
        app_log(app, BASE_LOG_WARN, "requests that did not end in time are cut", NULL);
    if (app->janitor_runs) {
        pthread_mutex_lock(&app->janitor_mutex);
        app->janitor_stop = true;
        pthread_mutex_unlock(&app->janitor_mutex);
        pthread_cond_signal(&app->janitor_wake);
        pthread_join(app->janitor, NULL);
    }
    for (int i = 1; i < LANE_COUNT; i++)
        lane_stop(&app->lanes[i]);
    http_server_stop(app->http);
    models_close(app->models);
    store_close(app->store);
    metrics_free(app->metrics);
    limits_free(app->limits);
    for (int i = 0; i < 2; i++) {
        json_decref(app->texts[i]);
        for (int form = 0; form < 3; form++)
            base_free(app->late[i][form].bytes);
    }
    sodium_memzero(app->secret, sizeof app->secret);
}

/* SIGHUP takes the model anew, SIGTERM and SIGINT end. */
static void wait_for_signals(server *app, const sigset_t *signals)
{
    for (;;) {
        int received = 0;
        dermis_error err;
        if (sigwait(signals, &received) != 0 || received != SIGHUP) {
            app_log(app, BASE_LOG_INFO, "ending", NULL);
            return;
        }
        if (models_swap(app->models, &err) == DERMIS_OK)
            app_log(app, BASE_LOG_INFO, "the model was taken anew", NULL);
        else
            app_log(app, BASE_LOG_ERROR, "the model was not taken; the old one stays",
                    json_pack("{s:s}", "text", err.text));
    }
}

dermis_status server_run(const server_settings *settings, const char *model_path, size_t memory_limit,
                         server_program_bytes *program_bytes, dermis_error *err)
{
    sigset_t signals;
    memory_plan plan = {0};
    if (sodium_init() < 0)
        return base_fail(err, DERMIS_E_INTERNAL, "no random numbers: libsodium cannot start");
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* a file past the limit is an error of that write, not the end */
    mallopt(M_ARENA_MAX, 2); /* one arena a thread would keep what each has freed */
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGHUP);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
    server *app = base_calloc(BASE_TAG_SERVER, 1, sizeof *app);
    if (!app)
        return base_fail(err, DERMIS_E_MEMORY, "not enough memory");
    app->settings = *settings;
    app->started_ms = base_now_ms();
    dermis_status status = start(app, model_path, memory_limit, program_bytes, &plan, err);
    if (status == DERMIS_OK) {
        print_plan(app, &plan, settings->host);
        wait_for_signals(app, &signals);
    }
    stop(app);
    base_free(app);
    return status;
}
