/* classes.c - class names: "a,b,c" on the command line, or a file: one name a line, a JSON list of
 * names, or a JSON card (an object with "classes": objects with "code" and/or "name", and whatever
 * else their owner wants to keep: texts, translations, urgency). A card is kept whole. */
#include "import/internal.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static dermis_status add_name(import_context *c, const char ***names, uint32_t *count,
                              const char *start, size_t n)
{
    while (n > 0 && (*start == ' ' || *start == '\t'))
        start++, n--;
    while (n > 0 && (start[n - 1] == ' ' || start[n - 1] == '\t' || start[n - 1] == '\r'))
        n--;
    if (n == 0)
        return import_fail(c, DERMIS_E_USAGE, "--classes: name %u is empty", *count + 1);
    if (*count >= MODEL_MAX_CLASSES || n > 512)
        return import_fail(c, DERMIS_E_USAGE,
                           "--classes: more than %d names, or one of more than 512 bytes",
                           MODEL_MAX_CLASSES);
    if ((*count & (*count + 1)) == 0 || *count == 0) { /* room doubles at 0, 1, 3, 7 ... */
        const char **grown = import_new(c, (size_t)(*count + 1) * 2, sizeof *grown);
        if (!grown)
            return DERMIS_E_MEMORY;
        if (*count)
            memcpy(grown, *names, *count * sizeof *grown);
        *names = grown;
    }
    char *copy = import_new(c, n + 1, 1);
    if (!copy)
        return DERMIS_E_MEMORY;
    memcpy(copy, start, n);
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)copy[i] < 0x20)
            return import_fail(c, DERMIS_E_USAGE, "--classes: name %u has control characters",
                               *count + 1);
    (*names)[(*count)++] = copy;
    return DERMIS_OK;
}

static dermis_status split(import_context *c, const char *text, size_t size, char separator,
                           const char ***names, uint32_t *count)
{
    while (size > 0 && (text[size - 1] == '\n' || text[size - 1] == '\r'))
        size--;
    for (size_t at = 0; at <= size;) {
        const char *end = memchr(text + at, separator, size - at);
        size_t n = end ? (size_t)(end - text) - at : size - at;
        TRY(add_name(c, names, count, text + at, n));
        at += n + 1;
    }
    return DERMIS_OK;
}

/* A class of a card: its "code"; else its "name", which may be one text or one for each language.
 */
static const char *name_of(json_t *item)
{
    if (json_is_string(item))
        return json_string_value(item);
    json_t *name = json_object_get(item, "name");
    const char *text = json_string_value(json_object_get(item, "code"));
    if (!text)
        text = json_string_value(name);
    if (!text)
        text = json_string_value(json_object_get(name, "en"));
    return text ? text : json_string_value(json_object_iter_value(json_object_iter(name)));
}

/* Two answers of one name could not be told apart. */
static dermis_status check_twice(import_context *c, const char *const *names, uint32_t count)
{
    const char **sorted = import_new(c, count, sizeof *sorted);
    if (!sorted)
        return DERMIS_E_MEMORY;
    memcpy(sorted, names, count * sizeof *sorted);
    qsort(sorted, count, sizeof *sorted, by_text);
    for (uint32_t i = 1; i < count; i++)
        if (strcmp(sorted[i - 1], sorted[i]) == 0)
            return import_fail(c, DERMIS_E_USAGE, "--classes: the name '%.100s' stands there twice", sorted[i]);
    return DERMIS_OK;
}

/* Whether a text that names no file was meant to: a list of names has a comma, but for a model with one answer. */
static bool looks_like_file(const import_context *c, const char *text)
{
    static const char *const endings[] = {".txt", ".json", ".csv", ".tsv", ".names", ".labels", ".lst", ".list", ".yaml", ".yml"};
    const char *dot = strrchr(text, '.');
    if (strchr(text, ','))
        return false;
    for (size_t i = 0; dot && i < sizeof endings / sizeof *endings; i++)
        if (strcasecmp(dot, endings[i]) == 0)
            return true;
    return strchr(text, '/') || c->nodes[c->output].out.c != 1;
}

static dermis_status of_json(import_context *c, json_t *root, const char ***names, uint32_t *count)
{
    json_t *list = json_is_array(root) ? root : json_object_get(root, "classes"), *item;
    size_t i;
    if (!json_is_array(list) || json_array_size(list) == 0)
        return import_fail(c, DERMIS_E_USAGE,
                           "--classes: the JSON is neither a list nor an object with a list "
                           "\"classes\"");
    json_array_foreach(list, i, item)
    {
        const char *name = name_of(item);
        if (!name)
            return import_fail(c, DERMIS_E_USAGE,
                               "--classes: class %zu of the card has neither \"code\" nor \"name\"",
                               i + 1);
        TRY(add_name(c, names, count, name, strlen(name)));
    }
    return DERMIS_OK;
}

static dermis_status read_classes(import_context *c, const char *text, const char ***names,
                                  uint32_t *count, const char **card)
{
    struct stat st;
    *names = NULL;
    *count = 0;
    *card = NULL;
    if (!text)
        return DERMIS_OK;
    if (stat(text, &st) != 0 || !S_ISREG(st.st_mode)) {
        if (looks_like_file(c, text))
            return import_fail(c, DERMIS_E_NOT_FOUND, "--classes %s: no such file, and no names with commas (a,b,c)", text);
        return split(c, text, strlen(text), ',', names, count);
    }
    uint8_t *data;
    size_t size;
    TRY(base_file_read(text, IMPORT_CARD_LIMIT, BASE_TAG_IMPORT, &data, &size, c->err));
    char *copy = import_new(c, size + 1, 1);
    if (copy)
        memcpy(copy, data, size);
    base_free(data);
    if (!copy)
        return DERMIS_E_MEMORY;
    char *p = copy;
    if (!strncmp(p, "\xef\xbb\xbf", 3)) /* Windows editors put a mark in front */
        p += 3, size -= 3;
    char *first = p + strspn(p, " \t\r\n");
    if (*first != '[' && *first != '{')
        return split(c, p, size, '\n', names, count);
    json_error_t at;
    json_t *root = json_loadb(p, size, 0, &at);
    if (!root)
        return import_fail(c, DERMIS_E_USAGE, "--classes %s: not valid JSON: line %d: %s", text,
                           at.line, at.text);
    dermis_status status = of_json(c, root, names, count);
    bool told = false; /* a list of objects is a card without the rest */
    for (size_t i = 0; json_is_array(root) && i < json_array_size(root); i++)
        told = told || json_is_object(json_array_get(root, i));
    if (told) {
        json_t *whole = json_object();
        if (json_object_set_new(whole, "classes", root) != 0)
            status = DERMIS_E_MEMORY; /* the list is let go in either case */
        root = whole;
    }
    if (status == DERMIS_OK && json_is_object(root)) {
        const char *license = json_string_value(json_object_get(root, "license"));
        if (license && !(c->card_license = import_text_long(c, license)))
            status = DERMIS_E_MEMORY;
        char *whole = json_dumps(root, JSON_COMPACT);
        *card = whole ? import_text_long(c, whole) : NULL;
        if (!*card)
            status = DERMIS_E_MEMORY;
        void *(*unused)(size_t);
        void (*release)(void *);
        json_get_alloc_funcs(&unused, &release);
        release(whole);
    }
    json_decref(root);
    return status;
}

dermis_status import_classes_read(import_context *c, const char *text, const char ***names,
                                  uint32_t *count, const char **card)
{
    TRY(read_classes(c, text, names, count, card));
    return *count ? check_twice(c, *names, *count) : DERMIS_OK;
}
