/* http.h - the web server behind a small interface: requests with bounded bodies, forms, replies now
 * or later. libmicrohttpd does the protocol; what is served is decided above.
 *
 * Threads: one event thread reads and writes all connections. `accept`, `handle` and `done` are
 * called in it and must not block. A request that `handle` does not reply to at once is parked; any
 * other thread replies to it later, exactly once. A request lives until `done` returns.
 *
 * Deadlines: a connection may be idle for idle_s; a request's headers have header_s, the whole
 * request (body, waiting, answer) request_s: then the connection is cut; one whose body is late is told
 * so first (http_request_set_late). While less than an eighth of the connections is free, those that ask
 * nothing for crowded_s, or send a body slower than 1 KiB a second after that, or take less than that of
 * their answer in a stretch of crowded_s, are cut too. */
#ifndef HTTP_HTTP_H
#define HTTP_HTTP_H

#include "base/base.h"

typedef struct http_server http_server;
typedef struct http_request http_request;

typedef struct http_options {
    const char *host;        /* address to listen on: "127.0.0.1", "::", "0.0.0.0" */
    uint16_t port;           /* 0: any free one, see http_server_port */
    unsigned connections;    /* at most at once; further ones wait in the system's backlog */
    size_t connection_bytes; /* memory of one connection: request line and headers; past it 431 */
    unsigned idle_s, header_s, request_s, crowded_s;
    size_t body_bytes;       /* largest body; past it `accept`'s refusal is 413 by itself */
    size_t bodies_bytes;     /* memory of all bodies at once; past it they go to unnamed files */
    size_t files_bytes;      /* of these files at once; past it a body is refused with 503; 0: 16 * bodies_bytes */
    const char *spill_folder; /* where these files are made (O_TMPFILE); must be writable */
    size_t drain_bytes;      /* what is read and thrown away of a refused body, so that the answer
                                arrives; a longer one is answered at once and the connection closed */
    const char *tls_certificate, *tls_key; /* PEM texts, or NULL: plain HTTP */
    void *context;           /* for the three functions */
    /* Headers are complete. 0: go on; else the status to refuse with (401, 413, 429, 503, ...): the
     * body is then drained and `handle` called with http_request_refused() != 0. May be NULL. */
    int (*accept)(void *context, http_request *request);
    /* The request is complete (or refused): reply, or park it and reply from another thread. */
    void (*handle)(void *context, http_request *request);
    /* The request is over: answer sent, or the connection gone (http_request_gone). May be NULL. */
    void (*done)(void *context, http_request *request);
} http_options;

/* Fills what is not a matter of policy: 512 connections, 24 KiB each, 60 s idle, 30 s headers, 300 s
 * request, 5 s crowded, 5 MiB body, 32 MiB bodies, 16 times that in files, 24 MiB drained. */
void http_options_default(http_options *out);

/* Listens and serves from here on. DERMIS_E_USAGE: address, certificate or key that cannot be used;
 * DERMIS_E_IO: port taken or not allowed. *out is set before the first request is
 * accepted, and NULL on failure. The texts that `options` points to may go afterwards. */
dermis_status http_server_start(const http_options *options, http_server **out, dermis_error *err);
uint16_t http_server_port(const http_server *server);
/* No new connections or requests; those begun are finished. Returns true when none is left, false
 * after timeout_ms. */
bool http_server_drain(http_server *server, unsigned timeout_ms);
/* Closes every connection and frees the server. Every parked request must have been replied to. */
void http_server_stop(http_server *server);

typedef struct http_counts {
    unsigned connections;     /* open now */
    unsigned requests;        /* begun and not done */
    size_t body_memory_bytes; /* held by bodies now */
    size_t body_file_bytes;   /* in unnamed files now */
    uint64_t cut;             /* connections cut by a deadline since the start */
} http_counts;
void http_server_counts(http_server *server, http_counts *out);

/* ---- what was asked; strings live as long as the request and are NUL-terminated ---- */

typedef enum http_method { HTTP_GET, HTTP_POST, HTTP_PUT, HTTP_DELETE, HTTP_OPTIONS, HTTP_OTHER } http_method;
http_method http_request_method(const http_request *request); /* HEAD is HTTP_GET */
const char *http_request_method_name(const http_request *request);
/* Percent-decoded; one with a NUL, not UTF-8, or with "." or ".." as a segment never gets here: it is
 * answered 400 by `handle` being called with http_request_refused() == 400; a target over 8 KiB is answered 414. */
const char *http_request_path(const http_request *request);
/* First value of a parameter of the query, percent-decoded; NULL: not given. */
const char *http_request_query(const http_request *request, const char *name);
/* The n-th value of it, from 0. */
const char *http_request_query_at(const http_request *request, const char *name, unsigned n);
const char *http_request_header(const http_request *request, const char *name); /* first; NULL: not given */
/* Of several lines of that name the last one: what a proxy appended stands behind what its client sent. */
const char *http_request_header_last(const http_request *request, const char *name);
/* Copies the cookie's value; false: not given or too long. */
bool http_request_cookie(const http_request *request, const char *name, char *out, size_t size);
const char *http_request_address(const http_request *request); /* the client's, numeric */
bool http_request_secure(const http_request *request);         /* came over TLS */
uint64_t http_request_content_length(const http_request *request); /* UINT64_MAX: chunked, unknown */
/* 0, or the status with which it was refused: by `accept`, 413 body too long, 414 target too long,
 * 400 malformed. */
int http_request_refused(const http_request *request);
/* Body; memory or a mapped unnamed file. Until done. */
const void *http_request_body(http_request *request, size_t *size);
/* The body is no longer needed: its memory (or file) is given back at once. */
void http_request_drop_body(http_request *request);
double http_request_began_ms(const http_request *request); /* base_now_ms() when headers were complete */
/* The client has closed its side. Any thread, between `handle` and the reply. */
bool http_request_gone(const http_request *request);
/* What a client is told whose body has not come when its time is over: a whole answer as
 * http_answer_bytes makes it, written before the connection is cut (not over TLS, where only its own
 * thread may write). Lives until the server stops. In `accept`. */
void http_request_set_late(http_request *request, const char *bytes, size_t size);
/* The status that was sent and the bytes of the answer's body; in `done`. 0: none was sent. */
int http_request_status(const http_request *request, uint64_t *bytes);
/* One pointer of the layer above. */
void http_request_set_data(http_request *request, void *data);
void *http_request_data(const http_request *request);

/* ---- answers ---- */

#define HTTP_MAX_HEADERS 24

typedef struct http_answer {
    int status;
    const char *type;   /* Content-Type; copied */
    void *body;         /* from base_alloc; taken over by http_reply, freed when sent. NULL: none */
    const void *fixed;  /* or bytes that live forever (embedded files) */
    size_t size;        /* of body or fixed */
    int file;           /* or a descriptor, -1: none; taken over; sent from `offset` 0 to its end */
    bool close;         /* close the connection after it */
    unsigned header_count;
    char *headers[HTTP_MAX_HEADERS][2]; /* from http_answer_header */
} http_answer;

void http_answer_init(http_answer *answer, int status, const char *type); /* file = -1, all else 0 */
/* Copies both; name repeated is sent repeated (Set-Cookie). A value with a control character is
 * dropped, so that no header can be smuggled in. False when there is no room or memory. */
bool http_answer_header(http_answer *answer, const char *name, const char *value);
void http_answer_release(http_answer *answer); /* of one that was not replied with */
/* The answer as it goes over the wire, with "Connection: close"; takes over everything in it but a file,
 * which it may not have. From base_alloc; NULL: out of memory. */
char *http_answer_bytes(http_answer *answer, size_t *size);
/* Answers; takes over everything in it. Any thread, exactly once a request. When memory is out, the
 * connection is closed. */
void http_reply(http_request *request, http_answer *answer);

/* ---- forms: application/x-www-form-urlencoded and multipart/form-data (RFC 7578) ---- */

typedef struct http_field {
    const char *name;     /* UTF-8 (others: refused) */
    const char *filename; /* or NULL; last path component only, UTF-8 */
    const char *type;     /* Content-Type of the part, or NULL */
    const uint8_t *data;  /* urlencoded: decoded; multipart: points into the body */
    size_t size;
} http_field;

#define HTTP_MAX_FIELDS 64

typedef struct http_form {
    http_field fields[HTTP_MAX_FIELDS];
    unsigned count;
    char *text; /* names, file names and decoded values */
} http_form;

/* Parses `body` after its Content-Type `type`. DERMIS_E_NOT_PICTURE (415): the type is no form;
 * DERMIS_E_USAGE (400): malformed, no boundary, cut short, more than HTTP_MAX_FIELDS fields, names or
 * part headers too long. Takes memory for names and urlencoded values only. */
dermis_status http_form_parse(const char *type, const void *body, size_t size, http_form *out,
                              dermis_error *err);
void http_form_release(http_form *form);
const http_field *http_form_field(const http_form *form, const char *name); /* first; NULL: none */
/* Copies a field as text: false when it is not there, too long, not UTF-8, or has a NUL. */
bool http_form_text(const http_form *form, const char *name, char *out, size_t size);

/* Percent-decoding of one component; '+' is a space when `plus`. Returns the length, or -1 for a
 * malformed escape. `out` needs strlen(text) + 1 and may be `text`; a decoded NUL is malformed. */
ptrdiff_t http_url_decode(const char *text, size_t size, bool plus, char *out);

#endif
