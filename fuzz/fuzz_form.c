/* fuzz_form.c - any bytes as a form's Content-Type (to the first line break) and body. What is accepted
 * has fields that lie within the body or the form's own text, and texts that are UTF-8. */
#include <stdlib.h>
#include <string.h>

#include "http/http.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static volatile unsigned seen;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *line = memchr(data, '\n', size);
    if (!line)
        return 0;
    char type[256];
    size_t n = (size_t)(line - data) < sizeof type - 1 ? (size_t)(line - data) : sizeof type - 1;
    memcpy(type, data, n);
    type[n] = 0;
    size_t body_size = size - (size_t)(line + 1 - data);
    uint8_t *body = malloc(body_size ? body_size : 1); /* of its own, so that a read past its end is seen */
    if (!body)
        return 0;
    memcpy(body, line + 1, body_size);
    http_form form;
    if (http_form_parse(type, body, body_size, &form, NULL) == DERMIS_OK) {
        char text[64];
        unsigned sum = 0;
        for (unsigned i = 0; i < form.count; i++) {
            const http_field *field = &form.fields[i];
            if (!field->name || strlen(field->name) > size)
                abort();
            for (size_t k = 0; k < field->size; k++)
                sum += field->data[k];
            if (field->filename && strpbrk(field->filename, "/\\"))
                abort();
            http_form_text(&form, field->name, text, sizeof text);
        }
        http_form_release(&form);
        seen = sum; /* so that the reads stay */
    }
    free(body);
    return 0;
}

#ifdef FORM_REPLAY
#include "replay.h"
#endif
