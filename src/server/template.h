/* template.h - a small subset of mustache over JSON contexts; what is put in is always HTML-escaped.
 * web/README.md says what the language is. */
#ifndef SERVER_TEMPLATE_H
#define SERVER_TEMPLATE_H

#include <jansson.h>

#include "base/base.h"

/* A growing text. `failed` is sticky: memory was out. */
typedef struct server_text {
    char *data; /* base_alloc; NUL-terminated when not NULL */
    size_t size, room;
    bool failed;
} server_text;

void server_text_add(server_text *text, const char *bytes, size_t n);
void server_text_addf(server_text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));
void server_text_escape(server_text *text, const char *value); /* for HTML, attributes included */
void server_text_release(server_text *text);

/* Finds a template by its name ("home", "_head"); NULL: there is none. */
typedef const char *server_template_find(const char *name, size_t *size);

/* Renders the template `name`; false: no such template, one that is not well formed, or out of memory. */
bool server_template_render(server_template_find *find, const char *name, json_t *context, server_text *out);

#endif
