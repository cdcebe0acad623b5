/* test_store_folder.c - opening the store: whose folder it is, modes, links, the lock, what a kill left, the secret, the
 * schema's versions. */
#include <sys/mount.h>

#include "store_harness.h"

/* ---- the folder ---- */

static int bad_modes;

static int check_mode(const char *path, const struct stat *st, int flag, struct FTW *at)
{
    (void)path, (void)at;
    bad_modes += (st->st_mode & 0777) != (flag == FTW_D ? 0700 : 0600);
    return 0;
}

static void test_modes(void **state)
{
    (void)state;
    uint8_t key[STORE_SECRET_BYTES];
    char id[STORE_ID_CHARS + 1];
    static const mode_t masks[] = {0, 0277};
    for (int i = 0; i < 2; i++) {
        mode_t before = umask(masks[i]);
        dermis_status opened = store_open(folder, true, NOW, &db, &err);
        dermis_status added = opened ? opened : add_numbered(db, 1, 0, NOW + 1, id, &err);
        dermis_status made = opened ? opened : store_secret(db, key, &err);
        umask(before);
        assert_true(opened == DERMIS_OK && added == DERMIS_OK && made == DERMIS_OK);
        bad_modes = 0;
        nftw(folder, check_mode, 16, FTW_PHYS); /* while WAL and its index stand */
        assert_int_equal(bad_modes, 0);
        store_close(db);
        db = NULL;
        remove_tree(folder);
    }
}

static void refused_folder(dermis_status status, const char *word)
{
    REFUSES(store_open(folder, true, NOW, &db, &err), status);
    assert_null(db);
    if (!strstr(err.text, word))
        fail_msg("\"%s\" does not speak of \"%s\"", err.text, word);
    assert_int_equal(store_open(folder, true, NOW, &db, NULL), status);
}

static void test_folder(void **state)
{
    (void)state;
    struct stat st;
    char link[160], id[STORE_ID_CHARS + 1];
    /* a file; a folder that others use and read */
    spill(folder, "x", 1);
    refused_folder(DERMIS_E_IO, "no folder");
    remove(folder);
    mkdir(folder, 0700);
    chmod(folder, 0755);
    spill(in_folder("letter"), "x", 1);
    refused_folder(DERMIS_E_IO, "others may read");
    assert_int_equal(access(in_folder("dermis.db"), F_OK), -1);
    assert_int_equal(stat(folder, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0755); /* and is left as it is */
    /* an empty one, and one that was opened since, is closed to others */
    remove(in_folder("letter"));
    for (int i = 0; i < 2; i++) {
        FINE(store_open(folder, true, NOW, &db, &err));
        FINE(add_numbered(db, 1, 0, NOW + 1, id, &err));
        assert_int_equal(stat(folder, &st), 0);
        assert_int_equal(st.st_mode & 0777, 0700);
        store_close(db);
        db = NULL;
        chmod(folder, 0777);
    }
    /* behind a symbolic link: what it leads to */
    snprintf(link, sizeof link, "%s/link", parent);
    assert_int_equal(symlink(folder, link), 0);
    FINE(store_open(link, true, NOW, &db, &err));
    assert_true(is_whole(db, id, 1));
    store *second = NULL;
    REFUSES(store_open(folder, true, NOW, &second, &err), DERMIS_E_BUSY);
    store_close(db);
    db = NULL;
    /* the database itself is no link: its log would stand elsewhere */
    char moved[160];
    snprintf(moved, sizeof moved, "%s/elsewhere.db", parent);
    rename(in_folder("dermis.db"), moved);
    assert_int_equal(symlink(moved, in_folder("dermis.db")), 0);
    refused_folder(DERMIS_E_IO, "plain file");
    remove(in_folder("dermis.db"));
    rename(moved, in_folder("dermis.db"));
    remove(in_folder("lock"));
    assert_int_equal(symlink("/dev/null", in_folder("lock")), 0);
    refused_folder(DERMIS_E_IO, "lock");
    remove(in_folder("lock"));
    /* nothing above it */
    snprintf(folder, sizeof folder, "%s/none/data", parent);
    refused_folder(DERMIS_E_IO, "cannot make");
    snprintf(folder, sizeof folder, "%s/data", parent);
    if (geteuid() == 0) {
        assert_int_equal(chown(folder, 12345, (gid_t)-1), 0);
        refused_folder(DERMIS_E_IO, "another user");
    }
}

static void test_read_only(void **state)
{
    (void)state;
    char id[STORE_ID_CHARS + 1];
    FINE(add_numbered(db, 1, 0, NOW + 9, id, &err));
    store_close(db);
    db = NULL;
    /* modes do not bind root: a mount does */
    if (geteuid() == 0) {
        if (mount(folder, folder, NULL, MS_BIND, NULL) != 0 ||
            mount(NULL, folder, NULL, MS_BIND | MS_REMOUNT | MS_RDONLY, NULL) != 0) {
            umount2(folder, MNT_DETACH);
            print_message("nothing can be mounted here: %s\n", strerror(errno));
            skip();
        }
    } else {
        chmod(folder, 0500);
    }
    dermis_error why = {0};
    dermis_status status = store_open(folder, true, NOW, &db, &why);
    if (geteuid() == 0)
        umount2(folder, MNT_DETACH);
    else
        chmod(folder, 0700);
    assert_int_equal(status, DERMIS_E_IO);
    assert_non_null(strstr(why.text, "cannot be written"));
    reopen(true);
    assert_true(is_whole(db, id, 1));
}

/* One may clean and serve, another may look on. */
static void test_lock(void **state)
{
    (void)state;
    store *second = NULL, *third = NULL;
    char id[STORE_ID_CHARS + 1];
    store_user user;
    REFUSES(store_open(folder, true, NOW, &second, &err), DERMIS_E_BUSY);
    assert_null(second);
    FINE(store_open(folder, false, NOW, &second, &err));
    int64_t anna = user_named("anna");
    FINE(store_user_by_name(second, "anna", &user, &err));
    FINE(add_numbered(db, 1, anna, 0, id, &err));
    assert_true(is_whole(second, id, 1));
    FINE(store_user_delete(second, anna, &err));
    REFUSES(add_numbered(db, 2, anna, 0, id, &err), DERMIS_E_NOT_FOUND);
    assert_int_equal(files(), 0);
    store_close(db);
    db = NULL;
    FINE(store_open(folder, true, NOW, &third, &err));
    store_close(third);
    store_close(second);
}

/* What a kill left: removed by a start that cleans, and by no other. */
static void test_orphans(void **state)
{
    (void)state;
    static const char *const left[] = {"photos/AB/ABAAAAAAAAAAAAAAAAAAAA.jpg", "photos/AB/ABAAAAAAAAAAAAAAAAAAAA.thumb.jpg",
                                       "photos/AB/ABAAAAAAAAAAAAAAAAAAAB.jpg.new", "secret-abcdef"};
    static const char *const others[] = {"photos/AB/notes.txt", "photos/AB/ABAAAAAAAAAAAAAAAAAAAAA.jpg", "photos/README"};
    char id[STORE_ID_CHARS + 1], expired[STORE_ID_CHARS + 1], outside[160];
    FINE(add_numbered(db, 1, 0, NOW + 1, id, &err));
    FINE(add_numbered(db, 2, 0, NOW, expired, &err));
    mkdir(in_folder("photos/AB"), 0700);
    for (size_t i = 0; i < 4; i++)
        spill(in_folder(left[i]), "x", 1);
    for (size_t i = 0; i < 3; i++)
        spill(in_folder(others[i]), "x", 1);
    /* a link leads nowhere */
    snprintf(outside, sizeof outside, "%s/outside", parent);
    mkdir(outside, 0700);
    strcat(outside, "/zzAAAAAAAAAAAAAAAAAAAA.jpg");
    spill(outside, "x", 1);
    assert_int_equal(symlink("../../outside", in_folder("photos/zz")), 0);
    reopen(false);
    assert_int_equal(access(in_folder(left[0]), F_OK), 0);
    reopen(true);
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(access(in_folder(left[i]), F_OK), -1);
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(access(in_folder(others[i]), F_OK), 0);
    assert_int_equal(access(outside, F_OK), 0);
    assert_true(is_whole(db, id, 1));
    assert_int_equal(ask_number("SELECT count(*) FROM results"), 1); /* what expired is gone, too */
    assert_int_equal(files(), 2 + 3 + 1);
}

static void test_secret(void **state)
{
    (void)state;
    uint8_t one[STORE_SECRET_BYTES], two[STORE_SECRET_BYTES], zeros[STORE_SECRET_BYTES] = {0};
    store *second = NULL;
    FINE(store_secret(db, one, &err));
    assert_memory_not_equal(one, zeros, sizeof zeros);
    FINE(store_open(folder, false, NOW, &second, &err));
    FINE(store_secret(second, two, &err));
    store_close(second);
    assert_memory_equal(one, two, sizeof one);
    reopen(true);
    FINE(store_secret(db, two, &err));
    assert_memory_equal(one, two, sizeof one);
    /* cut short: neither guessed nor replaced */
    assert_int_equal(truncate(in_folder("secret.key"), 31), 0);
    memset(two, 0x5a, sizeof two);
    REFUSES(store_secret(db, two, &err), DERMIS_E_IO);
    assert_int_equal(two[0], 0x5a);
    remove(in_folder("secret.key"));
    FINE(store_secret(db, two, &err));
    assert_memory_not_equal(one, two, sizeof one);
}

/* ---- the schema ---- */

static void test_newer_schema(void **state)
{
    (void)state;
    char id[STORE_ID_CHARS + 1], *before[2], *after[2];
    size_t sizes[4];
    static const char *const names[] = {"dermis.db", "dermis.db-wal"};
    char back[64];
    int64_t version = ask_number("PRAGMA user_version");
    FINE(add_numbered(db, 1, 0, NOW + 9, id, &err));
    /* the newer program was killed: part of what it wrote stands in its log alone */
    sqlite3 *raw = other();
    sqlite3_exec(raw, "PRAGMA user_version = 1000", NULL, NULL, NULL);
    for (int i = 0; i < 2; i++)
        before[i] = slurp(in_folder(names[i]), &sizes[i]);
    sqlite3_close(raw);
    store_close(db);
    db = NULL;
    for (int i = 0; i < 2; i++)
        spill(in_folder(names[i]), before[i], sizes[i]);
    assert_true(sizes[1] > 0);
    refused_folder(DERMIS_E_USAGE, "newer");
    for (int i = 0; i < 2; i++) {
        after[i] = slurp(in_folder(names[i]), &sizes[2 + i]);
        assert_int_equal(sizes[2 + i], sizes[i]);
        assert_memory_equal(after[i], before[i], sizes[i]);
        free(before[i]);
        free(after[i]);
    }
    assert_int_equal(files(), 2);
    snprintf(back, sizeof back, "PRAGMA user_version = %lld", (long long)version);
    tell(back);
    FINE(store_open(folder, true, NOW, &db, &err));
    assert_true(is_whole(db, id, 1));
}

/* Version 0 is an empty file (a first start that was killed), or one in which a migration cannot be made. */
static void test_migration(void **state)
{
    (void)state;
    int64_t version = ask_number("PRAGMA user_version");
    assert_true(version >= 1);
    store_close(db);
    db = NULL;
    remove(in_folder("dermis.db"));
    spill(in_folder("dermis.db"), "", 0);
    FINE(store_open(folder, true, NOW, &db, &err));
    user_named("anna");
    assert_int_equal(ask_number("PRAGMA user_version"), version);
    store_close(db);
    db = NULL;
    remove(in_folder("dermis.db"));
    spill(in_folder("dermis.db"), "", 0);
    tell("CREATE TABLE tokens (mine TEXT); INSERT INTO tokens VALUES ('kept')");
    refused_folder(DERMIS_E_IO, "tokens");
    assert_int_equal(ask_number("PRAGMA user_version"), 0);
    assert_int_equal(ask_number("SELECT count(*) FROM sqlite_schema"), 1); /* none of the tables before it */
    assert_int_equal(ask_number("SELECT count(*) FROM tokens WHERE mine = 'kept'"), 1);
    tell("DROP TABLE tokens");
    FINE(store_open(folder, true, NOW, &db, &err));
    user_named("anna");
    assert_int_equal(ask_number("PRAGMA user_version"), version);
}

/* From version 1, whose results were a table without row numbers. */
static void test_migration_of_rows(void **state)
{
    (void)state;
    static const char version_1[] =
        "BEGIN; DROP INDEX results_user; DROP INDEX results_expires; ALTER TABLE results RENAME TO new;"
        "CREATE TABLE results (id TEXT PRIMARY KEY, file TEXT NOT NULL UNIQUE,"
        " user INTEGER REFERENCES users(id), guest BLOB NOT NULL, created INTEGER NOT NULL,"
        " expires INTEGER NOT NULL, shared INTEGER NOT NULL DEFAULT 0, width INTEGER NOT NULL,"
        " height INTEGER NOT NULL, top TEXT NOT NULL, answer TEXT NOT NULL, notes TEXT NOT NULL DEFAULT '',"
        " maps BLOB) WITHOUT ROWID;"
        "INSERT INTO results SELECT id, file, user, guest, created, expires, shared, width, height, top, answer, notes,"
        " maps FROM new; DROP TABLE new; CREATE INDEX results_user ON results(user, created);"
        "CREATE INDEX results_expires ON results(expires) WHERE expires > 0; PRAGMA user_version = 1; COMMIT";
    char ids[30][STORE_ID_CHARS + 1], large[STORE_ID_CHARS + 1];
    void *maps = calloc(1, STORE_RESULT_BYTES);
    int64_t anna = user_named("anna");
    store_result r = {.user = anna, .created = NOW, .maps = maps, .maps_bytes = STORE_RESULT_BYTES};
    for (unsigned i = 0; i < 30; i++)
        FINE(add_numbered(db, i, i % 2 ? anna : 0, i % 2 ? 0 : NOW + 9, ids[i], &err));
    FINE(store_result_add(db, &r, "p", 1, "t", 1, large, &err));
    store_close(db);
    db = NULL;
    sqlite3_hard_heap_limit64(64 << 20);
    tell(version_1);
    /* it cannot be made: the old one stands as it was */
    tell("CREATE TABLE results_1 (mine TEXT)");
    refused_folder(DERMIS_E_IO, "results_1");
    assert_int_equal(ask_number("PRAGMA user_version"), 1);
    assert_int_equal(ask_number("SELECT count(*) FROM results"), 31);
    assert_int_equal(ask_number("SELECT count(*) FROM sqlite_schema WHERE name LIKE 'results\\_%' ESCAPE '\\'"), 3);
    tell("DROP TABLE results_1");
    sqlite3_memory_highwater(1);
    FINE(store_open(folder, true, NOW, &db, &err));
    assert_true(sqlite3_memory_highwater(0) <= (sqlite3_int64)store_memory_bytes());
    for (unsigned i = 0; i < 30; i++)
        assert_true(is_whole(db, ids[i], i));
    FINE(store_result_get(db, large, NOW, &r, &err));
    assert_true(r.maps_bytes == STORE_RESULT_BYTES && memcmp(r.maps, maps, STORE_RESULT_BYTES) == 0);
    store_result_release(&r);
    free(maps);
    FINE(store_user_delete(db, anna, &err));
    assert_int_equal(files(), 30);
}

int main(void)
{
#define TEST(name)   cmocka_unit_test_setup_teardown(name, setup, teardown)
#define CLOSED(name) cmocka_unit_test_setup_teardown(name, make_parent, teardown) /* opens the store itself */
    const struct CMUnitTest tests[] = {
        CLOSED(test_modes), CLOSED(test_folder), TEST(test_read_only), TEST(test_lock), TEST(test_orphans),
        TEST(test_secret), TEST(test_newer_schema), TEST(test_migration), TEST(test_migration_of_rows),
    };
    return cmocka_run_group_tests_name("store folder", tests, NULL, NULL);
}
