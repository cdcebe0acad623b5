/* lanes.c - bounded queues of requests with threads of their own. A place is given up when its client
 * has gone: looked at when the queue is full and by the janitor's sweeps. */
#include <string.h>

#include "server/app.h"

#define STACK_BYTES ((size_t)1 << 20) /* JSON of a bounded depth, the decoders' tables, page buffers */

static server_call *take(server_lane *lane)
{
    pthread_mutex_lock(&lane->mutex);
    while (!lane->head && !lane->stopping)
        pthread_cond_wait(&lane->more, &lane->mutex);
    server_call *call = lane->head;
    if (call) {
        lane->head = call->next;
        if (!lane->head)
            lane->tail = NULL;
        lane->waiting--;
        lane->running++;
    }
    pthread_mutex_unlock(&lane->mutex);
    return call;
}

/* The client has gone: nothing will be read, so nothing is made. 499 as others log it. */
static void abandon(server_call *call)
{
    http_answer_init(&call->answer, 499, "text/plain");
    call->answer.close = true;
    call->answered = true;
    http_reply(call->request, &call->answer);
}

static void *work(void *argument)
{
    server_lane *lane = argument;
    server_call *call;
    while ((call = take(lane))) {
        metrics_stage(lane->app->metrics, STAGE_WAIT, base_now_ms() - call->queued_ms);
        if (http_request_gone(call->request))
            abandon(call);
        else
            call_run(call);
        pthread_mutex_lock(&lane->mutex);
        lane->running--;
        pthread_mutex_unlock(&lane->mutex);
    }
    return NULL;
}

dermis_status lane_start(server_lane *lane, server *app, server_lane_id id, unsigned threads, unsigned limit,
                         dermis_error *err)
{
    static const char *const names[LANE_COUNT] = {"event", "page", "password", "export", "picture"};
    lane->app = app;
    lane->id = id;
    lane->limit = limit;
    pthread_mutex_init(&lane->mutex, NULL);
    pthread_cond_init(&lane->more, NULL);
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, STACK_BYTES);
    dermis_status status = DERMIS_OK;
    while (lane->thread_count < threads && !status) {
        if (pthread_create(&lane->threads[lane->thread_count], &attributes, work, lane) != 0) {
            status = base_fail(err, DERMIS_E_MEMORY, "cannot start thread %u of the %s lane",
                               lane->thread_count + 1, names[id]);
            break;
        }
        pthread_setname_np(lane->threads[lane->thread_count], names[id]);
        lane->thread_count++;
    }
    pthread_attr_destroy(&attributes);
    return status;
}

void lane_stop(server_lane *lane)
{
    if (!lane->app)
        return;
    pthread_mutex_lock(&lane->mutex);
    lane->stopping = true;
    pthread_mutex_unlock(&lane->mutex);
    pthread_cond_broadcast(&lane->more);
    for (unsigned i = 0; i < lane->thread_count; i++)
        pthread_join(lane->threads[i], NULL);
    pthread_mutex_destroy(&lane->mutex);
    pthread_cond_destroy(&lane->more);
    memset(lane, 0, sizeof *lane);
}

/* Unlinks those whose client has gone and returns them as a list; with the mutex held. */
static server_call *unlink_gone(server_lane *lane)
{
    server_call *gone = NULL, **at = &lane->head, *last = NULL;
    while (*at) {
        server_call *call = *at;
        if (http_request_gone(call->request)) {
            *at = call->next;
            call->next = gone;
            gone = call;
            lane->waiting--;
        } else {
            last = call;
            at = &call->next;
        }
    }
    lane->tail = last;
    return gone;
}

static void abandon_all(server_call *gone)
{
    while (gone) {
        server_call *next = gone->next;
        abandon(gone);
        gone = next;
    }
}

void lane_sweep(server_lane *lane)
{
    pthread_mutex_lock(&lane->mutex);
    server_call *gone = unlink_gone(lane);
    pthread_mutex_unlock(&lane->mutex);
    abandon_all(gone);
}

bool lane_full(server_lane *lane)
{
    pthread_mutex_lock(&lane->mutex);
    server_call *gone = lane->waiting >= lane->limit ? unlink_gone(lane) : NULL;
    bool full = lane->waiting >= lane->limit;
    pthread_mutex_unlock(&lane->mutex);
    abandon_all(gone);
    return full;
}

bool lane_put(server_lane *lane, server_call *call)
{
    call->queued_ms = base_now_ms();
    call->next = NULL;
    pthread_mutex_lock(&lane->mutex);
    server_call *gone = lane->waiting >= lane->limit ? unlink_gone(lane) : NULL;
    bool room = lane->waiting < lane->limit && !lane->stopping;
    if (room) {
        if (lane->tail)
            lane->tail->next = call;
        else
            lane->head = call;
        lane->tail = call;
        lane->waiting++;
    }
    pthread_mutex_unlock(&lane->mutex);
    if (room)
        pthread_cond_signal(&lane->more);
    abandon_all(gone);
    return room;
}
