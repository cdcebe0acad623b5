/* store.h - accounts, sessions, tokens and results: SQLite and the photographs' files behind plain
 * functions. Any thread; calls are serialised inside, and what they call back (`each`) may not call the store.
 * Knows neither HTTP nor what a picture means.
 *
 * All that is kept stands in one folder (mode 0700, files 0600): dermis.db (WAL, secure_delete) and
 * photos/XX/NAME.jpg, .thumb.jpg with random names that are not the results' ids. A result is
 * acknowledged (store_result_add returned DERMIS_OK) only when files and row are on disk: files first,
 * fsync, then the row; deleting goes the other way round, so that what a kill leaves are files without
 * a row, which store_open removes.
 *
 * Times are seconds since 1970 and given by the caller. Errors: DERMIS_E_NOT_FOUND, DERMIS_E_EXISTS,
 * DERMIS_E_BUSY (database locked by another program for longer than 2 s), DERMIS_E_IO (disk full,
 * read-only: the text says which), DERMIS_E_USAGE, DERMIS_E_MEMORY. A failure changes nothing. */
#ifndef STORE_STORE_H
#define STORE_STORE_H

#include "base/base.h"

typedef struct store store;

#define STORE_ID_CHARS    22 /* 128 random bits in base64url */
#define STORE_HASH_BYTES  32 /* of a session's or API token; the token itself is never stored */
#define STORE_NAME_BYTES  65 /* of a user's name with its NUL */
#define STORE_SECRET_BYTES 32

/* Makes the folder where there is none, migrates an older database (numbered, one transaction each),
 * refuses a newer one (DERMIS_E_USAGE) and a folder that others may read or that cannot be written.
 * `clean`: removes files without a row, and expired things; only one process may do so (the server). */
dermis_status store_open(const char *folder, bool clean, int64_t now, store **out, dermis_error *err);
void store_close(store *store);
/* 32 bytes made at the first start and kept in the folder (secret.key, 0600). */
dermis_status store_secret(store *store, uint8_t out[STORE_SECRET_BYTES], dermis_error *err);
/* A cheap write and read: whether the store works now. */
dermis_status store_check(store *store, dermis_error *err);
/* What SQLite takes at most in this process: its hard heap limit, set by store_open. A call that needs more
 * fails with DERMIS_E_MEMORY; what stands below as allowed fits. */
size_t store_memory_bytes(void);

/* ---- accounts ---- */

typedef struct store_user {
    int64_t id; /* never 0, never used again */
    char name[STORE_NAME_BYTES];
    char password[128]; /* the hash, as libsodium writes it */
    char language[8];   /* "" where none was chosen */
    bool is_operator, keeps; /* keeps: uploads are kept unless said otherwise */
    int64_t created;
} store_user;

/* Name: 3..64 bytes, compared without regard to ASCII case; DERMIS_E_EXISTS when taken. */
dermis_status store_user_add(store *store, const char *name, const char *password, bool is_operator,
                             int64_t now, int64_t *id, dermis_error *err);
dermis_status store_user_by_name(store *store, const char *name, store_user *out, dermis_error *err);
dermis_status store_user_by_id(store *store, int64_t id, store_user *out, dermis_error *err);
/* Whoever came in with the old one is out: all sessions but `session` (NULL: all) and all tokens end with it. */
dermis_status store_user_set_password(store *store, int64_t id, const char *password, const uint8_t *session,
                                      dermis_error *err);
dermis_status store_user_set_choices(store *store, int64_t id, const char *language, bool keeps,
                                     dermis_error *err);
/* With all sessions, tokens, results and files; WAL truncated afterwards. */
dermis_status store_user_delete(store *store, int64_t id, dermis_error *err);
/* Calls `each` in order of names until it returns false. */
dermis_status store_user_list(store *store, bool (*each)(void *context, const store_user *user),
                              void *context, dermis_error *err);

/* ---- sessions and API tokens, by the hash of their secret ---- */

dermis_status store_session_add(store *store, const uint8_t hash[STORE_HASH_BYTES], int64_t user,
                                int64_t now, int64_t expires, dermis_error *err);
/* The user of a session that has not expired; NOT_FOUND otherwise. */
dermis_status store_session_find(store *store, const uint8_t hash[STORE_HASH_BYTES], int64_t now,
                                 store_user *out, dermis_error *err);
dermis_status store_session_delete(store *store, const uint8_t hash[STORE_HASH_BYTES], dermis_error *err);
/* All of a user's but `except` (NULL: all). */
dermis_status store_session_delete_all(store *store, int64_t user, const uint8_t *except,
                                       dermis_error *err);

typedef struct store_token {
    int64_t id, created, used; /* used: 0 never; kept to the day */
    char label[81];
} store_token;
/* At most 20 a user (DERMIS_E_USAGE). */
dermis_status store_token_add(store *store, const uint8_t hash[STORE_HASH_BYTES], int64_t user,
                              const char *label, int64_t now, int64_t *id, dermis_error *err);
dermis_status store_token_find(store *store, const uint8_t hash[STORE_HASH_BYTES], int64_t now,
                               store_user *out, int64_t *id, dermis_error *err);
dermis_status store_token_delete(store *store, int64_t user, int64_t id, dermis_error *err);
dermis_status store_token_list(store *store, int64_t user,
                               bool (*each)(void *context, const store_token *token), void *context,
                               dermis_error *err);

/* ---- results ---- */

typedef struct store_result {
    char id[STORE_ID_CHARS + 1];
    int64_t user;                    /* 0: a guest's */
    uint8_t guest[STORE_HASH_BYTES]; /* hash of the guest's cookie; zeros: none */
    int64_t created, expires;        /* expires 0: kept */
    bool shared;                     /* whoever has the address may look */
    uint32_t width, height;          /* of the stored photograph, pixels */
    char top[65];                    /* code of the likeliest class, for the filter */
    const char *answer;              /* JSON of the layer above */
    const char *notes;               /* JSON of the layer above, "" where none */
    const void *maps;                /* bytes of the layer above */
    size_t maps_bytes;
} store_result;

/* A row passes through SQLite's memory up to twice: these leave room for that (DERMIS_E_USAGE past them). */
#define STORE_RESULT_BYTES ((size_t)1 << 20)  /* of answer and maps together */
#define STORE_NOTES_BYTES  ((size_t)32 << 10) /* the form's 2,600 characters, each an escape of JSON */

/* Stores photograph and thumbnail (JPEG bytes) and the row; result->id is ignored and a new one
 * written to `id`. */
dermis_status store_result_add(store *store, const store_result *result, const void *photo,
                               size_t photo_bytes, const void *thumb, size_t thumb_bytes,
                               char id[STORE_ID_CHARS + 1], dermis_error *err);
/* One that has not expired. The pointers in *out are one allocation: store_result_release. */
dermis_status store_result_get(store *store, const char *id, int64_t now, store_result *out,
                               dermis_error *err);
void store_result_release(store_result *result);
/* An open descriptor of its photograph or thumbnail; the caller closes it. */
dermis_status store_result_photo(store *store, const char *id, bool thumb, int64_t now, int *fd,
                                 dermis_error *err);
/* Gives a guest's or one's own result to `user` for good. */
dermis_status store_result_keep(store *store, const char *id, int64_t user, dermis_error *err);
dermis_status store_result_share(store *store, const char *id, bool shared, dermis_error *err);
dermis_status store_result_set_notes(store *store, const char *id, const char *notes, dermis_error *err);
/* Row, then files; secure_delete overwrites the row, the WAL is truncated. DERMIS_E_IO with the row gone: a
 * file could not be removed; the next clean start tries again. */
dermis_status store_result_delete(store *store, const char *id, dermis_error *err);
dermis_status store_result_delete_all(store *store, int64_t user, dermis_error *err);

typedef struct store_filter {
    const char *top;    /* only this class's code; NULL: all */
    const char *text;   /* contained in a value of the notes, without regard to ASCII case; NULL: all */
    bool kept;          /* only what is kept for good */
    int64_t now;
    unsigned offset, limit; /* limit 0: all */
} store_filter;
/* A user's results that have not expired, newest first (maps NULL); *total
 * (or NULL) is the number without offset and limit. The result that `each` sees lives until it
 * returns. */
dermis_status store_result_list(store *store, int64_t user, const store_filter *filter,
                                bool (*each)(void *context, const store_result *result), void *context,
                                unsigned *total, dermis_error *err);

/* Removes expired results, their files and expired sessions; *removed (or NULL) counts results. */
dermis_status store_sweep(store *store, int64_t now, unsigned *removed, dermis_error *err);

#endif
