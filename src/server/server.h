/* server.h - the service: pages, accounts, history and an API over one model. `cli` reads the settings
 * and calls server_run; all policy (who may do what, limits, queues, metrics) is behind this. */
#ifndef SERVER_SERVER_H
#define SERVER_SERVER_H

#include "base/base.h"
#include "store/store.h"

/* ---- settings: one table, from which the command's help, its parsing and the docs come ---- */

typedef enum server_kind {
    SERVER_TEXT,    /* const char * */
    SERVER_HOSTS,   /* the same: names of hosts by commas */
    SERVER_PROXIES, /* the same: addresses by commas */
    SERVER_SWITCH,  /* bool: on, off (true, false, yes, no, 1, 0) */
    SERVER_NUMBER,  /* unsigned */
    SERVER_SIZE,    /* size_t bytes: 500K, 64M, 1G */
    SERVER_SECONDS, /* unsigned seconds: 30, 90s, 5m, 2h, 14d */
    SERVER_CHOICE   /* unsigned: index into `choices` */
} server_kind;

enum { SERVER_LANGUAGE_AUTO, SERVER_LANGUAGE_EN, SERVER_LANGUAGE_VI };
enum { SERVER_SIGNUP_OPEN, SERVER_SIGNUP_CLOSED };
enum { SERVER_METRICS_LOCAL, SERVER_METRICS_ALL, SERVER_METRICS_OPERATOR, SERVER_METRICS_NONE };

typedef struct server_settings {
    const char *host, *model, *data_dir, *secret_key, *allowed_hosts, *trusted_proxies, *tls_certificate,
        *tls_key, *cpu;
    unsigned port, workers, threads, queue, connections, rate_limit;
    unsigned request_limit_s, idle_unload_s, retention_s, session_s;
    unsigned language, signup, metrics;
    size_t upload_bytes, memory_bytes;
    bool gradcam, debug, preload, log_addresses;
    char *owned[64]; /* texts that were allocated for the above */
    unsigned owned_count;
} server_settings;

typedef struct server_setting {
    const char *name; /* --name; DERMIS_NAME in the environment; `name = value` in the file */
    const char *bare; /* an older name in the environment, read where DERMIS_NAME is not set; or NULL */
    server_kind kind;
    size_t offset; /* in server_settings */
    const char *standard; /* default, as it would be written */
    double minimum, maximum;
    const char *choices; /* "auto|en|vi" */
    const char *value;   /* what help calls the argument */
    const char *help;
} server_setting;

extern const server_setting server_setting_table[];
extern const size_t server_setting_count;

/* Fills *out from, in this order, `given` [server_setting_count] (texts of the command line, NULL where
 * not given), DERMIS_* variables, bare variables, the file (NULL: none) and the defaults.
 * DERMIS_E_USAGE names the setting, where it came from and what is allowed. */
dermis_status server_settings_read(const char *const *given, const char *file, server_settings *out,
                                   dermis_error *err);
/* DERMIS_DATA_DIR of data-dir. */
void server_setting_variable(const server_setting *setting, char *out, size_t size);
void server_settings_release(server_settings *settings);
/* The folder for data: the setting, or dermis in the user's data folder. */
dermis_status server_data_path(const server_settings *settings, char *out, size_t size, dermis_error *err);
/* The same, and those above it are made. */
dermis_status server_data_dir(const server_settings *settings, char *out, size_t size, dermis_error *err);
/* The table as a page of docs (Markdown). */
void server_settings_document(FILE *out);

/* ---- the service ---- */

/* What of the process is resident before any request, for the bound (cli measures it): program and
 * libraries as mapped, stacks. */
typedef size_t server_program_bytes(void);

/* Serves until SIGTERM or SIGINT, then finishes what was begun. `model_path`: a model file. Prints its
 * address and its memory bound to standard output once it listens. */
dermis_status server_run(const server_settings *settings, const char *model_path, size_t memory_limit,
                         server_program_bytes *program_bytes, dermis_error *err);

/* ---- accounts, for `dermis user` ---- */

/* Checks name and password by the rules of sign-up, hashes (argon2id, 12 MiB) and adds. */
dermis_status server_user_add(store *store, const char *name, const char *password, bool is_operator,
                              dermis_error *err);
/* Sets the password and ends all sessions. */
dermis_status server_user_set_password(store *store, const char *name, const char *password,
                                       dermis_error *err);

#endif
