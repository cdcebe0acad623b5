/* server.c - libmicrohttpd's daemon and the way of a request through it: begun, body, handled, parked,
 * answered, done. */
#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "http/http_private.h"


void http_options_default(http_options *out)
{
    *out = (http_options){.host = "127.0.0.1",
                          .connections = 512,
                          .connection_bytes = (size_t)24 << 10,
                          .idle_s = 60,
                          .header_s = 30,
                          .request_s = 300,
                          .crowded_s = 5,
                          .body_bytes = (size_t)5 << 20,
                          .bodies_bytes = (size_t)32 << 20,
                          .spill_folder = "/tmp",
                          .drain_bytes = (size_t)24 << 20};
}

/* ---- connections ---- */

static http_connection *record_of(struct MHD_Connection *connection)
{
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    return info ? info->socket_context : NULL;
}

static void on_connection(void *context, struct MHD_Connection *connection, void **socket_context,
                          enum MHD_ConnectionNotificationCode code)
{
    http_server *s = context;
    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        const union MHD_ConnectionInfo *info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
        *socket_context = http_connection_new(s, info ? info->connect_fd : -1);
    } else { /* closed: called before its descriptor is */
        http_connection_free(s, *socket_context);
        *socket_context = NULL;
    }
}

/* ---- a request ---- */

static void *on_uri(void *context, const char *uri, struct MHD_Connection *connection)
{
    http_server *s = context;
    http_connection_enter(s, record_of(connection), HTTP_HEADERS);
    return http_request_new(s, uri);
}

static enum MHD_Result send_answer(http_request *r)
{
    bool closing = atomic_load(&r->server->closing);
    http_connection_enter(r->server, r->record, HTTP_ANSWERING);
    if (r->malformed || (r->refused && !r->complete))
        closing = true; /* where it ends is in doubt, or a body that nobody reads may follow */
    r->status = r->answer.status;
    struct MHD_Response *response = http_answer_response(&r->answer, closing, &r->answer_bytes);
    if (strcmp(r->method_name, "HEAD") == 0)
        r->answer_bytes = 0; /* only its headers are sent */
    if (!response) {
        r->status = 0;
        return MHD_NO;
    }
    enum MHD_Result result = MHD_queue_response(r->connection, (unsigned)r->status, response);
    MHD_destroy_response(response);
    r->queued = true;
    if (result != MHD_YES)
        r->status = 0;
    return result;
}

/* Calls `handle`; sends the answer, or parks the request until it comes. */
static enum MHD_Result hand_over(http_request *r, bool may_park)
{
    http_server *s = r->server;
    if (!http_connection_enter(s, r->record, HTTP_BUSY))
        return MHD_NO;
    r->handled = true;
    s->options.handle(s->options.context, r);
    pthread_mutex_lock(&s->reply_mutex);
    bool replied = r->replied;
    if (!replied && may_park) {
        r->parked = true;
        MHD_suspend_connection(r->connection);
    }
    pthread_mutex_unlock(&s->reply_mutex);
    if (replied)
        return send_answer(r);
    return may_park ? MHD_YES : MHD_NO;
}

static enum MHD_Result begin(http_request *r, struct MHD_Connection *connection, const char *method)
{
    http_server *s = r->server;
    r->record = record_of(connection);
    atomic_fetch_add(&s->requests, 1);
    http_request_begin(r, connection, method);
    http_connection_enter(s, r->record, HTTP_BODY);
    if (!r->refused && r->content_length != UINT64_MAX && r->content_length > s->options.body_bytes)
        r->refused = 413;
    if (s->options.accept && (!r->refused || r->refused == 413)) {
        int refused = s->options.accept(s->options.context, r);
        r->refused = r->refused ? r->refused : refused;
    }
    const char *expect = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "Expect");
    bool long_body = r->content_length != UINT64_MAX && r->content_length > s->options.drain_bytes;
    if (r->refused && r->content_length && (expect || long_body))
        return hand_over(r, false);
    return MHD_YES;
}

static enum MHD_Result take_body(http_request *r, const char *bytes, size_t *size)
{
    http_server *s = r->server;
    if (!http_connection_received(s, r->record, *size))
        return MHD_NO;
    if (!r->refused && r->body_size + *size > s->options.body_bytes) {
        r->refused = 413;
        http_request_drop_body(r);
    }
    if (r->refused) {
        r->drained += *size;
        if (r->drained > s->options.drain_bytes)
            return MHD_NO;
    } else if (!http_request_take_body(r, bytes, *size)) {
        r->refused = 503;
        http_request_drop_body(r);
    }
    *size = 0;
    return MHD_YES;
}

static enum MHD_Result on_request(void *context, struct MHD_Connection *connection, const char *url, const char *method,
                                  const char *version, const char *upload, size_t *upload_size, void **state)
{
    (void)context, (void)url, (void)version;
    http_request *r = *state;
    if (!r)
        return MHD_NO; /* there was no memory for it */
    if (!r->begun) {
        r->begun = true;
        return begin(r, connection, method);
    }
    if (r->queued)
        return MHD_YES;
    if (*upload_size)
        return r->handled ? MHD_NO : take_body(r, upload, upload_size);
    r->complete = true;
    return r->handled ? send_answer(r) : hand_over(r, true);
}

static void on_completed(void *context, struct MHD_Connection *connection, void **state,
                         enum MHD_RequestTerminationCode code)
{
    (void)connection;
    http_server *s = context;
    http_request *r = *state;
    if (!r)
        return;
    *state = NULL;
    if (!http_connection_enter(s, r->record, HTTP_WAITING))
        r->status = 408;
    else if (code != MHD_REQUEST_TERMINATED_COMPLETED_OK)
        r->status = 0;
    if (r->begun) {
        http_request_drop_body(r);
        if (s->options.done)
            s->options.done(s->options.context, r);
        atomic_fetch_sub(&s->requests, 1);
    }
    http_request_free(r);
}

void http_reply(http_request *r, http_answer *answer)
{
    http_server *s = r->server;
    pthread_mutex_lock(&s->reply_mutex); /* the server's: the request may end while it is held */
    r->answer = *answer;
    http_answer_init(answer, 0, NULL); /* before the request can end, and its owner's memory with it */
    r->replied = true;
    if (r->parked) {
        r->parked = false;
        MHD_resume_connection(r->connection);
    }
    pthread_mutex_unlock(&s->reply_mutex);
}

/* ---- the daemon ---- */

static void log_line(void *context, const char *format, va_list args)
{
    char line[512];
    (void)context;
    vsnprintf(line, sizeof line, format, args);
    line[strcspn(line, "\n")] = 0;
    base_log(BASE_LOG_DEBUG, "http: %s", line);
}

static dermis_status find_address(const http_options *o, struct sockaddr_storage *out, dermis_error *err)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV}, *found;
    char port[8];
    snprintf(port, sizeof port, "%u", o->port);
    int failed = getaddrinfo(o->host, port, &hints, &found);
    if (failed)
        return base_fail(err, DERMIS_E_USAGE, "cannot listen on %s: %s", o->host, gai_strerror(failed));
    memcpy(out, found->ai_addr, found->ai_addrlen);
    freeaddrinfo(found);
    return DERMIS_OK;
}

/* Whether the address can be bound at all: libmicrohttpd does not say why it cannot. */
static dermis_status try_address(const http_options *o, const struct sockaddr_storage *address, dermis_error *err)
{
    int one = 1, fd = socket(address->ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0)
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    socklen_t size = address->ss_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
    dermis_status status = DERMIS_OK;
    if (fd < 0 || bind(fd, (const struct sockaddr *)address, size) != 0 || listen(fd, 1) != 0)
        status = base_fail(err, DERMIS_E_IO, "cannot listen on %s, port %u: %s", o->host, o->port, strerror(errno));
    if (fd >= 0)
        close(fd);
    return status;
}

static dermis_status start_daemon(http_server *s, const http_options *o, dermis_error *err)
{
    struct sockaddr_storage address;
    dermis_status status = find_address(o, &address, err);
    if (status == DERMIS_OK)
        status = try_address(o, &address, err);
    if (status != DERMIS_OK)
        return status;
    unsigned flags = MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG;
    if (address.ss_family == AF_INET6)
        flags |= strcmp(o->host, "::") == 0 ? MHD_USE_DUAL_STACK : MHD_USE_IPv6;
    struct MHD_OptionItem tls[] = {
        {MHD_OPTION_HTTPS_MEM_CERT, 0, (void *)(uintptr_t)o->tls_certificate},
        {MHD_OPTION_HTTPS_MEM_KEY, 0, (void *)(uintptr_t)o->tls_key},
        {MHD_OPTION_END, 0, NULL},
    };
    if (o->tls_certificate)
        flags |= MHD_USE_TLS;
    else
        tls[0].option = MHD_OPTION_END;
    s->daemon = MHD_start_daemon(flags, o->port, NULL, NULL, on_request, s, MHD_OPTION_EXTERNAL_LOGGER, log_line, NULL,
                                 MHD_OPTION_SOCK_ADDR, (struct sockaddr *)&address, MHD_OPTION_CONNECTION_LIMIT,
                                 o->connections, MHD_OPTION_CONNECTION_MEMORY_LIMIT, o->connection_bytes,
                                 MHD_OPTION_CONNECTION_TIMEOUT, o->idle_s, MHD_OPTION_NOTIFY_CONNECTION, on_connection,
                                 s, MHD_OPTION_NOTIFY_COMPLETED, on_completed, s, MHD_OPTION_URI_LOG_CALLBACK, on_uri,
                                 s, MHD_OPTION_THREAD_STACK_SIZE, HTTP_STACK_BYTES, MHD_OPTION_LISTENING_ADDRESS_REUSE, 1u,
                                 MHD_OPTION_LISTEN_BACKLOG_SIZE, 512u, MHD_OPTION_ARRAY, tls, MHD_OPTION_END);
    if (!s->daemon)
        return o->tls_certificate
                   ? base_fail(err, DERMIS_E_USAGE, "HTTPS cannot be served: are certificate and key PEM, and do they "
                                                    "belong together?")
                   : base_fail(err, DERMIS_E_IO, "cannot serve on %s, port %u", o->host, o->port);
    const union MHD_DaemonInfo *info = MHD_get_daemon_info(s->daemon, MHD_DAEMON_INFO_BIND_PORT);
    s->port = info ? info->port : o->port;
    return DERMIS_OK;
}

dermis_status http_server_start(const http_options *options, http_server **out, dermis_error *err)
{
    http_server *s = base_calloc(BASE_TAG_HTTP, 1, sizeof *s);
    if (!s)
        return base_fail(err, DERMIS_E_MEMORY, "not enough memory");
    s->options = *options;
    s->listening = -1;
    *out = s; /* requests may come before this function returns, and their handlers may ask for the counts */
    if (!s->options.files_bytes)
        s->options.files_bytes = 16 * s->options.bodies_bytes;
    s->tls = options->tls_certificate != NULL;
    snprintf(s->spill_folder, sizeof s->spill_folder, "%s", options->spill_folder);
    pthread_mutex_init(&s->mutex, NULL);
    pthread_mutex_init(&s->reply_mutex, NULL);
    base_cond_init(&s->watcher_wake);
    dermis_status status = start_daemon(s, options, err);
    if (status == DERMIS_OK)
        status = http_watcher_start(s, err);
    if (status != DERMIS_OK) {
        http_server_stop(s);
        *out = NULL;
        return status;
    }
    s->options.host = s->options.tls_certificate = s->options.tls_key = s->options.spill_folder = NULL;
    return DERMIS_OK;
}

uint16_t http_server_port(const http_server *s)
{
    return s->port;
}

bool http_server_drain(http_server *s, unsigned timeout_ms)
{
    atomic_store(&s->closing, true);
    if (s->listening < 0) {
        s->listening = MHD_quiesce_daemon(s->daemon);
        shutdown(s->listening, SHUT_RDWR); /* not closed yet: the event thread may just be looking at it */
    }
    double until = base_now_ms() + timeout_ms;
    while (atomic_load(&s->requests) && base_now_ms() < until)
        usleep(10000);
    return atomic_load(&s->requests) == 0;
}

void http_server_stop(http_server *s)
{
    if (!s)
        return;
    if (s->daemon)
        MHD_stop_daemon(s->daemon);
    if (s->listening >= 0)
        close(s->listening);
    http_watcher_stop(s);
    pthread_mutex_destroy(&s->mutex);
    pthread_mutex_destroy(&s->reply_mutex);
    pthread_cond_destroy(&s->watcher_wake);
    base_free(s);
}

void http_server_counts(http_server *s, http_counts *out)
{
    pthread_mutex_lock(&s->mutex);
    *out = (http_counts){.connections = s->connection_count, .cut = s->cut};
    pthread_mutex_unlock(&s->mutex);
    out->requests = atomic_load(&s->requests);
    out->body_memory_bytes = atomic_load(&s->body_memory);
    out->body_file_bytes = atomic_load(&s->body_file);
}
