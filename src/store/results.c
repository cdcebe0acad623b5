/* results.c - results: rows with their photographs' files. */
#include <string.h>

#include "store/store_private.h"

#define BRIEF  "id, user, guest, created, expires, shared, width, height, top, answer, notes"
#define RESULT BRIEF ", maps"
#define ALIVE  "(expires = 0 OR expires > ?2)"

static const char *text_at(sqlite3_stmt *row, int column)
{
    const char *text = (const char *)sqlite3_column_text(row, column);
    return text ? text : ""; /* columns are NOT NULL: store_row_read finds that memory ran out */
}

/* Text and bytes of the row stay SQLite's: valid until the next step. */
static dermis_status read_result(store *s, sqlite3_stmt *row, store_result *out, dermis_error *err)
{
    *out = (store_result){.user = sqlite3_column_int64(row, 1),
                          .created = sqlite3_column_int64(row, 3),
                          .expires = sqlite3_column_int64(row, 4),
                          .shared = sqlite3_column_int(row, 5) != 0,
                          .width = (uint32_t)sqlite3_column_int64(row, 6),
                          .height = (uint32_t)sqlite3_column_int64(row, 7),
                          .answer = text_at(row, 9),
                          .notes = text_at(row, 10)};
    store_copy_text(row, 0, out->id, sizeof out->id);
    store_copy_text(row, 8, out->top, sizeof out->top);
    const void *guest = sqlite3_column_blob(row, 2);
    if (guest && sqlite3_column_bytes(row, 2) == STORE_HASH_BYTES)
        memcpy(out->guest, guest, STORE_HASH_BYTES);
    if (sqlite3_column_count(row) > 11) {
        out->maps = sqlite3_column_blob(row, 11);
        out->maps_bytes = out->maps ? (size_t)sqlite3_column_bytes(row, 11) : 0;
    }
    return store_row_read(s, err);
}

/* Copies what the pointers show into one allocation, which `answer` begins. */
static dermis_status read_whole(store *s, sqlite3_stmt *row, void *out, dermis_error *err)
{
    store_result r;
    dermis_status status = read_result(s, row, &r, err);
    if (status != DERMIS_OK)
        return status;
    size_t answer = strlen(r.answer) + 1, notes = strlen(r.notes) + 1;
    char *all = base_alloc(BASE_TAG_STORE, answer + notes + r.maps_bytes);
    if (!all)
        return base_fail(err, DERMIS_E_MEMORY, "not enough memory to read a result");
    memcpy(all, r.answer, answer);
    memcpy(all + answer, r.notes, notes);
    if (r.maps_bytes)
        memcpy(all + answer + notes, r.maps, r.maps_bytes);
    r.answer = all;
    r.notes = all + answer;
    r.maps = r.maps_bytes ? all + answer + notes : NULL;
    *(store_result *)out = r;
    return DERMIS_OK;
}

void store_result_release(store_result *result)
{
    base_free((void *)(uintptr_t)result->answer);
    memset(result, 0, sizeof *result);
}

dermis_status store_result_add(store *s, const store_result *r, const void *photo, size_t photo_bytes,
                               const void *thumb, size_t thumb_bytes, char out[STORE_ID_CHARS + 1], dermis_error *err)
{
    const char *answer = r->answer ? r->answer : "", *notes = r->notes ? r->notes : "";
    size_t maps_bytes = r->maps ? r->maps_bytes : 0;
    char id[STORE_ID_CHARS + 1], file[STORE_FILE_CHARS + 1];
    if (maps_bytes > STORE_RESULT_BYTES || strlen(answer) > STORE_RESULT_BYTES - maps_bytes ||
        strlen(notes) > STORE_NOTES_BYTES)
        return base_fail(err, DERMIS_E_USAGE, "a result's answer and maps have at most %zu bytes, its notes %zu",
                         STORE_RESULT_BYTES, STORE_NOTES_BYTES);
    store_random_name(id);
    store_random_name(file);
    /* files need no lock: nobody else knows their name */
    dermis_status status = store_photo_write(s, file, (const void *const[]){photo, thumb},
                                             (const size_t[]){photo_bytes, thumb_bytes}, err);
    if (status != DERMIS_OK)
        return status;
    status = store_run(s, &(store_query){
        .sql = "INSERT INTO results (" RESULT ", file)"
               " VALUES (?1, nullif(?2, 0), ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
        .values = {STORE_TEXT(id), STORE_NUMBER(r->user), STORE_BYTES(r->guest, STORE_HASH_BYTES),
                   STORE_NUMBER(r->created), STORE_NUMBER(r->expires), STORE_NUMBER(r->shared),
                   STORE_NUMBER(r->width), STORE_NUMBER(r->height), STORE_TEXT(r->top), STORE_TEXT(answer),
                   STORE_TEXT(notes), STORE_BYTES(maps_bytes ? r->maps : NULL, maps_bytes), STORE_TEXT(file)}}, err);
    if (status != DERMIS_OK)
        store_photo_delete(s, file, 1, NULL);
    else
        memcpy(out, id, sizeof id);
    return status;
}

dermis_status store_result_get(store *s, const char *id, int64_t now, store_result *out, dermis_error *err)
{
    return store_run(s, &(store_query){.sql = "SELECT " RESULT " FROM results WHERE id = ?1 AND " ALIVE,
                                       .values = {STORE_TEXT(id), STORE_NUMBER(now)},
                                       .row = read_whole, .context = out, .none = "result"}, err);
}

typedef struct wanted_file {
    bool thumb;
    int *fd;
} wanted_file;

/* With the mutex held: a result's files stand as long as its row. */
static dermis_status open_file(store *s, sqlite3_stmt *row, void *context, dermis_error *err)
{
    const wanted_file *want = context;
    char file[STORE_FILE_CHARS + 1];
    store_copy_text(row, 0, file, sizeof file);
    dermis_status status = store_row_read(s, err);
    return status ? status : store_photo_open(s, file, want->thumb, want->fd, err);
}

dermis_status store_result_photo(store *s, const char *id, bool thumb, int64_t now, int *fd, dermis_error *err)
{
    return store_run(s, &(store_query){.sql = "SELECT file FROM results WHERE id = ?1 AND " ALIVE,
                                       .values = {STORE_TEXT(id), STORE_NUMBER(now)},
                                       .row = open_file, .context = &(wanted_file){thumb, fd}, .none = "result"}, err);
}

/* ---- changes of one row ---- */

dermis_status store_result_keep(store *s, const char *id, int64_t user, dermis_error *err)
{
    return store_run(s, &(store_query){.sql = "UPDATE results SET user = ?2, expires = 0, guest = zeroblob(32)"
                                              " WHERE id = ?1 AND (user IS NULL OR user = ?2)",
                                       .values = {STORE_TEXT(id), STORE_NUMBER(user)}, .none = "result"}, err);
}

dermis_status store_result_share(store *s, const char *id, bool shared, dermis_error *err)
{
    return store_run(s, &(store_query){.sql = "UPDATE results SET shared = ?2 WHERE id = ?1",
                                       .values = {STORE_TEXT(id), STORE_NUMBER(shared)}, .none = "result"}, err);
}

dermis_status store_result_set_notes(store *s, const char *id, const char *notes, dermis_error *err)
{
    if (strlen(notes) > STORE_NOTES_BYTES)
        return base_fail(err, DERMIS_E_USAGE, "a result's notes have at most %zu bytes", STORE_NOTES_BYTES);
    pthread_mutex_lock(&s->mutex);
    dermis_status status = store_ask(s, &(store_query){.sql = "UPDATE results SET notes = ?2 WHERE id = ?1",
                                                       .values = {STORE_TEXT(id), STORE_TEXT(notes)},
                                                       .none = "result"}, err);
    s->truncate_due |= status == DERMIS_OK; /* of the former notes */
    pthread_mutex_unlock(&s->mutex);
    return status;
}

/* ---- deleting ---- */

/* File names, STORE_FILE_CHARS + 1 bytes each. */
typedef struct file_list {
    char *names;
    size_t count, room;
} file_list;

static dermis_status collect(store *s, sqlite3_stmt *row, void *context, dermis_error *err)
{
    file_list *list = context;
    if (list->count == list->room) {
        size_t room = list->room ? list->room * 2 : 16;
        char *grown = base_realloc(BASE_TAG_STORE, list->names, room * (STORE_FILE_CHARS + 1));
        if (!grown)
            return base_fail(err, DERMIS_E_MEMORY, "not enough memory");
        list->names = grown;
        list->room = room;
    }
    store_copy_text(row, 0, list->names + list->count * (STORE_FILE_CHARS + 1), STORE_FILE_CHARS + 1);
    list->count++;
    return store_row_read(s, err);
}

dermis_status store_delete_results(store *s, const char *which, store_value value, const char *none,
                                   const store_query *also, unsigned *removed, dermis_error *err)
{
    file_list list = {0};
    pthread_mutex_lock(&s->mutex);
    int before = sqlite3_total_changes(s->db);
    dermis_status status = store_begin(s, err);
    if (status == DERMIS_OK) {
        status = store_ask(s, &(store_query){.sql = which, .values = {value}, .row = collect, .context = &list,
                                             .none = none}, err);
        /* row by row: SQLite would list the keys of all in its bounded memory */
        for (size_t i = 0; i < list.count && !status; i++)
            status = store_ask(s, &(store_query){.sql = "DELETE FROM results WHERE file = ?1",
                                                 .values = {STORE_TEXT(list.names + i * (STORE_FILE_CHARS + 1))}}, err);
        if (!status && also)
            status = store_ask(s, also, err);
        status = store_end(s, status, err);
    }
    if (!status && (s->truncate_due || sqlite3_total_changes(s->db) != before))
        store_truncate_wal(s);
    pthread_mutex_unlock(&s->mutex);
    /* nobody finds these files any more: their removal holds up no one else */
    if (!status)
        status = store_photo_delete(s, list.names, list.count, err);
    if (!status && removed)
        *removed = (unsigned)list.count;
    base_free(list.names);
    return status;
}

dermis_status store_result_delete(store *s, const char *id, dermis_error *err)
{
    return store_delete_results(s, "SELECT file FROM results WHERE id = ?1", (store_value)STORE_TEXT(id), "result", NULL,
                                NULL, err);
}

dermis_status store_result_delete_all(store *s, int64_t user, dermis_error *err)
{
    return store_delete_results(s, "SELECT file FROM results WHERE user = ?1", (store_value)STORE_NUMBER(user), NULL,
                                NULL, NULL, err);
}

dermis_status store_sweep(store *s, int64_t now, unsigned *removed, dermis_error *err)
{
    return store_delete_results(s, "SELECT file FROM results WHERE expires > 0 AND expires <= ?1",
                                (store_value)STORE_NUMBER(now), NULL,
                                &(store_query){.sql = "DELETE FROM sessions WHERE expires <= ?1",
                                               .values = {STORE_NUMBER(now)}}, removed, err);
}

/* ---- listing ---- */

typedef struct result_list {
    bool (*each)(void *context, const store_result *result);
    void *context;
} result_list;

static dermis_status each_result(store *s, sqlite3_stmt *row, void *context, dermis_error *err)
{
    const result_list *list = context;
    store_result r;
    dermis_status status = read_result(s, row, &r, err);
    return status || list->each(list->context, &r) ? status : STORE_ENOUGH;
}

static dermis_status read_count(store *s, sqlite3_stmt *row, void *context, dermis_error *err)
{
    *(unsigned *)context = (unsigned)sqlite3_column_int64(row, 0);
    return store_row_read(s, err);
}

dermis_status store_result_list(store *s, int64_t user, const store_filter *f,
                                bool (*each)(void *, const store_result *), void *context, unsigned *total,
                                dermis_error *err)
{
/* What is sought is sought in the values of the notes: neither their names nor JSON's escapes count. The order is
 * the index's, so that SQLite sorts nothing in its bounded memory. */
#define WHERE " FROM results WHERE user = ?1 AND " ALIVE " AND (?3 IS NULL OR top = ?3) AND (?4 IS NULL OR EXISTS" \
              " (SELECT 1 FROM json_each(CASE WHEN json_valid(notes) THEN notes ELSE json_array(notes) END)" \
              " WHERE instr(lower(value), lower(?4)) > 0)) AND (?5 = 0 OR expires = 0)"
    unsigned count = 0;
    size_t top = f->top ? strnlen(f->top, sizeof((store_result *)0)->top - 1) : 0; /* as much as is kept of it */
    store_query query = {.sql = "SELECT count(*)" WHERE,
                         .values = {STORE_NUMBER(user), STORE_NUMBER(f->now),
                                    {.kind = STORE_VALUE_TEXT, .bytes = f->top, .size = top}, STORE_TEXT(f->text),
                                    STORE_NUMBER(f->kept)},
                         .row = read_count, .context = &count};
    pthread_mutex_lock(&s->mutex);
    dermis_status status = total ? store_ask(s, &query, err) : DERMIS_OK;
    if (status == DERMIS_OK) {
        query.sql = "SELECT " BRIEF WHERE " ORDER BY created DESC, number DESC LIMIT ?6 OFFSET ?7";
        query.values[5] = (store_value)STORE_NUMBER(f->limit ? (int64_t)f->limit : -1);
        query.values[6] = (store_value)STORE_NUMBER(f->offset);
        query.row = each_result;
        query.context = &(result_list){each, context};
        status = store_ask(s, &query, err);
    }
    pthread_mutex_unlock(&s->mutex);
    if (status == DERMIS_OK && total)
        *total = count;
    return status;
#undef WHERE
}
