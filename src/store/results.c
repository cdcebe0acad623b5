/* results.c - results: rows with their photographs' files. */
#include <string.h>

#include "store/store_private.h"

#define BRIEF  "id, user, guest, created, expires, shared, width, height, top, answer, notes"
#define RESULT BRIEF ", maps"

static dermis_status failed(const dermis_error *err)
{
    return err ? err->status : DERMIS_E_IO;
}

static const char *text_at(sqlite3_stmt *row, int column)
{
    const char *text = (const char *)sqlite3_column_text(row, column);
    return text ? text : ""; /* columns are NOT NULL: only out of memory */
}

/* Text and bytes of the row stay SQLite's: valid until the next step. */
static void read_result(sqlite3_stmt *row, store_result *out)
{
    memset(out, 0, sizeof *out);
    snprintf(out->id, sizeof out->id, "%s", text_at(row, 0));
    out->user = sqlite3_column_int64(row, 1);
    const void *guest = sqlite3_column_blob(row, 2);
    if (guest && sqlite3_column_bytes(row, 2) == STORE_HASH_BYTES)
        memcpy(out->guest, guest, STORE_HASH_BYTES);
    out->created = sqlite3_column_int64(row, 3);
    out->expires = sqlite3_column_int64(row, 4);
    out->shared = sqlite3_column_int(row, 5) != 0;
    out->width = (uint32_t)sqlite3_column_int64(row, 6);
    out->height = (uint32_t)sqlite3_column_int64(row, 7);
    snprintf(out->top, sizeof out->top, "%s", text_at(row, 8));
    out->answer = text_at(row, 9);
    out->notes = text_at(row, 10);
    out->answer = out->answer ? out->answer : "";
    out->notes = out->notes ? out->notes : "";
}

/* Copies what the pointers show into one allocation, which `answer` begins. */
static dermis_status own_texts(sqlite3_stmt *row, store_result *out, dermis_error *err)
{
    size_t answer = strlen(out->answer) + 1, notes = strlen(out->notes) + 1;
    const void *maps = sqlite3_column_blob(row, 11);
    size_t bytes = maps ? (size_t)sqlite3_column_bytes(row, 11) : 0;
    char *all = base_alloc(BASE_TAG_STORE, answer + notes + bytes);
    if (!all)
        return base_fail(err, DERMIS_E_MEMORY, "not enough memory to read a result");
    memcpy(all, out->answer, answer);
    memcpy(all + answer, out->notes, notes);
    if (bytes)
        memcpy(all + answer + notes, maps, bytes);
    out->answer = all;
    out->notes = all + answer;
    out->maps = bytes ? all + answer + notes : NULL;
    out->maps_bytes = bytes;
    return DERMIS_OK;
}

void store_result_release(store_result *result)
{
    base_free((void *)(uintptr_t)result->answer);
    memset(result, 0, sizeof *result);
}

static dermis_status insert(store *s, const store_result *r, const char *id, const char *file, dermis_error *err)
{
    sqlite3_stmt *add = store_prepare(s, "INSERT INTO results (" RESULT ", file)"
                                         " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)", err);
    if (!add)
        return failed(err);
    sqlite3_bind_text(add, 1, id, -1, SQLITE_STATIC);
    if (r->user)
        sqlite3_bind_int64(add, 2, r->user);
    sqlite3_bind_blob(add, 3, r->guest, STORE_HASH_BYTES, SQLITE_STATIC);
    sqlite3_bind_int64(add, 4, r->created);
    sqlite3_bind_int64(add, 5, r->expires);
    sqlite3_bind_int(add, 6, r->shared);
    sqlite3_bind_int64(add, 7, r->width);
    sqlite3_bind_int64(add, 8, r->height);
    sqlite3_bind_text(add, 9, r->top, -1, SQLITE_STATIC);
    sqlite3_bind_text(add, 10, r->answer ? r->answer : "", -1, SQLITE_STATIC);
    sqlite3_bind_text(add, 11, r->notes ? r->notes : "", -1, SQLITE_STATIC);
    if (r->maps && r->maps_bytes)
        sqlite3_bind_blob64(add, 12, r->maps, r->maps_bytes, SQLITE_STATIC);
    sqlite3_bind_text(add, 13, file, -1, SQLITE_STATIC);
    dermis_status status = store_done(s, add, err);
    sqlite3_clear_bindings(add);
    return status;
}

dermis_status store_result_add(store *s, const store_result *r, const void *photo, size_t photo_bytes,
                               const void *thumb, size_t thumb_bytes, char out[STORE_ID_CHARS + 1], dermis_error *err)
{
    char id[STORE_ID_CHARS + 1], file[STORE_FILE_CHARS + 1];
    dermis_error own;
    err = err ? err : &own;
    store_random_name(id);
    store_random_name(file);
    /* files need no lock: nobody else knows their name */
    dermis_status status = store_photo_write(s, file, false, photo, photo_bytes, err);
    if (status == DERMIS_OK)
        status = store_photo_write(s, file, true, thumb, thumb_bytes, err);
    if (status == DERMIS_OK) {
        pthread_mutex_lock(&s->mutex);
        status = insert(s, r, id, file, err);
        pthread_mutex_unlock(&s->mutex);
    }
    if (status != DERMIS_OK) {
        store_photo_delete(s, file, NULL);
        return status;
    }
    memcpy(out, id, sizeof id);
    return DERMIS_OK;
}

/* The row of an unexpired result, stepped to; NULL: *status says why. Reset it. */
static sqlite3_stmt *find(store *s, const char *sql, const char *id, int64_t now, dermis_status *status,
                          dermis_error *err)
{
    sqlite3_stmt *ask = store_prepare(s, sql, err);
    if (!ask) {
        *status = failed(err);
        return NULL;
    }
    sqlite3_bind_text(ask, 1, id, -1, SQLITE_STATIC);
    sqlite3_bind_int64(ask, 2, now);
    int code = sqlite3_step(ask);
    if (code == SQLITE_ROW)
        return ask;
    *status = code == SQLITE_DONE ? base_fail(err, DERMIS_E_NOT_FOUND, "there is no such result") : store_fail(s, err);
    sqlite3_reset(ask);
    return NULL;
}

dermis_status store_result_get(store *s, const char *id, int64_t now, store_result *out, dermis_error *err)
{
    dermis_error own;
    store_result r;
    dermis_status status = DERMIS_OK;
    err = err ? err : &own;
    pthread_mutex_lock(&s->mutex);
    sqlite3_stmt *row = find(s, "SELECT " RESULT " FROM results WHERE id = ?1 AND (expires = 0 OR expires > ?2)", id, now,
                             &status, err);
    if (row) {
        read_result(row, &r);
        status = own_texts(row, &r, err);
        sqlite3_reset(row);
    }
    pthread_mutex_unlock(&s->mutex);
    if (status == DERMIS_OK)
        *out = r;
    return status;
}

dermis_status store_result_photo(store *s, const char *id, bool thumb, int64_t now, int *fd, dermis_error *err)
{
    dermis_error own;
    dermis_status status = DERMIS_OK;
    char file[STORE_FILE_CHARS + 1] = "";
    err = err ? err : &own;
    pthread_mutex_lock(&s->mutex);
    sqlite3_stmt *row = find(s, "SELECT file FROM results WHERE id = ?1 AND (expires = 0 OR expires > ?2)", id, now,
                             &status, err);
    if (row) {
        snprintf(file, sizeof file, "%s", text_at(row, 0));
        sqlite3_reset(row);
        status = store_photo_open(s, file, thumb, fd, err);
    }
    pthread_mutex_unlock(&s->mutex);
    return status;
}

/* ---- changes of one row ---- */

static dermis_status change(store *s, const char *sql, const char *id, int64_t number, const char *text,
                            dermis_error *err)
{
    dermis_error own;
    err = err ? err : &own;
    pthread_mutex_lock(&s->mutex);
    sqlite3_stmt *set = store_prepare(s, sql, err);
    dermis_status status = set ? DERMIS_OK : failed(err);
    if (set) {
        sqlite3_bind_text(set, 1, id, -1, SQLITE_STATIC);
        if (text)
            sqlite3_bind_text(set, 2, text, -1, SQLITE_STATIC);
        else
            sqlite3_bind_int64(set, 2, number);
        status = store_done(s, set, err);
        sqlite3_clear_bindings(set);
        if (status == DERMIS_OK && sqlite3_changes(s->db) == 0)
            status = base_fail(err, DERMIS_E_NOT_FOUND, "there is no such result");
    }
    pthread_mutex_unlock(&s->mutex);
    return status;
}

dermis_status store_result_keep(store *s, const char *id, int64_t user, dermis_error *err)
{
    return change(s, "UPDATE results SET user = ?2, expires = 0, guest = zeroblob(32)"
                     " WHERE id = ?1 AND (user IS NULL OR user = ?2)", id, user, NULL, err);
}

dermis_status store_result_share(store *s, const char *id, bool shared, dermis_error *err)
{
    return change(s, "UPDATE results SET shared = ?2 WHERE id = ?1", id, shared, NULL, err);
}

dermis_status store_result_set_notes(store *s, const char *id, const char *notes, dermis_error *err)
{
    return change(s, "UPDATE results SET notes = ?2 WHERE id = ?1", id, 0, notes, err);
}

/* ---- deleting ---- */

/* File names that a statement gives, as one buffer of STORE_FILE_CHARS + 1 each. */
static dermis_status collect(store *s, sqlite3_stmt *ask, char **names, size_t *count, dermis_error *err)
{
    size_t room = 0;
    int code;
    *names = NULL;
    *count = 0;
    while ((code = sqlite3_step(ask)) == SQLITE_ROW) {
        if (*count == room) {
            room = room ? room * 2 : 16;
            char *grown = base_realloc(BASE_TAG_STORE, *names, room * (STORE_FILE_CHARS + 1));
            if (!grown) {
                sqlite3_reset(ask);
                return base_fail(err, DERMIS_E_MEMORY, "not enough memory");
            }
            *names = grown;
        }
        snprintf(*names + *count * (STORE_FILE_CHARS + 1), STORE_FILE_CHARS + 1, "%s",
                 text_at(ask, 0));
        ++*count;
    }
    dermis_status status = code == SQLITE_DONE ? DERMIS_OK : store_fail(s, err);
    sqlite3_reset(ask);
    return status;
}

/* With the mutex held; `ask`, `drop` and `also` (or NULL) are bound. Rows in one transaction, WAL, files:
 * in this order. */
static dermis_status delete_bound(store *s, sqlite3_stmt *ask, sqlite3_stmt *drop, sqlite3_stmt *also,
                                  unsigned *removed, dermis_error *err)
{
    char *names;
    size_t count;
    dermis_status status = store_begin(s, err);
    if (status != DERMIS_OK)
        return status;
    status = collect(s, ask, &names, &count, err);
    if (status == DERMIS_OK)
        status = store_done(s, drop, err);
    if (status == DERMIS_OK && also) {
        status = store_done(s, also, err);
        if (status == DERMIS_OK && sqlite3_changes(s->db) == 0)
            status = base_fail(err, DERMIS_E_NOT_FOUND, "there is no such account");
    }
    status = store_end(s, status, err);
    if (status == DERMIS_OK && (count || also || s->truncate_due))
        store_truncate_wal(s);
    bool committed = status == DERMIS_OK;
    for (size_t i = 0; i < count && committed; i++) {
        dermis_status removed_one = store_photo_delete(s, names + i * (STORE_FILE_CHARS + 1), err);
        status = status ? status : removed_one;
    }
    base_free(names);
    if (status == DERMIS_OK && removed)
        *removed = (unsigned)count;
    return status;
}

dermis_status store_delete_where(store *s, const char *select, const char *delete_sql, const char *also_sql,
                                 int64_t value, unsigned *removed, dermis_error *err)
{
    sqlite3_stmt *ask = store_prepare(s, select, err), *drop = ask ? store_prepare(s, delete_sql, err) : NULL;
    sqlite3_stmt *also = drop && also_sql ? store_prepare(s, also_sql, err) : NULL;
    if (!drop || (also_sql && !also))
        return failed(err);
    if (also)
        sqlite3_bind_int64(also, 1, value);
    sqlite3_bind_int64(ask, 1, value);
    sqlite3_bind_int64(drop, 1, value);
    return delete_bound(s, ask, drop, also, removed, err);
}

dermis_status store_result_delete(store *s, const char *id, dermis_error *err)
{
    dermis_error own;
    unsigned removed = 0;
    err = err ? err : &own;
    pthread_mutex_lock(&s->mutex);
    sqlite3_stmt *ask = store_prepare(s, "SELECT file FROM results WHERE id = ?1", err);
    sqlite3_stmt *drop = ask ? store_prepare(s, "DELETE FROM results WHERE id = ?1", err) : NULL;
    dermis_status status = drop ? DERMIS_OK : failed(err);
    if (drop) {
        sqlite3_bind_text(ask, 1, id, -1, SQLITE_STATIC);
        sqlite3_bind_text(drop, 1, id, -1, SQLITE_STATIC);
        status = delete_bound(s, ask, drop, NULL, &removed, err);
    }
    pthread_mutex_unlock(&s->mutex);
    if (status == DERMIS_OK && removed == 0)
        return base_fail(err, DERMIS_E_NOT_FOUND, "there is no such result");
    return status;
}

dermis_status store_result_delete_all(store *s, int64_t user, dermis_error *err)
{
    dermis_error own;
    err = err ? err : &own;
    pthread_mutex_lock(&s->mutex);
    dermis_status status = store_delete_where(s, "SELECT file FROM results WHERE user = ?1",
                                              "DELETE FROM results WHERE user = ?1", NULL, user, NULL, err);
    pthread_mutex_unlock(&s->mutex);
    return status;
}

dermis_status store_sweep(store *s, int64_t now, unsigned *removed, dermis_error *err)
{
    dermis_error own;
    err = err ? err : &own;
    pthread_mutex_lock(&s->mutex);
    dermis_status status = store_delete_where(s, "SELECT file FROM results WHERE expires > 0 AND expires <= ?1",
                                              "DELETE FROM results WHERE expires > 0 AND expires <= ?1", NULL, now,
                                              removed, err);
    sqlite3_stmt *drop = status ? NULL : store_prepare(s, "DELETE FROM sessions WHERE expires <= ?1", err);
    if (drop) {
        sqlite3_bind_int64(drop, 1, now);
        status = store_done(s, drop, err);
    } else if (!status) {
        status = failed(err);
    }
    pthread_mutex_unlock(&s->mutex);
    return status;
}

/* ---- listing ---- */

dermis_status store_result_list(store *s, int64_t user, const store_filter *f,
                                bool (*each)(void *, const store_result *), void *context, unsigned *total,
                                dermis_error *err)
{
#define WHERE " FROM results WHERE user = ?1 AND (expires = 0 OR expires > ?2) AND (?3 IS NULL OR top = ?3)" \
              " AND (?4 IS NULL OR instr(lower(notes), lower(?4)) > 0)"
    dermis_error own;
    err = err ? err : &own;
    pthread_mutex_lock(&s->mutex);
    sqlite3_stmt *count = store_prepare(s, "SELECT count(*)" WHERE, err);
    sqlite3_stmt *ask = count ? store_prepare(s, "SELECT " BRIEF WHERE " ORDER BY created DESC, id LIMIT ?5 OFFSET ?6", err)
                              : NULL;
    dermis_status status = ask ? DERMIS_OK : failed(err);
    sqlite3_stmt *both[] = {count, ask};
    for (int i = 0; i < 2 && !status; i++) {
        sqlite3_bind_int64(both[i], 1, user);
        sqlite3_bind_int64(both[i], 2, f->now);
        if (f->top)
            sqlite3_bind_text(both[i], 3, f->top, -1, SQLITE_STATIC);
        if (f->text)
            sqlite3_bind_text(both[i], 4, f->text, -1, SQLITE_STATIC);
    }
    if (!status && total) {
        if (sqlite3_step(count) == SQLITE_ROW)
            *total = (unsigned)sqlite3_column_int64(count, 0);
        else
            status = store_fail(s, err);
        sqlite3_reset(count);
    }
    if (!status) {
        sqlite3_bind_int64(ask, 5, f->limit ? (int64_t)f->limit : -1);
        sqlite3_bind_int64(ask, 6, f->offset);
        int code;
        bool more = true;
        while (more && (code = sqlite3_step(ask)) == SQLITE_ROW) {
            store_result r;
            read_result(ask, &r);
            more = each(context, &r);
        }
        if (more && code != SQLITE_DONE)
            status = store_fail(s, err);
        sqlite3_reset(ask);
    }
    pthread_mutex_unlock(&s->mutex);
    return status;
#undef WHERE
}
