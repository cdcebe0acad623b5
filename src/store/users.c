/* users.c - accounts, sessions and API tokens. */
#include <string.h>

#include "store/store_private.h"

#define DAY_S      86400
#define MAX_TOKENS 20
#define USER       "users.id, users.name, users.password, users.language, users.operator, users.keeps, users.created"

static dermis_status read_user(store *s, sqlite3_stmt *row, void *out, dermis_error *err)
{
    store_user user = {.id = sqlite3_column_int64(row, 0),
                       .is_operator = sqlite3_column_int(row, 4) != 0,
                       .keeps = sqlite3_column_int(row, 5) != 0,
                       .created = sqlite3_column_int64(row, 6)};
    store_copy_text(row, 1, user.name, sizeof user.name);
    store_copy_text(row, 2, user.password, sizeof user.password);
    store_copy_text(row, 3, user.language, sizeof user.language);
    dermis_status status = store_row_read(s, err);
    if (status == DERMIS_OK)
        *(store_user *)out = user;
    return status;
}

static dermis_status check_password(const char *password, dermis_error *err)
{
    return strlen(password) < sizeof((store_user *)0)->password
               ? DERMIS_OK
               : base_fail(err, DERMIS_E_USAGE, "the password's hash is too long");
}

/* ---- accounts ---- */

dermis_status store_user_add(store *s, const char *name, const char *password, bool is_operator, int64_t now,
                             int64_t *id, dermis_error *err)
{
    size_t n = strlen(name);
    dermis_status status = check_password(password, err);
    if (status != DERMIS_OK)
        return status;
    if (n < 3 || n >= STORE_NAME_BYTES)
        return base_fail(err, DERMIS_E_USAGE, "an account's name has 3 to %d bytes", STORE_NAME_BYTES - 1);
    return store_run(s, &(store_query){
        .sql = "INSERT INTO users (name, password, operator, created) VALUES (?1, ?2, ?3, ?4)",
        .values = {STORE_TEXT(name), STORE_TEXT(password), STORE_NUMBER(is_operator), STORE_NUMBER(now)},
        .id = id}, err);
}

dermis_status store_user_by_name(store *s, const char *name, store_user *out, dermis_error *err)
{
    return store_run(s, &(store_query){.sql = "SELECT " USER " FROM users WHERE name = ?1",
                                       .values = {STORE_TEXT(name)},
                                       .row = read_user, .context = out, .none = "account"}, err);
}

dermis_status store_user_by_id(store *s, int64_t id, store_user *out, dermis_error *err)
{
    return store_run(s, &(store_query){.sql = "SELECT " USER " FROM users WHERE id = ?1",
                                       .values = {STORE_NUMBER(id)},
                                       .row = read_user, .context = out, .none = "account"}, err);
}

dermis_status store_user_set_password(store *s, int64_t id, const char *password, const uint8_t *session,
                                      dermis_error *err)
{
    const store_query steps[] = {
        {.sql = "UPDATE users SET password = ?2 WHERE id = ?1",
         .values = {STORE_NUMBER(id), STORE_TEXT(password)}, .none = "account"},
        {.sql = "DELETE FROM sessions WHERE user = ?1 AND hash IS NOT ?2",
         .values = {STORE_NUMBER(id), STORE_BYTES(session, STORE_HASH_BYTES)}},
        {.sql = "DELETE FROM tokens WHERE user = ?1", .values = {STORE_NUMBER(id)}},
    };
    dermis_status status = check_password(password, err);
    if (status != DERMIS_OK)
        return status;
    pthread_mutex_lock(&s->mutex);
    status = store_begin(s, err);
    if (status == DERMIS_OK) {
        for (size_t i = 0; i < sizeof steps / sizeof *steps && !status; i++)
            status = store_ask(s, &steps[i], err);
        status = store_end(s, status, err);
    }
    pthread_mutex_unlock(&s->mutex);
    return status;
}

dermis_status store_user_set_choices(store *s, int64_t id, const char *language, bool keeps, dermis_error *err)
{
    if (strlen(language) >= sizeof((store_user *)0)->language)
        return base_fail(err, DERMIS_E_USAGE, "the language's name is too long");
    return store_run(s, &(store_query){.sql = "UPDATE users SET language = ?2, keeps = ?3 WHERE id = ?1",
                                       .values = {STORE_NUMBER(id), STORE_TEXT(language), STORE_NUMBER(keeps)},
                                       .none = "account"}, err);
}

dermis_status store_user_delete(store *s, int64_t id, dermis_error *err)
{
    /* sessions and tokens go with the account */
    return store_delete_results(s, "SELECT file FROM results WHERE user = ?1", (store_value)STORE_NUMBER(id), NULL,
                                &(store_query){.sql = "DELETE FROM users WHERE id = ?1",
                                               .values = {STORE_NUMBER(id)}, .none = "account"}, NULL, err);
}

typedef struct user_list {
    bool (*each)(void *context, const store_user *user);
    void *context;
} user_list;

static dermis_status each_user(store *s, sqlite3_stmt *row, void *context, dermis_error *err)
{
    const user_list *list = context;
    store_user user;
    dermis_status status = read_user(s, row, &user, err);
    return status || list->each(list->context, &user) ? status : STORE_ENOUGH;
}

dermis_status store_user_list(store *s, bool (*each)(void *, const store_user *), void *context, dermis_error *err)
{
    return store_run(s, &(store_query){.sql = "SELECT " USER " FROM users ORDER BY name",
                                       .row = each_user, .context = &(user_list){each, context}}, err);
}

/* ---- sessions ---- */

dermis_status store_session_add(store *s, const uint8_t hash[STORE_HASH_BYTES], int64_t user, int64_t now,
                                int64_t expires, dermis_error *err)
{
    return store_run(s, &(store_query){
        .sql = "INSERT INTO sessions (hash, user, created, expires) VALUES (?1, ?2, ?3, ?4)",
        .values = {STORE_BYTES(hash, STORE_HASH_BYTES), STORE_NUMBER(user), STORE_NUMBER(now),
                   STORE_NUMBER(expires)}}, err);
}

dermis_status store_session_find(store *s, const uint8_t hash[STORE_HASH_BYTES], int64_t now, store_user *out,
                                 dermis_error *err)
{
    return store_run(s, &(store_query){.sql = "SELECT " USER " FROM sessions JOIN users ON users.id = sessions.user"
                                              " WHERE hash = ?1 AND expires > ?2",
                                       .values = {STORE_BYTES(hash, STORE_HASH_BYTES), STORE_NUMBER(now)},
                                       .row = read_user, .context = out, .none = "session"}, err);
}

dermis_status store_session_delete(store *s, const uint8_t hash[STORE_HASH_BYTES], dermis_error *err)
{
    return store_run(s, &(store_query){.sql = "DELETE FROM sessions WHERE hash = ?1",
                                       .values = {STORE_BYTES(hash, STORE_HASH_BYTES)}, .none = "session"}, err);
}

dermis_status store_session_delete_all(store *s, int64_t user, const uint8_t *except, dermis_error *err)
{
    return store_run(s, &(store_query){.sql = "DELETE FROM sessions WHERE user = ?1 AND hash IS NOT ?2",
                                       .values = {STORE_NUMBER(user), STORE_BYTES(except, STORE_HASH_BYTES)}}, err);
}

/* ---- tokens ---- */

dermis_status store_token_add(store *s, const uint8_t hash[STORE_HASH_BYTES], int64_t user, const char *label,
                              int64_t now, int64_t *id, dermis_error *err)
{
    unsigned added = 0;
    if (strlen(label) >= sizeof((store_token *)0)->label)
        return base_fail(err, DERMIS_E_USAGE, "a token's label has at most 80 bytes");
    dermis_status status = store_run(s, &(store_query){
        .sql = "INSERT INTO tokens (hash, user, label, created) SELECT ?1, ?2, ?3, ?4"
               " WHERE (SELECT count(*) FROM tokens WHERE user = ?2) < ?5",
        .values = {STORE_BYTES(hash, STORE_HASH_BYTES), STORE_NUMBER(user), STORE_TEXT(label), STORE_NUMBER(now),
                   STORE_NUMBER(MAX_TOKENS)},
        .changed = &added, .id = id}, err);
    if (status == DERMIS_OK && added == 0)
        return base_fail(err, DERMIS_E_USAGE, "there are %d tokens already: revoke one first", MAX_TOKENS);
    return status;
}

typedef struct found_token {
    store_user user;
    int64_t id, used;
} found_token;

static dermis_status read_found(store *s, sqlite3_stmt *row, void *context, dermis_error *err)
{
    found_token *found = context;
    found->id = sqlite3_column_int64(row, 7);
    found->used = sqlite3_column_int64(row, 8);
    return read_user(s, row, &found->user, err);
}

dermis_status store_token_find(store *s, const uint8_t hash[STORE_HASH_BYTES], int64_t now, store_user *out,
                               int64_t *id, dermis_error *err)
{
    found_token found;
    int64_t today = now - now % DAY_S;
    dermis_status status = store_run(s, &(store_query){
        .sql = "SELECT " USER ", tokens.id, tokens.used FROM tokens JOIN users ON users.id = tokens.user"
               " WHERE hash = ?1",
        .values = {STORE_BYTES(hash, STORE_HASH_BYTES)}, .row = read_found, .context = &found, .none = "token"}, err);
    if (status != DERMIS_OK)
        return status;
    if (found.used != today) /* a day that cannot be noted is no reason to refuse */
        store_run(s, &(store_query){.sql = "UPDATE tokens SET used = ?2 WHERE id = ?1",
                                    .values = {STORE_NUMBER(found.id), STORE_NUMBER(today)}}, NULL);
    *out = found.user;
    if (id)
        *id = found.id;
    return DERMIS_OK;
}

dermis_status store_token_delete(store *s, int64_t user, int64_t id, dermis_error *err)
{
    return store_run(s, &(store_query){.sql = "DELETE FROM tokens WHERE user = ?1 AND id = ?2",
                                       .values = {STORE_NUMBER(user), STORE_NUMBER(id)}, .none = "token"}, err);
}

typedef struct token_list {
    bool (*each)(void *context, const store_token *token);
    void *context;
} token_list;

static dermis_status each_token(store *s, sqlite3_stmt *row, void *context, dermis_error *err)
{
    const token_list *list = context;
    store_token token = {.id = sqlite3_column_int64(row, 0),
                         .created = sqlite3_column_int64(row, 2),
                         .used = sqlite3_column_int64(row, 3)};
    store_copy_text(row, 1, token.label, sizeof token.label);
    dermis_status status = store_row_read(s, err);
    return status || list->each(list->context, &token) ? status : STORE_ENOUGH;
}

dermis_status store_token_list(store *s, int64_t user, bool (*each)(void *, const store_token *), void *context,
                               dermis_error *err)
{
    return store_run(s, &(store_query){.sql = "SELECT id, label, created, used FROM tokens WHERE user = ?1 ORDER BY id",
                                       .values = {STORE_NUMBER(user)},
                                       .row = each_token, .context = &(token_list){each, context}}, err);
}
