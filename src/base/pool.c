/* pool.c - a fork-join thread pool. Workers spin briefly after a job, since the next layer follows
 * within microseconds, then sleep. Tasks are handed out by an atomic counter; `run` returns when
 * every worker has left the job, so the job's memory is the caller's again. */
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

struct base_pool {
    unsigned threads; /* the caller included */
    unsigned started;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    atomic_uint generation; /* grows with each job; changed under the lock */
    atomic_uint active;     /* workers that have not finished this generation */
    atomic_size_t next;
    size_t tasks;
    base_pool_task task;
    void *context;
    bool stop;
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

static void *worker_main(void *argument)
{
    worker *self = argument;
    base_pool *pool = self->pool;
    unsigned seen = 0;
    for (;;) {
        for (int i = 0; i < SPIN_ROUNDS && atomic_load(&pool->generation) == seen; i++)
            pause_cpu();
        if (atomic_load(&pool->generation) == seen) {
            pthread_mutex_lock(&pool->lock);
            while (atomic_load(&pool->generation) == seen)
                pthread_cond_wait(&pool->wake, &pool->lock);
            pthread_mutex_unlock(&pool->lock);
        }
        seen = atomic_load(&pool->generation);
        if (pool->stop)
            return NULL;
        work(pool, self->index);
        atomic_fetch_sub(&pool->active, 1);
    }
}

static void announce(base_pool *pool)
{
    pthread_mutex_lock(&pool->lock);
    atomic_fetch_add(&pool->generation, 1);
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
    pool->stop = true;
    announce(pool);
    for (unsigned i = 0; i < pool->started; i++)
        pthread_join(pool->workers[i].thread, NULL);
    pthread_cond_destroy(&pool->wake);
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
    atomic_store(&pool->active, pool->threads - 1);
    announce(pool);
    work(pool, 0);
    for (unsigned spins = 0; atomic_load(&pool->active) != 0; spins++) {
        pause_cpu();
        if (spins > SPIN_ROUNDS) /* a worker lost its CPU: give it this one */
            sched_yield();
    }
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
