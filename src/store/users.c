/* users.c - accounts, sessions and API tokens. */
#include <string.h>

#include "store/store_private.h"

#define DAY_S      86400
#define MAX_TOKENS 20
#define USER       "users.id, users.name, users.password, users.language, users.operator, users.keeps, users.created"

static void copy_text(sqlite3_stmt *row, int column, char *out, size_t size)
{
    const char *text = (const char *)sqlite3_column_text(row, column);
    snprintf(out, size, "%s", text ? text : "");
}

static void read_user(sqlite3_stmt *row, store_user *out)
{
    memset(out, 0, sizeof *out);
    out->id = sqlite3_column_int64(row, 0);
    copy_text(row, 1, out->name, sizeof out->name);
    copy_text(row, 2, out->password, sizeof out->password);
    copy_text(row, 3, out->language, sizeof out->language);
    out->is_operator = sqlite3_column_int(row, 4) != 0;
    out->keeps = sqlite3_column_int(row, 5) != 0;
    out->created = sqlite3_column_int64(row, 6);
}

/* Steps to the one row of a user; resets. */
static dermis_status one_user(store *s, sqlite3_stmt *ask, store_user *out, dermis_error *err)
{
    int code = sqlite3_step(ask);
    dermis_status status = DERMIS_OK;
    if (code == SQLITE_ROW)
        read_user(ask, out);
    else
        status = code == SQLITE_DONE ? base_fail(err, DERMIS_E_NOT_FOUND, "there is no such account")
                                     : store_fail(s, err);
    sqlite3_reset(ask);
    return status;
}

static dermis_status failed(const dermis_error *err)
{
    return err ? err->status : DERMIS_E_IO;
}

/* A change of one row: NOT_FOUND where there was none. */
static dermis_status changed(store *s, sqlite3_stmt *change, const char *what, dermis_error *err)
{
    dermis_status status = store_done(s, change, err);
    if (status == DERMIS_OK && sqlite3_changes(s->db) == 0)
        return base_fail(err, DERMIS_E_NOT_FOUND, "there is no such %s", what);
    return status;
}

static bool hash_fits(const char *password)
{
    return strlen(password) < sizeof((store_user *)0)->password;
}

/* ---- accounts ---- */

dermis_status store_user_add(store *s, const char *name, const char *password, bool is_operator, int64_t now,
                             int64_t *id, dermis_error *err)
{
    size_t n = strlen(name);
    if (!hash_fits(password))
        return base_fail(err, DERMIS_E_USAGE, "the password's hash is too long");
    if (n < 3 || n >= STORE_NAME_BYTES)
        return base_fail(err, DERMIS_E_USAGE, "an account's name has 3 to %d bytes", STORE_NAME_BYTES - 1);
    pthread_mutex_lock(&s->mutex);
    dermis_error own;
    err = err ? err : &own;
    sqlite3_stmt *add = store_prepare(
        s, "INSERT INTO users (name, password, operator, created) VALUES (?1, ?2, ?3, ?4)", err);
    dermis_status status = add ? DERMIS_OK : failed(err);
    if (add) {
        sqlite3_bind_text(add, 1, name, -1, SQLITE_STATIC);
        sqlite3_bind_text(add, 2, password, -1, SQLITE_STATIC);
        sqlite3_bind_int(add, 3, is_operator);
        sqlite3_bind_int64(add, 4, now);
        status = store_done(s, add, err);
        if (status == DERMIS_OK && id)
            *id = sqlite3_last_insert_rowid(s->db);
    }
    pthread_mutex_unlock(&s->mutex);
    return status;
}

dermis_status store_user_by_name(store *s, const char *name, store_user *out, dermis_error *err)
{
    dermis_error own;
    err = err ? err : &own;
    pthread_mutex_lock(&s->mutex);
    sqlite3_stmt *ask = store_prepare(s, "SELECT " USER " FROM users WHERE name = ?1", err);
    dermis_status status = ask ? DERMIS_OK : failed(err);
    if (ask) {
        sqlite3_bind_text(ask, 1, name, -1, SQLITE_STATIC);
        status = one_user(s, ask, out, err);
    }
    pthread_mutex_unlock(&s->mutex);
    return status;
}

dermis_status store_user_by_id(store *s, int64_t id, store_user *out, dermis_error *err)
{
    dermis_error own;
    err = err ? err : &own;
    pthread_mutex_lock(&s->mutex);
    sqlite3_stmt *ask = store_prepare(s, "SELECT " USER " FROM users WHERE id = ?1", err);
    dermis_status status = ask ? DERMIS_OK : failed(err);
    if (ask) {
        sqlite3_bind_int64(ask, 1, id);
        status = one_user(s, ask, out, err);
    }
    pthread_mutex_unlock(&s->mutex);
    return status;
}

dermis_status store_user_set_password(store *s, int64_t id, const char *password, dermis_error *err)
{
    if (!hash_fits(password))
        return base_fail(err, DERMIS_E_USAGE, "the password's hash is too long");
    dermis_error own;
    err = err ? err : &own;
    pthread_mutex_lock(&s->mutex);
    sqlite3_stmt *set = store_prepare(s, "UPDATE users SET password = ?2 WHERE id = ?1", err);
    dermis_status status = set ? DERMIS_OK : failed(err);
    if (set) {
        sqlite3_bind_int64(set, 1, id);
        sqlite3_bind_text(set, 2, password, -1, SQLITE_STATIC);
        status = changed(s, set, "account", err);
    }
    pthread_mutex_unlock(&s->mutex);
    return status;
}

dermis_status store_user_set_choices(store *s, int64_t id, const char *language, bool keeps, dermis_error *err)
{
    if (strlen(language) >= sizeof((store_user *)0)->language)
        return base_fail(err, DERMIS_E_USAGE, "the language's name is too long");
    dermis_error own;
    err = err ? err : &own;
    pthread_mutex_lock(&s->mutex);
    sqlite3_stmt *set = store_prepare(s, "UPDATE users SET language = ?2, keeps = ?3 WHERE id = ?1", err);
    dermis_status status = set ? DERMIS_OK : failed(err);
    if (set) {
        sqlite3_bind_int64(set, 1, id);
        sqlite3_bind_text(set, 2, language, -1, SQLITE_STATIC);
        sqlite3_bind_int(set, 3, keeps);
        status = changed(s, set, "account", err);
    }
    pthread_mutex_unlock(&s->mutex);
    return status;
}

dermis_status store_user_delete(store *s, int64_t id, dermis_error *err)
{
    dermis_error own;
    err = err ? err : &own;
    pthread_mutex_lock(&s->mutex);
    /* sessions and tokens go with the account */
    dermis_status status = store_delete_where(s, "SELECT file FROM results WHERE user = ?1",
                                              "DELETE FROM results WHERE user = ?1", "DELETE FROM users WHERE id = ?1",
                                              id, NULL, err);
    pthread_mutex_unlock(&s->mutex);
    return status;
}

dermis_status store_user_list(store *s, bool (*each)(void *, const store_user *), void *context, dermis_error *err)
{
    dermis_error own;
    err = err ? err : &own;
    pthread_mutex_lock(&s->mutex);
    sqlite3_stmt *ask = store_prepare(s, "SELECT " USER " FROM users ORDER BY name", err);
    dermis_status status = ask ? DERMIS_OK : failed(err);
    int code = SQLITE_DONE;
    while (ask && (code = sqlite3_step(ask)) == SQLITE_ROW) {
        store_user user;
        read_user(ask, &user);
        if (!each(context, &user)) {
            code = SQLITE_DONE;
            break;
        }
    }
    if (ask && code != SQLITE_DONE)
        status = store_fail(s, err);
    if (ask)
        sqlite3_reset(ask);
    pthread_mutex_unlock(&s->mutex);
    return status;
}

/* ---- sessions ---- */

dermis_status store_session_add(store *s, const uint8_t hash[STORE_HASH_BYTES], int64_t user, int64_t now,
                                int64_t expires, dermis_error *err)
{
    dermis_error own;
    err = err ? err : &own;
    pthread_mutex_lock(&s->mutex);
    sqlite3_stmt *add = store_prepare(s, "INSERT INTO sessions (hash, user, created, expires) VALUES (?1, ?2, ?3, ?4)",
                                      err);
    dermis_status status = add ? DERMIS_OK : failed(err);
    if (add) {
        sqlite3_bind_blob(add, 1, hash, STORE_HASH_BYTES, SQLITE_STATIC);
        sqlite3_bind_int64(add, 2, user);
        sqlite3_bind_int64(add, 3, now);
        sqlite3_bind_int64(add, 4, expires);
        status = store_done(s, add, err);
    }
    pthread_mutex_unlock(&s->mutex);
    return status;
}

dermis_status store_session_find(store *s, const uint8_t hash[STORE_HASH_BYTES], int64_t now, store_user *out,
                                 dermis_error *err)
{
    dermis_error own;
    err = err ? err : &own;
    pthread_mutex_lock(&s->mutex);
    sqlite3_stmt *ask = store_prepare(s, "SELECT " USER " FROM sessions JOIN users ON users.id = sessions.user"
                                         " WHERE hash = ?1 AND expires > ?2", err);
    dermis_status status = ask ? DERMIS_OK : failed(err);
    if (ask) {
        sqlite3_bind_blob(ask, 1, hash, STORE_HASH_BYTES, SQLITE_STATIC);
        sqlite3_bind_int64(ask, 2, now);
        status = one_user(s, ask, out, err);
    }
    pthread_mutex_unlock(&s->mutex);
    return status;
}

dermis_status store_session_delete(store *s, const uint8_t hash[STORE_HASH_BYTES], dermis_error *err)
{
    dermis_error own;
    err = err ? err : &own;
    pthread_mutex_lock(&s->mutex);
    sqlite3_stmt *drop = store_prepare(s, "DELETE FROM sessions WHERE hash = ?1", err);
    dermis_status status = drop ? DERMIS_OK : failed(err);
    if (drop) {
        sqlite3_bind_blob(drop, 1, hash, STORE_HASH_BYTES, SQLITE_STATIC);
        status = changed(s, drop, "session", err);
    }
    pthread_mutex_unlock(&s->mutex);
    return status;
}

dermis_status store_session_delete_all(store *s, int64_t user, const uint8_t *except, dermis_error *err)
{
    static const uint8_t none[STORE_HASH_BYTES];
    dermis_error own;
    err = err ? err : &own;
    pthread_mutex_lock(&s->mutex);
    sqlite3_stmt *drop = store_prepare(s, "DELETE FROM sessions WHERE user = ?1 AND hash <> ?2", err);
    dermis_status status = drop ? DERMIS_OK : failed(err);
    if (drop) {
        sqlite3_bind_int64(drop, 1, user);
        sqlite3_bind_blob(drop, 2, except ? except : none, STORE_HASH_BYTES, SQLITE_STATIC);
        status = store_done(s, drop, err);
    }
    pthread_mutex_unlock(&s->mutex);
    return status;
}

/* ---- tokens ---- */

dermis_status store_token_add(store *s, const uint8_t hash[STORE_HASH_BYTES], int64_t user, const char *label,
                              int64_t now, int64_t *id, dermis_error *err)
{
    dermis_error own;
    err = err ? err : &own;
    if (strlen(label) >= sizeof((store_token *)0)->label)
        return base_fail(err, DERMIS_E_USAGE, "a token's label has at most 80 bytes");
    pthread_mutex_lock(&s->mutex);
    sqlite3_stmt *add = store_prepare(
        s, "INSERT INTO tokens (hash, user, label, created) SELECT ?1, ?2, ?3, ?4"
           " WHERE (SELECT count(*) FROM tokens WHERE user = ?2) < ?5", err);
    dermis_status status = add ? DERMIS_OK : failed(err);
    if (add) {
        sqlite3_bind_blob(add, 1, hash, STORE_HASH_BYTES, SQLITE_STATIC);
        sqlite3_bind_int64(add, 2, user);
        sqlite3_bind_text(add, 3, label, -1, SQLITE_STATIC);
        sqlite3_bind_int64(add, 4, now);
        sqlite3_bind_int(add, 5, MAX_TOKENS);
        status = store_done(s, add, err);
        if (status == DERMIS_OK && sqlite3_changes(s->db) == 0)
            status = base_fail(err, DERMIS_E_USAGE, "there are %d tokens already: revoke one first", MAX_TOKENS);
        else if (status == DERMIS_OK && id)
            *id = sqlite3_last_insert_rowid(s->db);
    }
    pthread_mutex_unlock(&s->mutex);
    return status;
}

dermis_status store_token_find(store *s, const uint8_t hash[STORE_HASH_BYTES], int64_t now, store_user *out,
                               int64_t *id, dermis_error *err)
{
    dermis_error own;
    err = err ? err : &own;
    pthread_mutex_lock(&s->mutex);
    sqlite3_stmt *ask = store_prepare(s, "SELECT " USER ", tokens.id, tokens.used FROM tokens JOIN users"
                                         " ON users.id = tokens.user WHERE hash = ?1", err);
    dermis_status status = ask ? DERMIS_OK : failed(err);
    int64_t found = 0, used = 0;
    if (ask) {
        sqlite3_bind_blob(ask, 1, hash, STORE_HASH_BYTES, SQLITE_STATIC);
        int code = sqlite3_step(ask);
        if (code == SQLITE_ROW) {
            read_user(ask, out);
            found = sqlite3_column_int64(ask, 7);
            used = sqlite3_column_int64(ask, 8);
        } else {
            status = code == SQLITE_DONE ? base_fail(err, DERMIS_E_NOT_FOUND, "there is no such token")
                                         : store_fail(s, err);
        }
        sqlite3_reset(ask);
    }
    int64_t today = now - now % DAY_S;
    sqlite3_stmt *note = status == DERMIS_OK && used != today
                             ? store_prepare(s, "UPDATE tokens SET used = ?2 WHERE id = ?1", NULL)
                             : NULL;
    if (note) { /* a day that is not noted is no reason to refuse */
        sqlite3_bind_int64(note, 1, found);
        sqlite3_bind_int64(note, 2, today);
        store_done(s, note, NULL);
    }
    pthread_mutex_unlock(&s->mutex);
    if (status == DERMIS_OK && id)
        *id = found;
    return status;
}

dermis_status store_token_delete(store *s, int64_t user, int64_t id, dermis_error *err)
{
    dermis_error own;
    err = err ? err : &own;
    pthread_mutex_lock(&s->mutex);
    sqlite3_stmt *drop = store_prepare(s, "DELETE FROM tokens WHERE user = ?1 AND id = ?2", err);
    dermis_status status = drop ? DERMIS_OK : failed(err);
    if (drop) {
        sqlite3_bind_int64(drop, 1, user);
        sqlite3_bind_int64(drop, 2, id);
        status = changed(s, drop, "token", err);
    }
    pthread_mutex_unlock(&s->mutex);
    return status;
}

dermis_status store_token_list(store *s, int64_t user, bool (*each)(void *, const store_token *), void *context,
                               dermis_error *err)
{
    dermis_error own;
    err = err ? err : &own;
    pthread_mutex_lock(&s->mutex);
    sqlite3_stmt *ask = store_prepare(s, "SELECT id, label, created, used FROM tokens WHERE user = ?1 ORDER BY id", err);
    dermis_status status = ask ? DERMIS_OK : failed(err);
    int code = SQLITE_DONE;
    if (ask)
        sqlite3_bind_int64(ask, 1, user);
    while (ask && (code = sqlite3_step(ask)) == SQLITE_ROW) {
        store_token token = {.id = sqlite3_column_int64(ask, 0),
                             .created = sqlite3_column_int64(ask, 2),
                             .used = sqlite3_column_int64(ask, 3)};
        copy_text(ask, 1, token.label, sizeof token.label);
        if (!each(context, &token)) {
            code = SQLITE_DONE;
            break;
        }
    }
    if (ask && code != SQLITE_DONE)
        status = store_fail(s, err);
    if (ask)
        sqlite3_reset(ask);
    pthread_mutex_unlock(&s->mutex);
    return status;
}
