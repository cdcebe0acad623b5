/* answer.c - an answer from the layer above to libmicrohttpd's response. */
#include <stdlib.h>
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

char *http_answer_bytes(http_answer *a, size_t *size)
{
    const void *body = a->body ? a->body : a->fixed;
    char *out = NULL;
    size_t n = 0;
    FILE *f = open_memstream(&out, &n);
    char *bytes = NULL;
    if (f) {
        fprintf(f, "HTTP/1.1 %d %s\r\nConnection: close\r\nContent-Length: %zu\r\n", a->status,
                MHD_get_reason_phrase_for((unsigned)a->status), body ? a->size : 0);
        if (a->type)
            fprintf(f, "Content-Type: %s\r\n", a->type);
        for (unsigned i = 0; i < a->header_count; i++)
            fprintf(f, "%s: %s\r\n", a->headers[i][0], a->headers[i][1]);
        fputs("\r\n", f);
        if (body)
            fwrite(body, 1, a->size, f);
        if (fclose(f) == 0 && (bytes = base_alloc(BASE_TAG_HTTP, n)))
            memcpy(bytes, out, n);
    }
    free(out);
    http_answer_release(a);
    *size = n;
    return bytes;
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
