/* limits.c - how often one may ask, and how long to wait after wrong passwords. Two tables of fixed
 * size; of what does not fit the longest unused goes, so that memory never grows. Keys are hashed with
 * a key of this process: nobody can choose what falls together. Any thread. */
#include <math.h>
#include <sodium.h>
#include <string.h>
#include <strings.h>

#include "server/app.h"

#define BUCKETS 1024 /* of WAYS entries */
#define WAYS    4
#define FREE_TRIES    5  /* wrong passwords for one account before the first wait */
#define FREE_ADDRESS 30 /* from one address: a clinic stands behind one */
#define LONGEST_WAIT_S 900.0
#define FORGET_MS (3600e3 * 24)

typedef struct entry {
    uint64_t key; /* 0: free */
    double used_ms;
    double tokens;      /* requests left */
    unsigned failures;  /* wrong passwords in a row */
    double blocked_until_ms;
} entry;

struct server_limits {
    pthread_mutex_t mutex;
    unsigned char key[crypto_shorthash_KEYBYTES];
    entry rates[BUCKETS][WAYS], tries[BUCKETS][WAYS];
};

server_limits *limits_new(void)
{
    server_limits *l = base_calloc(BASE_TAG_SERVER, 1, sizeof *l);
    if (!l)
        return NULL;
    pthread_mutex_init(&l->mutex, NULL);
    randombytes_buf(l->key, sizeof l->key);
    return l;
}

void limits_free(server_limits *l)
{
    if (!l)
        return;
    pthread_mutex_destroy(&l->mutex);
    base_free(l);
}

static uint64_t hash(const server_limits *l, const void *data, size_t size)
{
    uint64_t h;
    crypto_shorthash((unsigned char *)&h, data, size, l->key);
    return h ? h : 1;
}

/* The entry of a key; a new one (used_ms 0) takes the place of the longest unused of its bucket. */
static entry *find(entry (*table)[WAYS], uint64_t key)
{
    entry *bucket = table[key % BUCKETS], *oldest = bucket;
    for (int i = 0; i < WAYS; i++) {
        if (bucket[i].key == key)
            return &bucket[i];
        if (bucket[i].used_ms < oldest->used_ms)
            oldest = &bucket[i];
    }
    memset(oldest, 0, sizeof *oldest);
    oldest->key = key;
    return oldest;
}

unsigned limits_take(server_limits *l, const void *key, size_t size, unsigned per_minute, double now_ms)
{
    if (per_minute == 0)
        return 0;
    unsigned wait = 0;
    pthread_mutex_lock(&l->mutex);
    entry *e = find(l->rates, hash(l, key, size));
    double rate = per_minute / 60e3; /* a millisecond */
    e->tokens = e->used_ms == 0 ? per_minute : fmin(per_minute, e->tokens + (now_ms - e->used_ms) * rate);
    e->used_ms = now_ms;
    if (e->tokens >= 1)
        e->tokens -= 1;
    else
        wait = (unsigned)ceil((1 - e->tokens) / rate / 1e3);
    pthread_mutex_unlock(&l->mutex);
    return wait;
}

static entry *find_try(server_limits *l, const char *what, const char *name)
{
    char key[256];
    int n = snprintf(key, sizeof key, "%s\n%s", what, name);
    for (char *c = key; *c; c++)
        if (*c >= 'A' && *c <= 'Z')
            *c += 'a' - 'A';
    return find(l->tries, hash(l, key, (size_t)n < sizeof key ? (size_t)n : sizeof key - 1));
}

unsigned limits_try(server_limits *l, const char *what, const char *name, double now_ms)
{
    pthread_mutex_lock(&l->mutex);
    entry *e = find_try(l, what, name);
    if (e->used_ms && now_ms - e->used_ms > FORGET_MS)
        e->failures = 0;
    e->used_ms = now_ms;
    double left = e->blocked_until_ms - now_ms;
    pthread_mutex_unlock(&l->mutex);
    return left > 0 ? (unsigned)ceil(left / 1e3) : 0;
}

void limits_tried(server_limits *l, const char *what, const char *name, bool success, double now_ms)
{
    pthread_mutex_lock(&l->mutex);
    entry *e = find_try(l, what, name);
    unsigned free_tries = strcmp(what, "address") == 0 ? FREE_ADDRESS : FREE_TRIES;
    e->used_ms = now_ms;
    if (success) {
        e->failures = 0;
        e->blocked_until_ms = 0;
    } else if (++e->failures >= free_tries) {
        unsigned more = e->failures - free_tries;
        e->blocked_until_ms = now_ms + fmin(ldexp(1.0, more < 20 ? (int)more : 20), LONGEST_WAIT_S) * 1e3;
    }
    pthread_mutex_unlock(&l->mutex);
}
