/* fuzz_config.c - any bytes as the config.json of a Keras model through the importer's layers and
 * passes. weights.c is left out of the link: its functions stand here and give any layer weights of
 * whatever shape it asks for, as far as they are small, so that libhdf5 has no part in it. Also
 * replays files (CONFIG_REPLAY). The first byte picks the form and the options. */
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
#endif
