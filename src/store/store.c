/* store.c - opening and closing: the folder, the lock, the database with its migrations; statements and
 * errors. One connection, opened without SQLite's own mutex: every public function holds the store's. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/store_private.h"

#define BUSY_MS    2000
/* Of SQLite: 1 MB of pages, statements, a row read and written anew. Past the first it gives up pages that it could
 * keep, past the second a call fails. */
#define EASE_BYTES ((size_t)3 << 20)
#define HEAP_BYTES ((size_t)4 << 20)

/* Each brings the schema from its index to the next number; a released one is never changed. */
static const char *const migrations[] = {
    "CREATE TABLE users (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL COLLATE NOCASE UNIQUE,"
    " password TEXT NOT NULL, language TEXT NOT NULL DEFAULT '', operator INTEGER NOT NULL DEFAULT 0,"
    " keeps INTEGER NOT NULL DEFAULT 0, created INTEGER NOT NULL);"
    "CREATE TABLE sessions (hash BLOB PRIMARY KEY, user INTEGER NOT NULL REFERENCES users(id) ON DELETE CASCADE,"
    " created INTEGER NOT NULL, expires INTEGER NOT NULL) WITHOUT ROWID;"
    "CREATE INDEX sessions_user ON sessions(user);"
    "CREATE INDEX sessions_expires ON sessions(expires);"
    "CREATE TABLE tokens (id INTEGER PRIMARY KEY AUTOINCREMENT, hash BLOB NOT NULL UNIQUE,"
    " user INTEGER NOT NULL REFERENCES users(id) ON DELETE CASCADE, label TEXT NOT NULL,"
    " created INTEGER NOT NULL, used INTEGER NOT NULL DEFAULT 0);"
    "CREATE INDEX tokens_user ON tokens(user);"
    "CREATE TABLE results (id TEXT PRIMARY KEY, file TEXT NOT NULL UNIQUE,"
    " user INTEGER REFERENCES users(id), guest BLOB NOT NULL, created INTEGER NOT NULL,"
    " expires INTEGER NOT NULL, shared INTEGER NOT NULL DEFAULT 0, width INTEGER NOT NULL,"
    " height INTEGER NOT NULL, top TEXT NOT NULL, answer TEXT NOT NULL, notes TEXT NOT NULL DEFAULT '',"
    " maps BLOB) WITHOUT ROWID;"
    "CREATE TABLE beat (id INTEGER PRIMARY KEY CHECK (id = 1), count INTEGER NOT NULL);"
    "INSERT INTO beat VALUES (1, 0);"
    "CREATE INDEX results_user ON results(user, created);"
    "CREATE INDEX results_expires ON results(expires) WHERE expires > 0;",
    /* a table of large rows with a rowid: without one, each comparison of a search reads a whole row into memory */
    "DROP INDEX results_user; DROP INDEX results_expires;"
    "ALTER TABLE results RENAME TO results_1;"
    "CREATE TABLE results (number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, file TEXT NOT NULL UNIQUE,"
    " user INTEGER REFERENCES users(id), guest BLOB NOT NULL, created INTEGER NOT NULL,"
    " expires INTEGER NOT NULL, shared INTEGER NOT NULL DEFAULT 0, width INTEGER NOT NULL,"
    " height INTEGER NOT NULL, top TEXT NOT NULL, notes TEXT NOT NULL DEFAULT '', answer TEXT NOT NULL,"
    " maps BLOB);"
    "INSERT INTO results (id, file, user, guest, created, expires, shared, width, height, top, notes, answer, maps)"
    " SELECT id, file, user, guest, created, expires, shared, width, height, top, notes, answer, maps"
    " FROM results_1;"
    "DROP TABLE results_1;"
    "CREATE INDEX results_user ON results(user, created);"
    "CREATE INDEX results_expires ON results(expires) WHERE expires > 0;",
};
#define SCHEMA ((int)(sizeof migrations / sizeof *migrations))

size_t store_memory_bytes(void)
{
    return HEAP_BYTES;
}

/* ---- errors and statements ---- */

static bool is_full(int why)
{
    return why == ENOSPC || why == EDQUOT;
}

dermis_status store_fail_file(dermis_error *err, const char *what, int why)
{
    return base_fail(err, DERMIS_E_IO, "%s: %s", what,
                     is_full(why) ? "the disk of the data folder is full" : strerror(why));
}

dermis_status store_fail(store *s, dermis_error *err)
{
    int code = s->db ? sqlite3_extended_errcode(s->db) : SQLITE_NOMEM, kind = code & 0xff;
    if ((kind == SQLITE_IOERR || kind == SQLITE_CANTOPEN) && is_full(sqlite3_system_errno(s->db)))
        kind = SQLITE_FULL; /* where not the database but its index of the WAL found no room */
    switch (kind) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
    case SQLITE_PROTOCOL:
        return base_fail(err, DERMIS_E_BUSY, "the database is locked by another program: try again");
    case SQLITE_FULL:
        return base_fail(err, DERMIS_E_IO, "the disk of the data folder is full");
    case SQLITE_READONLY:
        return base_fail(err, DERMIS_E_IO, "the data folder's database cannot be written: it is read-only");
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return base_fail(err, DERMIS_E_IO, "%s/dermis.db is damaged or no database: restore it from a backup, or "
                                           "move it away",
                         s->folder);
    case SQLITE_CONSTRAINT:
        if (code == SQLITE_CONSTRAINT_FOREIGNKEY)
            return base_fail(err, DERMIS_E_NOT_FOUND, "there is no such account");
        if (code == SQLITE_CONSTRAINT_UNIQUE || code == SQLITE_CONSTRAINT_PRIMARYKEY)
            return base_fail(err, DERMIS_E_EXISTS, "it is there already");
        return base_fail(err, DERMIS_E_INTERNAL, "the database refuses a value: %s", sqlite3_errmsg(s->db));
    case SQLITE_NOMEM:
        return base_fail(err, DERMIS_E_MEMORY, "not enough memory for the database");
    default:
        return base_fail(err, DERMIS_E_IO, "the database cannot be read or written: %s",
                         s->db ? sqlite3_errmsg(s->db) : "it is not open");
    }
}

/* A prepared statement, kept until the store closes. */
static dermis_status prepare(store *s, const char *sql, sqlite3_stmt **out, dermis_error *err)
{
    for (unsigned i = 0; i < s->cached_count; i++)
        if (s->cached[i].sql == sql) {
            *out = s->cached[i].statement;
            return DERMIS_OK;
        }
    if (s->cached_count == STORE_MAX_STATEMENTS)
        return base_fail(err, DERMIS_E_INTERNAL, "more statements than the cache holds");
    if (sqlite3_prepare_v3(s->db, sql, -1, SQLITE_PREPARE_PERSISTENT, out, NULL) != SQLITE_OK)
        return store_fail(s, err);
    s->cached[s->cached_count].sql = sql;
    s->cached[s->cached_count++].statement = *out;
    return DERMIS_OK;
}

/* The values stay the caller's until the statement is reset. */
static int bind(sqlite3_stmt *statement, const store_value *values)
{
    int code = SQLITE_OK;
    for (int i = 0; i < STORE_MAX_VALUES && values[i].kind != STORE_VALUE_NONE && code == SQLITE_OK; i++) {
        const store_value *v = &values[i];
        if (v->kind == STORE_VALUE_NUMBER)
            code = sqlite3_bind_int64(statement, i + 1, v->number);
        else if (v->kind == STORE_VALUE_TEXT)
            code = sqlite3_bind_text64(statement, i + 1, v->bytes, v->size, SQLITE_STATIC, SQLITE_UTF8);
        else
            code = sqlite3_bind_blob64(statement, i + 1, v->bytes, v->size, SQLITE_STATIC);
    }
    return code;
}

dermis_status store_ask(store *s, const store_query *q, dermis_error *err)
{
    sqlite3_stmt *statement;
    unsigned rows = 0;
    dermis_status status = prepare(s, q->sql, &statement, err);
    if (status != DERMIS_OK)
        return status;
    int code = bind(statement, q->values);
    if (code != SQLITE_OK)
        status = store_fail(s, err);
    while (!status && (code = sqlite3_step(statement)) == SQLITE_ROW) {
        rows++;
        if (q->row)
            status = q->row(s, statement, q->context, err);
    }
    if (status == STORE_ENOUGH)
        status = DERMIS_OK;
    else if (!status && code != SQLITE_DONE)
        status = store_fail(s, err);
    unsigned changed = sqlite3_stmt_readonly(statement) ? 0 : (unsigned)sqlite3_changes(s->db);
    sqlite3_reset(statement);
    sqlite3_clear_bindings(statement);
    if (status != DERMIS_OK)
        return status;
    if (q->none && rows == 0 && changed == 0)
        return base_fail(err, DERMIS_E_NOT_FOUND, "there is no such %s", q->none);
    if (q->changed)
        *q->changed = changed;
    if (q->id && changed)
        *q->id = sqlite3_last_insert_rowid(s->db);
    return DERMIS_OK;
}

dermis_status store_run(store *s, const store_query *query, dermis_error *err)
{
    pthread_mutex_lock(&s->mutex);
    dermis_status status = store_ask(s, query, err);
    pthread_mutex_unlock(&s->mutex);
    return status;
}

dermis_status store_row_read(store *s, dermis_error *err)
{
    return sqlite3_errcode(s->db) == SQLITE_NOMEM ? store_fail(s, err) : DERMIS_OK;
}

void store_copy_text(sqlite3_stmt *row, int column, char *out, size_t size)
{
    const char *text = (const char *)sqlite3_column_text(row, column);
    snprintf(out, size, "%s", text ? text : "");
}

dermis_status store_exec(store *s, const char *sql, dermis_error *err)
{
    return sqlite3_exec(s->db, sql, NULL, NULL, NULL) == SQLITE_OK ? DERMIS_OK : store_fail(s, err);
}

/* Prepared before it is needed: a transaction that cannot be ended for want of memory would stay for ever. */
static const char begin[] = "BEGIN IMMEDIATE", commit[] = "COMMIT", rollback[] = "ROLLBACK";

dermis_status store_begin(store *s, dermis_error *err)
{
    sqlite3_stmt *statement;
    dermis_status status = prepare(s, rollback, &statement, err);
    if (status == DERMIS_OK)
        status = prepare(s, commit, &statement, err);
    return status ? status : store_ask(s, &(store_query){.sql = begin}, err);
}

dermis_status store_end(store *s, dermis_status status, dermis_error *err)
{
    if (status == DERMIS_OK)
        status = store_ask(s, &(store_query){.sql = commit}, err);
    if (status != DERMIS_OK && !sqlite3_get_autocommit(s->db))
        store_ask(s, &(store_query){.sql = rollback}, NULL);
    return status;
}

void store_truncate_wal(store *s)
{
    s->truncate_due = sqlite3_wal_checkpoint_v2(s->db, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL) != SQLITE_OK;
    sqlite3_db_release_memory(s->db); /* pages as they were before scrub.c */
}

void store_random_name(char out[STORE_FILE_CHARS + 1])
{
    uint8_t bytes[16];
    randombytes_buf(bytes, sizeof bytes);
    sodium_bin2base64(out, STORE_FILE_CHARS + 1, bytes, sizeof bytes, sodium_base64_VARIANT_URLSAFE_NO_PADDING);
}

/* ---- the folder ---- */

static bool used_before_or_empty(const char *folder)
{
    DIR *d = opendir(folder);
    struct dirent *entry;
    bool empty = d != NULL, used = false;
    while (d && (entry = readdir(d))) {
        used |= strcmp(entry->d_name, "dermis.db") == 0;
        empty &= strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0;
    }
    if (d)
        closedir(d);
    return empty || used;
}

/* The name of a new folder stands in the one above it: that is synced, too. */
static dermis_status make_folder(const char *folder, dermis_error *err)
{
    char above[4200];
    if (mkdir(folder, 0700) != 0)
        return errno == EEXIST ? DERMIS_OK
                               : base_fail(err, DERMIS_E_IO, "%s: cannot make the data folder: %s", folder,
                                           strerror(errno));
    size_t n = strlen(folder); /* store_open has looked at it */
    memcpy(above, folder, n);
    memcpy(above + n, "/..", 4);
    if (chmod(folder, 0700) != 0 || (store_sync_folder(above) != 0 && errno != EACCES))
        return base_fail(err, DERMIS_E_IO, "%s: cannot make the data folder: %s", folder, strerror(errno));
    return DERMIS_OK;
}

static dermis_status open_folder(const char *folder, dermis_error *err)
{
    struct stat st;
    dermis_status status = make_folder(folder, err);
    if (status != DERMIS_OK)
        return status;
    if (stat(folder, &st) != 0 || !S_ISDIR(st.st_mode))
        return base_fail(err, DERMIS_E_IO, "%s: the data folder is no folder", folder);
    /* one that is ours and new, empty or used before is closed to others; /tmp or a home folder is not */
    if (st.st_uid != geteuid())
        return base_fail(err, DERMIS_E_IO, "%s: the data folder belongs to another user", folder);
    if (st.st_mode & 077 && (!used_before_or_empty(folder) || chmod(folder, 0700) != 0))
        return base_fail(err, DERMIS_E_IO,
                         "%s: others may read this folder and it holds other things: name a folder of its own, or "
                         "close it with chmod 700",
                         folder);
    if (access(folder, R_OK | W_OK | X_OK) != 0)
        return base_fail(err, DERMIS_E_IO, "%s: the data folder cannot be written: %s", folder, strerror(errno));
    return DERMIS_OK;
}

static dermis_status make_file(const char *folder, const char *name, int *fd, dermis_error *err)
{
    char path[4200];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    *fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (*fd < 0)
        return base_fail(err, DERMIS_E_IO, "%s: cannot be opened: %s", path, strerror(errno));
    fchmod(*fd, 0600);
    return DERMIS_OK;
}

/* The server's lock: a second one would remove files that the first is about to name in a row. */
static dermis_status take_lock(store *s, dermis_error *err)
{
    dermis_status status = make_file(s->folder, "lock", &s->lock_fd, err);
    if (status == DERMIS_OK && flock(s->lock_fd, LOCK_EX | LOCK_NB) != 0)
        return base_fail(err, DERMIS_E_BUSY, "%s: another dermis serves from this folder; end it, or name "
                         "another folder with --data-dir or DERMIS_DATA_DIR", s->folder);
    return status;
}

/* ---- the database ---- */

static dermis_status read_number(store *s, sqlite3_stmt *row, void *context, dermis_error *err)
{
    *(int *)context = sqlite3_column_int(row, 0);
    return store_row_read(s, err);
}

static dermis_status read_version(store *s, int *version, dermis_error *err)
{
    dermis_status status = store_ask(s, &(store_query){.sql = "PRAGMA user_version", .row = read_number,
                                                       .context = version}, err);
    if (!status && (*version > SCHEMA || *version < 0))
        return base_fail(err, DERMIS_E_USAGE,
                         "%s/dermis.db has schema %d, this dermis knows up to %d: it was made by a newer one; use "
                         "that, or another data folder",
                         s->folder, *version, SCHEMA);
    return status;
}

/* One step in one transaction; another process may have made it meanwhile. */
static dermis_status migrate_once(store *s, int *version, dermis_error *err)
{
    char sql[64];
    dermis_status status = store_begin(s, err);
    if (status != DERMIS_OK)
        return status;
    status = read_version(s, version, err);
    if (!status && *version < SCHEMA) {
        snprintf(sql, sizeof sql, "PRAGMA user_version = %d", *version + 1);
        status = store_exec(s, migrations[*version], err);
        if (!status)
            status = store_exec(s, sql, err);
        ++*version;
    }
    return store_end(s, status, err);
}

static dermis_status open_database(store *s, dermis_error *err)
{
    static const char settings[] = "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON;"
                                   "PRAGMA secure_delete=ON; PRAGMA trusted_schema=OFF; PRAGMA temp_store=MEMORY;"
                                   "PRAGMA cache_size=-1024; PRAGMA mmap_size=0; PRAGMA wal_autocheckpoint=256;"
                                   "PRAGMA max_page_count=" STORE_MAX_PAGES ";";
    char path[4200];
    struct stat st;
    int fd, version = 0;
    dermis_status status = DERMIS_OK;
    snprintf(path, sizeof path, "%s/dermis.db", s->folder);
    if (lstat(path, &st) != 0) { /* for its mode, whatever the umask; an open one is not opened twice */
        if ((status = make_file(s->folder, "dermis.db", &fd, err)) != DERMIS_OK)
            return status;
        close(fd);
    } else if (!S_ISREG(st.st_mode)) { /* where a link leads the WAL would stand, too, outside this folder */
        return base_fail(err, DERMIS_E_IO, "%s is no plain file: put the database itself there", path);
    }
    sqlite3_hard_heap_limit64((sqlite3_int64)HEAP_BYTES);
    sqlite3_soft_heap_limit64((sqlite3_int64)EASE_BYTES);
    if (!store_scrub_install() ||
        sqlite3_open_v2(path, &s->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, STORE_VFS) != SQLITE_OK)
        return store_fail(s, err);
    sqlite3_busy_timeout(s->db, BUSY_MS);
    /* a newer one is not touched, nor is what a kill left in its WAL */
    sqlite3_db_config(s->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    status = read_version(s, &version, err);
    if (!status) {
        sqlite3_db_config(s->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 0, NULL);
        status = store_exec(s, settings, err);
    }
    while (!status && version < SCHEMA)
        status = migrate_once(s, &version, err);
    return status;
}

/* A kill while the secret was being made leaves its copy under another name. */
static void clean_secrets(const store *s)
{
    DIR *d = opendir(s->folder);
    struct dirent *entry;
    while (d && (entry = readdir(d)))
        if (strncmp(entry->d_name, "secret-", 7) == 0 && strlen(entry->d_name) == 13)
            unlinkat(dirfd(d), entry->d_name, 0);
    if (d)
        closedir(d);
}

dermis_status store_open(const char *folder, bool clean, int64_t now, store **out, dermis_error *err)
{
    if (sodium_init() < 0)
        return base_fail(err, DERMIS_E_INTERNAL, "no random numbers: libsodium cannot start");
    if (strlen(folder) > 4000)
        return base_fail(err, DERMIS_E_USAGE, "the data folder's path is too long");
    dermis_status status = open_folder(folder, err);
    if (status != DERMIS_OK)
        return status;
    store *s = base_calloc(BASE_TAG_STORE, 1, sizeof *s);
    if (!s)
        return base_fail(err, DERMIS_E_MEMORY, "not enough memory");
    snprintf(s->folder, sizeof s->folder, "%s", folder);
    s->lock_fd = -1;
    s->truncate_due = clean; /* of what was deleted in the moment of a kill */
    pthread_mutex_init(&s->mutex, NULL);
    if ((clean && (status = take_lock(s, err))) || (status = open_database(s, err)) ||
        (clean && ((status = store_sweep(s, now, NULL, err)) || (status = store_photo_clean(s, err))))) {
        store_close(s);
        return status;
    }
    if (clean)
        clean_secrets(s);
    *out = s;
    return DERMIS_OK;
}

void store_close(store *s)
{
    if (!s)
        return;
    for (unsigned i = 0; i < s->cached_count; i++)
        sqlite3_finalize(s->cached[i].statement);
    sqlite3_close(s->db);
    if (s->lock_fd >= 0)
        close(s->lock_fd);
    pthread_mutex_destroy(&s->mutex);
    base_free(s);
}

static dermis_status make_secret(const store *s, const char *path, dermis_error *err)
{
    char temporary[4200];
    uint8_t bytes[STORE_SECRET_BYTES];
    snprintf(temporary, sizeof temporary, "%s/secret-XXXXXX", s->folder);
    randombytes_buf(bytes, sizeof bytes);
    int fd = mkostemp(temporary, O_CLOEXEC);
    bool fine = fd >= 0 && fchmod(fd, 0600) == 0 && base_write_all(fd, bytes, sizeof bytes) && fsync(fd) == 0 &&
                (link(temporary, path) == 0 || errno == EEXIST) && store_sync_folder(s->folder) == 0;
    int why = errno;
    if (fd >= 0) {
        close(fd);
        unlink(temporary);
    }
    sodium_memzero(bytes, sizeof bytes);
    return fine ? DERMIS_OK : store_fail_file(err, "the key of the data folder cannot be made", why);
}

dermis_status store_secret(store *s, uint8_t out[STORE_SECRET_BYTES], dermis_error *err)
{
    char path[4200];
    uint8_t bytes[STORE_SECRET_BYTES];
    snprintf(path, sizeof path, "%s/secret.key", s->folder);
    pthread_mutex_lock(&s->mutex);
    dermis_status status = access(path, F_OK) == 0 ? DERMIS_OK : make_secret(s, path, err);
    int fd = status ? -1 : open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (!status && (fd < 0 || read(fd, bytes, sizeof bytes) != (ssize_t)sizeof bytes))
        status = base_fail(err, DERMIS_E_IO, "%s: cannot be read as %d bytes; remove it, and a new one is made", path,
                           STORE_SECRET_BYTES);
    if (fd >= 0)
        close(fd);
    pthread_mutex_unlock(&s->mutex);
    if (status == DERMIS_OK)
        memcpy(out, bytes, sizeof bytes);
    sodium_memzero(bytes, sizeof bytes);
    return status;
}

dermis_status store_check(store *s, dermis_error *err)
{
    return store_run(s, &(store_query){.sql = "UPDATE beat SET count = count + 1"}, err);
}
