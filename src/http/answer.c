/* answer.c - an answer from the layer above to libmicrohttpd's response. */
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "http/http_private.h"

void http_answer_init(http_answer *a, int status, const char *type)
{
    memset(a, 0, sizeof *a);
    a->file = -1;
    a->status = status;
    a->type = type;
}

static bool clean(const char *text)
{
    for (const unsigned char *c = (const unsigned char *)text; *c; c++)
        if ((*c < 0x20 && *c != '\t') || *c == 0x7f)
            return false;
    return true;
}

bool http_answer_header(http_answer *a, const char *name, const char *value)
{
    if (a->header_count == HTTP_MAX_HEADERS || !clean(name) || !clean(value))
        return false;
    char *n = base_strdup(BASE_TAG_HTTP, name), *v = base_strdup(BASE_TAG_HTTP, value);
    if (!n || !v) {
        base_free(n);
        base_free(v);
        return false;
    }
    a->headers[a->header_count][0] = n;
    a->headers[a->header_count++][1] = v;
    return true;
}

void http_answer_release(http_answer *a)
{
    base_free(a->body);
    if (a->file >= 0)
        close(a->file);
    for (unsigned i = 0; i < a->header_count; i++) {
        base_free(a->headers[i][0]);
        base_free(a->headers[i][1]);
    }
    http_answer_init(a, 0, NULL);
}

struct MHD_Response *http_answer_response(http_answer *a, bool closing, uint64_t *bytes)
{
    struct MHD_Response *response = NULL;
    struct stat st;
    *bytes = 0;
    if (a->file >= 0) {
        if (fstat(a->file, &st) == 0 && (response = MHD_create_response_from_fd64((uint64_t)st.st_size, a->file))) {
            *bytes = (uint64_t)st.st_size;
            a->file = -1; /* the response closes it */
        }
    } else if (a->body) {
        response = MHD_create_response_from_buffer_with_free_callback(a->size, a->body, base_free);
        *bytes = a->size;
        if (response)
            a->body = NULL;
    } else {
        response = MHD_create_response_from_buffer(a->fixed ? a->size : 0, (void *)(uintptr_t)a->fixed,
                                                   MHD_RESPMEM_PERSISTENT);
        *bytes = a->fixed ? a->size : 0;
    }
    if (response) {
        if (a->type)
            MHD_add_response_header(response, "Content-Type", a->type);
        for (unsigned i = 0; i < a->header_count; i++)
            MHD_add_response_header(response, a->headers[i][0], a->headers[i][1]);
        if (a->close || closing)
            MHD_add_response_header(response, "Connection", "close");
    }
    http_answer_release(a);
    return response;
}
