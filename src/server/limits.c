/* limits.c - how often one may ask, and how long to wait after wrong passwords. Two tables of fixed
 * size, so that memory never grows; of what does not fit the longest unused goes, of wrong passwords what
 * matters least. Keys are hashed with a key of this process: nobody can choose what falls together. Any
 * thread. */
#include <arpa/inet.h>
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
#define FORGET_MS (LONGEST_WAIT_S * 1e3) /* one wrong password: no sooner than the longest wait lets one try */

typedef struct entry {
    uint64_t key; /* 0: free */
    double used_ms;
    double tokens;   /* requests left */
    double failures; /* wrong passwords at used_ms, less what was forgotten till then */
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

static uint64_t try_key(const server_limits *l, const char *what, const char *name)
{
    char key[256];
    int n = snprintf(key, sizeof key, "%s\n%s", what, name);
    for (char *c = key; *c; c++)
        if (*c >= 'A' && *c <= 'Z')
            *c += 'a' - 'A';
    return hash(l, key, (size_t)n < sizeof key ? (size_t)n : sizeof key - 1);
}

static entry *find_try(server_limits *l, uint64_t key)
{
    entry *bucket = l->tries[key % BUCKETS];
    for (int i = 0; i < WAYS; i++)
        if (bucket[i].key == key)
            return &bucket[i];
    return NULL;
}

static double failures(const entry *e, double now_ms)
{
    return fmax(0, e->failures - (now_ms - e->used_ms) / FORGET_MS);
}

/* Whether `a` gives way before `b`: made-up names cannot push out an account that is under attack. */
static bool matters_less(const entry *a, const entry *b, double now_ms)
{
    bool a_blocked = a->blocked_until_ms > now_ms, b_blocked = b->blocked_until_ms > now_ms;
    double a_failures = failures(a, now_ms), b_failures = failures(b, now_ms);
    if (a_blocked != b_blocked)
        return b_blocked;
    return a_failures != b_failures ? a_failures < b_failures : a->used_ms < b->used_ms;
}

static entry *add_try(server_limits *l, uint64_t key, double now_ms)
{
    entry *bucket = l->tries[key % BUCKETS], *least = bucket;
    for (int i = 1; i < WAYS; i++)
        if (matters_less(&bucket[i], least, now_ms))
            least = &bucket[i];
    *least = (entry){.key = key, .used_ms = now_ms};
    return least;
}

unsigned limits_try(server_limits *l, const char *what, const char *name, double now_ms)
{
    pthread_mutex_lock(&l->mutex);
    const entry *e = find_try(l, try_key(l, what, name)); /* asking takes no room */
    double left = e ? e->blocked_until_ms - now_ms : 0;
    pthread_mutex_unlock(&l->mutex);
    return left > 0 ? (unsigned)ceil(left / 1e3) : 0;
}

void limits_tried(server_limits *l, const char *what, const char *name, bool success, double now_ms)
{
    uint64_t key = try_key(l, what, name);
    pthread_mutex_lock(&l->mutex);
    entry *e = find_try(l, key);
    if (success) {
        if (e)
            memset(e, 0, sizeof *e);
    } else {
        double free_tries = strcmp(what, "address") == 0 ? FREE_ADDRESS : FREE_TRIES;
        e = e ? e : add_try(l, key, now_ms);
        e->failures = failures(e, now_ms) + 1;
        e->used_ms = now_ms;
        double more = ceil(e->failures) - free_tries; /* a failure counts until it is forgotten as a whole */
        if (more >= 0)
            e->blocked_until_ms = now_ms + fmin(ldexp(1, more < 20 ? (int)more : 20), LONGEST_WAIT_S) * 1e3;
    }
    pthread_mutex_unlock(&l->mutex);
}

void limits_address(const char *address, char out[LIMITS_ADDRESS_BYTES])
{
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    struct in6_addr binary;
    snprintf(out, LIMITS_ADDRESS_BYTES, "%s", address);
    if (inet_pton(AF_INET6, address, &binary) != 1)
        return;
    if (memcmp(binary.s6_addr, mapped, sizeof mapped) == 0) {
        inet_ntop(AF_INET, binary.s6_addr + sizeof mapped, out, LIMITS_ADDRESS_BYTES);
        return;
    }
    memset(binary.s6_addr + 8, 0, 8); /* whoever has one address has all that share its first 64 bits */
    inet_ntop(AF_INET6, &binary, out, LIMITS_ADDRESS_BYTES);
}
