/* test_store.c - what store.h promises, function by function: accounts, sessions, tokens, results, memory, threads.
 * Opening is in test_store_folder.c, what happens when something breaks in test_store_faults.c. */
#include <pthread.h>

#include "store_harness.h"

/* ---- accounts ---- */

static bool list_names(void *context, const store_user *user)
{
    char *text = context;
    strcat(strcat(text, user->name), " ");
    return user->name[0] != 'x'; /* the list ends there */
}

static void test_users(void **state)
{
    (void)state;
    store_user user, untouched;
    int64_t anna = 0, bert = 0;
    char name[STORE_NAME_BYTES + 1], hash[129];
    FINE(store_user_add(db, "Anna", "first hash", true, NOW, &anna, &err));
    FINE(store_user_add(db, "bert", "h", false, NOW + 1, &bert, NULL));
    assert_true(anna != 0 && bert != 0 && anna != bert);
    FINE(store_user_by_name(db, "aNNa", &user, &err)); /* ASCII case does not count */
    assert_string_equal(user.name, "Anna");
    assert_string_equal(user.password, "first hash");
    assert_string_equal(user.language, "");
    assert_true(user.is_operator && !user.keeps && user.id == anna && user.created == NOW);
    FINE(store_user_by_id(db, bert, &user, &err));
    assert_string_equal(user.name, "bert");
    assert_false(user.is_operator);
    /* taken, in whatever case; nothing is changed by the attempt */
    int64_t id = 77;
    REFUSES(store_user_add(db, "ANNA", "other", false, NOW, &id, &err), DERMIS_E_EXISTS);
    assert_int_equal(id, 77);
    assert_int_equal(store_user_add(db, "ANNA", "other", false, NOW, &id, NULL), DERMIS_E_EXISTS);
    FINE(store_user_by_name(db, "anna", &user, &err));
    assert_string_equal(user.password, "first hash");
    /* names of 3 to 64 bytes, hashes of up to 127 */
    memset(name, 'n', sizeof name);
    name[STORE_NAME_BYTES] = 0;
    REFUSES(store_user_add(db, name, "h", false, NOW, NULL, &err), DERMIS_E_USAGE);
    name[STORE_NAME_BYTES - 1] = 0;
    FINE(store_user_add(db, name, "h", false, NOW, NULL, &err));
    FINE(store_user_by_name(db, name, &user, &err));
    assert_string_equal(user.name, name);
    REFUSES(store_user_add(db, "ab", "h", false, NOW, NULL, &err), DERMIS_E_USAGE);
    FINE(store_user_add(db, "abc", "h", false, NOW, NULL, &err));
    memset(hash, 'h', sizeof hash);
    hash[128] = 0;
    REFUSES(store_user_add(db, "dora", hash, false, NOW, NULL, &err), DERMIS_E_USAGE);
    REFUSES(store_user_set_password(db, anna, hash, NULL, &err), DERMIS_E_USAGE);
    hash[127] = 0;
    FINE(store_user_set_password(db, anna, hash, NULL, &err));
    FINE(store_user_set_choices(db, anna, "vi", true, &err));
    REFUSES(store_user_set_choices(db, anna, "language", false, &err), DERMIS_E_USAGE);
    FINE(store_user_by_id(db, anna, &user, &err));
    assert_string_equal(user.password, hash);
    assert_string_equal(user.language, "vi");
    assert_true(user.keeps);
    /* one who is not there; what would be written stays */
    memset(&user, 0x5a, sizeof user);
    untouched = user;
    REFUSES(store_user_by_name(db, "nobody", &user, &err), DERMIS_E_NOT_FOUND);
    REFUSES(store_user_by_id(db, 12345, &user, &err), DERMIS_E_NOT_FOUND);
    assert_memory_equal(&user, &untouched, sizeof user);
    REFUSES(store_user_set_password(db, 12345, "h", NULL, &err), DERMIS_E_NOT_FOUND);
    REFUSES(store_user_set_choices(db, 12345, "vi", true, &err), DERMIS_E_NOT_FOUND);
    REFUSES(store_user_delete(db, 12345, &err), DERMIS_E_NOT_FOUND);
    /* an id is never used again */
    id = user_named("xaver");
    FINE(store_user_delete(db, id, &err));
    assert_true(user_named("xaver") > id);
    user_named("zoe");
    char names[1024] = "", all[200];
    FINE(store_user_list(db, list_names, names, &err));
    snprintf(all, sizeof all, "abc Anna bert %s xaver ", name); /* by name; until it returns false */
    assert_string_equal(names, all);
}

/* SQL is no language of names. */
static void test_quotes(void **state)
{
    (void)state;
    store_user user;
    static const char name[] = "a'; DROP TABLE users; --\"";
    FINE(store_user_add(db, name, "h'", false, NOW, NULL, &err));
    FINE(store_user_by_name(db, name, &user, &err));
    assert_string_equal(user.name, name);
    assert_string_equal(user.password, "h'");
}

/* ---- sessions ---- */

static void test_sessions(void **state)
{
    (void)state;
    uint8_t one[STORE_HASH_BYTES], two[STORE_HASH_BYTES], three[STORE_HASH_BYTES];
    store_user user;
    int64_t anna = user_named("anna"), bert = user_named("bert");
    hash_of(1, one), hash_of(2, two), hash_of(3, three);
    FINE(store_session_add(db, one, anna, NOW, NOW + 10, &err));
    FINE(store_session_add(db, two, anna, NOW, NOW + 10, &err));
    FINE(store_session_add(db, three, bert, NOW, NOW + 10, &err));
    REFUSES(store_session_add(db, one, bert, NOW, NOW + 99, &err), DERMIS_E_EXISTS);
    FINE(store_session_find(db, one, NOW + 9, &user, &err));
    assert_int_equal(user.id, anna);
    REFUSES(store_session_find(db, one, NOW + 10, &user, &err), DERMIS_E_NOT_FOUND); /* ends with that second */
    uint8_t four[STORE_HASH_BYTES];
    hash_of(4, four);
    REFUSES(store_session_find(db, four, NOW, &user, &err), DERMIS_E_NOT_FOUND);
    REFUSES(store_session_add(db, four, 12345, NOW, NOW + 10, &err), DERMIS_E_NOT_FOUND); /* no such account */
    REFUSES(store_session_delete(db, four, &err), DERMIS_E_NOT_FOUND);
    FINE(store_session_delete_all(db, anna, two, &err));
    REFUSES(store_session_find(db, one, NOW, &user, &err), DERMIS_E_NOT_FOUND);
    FINE(store_session_find(db, two, NOW, &user, &err));
    FINE(store_session_find(db, three, NOW, &user, &err));
    assert_int_equal(user.id, bert);
    FINE(store_session_delete_all(db, anna, NULL, &err));
    REFUSES(store_session_find(db, two, NOW, &user, &err), DERMIS_E_NOT_FOUND);
    FINE(store_session_delete_all(db, anna, NULL, &err)); /* none is none too few */
    FINE(store_session_delete(db, three, &err));
    REFUSES(store_session_find(db, three, NOW, &user, &err), DERMIS_E_NOT_FOUND);
    /* what has ended is swept away */
    FINE(store_session_add(db, one, anna, NOW, NOW + 10, &err));
    FINE(store_session_add(db, two, anna, NOW, NOW + 11, &err));
    FINE(store_sweep(db, NOW + 10, NULL, &err));
    assert_int_equal(ask_number("SELECT count(*) FROM sessions"), 1);
    FINE(store_session_find(db, two, NOW + 10, &user, &err));
}

/* ---- tokens ---- */

static bool list_tokens(void *context, const store_token *token)
{
    char *text = context;
    strcat(strcat(text, token->label), " ");
    return strcmp(token->label, "stop") != 0;
}

static void test_tokens(void **state)
{
    (void)state;
    uint8_t hash[STORE_HASH_BYTES];
    store_user user;
    int64_t anna = user_named("anna"), bert = user_named("bert"), ids[21], found = 0;
    char label[82], labels[2000] = "";
    for (unsigned i = 0; i < 20; i++) {
        hash_of(i, hash);
        snprintf(label, sizeof label, "token%u", i);
        FINE(store_token_add(db, hash, anna, label, NOW, &ids[i], &err));
    }
    hash_of(20, hash);
    ids[20] = 77;
    REFUSES(store_token_add(db, hash, anna, "one too many", NOW, &ids[20], &err), DERMIS_E_USAGE);
    assert_int_equal(ids[20], 77);
    FINE(store_token_add(db, hash, bert, "bert's", NOW, &ids[20], &err)); /* each has 20 */
    hash_of(3, hash);
    REFUSES(store_token_add(db, hash, bert, "same secret", NOW, NULL, &err), DERMIS_E_EXISTS);
    REFUSES(store_token_delete(db, bert, ids[3], &err), DERMIS_E_NOT_FOUND); /* not bert's */
    FINE(store_token_find(db, hash, NOW, &user, &found, &err));
    assert_true(user.id == anna && found == ids[3]);
    FINE(store_token_delete(db, anna, ids[3], &err));
    REFUSES(store_token_delete(db, anna, ids[3], &err), DERMIS_E_NOT_FOUND);
    found = 77;
    REFUSES(store_token_find(db, hash, NOW, &user, &found, &err), DERMIS_E_NOT_FOUND);
    assert_int_equal(found, 77);
    memset(label, 'l', sizeof label);
    label[81] = 0;
    REFUSES(store_token_add(db, hash, anna, label, NOW, NULL, &err), DERMIS_E_USAGE);
    label[80] = 0;
    FINE(store_token_add(db, hash, anna, label, NOW, NULL, &err)); /* one is revoked: there is room */
    hash_of(30, hash);
    REFUSES(store_token_add(db, hash, 12345, "x", NOW, NULL, &err), DERMIS_E_NOT_FOUND);
    FINE(store_token_list(db, bert, list_tokens, labels, &err));
    assert_string_equal(labels, "bert's ");
    FINE(store_token_add(db, hash, bert, "stop", NOW, NULL, &err));
    hash_of(31, hash);
    FINE(store_token_add(db, hash, bert, "after", NOW, NULL, &err));
    *labels = 0;
    FINE(store_token_list(db, bert, list_tokens, labels, &err));
    assert_string_equal(labels, "bert's stop ");
}

static bool used_day(void *context, const store_token *token)
{
    *(int64_t *)context = token->used;
    return true;
}

/* When it was used is kept to the day, no closer. */
/* Who came in with the old password is out; who changed it stays; others notice nothing. */
static void test_new_password(void **state)
{
    (void)state;
    uint8_t mine[STORE_HASH_BYTES], other[STORE_HASH_BYTES], berts[STORE_HASH_BYTES];
    store_user user;
    int64_t anna = user_named("anna"), bert = user_named("bert"), id;
    hash_of(1, mine), hash_of(2, other), hash_of(3, berts);
    FINE(store_session_add(db, mine, anna, NOW, NOW + 10, &err));
    FINE(store_session_add(db, other, anna, NOW, NOW + 10, &err));
    FINE(store_session_add(db, berts, bert, NOW, NOW + 10, &err));
    FINE(store_token_add(db, mine, anna, "anna's", NOW, &id, &err));
    FINE(store_token_add(db, berts, bert, "bert's", NOW, &id, &err));
    FINE(store_user_set_password(db, anna, "new", mine, &err));
    FINE(store_session_find(db, mine, NOW, &user, &err));
    assert_string_equal(user.password, "new");
    REFUSES(store_session_find(db, other, NOW, &user, &err), DERMIS_E_NOT_FOUND);
    REFUSES(store_token_find(db, mine, NOW, &user, &id, &err), DERMIS_E_NOT_FOUND);
    FINE(store_session_find(db, berts, NOW, &user, &err));
    FINE(store_token_find(db, berts, NOW, &user, &id, &err));
    /* all or nothing */
    FINE(store_token_add(db, mine, anna, "anna's", NOW, &id, &err));
    ask_number("CREATE TRIGGER no BEFORE DELETE ON tokens BEGIN SELECT raise(ABORT, 'no'); END");
    assert_int_not_equal(store_user_set_password(db, anna, "newer", NULL, &err), DERMIS_OK);
    FINE(store_session_find(db, mine, NOW, &user, &err));
    assert_string_equal(user.password, "new");
}

static void test_token_used(void **state)
{
    (void)state;
    uint8_t hash[STORE_HASH_BYTES];
    store_user user;
    int64_t anna = user_named("anna"), used = -1, day = 20000 * (int64_t)86400;
    hash_of(1, hash);
    FINE(store_token_add(db, hash, anna, "t", day, NULL, &err));
    FINE(store_token_list(db, anna, used_day, &used, &err));
    assert_int_equal(used, 0);
    for (int i = 0; i < 2; i++) {
        FINE(store_token_find(db, hash, day + 40000 + i, &user, NULL, &err));
        FINE(store_token_list(db, anna, used_day, &used, &err));
        assert_int_equal(used, day);
    }
    FINE(store_token_find(db, hash, day + 86400, &user, NULL, &err));
    FINE(store_token_list(db, anna, used_day, &used, &err));
    assert_int_equal(used, day + 86400);
}

/* ---- results ---- */

static void test_result(void **state)
{
    (void)state;
    char id[STORE_ID_CHARS + 1], second[STORE_ID_CHARS + 1];
    store_result r;
    int fd = -7;
    static const uint8_t maps[] = {0, 1, 0, 255};
    store_result row = {.created = NOW, .expires = NOW + 100, .width = 1600, .height = 4000000000u, .top = "nævus",
                        .answer = "{\"a\":1}", .maps = maps, .maps_bytes = sizeof maps};
    hash_of(9, row.guest);
    FINE(store_result_add(db, &row, "photo", 5, "thumb!", 6, id, &err));
    FINE(store_result_add(db, &row, "photo", 5, "thumb!", 6, second, NULL));
    assert_int_equal(strlen(id), STORE_ID_CHARS);
    assert_string_not_equal(id, second);
    FINE(store_result_get(db, id, NOW + 99, &r, &err));
    assert_string_equal(r.id, id);
    assert_true(r.user == 0 && r.created == NOW && r.expires == NOW + 100 && !r.shared);
    assert_true(r.width == 1600 && r.height == 4000000000u && r.maps_bytes == sizeof maps);
    assert_memory_equal(r.maps, maps, sizeof maps);
    assert_memory_equal(r.guest, row.guest, STORE_HASH_BYTES);
    assert_string_equal(r.top, "nævus");
    assert_string_equal(r.answer, "{\"a\":1}");
    assert_string_equal(r.notes, "");
    store_result_release(&r);
    assert_null(r.answer);
    store_result_release(&r); /* once more is no harm */
    assert_true(file_is(db, id, false, NOW, "photo", 5));
    assert_true(file_is(db, id, true, NOW, "thumb!", 6));
    /* expired: as if it were not there, whether swept or not */
    store_result before;
    memset(&r, 0x5a, sizeof r);
    before = r;
    REFUSES(store_result_get(db, id, NOW + 100, &r, &err), DERMIS_E_NOT_FOUND);
    assert_memory_equal(&r, &before, sizeof r);
    REFUSES(store_result_photo(db, id, false, NOW + 100, &fd, &err), DERMIS_E_NOT_FOUND);
    assert_int_equal(fd, -7);
    static const char *const forged[] = {"", "AAAAAAAAAAAAAAAAAAAAAA", "../../../../etc/passwd", "' OR 1=1 --"};
    for (size_t i = 0; i < sizeof forged / sizeof *forged; i++) {
        REFUSES(store_result_get(db, forged[i], NOW, &r, &err), DERMIS_E_NOT_FOUND);
        REFUSES(store_result_photo(db, forged[i], true, NOW, &fd, &err), DERMIS_E_NOT_FOUND);
        REFUSES(store_result_keep(db, forged[i], 1, &err), DERMIS_E_NOT_FOUND);
        REFUSES(store_result_share(db, forged[i], true, &err), DERMIS_E_NOT_FOUND);
        REFUSES(store_result_set_notes(db, forged[i], "", &err), DERMIS_E_NOT_FOUND);
        REFUSES(store_result_delete(db, forged[i], &err), DERMIS_E_NOT_FOUND);
    }
    /* a file that someone took away: NOT_FOUND, and the row can still be deleted */
    assert_int_equal(files(), 4);
    remove_tree(in_folder("photos"));
    REFUSES(store_result_photo(db, id, false, NOW, &fd, &err), DERMIS_E_NOT_FOUND);
    FINE(store_result_delete(db, id, &err));
    REFUSES(store_result_delete(db, id, &err), DERMIS_E_NOT_FOUND);
    FINE(store_result_add(db, &row, "photo", 5, "thumb!", 6, id, &err)); /* folders are made anew */
    assert_true(file_is(db, id, true, NOW, "thumb!", 6));
}

static void test_result_changes(void **state)
{
    (void)state;
    char id[STORE_ID_CHARS + 1], lost[STORE_ID_CHARS + 1] = "unchanged";
    store_result r;
    int64_t anna = user_named("anna"), bert = user_named("bert");
    static const uint8_t zeros[STORE_HASH_BYTES];
    store_result row = {.created = NOW, .expires = NOW + 100};
    hash_of(9, row.guest);
    FINE(store_result_add(db, &row, "p", 1, "t", 1, id, &err));
    REFUSES(store_result_keep(db, id, 12345, &err), DERMIS_E_NOT_FOUND); /* no such account */
    FINE(store_result_get(db, id, NOW, &r, &err));
    assert_true(r.user == 0 && r.expires == NOW + 100 && memcmp(r.guest, row.guest, sizeof row.guest) == 0);
    store_result_release(&r);
    FINE(store_result_keep(db, id, anna, &err));
    FINE(store_result_keep(db, id, anna, &err));                        /* one's own, again */
    REFUSES(store_result_keep(db, id, bert, &err), DERMIS_E_NOT_FOUND); /* another's */
    FINE(store_result_share(db, id, true, &err));
    FINE(store_result_set_notes(db, id, "{\"site\":\"arm\"}", &err));
    FINE(store_result_get(db, id, NOW + 1000000, &r, &err)); /* kept for good */
    assert_true(r.user == anna && r.expires == 0 && r.shared && memcmp(r.guest, zeros, sizeof zeros) == 0);
    assert_string_equal(r.notes, "{\"site\":\"arm\"}");
    store_result_release(&r);
    FINE(store_result_share(db, id, false, &err));
    FINE(store_result_get(db, id, NOW, &r, &err));
    assert_false(r.shared);
    store_result_release(&r);
    /* of an account that is not there: no row, no files, no id */
    row.user = 12345;
    REFUSES(store_result_add(db, &row, "p", 1, "t", 1, lost, &err), DERMIS_E_NOT_FOUND);
    assert_string_equal(lost, "unchanged");
    assert_int_equal(files(), 2);
}

static void test_result_limits(void **state)
{
    (void)state;
    char id[STORE_ID_CHARS + 1], *answer = calloc(1, STORE_RESULT_BYTES + 2), *notes = calloc(1, STORE_NOTES_BYTES + 2);
    uint8_t *maps = calloc(1, STORE_RESULT_BYTES);
    int64_t anna = user_named("anna");
    store_result r;
    memset(maps, 7, STORE_RESULT_BYTES);
    memset(notes, 'n', STORE_NOTES_BYTES);
    sqlite3_memory_highwater(1);
    /* as much as is allowed, in answers, maps and both, in a cache that is full: all functions can do with it */
    for (int i = 0; i < 6; i++) {
        size_t text = i % 3 == 0 ? 0 : i % 3 == 1 ? STORE_RESULT_BYTES / 2 : STORE_RESULT_BYTES;
        memset(answer, 0, STORE_RESULT_BYTES + 1);
        memset(answer, 'a', text);
        store_result row = {.user = anna, .created = NOW + i, .expires = NOW + 10, .answer = answer, .notes = notes,
                            .maps = maps, .maps_bytes = STORE_RESULT_BYTES - text};
        FINE(store_result_add(db, &row, "p", 1, "t", 1, id, &err));
        FINE(store_result_share(db, id, true, &err));
        FINE(store_result_set_notes(db, id, "", &err));
        FINE(store_result_set_notes(db, id, notes, &err));
        FINE(store_result_keep(db, id, anna, &err));
        FINE(store_result_get(db, id, NOW, &r, &err));
        assert_true(strcmp(r.answer, answer) == 0 && strcmp(r.notes, notes) == 0);
        assert_true(r.maps_bytes == row.maps_bytes && (!r.maps_bytes || memcmp(r.maps, maps, r.maps_bytes) == 0));
        store_result_release(&r);
        if (i == 0)
            FINE(store_result_delete(db, id, &err));
        row.answer = text ? answer : "more";
        answer[text] = 'a';
        REFUSES(store_result_add(db, &row, "p", 1, "t", 1, id, &err), DERMIS_E_USAGE);
    }
    notes[STORE_NOTES_BYTES] = 'n';
    REFUSES(store_result_set_notes(db, id, notes, &err), DERMIS_E_USAGE);
    assert_int_equal(files(), 2 * 5);
    FINE(store_result_delete_all(db, anna, &err));
    assert_int_equal(files(), 0);
    if (sqlite3_memory_highwater(0) > (sqlite3_int64)store_memory_bytes())
        fail_msg("SQLite took %lld bytes", (long long)sqlite3_memory_highwater(0));
    free(answer);
    free(notes);
    free(maps);
}

/* ---- the list ---- */

typedef struct listed {
    char order[256];
    unsigned stop_after, seen;
} listed;

static bool note_order(void *context, const store_result *r)
{
    listed *l = context;
    char number[16];
    assert_null(r->maps);
    snprintf(number, sizeof number, "%u ", r->width);
    strcat(l->order, number);
    return ++l->seen != l->stop_after;
}

static void expect_list(int64_t user, store_filter f, const char *order, unsigned total)
{
    listed l = {0};
    unsigned all = 4242;
    f.now = NOW;
    FINE(store_result_list(db, user, &f, note_order, &l, &all, &err));
    assert_string_equal(l.order, order);
    assert_int_equal(all, total);
}

static void add_row(int64_t user, unsigned number, int64_t created, int64_t expires, const char *top, const char *notes)
{
    char id[STORE_ID_CHARS + 1];
    store_result row = {.user = user, .created = created, .expires = expires, .width = number, .notes = notes};
    snprintf(row.top, sizeof row.top, "%s", top);
    FINE(store_result_add(db, &row, "p", 1, "t", 1, id, &err));
}

static void test_list(void **state)
{
    (void)state;
    int64_t anna = user_named("anna"), bert = user_named("bert");
    char top[101];
    memset(top, 't', 100);
    top[100] = 0;
    add_row(anna, 1, NOW - 5, 0, "nv", "{\"site\":\"Left Arm\",\"since\":\"100%\"}");
    add_row(anna, 2, NOW - 3, 0, "mel", "{\"site\":\"he said \\\"no\\\"\\nthen\"}");
    add_row(anna, 3, NOW - 4, NOW + 1, "nv", "not JSON: armchair");
    add_row(anna, 4, NOW - 1, NOW, "nv", ""); /* expired this second */
    add_row(anna, 5, NOW - 9, 0, top, "{\"site\":\"Cánh tay\"}");
    expect_list(anna, (store_filter){0}, "2 3 1 5 ", 4);
    expect_list(anna, (store_filter){.kept = true}, "2 1 5 ", 3); /* 3 ends soon */
    add_row(bert, 6, NOW - 2, 0, "nv", "{\"site\":\"arm\"}");
    add_row(0, 7, NOW - 2, NOW + 1, "nv", "{\"site\":\"arm\"}");
    expect_list(anna, (store_filter){0}, "2 3 1 5 ", 4); /* newest first; nobody else's, none that expired */
    expect_list(anna, (store_filter){.limit = 2}, "2 3 ", 4);
    expect_list(anna, (store_filter){.limit = 2, .offset = 2}, "1 5 ", 4);
    expect_list(anna, (store_filter){.offset = 3}, "5 ", 4);
    expect_list(anna, (store_filter){.limit = 2, .offset = 9}, "", 4);
    expect_list(anna, (store_filter){.limit = ~0u, .offset = ~0u}, "", 4);
    expect_list(anna, (store_filter){.top = "nv"}, "3 1 ", 2);
    expect_list(anna, (store_filter){.top = "nv", .limit = 1}, "3 ", 2);
    expect_list(anna, (store_filter){.top = "N"}, "", 0);
    expect_list(anna, (store_filter){.top = top}, "5 ", 1); /* as much as is kept of a long name */
    expect_list(anna, (store_filter){.text = "ARM"}, "3 1 ", 2);
    expect_list(anna, (store_filter){.text = "arm", .top = "nv", .offset = 1}, "1 ", 2);
    expect_list(anna, (store_filter){.text = "site"}, "", 0); /* a name of the form, which nobody wrote */
    expect_list(anna, (store_filter){.text = "\"no\"\nthen"}, "2 ", 1);
    expect_list(anna, (store_filter){.text = "%"}, "1 ", 1);
    expect_list(anna, (store_filter){.text = "_"}, "", 0);
    expect_list(anna, (store_filter){.text = "cánh"}, "5 ", 1);
    expect_list(bert, (store_filter){0}, "6 ", 1);
    expect_list(12345, (store_filter){0}, "", 0);
    expect_list(0, (store_filter){0}, "", 0); /* guests' results are nobody's list */
    listed l = {.stop_after = 2};
    FINE(store_result_list(db, anna, &(store_filter){.now = NOW}, note_order, &l, NULL, &err));
    assert_string_equal(l.order, "2 3 ");
    expect_list(anna, (store_filter){0}, "2 3 1 5 ", 4); /* the next list starts anew */
}

static void test_deleting(void **state)
{
    (void)state;
    int64_t anna = user_named("anna"), bert = user_named("bert");
    char id[STORE_ID_CHARS + 1], kept[STORE_ID_CHARS + 1];
    uint8_t hash[STORE_HASH_BYTES];
    store_user user;
    unsigned removed = 99;
    for (unsigned i = 0; i < 5; i++) {
        FINE(add_numbered(db, i, anna, 0, id, &err));
        FINE(add_numbered(db, 10 + i, 0, NOW + i, id, &err));
    }
    FINE(add_numbered(db, 20, bert, 0, kept, &err));
    assert_int_equal(files(), 22);
    FINE(store_sweep(db, NOW - 1, &removed, &err));
    assert_int_equal(removed, 0);
    FINE(store_sweep(db, NOW + 2, &removed, &err)); /* those of NOW, NOW + 1 and NOW + 2 */
    assert_int_equal(removed, 3);
    assert_int_equal(files(), 16);
    FINE(store_result_delete_all(db, anna, &err));
    assert_int_equal(files(), 6);
    FINE(store_result_delete_all(db, anna, &err));
    FINE(add_numbered(db, 30, anna, 0, id, &err));
    hash_of(1, hash);
    FINE(store_session_add(db, hash, anna, NOW, NOW + 10, &err));
    FINE(store_token_add(db, hash, anna, "t", NOW, NULL, &err));
    FINE(store_user_delete(db, anna, &err));
    REFUSES(store_user_by_id(db, anna, &user, &err), DERMIS_E_NOT_FOUND);
    REFUSES(store_session_find(db, hash, NOW, &user, &err), DERMIS_E_NOT_FOUND);
    REFUSES(store_token_find(db, hash, NOW, &user, NULL, &err), DERMIS_E_NOT_FOUND);
    assert_int_equal(files(), 6);
    assert_int_equal(ask_number("SELECT count(*) FROM results"), 3);
    assert_true(is_whole(db, kept, 20));
}

static unsigned bytes_seen;

static bool weigh(void *context, const store_result *r)
{
    char (*ids)[STORE_ID_CHARS + 1] = context;
    bytes_seen += (unsigned)strlen(r->answer);
    memcpy(ids[r->width], r->id, sizeof *ids);
    return true;
}

/* Someone who keeps 5,000 results, all of one second (so that sorting would be tempting), with 16 maps each. */
static void test_many(void **state)
{
    (void)state;
    static char ids[5000][STORE_ID_CHARS + 1];
    char sql[700];
    int64_t anna = user_named("anna");
    unsigned total = 0;
    store_result r;
    snprintf(sql, sizeof sql,
             "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 4999) INSERT INTO results"
             " SELECT NULL, printf('%%022d', i * 7919 %% 5000), printf('%%022d', i), %lld, zeroblob(32), 5, 0, 0, i, 7, 'nv',"
             " '{\"site\":\"arm\"}', printf('%%.*c', 3000, 'a'), randomblob(16 * (8 + 4 * 7 * 7)) FROM n", (long long)anna);
    sqlite3_hard_heap_limit64(64 << 20); /* the other program has more */
    tell(sql);
    reopen(false);
    sqlite3_memory_highwater(1);
    bytes_seen = 0;
    FINE(store_result_list(db, anna, &(store_filter){.now = NOW, .text = "arm"}, weigh, ids, &total, &err));
    assert_int_equal(total, 5000);
    assert_int_equal(bytes_seen, 5000 * 3000);
    for (unsigned i = 0; i < 5000; i++) { /* as the export does */
        FINE(store_result_get(db, ids[i], NOW, &r, &err));
        assert_true(r.width == i && r.maps_bytes == 16 * (8 + 4 * 7 * 7));
        store_result_release(&r);
    }
    FINE(store_result_delete_all(db, anna, &err));
    assert_int_equal(ask_number("SELECT count(*) FROM results"), 0);
    if (sqlite3_memory_highwater(0) > (sqlite3_int64)store_memory_bytes())
        fail_msg("SQLite took %lld bytes", (long long)sqlite3_memory_highwater(0));
}

/* What is past the limit is refused, and then all is as it was. */
static void test_memory_is_bounded(void **state)
{
    (void)state;
    int64_t anna = user_named("anna");
    char id[STORE_ID_CHARS + 1];
    store_result r;
    unsigned total;
    assert_int_equal(sqlite3_hard_heap_limit64(-1), store_memory_bytes());
    FINE(add_numbered(db, 1, anna, 0, id, &err));
    sqlite3_hard_heap_limit64(64 << 20);
    tell("INSERT INTO results SELECT NULL, 'big', 'big', user, guest, 0, 0, 0, 1, 1, 'nv', '', 'a', zeroblob(6000000) FROM results");
    reopen(false);
    REFUSES(store_result_get(db, "big", NOW, &r, &err), DERMIS_E_MEMORY);
    REFUSES(store_result_set_notes(db, "big", "more", &err), DERMIS_E_MEMORY);
    FINE(store_result_list(db, anna, &(store_filter){.now = NOW}, weigh, (char[2][STORE_ID_CHARS + 1]){{0}}, &total, &err));
    assert_int_equal(total, 2);
    assert_true(is_whole(db, id, 1));
    assert_int_equal(ask_number("SELECT count(*) FROM results WHERE id = 'big' AND notes = '' AND length(maps) = 6000000"), 1);
    FINE(store_result_delete(db, "big", &err)); /* page by page */
    FINE(store_check(db, &err));
}

/* ---- threads ---- */

typedef struct worker {
    unsigned number, failed;
    int64_t user;
} worker;

static void *work(void *context)
{
    worker *w = context;
    char ids[8][STORE_ID_CHARS + 1];
    dermis_error why;
    store_user user;
    uint8_t hash[STORE_HASH_BYTES];
    for (unsigned round = 0; round < 5; round++) {
        unsigned first = w->number * 1000 + round * 10, total = 0;
        hash_of(first, hash);
        w->failed += store_session_add(db, hash, w->user, NOW, NOW + 1, &why) != DERMIS_OK;
        for (unsigned i = 0; i < 8; i++)
            w->failed += add_numbered(db, first + i, w->user, i % 4 ? 0 : NOW + 1, ids[i], &why) != DERMIS_OK;
        for (unsigned i = 0; i < 8; i++)
            w->failed += !is_whole(db, ids[i], first + i);
        listed l = {0};
        w->failed += store_result_list(db, w->user, &(store_filter){.now = NOW}, note_order, &l, &total, &why) != DERMIS_OK;
        w->failed += total != 8 || l.seen != 8;
        for (unsigned i = 0; i < 4; i++)
            w->failed += store_result_delete(db, ids[i], &why) != DERMIS_OK;
        w->failed += store_session_find(db, hash, NOW, &user, &why) != DERMIS_OK || user.id != w->user;
        if (round < 4)
            w->failed += store_result_delete_all(db, w->user, &why) != DERMIS_OK;
    }
    return NULL;
}

static void test_threads(void **state)
{
    (void)state;
    enum { THREADS = 4 };
    pthread_t threads[THREADS];
    worker workers[THREADS] = {{0}};
    char name[16];
    for (unsigned i = 0; i < THREADS; i++) {
        snprintf(name, sizeof name, "user%u", i);
        workers[i] = (worker){.number = i + 1, .user = user_named(name)};
    }
    for (unsigned i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, work, &workers[i]), 0);
    for (int i = 0; i < 20; i++) /* the sweeper goes round meanwhile, and finds nothing that is due */
        FINE(store_sweep(db, NOW, NULL, &err));
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    for (unsigned i = 0; i < THREADS; i++)
        assert_int_equal(workers[i].failed, 0);
    assert_int_equal(ask_number("SELECT count(*) FROM results"), 4 * THREADS);
    assert_int_equal(files(), 2 * 4 * THREADS);
    FINE(store_sweep(db, NOW + 1, NULL, &err));
    assert_int_equal(files(), 2 * 3 * THREADS);
}

int main(void)
{
#define TEST(name)   cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_users), TEST(test_quotes), TEST(test_sessions), TEST(test_tokens), TEST(test_token_used),
        TEST(test_new_password),
        TEST(test_result), TEST(test_result_changes), TEST(test_result_limits), TEST(test_list),
        TEST(test_deleting), TEST(test_many), TEST(test_memory_is_bounded), TEST(test_threads),
    };
    return cmocka_run_group_tests_name("store", tests, NULL, NULL);
}
