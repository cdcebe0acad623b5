/* request.c - what was asked: method, path, query, headers, and the body in memory or in a file. */
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/mman.h>
#include <unistd.h>

#include "http/http_private.h"

#define FIRST_ROOM      ((size_t)64 << 10) /* of a body whose length is not known */
#define MAX_QUERY_ASKED 32

http_request *http_request_new(http_server *server, const char *uri)
{
    http_request *r = base_calloc(BASE_TAG_HTTP, 1, sizeof *r);
    size_t n = strlen(uri);
    if (!r)
        return NULL;
    r->server = server;
    r->body_fd = -1;
    http_answer_init(&r->answer, 0, NULL);
    r->uri_long = n > HTTP_URI_BYTES; /* nothing of it is kept */
    r->uri = base_calloc(BASE_TAG_HTTP, r->uri_long ? 2 : n + 2, 1); /* at least "/" */
    if (!r->uri) {
        http_request_free(r);
        return NULL;
    }
    strcpy(r->uri, r->uri_long ? "/" : uri);
    char *mark = strchr(r->uri, '?');
    if (mark) {
        *mark = 0;
        r->query = mark + 1;
    }
    return r;
}

void http_request_free(http_request *r)
{
    if (!r)
        return;
    http_request_drop_body(r);
    http_answer_release(&r->answer);
    for (unsigned i = 0; i < r->query_count; i++)
        base_free(r->query_values[i]);
    base_free(r->query_values);
    base_free(r->uri);
    base_free(r);
}

/* ---- begin ---- */

static bool dotted(const char *path)
{
    for (const char *c = path; (c = strchr(c, '/')); c++) {
        size_t n = strcspn(c + 1, "/");
        if ((n == 1 && c[1] == '.') || (n == 2 && c[1] == '.' && c[2] == '.'))
            return true;
    }
    return false;
}

typedef struct once {
    unsigned host, length, type, authorization, encoding;
} once;

/* Headers of which two could be read in two ways by two programs. */
static enum MHD_Result count(void *context, enum MHD_ValueKind kind, const char *name, const char *value)
{
    once *o = context;
    (void)kind, (void)value;
    o->host += strcasecmp(name, "Host") == 0;
    o->length += strcasecmp(name, "Content-Length") == 0;
    o->type += strcasecmp(name, "Content-Type") == 0;
    o->authorization += strcasecmp(name, "Authorization") == 0;
    o->encoding += strcasecmp(name, "Transfer-Encoding") == 0;
    return MHD_YES;
}

static void read_address(http_request *r)
{
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(r->connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    const struct sockaddr *a = info ? info->client_addr : NULL;
    if (a && a->sa_family == AF_INET)
        inet_ntop(AF_INET, &((const struct sockaddr_in *)(const void *)a)->sin_addr, r->address, sizeof r->address);
    else if (a && a->sa_family == AF_INET6)
        inet_ntop(AF_INET6, &((const struct sockaddr_in6 *)(const void *)a)->sin6_addr, r->address, sizeof r->address);
    if (strncmp(r->address, "::ffff:", 7) == 0 && strchr(r->address, '.'))
        memmove(r->address, r->address + 7, strlen(r->address + 7) + 1);
}

void http_request_begin(http_request *r, struct MHD_Connection *connection, const char *method)
{
    static const char *const names[] = {"GET", "POST", "PUT", "DELETE", "OPTIONS"};
    once seen = {0};
    r->connection = connection;
    r->began_ms = base_now_ms();
    snprintf(r->method_name, sizeof r->method_name, "%.15s", method);
    r->method = HTTP_OTHER;
    for (int i = 0; i < 5; i++)
        if (strcmp(method, names[i]) == 0)
            r->method = (http_method)i;
    if (strcmp(method, "HEAD") == 0)
        r->method = HTTP_GET;
    read_address(r);
    const char *length = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "Content-Length");
    MHD_get_connection_values(connection, MHD_HEADER_KIND, count, &seen);
    r->content_length = seen.encoding ? UINT64_MAX : length ? strtoull(length, NULL, 10) : 0;
    bool bad_path = *r->uri != '/' || http_url_decode(r->uri, strlen(r->uri), false, r->uri) < 0 ||
                     !base_utf8(r->uri) || dotted(r->uri);
    if (bad_path)
        strcpy(r->uri, "/");
    r->malformed = seen.host > 1 || seen.length > 1 || seen.type > 1 || seen.authorization > 1 || seen.encoding > 1 ||
                   (seen.encoding && seen.length);
    if (bad_path || r->malformed)
        r->refused = 400;
    else if (r->uri_long)
        r->refused = 414;
}

/* ---- body ---- */

/* Takes `bytes` of what bodies may have at once, in memory or in files. */
static bool reserve(atomic_size_t *all, size_t limit, size_t bytes)
{
    size_t used = atomic_load(all);
    do {
        if (bytes > limit || used > limit - bytes)
            return false;
    } while (!atomic_compare_exchange_weak(all, &used, used + bytes));
    return true;
}

static bool write_file(http_request *r, const void *bytes, size_t size)
{
    http_server *s = r->server;
    if (!reserve(&s->body_file, s->options.files_bytes, size))
        return false;
    if (!base_write_all(r->body_fd, bytes, size)) {
        atomic_fetch_sub(&s->body_file, size);
        return false;
    }
    r->body_size += size;
    return true;
}

/* What is in memory goes into a file, and so does all that follows. */
static bool spill(http_request *r)
{
    uint8_t *memory = r->body;
    size_t size = r->body_size, room = r->body_room;
    r->body_fd = base_unnamed_file(r->server->spill_folder);
    if (r->body_fd < 0)
        return false;
    r->body = NULL;
    r->body_size = r->body_room = 0;
    bool fine = write_file(r, memory, size);
    base_free(memory);
    atomic_fetch_sub(&r->server->body_memory, room);
    return fine;
}

/* Room for `size` more bytes in memory; false: to a file. */
static bool grow(http_request *r, size_t size)
{
    size_t needed = r->body_size + size;
    if (needed <= r->body_room)
        return true;
    size_t room = r->content_length != UINT64_MAX && r->content_length >= needed ? (size_t)r->content_length
                  : r->body_room                                                ? r->body_room * 2
                                                                                : FIRST_ROOM;
    while (room < needed)
        room *= 2;
    if (!reserve(&r->server->body_memory, r->server->options.bodies_bytes, room - r->body_room))
        return false;
    uint8_t *grown = base_realloc(BASE_TAG_HTTP, r->body, room);
    if (!grown) {
        atomic_fetch_sub(&r->server->body_memory, room - r->body_room);
        return false;
    }
    r->body = grown;
    r->body_room = room;
    return true;
}

bool http_request_take_body(http_request *r, const void *bytes, size_t size)
{
    if (r->body_fd < 0 && !grow(r, size) && !spill(r))
        return false;
    if (r->body_fd >= 0)
        return write_file(r, bytes, size);
    memcpy(r->body + r->body_size, bytes, size);
    r->body_size += size;
    return true;
}

const void *http_request_body(http_request *r, size_t *size)
{
    *size = r->body_size;
    if (r->body_fd >= 0 && !r->body_map && r->body_size) {
        void *at = mmap(NULL, r->body_size, PROT_READ, MAP_PRIVATE, r->body_fd, 0);
        r->body_map = at == MAP_FAILED ? NULL : at;
    }
    const void *body = r->body_fd >= 0 ? r->body_map : r->body;
    if (!body) {
        *size = 0;
        return "";
    }
    return body;
}

void http_request_drop_body(http_request *r)
{
    if (r->body_map)
        munmap(r->body_map, r->body_size);
    if (r->body_fd >= 0) {
        close(r->body_fd);
        atomic_fetch_sub(&r->server->body_file, r->body_size);
    } else if (r->body) {
        base_free(r->body);
        atomic_fetch_sub(&r->server->body_memory, r->body_room);
    }
    r->body = NULL;
    r->body_map = NULL;
    r->body_fd = -1;
    r->body_size = r->body_room = 0;
}

/* ---- what was asked ---- */

http_method http_request_method(const http_request *r)
{
    return r->method;
}

const char *http_request_method_name(const http_request *r)
{
    return r->method_name;
}

const char *http_request_path(const http_request *r)
{
    return r->uri;
}

/* Decoded values are kept with the request: callers hold pointers to them. */
static const char *keep(http_request *r, const char *value, size_t size)
{
    if (!r->query_values)
        r->query_values = base_calloc(BASE_TAG_HTTP, MAX_QUERY_ASKED, sizeof *r->query_values);
    char *text = r->query_values && r->query_count < MAX_QUERY_ASKED ? base_alloc(BASE_TAG_HTTP, size + 1) : NULL;
    if (!text || http_url_decode(value, size, true, text) < 0 || !base_utf8(text)) {
        base_free(text);
        return NULL;
    }
    for (unsigned i = 0; i < r->query_count; i++)
        if (strcmp(r->query_values[i], text) == 0) {
            base_free(text);
            return r->query_values[i];
        }
    return r->query_values[r->query_count++] = text;
}

const char *http_request_query_at(const http_request *request, const char *name, unsigned n)
{
    http_request *r = (http_request *)(uintptr_t)request;
    size_t length = strlen(name);
    for (const char *c = r->query; c && *c;) {
        size_t size = strcspn(c, "&");
        const char *equals = memchr(c, '=', size);
        size_t key = equals ? (size_t)(equals - c) : size;
        if (key == length && memcmp(c, name, key) == 0 && n-- == 0)
            return equals ? keep(r, equals + 1, size - key - 1) : "";
        c += size + (c[size] == '&');
    }
    return NULL;
}

const char *http_request_query(const http_request *r, const char *name)
{
    return http_request_query_at(r, name, 0);
}

const char *http_request_header(const http_request *r, const char *name)
{
    return MHD_lookup_connection_value(r->connection, MHD_HEADER_KIND, name);
}

typedef struct last_of {
    const char *name, *value;
} last_of;

static enum MHD_Result keep_last(void *context, enum MHD_ValueKind kind, const char *name, const char *value)
{
    last_of *l = context;
    (void)kind;
    if (strcasecmp(name, l->name) == 0)
        l->value = value;
    return MHD_YES;
}

const char *http_request_header_last(const http_request *r, const char *name)
{
    last_of l = {.name = name};
    MHD_get_connection_values(r->connection, MHD_HEADER_KIND, keep_last, &l);
    return l.value;
}

bool http_request_cookie(const http_request *r, const char *name, char *out, size_t size)
{
    const char *value = MHD_lookup_connection_value(r->connection, MHD_COOKIE_KIND, name);
    if (!value || strlen(value) >= size)
        return false;
    strcpy(out, value);
    return true;
}

const char *http_request_address(const http_request *r)
{
    return r->address;
}

bool http_request_secure(const http_request *r)
{
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(r->connection, MHD_CONNECTION_INFO_PROTOCOL);
    return info != NULL; /* only TLS connections have one */
}

uint64_t http_request_content_length(const http_request *r)
{
    return r->content_length;
}

int http_request_refused(const http_request *r)
{
    return r->refused;
}

double http_request_began_ms(const http_request *r)
{
    return r->began_ms;
}

bool http_request_gone(const http_request *r)
{
    const http_connection *c = r->record;
    if (!c)
        return false;
    struct pollfd p = {.fd = c->fd, .events = POLLRDHUP};
    return poll(&p, 1, 0) > 0 && p.revents & (POLLRDHUP | POLLHUP | POLLERR);
}

int http_request_status(const http_request *r, uint64_t *bytes)
{
    if (bytes)
        *bytes = r->status ? r->answer_bytes : 0;
    return r->status;
}

void http_request_set_data(http_request *r, void *data)
{
    r->data = data;
}

void *http_request_data(const http_request *r)
{
    return r->data;
}
