/* fuzz_config.c - any bytes as the config.json of a Keras model through the importer's layers and
 * passes. weights.c is left out of the link: its functions stand here and give any layer weights of
 * whatever shape it asks for, as far as they are small, so that libhdf5 has no part in it. Also
 * replays files (CONFIG_REPLAY). The first byte picks the form and the options, JSON follows. */
#include <stdlib.h>
#include <string.h>

#include "import/internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MAX_WEIGHTS ((size_t)1 << 16)

dermis_status import_hdf5_init(import_context *c)
{
    (void)c;
    return DERMIS_OK;
}

dermis_status import_hdf5_open(import_context *c, const char *path, const char *shown)
{
    (void)path;
    return import_fail(c, DERMIS_E_INTERNAL, "%s", shown);
}

dermis_status import_hdf5_open_memory(import_context *c, void *data, size_t size, const char *shown)
{
    (void)data;
    (void)size;
    return import_fail(c, DERMIS_E_INTERNAL, "%s", shown);
}

char *import_hdf5_text(import_context *c, const char *attribute, size_t limit)
{
    (void)c;
    (void)attribute;
    (void)limit;
    return NULL;
}

bool import_hdf5_exists(import_context *c, const char *path)
{
    (void)c;
    (void)path;
    return true;
}

bool import_weight_there(import_context *c, const import_layer *layer, unsigned index,
                         const char *variable)
{
    (void)c;
    (void)layer;
    return (index + strlen(variable)) & 1;
}

dermis_status import_weight(import_context *c, const import_layer *layer, unsigned index,
                            const char *variable, size_t count, float **out)
{
    float *values = count <= MAX_WEIGHTS ? import_new(c, count, sizeof *values) : NULL;
    if (!values)
        return import_fail(c, DERMIS_E_MODEL_INVALID, "layer '%s', weight '%s' of %zu", layer->path,
                           variable, count);
    for (size_t i = 0; i < count; i++)
        values[i] = (float)((i * 7 + index) % 13) / 13.0f + 0.01f;
    *out = values;
    return DERMIS_OK;
}

dermis_status import_weight_double(import_context *c, const import_layer *layer, unsigned index,
                                   const char *variable, size_t count, double **out)
{
    float *values = NULL;
    TRY(import_weight(c, layer, index, variable, count, &values));
    double *wide = import_new(c, count, sizeof *wide);
    if (!wide)
        return DERMIS_E_MEMORY;
    for (size_t i = 0; i < count; i++)
        wide[i] = values[i];
    *out = wide;
    return DERMIS_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const scalings[] = {"none", "0..1", "caffe", "torch"};
    dermis_error err = {0};
    int how = size ? data[0] : 0;
    import_options options = {.in = "config.json", .out = "none", .preprocess = scalings[how >> 1 & 3]};
    if (how & 8)
        options.input_h = options.input_w = 32;
    import_context context = {.options = &options, .err = &err, .file = -1}, *c = &context;
    c->keras_major = how & 1 ? 2 : 3;
    c->legacy = how & 1;
    c->keep = json_array();
    c->config = size > 1 ? json_loadb((const char *)data + 1, size - 1, JSON_REJECT_DUPLICATES, NULL) : NULL;
    if (json_is_object(c->config)) {
        dermis_status status = import_build(c);
        if (status == DERMIS_OK)
            status = import_lower(c);
        if (status != DERMIS_OK && status != DERMIS_E_MEMORY && !err.text[0])
            abort(); /* refused without a word */
    }
    import_container_close(c);
    json_decref(c->keep);
    base_free(c->nodes);
    base_free(c->layers);
    for (size_t i = 0; i < c->block_count; i++)
        base_free(c->blocks[i]);
    base_free(c->blocks);
    base_memory memory;
    base_memory_read(&memory);
    if (memory.live_bytes[BASE_TAG_IMPORT] != 0)
        abort(); /* a leak */
    return 0;
}

#ifdef CONFIG_REPLAY
#include "replay.h"
#else

/* ---- a mutator that keeps JSON valid: bytes alone seldom get past the parser ---- */

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t most);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t most, unsigned seed);

typedef struct site { /* a value and where it hangs */
    json_t *parent, *value;
    const char *key; /* of objects */
    size_t index;    /* of arrays */
} site;

#define SITES 8192
static site sites[SITES];
static size_t site_count;

static void walk(json_t *parent)
{
    const char *key;
    json_t *value;
    size_t i;
    if (json_is_object(parent))
        json_object_foreach(parent, key, value)
        {
            if (site_count < SITES)
                sites[site_count++] = (site){parent, value, key, 0};
            walk(value);
        }
    else
        json_array_foreach(parent, i, value)
        {
            if (site_count < SITES)
                sites[site_count++] = (site){parent, value, NULL, i};
            walk(value);
        }
}

static json_t *odd_value(const json_t *was, unsigned random)
{
    static const json_int_t numbers[] = {0, 1, -1, 2, 3, 4, 7, 255, 4096, 16384, 65536, INT32_MAX,
                                         INT32_MIN, (json_int_t)1 << 32, INT64_MAX, INT64_MIN};
    static const double reals[] = {0.5, -0.5, 1e-30, 1e30, 1e300, -1e300, 1e-300, 5e-324};
    if (json_is_integer(was) && random % 3 == 0)
        return json_integer(json_integer_value(was) / 2 + (json_int_t)(random / 3 % 5) - 2);
    switch (random / 16 % 12) {
    case 0: return json_null();
    case 1: return json_boolean(random & 1);
    case 2: return json_string("");
    case 3: return json_array();
    case 4: return json_object();
    case 5: return json_real(reals[random % 8]);
    case 6: return json_pack("[i,i]", (int)(random % 5), (int)(random / 5 % 5));
    default: return json_integer(numbers[random % 16]);
    }
}

static void change(unsigned random)
{
    const site *s = &sites[random % site_count];
    random = random * 1664525u + 1013904223u;
    const json_t *other = sites[(random >> 8) % site_count].value;
    random = random * 1664525u + 1013904223u;
    unsigned how = random >> 10 & 7;
    json_t *value = how < 3 ? odd_value(s->value, random >> 13) : json_deep_copy(other);
    if (how == 7 && s->key)
        json_object_del(s->parent, s->key);
    else if (how == 7)
        json_array_remove(s->parent, s->index);
    else if (how == 6 && !s->key)
        json_array_insert_new(s->parent, s->index, json_incref(value));
    else if (s->key)
        json_object_set(s->parent, s->key, value);
    else
        json_array_set(s->parent, s->index, value);
    json_decref(value);
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t most, unsigned seed)
{
    json_t *root = size > 1 && seed % 8 ? json_loadb((const char *)data + 1, size - 1, 0, NULL) : NULL;
    if (!root)
        return LLVMFuzzerMutate(data, size, most);
    for (unsigned n = 0; n <= seed / 8 % 3; n++) {
        site_count = 0;
        walk(root);
        if (site_count)
            change(seed * 2654435761u + n * 40503u);
    }
    if (seed % 8 == 1)
        data[0] = (uint8_t)(seed >> 16);
    size_t n = json_dumpb(root, (char *)data + 1, most - 1, JSON_COMPACT);
    json_decref(root);
    return n && n < most ? n + 1 : size; /* too long: what fitted stands there */
}
#endif
