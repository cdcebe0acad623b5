/* base.h - what every layer stands on: status, counted memory, arena, bounds-checked reading,
 * mapped files, atomic output files, log, thread pool. Knows nothing of pictures or models.
 *
 * Conventions of the whole house: functions that can fail return dermis_status and take a
 * dermis_error * (may be NULL) as last argument; outputs are untouched on failure; destructors
 * accept NULL and half-built objects. */
#ifndef BASE_BASE_H
#define BASE_BASE_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/dermis_status.h"

/* ---- status ---- */

const char *base_status_name(dermis_status status);
const char *base_status_text(dermis_status status);
int base_status_http(dermis_status status);
int base_status_exit(dermis_status status);

/* Fill `err` (NULL allowed) and return `status`. The text is cut at the buffer's end; control
 * characters and what is not UTF-8 in it (from hostile file names) are replaced by '?'. */
dermis_status base_fail(dermis_error *err, dermis_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Put "prefix: " before the text that `err` holds; returns err->status. */
dermis_status base_fail_prefix(dermis_error *err, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Bytes of the UTF-8 character at `s`, of which `n` bytes may be read; 0 where there is none. */
size_t base_utf8_next(const char *s, size_t n);
/* The same for what may stand in one line: 0 also for control characters (U+0000 to U+001F, U+007F
 * to U+009F), which a terminal would obey. */
size_t base_utf8_next_printable(const char *s, size_t n);
bool base_utf8(const char *text); /* whether all of it is */

/* ---- checked sizes: false (and *out untouched) on overflow ---- */

static inline bool base_mul_size(size_t a, size_t b, size_t *out)
{
    size_t r;
    if (__builtin_mul_overflow(a, b, &r))
        return false;
    *out = r;
    return true;
}

static inline bool base_add_size(size_t a, size_t b, size_t *out)
{
    size_t r;
    if (__builtin_add_overflow(a, b, &r))
        return false;
    *out = r;
    return true;
}

static inline size_t base_align_up(size_t n, size_t alignment) /* power of two; n small enough */
{
    return (n + alignment - 1) & ~(alignment - 1);
}

/* ---- memory: every allocation has a tag and is counted; thread-safe ---- */

typedef enum base_tag {
    BASE_TAG_BASE,
    BASE_TAG_MODEL,
    BASE_TAG_NN,
    BASE_TAG_IMAGE,
    BASE_TAG_ENGINE,
    BASE_TAG_IMPORT,
    BASE_TAG_HTTP,
    BASE_TAG_STORE,
    BASE_TAG_SERVER,
    BASE_TAG_CLI,
    BASE_TAG_COUNT
} base_tag;

#define BASE_ALIGNMENT 64 /* of everything base_alloc returns: a cache line, a ZMM register */

void *base_alloc(base_tag tag, size_t bytes); /* NULL when out of memory; content undefined */
void *base_calloc(base_tag tag, size_t count, size_t bytes); /* zeroed; checks count * bytes */
void *base_realloc(base_tag tag, void *p, size_t bytes);     /* keeps `p` on failure */
char *base_strdup(base_tag tag, const char *text);
void base_free(void *p);

typedef struct base_memory {
    size_t live_bytes[BASE_TAG_COUNT];
    size_t live_total;
    size_t peak_total;
    uint64_t allocations; /* since process start: a test sees that `run` makes none */
} base_memory;
void base_memory_read(base_memory *out);

/* For tests: the n-th allocation from now fails (1 = the next), once; 0 = never. */
void base_memory_fail_at(uint64_t n);

/* Resident set of this process now, and its peak (VmRSS and VmHWM of /proc/self/status), bytes;
 * 0 where unknown. */
/* Gives back what the process does not need while it waits: free heap, and pages of programs' and libraries' code,
 * which come back from their files when they are run. */
void base_memory_trim(void);
size_t base_rss_bytes(void);
size_t base_rss_peak_bytes(void);

/* ---- bounds-checked little-endian reader over bytes from outside ---- */

typedef struct base_reader {
    const uint8_t *data;
    size_t size;
    size_t at;
    bool failed; /* sticky: once a read ran past the end all later reads give 0 */
} base_reader;

void base_reader_init(base_reader *r, const void *data, size_t size);
uint8_t base_read_u8(base_reader *r);
uint16_t base_read_u16(base_reader *r);
uint32_t base_read_u32(base_reader *r);
uint64_t base_read_u64(base_reader *r);
float base_read_f32(base_reader *r);
double base_read_f64(base_reader *r);
const void *base_read_bytes(base_reader *r, size_t n); /* NULL past the end */

/* ---- half precision (IEEE 754 binary16), round to nearest even ---- */

float base_f16_to_f32(uint16_t h);
uint16_t base_f32_to_f16(float f);

/* ---- files ---- */

/* A file mapped read-only. The descriptor is kept, so that the identity can be checked; a file cut
 * short while mapped raises SIGBUS, which base_map_guard_install answers with a clear message. */
typedef struct base_map {
    const uint8_t *data;
    size_t size;
    int fd;
    uint64_t device, inode;
    int64_t mtime_ns;
} base_map;

dermis_status base_map_open(const char *path, base_map *out, dermis_error *err);
void base_map_close(base_map *map); /* accepts a zeroed one with fd = -1 */
/* DERMIS_E_MODEL_CHANGED when the mapped file was written to or cut short since it was opened. */
dermis_status base_map_check(const base_map *map, const char *path, dermis_error *err);
/* SIGBUS from now on prints one line and ends the process with the exit code of
 * DERMIS_E_MODEL_CHANGED. Called by programs, never by the library. */
void base_map_guard_install(void);

/* A whole file in memory (regular file, pipe or "-" for standard input); at most `limit` bytes,
 * past that DERMIS_E_PICTURE_LIMIT. Free with base_free. */
dermis_status base_file_read(const char *path, size_t limit, base_tag tag, uint8_t **data,
                             size_t *size, dermis_error *err);

bool base_write_all(int fd, const void *bytes, size_t size); /* false: errno says why */
/* A file of mode 0600 in `folder` that has no name and goes with its descriptor; -1: errno says why. */
int base_unnamed_file(const char *folder);

/* An output file that appears whole or not at all: temporary name, fsync, rename. A symbolic link
 * stays and what it points to is replaced; what is not a regular file (a folder, /dev/null) is
 * refused. */
typedef struct base_out {
    FILE *file; /* write here */
    char *path;
    char *temporary;
} base_out;

dermis_status base_out_open(const char *path, base_out *out, dermis_error *err);
dermis_status base_out_commit(base_out *out, dermis_error *err); /* on failure: as after abort */
void base_out_abort(base_out *out);
/* From now on an end by SIGINT, SIGTERM, SIGHUP or SIGXCPU (by SIGBUS with base_map_guard_install)
 * removes the temporary files that stand. Called by programs, never by the library. */
void base_out_guard_install(void);
/* Removes what the dead process of this id left of its output `path`. */
void base_out_clean(const char *path, int process);

/* ---- log: one line to standard error, level first ---- */

typedef enum base_log_level { BASE_LOG_ERROR, BASE_LOG_WARN, BASE_LOG_INFO, BASE_LOG_DEBUG } base_log_level;
void base_log_set_level(base_log_level level);
void base_log(base_log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* ---- time ---- */

double base_now_ms(void); /* monotonic */
/* A condition whose waits are measured by that clock: one set back or forward stops or hastens none. */
void base_cond_init(pthread_cond_t *cond);
/* With the mutex held: waits for a signal until base_now_ms() is `until_ms`. False: it is. */
bool base_cond_wait_until(pthread_cond_t *cond, pthread_mutex_t *mutex, double until_ms);

/* ---- thread pool: a fork-join pool of fixed size; the caller works too ---- */

typedef struct base_pool base_pool;
/* One task: `task` in 0..tasks-1, `worker` in 0..threads-1 (index of per-thread scratch). */
typedef void (*base_pool_task)(void *context, size_t task, unsigned worker);

/* threads >= 1 counts the caller; 1 starts no thread. */
dermis_status base_pool_new(unsigned threads, base_pool **out, dermis_error *err);
void base_pool_free(base_pool *pool);
unsigned base_pool_threads(const base_pool *pool); /* NULL counts as 1 */
/* Runs all tasks and returns when the last has ended. Does not allocate, cannot fail. One caller at
 * a time. `pool` NULL runs them here in order; so does a run from within a task, with the worker
 * index of that task. */
void base_pool_run(base_pool *pool, size_t tasks, base_pool_task task, void *context);
/* CPUs that this process may use (affinity and the cgroup's quota, rounded up), at least 1. */
unsigned base_cpu_count(void);

#endif
