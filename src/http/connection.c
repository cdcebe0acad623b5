/* connection.c - the open connections, what each is about, how long it has for that, and the watcher's
 * thread that cuts those past it. */
#include <linux/tcp.h> /* the C library's has no tcpi_bytes_acked */
#include <netinet/in.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "http/http_private.h"

#define WATCH_MS      250
#define LINGER_MS     2000 /* between the answer to a late client and the cut: it may still be sending */
#define CROWDED_BYTES 1024 /* a second: who sends or reads slower gives the place up when places are few */

/* Bytes that the client's side has acknowledged since the connection was opened. */
static uint64_t taken(const http_connection *c)
{
    struct tcp_info info = {0};
    socklen_t size = sizeof info;
    return getsockopt(c->fd, IPPROTO_TCP, TCP_INFO, &info, &size) == 0 ? info.tcpi_bytes_acked : 0;
}

/* With the mutex held. */
static void enter(const http_server *s, http_connection *c, http_state state)
{
    const http_options *o = &s->options;
    bool first = state == HTTP_WAITING && c->requests == 0;
    double seconds = state == HTTP_HEADERS || first ? o->header_s
                     : state == HTTP_WAITING        ? o->idle_s + o->header_s
                                                    : o->request_s;
    if (state == HTTP_ANSWERING) {
        c->marked_ms = base_now_ms();
        c->marked_taken = taken(c);
        c->slow = false;
    } else if (state != HTTP_BUSY) { /* these two have what the body left of its time */
        c->since_ms = base_now_ms();
        c->deadline_ms = c->since_ms + seconds * 1e3;
        c->received = 0;
    }
    c->requests += state == HTTP_HEADERS;
    if (state != HTTP_BODY)
        c->late = NULL;
    c->state = state;
}

http_connection *http_connection_new(http_server *s, int fd)
{
    http_connection *c = base_calloc(BASE_TAG_HTTP, 1, sizeof *c);
    if (!c)
        return NULL;
    c->fd = fd;
    pthread_mutex_lock(&s->mutex);
    enter(s, c, HTTP_WAITING);
    c->next = s->connections;
    if (c->next)
        c->next->previous = c;
    s->connections = c;
    s->connection_count++;
    pthread_mutex_unlock(&s->mutex);
    return c;
}

void http_connection_free(http_server *s, http_connection *c)
{
    if (!c)
        return;
    pthread_mutex_lock(&s->mutex);
    if (c->previous)
        c->previous->next = c->next;
    else
        s->connections = c->next;
    if (c->next)
        c->next->previous = c->previous;
    s->connection_count--;
    pthread_mutex_unlock(&s->mutex);
    base_free(c);
}

bool http_connection_enter(http_server *s, http_connection *c, http_state state)
{
    if (!c)
        return true;
    pthread_mutex_lock(&s->mutex);
    enter(s, c, state);
    bool told = c->told;
    pthread_mutex_unlock(&s->mutex);
    return !told;
}

bool http_connection_received(http_server *s, http_connection *c, size_t size)
{
    if (!c)
        return true;
    pthread_mutex_lock(&s->mutex);
    c->received += size;
    bool told = c->told;
    pthread_mutex_unlock(&s->mutex);
    return !told;
}

void http_request_set_late(http_request *r, const char *bytes, size_t size)
{
    http_connection *c = r->record;
    if (!c || r->server->tls || !r->content_length)
        return;
    pthread_mutex_lock(&r->server->mutex);
    c->late = bytes;
    c->late_size = size;
    pthread_mutex_unlock(&r->server->mutex);
}

/* ---- the watcher ---- */

/* With the mutex held: `c` is past its time. The descriptor is open: it is closed only after the connection
 * left the list, under this mutex. */
static void cut(http_server *s, http_connection *c)
{
    if (!c->told)
        s->cut++;
    if (c->late) { /* nothing else is being written: the event thread awaits the body */
        ssize_t ignored = send(c->fd, c->late, c->late_size, MSG_DONTWAIT | MSG_NOSIGNAL);
        (void)ignored; /* a short answer and an empty buffer; else it goes the way of all late ones */
        shutdown(c->fd, SHUT_WR);
        c->late = NULL;
        c->told = true;
        c->deadline_ms = base_now_ms() + LINGER_MS;
        return;
    }
    c->cut = true;
    shutdown(c->fd, SHUT_RDWR);
}

/* Whether the answer is hardly read; judged anew after each crowded_s, as what the buffers on the way take at
 * first is no measure. */
static bool reads_slowly(const http_server *s, http_connection *c, double now)
{
    double ms = now - c->marked_ms;
    if (ms >= s->options.crowded_s * 1e3) {
        uint64_t all = taken(c);
        c->slow = (double)(all - c->marked_taken) < ms / 1e3 * CROWDED_BYTES;
        c->marked_ms = now;
        c->marked_taken = all;
    }
    return c->slow;
}

/* Whether it holds a place that others want: it asks nothing, or takes its time about it. */
static bool dawdles(const http_server *s, http_connection *c, double now)
{
    double ms = now - c->since_ms;
    if (c->state == HTTP_ANSWERING)
        return reads_slowly(s, c, now);
    if (c->told || c->state == HTTP_BUSY || ms < s->options.crowded_s * 1e3)
        return false;
    return c->state != HTTP_BODY || (double)c->received < ms / 1e3 * CROWDED_BYTES;
}

/* With the mutex held. libmicrohttpd reads by edges of epoll and takes a short read for the end of what
 * there is, so an end of stream that came together with the last bytes is lost on it, and the connection
 * would stay until its deadline. Seen at two looks, it is such a one: what it has read makes no request. */
static bool left_unnoticed(http_connection *c)
{
    struct pollfd p = {.fd = c->fd, .events = POLLRDHUP};
    int unread = 0;
    bool before = c->left;
    c->left = c->state != HTTP_BUSY && c->state != HTTP_ANSWERING && poll(&p, 1, 0) > 0 && p.revents & (POLLRDHUP | POLLHUP | POLLERR) &&
              ioctl(c->fd, FIONREAD, &unread) == 0 && unread == 0;
    return before && c->left;
}

static void look(http_server *s, double now)
{
    bool crowded = s->connection_count >= s->options.connections - s->options.connections / 8;
    for (http_connection *c = s->connections; c; c = c->next) {
        if (c->cut)
            continue;
        bool idle = dawdles(s, c, now);
        if (now > c->deadline_ms || (crowded && idle))
            cut(s, c);
        else if (left_unnoticed(c))
            shutdown(c->fd, SHUT_RDWR); /* an edge that it sees */
    }
}

static void *watch(void *argument)
{
    http_server *s = argument;
    pthread_mutex_lock(&s->mutex);
    while (!s->watcher_stop) {
        look(s, base_now_ms());
        base_cond_wait_until(&s->watcher_wake, &s->mutex, base_now_ms() + WATCH_MS);
    }
    pthread_mutex_unlock(&s->mutex);
    return NULL;
}

dermis_status http_watcher_start(http_server *s, dermis_error *err)
{
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, HTTP_STACK_BYTES);
    s->watcher_runs = pthread_create(&s->watcher, &attributes, watch, s) == 0;
    pthread_attr_destroy(&attributes);
    if (!s->watcher_runs)
        return base_fail(err, DERMIS_E_MEMORY, "cannot start a thread");
    pthread_setname_np(s->watcher, "deadlines");
    return DERMIS_OK;
}

void http_watcher_stop(http_server *s)
{
    if (!s->watcher_runs)
        return;
    pthread_mutex_lock(&s->mutex);
    s->watcher_stop = true;
    pthread_mutex_unlock(&s->mutex);
    pthread_cond_signal(&s->watcher_wake);
    pthread_join(s->watcher, NULL);
}
