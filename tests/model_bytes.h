/* model_bytes.h - a small model file made piece by piece, so that test_model.c can spoil one of them:
 * a writer that shares nothing with src/model. Included once, behind cmocka.h. */
#ifndef MODEL_BYTES_H
#define MODEL_BYTES_H

#include "model/model.h"

enum { U8, U32 = 4, I32, F32, BOOL, STRING, ARRAY, U64 };

typedef struct bytes {
    uint8_t *data;
    size_t n, room;
} bytes;

static void put(bytes *b, const void *data, size_t n)
{
    if (b->n + n >= b->room) {
        b->room = 2 * (b->n + n + 64);
        b->data = realloc(b->data, b->room);
        assert_non_null(b->data);
    }
    if (n)
        memcpy(b->data + b->n, data, n);
    b->n += n;
}

static void put_u32(bytes *b, uint32_t v) { put(b, &v, 4); }
static void put_u64(bytes *b, uint64_t v) { put(b, &v, 8); }
static void put_text(bytes *b, const char *text)
{
    put_u64(b, strlen(text));
    put(b, text, strlen(text));
}

typedef struct entry {
    char key[48];
    bytes value; /* type and payload */
} entry;

typedef struct tensor {
    char name[80];
    uint32_t dims, type;
    uint64_t extent[5], offset;
} tensor;

static entry entries[32];
static tensor tensors[8];
static size_t entry_count, tensor_count, data_bytes;
static uint32_t magic, version;
static uint64_t say_tensors, say_keys; /* 0: the truth */

static bytes *set(const char *key) /* the value of `key`, emptied */
{
    size_t i = 0;
    while (i < entry_count && strcmp(entries[i].key, key) != 0)
        i++;
    if (i == entry_count) {
        assert_true(i < 32);
        snprintf(entries[entry_count++].key, sizeof entries[i].key, "%s", key);
    }
    entries[i].value.n = 0;
    return &entries[i].value;
}

static void drop(const char *key)
{
    for (size_t i = 0; i < entry_count; i++)
        if (strcmp(entries[i].key, key) == 0) {
            free(entries[i].value.data);
            memmove(&entries[i], &entries[i + 1], (--entry_count - i) * sizeof *entries);
            memset(&entries[entry_count], 0, sizeof *entries);
            return;
        }
    fail_msg("no key %s", key);
}

static void set_u32(const char *key, uint32_t type, uint32_t v)
{
    bytes *b = set(key);
    put_u32(b, type);
    put_u32(b, v);
}

static void set_text(const char *key, const char *text)
{
    bytes *b = set(key);
    put_u32(b, STRING);
    put_text(b, text);
}

static bytes *set_array(const char *key, uint32_t type, uint64_t count)
{
    bytes *b = set(key);
    put_u32(b, ARRAY);
    put_u32(b, type);
    put_u64(b, count);
    return b;
}

static void set_texts(const char *key, size_t count, const char *const *texts)
{
    bytes *b = set_array(key, STRING, count);
    for (size_t i = 0; i < count; i++)
        put_text(b, texts[i]);
}

static void set_numbers(const char *key, uint32_t type, size_t count, const void *numbers)
{
    put(set_array(key, type, count), numbers, count * (type == BOOL ? 1 : 4));
}

static void add_tensor(const char *name, uint32_t type, uint64_t a, uint64_t b, uint64_t c)
{
    tensor *t = &tensors[tensor_count++];
    *t = (tensor){.dims = b ? 3 : 1, .type = type, .extent = {a, b, c}, .offset = data_bytes};
    snprintf(t->name, sizeof t->name, "%s", name);
    data_bytes += base_align_up((size_t)(a * (b ? b * c : 1)) * (type == 1 ? 2 : 4), 64);
}

static int32_t ints[40];
static const uint32_t inputs[] = {0, 1, 2, 3};
static const char *const ops[] = {"input", "conv", "global_pool", "conv", "activation"};

/* Input 4 x 5 x 3, convolution 3x3 to 2, mean, dense to 2 in half precision, softmax. */
static void valid(void)
{
    while (entry_count)
        drop(entries[0].key);
    tensor_count = data_bytes = 0;
    magic = 0x46554747, version = 3;
    say_tensors = say_keys = 0;
    set_text("general.architecture", "dermis");
    set_text("general.name", "t\xe1\xba\xbfst");
    set_u32("general.alignment", U32, 64);
    set_u32("dermis.format_version", U32, 1);
    set_texts("dermis.classes", 2, (const char *[]){"a", "b"});
    set_texts("dermis.graph.op", 5, ops);
    set_texts("dermis.graph.name", 5, ops);
    set_numbers("dermis.graph.input_count", U32, 5, (uint32_t[]){0, 1, 1, 1, 1});
    set_numbers("dermis.graph.inputs", U32, 4, inputs);
    int32_t plain[] = {4, 5, 3, /* conv */ 3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 1, 0, /* pool */ 1,
                       /* dense */ 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 1, 2, 0, 0, /* softmax */ 25};
    memcpy(ints, plain, sizeof plain);
    set_numbers("dermis.graph.ints", I32, sizeof plain / 4, ints);
    set_numbers("dermis.graph.floats", F32, 9, (float[9]){0, 1, 0});
    set_texts("dermis.layers.name", 1, (const char *[]){"conv"});
    set_numbers("dermis.layers.node", U32, 1, (uint32_t[]){1});
    set_numbers("dermis.layers.after_activation", BOOL, 1, (uint8_t[]){1});
    set_u32("dermis.cam.layer", I32, 0);
    add_tensor("node.1.weight", 0, 16, 27, 1);
    add_tensor("node.1.bias", 0, 16, 0, 0);
    add_tensor("node.1.shift", 0, 16, 0, 0);
    add_tensor("node.3.weight", 1, 16, 2, 1);
}

/* The file's bytes, aligned; free with base_free. */
static uint8_t *file(size_t *size)
{
    bytes b = {0};
    put_u32(&b, magic);
    put_u32(&b, version);
    put_u64(&b, say_tensors ? say_tensors : tensor_count);
    put_u64(&b, say_keys ? say_keys : entry_count);
    for (size_t i = 0; i < entry_count; i++) {
        put_text(&b, entries[i].key);
        put(&b, entries[i].value.data, entries[i].value.n);
    }
    for (size_t i = 0; i < tensor_count; i++) {
        put_text(&b, tensors[i].name);
        put_u32(&b, tensors[i].dims);
        put(&b, tensors[i].extent, (tensors[i].dims > 5 ? 5 : tensors[i].dims) * 8);
        put_u32(&b, tensors[i].type);
        put_u64(&b, tensors[i].offset);
    }
    while (b.n % 64)
        put(&b, "", 1);
    for (size_t i = 0; i < data_bytes; i++)
        put(&b, &(uint8_t){(uint8_t)(i % 4 == 3 ? 0x3c : i % 51)}, 1); /* finite as float and half */
    uint8_t *aligned = base_alloc(BASE_TAG_BASE, b.n);
    memcpy(aligned, b.data, b.n);
    *size = b.n;
    free(b.data);
    return aligned;
}

#endif
