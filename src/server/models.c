/* models.c - the model, mapped when it is needed and let go when it is not; sessions are kept for the
 * workers and opened when asked for. A generation is one opening of the file: a swap makes a new one,
 * the old one ends with its last lease. Any thread. */
#include <malloc.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "server/app.h"

#define MAX_SESSIONS 64

struct server_generation {
    dermis_model *model;
    server_about *about;
    dermis_session *idle[MAX_SESSIONS];
    unsigned idle_count, leases;
    size_t arena_bytes; /* of one session, once one is open */
    unsigned sessions;  /* open: idle and leased */
    bool retired;
};

/* What tells a file from one that was put in its place. */
typedef struct identity {
    dev_t device;
    ino_t ino;
    off_t size;
    struct timespec changed;
} identity;

struct server_models {
    server_models_options options;
    char path[4096];
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    server_generation *current; /* NULL: not loaded */
    unsigned retired;           /* generations that still have leases */
    bool loading;               /* someone opens the file, or waits for an old one to end */
    server_about *about;        /* of the last one opened */
    size_t limit_bytes;         /* of two models at once: past it the old one goes first; 0: none */
    uint64_t loads, failures;
    double used_ms;
    identity seen;              /* of the file that was valid at the last opening */
};

/* ---- what is said of a model ---- */

void about_release(server_about *a)
{
    if (!a || atomic_fetch_sub(&a->references, 1) != 1)
        return;
    for (uint32_t i = 0; a->classes && i < a->class_count; i++)
        base_free(a->classes[i]);
    base_free(a->classes);
    dermis_card_free(a->card);
    char *texts[] = {a->name, a->sha256, a->license, a->cam_layer, a->weight_type, a->preprocess};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        base_free(texts[i]);
    base_free(a);
}

static char *copy(const char *text)
{
    return base_strdup(BASE_TAG_SERVER, text ? text : "");
}

static server_about *about_new(const dermis_model *model)
{
    dermis_model_info info;
    dermis_model_get_info(model, &info);
    server_about *a = base_calloc(BASE_TAG_SERVER, 1, sizeof *a);
    if (!a)
        return NULL;
    atomic_init(&a->references, 1);
    a->name = copy(info.name && *info.name ? info.name : "model");
    a->sha256 = copy(info.source_sha256);
    a->license = copy(info.license);
    a->cam_layer = copy(info.cam_layer);
    a->weight_type = copy(info.weight_type);
    a->preprocess = copy(info.preprocess);
    a->height = info.input_height;
    a->width = info.input_width;
    a->channels = info.input_channels;
    a->class_count = info.class_count;
    a->file_bytes = info.file_bytes;
    a->weight_bytes = info.weight_bytes;
    a->parameters = info.parameters;
    a->macs = info.macs;
    a->explains = info.cam_layer != NULL;
    a->card = dermis_card_read(info.class_card);
    a->classes = base_calloc(BASE_TAG_SERVER, a->class_count, sizeof *a->classes);
    bool fine = a->name && a->sha256 && a->license && a->cam_layer && a->weight_type && a->preprocess &&
                a->classes;
    for (uint32_t i = 0; fine && i < a->class_count; i++)
        fine = (a->classes[i] = copy(dermis_model_class(model, i))) != NULL;
    if (fine)
        return a;
    about_release(a);
    return NULL;
}

/* ---- generations ---- */

static void generation_free(server_generation *g)
{
    if (!g)
        return;
    while (g->idle_count)
        dermis_session_close(g->idle[--g->idle_count]);
    dermis_model_close(g->model);
    about_release(g->about);
    base_free(g);
    malloc_trim(0);
}

static bool identify(const char *path, identity *out)
{
    struct stat st;
    if (stat(path, &st) != 0)
        return false;
    *out = (identity){st.st_dev, st.st_ino, st.st_size, st.st_mtim};
    return true;
}

static bool same(const identity *a, const identity *b)
{
    return a->device == b->device && a->ino == b->ino && a->size == b->size &&
           a->changed.tv_sec == b->changed.tv_sec && a->changed.tv_nsec == b->changed.tv_nsec;
}

static dermis_status generation_open(const server_models *m, server_generation **out, dermis_error *err)
{
    server_generation *g = base_calloc(BASE_TAG_SERVER, 1, sizeof *g);
    if (!g)
        return base_fail(err, DERMIS_E_MEMORY, "not enough memory");
    dermis_status status = dermis_model_open(m->path, &g->model, err);
    if (status == DERMIS_OK && !(g->about = about_new(g->model)))
        status = base_fail(err, DERMIS_E_MEMORY, "not enough memory");
    if (status != DERMIS_OK) {
        generation_free(g);
        return status;
    }
    *out = g;
    return DERMIS_OK;
}

static dermis_status session_open(const server_models *m, const server_generation *g, dermis_session **out,
                                  dermis_error *err)
{
    dermis_options options;
    dermis_options_default(&options);
    options.threads = m->options.threads;
    options.cpu = m->options.cpu && *m->options.cpu ? m->options.cpu : NULL;
    options.explain = m->options.explain && g->about->explains;
    return dermis_session_open(g->model, &options, out, err);
}

/* What stands of the parts that a session is made of; photographs and answers come and go meanwhile. */
static size_t live_bytes(void)
{
    base_memory now;
    base_memory_read(&now);
    return now.live_bytes[BASE_TAG_BASE] + now.live_bytes[BASE_TAG_MODEL] + now.live_bytes[BASE_TAG_NN] +
           now.live_bytes[BASE_TAG_ENGINE];
}

/* Opens one session to see that the model runs here and what a session takes; keeps it. */
static dermis_status measure(const server_models *m, server_generation *g, dermis_error *err)
{
    size_t before = live_bytes();
    dermis_session *session;
    dermis_status status = session_open(m, g, &session, err);
    if (status != DERMIS_OK)
        return status;
    size_t after = live_bytes();
    dermis_memory memory;
    dermis_session_memory(session, &memory);
    g->arena_bytes = memory.arena_bytes;
    size_t taken = after > before ? after - before : 0;
    g->about->session_bytes = taken > memory.arena_bytes ? taken : memory.arena_bytes;
    g->idle[g->idle_count++] = session;
    g->sessions = 1;
    return DERMIS_OK;
}

dermis_status models_open(const server_models_options *options, server_models **out, dermis_error *err)
{
    server_models *m = base_calloc(BASE_TAG_SERVER, 1, sizeof *m);
    if (!m)
        return base_fail(err, DERMIS_E_MEMORY, "not enough memory");
    m->options = *options;
    snprintf(m->path, sizeof m->path, "%s", options->path);
    m->options.path = m->path;
    pthread_mutex_init(&m->mutex, NULL);
    base_cond_init(&m->changed);
    server_generation *g = NULL;
    dermis_status status = generation_open(m, &g, err);
    if (status == DERMIS_OK)
        status = measure(m, g, err);
    if (status != DERMIS_OK) {
        generation_free(g);
        models_close(m);
        return status;
    }
    m->about = g->about;
    atomic_fetch_add(&m->about->references, 1);
    identify(m->path, &m->seen);
    generation_free(g);
    *out = m;
    return DERMIS_OK;
}

void models_limit(server_models *m, unsigned sessions, size_t bytes)
{
    m->options.sessions = sessions;
    m->limit_bytes = bytes;
}

void models_close(server_models *m)
{
    if (!m)
        return;
    generation_free(m->current);
    about_release(m->about);
    pthread_mutex_destroy(&m->mutex);
    pthread_cond_destroy(&m->changed);
    base_free(m);
}

server_about *models_about(server_models *m)
{
    pthread_mutex_lock(&m->mutex);
    server_about *about = m->about;
    atomic_fetch_add(&about->references, 1);
    pthread_mutex_unlock(&m->mutex);
    return about;
}

/* With the mutex held: `g` is the present one from now on. */
static void install(server_models *m, server_generation *g)
{
    about_release(m->about);
    m->about = g->about;
    atomic_fetch_add(&m->about->references, 1);
    m->current = g;
    identify(m->path, &m->seen);
    m->loads++;
    m->used_ms = base_now_ms();
}

/* Why the model's file cannot be used is the operator's matter and in the log; to a request its own result is not what is
 * missing, nor is it the disk that is full. */
static dermis_status unusable(dermis_status status, dermis_error *err)
{
    if (status == DERMIS_E_NOT_FOUND || status == DERMIS_E_IO || status == DERMIS_E_USAGE)
        status = err->status = DERMIS_E_MODEL_INVALID;
    return status;
}

dermis_status models_acquire(server_models *m, server_lease *out, dermis_error *err)
{
    dermis_status status = DERMIS_OK;
    pthread_mutex_lock(&m->mutex);
    while (m->loading)
        pthread_cond_wait(&m->changed, &m->mutex);
    if (!m->current) {
        server_generation *g = NULL;
        m->loading = true;
        pthread_mutex_unlock(&m->mutex);
        status = unusable(generation_open(m, &g, err), err);
        if (status == DERMIS_OK && (status = measure(m, g, err)) != DERMIS_OK)
            generation_free(g);
        pthread_mutex_lock(&m->mutex);
        m->loading = false;
        if (status == DERMIS_OK)
            install(m, g);
        else
            m->failures++;
        pthread_cond_broadcast(&m->changed);
        if (status != DERMIS_OK) {
            pthread_mutex_unlock(&m->mutex);
            return status;
        }
    }
    server_generation *g = m->current;
    dermis_session *session = g->idle_count ? g->idle[--g->idle_count] : NULL;
    g->leases++;
    m->used_ms = base_now_ms();
    pthread_mutex_unlock(&m->mutex);
    server_lease lease = {g, g->model, session, g->about};
    if (!session) {
        status = session_open(m, g, &lease.session, err);
        if (status != DERMIS_OK) {
            models_release(m, &lease, false);
            return status;
        }
        pthread_mutex_lock(&m->mutex);
        g->sessions++;
        pthread_mutex_unlock(&m->mutex);
    }
    *out = lease;
    return DERMIS_OK;
}

void models_release(server_models *m, server_lease *lease, bool broken)
{
    server_generation *g = lease->generation, *ended = NULL;
    dermis_session *surplus = NULL;
    pthread_mutex_lock(&m->mutex);
    m->used_ms = base_now_ms();
    if (broken && m->current == g) { /* its file changed: the next request opens what stands there now */
        m->current = NULL;
        g->retired = true;
        m->retired++;
    }
    if (lease->session && !g->retired && g->idle_count < MAX_SESSIONS) {
        g->idle[g->idle_count++] = lease->session;
    } else if (lease->session) {
        surplus = lease->session;
        g->sessions--;
    }
    if (--g->leases == 0 && g->retired) {
        ended = g;
        m->retired--;
    }
    pthread_mutex_unlock(&m->mutex);
    dermis_session_close(surplus);
    generation_free(ended);
    if (ended) {
        pthread_mutex_lock(&m->mutex); /* a swap may wait for the end: only now is the memory free */
        pthread_cond_broadcast(&m->changed);
        pthread_mutex_unlock(&m->mutex);
    }
    memset(lease, 0, sizeof *lease);
}

bool models_unload_idle(server_models *m, double idle_ms)
{
    pthread_mutex_lock(&m->mutex);
    server_generation *g = m->current;
    bool idle = g && !m->loading && g->leases == 0 && base_now_ms() - m->used_ms >= idle_ms;
    if (idle)
        m->current = NULL;
    pthread_mutex_unlock(&m->mutex);
    if (idle) {
        generation_free(g);
        base_memory_trim();
    }
    return idle;
}

/* With the mutex held: waits until no retired generation has leases, at most drain_ms. */
static bool wait_for_old(server_models *m)
{
    double until = base_now_ms() + m->options.drain_ms + 1000;
    bool in_time = true;
    while (m->retired && in_time)
        in_time = base_cond_wait_until(&m->changed, &m->mutex, until);
    return m->retired == 0;
}

static size_t resident(const server_models *m, const server_generation *g)
{
    return base_align_up(g->about->file_bytes, 4096) + m->options.sessions * g->about->session_bytes;
}

dermis_status models_swap(server_models *m, dermis_error *err)
{
    server_generation *fresh = NULL, *ended = NULL;
    dermis_status status = generation_open(m, &fresh, err); /* mapped only: its weights take nothing yet */
    if (status == DERMIS_OK)
        status = measure(m, fresh, err);
    if (status == DERMIS_OK && m->limit_bytes && resident(m, fresh) > m->limit_bytes)
        status = base_fail(err, DERMIS_E_BUDGET,
                           "the new model and its sessions take %.1f MB; %.1f are there for them: allow more memory and "
                           "start anew",
                           (double)resident(m, fresh) / 1e6, (double)m->limit_bytes / 1e6);
    if (status != DERMIS_OK) {
        generation_free(fresh);
        pthread_mutex_lock(&m->mutex);
        m->failures++;
        pthread_mutex_unlock(&m->mutex);
        return status;
    }
    pthread_mutex_lock(&m->mutex);
    while (m->loading)
        pthread_cond_wait(&m->changed, &m->mutex);
    server_generation *old = m->current;
    size_t both = resident(m, fresh) + (old ? resident(m, old) : 0);
    bool alone = m->limit_bytes && both > m->limit_bytes;
    m->current = NULL;
    if (old) {
        old->retired = true;
        if (old->leases == 0)
            ended = old;
        else
            m->retired++;
    }
    m->loading = true; /* requests wait: with `alone` until the old one has gone */
    if (alone && !wait_for_old(m))
        app_log(NULL, BASE_LOG_WARN, "the old model is still in use; the new one is taken beside it", NULL);
    install(m, fresh);
    m->loading = false;
    pthread_cond_broadcast(&m->changed);
    pthread_mutex_unlock(&m->mutex);
    generation_free(ended);
    return DERMIS_OK;
}

bool models_ready(server_models *m)
{
    identity now, seen;
    pthread_mutex_lock(&m->mutex);
    bool loaded = m->current != NULL;
    seen = m->seen;
    pthread_mutex_unlock(&m->mutex);
    if (loaded)
        return true;
    if (!identify(m->path, &now))
        return false;
    if (same(&now, &seen))
        return true;
    server_generation *g = NULL; /* another file: only its header is read */
    if (generation_open(m, &g, NULL) != DERMIS_OK)
        return false;
    generation_free(g);
    pthread_mutex_lock(&m->mutex);
    m->seen = now;
    pthread_mutex_unlock(&m->mutex);
    return true;
}

void models_state(server_models *m, server_models_state *out)
{
    pthread_mutex_lock(&m->mutex);
    server_generation *g = m->current;
    *out = (server_models_state){.loaded = g != NULL,
                                 .in_use = g ? g->leases : 0,
                                 .loads = m->loads,
                                 .failures = m->failures,
                                 .arena_bytes = g ? g->sessions * g->arena_bytes : 0};
    pthread_mutex_unlock(&m->mutex);
}
