/* weights.c - arrays out of HDF5, data only. Every path is walked link by link and only hard links
 * are followed; plug-ins are off; datasets with external or virtual storage, or with filters other
 * than HDF5's own, are refused; an array is read only when it has as many elements as the layer's
 * configuration asks for, so that no size in the file decides over memory. */
#include "import/internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

dermis_status import_hdf5_init(import_context *c)
{
    /* Both: the variable for the library's start, the call for after it. */
    setenv("HDF5_PLUGIN_PRELOAD", "::", 1);
    if (H5open() < 0 || H5PLset_loading_state(0) < 0 || H5Eset_auto2(H5E_DEFAULT, NULL, NULL) < 0)
        return import_fail(c, DERMIS_E_INTERNAL, "libhdf5 cannot be started");
    return DERMIS_OK;
}

dermis_status import_hdf5_open(import_context *c, const char *path, const char *shown)
{
    hid_t access = H5Pcreate(H5P_FILE_ACCESS);
    if (access < 0)
        return import_fail(c, DERMIS_E_MEMORY, "out of memory in libhdf5");
    H5Pset_driver(access, H5FD_SEC2, NULL); /* whatever HDF5_DRIVER says */
    H5Pset_fclose_degree(access, H5F_CLOSE_STRONG);
    hid_t file = H5Fopen(path, H5F_ACC_RDONLY, access);
    H5Pclose(access);
    if (file < 0)
        return import_fail(c, DERMIS_E_MODEL_INVALID,
                           "%s: HDF5 that is truncated, damaged or open elsewhere for writing",
                           shown);
    c->file = file;
    return DERMIS_OK;
}

/* libhdf5 copies a file image twice unless it is told otherwise: these hand out the bytes where
 * they stand. The file is opened for reading, so nothing asks for more room. */
static void *image_malloc(size_t size, H5FD_file_image_op_t op, void *data)
{
    (void)size;
    (void)op;
    return data;
}
static void *image_memcpy(void *to, const void *from, size_t size, H5FD_file_image_op_t op,
                          void *data)
{
    (void)op;
    (void)data;
    if (to != from)
        memmove(to, from, size);
    return to;
}
static void *image_realloc(void *p, size_t size, H5FD_file_image_op_t op, void *data)
{
    (void)p;
    (void)size;
    (void)op;
    (void)data;
    return NULL;
}
static herr_t image_free(void *p, H5FD_file_image_op_t op, void *data)
{
    (void)p;
    (void)op;
    (void)data;
    return 0;
}
static void *udata_copy(void *data)
{
    return data;
}
static herr_t udata_free(void *data)
{
    (void)data;
    return 0;
}

dermis_status import_hdf5_open_memory(import_context *c, void *data, size_t size, const char *shown)
{
    H5FD_file_image_callbacks_t calls = {image_malloc, image_memcpy, image_realloc, image_free,
                                         udata_copy,   udata_free,   data};
    hid_t access = H5Pcreate(H5P_FILE_ACCESS), file = -1;
    if (access < 0)
        return import_fail(c, DERMIS_E_MEMORY, "out of memory in libhdf5");
    if (H5Pset_fapl_core(access, 1 << 20, 0) >= 0 &&
        H5Pset_file_image_callbacks(access, &calls) >= 0 &&
        H5Pset_file_image(access, data, size) >= 0) {
        H5Pset_fclose_degree(access, H5F_CLOSE_STRONG);
        file = H5Fopen("model.weights.h5", H5F_ACC_RDONLY, access);
    }
    H5Pclose(access);
    if (file < 0)
        return import_fail(c, DERMIS_E_MODEL_INVALID,
                           "%s: '%s' is no HDF5, or truncated or damaged; copy the file anew",
                           c->options->in, shown);
    c->file = file;
    return DERMIS_OK;
}

/* Whether each component of `path` is a hard link that exists. */
static bool hard_path(hid_t file, const char *path)
{
    char walk[2 * IMPORT_NAME_LIMIT];
    size_t n = strlen(path);
    if (n == 0 || n >= sizeof walk)
        return false;
    for (size_t i = 1; i <= n; i++) {
        if (path[i] != '/' && path[i] != 0)
            continue;
        memcpy(walk, path, i);
        walk[i] = 0;
        if (walk[i - 1] == '/')
            continue; /* "a//b" */
        H5L_info_t info;
        if (H5Lexists(file, walk, H5P_DEFAULT) <= 0 ||
            H5Lget_info(file, walk, &info, H5P_DEFAULT) < 0 || info.type != H5L_TYPE_HARD)
            return false;
    }
    return true;
}

bool import_hdf5_exists(import_context *c, const char *path)
{
    return hard_path(c->file, path);
}

/* ---- text ---- */

/* An attribute of strings (fixed or variable length) as an array of texts; false when there is none
 * or it is something else. The texts are the context's. */
static bool attribute_texts(import_context *c, hid_t object, const char *name, size_t limit,
                            char ***texts, size_t *count)
{
    bool ok = false;
    void *raw = NULL;
    hid_t memory = -1;
    hid_t attribute = H5Aexists(object, name) > 0 ? H5Aopen(object, name, H5P_DEFAULT) : -1;
    hid_t type = attribute >= 0 ? H5Aget_type(attribute) : -1;
    hid_t space = attribute >= 0 ? H5Aget_space(attribute) : -1;
    hssize_t n = space >= 0 ? H5Sget_simple_extent_npoints(space) : -1;
    if (type < 0 || n < 0 || n > 1 << 20 || H5Tget_class(type) != H5T_STRING)
        goto out;
    char **list = import_new(c, (size_t)n, sizeof *list);
    if (!list)
        goto out;
    size_t total = 0;
    if (H5Tis_variable_str(type) > 0) {
        memory = H5Tcopy(H5T_C_S1);
        if (memory < 0 || H5Tset_size(memory, H5T_VARIABLE) < 0 ||
            H5Tset_cset(memory, H5Tget_cset(type)) < 0)
            goto out;
        char **strings = raw = base_calloc(BASE_TAG_IMPORT, (size_t)n + 1, sizeof *strings);
        if (!strings || (n > 0 && H5Aread(attribute, memory, strings) < 0))
            goto out;
        ok = true;
        for (hssize_t i = 0; i < n && ok; i++) {
            size_t bytes = strings[i] ? strlen(strings[i]) : 0;
            total += bytes;
            list[i] = total <= limit ? import_new(c, bytes + 1, 1) : NULL;
            ok = list[i] != NULL;
            if (ok && bytes)
                memcpy(list[i], strings[i], bytes);
        }
        H5Dvlen_reclaim(memory, space, H5P_DEFAULT, strings);
    } else {
        size_t bytes = H5Tget_size(type), all;
        if (bytes == 0 || !base_mul_size(bytes, (size_t)n, &all) || all > limit)
            goto out;
        raw = base_alloc(BASE_TAG_IMPORT, all + 1);
        if (!raw || (n > 0 && H5Aread(attribute, type, raw) < 0))
            goto out;
        ok = true;
        for (hssize_t i = 0; i < n && ok; i++) {
            list[i] = import_new(c, bytes + 1, 1);
            ok = list[i] != NULL;
            if (ok)
                memcpy(list[i], (char *)raw + (size_t)i * bytes, bytes);
        }
    }
    if (ok) {
        *texts = list;
        *count = (size_t)n;
    }
out:
    base_free(raw);
    if (memory >= 0)
        H5Tclose(memory);
    if (type >= 0)
        H5Tclose(type);
    if (space >= 0)
        H5Sclose(space);
    if (attribute >= 0)
        H5Aclose(attribute);
    return ok;
}

char *import_hdf5_text(import_context *c, const char *attribute, size_t limit)
{
    char **texts;
    size_t count = 0;
    hid_t root = H5Gopen(c->file, "/", H5P_DEFAULT);
    if (root < 0)
        return NULL;
    bool ok = attribute_texts(c, root, attribute, limit, &texts, &count);
    H5Gclose(root);
    return ok && count == 1 ? texts[0] : NULL;
}

/* The list of names of a group, which Keras cuts into "<name>0", "<name>1" ... when it is long. */
static bool group_names(import_context *c, const char *group, const char *name, char ***texts,
                        size_t *count)
{
    if (c->names_of && !strcmp(c->names_of, group)) { /* asked once for each weight */
        *texts = c->names;
        *count = c->names_count;
        return true;
    }
    if (!hard_path(c->file, group))
        return false;
    hid_t g = H5Gopen(c->file, group, H5P_DEFAULT);
    if (g < 0)
        return false;
    bool ok = attribute_texts(c, g, name, IMPORT_CONFIG_LIMIT, texts, count);
    if (!ok) {
        char **all = NULL, part[64];
        size_t have = 0;
        for (unsigned k = 0; k < 4096; k++) {
            char **some;
            size_t n;
            snprintf(part, sizeof part, "%s%u", name, k);
            if (!attribute_texts(c, g, part, IMPORT_CONFIG_LIMIT, &some, &n))
                break;
            char **grown = have + n <= 1 << 20 ? import_new(c, have + n, sizeof *grown) : NULL;
            if (!grown)
                break;
            if (have)
                memcpy(grown, all, have * sizeof *grown);
            memcpy(grown + have, some, n * sizeof *grown);
            all = grown;
            have += n;
            ok = true;
        }
        if (ok) {
            *texts = all;
            *count = have;
        }
    }
    H5Gclose(g);
    if (ok) {
        c->names_of = group;
        c->names = *texts;
        c->names_count = *count;
    }
    return ok;
}

/* ---- where an array stands ---- */

/* The path's component number `back` from the end (0: last), without Keras 2's ":0". */
static bool component_is(const char *path, unsigned back, const char *want)
{
    const char *end = path + strlen(path);
    if (end - path > 2 && end[-2] == ':')
        end -= 2;
    for (;; back--) {
        const char *start = end;
        while (start > path && start[-1] != '/')
            start--;
        if (back == 0)
            return (size_t)(end - start) == strlen(want) && !strncmp(start, want, strlen(want));
        if (start == path)
            return false;
        end = start - 1;
    }
}

/* Like component_is for a name that has slashes itself: path ends in "<layer>/<variable>". */
static bool names_layer(const char *path, const char *layer, const char *outer)
{
    const char *slash = strrchr(path, '/');
    size_t n = strlen(layer);
    if (!slash || (size_t)(slash - path) < n || strncmp(slash - n, layer, n))
        return false;
    const char *start = slash - n;
    if (start > path && start[-1] != '/')
        return false;
    if (!outer)
        return true;
    for (unsigned back = 2; back < IMPORT_NEST_LIMIT; back++)
        if (component_is(path, back, outer))
            return true;
    return false;
}

/* Legacy: weight_names of the top layer's group. A layer at the top owns the whole list; one that
 * is nested is found by the end of the name, "<layer>/<variable>", its variables in Keras's order.
 */
static const char *legacy_path(import_context *c, const import_layer *layer, unsigned index,
                               const char *variable)
{
    char **names;
    size_t count = 0;
    if (!layer->group || !group_names(c, layer->group, "weight_names", &names, &count))
        return NULL;
    if (!layer->outer)
        return index < count ? import_text(c, "%s/%s", layer->group, names[index]) : NULL;
    for (int strict = 1; strict >= 0; strict--) {
        unsigned seen = 0;
        const char *named = NULL, *nth = NULL;
        for (size_t i = 0; i < count; i++) {
            if (!names_layer(names[i], layer->name, strict ? layer->outer : NULL))
                continue;
            if (component_is(names[i], 0, variable) && !named)
                named = names[i];
            if (seen++ == index)
                nth = names[i];
        }
        if (named || nth)
            return import_text(c, "%s/%s", layer->group, named ? named : nth);
    }
    return NULL;
}

static const char *weight_path(import_context *c, const import_layer *layer, unsigned index,
                               const char *variable)
{
    if (c->legacy)
        return legacy_path(c, layer, index, variable);
    return layer->group ? import_text(c, "%s/vars/%u", layer->group, index) : NULL;
}

bool import_weight_there(import_context *c, const import_layer *layer, unsigned index,
                         const char *variable)
{
    const char *path = weight_path(c, layer, index, variable);
    return path && hard_path(c->file, path);
}

/* ---- the array ---- */

static dermis_status refuse(import_context *c, const import_layer *layer, const char *variable,
                            const char *why)
{
    return import_fail(c, DERMIS_E_MODEL_INVALID, "layer '%s' (%s), weight '%s': %s", layer->path,
                       layer->class_name, variable, why);
}

/* Storage and filters: only what stands in this file and what HDF5 itself can unpack. */
static const char *creation_fault(hid_t set)
{
    hid_t creation = H5Dget_create_plist(set);
    const char *fault = NULL;
    if (creation < 0)
        return "damaged HDF5 dataset";
    if (H5Pget_external_count(creation) > 0)
        fault = "its data stands in another file, which is refused";
    H5D_layout_t layout = H5Pget_layout(creation);
    if (layout != H5D_COMPACT && layout != H5D_CONTIGUOUS && layout != H5D_CHUNKED)
        fault = "virtual HDF5 storage is refused";
    int filters = H5Pget_nfilters(creation);
    for (int i = 0; i < filters && !fault; i++) {
        unsigned flags, values[16];
        size_t n = 16;
        H5Z_filter_t id = H5Pget_filter2(creation, (unsigned)i, &flags, &n, values, 0, NULL, NULL);
        if (id != H5Z_FILTER_DEFLATE && id != H5Z_FILTER_SHUFFLE && id != H5Z_FILTER_FLETCHER32)
            fault = "packed with a filter other than gzip, shuffle and fletcher32";
    }
    H5Pclose(creation);
    return fault;
}

static void from_bfloat16(float *values, size_t count)
{
    /* in place, from the back: the 16-bit values stand in the first half */
    for (size_t i = count; i-- > 0;) {
        uint16_t half;
        memcpy(&half, (const char *)values + 2 * i, sizeof half);
        uint32_t bits = (uint32_t)half << 16;
        memcpy(values + i, &bits, sizeof bits);
    }
}

dermis_status import_weight(import_context *c, const import_layer *layer, unsigned index,
                            const char *variable, size_t count, float **out)
{
    const char *path = weight_path(c, layer, index, variable);
    if (!path || !hard_path(c->file, path))
        return refuse(c, layer, variable,
                      "not in the file (or behind a soft or external link); the configuration and "
                      "the weights are of different models");
    if (count == 0 || count > IMPORT_WEIGHT_LIMIT)
        return refuse(c, layer, variable, "the configuration asks for a size past the limit");
    dermis_status status = DERMIS_OK;
    hid_t type = -1, space = -1;
    hid_t set = H5Dopen(c->file, path, H5P_DEFAULT);
    if (set < 0)
        return refuse(c, layer, variable, "not an array, or damaged");
    type = H5Dget_type(set);
    space = H5Dget_space(set);
    hssize_t points = space >= 0 ? H5Sget_simple_extent_npoints(space) : -1;
    H5T_class_t kind = type >= 0 ? H5Tget_class(type) : H5T_NO_CLASS;
    size_t width = type >= 0 ? H5Tget_size(type) : 0;
    bool bfloat = kind == H5T_OPAQUE && width == 2 && H5Aexists(set, "dtype") > 0;
    const char *fault = creation_fault(set);
    if (!fault && (points < 0 || (size_t)points != count)) {
        status = import_fail(c, DERMIS_E_MODEL_INVALID,
                             "layer '%s' (%s), weight '%s': the file has %lld elements, the "
                             "configuration asks for %zu; they are of different models",
                             layer->path, layer->class_name, variable, (long long)points, count);
        goto out;
    }
    if (!fault && !bfloat && (kind != H5T_FLOAT || (width != 2 && width != 4 && width != 8)))
        fault = "not of type float16, float32, float64 or bfloat16";
    float *values = fault ? NULL : import_new(c, count, sizeof *values);
    if (!fault && !values) {
        status = DERMIS_E_MEMORY;
        goto out;
    }
    if (!fault &&
        H5Dread(set, bfloat ? type : H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) < 0)
        fault = "truncated or damaged";
    if (!fault && bfloat)
        from_bfloat16(values, count);
    for (size_t i = 0; !fault && i < count; i++)
        if (!isfinite(values[i])) {
            status = import_fail(c, DERMIS_E_MODEL_INVALID,
                                 "layer '%s' (%s), weight '%s': element %zu is %s; the model's "
                                 "training has failed, take an earlier state of it",
                                 layer->path, layer->class_name, variable, i,
                                 isnan(values[i]) ? "NaN" : "infinite");
            goto out;
        }
    if (fault) {
        status = refuse(c, layer, variable, fault);
        goto out;
    }
    c->parameters += count;
    *out = values;
out:
    if (type >= 0)
        H5Tclose(type);
    if (space >= 0)
        H5Sclose(space);
    H5Dclose(set);
    return status;
}

dermis_status import_weight_double(import_context *c, const import_layer *layer, unsigned index,
                                   const char *variable, size_t count, double **out)
{
    float *values;
    TRY(import_weight(c, layer, index, variable, count, &values));
    double *wide = import_new(c, count, sizeof *wide);
    if (!wide)
        return DERMIS_E_MEMORY;
    for (size_t i = 0; i < count; i++)
        wide[i] = values[i];
    *out = wide;
    return DERMIS_OK;
}
