/* form.c - forms over a complete body: application/x-www-form-urlencoded (URL standard) and
 * multipart/form-data (RFC 7578, RFC 2046). Values of multipart fields are slices of the body. */
#include <string.h>
#include <strings.h>

#include "http/http.h"

#define MAX_BOUNDARY     70   /* RFC 2046 */
#define MAX_PART_HEADERS 4096 /* bytes of one part's headers */
#define MAX_NAMES        16384 /* bytes of all names, file names and types of a form */

ptrdiff_t http_url_decode(const char *text, size_t size, bool plus, char *out)
{
    size_t n = 0;
    for (size_t i = 0; i < size; i++) {
        unsigned value = (unsigned char)text[i];
        if (value == '%') {
            value = 0;
            if (size - i < 3)
                return -1;
            for (int k = 1; k <= 2; k++) {
                char c = text[i + (size_t)k];
                int digit = c >= '0' && c <= '9'   ? c - '0'
                            : c >= 'a' && c <= 'f' ? c - 'a' + 10
                            : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                                   : -1;
                if (digit < 0)
                    return -1;
                value = value << 4 | (unsigned)digit;
            }
            i += 2;
        } else if (value == '+' && plus) {
            value = ' ';
        }
        if (value == 0)
            return -1;
        out[n++] = (char)value;
    }
    out[n] = 0;
    return (ptrdiff_t)n;
}

static http_field *add(http_form *form, dermis_error *err)
{
    if (form->count == HTTP_MAX_FIELDS) {
        base_fail(err, DERMIS_E_USAGE, "the form has more than %d fields", HTTP_MAX_FIELDS);
        return NULL;
    }
    http_field *field = &form->fields[form->count++];
    memset(field, 0, sizeof *field);
    return field;
}

/* ---- urlencoded ---- */

static dermis_status parse_urlencoded(const char *body, size_t size, http_form *form, dermis_error *err)
{
    /* each decoded name and value with its NUL fits where it stood with its '=' or '&' */
    char *out = form->text = base_alloc(BASE_TAG_HTTP, size + 2);
    if (!out)
        return base_fail(err, DERMIS_E_MEMORY, "not enough memory for the form");
    for (const char *c = body, *end = body + size; c < end;) {
        const char *stop = memchr(c, '&', (size_t)(end - c));
        stop = stop ? stop : end;
        const char *equals = memchr(c, '=', (size_t)(stop - c));
        const char *name_end = equals ? equals : stop;
        if (stop > c) {
            http_field *field = add(form, err);
            if (!field)
                return err ? err->status : DERMIS_E_USAGE;
            ptrdiff_t n = http_url_decode(c, (size_t)(name_end - c), true, out);
            if (n < 0 || !base_utf8(out))
                return base_fail(err, DERMIS_E_USAGE, "the form is malformed: a name that cannot be decoded");
            field->name = out;
            out += n + 1;
            field->data = (const uint8_t *)"";
            if (equals) {
                n = http_url_decode(equals + 1, (size_t)(stop - equals - 1), true, out);
                if (n < 0)
                    return base_fail(err, DERMIS_E_USAGE, "the form is malformed: a value that cannot be decoded");
                field->data = (const uint8_t *)out;
                field->size = (size_t)n;
                out += n + 1;
            }
        }
        c = stop + 1;
    }
    return DERMIS_OK;
}

/* ---- multipart ---- */

/* The parameter of a header value ("; name=value" or "; name=\"value\""): copied to *out, which moves
 * on. NULL: not there or too long. */
static const char *parameter(const char *value, size_t size, const char *name, char **out, const char *limit)
{
    size_t length = strlen(name), i = 0;
    bool quoted = false;
    for (; i < size; i++) { /* to the ';' before the name, outside of quotes */
        if (value[i] == '"' && (i == 0 || value[i - 1] != '\\'))
            quoted = !quoted;
        if (quoted || value[i] != ';')
            continue;
        size_t at = i + 1;
        while (at < size && (value[at] == ' ' || value[at] == '\t'))
            at++;
        if (size - at > length && strncasecmp(value + at, name, length) == 0 && value[at + length] == '=') {
            i = at + length + 1;
            break;
        }
    }
    if (i >= size)
        return NULL;
    char *begin = *out, *to = *out;
    quoted = value[i] == '"';
    i += quoted;
    bool closed = !quoted;
    for (; i < size; i++) {
        char c = value[i];
        if (quoted && c == '"') {
            closed = true;
            break;
        }
        if (!quoted && (c == ';' || c == ' ' || c == '\t'))
            break;
        if (quoted && c == '\\' && i + 1 < size && (value[i + 1] == '"' || value[i + 1] == '\\'))
            c = value[++i];
        if (to + 1 >= limit || (unsigned char)c < 0x20)
            return NULL;
        *to++ = c;
    }
    if (!closed)
        return NULL;
    *to++ = 0;
    *out = to;
    return begin;
}

static const char *last_component(const char *path)
{
    const char *last = path;
    for (const char *c = path; *c; c++)
        if (*c == '/' || *c == '\\')
            last = c + 1;
    return last;
}

/* One part's headers: name, file name, type. */
static dermis_status part_headers(const char *at, const char *end, http_field *field, char **out, const char *limit,
                                  dermis_error *err)
{
    while (at < end) {
        const char *stop = memmem(at, (size_t)(end - at), "\r\n", 2);
        stop = stop ? stop : end;
        size_t size = (size_t)(stop - at);
        if (size > 20 && strncasecmp(at, "Content-Disposition:", 20) == 0) {
            if (field->name)
                return base_fail(err, DERMIS_E_USAGE, "the form is malformed: a part with two names");
            field->name = parameter(at, size, "name", out, limit);
            const char *file = parameter(at, size, "filename", out, limit);
            field->filename = file ? last_component(file) : NULL;
        } else if (size > 13 && strncasecmp(at, "Content-Type:", 13) == 0) {
            const char *value = at + 13;
            size_t n = size - 13;
            while (n && (*value == ' ' || *value == '\t'))
                value++, n--;
            if (*out + n + 1 >= limit || memchr(value, 0, n))
                return base_fail(err, DERMIS_E_USAGE, "the form is malformed: a part's type is too long");
            memcpy(*out, value, n);
            (*out)[n] = 0;
            field->type = *out;
            *out += n + 1;
        }
        at = stop + 2;
    }
    if (!field->name || !base_utf8(field->name) || (field->filename && !base_utf8(field->filename)))
        return base_fail(err, DERMIS_E_USAGE, "the form is malformed: a part without a name that can be read");
    return DERMIS_OK;
}

static dermis_status parse_multipart(const char *type, const char *body, size_t size, http_form *form,
                                     dermis_error *err)
{
    char delimiter[MAX_BOUNDARY + 8], *at_boundary = delimiter + 4;
    form->text = base_alloc(BASE_TAG_HTTP, MAX_NAMES);
    if (!form->text)
        return base_fail(err, DERMIS_E_MEMORY, "not enough memory for the form");
    char *out = form->text;
    const char *limit = form->text + MAX_NAMES, *end = body + size;
    memcpy(delimiter, "\r\n--", 4);
    const char *boundary = parameter(type, strlen(type), "boundary", &at_boundary, delimiter + sizeof delimiter - 1);
    size_t n = boundary ? strlen(boundary) : 0;
    if (n == 0 || n > MAX_BOUNDARY)
        return base_fail(err, DERMIS_E_USAGE, "the form's Content-Type names no boundary of 1 to 70 characters");
    n += 4;
    /* the first delimiter stands at the beginning, without its line break */
    if (size < n - 2 || memcmp(body, delimiter + 2, n - 2) != 0)
        return base_fail(err, DERMIS_E_USAGE, "the form does not begin with its boundary");
    const char *at = body + n - 2;
    for (;;) {
        if (end - at >= 2 && at[0] == '-' && at[1] == '-')
            return DERMIS_OK;
        while (at < end && (*at == ' ' || *at == '\t'))
            at++;
        if (end - at < 2 || at[0] != '\r' || at[1] != '\n')
            return base_fail(err, DERMIS_E_USAGE, "the form is cut short or malformed at a boundary");
        at += 2;
        size_t window = (size_t)(end - at) < MAX_PART_HEADERS ? (size_t)(end - at) : MAX_PART_HEADERS;
        const char *blank = memmem(at, window, "\r\n\r\n", 4);
        if (!blank)
            return base_fail(err, DERMIS_E_USAGE, "the form is cut short, or a part's headers are longer than %d bytes",
                             MAX_PART_HEADERS);
        http_field *field = add(form, err);
        if (!field)
            return DERMIS_E_USAGE;
        dermis_status status = part_headers(at, blank, field, &out, limit, err);
        if (status != DERMIS_OK)
            return status;
        const char *data = blank + 4;
        /* an empty part's delimiter shares its line break with the headers' end */
        const char *next = memmem(blank + 2, (size_t)(end - blank - 2), delimiter, n);
        if (!next)
            return base_fail(err, DERMIS_E_USAGE, "the form is cut short: its last boundary is missing");
        field->data = (const uint8_t *)data;
        field->size = next > data ? (size_t)(next - data) : 0;
        at = next + n;
    }
}

/* ---- both ---- */

dermis_status http_form_parse(const char *type, const void *body, size_t size, http_form *out, dermis_error *err)
{
    http_form *form = out;
    memset(form, 0, sizeof *form);
    dermis_status status;
    if (type && strncasecmp(type, "multipart/form-data", 19) == 0 && strchr("; ", type[19])) /* or its end */
        status = parse_multipart(type, body, size, form, err);
    else if (type && strncasecmp(type, "application/x-www-form-urlencoded", 33) == 0)
        status = parse_urlencoded(body, size, form, err);
    else
        return base_fail(err, DERMIS_E_NOT_PICTURE,
                         "the form's Content-Type is to be multipart/form-data or application/x-www-form-urlencoded");
    if (status != DERMIS_OK)
        http_form_release(form);
    return status;
}

void http_form_release(http_form *form)
{
    base_free(form->text);
    memset(form, 0, sizeof *form);
}

const http_field *http_form_field(const http_form *form, const char *name)
{
    for (unsigned i = 0; i < form->count; i++)
        if (strcmp(form->fields[i].name, name) == 0)
            return &form->fields[i];
    return NULL;
}

bool http_form_text(const http_form *form, const char *name, char *out, size_t size)
{
    const http_field *field = http_form_field(form, name);
    if (!field || field->size >= size || memchr(field->data, 0, field->size))
        return false;
    char *to = out;
    const char *from = (const char *)field->data;
    for (size_t left = field->size; left;) {
        size_t n = base_utf8_next(from, left);
        if (n == 0)
            return *out = 0, false;
        memmove(to, from, n);
        to += n;
        from += n;
        left -= n;
    }
    *to = 0;
    return true;
}
