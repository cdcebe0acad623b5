/* store_harness.h - what test_store.c and test_store_faults.c share: a data folder of its own for each test,
 * results that are known by a number, and looks at what stands on disk. */
#ifndef TESTS_STORE_HARNESS_H
#define TESTS_STORE_HARNESS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "store/store.h"

#define NOW 1000000

static char parent[64], folder[128]; /* the data folder is made by the store, within the test's own */
static store *db;
static dermis_error err;

#define FINE(call)                                                                                        \
    do {                                                                                                  \
        err = (dermis_error){0};                                                                          \
        dermis_status got_ = (call);                                                                      \
        if (got_ != DERMIS_OK)                                                                            \
            fail_msg("%s: %s (%s)", #call, base_status_name(got_), err.text);                             \
    } while (0)

/* It fails as it should, and says so in err, too. */
#define REFUSES(call, wanted)                                                                             \
    do {                                                                                                  \
        err = (dermis_error){0};                                                                          \
        dermis_status got_ = (call);                                                                      \
        if (got_ != (wanted) || err.status != (wanted) || !*err.text)                                     \
            fail_msg("%s: %s (%s), not %s", #call, base_status_name(got_), err.text, base_status_name(wanted)); \
    } while (0)

static inline int remove_one(const char *path, const struct stat *st, int flag, struct FTW *at)
{
    (void)st, (void)flag, (void)at;
    return remove(path);
}

static inline void remove_tree(const char *path)
{
    nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static inline int make_parent(void **state)
{
    (void)state;
    /* in memory where there is room: a kill does not need a disk, and fsync costs nothing there */
    struct statvfs room;
    bool memory = statvfs("/dev/shm", &room) == 0 && access("/dev/shm", W_OK) == 0 &&
                  (uint64_t)room.f_bavail * room.f_frsize > (uint64_t)512 << 20;
    snprintf(parent, sizeof parent, "%s/dermis-store-XXXXXX", memory ? "/dev/shm" : "/tmp");
    if (!mkdtemp(parent))
        return -1;
    snprintf(folder, sizeof folder, "%s/data", parent);
    db = NULL;
    return 0;
}

static inline int setup(void **state)
{
    return make_parent(state) || store_open(folder, true, NOW, &db, &err) != DERMIS_OK ? -1 : 0;
}

static inline int teardown(void **state)
{
    (void)state;
    store_close(db);
    db = NULL;
    remove_tree(parent);
    return 0;
}

static inline void reopen(bool clean)
{
    store_close(db);
    db = NULL;
    FINE(store_open(folder, clean, NOW, &db, &err));
}

static inline const char *in_folder(const char *name)
{
    static char path[2][256];
    static int turn;
    turn = !turn;
    snprintf(path[turn], sizeof path[turn], "%s/%s", folder, name);
    return path[turn];
}

/* A whole file; free() it. */
static inline char *slurp(const char *path, size_t *size)
{
    FILE *f = fopen(path, "rb");
    *size = 0;
    if (!f)
        return NULL;
    fseek(f, 0, SEEK_END);
    *size = (size_t)ftell(f);
    rewind(f);
    char *bytes = malloc(*size + 1);
    assert_true(fread(bytes, 1, *size, f) == *size);
    fclose(f);
    bytes[*size] = 0;
    return bytes;
}

static inline void spill(const char *path, const void *bytes, size_t size)
{
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_true(fwrite(bytes, 1, size, f) == size);
    assert_int_equal(fclose(f), 0);
}

static unsigned counted_files;

static inline int count_one(const char *path, const struct stat *st, int flag, struct FTW *at)
{
    (void)st, (void)path, (void)at;
    counted_files += flag != FTW_D;
    return 0;
}

/* Whatever stands under photos/. */
static inline unsigned files(void)
{
    counted_files = 0;
    nftw(in_folder("photos"), count_one, 16, FTW_PHYS);
    return counted_files;
}

/* Another program's look at the database. */
static inline sqlite3 *other(void)
{
    sqlite3 *raw = NULL;
    assert_int_equal(sqlite3_open_v2(in_folder("dermis.db"), &raw, SQLITE_OPEN_READWRITE, NULL), SQLITE_OK);
    sqlite3_busy_timeout(raw, 5000);
    return raw;
}

static inline int64_t ask_number(const char *sql)
{
    sqlite3 *raw = other();
    sqlite3_stmt *ask = NULL;
    int64_t number = -1;
    assert_int_equal(sqlite3_prepare_v2(raw, sql, -1, &ask, NULL), SQLITE_OK);
    if (sqlite3_step(ask) == SQLITE_ROW)
        number = sqlite3_column_int64(ask, 0);
    sqlite3_finalize(ask);
    sqlite3_close(raw);
    return number;
}

static inline void tell(const char *sql)
{
    sqlite3 *raw = other();
    char *why = NULL;
    if (sqlite3_exec(raw, sql, NULL, NULL, &why) != SQLITE_OK)
        fail_msg("%s: %s", sql, why);
    sqlite3_close(raw);
}

static inline int64_t user_named(const char *name)
{
    int64_t id = 0;
    FINE(store_user_add(db, name, "hash", false, NOW, &id, &err));
    return id;
}

/* ---- results known by a number ---- */

/* Every part of result `n` says "SECRET-n-" again and again: a short one or one of many pages. */
static inline char *secret(unsigned n, size_t size)
{
    char mark[32], *text = malloc(size + sizeof mark);
    int each = snprintf(mark, sizeof mark, "SECRET-%08u-", n);
    for (size_t i = 0; i < size; i += (size_t)each)
        memcpy(text + i, mark, (size_t)each);
    text[size] = 0;
    return text;
}

static inline size_t secret_size(unsigned n)
{
    return n % 3 == 0 ? 90 : n % 3 == 1 ? 900 : 11000;
}

static inline dermis_status add_numbered(store *s, unsigned n, int64_t user, int64_t expires, char id[STORE_ID_CHARS + 1],
                                         dermis_error *why)
{
    size_t size = secret_size(n);
    char *text = secret(n, size);
    store_result r = {.user = user, .created = NOW + n, .expires = expires, .width = n, .height = 7, .answer = text,
                      .notes = text, .maps = text, .maps_bytes = size};
    snprintf(r.top, sizeof r.top, "class%u", n % 2);
    dermis_status status = store_result_add(s, &r, text, size, text, size / 2, id, why);
    free(text);
    return status;
}

static inline bool file_is(store *s, const char *id, bool thumb, int64_t now, const char *bytes, size_t size)
{
    int fd;
    if (store_result_photo(s, id, thumb, now, &fd, NULL) != DERMIS_OK)
        return false;
    char *got = malloc(size + 1);
    ssize_t n = read(fd, got, size + 1);
    bool same = n == (ssize_t)size && memcmp(got, bytes, size) == 0;
    close(fd);
    free(got);
    return same;
}

/* Row and both files are there and whole. */
static inline bool is_whole(store *s, const char *id, unsigned n)
{
    store_result r;
    size_t size = secret_size(n);
    if (store_result_get(s, id, NOW, &r, NULL) != DERMIS_OK)
        return false;
    char *text = secret(n, size);
    bool same = r.width == n && r.created == NOW + n && strcmp(r.answer, text) == 0 && strcmp(r.notes, text) == 0 &&
                r.maps_bytes == size && memcmp(r.maps, text, size) == 0 && file_is(s, id, false, NOW, text, size) &&
                file_is(s, id, true, NOW, text, size / 2);
    free(text);
    store_result_release(&r);
    return same;
}

static inline void hash_of(unsigned n, uint8_t out[STORE_HASH_BYTES])
{
    memset(out, 0, STORE_HASH_BYTES);
    memcpy(out, &n, sizeof n);
    out[STORE_HASH_BYTES - 1] = 1;
}

#endif
