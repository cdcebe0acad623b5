/* pool.c - a fork-join thread pool. Workers spin briefly after a job, since the next layer follows
 * within microseconds, then sleep. Tasks are handed out by an atomic counter.
 *
 * A worker enters a job only while it is open; the caller closes it when no task is left, and waits
 * for those inside. So a worker that the system has taken off its CPU holds nothing up unless it is
 * in the middle of a task, and `run` returns with the job's memory the caller's again. */
#include "base/base.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>
#include <stdlib.h>

#define SPIN_ROUNDS 4000 /* about 50 us of pauses: the gap between two layers, not between two runs */

typedef struct worker {
    base_pool *pool;
    unsigned index;
    pthread_t thread;
} worker;

#define OPEN   ((uint64_t)1 << 31)
#define INSIDE (OPEN - 1)

struct base_pool {
    unsigned threads; /* the caller included */
    unsigned started;
    pthread_mutex_t lock;
    pthread_cond_t wake; /* workers: a job has begun */
    pthread_cond_t left; /* the caller, while it waits: the last worker has left */
    atomic_bool waits;
    atomic_uint_fast64_t state; /* generation of jobs << 32 | OPEN | workers inside; a new generation
                                   begins under the lock */
    atomic_size_t next;
    size_t tasks;
    base_pool_task task;
    void *context;
    atomic_bool stop;
    worker workers[];
};

static void pause_cpu(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* The pool whose task this thread is in, and as which worker: a run from within would wait for
 * itself. */
static _Thread_local const base_pool *inside;
static _Thread_local unsigned inside_index;

static void work(base_pool *pool, unsigned index)
{
    const base_pool *outer = inside;
    unsigned outer_index = inside_index;
    inside = pool;
    inside_index = index;
    size_t i;
    while ((i = atomic_fetch_add_explicit(&pool->next, 1, memory_order_relaxed)) < pool->tasks)
        pool->task(pool->context, i, index);
    inside = outer;
    inside_index = outer_index;
}

static uint32_t generation(uint64_t state)
{
    return (uint32_t)(state >> 32);
}

/* Waits for a generation other than `seen`, spinning first. */
static uint64_t await(base_pool *pool, uint32_t seen)
{
    uint64_t state;
    for (int i = 0; i < SPIN_ROUNDS; i++) {
        if (generation(state = atomic_load(&pool->state)) != seen)
            return state;
        pause_cpu();
    }
    pthread_mutex_lock(&pool->lock);
    while (generation(state = atomic_load(&pool->state)) == seen)
        pthread_cond_wait(&pool->wake, &pool->lock);
    pthread_mutex_unlock(&pool->lock);
    return state;
}

static void leave(base_pool *pool)
{
    uint64_t before = atomic_fetch_sub(&pool->state, 1);
    if ((before & INSIDE) == 1 && atomic_load(&pool->waits)) {
        pthread_mutex_lock(&pool->lock);
        pthread_cond_signal(&pool->left);
        pthread_mutex_unlock(&pool->lock);
    }
}

/* Waits for those inside a closed job. One that takes long has lost its CPU in a task: the caller
 * sleeps, so that the system can give it this one. */
static void await_left(base_pool *pool)
{
    for (int i = 0; i < SPIN_ROUNDS; i++) {
        if (!(atomic_load(&pool->state) & INSIDE))
            return;
        pause_cpu();
    }
    atomic_store(&pool->waits, true);
    pthread_mutex_lock(&pool->lock);
    while (atomic_load(&pool->state) & INSIDE)
        pthread_cond_wait(&pool->left, &pool->lock);
    pthread_mutex_unlock(&pool->lock);
    atomic_store(&pool->waits, false);
}

static void *worker_main(void *argument)
{
    worker *self = argument;
    base_pool *pool = self->pool;
    uint64_t state = 0;
    for (;;) {
        state = await(pool, generation(state));
        if (atomic_load(&pool->stop))
            return NULL;
        while (state & OPEN) /* a failed exchange loads what is there now, of a later job perhaps */
            if (atomic_compare_exchange_weak(&pool->state, &state, state + 1)) {
                work(pool, self->index);
                leave(pool);
                break;
            }
    }
}

/* Begins a new generation: open, nobody inside. */
static void announce(base_pool *pool)
{
    pthread_mutex_lock(&pool->lock);
    uint64_t next = (uint64_t)generation(atomic_load(&pool->state)) + 1;
    atomic_store(&pool->state, next << 32 | OPEN);
    pthread_cond_broadcast(&pool->wake);
    pthread_mutex_unlock(&pool->lock);
}

dermis_status base_pool_new(unsigned threads, base_pool **out, dermis_error *err)
{
    if (threads < 1 || threads > 1024)
        return base_fail(err, DERMIS_E_USAGE, "threads must be 1 to 1024, not %u", threads);
    base_pool *pool = base_calloc(BASE_TAG_BASE, 1, sizeof *pool + (threads - 1) * sizeof(worker));
    if (!pool)
        return base_fail(err, DERMIS_E_MEMORY, "not enough memory for a pool of %u threads", threads);
    pool->threads = threads;
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->wake, NULL);
    pthread_cond_init(&pool->left, NULL);
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, 256 * 1024); /* kernels keep scratch in the arena */
    int failed = 0;
    for (unsigned i = 1; i < threads && !failed; i++) {
        worker *w = &pool->workers[i - 1];
        *w = (worker){.pool = pool, .index = i};
        failed = pthread_create(&w->thread, &attributes, worker_main, w);
        if (!failed)
            pool->started++;
    }
    pthread_attr_destroy(&attributes);
    if (failed) {
        base_pool_free(pool);
        return base_fail(err, DERMIS_E_MEMORY, "cannot start %u threads: %s", threads,
                         strerror(failed));
    }
    *out = pool;
    return DERMIS_OK;
}

void base_pool_free(base_pool *pool)
{
    if (!pool)
        return;
    atomic_store(&pool->stop, true);
    announce(pool);
    for (unsigned i = 0; i < pool->started; i++)
        pthread_join(pool->workers[i].thread, NULL);
    pthread_cond_destroy(&pool->wake);
    pthread_cond_destroy(&pool->left);
    pthread_mutex_destroy(&pool->lock);
    base_free(pool);
}

unsigned base_pool_threads(const base_pool *pool)
{
    return pool ? pool->threads : 1;
}

void base_pool_run(base_pool *pool, size_t tasks, base_pool_task task, void *context)
{
    bool nested = pool && inside == pool;
    if (!pool || pool->threads == 1 || tasks <= 1 || nested) {
        for (size_t i = 0; i < tasks; i++)
            task(context, i, nested ? inside_index : 0);
        return;
    }
    pool->tasks = tasks;
    pool->task = task;
    pool->context = context;
    atomic_store(&pool->next, 0);
    announce(pool);
    work(pool, 0);
    atomic_fetch_and(&pool->state, ~OPEN);
    await_left(pool);
}

static unsigned cgroup_cpus(void)
{
    FILE *f = fopen("/sys/fs/cgroup/cpu.max", "r");
    if (!f)
        return 0;
    char quota[32];
    long period = 0;
    unsigned cpus = 0;
    if (fscanf(f, "%31s %ld", quota, &period) == 2 && strcmp(quota, "max") != 0 && period > 0)
        cpus = (unsigned)((strtol(quota, NULL, 10) + period - 1) / period);
    fclose(f);
    return cpus;
}

unsigned base_cpu_count(void)
{
    cpu_set_t set;
    unsigned n = 1;
    if (sched_getaffinity(0, sizeof set, &set) == 0)
        n = (unsigned)CPU_COUNT(&set);
    unsigned limit = cgroup_cpus();
    if (limit > 0 && limit < n)
        n = limit;
    return n > 0 ? n : 1;
}
