/* budget.c - memory that photographs may take at once: taken before it is allocated. Any thread. */
#include "server/app.h"

#define MEMORY_WAIT_MS 20000

void budget_init(server_budget *b, size_t total)
{
    pthread_mutex_init(&b->mutex, NULL);
    base_cond_init(&b->freed);
    b->total = total;
    b->used = b->held_waiting = 0;
}

dermis_status budget_take(server_budget *b, size_t bytes, size_t held, unsigned timeout_ms, dermis_error *err)
{
    if (bytes > b->total || held > b->total - bytes)
        return base_fail(err, DERMIS_E_BUDGET,
                         "the photograph would take %.1f MB to decode; %.1f MB are there: send a smaller "
                         "one, or a baseline JPEG",
                         (double)(bytes + held) / 1e6, (double)b->total / 1e6);
    double until = base_now_ms() + timeout_ms;
    bool in_time = true;
    pthread_mutex_lock(&b->mutex);
    b->held_waiting += held;
    /* where all that is taken belongs to those who wait for more, nothing will become free */
    while (b->total - b->used < bytes && !(held && b->held_waiting == b->used) && in_time)
        in_time = base_cond_wait_until(&b->freed, &b->mutex, until);
    b->held_waiting -= held;
    bool fits = b->total - b->used >= bytes;
    if (fits)
        b->used += bytes;
    pthread_mutex_unlock(&b->mutex);
    return fits ? DERMIS_OK
                : base_fail(err, DERMIS_E_BUSY, "no memory became free in time: try again");
}

void budget_give(server_budget *b, size_t bytes)
{
    pthread_mutex_lock(&b->mutex);
    b->used -= bytes;
    pthread_mutex_unlock(&b->mutex);
    pthread_cond_broadcast(&b->freed);
}

dermis_status call_reserve(server_call *call, size_t bytes, dermis_error *err)
{
    dermis_status status = budget_take(&call->app->budget, bytes, call->reserved, MEMORY_WAIT_MS, err);
    if (status == DERMIS_OK)
        call->reserved += bytes;
    return status;
}
