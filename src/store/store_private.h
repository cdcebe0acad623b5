/* store_private.h - what the files of src/store share; included by nothing outside this folder. */
#ifndef STORE_STORE_PRIVATE_H
#define STORE_STORE_PRIVATE_H

#include <pthread.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <string.h>

#include "store/store.h"

#define STORE_MAX_STATEMENTS 48
#define STORE_FILE_CHARS     22 /* of a photograph's random name */

struct store {
    char folder[4096];
    sqlite3 *db;
    pthread_mutex_t mutex; /* of the database and of all that follows but `rooted` */
    int lock_fd;
    bool truncate_due;  /* the WAL may hold what was deleted: store_sweep tries again */
    atomic_bool rooted; /* the folder of photographs is known to be on disk */
    struct {
        const char *sql; /* compared by address: literals */
        sqlite3_stmt *statement;
    } cached[STORE_MAX_STATEMENTS];
    unsigned cached_count;
};

/* ---- statements ---- */

typedef struct store_value {
    enum { STORE_VALUE_NONE, STORE_VALUE_NUMBER, STORE_VALUE_TEXT, STORE_VALUE_BYTES } kind;
    int64_t number;
    const void *bytes; /* NULL: the parameter is NULL */
    size_t size;
} store_value;

static inline size_t store_length(const char *text)
{
    return text ? strlen(text) : 0;
}

#define STORE_NUMBER(n)    {.kind = STORE_VALUE_NUMBER, .number = (n)}
#define STORE_TEXT(t)      {.kind = STORE_VALUE_TEXT, .bytes = (t), .size = store_length(t)}
#define STORE_BYTES(b, n)  {.kind = STORE_VALUE_BYTES, .bytes = (b), .size = (n)}
#define STORE_MAX_VALUES   13

/* What a row function returns when no further row is wanted; no failure. */
#define STORE_ENOUGH DERMIS_STATUS_COUNT
typedef dermis_status store_row(store *s, sqlite3_stmt *row, void *context, dermis_error *err);

/* One statement, what it is given, and what is wanted of it. */
typedef struct store_query {
    const char *sql;                      /* a literal: it stays prepared until the store closes */
    store_value values[STORE_MAX_VALUES]; /* of the parameters in their order, up to the first of no kind */
    store_row *row;                       /* called for each row */
    void *context;
    const char *none;  /* what is missing, where no row came or was changed: DERMIS_E_NOT_FOUND */
    unsigned *changed; /* rows */
    int64_t *id;       /* of the row inserted, where one was */
} store_query;

/* With the mutex held; in a transaction where one is begun, else in its own. */
dermis_status store_ask(store *s, const store_query *query, dermis_error *err);
/* The same for those who hold no mutex. */
dermis_status store_run(store *s, const store_query *query, dermis_error *err);
/* A row function calls it when it has read its columns: out of memory, SQLite gives NULL for a text. */
dermis_status store_row_read(store *s, dermis_error *err);
void store_copy_text(sqlite3_stmt *row, int column, char *out, size_t size);
/* Fills err from SQLite's last error. */
dermis_status store_fail(store *s, dermis_error *err);
/* The same from errno: "what: why". */
dermis_status store_fail_file(dermis_error *err, const char *what, int why);
/* All statements of `sql`, which have no parameters and whose rows nobody wants. */
dermis_status store_exec(store *s, const char *sql, dermis_error *err);
dermis_status store_begin(store *s, dermis_error *err);
/* Commits where `status` is DERMIS_OK, else rolls back; returns what holds then. */
dermis_status store_end(store *s, dermis_status status, dermis_error *err);
/* Nothing of what was deleted stays in the WAL or the cache. A reader elsewhere may put it off: no failure. */
void store_truncate_wal(store *s);
void store_random_name(char out[STORE_FILE_CHARS + 1]);

/* ---- photos.c: files of photographs; no mutex needed but for opening. `name` is random, the row's. ---- */

int store_sync_folder(const char *path); /* -1: errno says why */
/* Photograph and thumbnail, on disk when it returns; a failure leaves neither. */
dermis_status store_photo_write(store *s, const char *name, const void *const bytes[2], const size_t sizes[2],
                                dermis_error *err);
/* Both of each of `count` names, which stand STORE_FILE_CHARS + 1 bytes apart. DERMIS_E_IO: one is still
 * there (the next clean start removes it). */
dermis_status store_photo_delete(store *s, const char *names, size_t count, dermis_error *err);
dermis_status store_photo_open(store *s, const char *name, bool thumb, int *fd, dermis_error *err);
/* Removes what no row names. Only when nobody writes: before the store is handed out. */
dermis_status store_photo_clean(store *s, dermis_error *err);

/* scrub.c: the way to the database's file on which nothing deleted survives in the pages. */
#define STORE_VFS       "dermis"
#define STORE_MAX_PAGES "33554431" /* of 4 KB: 128 GiB */
bool store_scrub_install(void); /* false: out of memory */

/* results.c: deletes the results whose files `which` selects and, in the same transaction, does what `also`
 * (or NULL) says; then the WAL is truncated and the files are removed. */
dermis_status store_delete_results(store *s, const char *which, store_value value, const char *none,
                                   const store_query *also, unsigned *removed, dermis_error *err);

#endif
