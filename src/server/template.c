/* template.c - walks a template's text and writes it with the context's values put in. Stateless;
 * contexts are JSON objects, looked up from the innermost outwards. */
#include "server/template.h"

#include <ctype.h>
#include <stdarg.h>
#include <string.h>

#define MAX_DEPTH 24 /* nested sections and partials: ours have 5 */

/* ---- growing text ---- */

void server_text_add(server_text *t, const char *bytes, size_t n)
{
    if (t->failed || n == 0)
        return;
    if (t->size + n + 1 > t->room) {
        size_t room = t->room ? t->room : 4096;
        while (room < t->size + n + 1)
            room *= 2;
        char *data = base_realloc(BASE_TAG_SERVER, t->data, room);
        if (!data) {
            t->failed = true;
            return;
        }
        t->data = data;
        t->room = room;
    }
    memcpy(t->data + t->size, bytes, n);
    t->size += n;
    t->data[t->size] = 0;
}

void server_text_addf(server_text *t, const char *format, ...)
{
    char line[1024];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(line, sizeof line, format, args);
    va_end(args);
    if (n < 0 || n >= (int)sizeof line)
        t->failed = true;
    else
        server_text_add(t, line, (size_t)n);
}

void server_text_escape(server_text *t, const char *value)
{
    for (const char *c = value; *c;) {
        size_t plain = strcspn(c, "&<>\"'");
        server_text_add(t, c, plain);
        c += plain;
        switch (*c) {
        case '&':
            server_text_add(t, "&amp;", 5);
            break;
        case '<':
            server_text_add(t, "&lt;", 4);
            break;
        case '>':
            server_text_add(t, "&gt;", 4);
            break;
        case '"':
            server_text_add(t, "&quot;", 6);
            break;
        case '\'':
            server_text_add(t, "&#39;", 5);
            break;
        default:
            return;
        }
        c++;
    }
}

void server_text_release(server_text *t)
{
    base_free(t->data);
    memset(t, 0, sizeof *t);
}

/* ---- contexts ---- */

typedef struct scope {
    server_template_find *find;
    json_t *stack[MAX_DEPTH];
    unsigned depth;
    unsigned partials; /* nested now */
    server_text *out;
} scope;

static json_t *member(json_t *object, const char *name, size_t n)
{
    return json_is_object(object) ? json_object_getn(object, name, n) : NULL;
}

static json_t *look_up(const scope *s, const char *name, size_t n)
{
    if (n == 1 && *name == '.')
        return s->stack[s->depth - 1];
    size_t first = 0;
    while (first < n && name[first] != '.')
        first++;
    json_t *value = NULL;
    for (unsigned i = s->depth; i-- > 0 && !value;)
        value = member(s->stack[i], name, first);
    while (value && first < n) {
        size_t begin = ++first;
        while (first < n && name[first] != '.')
            first++;
        value = member(value, name + begin, first - begin);
    }
    return value;
}

static bool truthy(const json_t *v)
{
    if (!v || json_is_null(v) || json_is_false(v))
        return false;
    if (json_is_string(v))
        return json_string_length(v) > 0;
    if (json_is_array(v))
        return json_array_size(v) > 0;
    if (json_is_number(v))
        return json_number_value(v) != 0;
    return true;
}

static void put_value(const scope *s, const json_t *v, bool placeholders);

/* A text of the language: {name} is a value of the context. */
static void put_text(const scope *s, const char *text)
{
    char piece[512];
    while (*text) {
        size_t plain = strcspn(text, "{");
        for (size_t left = plain; left;) {
            size_t n = left < sizeof piece - 1 ? left : sizeof piece - 1;
            memcpy(piece, text, n);
            piece[n] = 0;
            server_text_escape(s->out, piece);
            text += n;
            left -= n;
        }
        if (*text != '{')
            break;
        size_t n = strcspn(text, "}");
        if (text[n] == '}') {
            put_value(s, look_up(s, text + 1, n - 1), false);
            text += n + 1;
        } else { /* a brace and nothing more */
            server_text_add(s->out, text++, 1);
        }
    }
}

static void put_value(const scope *s, const json_t *v, bool placeholders)
{
    if (json_is_string(v)) {
        if (placeholders)
            put_text(s, json_string_value(v));
        else
            server_text_escape(s->out, json_string_value(v));
    } else if (json_is_integer(v)) {
        server_text_addf(s->out, "%" JSON_INTEGER_FORMAT, json_integer_value(v));
    } else if (json_is_real(v)) {
        server_text_addf(s->out, "%.6g", json_real_value(v));
    } else if (json_is_true(v)) {
        server_text_add(s->out, "true", 4);
    }
}

/* ---- the walk ---- */

typedef struct tag {
    char kind; /* '#', '^', '/', '>', '!', or 0 for a value */
    const char *name;
    size_t length;
    const char *end; /* behind the braces */
} tag;

/* The next tag at or after `at`; its start in *begin. False: there is none. *broken: not closed. */
static bool next_tag(const char *at, const char *end, const char **begin, tag *out, bool *broken)
{
    const char *open = memmem(at, (size_t)(end - at), "{{", 2);
    if (!open)
        return false;
    const char *close = memmem(open, (size_t)(end - open), "}}", 2);
    if (!close) {
        *broken = true;
        return false;
    }
    const char *name = open + 2, *last = close;
    out->kind = 0;
    if (name < last && strchr("#^/>!", *name))
        out->kind = *name++;
    while (name < last && isspace((unsigned char)*name))
        name++;
    while (last > name && isspace((unsigned char)last[-1]))
        last--;
    out->name = name;
    out->length = (size_t)(last - name);
    out->end = close + 2;
    *begin = open;
    return true;
}

/* Where the section that was just opened closes: *body_end at its closing tag, *behind after it. */
static bool find_close(const char *at, const char *end, const tag *section, const char **body_end,
                       const char **behind)
{
    unsigned depth = 1;
    const char *begin;
    tag t;
    bool broken = false;
    while (next_tag(at, end, &begin, &t, &broken)) {
        bool same = t.length == section->length && memcmp(t.name, section->name, t.length) == 0;
        if (same && (t.kind == '#' || t.kind == '^'))
            depth++;
        if (same && t.kind == '/' && --depth == 0) {
            *body_end = begin;
            *behind = t.end;
            return true;
        }
        at = t.end;
    }
    return false;
}

static bool walk(scope *s, const char *at, const char *end);

static bool walk_in(scope *s, json_t *context, const char *at, const char *end)
{
    if (s->depth == MAX_DEPTH)
        return false;
    s->stack[s->depth++] = context;
    bool fine = walk(s, at, end);
    s->depth--;
    return fine;
}

static bool section(scope *s, const tag *t, const char *body, const char *body_end)
{
    json_t *v = look_up(s, t->name, t->length);
    if (t->kind == '^')
        return truthy(v) || walk(s, body, body_end);
    if (!truthy(v))
        return true;
    if (!json_is_array(v))
        return json_is_object(v) ? walk_in(s, v, body, body_end) : walk(s, body, body_end);
    size_t i;
    json_t *item;
    json_array_foreach(v, i, item)
        if (!walk_in(s, item, body, body_end))
            return false;
    return true;
}

static bool partial(scope *s, const tag *t)
{
    char name[64];
    size_t size;
    if (t->length >= sizeof name || s->partials == MAX_DEPTH)
        return false;
    memcpy(name, t->name, t->length);
    name[t->length] = 0;
    const char *text = s->find(name, &size);
    if (!text)
        return false;
    s->partials++;
    bool fine = walk(s, text, text + size);
    s->partials--;
    return fine;
}

static bool walk(scope *s, const char *at, const char *end)
{
    const char *begin;
    tag t;
    bool broken = false;
    while (next_tag(at, end, &begin, &t, &broken)) {
        server_text_add(s->out, at, (size_t)(begin - at));
        at = t.end;
        if (t.kind == '#' || t.kind == '^') {
            const char *body_end, *behind;
            if (!find_close(at, end, &t, &body_end, &behind) || !section(s, &t, at, body_end))
                return false;
            at = behind;
        } else if (t.kind == '>') {
            if (!partial(s, &t))
                return false;
        } else if (t.kind == 0) {
            put_value(s, look_up(s, t.name, t.length), t.length > 2 && memcmp(t.name, "t.", 2) == 0);
        } else if (t.kind == '/') {
            return false; /* closes nothing */
        }
    }
    server_text_add(s->out, at, (size_t)(end - at));
    return !broken;
}

bool server_template_render(server_template_find *find, const char *name, json_t *context, server_text *out)
{
    size_t size;
    const char *text = find(name, &size);
    scope s = {.find = find, .stack = {context}, .depth = 1, .out = out};
    return text && walk(&s, text, text + size) && !out->failed;
}
