/* store_private.h - what the files of src/store share; included by nothing outside this folder. */
#ifndef STORE_STORE_PRIVATE_H
#define STORE_STORE_PRIVATE_H

#include <pthread.h>
#include <sqlite3.h>

#include "store/store.h"

#define STORE_MAX_STATEMENTS 48
#define STORE_FILE_CHARS     22 /* of a photograph's random name */

struct store {
    char folder[4096];
    sqlite3 *db;
    pthread_mutex_t mutex; /* of all that follows; every public function holds it */
    int lock_fd;
    bool truncate_due; /* the WAL may hold what was deleted: store_sweep tries again */
    struct {
        const char *sql; /* compared by address: literals */
        sqlite3_stmt *statement;
    } cached[STORE_MAX_STATEMENTS];
    unsigned cached_count;
};

/* Fills err from SQLite's last error. */
dermis_status store_fail(store *s, dermis_error *err);
/* A prepared statement, reset and without bindings; kept until the store closes. NULL: *err is filled. */
sqlite3_stmt *store_prepare(store *s, const char *sql, dermis_error *err);
/* Steps a statement that gives no row; resets it. */
dermis_status store_done(store *s, sqlite3_stmt *statement, dermis_error *err);
dermis_status store_exec(store *s, const char *sql, dermis_error *err);
dermis_status store_begin(store *s, dermis_error *err);
/* Commits where `status` is DERMIS_OK, else rolls back; returns what holds then. */
dermis_status store_end(store *s, dermis_status status, dermis_error *err);
/* Nothing of what was deleted stays in the WAL. A reader elsewhere may put it off: no failure. */
void store_truncate_wal(store *s);
void store_random_name(char out[STORE_FILE_CHARS + 1]);

int store_sync_folder(const char *path); /* -1: errno says why */

/* photos.c: files of photographs. `name` is random, the row's. */
dermis_status store_photo_write(store *s, const char *name, bool thumb, const void *bytes, size_t size,
                                dermis_error *err);
/* Both, and the folder is synced. DERMIS_E_IO: one is still there (the next clean start removes it). */
dermis_status store_photo_delete(store *s, const char *name, dermis_error *err);
dermis_status store_photo_open(store *s, const char *name, bool thumb, int *fd, dermis_error *err);
/* Removes temporary files and photographs that no row names. */
dermis_status store_photo_clean(store *s, dermis_error *err);

/* results.c: deletes the results that `select` and `delete_sql` (one parameter, a number) name, and in the
 * same transaction what `also_sql` (or NULL) does, which has to change a row. */
dermis_status store_delete_where(store *s, const char *select, const char *delete_sql, const char *also_sql,
                                 int64_t value, unsigned *removed, dermis_error *err);

#endif
