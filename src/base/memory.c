/* memory.c - counted, tagged, aligned allocation. Any thread may call; who allocates says in its
 * header who frees. A header of one alignment unit stands before each block. */
#include "base/base.h"

#include <malloc.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

typedef struct header {
    size_t bytes;
    base_tag tag;
} header;

static atomic_size_t live[BASE_TAG_COUNT];
static atomic_size_t live_total, peak_total;
static atomic_uint_fast64_t allocations, fail_at;

static bool must_fail(void)
{
    uint_fast64_t n = atomic_load(&fail_at);
    while (n > 0)
        if (atomic_compare_exchange_weak(&fail_at, &n, n - 1))
            return n == 1;
    return false;
}

static void count(base_tag tag, size_t add, size_t sub)
{
    atomic_fetch_add(&live[tag], add - sub);
    size_t now = atomic_fetch_add(&live_total, add - sub) + add - sub;
    size_t peak = atomic_load(&peak_total);
    while (now > peak && now < SIZE_MAX / 2 &&
           !atomic_compare_exchange_weak(&peak_total, &peak, now))
        ;
}

void *base_alloc(base_tag tag, size_t bytes)
{
    size_t whole;
    if (!base_add_size(bytes, 2 * BASE_ALIGNMENT - 1, &whole) || must_fail())
        return NULL;
    whole = whole / BASE_ALIGNMENT * BASE_ALIGNMENT;
    char *block = aligned_alloc(BASE_ALIGNMENT, whole);
    if (!block)
        return NULL;
    header *h = (header *)block;
    h->bytes = bytes;
    h->tag = tag;
    atomic_fetch_add(&allocations, 1);
    count(tag, bytes, 0);
    return block + BASE_ALIGNMENT;
}

void *base_calloc(base_tag tag, size_t n, size_t bytes)
{
    size_t whole;
    if (!base_mul_size(n, bytes, &whole))
        return NULL;
    void *p = base_alloc(tag, whole);
    if (p)
        memset(p, 0, whole);
    return p;
}

static header *header_of(void *p)
{
    return (header *)((char *)p - BASE_ALIGNMENT);
}

void *base_realloc(base_tag tag, void *p, size_t bytes)
{
    void *q = base_alloc(tag, bytes);
    if (q && p) {
        size_t old = header_of(p)->bytes;
        memcpy(q, p, old < bytes ? old : bytes);
        base_free(p);
    }
    return q;
}

char *base_strdup(base_tag tag, const char *text)
{
    size_t n = strlen(text) + 1;
    char *copy = base_alloc(tag, n);
    if (copy)
        memcpy(copy, text, n);
    return copy;
}

void base_free(void *p)
{
    if (!p)
        return;
    header *h = header_of(p);
    count(h->tag, 0, h->bytes);
    free(h);
}

void base_memory_read(base_memory *out)
{
    for (int i = 0; i < BASE_TAG_COUNT; i++)
        out->live_bytes[i] = atomic_load(&live[i]);
    out->live_total = atomic_load(&live_total);
    out->peak_total = atomic_load(&peak_total);
    out->allocations = atomic_load(&allocations);
}

void base_memory_fail_at(uint64_t n)
{
    atomic_store(&fail_at, n);
}

static size_t proc_status_kb(const char *key)
{
    FILE *f = fopen("/proc/self/status", "r");
    if (!f)
        return 0;
    char line[256];
    size_t kb = 0, n = strlen(key);
    while (fgets(line, sizeof line, f))
        if (strncmp(line, key, n) == 0 && line[n] == ':') {
            kb = strtoull(line + n + 1, NULL, 10);
            break;
        }
    fclose(f);
    return kb;
}

size_t base_rss_bytes(void)
{
    return proc_status_kb("VmRSS") * 1024;
}

size_t base_rss_peak_bytes(void)
{
    return proc_status_kb("VmHWM") * 1024;
}

void base_memory_trim(void)
{
    malloc_trim(0);
    FILE *f = fopen("/proc/self/maps", "r");
    char line[4400], rights[8], path[4200];
    unsigned long begin, end;
    while (f && fgets(line, sizeof line, f)) {
        *path = 0;
        if (sscanf(line, "%lx-%lx %7s %*s %*s %*s %4199s", &begin, &end, rights, path) >= 3 && *path == '/' &&
            strcmp(rights, "r-xp") == 0) /* never written to: what is relocated stands elsewhere */
            madvise((void *)begin, end - begin, MADV_DONTNEED);
    }
    if (f)
        fclose(f);
}
