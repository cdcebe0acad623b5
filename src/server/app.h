/* app.h - what the files of src/server share: the running service, one request's state, and the parts
 * between which a request goes. Included by nothing outside this folder.
 *
 * A request: http's event thread calls app_accept (headers: route, host, size, room in the queue) and
 * app_handle (complete: answered there, or put into the lane of its route). A thread of the lane finds
 * out who asks (auth), checks the form's token, calls the route's handler, which fills call->answer,
 * and replies. app_done counts and logs. */
#ifndef SERVER_APP_H
#define SERVER_APP_H

#include <jansson.h>
#include <pthread.h>
#include <stdatomic.h>

#include "engine/dermis.h"
#include "http/http.h"
#include "server/server.h"
#include "server/template.h"

typedef struct server server;
typedef struct server_call server_call;

/* ---- the clock and the log (log.c) ---- */

int64_t app_now(void); /* seconds since 1970 */
void app_log(const server *app, base_log_level level, const char *event, json_t *fields); /* steals fields */

/* ---- lanes: bounded queues with threads of their own (lanes.c) ---- */

typedef enum server_lane_id {
    LANE_EVENT,    /* no queue: answered in the event thread, must not block */
    LANE_PAGE,     /* pages and the database */
    LANE_PASSWORD, /* one at a time: argon2id takes 12 MiB and 50 ms */
    LANE_EXPORT,   /* one at a time: an account's whole history, minutes on a slow disk */
    LANE_PICTURE,  /* one session of the model each */
    LANE_COUNT
} server_lane_id;

typedef struct server_lane {
    server *app;
    server_lane_id id;
    pthread_mutex_t mutex;
    pthread_cond_t more;
    server_call *head, *tail;
    unsigned waiting, limit, running, thread_count;
    bool stopping;
    pthread_t threads[64];
} server_lane;

dermis_status lane_start(server_lane *lane, server *app, server_lane_id id, unsigned threads, unsigned limit,
                         dermis_error *err);
void lane_stop(server_lane *lane); /* after the queue is empty; accepts one that never started */
/* False: full. Those whose client has gone give their places up first. */
bool lane_put(server_lane *lane, server_call *call);
bool lane_full(server_lane *lane);
void lane_sweep(server_lane *lane); /* replies to those whose client has gone */

/* ---- memory for photographs (budget.c) ---- */

typedef struct server_budget {
    pthread_mutex_t mutex;
    pthread_cond_t freed;
    size_t total, used;
    size_t held_waiting; /* of `used`, what those hold who wait for more */
} server_budget;

void budget_init(server_budget *budget, size_t total);
/* Waits until `bytes` fit, at most timeout_ms; `held`: what the asker has taken already. DERMIS_E_BUDGET: they
 * never can; DERMIS_E_BUSY: not in time, or all who hold some wait for more. */
dermis_status budget_take(server_budget *budget, size_t bytes, size_t held, unsigned timeout_ms, dermis_error *err);
void budget_give(server_budget *budget, size_t bytes);
/* The same for a call, given back when it has been handled. */
dermis_status call_reserve(server_call *call, size_t bytes, dermis_error *err);

/* ---- the model, mapped when needed (models.c) ---- */

/* What pages and answers say of a model; immutable, counted, outlives its unloading. */
typedef struct server_about {
    atomic_uint references;
    char *name, *sha256, *license, *cam_layer, *weight_type, *preprocess;
    uint32_t height, width, channels, class_count;
    char **classes;
    dermis_card *card; /* or NULL */
    size_t file_bytes, weight_bytes, session_bytes, sample_photo_bytes;
    uint64_t parameters, macs;
    bool explains;
} server_about;
void about_release(server_about *about);

typedef struct server_models server_models;
typedef struct server_generation server_generation; /* one opened model and its sessions */

typedef struct server_lease { /* one worker's hold on a session */
    server_generation *generation;
    dermis_model *model;
    dermis_session *session;
    server_about *about;
} server_lease;

typedef struct server_models_options {
    const char *path, *cpu;
    unsigned sessions, threads;
    bool explain;
    unsigned drain_ms;    /* how long a swap waits for that */
} server_models_options;

/* Opens the file to validate it and to learn what it needs, and lets it go again. */
dermis_status models_open(const server_models_options *options, server_models **out, dermis_error *err);
/* How many sessions there will be and what a model, or two at once, may take with them (0: no limit). */
void models_limit(server_models *models, unsigned sessions, size_t bytes);
void models_close(server_models *models);
server_about *models_about(server_models *models); /* of the present model; about_release */
/* Loads if necessary (others wait for one load). */
dermis_status models_acquire(server_models *models, server_lease *out, dermis_error *err);
void models_release(server_models *models, server_lease *lease, bool broken);
/* Lets the model go when nobody used it for idle_ms. True: it did. */
bool models_unload_idle(server_models *models, double idle_ms);
/* Whether the file at the path is the one that was opened last, or can be opened. */
bool models_ready(server_models *models);
/* Takes the file at the path anew; on failure, as when it takes more than models_limit, the old one stays. */
dermis_status models_swap(server_models *models, dermis_error *err);
typedef struct server_models_state {
    bool loaded;
    unsigned in_use;
    uint64_t loads, failures;
    size_t arena_bytes; /* of all sessions now */
} server_models_state;
void models_state(server_models *models, server_models_state *out);

/* ---- limits on tries and requests (limits.c) ---- */

typedef struct server_limits server_limits;
server_limits *limits_new(void);
void limits_free(server_limits *limits);
/* One more of `per_minute` for this key; 0: allowed, else seconds until it is. */
unsigned limits_take(server_limits *limits, const void *key, size_t size, unsigned per_minute, double now_ms);
/* Log-in tries: seconds to wait before the next one (0: none); then report how it ended. A success forgets
 * the failures: not of an address, where the next account's would go with it. */
unsigned limits_try(server_limits *limits, const char *what, const char *name, double now_ms);
void limits_tried(server_limits *limits, const char *what, const char *name, bool success, double now_ms);
/* What limits count a client's address as: an IPv6 network of 64 bits is one client. */
#define LIMITS_ADDRESS_BYTES 64
void limits_address(const char *address, char out[LIMITS_ADDRESS_BYTES]);

/* ---- metrics (metrics.c) ---- */

typedef enum server_stage {
    STAGE_WAIT, /* in the queue */
    STAGE_LOAD, /* getting a session: loading the model, if need be */
    STAGE_DECODE,
    STAGE_RUN,
    STAGE_EXPLAIN,
    STAGE_STORE,
    STAGE_DRAW,
    STAGE_TOTAL, /* of the request, from its headers to its answer */
    STAGE_COUNT
} server_stage;

#define METRICS_MAX_ROUTES 96
#define METRICS_SAMPLES    360 /* of resident memory, one each 10 s: an hour */

typedef struct server_metrics server_metrics;
server_metrics *metrics_new(void);
void metrics_free(server_metrics *metrics);
void metrics_request(server_metrics *metrics, unsigned route, int status);
void metrics_stage(server_metrics *metrics, server_stage stage, double ms);
void metrics_sample(server_metrics *metrics, double now_ms);
void metrics_write_prometheus(server *app, server_text *out);
json_t *metrics_status(server *app); /* for /status/data */

/* ---- who asks (auth.c) ---- */

#define SECRET_CHARS 43 /* 32 random bytes in base64url */

void auth_random(char *out, size_t bytes); /* base64url of so many random bytes, NUL-terminated */
void auth_hash(const char *secret, uint8_t out[STORE_HASH_BYTES]);
/* Fills user, guest and language of the call from cookies or the bearer token. False: answered (401). */
bool auth_identify(server_call *call);
/* Token for forms, bound to the session or the guest; makes a guest cookie when there is none. */
const char *auth_csrf(server_call *call);
/* The form's token where one is needed. False: answered (403). */
bool auth_check_csrf(server_call *call, bool always);
/* Checks name and password of a log-in with its limits: *wait 0 and *out, or the wait in seconds (-1: wrong). */
dermis_status auth_log_in(server_call *call, const char *name, const char *password, store_user *out, int *wait,
                          dermis_error *err);
bool auth_verify(const store_user *user, const char *password); /* takes 50 ms and 12 MiB */
/* New session cookie for this user in the answer. */
dermis_status auth_begin_session(server_call *call, const store_user *user, dermis_error *err);
/* Ends the session and answers: with a redirect, or with 503 where it could not be ended. */
void auth_end_session(server_call *call, const char *location);
/* Why a name or password cannot be had: the key of a text under t.server, or NULL. */
const char *auth_name_problem(const char *name);
const char *auth_password_problem(const char *name, const char *password);
dermis_status auth_hash_password(const char *password, char out[128], dermis_error *err);
const char *auth_address(const server_call *call); /* the client's, behind trusted proxies too */
bool auth_secure(const server_call *call);

/* ---- routes (routes.c) ---- */

typedef void server_handler(server_call *call);

enum {
    ROUTE_API = 1,       /* errors as JSON, bearer token, no cookies */
    ROUTE_ANY_HOST = 2,  /* Host is not checked: health */
    ROUTE_USER = 4,      /* needs an account: else to the log-in page, 401 for the API */
    ROUTE_OPERATOR = 8,  /* needs an operator: else 404 */
    ROUTE_POSTED = 16,   /* a form with a token */
    ROUTE_PUBLIC = 32,   /* nobody is looked up: static files, health */
    ROUTE_RATE = 64,     /* counts for the rate limit */
    ROUTE_V2 = 128,      /* errors as the Open Inference Protocol has them */
    ROUTE_SESSION = 256  /* of the API, reads only: a session will do where no token is sent */
};
typedef enum server_body { BODY_NONE, BODY_FORM, BODY_PICTURE, BODY_TENSOR } server_body;

typedef struct server_route {
    http_method method;
    const char *pattern; /* "*" stands for one segment */
    server_handler *handler;
    server_lane_id lane;
    server_body body;
    unsigned flags;
} server_route;

extern const server_route server_routes[];
extern const unsigned server_route_count;
/* The route of a path; NULL: none, with *methods the set of methods that the path has (0: unknown). */
const server_route *route_find(http_method method, const char *path, server_call *call, unsigned *methods);

/* ---- one request ---- */

#define CALL_PARTS 2

struct server_call {
    server *app;
    http_request *request;
    const server_route *route; /* NULL: none fits */
    unsigned methods;          /* of the path, for 405 */
    char parts[CALL_PARTS][128]; /* what the pattern's stars stand for */
    char id[23];               /* the request's, in answers and logs */
    int refusal;               /* why app_accept refused: the status; 0 */
    const char *refusal_code;  /* and the key of its text */
    unsigned retry_s;          /* Retry-After, 0: none */
    const char *language;      /* "en", "vi" */
    bool unknown;              /* nobody is to be looked up: answered in the event thread */
    bool signed_in, by_token;
    store_user user;
    int64_t token;             /* id of the API token, by_token */
    uint8_t session[STORE_HASH_BYTES]; /* hash of the session's secret, signed_in */
    char secret[SECRET_CHARS + 1];     /* the session's, for the form token */
    char guest[SECRET_CHARS + 1]; /* "" where there is none */
    bool guest_new;            /* its cookie is to be set */
    uint8_t guest_hash[STORE_HASH_BYTES];
    char csrf[44];
    http_form form;
    bool form_read;
    http_answer answer;
    bool answered;             /* the answer is filled */
    double queued_ms;
    size_t reserved;           /* of the budget */
    server_call *next;
};

struct server {
    server_settings settings;
    char data_dir[3600];
    uint8_t secret[32];
    store *store;
    server_models *models;
    server_metrics *metrics;
    server_limits *limits;
    server_budget budget;
    server_lane lanes[LANE_COUNT];
    http_server *http;
    json_t *texts[2]; /* en, vi */
    struct {
        char *bytes;
        size_t size;
    } late[2][3]; /* what a client is told whose body is late: en, vi; page, JSON, V2 (event thread) */
    char web_hash[17];
    size_t bound_bytes, fixed_bytes;
    double started_ms;
    atomic_bool draining;
    pthread_t janitor;
    pthread_mutex_t janitor_mutex;
    pthread_cond_t janitor_wake;
    bool janitor_stop, janitor_runs;
};

/* http's three functions. */
int app_accept(void *context, http_request *request);
void app_handle(void *context, http_request *request);
void app_done(void *context, http_request *request);
void call_run(server_call *call);  /* in a lane: identify, check, handler, reply */
void call_reply(server_call *call); /* headers that every answer has, then http_reply */

/* ---- answers (answers.c); each fills call->answer ---- */

json_t *page_context(server_call *call, const char *page);
/* Renders web/pages/PAGE.html; steals the context. */
void answer_page(server_call *call, int status, const char *page, json_t *context);
void answer_json(server_call *call, int status, json_t *body); /* steals */
void answer_text(server_call *call, int status, const char *type, server_text *text); /* takes it over */
void answer_stream(server_call *call, const char *type, FILE *f); /* of app_unnamed_file; takes it over */
void answer_redirect(server_call *call, const char *location); /* 303, a path of this server */
/* An error as a page or JSON, as the route and the Accept header want. `code`: key under t.server, or a
 * status code's name; `detail` (NULL: none) is what JSON says instead of the text. */
void answer_error(server_call *call, int status, const char *code, const char *detail);
void answer_failure(server_call *call, const dermis_error *err);
bool call_wants_json(const server_call *call);
void answer_common_headers(server_call *call); /* those that every answer has */
/* Text of the call's language at "home.title"; "" where there is none. */
const char *call_text(const server_call *call, const char *key);
void call_number(const server_call *call, double value, int decimals, char *out, size_t size);
void call_percent(const server_call *call, double value, char *out, size_t size); /* "71 %", "< 0,1 %" */
void call_time(const server_call *call, int64_t when, char *out, size_t size); /* the server's, with its zone's name */
#define UTC_TIME_BYTES 32
void app_utc_time(int64_t when, char out[UTC_TIME_BYTES]); /* ISO 8601, for <time> and files */
/* Reads the form once. False: answered (400, 415). */
bool call_form(server_call *call);
bool call_cookie(server_call *call, const char *name, const char *value, long max_age_s, bool http_only);
bool call_local_path(const char *path); /* a path of this server, fit for Location */
void url_encode(const char *text, char *out, size_t size);

/* A stream that writes into `text`; close it before the text is read. NULL: out of memory. */
FILE *text_stream(server_text *text);
/* An unnamed file in the data folder, and a stream on it; NULL: *err says why. */
FILE *app_unnamed_file(const server *app, dermis_error *err);

/* What jansson will take to read this text (v2.c); SIZE_MAX: it nests too deeply to be read. */
size_t v2_json_bytes(const char *text, size_t size);

/* ---- looking at a photograph (classify.c) ---- */

#define PHOTO_SIDE    1600 /* stored photographs, pixels */
#define PHOTO_QUALITY 88
#define THUMB_SIDE    320
#define STORE_SCRATCH ((size_t)5 << 20) /* encoded photograph (at most 2.2 MB, in room that doubles) and thumbnail, the row */
#define MAX_MAPS      16   /* all classes up to so many, else the top 5 */

typedef struct classify_options {
    dermis_crop crop; /* width 0: the whole */
    bool explain;     /* maps of all classes (up to MAX_MAPS), for storing */
    int32_t cam_class; /* explain this one; -1: the winner; -2: none */
    bool store;       /* keep photograph and thumbnail */
} classify_options;

typedef struct classify_result {
    server_about *about; /* released by classify_release */
    uint32_t width, height;           /* of the photograph as sent */
    uint32_t photo_width, photo_height; /* as stored */
    float *probabilities;
    uint32_t *order;
    void *maps; /* maps.c's bytes, or NULL */
    size_t maps_bytes;
    server_text photo, thumb; /* JPEG bytes */
    unsigned advice; /* bits of what the page found wanting in the photograph: classify_advice */
    double decode_ms, run_ms, explain_ms;
} classify_result;

/* Waits for memory and a session, decodes, runs, explains. Picture lane only. */
dermis_status classify(server_call *call, const void *data, size_t size, const classify_options *options,
                       classify_result *out, dermis_error *err);
void classify_release(classify_result *result);
/* "few,dark" to bits; what is not known is passed over. */
unsigned classify_advice(const char *text);
/* The answer as the API gives it, names in `language`; NULL: as it is kept, names in all languages.
 * `top` 0: all classes. */
json_t *classify_json(const classify_result *result, unsigned top, const char *language);
/* Stores it for the call's user or guest; `keep`: for good. */
dermis_status classify_store(server_call *call, const classify_result *result, bool keep,
                             char id[STORE_ID_CHARS + 1], dermis_error *err);

/* ---- maps as bytes (maps.c): of several classes, as they are stored ---- */

typedef struct map_set {
    uint32_t count, height, width;
    const uint8_t *data;
    size_t size;
} map_set;
size_t maps_size(uint32_t count, uint32_t height, uint32_t width);
/* How many of `count` maps fit into `bytes`. */
uint32_t maps_fitting(uint32_t count, uint32_t height, uint32_t width, size_t bytes);
void maps_begin(void *out, uint32_t count, uint32_t height, uint32_t width);
void maps_put(void *out, uint32_t slot, const dermis_map *map);
bool maps_read(const void *data, size_t size, map_set *out); /* false: not such bytes */
uint32_t maps_class(const map_set *set, uint32_t slot);
/* The map of a class into `values` [height * width]; false: it is not there. */
bool maps_get(const map_set *set, uint32_t class_index, float *values, bool *blank);

/* ---- handlers, by file ---- */

server_handler page_home, page_static, page_language, page_about, page_robots, page_icon;
server_handler upload_post;
server_handler result_page, result_photo, result_thumb, result_heat, result_overlay, result_keep,
    result_delete, result_share, result_notes;
server_handler account_login, account_login_post, account_signup, account_signup_post, account_logout,
    account_logout_post;
server_handler profile_page, profile_compare, profile_delete, profile_delete_all, profile_export,
    profile_password, profile_delete_account, profile_token, profile_token_revoke;
server_handler status_page, status_data, health_old, memory_old, health_live, health_ready, metrics_text;
server_handler api_predict, api_model, api_results, api_result, api_result_delete, api_overlay, api_openapi;
server_handler v2_server, v2_live, v2_ready, v2_model, v2_model_ready, v2_infer;

/* Adds the text of ?notice=KEY to a page (pages.c). */
void page_add_notice(server_call *call, json_t *context);

/* ---- shared by handlers of results (results.c) ---- */

/* The result of parts[0] if the caller may look at it; else answered 404. */
bool result_open(server_call *call, store_result *out);
bool result_may_edit(const server_call *call, const store_result *result);
/* What result.html and compare.html are given of one result. */
json_t *result_context(server_call *call, const store_result *result, int32_t class_index, const char *colormap,
                       unsigned alpha);
/* What an entry of the history shows. */
json_t *result_entry(server_call *call, const store_result *result);

#endif
