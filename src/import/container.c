/* container.c - from the bytes of a file to the model's configuration (JSON) and an open HDF5 file
 * with its weights. What a file is is seen from its first bytes: a `.keras` can be a zip or HDF5.
 * The weights of a zip are unpacked to memory and read there. */
#include "import/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zip.h>

static const unsigned char hdf5_magic[8] = {0x89, 'H', 'D', 'F', '\r', '\n', 0x1a, '\n'};

bool import_recognises(const void *head, size_t size)
{
    const unsigned char *p = head;
    return size >= 4 && ((size >= 8 && !memcmp(p, hdf5_magic, 8)) || !memcmp(p, "PK\3\4", 4) ||
                         !memcmp(p, "PK\5\6", 4));
}

static dermis_status parse_json(import_context *c, const char *text, size_t size, const char *what,
                                json_t **out)
{
    json_error_t at;
    json_t *root = json_loadb(text, size, JSON_REJECT_DUPLICATES, &at);
    if (!root)
        return import_fail(c, DERMIS_E_MODEL_INVALID, "%s: %s is not valid JSON: line %d: %s",
                           c->options->in, what, at.line, at.text);
    if (!json_is_object(root)) {
        json_decref(root);
        return import_fail(c, DERMIS_E_MODEL_INVALID, "%s: %s is not a JSON object", c->options->in,
                           what);
    }
    *out = root;
    return DERMIS_OK;
}

/* ---- zip ---- */

/* The entry's size, checked against `limit` and against what its packed bytes can hold (deflate
 * packs at most 1032 to 1), before anything is unpacked. */
static dermis_status entry_size(import_context *c, zip_t *zip, const char *name, uint64_t limit,
                                zip_int64_t *index, uint64_t *size)
{
    zip_stat_t st;
    *index = zip_name_locate(zip, name, 0);
    if (*index < 0)
        return import_fail(c, DERMIS_E_MODEL_INVALID,
                           "%s: a zip without '%s', so not a Keras model; save it again with "
                           "model.save('name.keras')",
                           c->options->in, name);
    zip_stat_init(&st);
    zip_uint64_t need = ZIP_STAT_SIZE | ZIP_STAT_COMP_SIZE | ZIP_STAT_COMP_METHOD;
    if (zip_stat_index(zip, (zip_uint64_t)*index, 0, &st) != 0 || (st.valid & need) != need)
        return import_fail(c, DERMIS_E_MODEL_INVALID, "%s: entry '%s' is damaged", c->options->in,
                           name);
    if (st.comp_method != ZIP_CM_STORE && st.comp_method != ZIP_CM_DEFLATE)
        return import_fail(c, DERMIS_E_MODEL_UNSUPPORTED,
                           "%s: entry '%s' is packed by method %u; pack the zip anew with deflate",
                           c->options->in, name, (unsigned)st.comp_method);
    if (st.size > limit || st.size / 1032 > st.comp_size + 64)
        return import_fail(c, DERMIS_E_MODEL_INVALID,
                           "%s: entry '%s' claims %llu bytes, past the limit of %llu or more than "
                           "its packed bytes can hold",
                           c->options->in, name, (unsigned long long)st.size,
                           (unsigned long long)limit);
    *size = st.size;
    return DERMIS_OK;
}

static dermis_status entry_text(import_context *c, zip_t *zip, const char *name, uint64_t limit,
                                char **text, size_t *bytes)
{
    zip_int64_t index = -1;
    uint64_t size = 0;
    TRY(entry_size(c, zip, name, limit, &index, &size));
    char *data = import_new(c, (size_t)size + 1, 1);
    if (!data)
        return DERMIS_E_MEMORY;
    zip_file_t *f = zip_fopen_index(zip, (zip_uint64_t)index, 0);
    zip_int64_t got = f ? zip_fread(f, data, size) : -1;
    char past;
    bool whole = f && got >= 0 && (uint64_t)got == size && zip_fread(f, &past, 1) == 0; /* CRC */
    if (f)
        zip_fclose(f);
    if (!whole)
        return import_fail(c, DERMIS_E_MODEL_INVALID, "%s: entry '%s' is truncated or damaged",
                           c->options->in, name);
    *text = data;
    *bytes = (size_t)size;
    return DERMIS_OK;
}

static dermis_status entry_to_hdf5(import_context *c, zip_t *zip, const char *name)
{
    zip_int64_t index = -1;
    uint64_t size = 0, done = 0;
    uint64_t limit =
        c->options->entry_limit_bytes ? c->options->entry_limit_bytes : IMPORT_ENTRY_LIMIT;
    TRY(entry_size(c, zip, name, limit, &index, &size));
    if (size == 0)
        return import_fail(c, DERMIS_E_MODEL_INVALID, "%s: entry '%s' is empty", c->options->in,
                           name);
    char *data = import_new(c, (size_t)size, 1), past;
    if (!data)
        return DERMIS_E_MEMORY;
    zip_file_t *f = zip_fopen_index(zip, (zip_uint64_t)index, 0);
    while (f && done < size) {
        uint64_t part = size - done < 1 << 22 ? size - done : 1 << 22;
        zip_int64_t got = zip_fread(f, data + done, part);
        if (got <= 0)
            break;
        done += (uint64_t)got;
        import_progress(c, 0.02 + 0.18 * (double)done / (double)size, "unpacking");
    }
    bool whole = f && done == size && zip_fread(f, &past, 1) == 0; /* here the CRC is checked */
    if (f)
        zip_fclose(f);
    if (!whole)
        return import_fail(c, DERMIS_E_MODEL_INVALID,
                           "%s: entry '%s' is truncated or damaged; copy the file anew",
                           c->options->in, name);
    return import_hdf5_open_memory(c, data, (size_t)size, name);
}

static dermis_status open_zip(import_context *c)
{
    int code = 0;
    char *text;
    size_t bytes;
    json_t *meta = NULL;
    zip_t *zip = zip_open(c->options->in, ZIP_RDONLY, &code);
    if (!zip)
        return import_fail(c, DERMIS_E_MODEL_INVALID,
                           "%s: the zip is truncated or damaged%s; copy the file anew",
                           c->options->in, code == ZIP_ER_MEMORY ? ", or memory is short" : "");
    dermis_status status = entry_text(c, zip, "config.json", IMPORT_CONFIG_LIMIT, &text, &bytes);
    if (status == DERMIS_OK)
        status = parse_json(c, text, bytes, "config.json", &c->config);
    if (status == DERMIS_OK && zip_name_locate(zip, "metadata.json", 0) >= 0) {
        status = entry_text(c, zip, "metadata.json", IMPORT_METADATA_LIMIT, &text, &bytes);
        if (status == DERMIS_OK)
            status = parse_json(c, text, bytes, "metadata.json", &meta);
        const char *version =
            meta ? json_string_value(json_object_get(meta, "keras_version")) : NULL;
        if (version)
            snprintf(c->keras_version, sizeof c->keras_version, "%s", version);
        json_decref(meta);
    }
    if (status == DERMIS_OK && zip_name_locate(zip, "model.weights.npz", 0) >= 0 &&
        zip_name_locate(zip, "model.weights.h5", 0) < 0)
        status = import_fail(c, DERMIS_E_MODEL_UNSUPPORTED,
                             "%s: weights in model.weights.npz; save the model with h5py installed",
                             c->options->in);
    if (status == DERMIS_OK)
        status = entry_to_hdf5(c, zip, "model.weights.h5");
    zip_discard(zip);
    return status;
}

/* ---- HDF5 ---- */

static dermis_status open_legacy(import_context *c)
{
    TRY(import_hdf5_open(c, c->options->in, c->options->in));
    c->legacy = true;
    char *text = import_hdf5_text(c, "model_config", IMPORT_CONFIG_LIMIT);
    if (!text)
        return import_fail(c, DERMIS_E_MODEL_INVALID,
                           "%s: HDF5 without the model's configuration (weights alone?); save the "
                           "whole model with model.save('name.keras')",
                           c->options->in);
    TRY(parse_json(c, text, strlen(text), "model_config", &c->config));
    char *version = import_hdf5_text(c, "keras_version", 256);
    if (version)
        snprintf(c->keras_version, sizeof c->keras_version, "%s", version);
    if (!import_hdf5_exists(c, "model_weights"))
        return import_fail(c, DERMIS_E_MODEL_INVALID, "%s: HDF5 without the group model_weights",
                           c->options->in);
    return DERMIS_OK;
}

dermis_status import_container_open(import_context *c)
{
    unsigned char head[8] = {0};
    int fd = open(c->options->in, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return import_fail(c, errno == ENOENT ? DERMIS_E_NOT_FOUND : DERMIS_E_IO, "%s: %s",
                           c->options->in, strerror(errno));
    ssize_t n = read(fd, head, sizeof head);
    close(fd);
    if (n < 0)
        return import_fail(c, DERMIS_E_IO, "%s: %s", c->options->in, strerror(errno));
    TRY(import_hdf5_init(c));
    if (!import_recognises(head, (size_t)n))
        return import_fail(c, DERMIS_E_MODEL_INVALID,
                           "%s: neither a zip (.keras) nor HDF5 (.h5), so not a Keras model%s",
                           c->options->in, n >= 4 && !memcmp(head, "GGUF", 4) ? "; it is a model file already" : "");
    TRY(head[0] == 'P' ? open_zip(c) : open_legacy(c));
    /* A `.keras` without a version is of Keras 3; HDF5 without one of the time before Keras 2.0.9.
     */
    c->keras_major = c->keras_version[0] ? atoi(c->keras_version) : c->legacy ? 2 : 3;
    if (!c->keras_version[0])
        snprintf(c->keras_version, sizeof c->keras_version, "%d", c->keras_major);
    for (char *p = c->keras_version; *p; p++)
        if ((unsigned char)*p < 0x20 || (unsigned char)*p >= 0x7f)
            *p = '?';
    return DERMIS_OK;
}

void import_container_close(import_context *c)
{
    if (c->file >= 0)
        H5Fclose(c->file);
    c->file = -1;
    json_decref(c->config);
    c->config = NULL;
}
