/* http_private.h - what the files of src/http share; included by nothing outside this folder. */
#ifndef HTTP_HTTP_PRIVATE_H
#define HTTP_HTTP_PRIVATE_H

#include <microhttpd.h>
#include <pthread.h>
#include <stdatomic.h>

#include "http/http.h"

#define HTTP_URI_BYTES   ((size_t)8 << 10) /* a longer one is refused (414): no address of ours comes near */
#define HTTP_STACK_BYTES ((size_t)512 << 10)

/* What a connection is about. */
typedef enum http_state {
    HTTP_WAITING, /* for a request */
    HTTP_HEADERS,
    HTTP_BODY,
    HTTP_BUSY,     /* its request has arrived and is not answered */
    HTTP_ANSWERING /* its answer is on its way */
} http_state;

/* One open connection, in the server's list from its acceptance to its end. All under the server's mutex. */
typedef struct http_connection {
    struct http_connection *next, *previous;
    int fd;
    http_state state;
    double since_ms, deadline_ms; /* of the state; when the watcher cuts it */
    size_t received;              /* of the body */
    double marked_ms;             /* while answering: when it was last looked how much ... */
    uint64_t marked_taken;        /* ... of all that was sent to it the client has taken */
    bool slow;                    /* it took next to nothing between the last two looks */
    unsigned requests;
    const char *late; /* what the watcher tells the client first, while a body is awaited; or NULL */
    size_t late_size;
    bool told, cut;
    bool left; /* at the last look the client had closed and nothing was left to read */
} http_connection;

struct http_server {
    http_options options; /* without its texts */
    char spill_folder[4096];
    struct MHD_Daemon *daemon;
    int listening; /* what http_server_drain took from the daemon, closed after it; -1: none */
    uint16_t port;
    bool tls;
    pthread_mutex_t mutex; /* of connections and their fields */
    http_connection *connections;
    unsigned connection_count;
    uint64_t cut;
    pthread_mutex_t reply_mutex; /* of `replied` and `parked` of all requests */
    atomic_uint requests;
    atomic_size_t body_memory, body_file;
    atomic_bool closing;
    pthread_t watcher;
    pthread_cond_t watcher_wake;
    bool watcher_runs, watcher_stop;
};

struct http_request {
    http_server *server;
    struct MHD_Connection *connection;
    http_connection *record;
    char *uri; /* the path: as it was sent, from http_request_begin on decoded in place; `query` points behind it */
    bool uri_long;
    char *query; /* raw, after '?'; or NULL */
    char **query_values; /* decoded ones that were asked for */
    unsigned query_count;
    http_method method;
    char method_name[16];
    char address[64];
    bool begun, malformed, complete, handled, replied, parked, queued;
    int refused;
    uint64_t content_length, drained;
    double began_ms;
    /* body: memory, or a file */
    uint8_t *body;
    size_t body_size, body_room; /* room is what is reserved of the budget */
    int body_fd;                 /* -1: memory */
    void *body_map;
    http_answer answer;
    int status;
    uint64_t answer_bytes;
    void *data;
};

/* connection.c; `c` NULL: there was no memory for it, it has no deadline */
http_connection *http_connection_new(http_server *server, int fd);
void http_connection_free(http_server *server, http_connection *c);
/* False, here and below: the client was told that it is late; nothing more is made of its request. */
bool http_connection_enter(http_server *server, http_connection *c, http_state state);
bool http_connection_received(http_server *server, http_connection *c, size_t size); /* of the body */
dermis_status http_watcher_start(http_server *server, dermis_error *err);
void http_watcher_stop(http_server *server); /* also of one that never started */
/* request.c */
http_request *http_request_new(http_server *server, const char *uri);
void http_request_free(http_request *request);
/* Method, path, headers; false: malformed, refused is set. */
void http_request_begin(http_request *request, struct MHD_Connection *connection, const char *method);
bool http_request_take_body(http_request *request, const void *bytes, size_t size); /* false: no memory or disk */
/* answer.c */
struct MHD_Response *http_answer_response(http_answer *answer, bool closing, uint64_t *bytes);

#endif
