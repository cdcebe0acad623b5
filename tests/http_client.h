/* http_client.h - for test_http.c: a server with small handlers, and a client that writes raw bytes
 * and reads one answer after the other. Every read has a limit: a hang is a failed test. */
#ifndef HTTP_CLIENT_H
#define HTTP_CLIENT_H

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <cmocka.h>

#include "http/http.h"

#define READ_LIMIT_S 8
#define MAX_PARKED   64

/* ---- the server ---- */

typedef struct fixture {
    http_server *server;
    atomic_uint accepted, handled, done, sent; /* sent: done with a status */
    atomic_uint_fast64_t answer_bytes;         /* of the last that was done */
    atomic_int last_refused, last_status;
    char *late; /* what is said to those whose body is late */
    size_t late_bytes;
    pthread_mutex_t mutex;
    pthread_cond_t more;
    http_request *parked[MAX_PARKED]; /* of /park and /thread, oldest first */
    unsigned parked_count;
    pthread_t threads[2]; /* reply to /thread at once */
    bool ending;
} fixture;

static void reply_text(http_request *r, int status, const char *text)
{
    http_answer a;
    http_answer_init(&a, status, "text/plain");
    a.body = base_strdup(BASE_TAG_HTTP, text);
    a.size = strlen(text);
    http_reply(r, &a);
}

static void put(fixture *f, http_request *r)
{
    pthread_mutex_lock(&f->mutex);
    if (f->parked_count == MAX_PARKED)
        abort();
    f->parked[f->parked_count++] = r;
    pthread_cond_signal(&f->more);
    pthread_mutex_unlock(&f->mutex);
}

static http_request *take(fixture *f) /* NULL: none is parked */
{
    http_request *r = f->parked_count ? f->parked[0] : NULL;
    if (r)
        memmove(f->parked, f->parked + 1, --f->parked_count * sizeof *f->parked);
    return r;
}

static void *reply_at_once(void *argument)
{
    fixture *f = argument;
    pthread_mutex_lock(&f->mutex);
    for (;;) {
        http_request *r = take(f);
        if (r) {
            pthread_mutex_unlock(&f->mutex);
            reply_text(r, 200, http_request_path(r));
            pthread_mutex_lock(&f->mutex);
        } else if (f->ending) {
            break;
        } else {
            pthread_cond_wait(&f->more, &f->mutex);
        }
    }
    pthread_mutex_unlock(&f->mutex);
    return NULL;
}

static http_counts counts_of(fixture *f)
{
    http_counts counts;
    http_server_counts(f->server, &counts);
    return counts;
}

static int on_accept(void *context, http_request *r)
{
    fixture *f = context;
    atomic_fetch_add(&f->accepted, 1);
    if (!f->server || counts_of(f).connections == 0) /* known before the first request */
        abort();
    http_request_set_data(r, f);
    http_request_set_late(r, f->late, f->late_bytes);
    return strcmp(http_request_path(r), "/refused") == 0 ? 401 : 0;
}

/* What came, in words: method, path, query parameter q, length of the body and its sum. */
static void describe(http_request *r)
{
    char text[4096];
    size_t size;
    const uint8_t *body = http_request_body(r, &size);
    uint32_t sum = 0;
    for (size_t i = 0; i < size; i++)
        sum = sum * 31 + body[i];
    const char *q = http_request_query(r, "q"), *host = http_request_header(r, "Host");
    snprintf(text, sizeof text, "%s %.900s q=%.900s host=%.900s size=%zu sum=%u secure=%d", http_request_method_name(r),
             http_request_path(r), q ? q : "-", host ? host : "-", size, sum, http_request_secure(r));
    reply_text(r, 200, text);
}

static void on_handle(void *context, http_request *r)
{
    fixture *f = context;
    const char *path = http_request_path(r), *n;
    char text[32];
    int refused = http_request_refused(r);
    atomic_fetch_add(&f->handled, 1);
    atomic_store(&f->last_refused, refused);
    snprintf(text, sizeof text, "refused %d", refused);
    if (refused) {
        reply_text(r, refused, text);
    } else if (strcmp(path, "/park") == 0 || strcmp(path, "/thread") == 0) {
        put(f, r);
    } else if (strcmp(path, "/big") == 0) { /* n MiB of 'b' */
        http_answer a;
        http_answer_init(&a, 200, "text/plain");
        a.size = (size_t)((n = http_request_query(r, "n")) ? atoi(n) : 1) << 20;
        a.body = base_alloc(BASE_TAG_HTTP, a.size);
        memset(a.body, 'b', a.size);
        http_reply(r, &a);
    } else if (strcmp(path, "/file") == 0) {
        http_answer a;
        FILE *file = tmpfile();
        fputs("from a file", file);
        fflush(file);
        http_answer_init(&a, 200, "text/plain");
        a.file = dup(fileno(file));
        fclose(file);
        http_reply(r, &a);
    } else {
        describe(r);
    }
}

static void on_done(void *context, http_request *r)
{
    fixture *f = context;
    uint64_t bytes = 0;
    int status = http_request_status(r, &bytes);
    if (status)
        atomic_fetch_add(&f->sent, 1);
    atomic_store(&f->last_status, status);
    atomic_store(&f->answer_bytes, bytes);
    if (http_request_data(r) != f && http_request_data(r))
        abort();
    atomic_fetch_add(&f->done, 1);
}

static void options_of(http_options *o)
{
    http_options_default(o);
    o->connections = 64;
    o->spill_folder = getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp";
}

static void start(fixture *f, const http_options *options)
{
    http_options o = *options;
    dermis_error err = {0};
    memset(f, 0, sizeof *f);
    pthread_mutex_init(&f->mutex, NULL);
    pthread_cond_init(&f->more, NULL);
    http_answer late;
    http_answer_init(&late, 408, "text/plain");
    late.fixed = "late";
    late.size = 4;
    assert_true(http_answer_header(&late, "X-Own", "1"));
    assert_non_null(f->late = http_answer_bytes(&late, &f->late_bytes));
    o.context = f;
    o.accept = on_accept;
    o.handle = on_handle;
    o.done = on_done;
    if (http_server_start(&o, &f->server, &err) != DERMIS_OK)
        fail_msg("%s", err.text);
    assert_int_not_equal(http_server_port(f->server), 0);
}

static void start_threads(fixture *f)
{
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&f->threads[i], NULL, reply_at_once, f), 0);
}

/* Waits until EXPRESSION, which is about another thread, is true. */
#define WAIT_UNTIL(expression)                                                                                         \
    do {                                                                                                               \
        double wait_until = base_now_ms() + READ_LIMIT_S * 1e3;                                                        \
        while (!(expression)) {                                                                                        \
            if (base_now_ms() > wait_until)                                                                            \
                fail_msg("never came true: %s", #expression);                                                          \
            usleep(1000);                                                                                              \
        }                                                                                                              \
    } while (0)

static inline unsigned parked_of(fixture *f)
{
    pthread_mutex_lock(&f->mutex);
    unsigned n = f->parked_count;
    pthread_mutex_unlock(&f->mutex);
    return n;
}

static inline http_request *parked_take(fixture *f)
{
    pthread_mutex_lock(&f->mutex);
    http_request *r = take(f);
    pthread_mutex_unlock(&f->mutex);
    return r;
}

/* Ends it and sees that each request that began was done once, and that nothing was kept. */
static void end(fixture *f)
{
    base_memory memory;
    if (f->threads[0]) {
        pthread_mutex_lock(&f->mutex);
        f->ending = true;
        pthread_cond_broadcast(&f->more);
        pthread_mutex_unlock(&f->mutex);
        for (int i = 0; i < 2; i++)
            pthread_join(f->threads[i], NULL);
    }
    assert_int_equal(parked_of(f), 0);
    WAIT_UNTIL(counts_of(f).requests == 0);
    http_counts counts = counts_of(f);
    assert_int_equal(counts.body_memory_bytes, 0);
    assert_int_equal(counts.body_file_bytes, 0);
    http_server_stop(f->server);
    base_free(f->late);
    assert_true(f->done >= f->handled);
    base_memory_read(&memory);
    assert_int_equal(memory.live_bytes[BASE_TAG_HTTP], 0);
    pthread_mutex_destroy(&f->mutex);
    pthread_cond_destroy(&f->more);
}

/* ---- the client ---- */

typedef struct client {
    int fd;
    size_t have;
    char buffer[1 << 16]; /* what was read and not yet taken */
} client;

typedef struct answer {
    int status; /* 0: closed before one came */
    char headers[4096], text[8192];
    size_t size; /* of the body; `text` has its begin */
    bool close;
} answer;

static int connect_to(const fixture *f) /* -1: refused */
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(http_server_port(f->server))};
    struct timeval limit = {.tv_sec = READ_LIMIT_S};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_true(fd >= 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    if (connect(fd, (struct sockaddr *)&to, sizeof to) == 0)
        return fd;
    close(fd);
    return -1;
}

static void join(client *c, const fixture *f)
{
    c->have = 0;
    c->fd = connect_to(f);
    assert_true(c->fd >= 0);
}

static void leave(client *c)
{
    close(c->fd);
    c->fd = -1;
}

static bool say_bytes(client *c, const void *bytes, size_t size) /* false: the server closed */
{
    const char *at = bytes;
    while (size) {
        ssize_t n = send(c->fd, at, size, MSG_NOSIGNAL);
        if (n <= 0) {
            if (errno == EAGAIN)
                fail_msg("the server does not read");
            return false;
        }
        at += n;
        size -= (size_t)n;
    }
    return true;
}

static bool say(client *c, const char *text)
{
    return say_bytes(c, text, strlen(text));
}

/* Reads more; false: closed. */
static bool more(client *c)
{
    ssize_t n = recv(c->fd, c->buffer + c->have, sizeof c->buffer - 1 - c->have, 0);
    if (n < 0 && errno == EAGAIN)
        fail_msg("no answer and no end in %d s", READ_LIMIT_S);
    if (n <= 0)
        return false;
    c->have += (size_t)n;
    return true;
}

static void drop(client *c, size_t n)
{
    memmove(c->buffer, c->buffer + n, c->have - n);
    c->have -= n;
}

/* The next answer; of one to HEAD only the headers. Interim ones are skipped by the caller. */
static void hear_after(client *c, answer *a, bool head)
{
    char *end_of_headers;
    memset(a, 0, sizeof *a);
    for (;;) {
        c->buffer[c->have] = 0;
        if ((end_of_headers = strstr(c->buffer, "\r\n\r\n")))
            break;
        if (!more(c))
            return;
    }
    size_t n = (size_t)(end_of_headers - c->buffer) + 4;
    assert_true(n < sizeof a->headers);
    memcpy(a->headers, c->buffer, n);
    assert_int_equal(sscanf(a->headers, "HTTP/1.%*d %d", &a->status), 1);
    drop(c, n);
    const char *length = strcasestr(a->headers, "\r\nContent-Length:");
    a->close = strcasestr(a->headers, "\r\nConnection: close") != NULL;
    if (head || a->status < 200 || !length)
        return;
    size_t left = strtoul(length + 17, NULL, 10);
    while (left) {
        if (!c->have && !more(c)) {
            a->status = -a->status; /* cut in its body */
            return;
        }
        size_t now = c->have < left ? c->have : left, room = sizeof a->text - 1;
        for (size_t i = 0; i < now && a->size + i < room; i++)
            a->text[a->size + i] = c->buffer[i];
        a->size += now;
        left -= now;
        drop(c, now);
    }
}

static void hear(client *c, answer *a)
{
    hear_after(c, a, false);
}

static void expect_closed(client *c)
{
    assert_int_equal(c->have, 0);
    assert_false(more(c));
}

/* Says `request` on a connection of its own, and expects this status and, unless NULL, this text. */
static void expect_bytes(fixture *f, const void *request, size_t size, int status, const char *text)
{
    client c;
    answer a;
    join(&c, f);
    say_bytes(&c, request, size);
    hear(&c, &a);
    assert_int_equal(a.status, status);
    if (text)
        assert_string_equal(a.text, text);
    leave(&c);
}

static void expect(fixture *f, const char *request, int status, const char *text)
{
    expect_bytes(f, request, strlen(request), status, text);
}

#endif
