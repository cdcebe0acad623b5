/* test_store_faults.c - the store when something breaks: damaged files, a locked database, kills, a full disk, memory
 * that runs out at the n-th allocation. Whatever was acknowledged stays, whatever failed changed nothing. */
#include <signal.h>
#include <pthread.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <time.h>

#include "store_harness.h"

/* ---- SQLite's memory, which fails when it is told to ---- */

static struct {
    sqlite3_mem_methods real;
    int64_t left; /* allocations until one fails; 0: none does */
    bool stays;   /* and all after it */
    bool hit;
} memory;

static bool fails(void)
{
    if (memory.left == 0)
        return false;
    if (memory.left > 1) {
        memory.left--;
        return false;
    }
    memory.hit = true;
    memory.left = memory.stays;
    return true;
}

static void *failing_malloc(int size)
{
    return fails() ? NULL : memory.real.xMalloc(size);
}

static void *failing_realloc(void *p, int size)
{
    return fails() ? NULL : memory.real.xRealloc(p, size);
}

static void fail_at(int64_t n, bool stays)
{
    memory.left = n;
    memory.stays = stays;
    memory.hit = false;
}

/* ---- damage ---- */

static void test_no_database(void **state)
{
    (void)state;
    char garbage[5000], *after;
    size_t size;
    store_close(db);
    db = NULL;
    memset(garbage, 'g', sizeof garbage);
    spill(in_folder("dermis.db"), garbage, sizeof garbage);
    REFUSES(store_open(folder, true, NOW, &db, &err), DERMIS_E_IO);
    assert_non_null(strstr(err.text, "damaged"));
    after = slurp(in_folder("dermis.db"), &size);
    assert_int_equal(size, sizeof garbage);
    assert_memory_equal(after, garbage, size); /* for whoever may mend it */
    free(after);
}

static bool go_on(void *context, const store_result *r)
{
    *(unsigned *)context += r != NULL;
    return true;
}

/* Pages written over: whatever is asked is answered or is a clean failure. */
static void test_damaged_pages(void **state)
{
    (void)state;
    char ids[12][STORE_ID_CHARS + 1];
    size_t size;
    int64_t anna;
    FINE(store_user_add(db, "anna", "h", false, NOW, &anna, &err));
    for (unsigned i = 0; i < 12; i++)
        FINE(add_numbered(db, i, anna, 0, ids[i], &err));
    store_close(db);
    char *whole = slurp(in_folder("dermis.db"), &size);
    unsigned refused = 0;
    for (size_t page = 0; page < size / 4096; page++) {
        char *bytes = malloc(size);
        memcpy(bytes, whole, size);
        memset(bytes + page * 4096 + (page ? 0 : 100), 0xa5, page ? 4096 : 3996);
        spill(in_folder("dermis.db"), bytes, size);
        free(bytes);
        db = NULL;
        dermis_status status = store_open(folder, false, NOW, &db, &err);
        for (unsigned i = 0; i < 12 && db; i += 5) {
            store_result r;
            unsigned seen = 0;
            dermis_status s[3] = {store_result_get(db, ids[i], NOW, &r, &err)};
            if (s[0] == DERMIS_OK)
                store_result_release(&r);
            s[1] = store_result_list(db, anna, &(store_filter){.now = NOW}, go_on, &seen, NULL, &err);
            s[2] = store_result_delete(db, ids[i], &err);
            for (int k = 0; k < 3; k++) {
                assert_true(s[k] == DERMIS_OK || s[k] == DERMIS_E_IO || s[k] == DERMIS_E_NOT_FOUND);
                status = s[k] ? s[k] : status;
            }
        }
        refused += status != DERMIS_OK;
        store_close(db);
        remove(in_folder("dermis.db-wal"));
    }
    assert_true(refused > size / 4096 / 2);
    free(whole);
    db = NULL;
}

/* ---- locked by another program ---- */

typedef struct blocked {
    int what;
    char id[STORE_ID_CHARS + 1];
    int64_t user;
    dermis_status status;
    double ms;
    dermis_error err;
} blocked;

static void *try_blocked(void *context)
{
    blocked *b = context;
    store *own = NULL;
    char id[STORE_ID_CHARS + 1];
    if (store_open(folder, false, NOW, &own, &b->err) != DERMIS_OK)
        return NULL;
    double began = base_now_ms();
    switch (b->what) {
    case 0: b->status = store_user_add(own, "bert", "h", false, NOW, NULL, &b->err); break;
    case 1: b->status = add_numbered(own, 5, b->user, 0, id, &b->err); break;
    case 2: b->status = store_result_delete(own, b->id, &b->err); break;
    case 3: b->status = store_user_delete(own, b->user, &b->err); break;
    case 4: b->status = store_result_set_notes(own, b->id, "changed", &b->err); break;
    case 5: b->status = store_check(own, &b->err); break;
    }
    b->ms = base_now_ms() - began;
    store_close(own);
    return NULL;
}

static void test_locked(void **state)
{
    (void)state;
    enum { TRIES = 6 };
    blocked b[TRIES] = {{0}};
    pthread_t threads[TRIES];
    char id[STORE_ID_CHARS + 1];
    int64_t anna;
    FINE(store_user_add(db, "anna", "h", false, NOW, &anna, &err));
    FINE(add_numbered(db, 1, anna, 0, id, &err));
    sqlite3 *raw = other();
    assert_int_equal(sqlite3_exec(raw, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
    for (int i = 0; i < TRIES; i++) {
        b[i].what = i;
        b[i].user = anna;
        memcpy(b[i].id, id, sizeof id);
        assert_int_equal(pthread_create(&threads[i], NULL, try_blocked, &b[i]), 0);
    }
    assert_true(is_whole(db, id, 1)); /* who only reads waits for nobody */
    for (int i = 0; i < TRIES; i++)
        pthread_join(threads[i], NULL);
    for (int i = 0; i < TRIES; i++) {
        assert_int_equal(b[i].status, DERMIS_E_BUSY);
        assert_non_null(strstr(b[i].err.text, "locked"));
        assert_true(b[i].ms > 1500 && b[i].ms < 10000); /* 2 s, on a machine that may be busy */
    }
    assert_int_equal(sqlite3_exec(raw, "ROLLBACK", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(raw);
    assert_true(is_whole(db, id, 1));
    assert_int_equal(files(), 2);
    assert_int_equal(ask_number("SELECT count(*) FROM users"), 1);
    FINE(store_result_delete(db, id, &err));
}

/* Someone reads for long: what is deleted is gone for all who ask, and from the log when the reader has left. */
static void test_reader_puts_off(void **state)
{
    (void)state;
    char id[STORE_ID_CHARS + 1], *wal;
    size_t size;
    FINE(add_numbered(db, 1, 0, NOW + 9, id, &err));
    sqlite3 *raw = other();
    assert_int_equal(sqlite3_exec(raw, "BEGIN; SELECT count(*) FROM results", NULL, NULL, NULL), SQLITE_OK);
    FINE(store_result_delete(db, id, &err));
    assert_int_equal(files(), 0);
    wal = slurp(in_folder("dermis.db-wal"), &size);
    assert_non_null(memmem(wal, size, "SECRET-", 7));
    free(wal);
    sqlite3_close(raw);
    FINE(store_sweep(db, NOW, NULL, &err));
    wal = slurp(in_folder("dermis.db-wal"), &size);
    assert_int_equal(size, 0);
    free(wal);
}

/* A stop in between: the next start that cleans does what was due. */
static void test_truncation_after_stop(void **state)
{
    (void)state;
    char id[STORE_ID_CHARS + 1], *wal;
    size_t size;
    FINE(add_numbered(db, 1, 0, NOW + 9, id, &err));
    sqlite3 *raw = other();
    sqlite3_db_config(raw, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    assert_int_equal(sqlite3_exec(raw, "BEGIN; SELECT count(*) FROM results", NULL, NULL, NULL), SQLITE_OK);
    FINE(store_result_delete(db, id, &err));
    store_close(db);
    db = NULL;
    sqlite3_close(raw);
    wal = slurp(in_folder("dermis.db-wal"), &size);
    assert_non_null(memmem(wal, size, "SECRET-", 7));
    free(wal);
    FINE(store_open(folder, true, NOW, &db, &err));
    wal = slurp(in_folder("dermis.db-wal"), &size);
    assert_true(size == 0);
    free(wal);
}

/* Notes that were overwritten are nowhere after the next sweep. */
static void test_old_notes_go(void **state)
{
    (void)state;
    char id[STORE_ID_CHARS + 1];
    static const char *const names[] = {"dermis.db", "dermis.db-wal"};
    for (unsigned n = 0; n < 3; n++) {
        size_t size;
        store_result r = {.created = NOW, .expires = NOW + 9};
        FINE(store_result_add(db, &r, "p", 1, "t", 1, id, &err));
        char *old = secret(n, secret_size(n)), *raw;
        FINE(store_result_set_notes(db, id, old, &err));
        FINE(store_sweep(db, NOW, NULL, &err));
        FINE(store_result_set_notes(db, id, n % 2 ? "" : "other", &err));
        FINE(store_sweep(db, NOW, NULL, &err));
        for (int i = 0; i < 2; i++) {
            raw = slurp(in_folder(names[i]), &size);
            assert_true(i == 1 || size > 0);
            assert_null(memmem(raw, size, "SECRET-", 7));
            free(raw);
        }
        free(old);
    }
}

/* ---- kills ---- */

enum { MOST = 20000, UNKNOWN = 0, THERE, DOOMED, GONE };

typedef struct message {
    char what; /* + added, ? about to delete, - deleted */
    unsigned n;
    char id[STORE_ID_CHARS + 1];
} message;

static struct {
    uint8_t is;
    char id[STORE_ID_CHARS + 1];
} known[MOST];

static unsigned next_number;

static void say(int pipe, char what, unsigned n, const char *id)
{
    message m = {.what = what, .n = n};
    memcpy(m.id, id, sizeof m.id);
    if (write(pipe, &m, sizeof m) != sizeof m)
        _exit(9);
}

/* The child: adds and deletes, and says so when the store has said so. Killed from outside. */
static void add_and_delete(int pipe, unsigned seed, unsigned first)
{
    store *own;
    if (store_open(folder, true, NOW, &own, &err) != DERMIS_OK)
        _exit(8);
    for (unsigned n = first; n < MOST; n++) {
        char id[STORE_ID_CHARS + 1];
        if (add_numbered(own, n, 0, 0, id, &err) != DERMIS_OK)
            _exit(7);
        say(pipe, '+', n, id);
        known[n].is = THERE;
        memcpy(known[n].id, id, sizeof id);
        unsigned live = 0;
        for (unsigned i = 0; i <= n; i++)
            live += known[i].is == THERE;
        while (live > 30 + (unsigned)rand_r(&seed) % 10) {
            unsigned victim = (unsigned)rand_r(&seed) % (n + 1);
            if (known[victim].is != THERE)
                continue;
            live--;
            say(pipe, '?', victim, known[victim].id);
            if (store_result_delete(own, known[victim].id, &err) != DERMIS_OK)
                _exit(6);
            known[victim].is = GONE;
            say(pipe, '-', victim, known[victim].id);
        }
    }
    _exit(5);
}

/* No byte of what was acknowledged as deleted. By hand: under the thread sanitizer each memmem would look at all. */
static void nothing_left(const char *name)
{
    size_t size;
    char *bytes = slurp(in_folder(name), &size);
    for (size_t i = 0; i + 16 <= size; i++) {
        if (bytes[i] != 'S' || memcmp(bytes + i, "SECRET-", 7) != 0)
            continue;
        unsigned n = (unsigned)strtoul(bytes + i + 7, NULL, 10);
        if (strspn(bytes + i + 7, "0123456789") == 8 && bytes[i + 15] == '-' && n < MOST && known[n].is == GONE)
            fail_msg("result %u was deleted, but %s has bytes of it", n, name);
    }
    free(bytes);
}

/* SQLite moves rows between pages; copies that it left behind must not outlive them. Small rows, which it moves
 * often; another program adds them, for speed. */
static void test_deleted_bytes(void **state)
{
    (void)state;
    enum { ROUNDS = 60 };
    static const unsigned repeats[] = {1, 2, 3, 4, 10, 250};
    static uint8_t ends[MOST];
    unsigned seed = 4, made = 0;
    memset(known, 0, sizeof known);
    for (unsigned round = 1; round < ROUNDS; round++) {
        sqlite3 *raw = other();
        sqlite3_exec(raw, "PRAGMA wal_autocheckpoint = 0; BEGIN", NULL, NULL, NULL);
        for (unsigned i = 0; i < (round == 1 ? 800 : round % 6 == 1 ? 240 : 0); i++, made++) {
            char sql[6000], *text = secret(made, 16 * repeats[(unsigned)rand_r(&seed) % 6]);
            ends[made] = (uint8_t)(round + (unsigned)rand_r(&seed) % 20);
            known[made].is = THERE;
            snprintf(known[made].id, sizeof known[made].id, "%022u", made);
            snprintf(sql, sizeof sql, "INSERT INTO results VALUES (NULL, '%022u', '%022u', NULL, zeroblob(32), 0, %u, 0, 1, 1,"
                                      " 'nv', '%s', '{}', NULL)", made, made, ends[made], text);
            free(text);
            assert_int_equal(sqlite3_exec(raw, sql, NULL, NULL, NULL), SQLITE_OK);
        }
        assert_int_equal(sqlite3_exec(raw, "COMMIT", NULL, NULL, NULL), SQLITE_OK);
        FINE(store_sweep(db, round, NULL, &err));
        for (unsigned n = 0; n < made; n++)
            if (ends[n] <= round)
                known[n].is = GONE;
        nothing_left("dermis.db");
        for (unsigned n = 0; n < made; n += 8) /* pages that the store still knows are written again */
            if (known[n].is == THERE)
                FINE(store_result_share(db, known[n].id, round % 2, &err));
        nothing_left("dermis.db-wal");
        sqlite3_close(raw);
    }
}

static void test_kills(void **state)
{
    (void)state;
    unsigned seed = (unsigned)time(NULL), rounds = 30, there = 0, gone = 0, unsaid = 0;
    if (getenv("STORE_SEED"))
        seed = (unsigned)strtoul(getenv("STORE_SEED"), NULL, 10);
    print_message("kills: STORE_SEED=%u\n", seed);
    memset(known, 0, sizeof known);
    next_number = 0;
    store_close(db);
    db = NULL;
    for (unsigned round = 0; round < rounds; round++) {
        int ends[2], how;
        message m;
        assert_int_equal(pipe(ends), 0);
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            close(ends[0]);
            add_and_delete(ends[1], seed + round, next_number);
        }
        close(ends[1]);
        /* from the first answer on, so that a slow machine gets somewhere, too */
        bool first = read(ends[0], &m, sizeof m) == sizeof m;
        struct timespec pause = {.tv_nsec = rand_r(&seed) % 20000000};
        nanosleep(&pause, NULL);
        kill(child, SIGKILL);
        assert_true(waitpid(child, &how, 0) == child && WIFSIGNALED(how));
        assert_true(first);
        do {
            known[m.n].is = m.what == '+' ? THERE : m.what == '?' ? DOOMED : GONE;
            memcpy(known[m.n].id, m.id, sizeof m.id);
            next_number = m.n >= next_number ? m.n + 1 : next_number;
        } while (read(ends[0], &m, sizeof m) == sizeof m);
        close(ends[0]);
        next_number++; /* one may have been added that could not be said any more */
        nothing_left("dermis.db");
        nothing_left("dermis.db-wal");
        FINE(store_open(folder, true, NOW, &db, &err));
        there = gone = 0;
        for (unsigned n = 0; n < next_number; n++) {
            store_result r;
            if (known[n].is == DOOMED) { /* one or the other, but whole */
                known[n].is = is_whole(db, known[n].id, n) ? THERE : GONE;
            }
            if (known[n].is == THERE && !is_whole(db, known[n].id, n))
                fail_msg("round %u: result %u was acknowledged and is not there", round, n);
            if (known[n].is == GONE) {
                REFUSES(store_result_get(db, known[n].id, NOW, &r, &err), DERMIS_E_NOT_FOUND);
            }
            there += known[n].is == THERE;
            gone += known[n].is == GONE;
        }
        unsigned rows = (unsigned)ask_number("SELECT count(*) FROM results");
        assert_int_equal(files(), 2 * rows); /* no file without a row, no row without its files */
        assert_true(rows >= there && rows <= there + round + 1);
        unsaid = rows - there;
        store_close(db);
        db = NULL;
        nothing_left("dermis.db");
        nothing_left("dermis.db-wal");
    }
    print_message("kills: %u rounds, %u results there, %u deleted, %u added without a word\n", rounds, there, gone, unsaid);
    assert_true(there > rounds / 2 && gone > rounds / 2);
}

/* ---- a full disk ---- */

static void test_full_disk(void **state)
{
    (void)state;
    char ids[400][STORE_ID_CHARS + 1], id[STORE_ID_CHARS + 1];
    int64_t anna, bert = 0;
    dermis_status status = DERMIS_OK;
    unsigned count = 0;
    store_user user;
    mkdir(folder, 0700);
    if (geteuid() != 0 || mount("tmpfs", folder, "tmpfs", 0, "size=1m,mode=700") != 0) {
        print_message("no small file system can be mounted here\n");
        skip();
    }
    FINE(store_open(folder, true, NOW, &db, &err));
    FINE(store_user_add(db, "anna", "h", false, NOW, &anna, &err));
    while (count < 400 && (status = add_numbered(db, count, anna, 0, ids[count], &err)) == DERMIS_OK)
        count++;
    assert_true(count > 5 && status == DERMIS_E_IO);
    assert_non_null(strstr(err.text, "the disk of the data folder is full"));
    /* small ones until the last byte, so that the database itself finds no room */
    for (unsigned left = 0; (status = store_user_add(db, (char[]){'u', 's', (char)('a' + left / 26), (char)('a' + left % 26), 0},
                                                     "hash", false, NOW, NULL, &err)) == DERMIS_OK; left++)
        assert_true(left < 600);
    assert_int_equal(status, DERMIS_E_IO);
    assert_non_null(strstr(err.text, "the disk of the data folder is full"));
    int64_t users = ask_number("SELECT count(*) FROM users");
    for (int i = 0; i < 20; i++) {
        REFUSES(add_numbered(db, 2, anna, 0, id, &err), DERMIS_E_IO);
        REFUSES(store_user_add(db, "bert", "h", false, NOW, &bert, &err), DERMIS_E_IO);
    }
    for (int i = 0; i < 2; i++) { /* as it is, and after a start on the full disk, if it starts */
        for (unsigned n = 0; n < count && db; n++)
            assert_true(is_whole(db, ids[n], n));
        assert_int_equal(files(), 2 * count);
        store_close(db);
        db = NULL;
        status = store_open(folder, true, NOW, &db, &err);
        assert_true(status == DERMIS_OK || (status == DERMIS_E_IO && strstr(err.text, "full")));
    }
    assert_int_equal(mount("tmpfs", folder, "tmpfs", MS_REMOUNT, "size=4m"), 0);
    if (!db)
        FINE(store_open(folder, true, NOW, &db, &err));
    assert_int_equal(ask_number("SELECT count(*) FROM users"), users);
    FINE(store_user_by_name(db, "anna", &user, &err));
    FINE(add_numbered(db, 2, anna, 0, id, &err));
    for (unsigned n = 0; n < count; n++)
        FINE(store_result_delete(db, ids[n], &err));
    assert_true(is_whole(db, id, 2));
    assert_int_equal(files(), 2);
}

static int leave_disk(void **state)
{
    store_close(db);
    db = NULL;
    umount2(folder, MNT_DETACH);
    return teardown(state);
}

/* ---- out of memory ---- */

/* The state that every operation begins with, by name: results of anna's (0: guest's). */
static struct {
    int64_t anna, bert, token;
    char own[STORE_ID_CHARS + 1], guest[STORE_ID_CHARS + 1];
    uint8_t session[STORE_HASH_BYTES], token_hash[STORE_HASH_BYTES], fresh[STORE_HASH_BYTES];
} at;

static void make_state(void)
{
    hash_of(1, at.session), hash_of(2, at.token_hash), hash_of(3, at.fresh);
    FINE(store_user_add(db, "anna", "h", false, NOW, &at.anna, &err));
    FINE(store_user_add(db, "bert", "h", false, NOW, &at.bert, &err));
    FINE(store_session_add(db, at.session, at.anna, NOW, NOW + 9, &err));
    FINE(store_token_add(db, at.token_hash, at.anna, "t", NOW, &at.token, &err));
    FINE(add_numbered(db, 2, at.anna, 0, at.own, &err));
    FINE(add_numbered(db, 4, at.bert, 0, at.guest, &err));
    FINE(add_numbered(db, 1, 0, NOW + 9, at.guest, &err));
}

/* All that stands in the folder, in one number; ids and names of files are random and do not count. */
static int64_t look(void)
{
    return files() + 1000 * ask_number(
        "SELECT (SELECT count(*) + 3 * sum(length(password)) + 7 * sum(length(language)) FROM users) +"
        " 100 * (SELECT count(*) FROM sessions) + 1000 * (SELECT count(*) + 2 * sum(used > 0) FROM tokens) +"
        " 10000 * (SELECT total(length(notes) + 3 * length(answer) + 5 * length(maps)) + 7 * sum(shared) +"
        " 11 * sum(user IS NULL) + 13 * count(*) FROM results)");
}

static bool user_seen(void *context, const store_user *user)
{
    *(int64_t *)context += user->id;
    assert_true(*user->name);
    return true;
}

static bool token_seen(void *context, const store_token *token)
{
    *(int64_t *)context += token->id;
    assert_string_equal(token->label, "t");
    return true;
}

static bool result_seen(void *context, const store_result *r)
{
    *(int64_t *)context += (int64_t)(strlen(r->answer) + strlen(r->notes));
    return true;
}

enum { OPERATIONS = 22 };

/* Does the operation; a reading one that succeeded has read all. */
static dermis_status operate(int what, dermis_error *why)
{
    char id[STORE_ID_CHARS + 1];
    store_user user;
    store_result r;
    int64_t sum = 0;
    int fd;
    unsigned total = 0;
    dermis_status status;
    switch (what) {
    case 0: return store_user_add(db, "cleo", "hh", true, NOW, NULL, why);
    case 1: return store_user_set_password(db, at.anna, "another hash", NULL, why);
    case 2: return store_user_set_choices(db, at.anna, "vi", true, why);
    case 3: return store_user_delete(db, at.anna, why);
    case 4: return store_session_add(db, at.fresh, at.anna, NOW, NOW + 9, why);
    case 5: return store_session_delete(db, at.session, why);
    case 6: return store_session_delete_all(db, at.anna, NULL, why);
    case 7: return store_token_add(db, at.fresh, at.anna, "u", NOW, NULL, why);
    case 8: return store_token_delete(db, at.anna, at.token, why);
    case 9: return add_numbered(db, 5, at.anna, 0, id, why);
    case 10: return store_result_keep(db, at.guest, at.anna, why);
    case 11: return store_result_share(db, at.own, true, why);
    case 12: return store_result_set_notes(db, at.own, "noted", why);
    case 13: return store_result_delete(db, at.own, why);
    case 14: return store_result_delete_all(db, at.anna, why);
    case 15: return store_sweep(db, NOW + 9, NULL, why);
    case 16:
        status = store_user_by_name(db, "anna", &user, why);
        assert_true(status || (user.id == at.anna && strcmp(user.password, "h") == 0));
        return status;
    case 17:
        status = store_session_find(db, at.session, NOW, &user, why);
        assert_true(status || (user.id == at.anna && strcmp(user.name, "anna") == 0));
        return status;
    case 18:
        status = store_user_list(db, user_seen, &sum, why);
        return status ? status : store_token_list(db, at.anna, token_seen, &sum, why);
    case 19:
        if ((status = store_result_get(db, at.own, NOW, &r, why)) == DERMIS_OK) {
            assert_true(strlen(r.answer) == secret_size(2) && strlen(r.notes) == secret_size(2) &&
                        r.maps_bytes == secret_size(2));
            store_result_release(&r);
        }
        return status;
    case 20:
        if ((status = store_result_photo(db, at.own, false, NOW, &fd, why)) == DERMIS_OK)
            close(fd);
        return status;
    default:
        status = store_result_list(db, at.anna, &(store_filter){.now = NOW, .text = "SECRET"}, result_seen, &sum, &total, why);
        assert_true(status || (total == 1 && sum == (int64_t)(2 * secret_size(2))));
        return status;
    }
}

static void copy_files(const char *from, const char *to)
{
    char command[600];
    snprintf(command, sizeof command, "rm -rf '%s' && cp -a '%s' '%s'", to, from, to);
    assert_int_equal(system(command), 0);
}

/* Every operation with the n-th allocation failing, alone and with all after it, for each n; with a store just
 * opened (statements are prepared anew: there by steps that grow) and one that has done it all before. */
static void memory_runs_out(bool of_sqlite, bool stays, bool warm)
{
    char template[160];
    unsigned failures = 0;
    snprintf(template, sizeof template, "%s/template", parent);
    make_state();
    int64_t before = look();
    store_close(db);
    db = NULL;
    copy_files(folder, template);
    for (int what = 0; what < OPERATIONS; what++) {
        /* what it does when it can */
        copy_files(template, folder);
        reopen(false);
        FINE(operate(what, &err));
        int64_t after = look();
        copy_files(template, folder);
        reopen(false);
        bool hit = true;
        for (int64_t n = 1; hit; n += warm ? 1 : 1 + n / 8) {
            dermis_error why = {0};
            base_memory counted[2];
            if (!warm)
                reopen(false);
            base_memory_read(&counted[0]);
            if (of_sqlite)
                fail_at(n, stays);
            else
                base_memory_fail_at((uint64_t)n);
            dermis_status status = operate(what, &why);
            hit = of_sqlite ? memory.hit : status != DERMIS_OK;
            fail_at(0, false);
            base_memory_fail_at(0);
            base_memory_read(&counted[1]);
            assert_int_equal(counted[0].live_total, counted[1].live_total);
            if (status != DERMIS_OK && status != DERMIS_E_MEMORY)
                fail_msg("operation %d, allocation %lld: %s (%s)", what, (long long)n, base_status_name(status), why.text);
            if (status != DERMIS_OK)
                assert_true(why.status == status && strstr(why.text, "memory"));
            failures += status != DERMIS_OK;
            int64_t now = look();
            if (now != (status ? before : after))
                fail_msg("operation %d, allocation %lld, %s: neither done nor left (%lld, %lld, %lld)", what, (long long)n,
                         base_status_name(status), (long long)now, (long long)before, (long long)after);
            if (status == DERMIS_OK && hit) { /* it could do without */
                store_close(db);
                db = NULL;
                copy_files(template, folder);
                FINE(store_open(folder, false, NOW, &db, &err));
            }
        }
    }
    assert_true(failures > (of_sqlite ? 100 : 3));
    store_close(db);
    db = NULL;
    assert_int_equal(sqlite3_memory_used(), 0);
}

static void test_memory_of_base(void **state)
{
    (void)state;
    memory_runs_out(false, false, true);
}

static void test_memory_fails_once(void **state)
{
    (void)state;
    memory_runs_out(true, false, true);
}

static void test_memory_stays_out(void **state)
{
    (void)state;
    memory_runs_out(true, true, true);
}

static void test_memory_fails_cold(void **state)
{
    (void)state;
    memory_runs_out(true, false, false);
}

/* Opening: a store or none, and nothing is held after it. */
static void test_memory_of_open(void **state)
{
    (void)state;
    make_state();
    int64_t before = look();
    store_close(db);
    db = NULL;
    for (int kind = 0; kind < 2; kind++) { /* an existing folder; then one to be made and migrated */
        bool hit = true;
        for (int64_t n = 1; hit; n += 1 + n / 16) {
            if (kind == 1)
                remove_tree(folder);
            fail_at(n, n % 2);
            dermis_status status = store_open(folder, true, NOW, &db, &err);
            hit = memory.hit;
            fail_at(0, false);
            if (status != DERMIS_OK && status != DERMIS_E_MEMORY)
                fail_msg("allocation %lld: %s (%s)", (long long)n, base_status_name(status), err.text);
            assert_true((status == DERMIS_OK) == (db != NULL));
            if (db && kind == 0)
                assert_true(is_whole(db, at.own, 2));
            store_close(db);
            db = NULL;
            assert_int_equal(sqlite3_memory_used(), 0);
            if (kind == 0)
                assert_int_equal(look(), before);
            else if (status != DERMIS_OK) { /* what was begun can be ended */
                FINE(store_open(folder, true, NOW, &db, &err));
                FINE(store_user_add(db, "anna", "h", false, NOW, NULL, &err));
                store_close(db);
                db = NULL;
            }
        }
    }
    base_memory_fail_at(1);
    dermis_status status = store_open(folder, true, NOW, &db, &err);
    base_memory_fail_at(0);
    assert_int_equal(status, DERMIS_E_MEMORY);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_no_database),     TEST(test_damaged_pages),    TEST(test_locked),
        TEST(test_reader_puts_off), TEST(test_truncation_after_stop),
        TEST(test_old_notes_go),     TEST(test_deleted_bytes),
        TEST(test_kills),
        cmocka_unit_test_setup_teardown(test_full_disk, make_parent, leave_disk),
        TEST(test_memory_of_base),  TEST(test_memory_fails_once), TEST(test_memory_stays_out),
        TEST(test_memory_fails_cold), TEST(test_memory_of_open),
    };
    sqlite3_config(SQLITE_CONFIG_GETMALLOC, &memory.real);
    sqlite3_mem_methods failing = memory.real;
    failing.xMalloc = failing_malloc;
    failing.xRealloc = failing_realloc;
    sqlite3_config(SQLITE_CONFIG_MALLOC, &failing);
    return cmocka_run_group_tests_name("store faults", tests, NULL, NULL);
}
