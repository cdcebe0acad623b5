/* test_model.c - the model file against hostile bytes, and round trips. A small valid file is made by
 * the writer of model_bytes.h, with one thing wrong at a time; each refusal must have its status and
 * name its cause. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "model_bytes.h"

static char folder[] = "/tmp/dermis-model-XXXXXX", path[64];

static void refuse_bytes(const void *data, size_t size, dermis_status want, const char *text)
{
    dermis_error err = {0};
    model *m = NULL;
    base_memory before, after;
    base_memory_read(&before);
    dermis_status got = model_open_memory(data, size, &m, &err);
    if (got != want || err.status != want || !strstr(err.text, text))
        fail_msg("status %s, text \"%s\"; wanted %s and \"%s\"", base_status_name(got), err.text,
                 base_status_name(want), text);
    assert_null(m);
    assert_int_equal(model_open_memory(data, size, &m, NULL), want);
    base_memory_read(&after);
    assert_true(after.live_total == before.live_total);
    assert_true(after.peak_total < before.peak_total + (4 << 20)); /* nothing big was tried */
}

/* What stands now is refused; then it is valid again. */
static void refuse(dermis_status want, const char *text)
{
    size_t size;
    uint8_t *data = file(&size);
    refuse_bytes(data, size, want, text);
    base_free(data);
    valid();
}

#define BAD(text) refuse(DERMIS_E_MODEL_INVALID, text)

static void test_valid(void **state)
{
    (void)state;
    size_t size;
    valid();
    uint8_t *data = file(&size);
    dermis_error err;
    model *m;
    if (model_open_memory(data, size, &m, &err))
        fail_msg("%s", err.text);
    const model_graph *g = model_get_graph(m);
    assert_int_equal(g->node_count, 5);
    assert_string_equal(g->name, "t\xe1\xba\xbfst");
    assert_string_equal(g->classes[1], "b");
    assert_true(g->nodes[1].out.h == 4 && g->nodes[1].out.w == 5 && g->nodes[1].out.c == 2);
    assert_int_equal(g->nodes[3].tensors[MODEL_WEIGHT].type, MODEL_F16);
    assert_ptr_equal(g->nodes[1].tensors[MODEL_WEIGHT].data, data + size - data_bytes);
    assert_int_equal(model_node_macs(g, 1), 4 * 5 * 2 * 27);
    assert_true(g->cam_layer == 0 && g->layers[0].after_activation);
    assert_null(g->license);
    assert_true(model_file_bytes(m) == size);
    assert_int_equal(model_check_unchanged(m, &err), DERMIS_OK);
    model_close(m);
    base_free(data);
}

static void test_header(void **state)
{
    (void)state;
    valid();
    magic = 0x46554748, BAD("neither GGUF, nor a Keras model");
    version = 2, BAD("GGUF version 2; version 3 can be read");
    version = 0x03000000, BAD("GGUF version"); /* big-endian */
    say_tensors = UINT64_MAX, BAD("header asks for too much");
    say_keys = (uint64_t)1 << 40, BAD("header asks for too much");
    say_keys = 1000, BAD("runs past the end, or has an unknown type");
    say_tensors = 200000, BAD("a tensor's description is cut short");
    set_u32("dermis.format_version", U32, 2), BAD("format version 2; this program reads version 1");
    set_text("general.architecture", "llama"), BAD("architecture llama, not dermis");
    drop("general.architecture"), BAD("architecture (none), not dermis");
    set_u32("general.alignment", U32, 32), BAD("an alignment of 32 where 64 belongs");
    set_u32("other.key", 13, 1), BAD("unknown type");
    set_u32("other.key", 0xffffffff, 1), BAD("unknown type");
    set_array("other.key", ARRAY, 1), BAD("unknown type");
    set_array("other.key", U8, UINT64_MAX), BAD("runs past the end");
    set_array("other.key", U64, (uint64_t)1 << 61), BAD("runs past the end");
    set_array("other.key", STRING, UINT64_MAX), BAD("runs past the end");
    /* keys that are not ours are passed over */
    size_t size;
    model *m;
    set_text("general.url", "x");
    uint8_t *data = file(&size);
    assert_int_equal(model_open_memory(data, size, &m, NULL), DERMIS_OK);
    model_close(m);
    base_free(data);
    valid();
    snprintf(entries[1].key, sizeof entries[1].key, "dermis.classes");
    BAD("the key dermis.classes stands there twice");
}

/* Every key: absent where it must not be, and of every wrong type. */
static void test_keys(void **state)
{
    (void)state;
    static const struct {
        const char *key;
        bool required;
    } keys[] = {{"general.architecture", false}, {"general.alignment", true},
                {"general.name", false}, {"general.license", false},
                {"dermis.format_version", true}, {"dermis.source", false},
                {"dermis.source_sha256", false}, {"dermis.preprocess", false},
                {"dermis.classes", false}, {"dermis.class_card", false}, {"dermis.warnings", false},
                {"dermis.graph.op", true}, {"dermis.graph.name", true},
                {"dermis.graph.input_count", true}, {"dermis.graph.inputs", true},
                {"dermis.graph.ints", true}, {"dermis.graph.floats", false},
                {"dermis.layers.name", false}, {"dermis.layers.node", true},
                {"dermis.layers.after_activation", true}, {"dermis.cam.layer", true}};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        char missing[96];
        valid();
        snprintf(missing, sizeof missing, "the key %s is missing", keys[i].key);
        if (keys[i].required)
            drop(keys[i].key), BAD(missing);
        bytes *b = set(keys[i].key);
        put_u32(b, U64);
        put_u64(b, 7);
        BAD(keys[i].key);
        put_u64(set_array(keys[i].key, U64, 1), 7);
        BAD(keys[i].key);
        put_text(set_array(keys[i].key, ARRAY, 1), "");
        BAD("unknown type");
    }
}

static void test_texts(void **state)
{
    (void)state;
    char *longer = malloc(MODEL_MAX_TEXT + 2);
    memset(longer, 'x', MODEL_MAX_TEXT + 1);
    longer[MODEL_MAX_TEXT + 1] = 0;
    valid();
    set_text("dermis.class_card", longer), BAD("holds a text of more than 1048576 bytes");
    longer[MODEL_MAX_NAME + 1] = 0;
    set_text("general.name", longer), BAD("the key general.name holds a text of more than 1024 bytes");
    set_texts("dermis.classes", 2, (const char *[]){"a", longer});
    BAD("the key dermis.classes holds a text of more than 1024");
    set_texts("dermis.warnings", 1, (const char *const *)&longer);
    BAD("the key dermis.warnings holds a text of more than 1024");
    set_texts("dermis.layers.name", 1, (const char *const *)&longer);
    BAD("the key dermis.layers.name holds a text of more than 1024");
    static const char *const wrong[] = {"\xff", "\xc0\x80", "\xc3", "\xed\xa0\x80", "\xf4\x90\x80\x80",
                                        "\xe0\x80\xaf", "a\x1b[2J", "a\nb", "\x7f", "\xc2\x9b"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        set_text("general.name", wrong[i]);
        BAD("the key general.name holds text that is not UTF-8, or control characters");
        set_texts("dermis.classes", 2, (const char *[]){wrong[i], "b"});
        BAD("the key dermis.classes holds text that is not");
        set_texts("dermis.warnings", 1, &wrong[i]);
        BAD("the key dermis.warnings holds text that is not");
        set_texts("dermis.graph.name", 5, (const char *[]){"a", "b", "c", "d", wrong[i]});
        BAD("the key dermis.graph.name holds text that is not");
        if (i < 6)
            set_text("dermis.class_card", wrong[i]), BAD("the key dermis.class_card holds text that is not");
    }
    bytes *b = set("general.name");
    put_u32(b, STRING);
    put_u64(b, 3);
    put(b, "a\0b", 3);
    BAD("the key general.name holds text that is not");
    for (int i = 0; i < 2; i++)
        snprintf(entries[i].key, sizeof entries[i].key, "\xff\x1b");
    BAD("the key ?? stands there twice");
    free(longer);
}

static void test_lists(void **state)
{
    (void)state;
    valid();
    set_texts("dermis.graph.op", 5, (const char *[]){"input", "conv", "lambda", "conv", "activation"});
    BAD("node 2 has an operator that this version does not know");
    set_texts("dermis.graph.op", 5, (const char *[]){"input", "conv", "", "conv", "activation"});
    BAD("node 2 has an operator");
    set_texts("dermis.graph.op", 4, ops), BAD("lists of nodes differ in length");
    set_texts("dermis.graph.name", 4, ops), BAD("lists of nodes differ in length");
    set_numbers("dermis.graph.input_count", U32, 4, inputs), BAD("lists of nodes differ in length");
    set_numbers("dermis.graph.inputs", U32, 3, inputs), BAD("dermis.graph.inputs ends early");
    set_numbers("dermis.graph.inputs", U32, 5, ints), BAD("longer than the nodes take");
    set_numbers("dermis.graph.input_count", U32, 5, (uint32_t[]){0, 1, UINT32_MAX, 1, 1});
    BAD("dermis.graph.inputs ends early");
    set_numbers("dermis.graph.ints", I32, 32, ints), BAD("dermis.graph.ints or .floats end early");
    set_numbers("dermis.graph.ints", I32, 34, ints), BAD("longer than the nodes take");
    set_numbers("dermis.graph.floats", F32, 8, ints), BAD("dermis.graph.ints or .floats end early");
    set_numbers("dermis.graph.floats", F32, 10, ints), BAD("longer than the nodes take");
    drop("dermis.graph.floats"), BAD("dermis.graph.ints or .floats end early");
    set_numbers("dermis.layers.node", U32, 0, ints), BAD("lists of layers differ in length");
    set_numbers("dermis.layers.node", U32, 1, (uint32_t[]){5}), BAD("layer 0 (conv) names node 5 of 5");
    set_numbers("dermis.layers.node", U32, 1, (uint32_t[]){0}), BAD("layer 0 (conv) names node 0 of 5");
    set_u32("dermis.cam.layer", I32, 1), BAD("the explained layer is 1 of 1");
    set_u32("dermis.cam.layer", I32, (uint32_t)-2), BAD("the explained layer is -2 of 1");
    set_texts("dermis.classes", 3, (const char *[]){"a", "b", "c"}), BAD("3 class names for 2 answers");
    const char *many[MODEL_MAX_WARNINGS + 1];
    for (size_t i = 0; i < sizeof many / sizeof *many; i++)
        many[i] = "w";
    set_texts("dermis.warnings", sizeof many / sizeof *many, many), BAD("dermis.warnings has 17 texts; at most 16");
}

static void at(size_t index, int32_t value)
{
    ints[index] = value;
    set_numbers("dermis.graph.ints", I32, 33, ints);
}

static void test_graph(void **state)
{
    (void)state;
    valid();
    set_numbers("dermis.graph.inputs", U32, 4, (uint32_t[]){0, 2, 2, 3}); /* a cycle of one */
    BAD("node 2 (global_pool, global_pool): input 0 is node 2, which does not stand before it");
    set_numbers("dermis.graph.inputs", U32, 4, (uint32_t[]){3, 1, 2, 3}); /* a longer one */
    BAD("node 1 (conv, conv): input 0 is node 3, which does not stand before it");
    set_numbers("dermis.graph.inputs", U32, 4, (uint32_t[]){0, 1, 2, UINT32_MAX});
    BAD("input 0 is node 4294967295, which");
    set_numbers("dermis.graph.input_count", U32, 5, (uint32_t[]){0, 1, 0, 2, 1});
    BAD("node 2 (global_pool, global_pool): 0 inputs where 1 to 1 belong");
    set_numbers("dermis.graph.input_count", U32, 5, (uint32_t[]){1, 1, 1, 1, 0});
    BAD("node 0 (input, input): 1 inputs where 0 to 0 belong");
    at(16, 1), BAD("node 1 (conv, conv): 1 inputs where 2 to 2 belong"); /* a residual that is not there */
    static const struct {
        size_t index;
        int32_t value;
        const char *text;
    } wrong[] = {{0, 0, "attribute h = 0 is outside"},
                 {1, -1, "attribute w = -1 is outside"},
                 {0, INT32_MAX, "attribute h"},
                 {3, 0, "attribute kernel_h = 0"},
                 {3, 4097, "attribute kernel_h = 4097"},
                 {5, 0, "attribute stride_h = 0"},
                 {7, 0, "attribute dilation_h = 0"},
                 {9, -1, "attribute pad_top = -1"},
                 {13, 0, "attribute groups = 0"},
                 {13, 2, "3 input and 2 output channels do not divide into 2 groups"},
                 {14, 0, "attribute out_c = 0"},
                 {15, 25, "attribute activation = 25"}, /* softmax cannot be fused */
                 {16, 3, "attribute residual = 3"},
                 {17, 2, "attribute kind = 2"},
                 {32, 28, "attribute kind = 28"},
                 {3, 7, "the kernel is larger than its padded input of 4 x 5"},
                 {7, 100, "the kernel is larger than its padded input"},
                 {14, 20, "node 1 (conv, conv): its weight has 1728 bytes where 3456 belong"},
                 {3, 2, "its weight has 1728 bytes where 1152 belong"},
                 {14, 1 << 24, "an output of 4 x 5 x 16777216 is past the limit"},
                 {14, 1 << 20, "its weight has 1728 bytes where 113246208 belong"},
                 {0, 1 << 24, "is past the limit of 268435456 elements"}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        at(wrong[i].index, wrong[i].value);
        if (wrong[i].value == 1 << 24 && wrong[i].index == 0)
            at(1, 1 << 24);
        BAD(wrong[i].text);
    }
    for (int i = 0; i < 9; i++) {
        float floats[9] = {0};
        floats[i] = __builtin_nanf("");
        set_numbers("dermis.graph.floats", F32, 9, floats), BAD("is not a number");
    }
    set_texts("dermis.graph.op", 5, (const char *[]){"affine", "conv", "global_pool", "conv", "activation"});
    set_numbers("dermis.graph.ints", I32, 30, ints + 3), BAD("node 0 (input, affine): 0 inputs");
    /* no photograph, no classifier */
    at(2, 4);
    tensors[0].extent[1] = 36, data_bytes += 576;
    for (int i = 1; i < 4; i++)
        tensors[i].offset += 576;
    refuse(DERMIS_E_MODEL_UNSUPPORTED, "an input of 4 channels; a photograph has 3");
}

static void test_tensors(void **state)
{
    (void)state;
    valid();
    tensors[1].dims = 5, BAD("a tensor's description is cut short");
    tensors[1].dims = UINT32_MAX, BAD("a tensor's description is cut short");
    static const char *const names[] = {"", "node.1", "node.5.bias", "node.1.biased", "node.-1.bias", "node.+1.bias",
                                        "node.01.bias", "node. 1.bias", "node.4294967297.bias", "Node.1.bias",
                                        "node.1.bias ", "node.1.bias\x01"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        snprintf(tensors[1].name, sizeof tensors[1].name, "%s", names[i]), BAD("has a name that belongs nowhere");
    snprintf(tensors[2].name, sizeof tensors[2].name, "node.1.bias");
    BAD("the tensor node.1.bias stands there twice");
    snprintf(tensors[1].name, sizeof tensors[1].name, "node.1.scale");
    BAD("node 1 (conv, conv): a scale does not belong here");
    snprintf(tensors[1].name, sizeof tensors[1].name, "node.2.weight");
    BAD("node 2 (global_pool, global_pool): a weight does not belong here");
    snprintf(tensors[3].name, sizeof tensors[3].name, "node.3.bias");
    BAD("node 3 (conv, conv): its weight is missing");
    tensors[1].type = 2, BAD("the tensor node.1.bias is cut short or of a type other than F32 and F16");
    tensors[1].type = 1, tensors[1].extent[0] = 32, BAD("node 1 (conv, conv): its bias has 64 bytes where 32 belong");
    tensors[1].type = 1, BAD("its bias must be float32");
    tensors[0].extent[0] = 0, BAD("the tensor node.1.weight is misplaced, overlaps another or is too large");
    tensors[0].extent[0] = (uint64_t)1 << 62, BAD("is misplaced, overlaps another or is too large");
    tensors[0].extent[0] = 17, BAD("the tensor node.1.bias is misplaced, overlaps"); /* the next one */
    tensors[2].offset = tensors[1].offset, BAD("the tensor node.1.shift is misplaced, overlaps another");
    tensors[2].offset = 0, BAD("the tensor node.1.shift is misplaced, overlaps another");
    tensors[2].offset += 4, BAD("the tensor node.1.shift is misplaced");
    tensors[3].offset += 64, BAD("the tensor node.3.weight runs past the end: the file is cut short");
    tensors[3].offset = (uint64_t)1 << 40, BAD("the tensor node.3.weight is misplaced");
    tensors[3].offset = UINT64_MAX & ~(uint64_t)63, BAD("the tensor node.3.weight is misplaced");
    tensors[3].extent[1] = 3, data_bytes += 64, BAD("node 3 (conv, conv): its weight has 96 bytes where 64 belong");
}

static void test_truncated(void **state)
{
    (void)state;
    size_t size;
    valid();
    uint8_t *data = file(&size);
    for (size_t n = 0; n < size; n++) {
        uint8_t *cut = base_alloc(BASE_TAG_BASE, n + (n == 0)); /* of that length: the sanitizer sees a step past it */
        if (n)
            memcpy(cut, data, n);
        refuse_bytes(cut, n, DERMIS_E_MODEL_INVALID, "not a valid model: ");
        base_free(cut);
    }
    /* each byte of the head changed: opened or refused, with a text, and never worse */
    for (size_t n = 0; n < size - data_bytes; n++)
        for (int k = 0; k < 3; k++) {
            uint8_t kept = data[n];
            data[n] = (uint8_t[]){0xff, 0, kept ^ 0x11}[k];
            model *m = NULL;
            dermis_error err = {0};
            dermis_status status = model_open_memory(data, size, &m, &err);
            assert_true(status == DERMIS_OK ? m != NULL : !m && err.status == status && err.text[0]);
            model_close(m);
            data[n] = kept;
        }
    base_free(data);
}

/* A graph of `count` nodes: an input and activations. */
static void chain(uint32_t count)
{
    valid();
    tensor_count = data_bytes = 0;
    drop("dermis.classes"), drop("dermis.layers.name");
    bytes *op = set_array("dermis.graph.op", STRING, count);
    for (uint32_t i = 0; i < count; i++)
        put_text(op, i ? "affine" : "input");
    bytes *name = set_array("dermis.graph.name", STRING, count);
    for (uint32_t i = 0; i < count; i++)
        put_text(name, "");
    bytes *one = set_array("dermis.graph.input_count", U32, count);
    for (uint32_t i = 0; i < count; i++)
        put_u32(one, i > 0);
    bytes *in = set_array("dermis.graph.inputs", U32, count - 1);
    for (uint32_t i = 1; i < count; i++)
        put_u32(in, i - 1);
    set_numbers("dermis.graph.ints", I32, 3, ints);
    drop("dermis.graph.floats");
    set_u32("dermis.cam.layer", I32, UINT32_MAX);
}

static void test_counts(void **state)
{
    (void)state;
    size_t size;
    model *m;
    dermis_error err;
    chain(MODEL_MAX_NODES);
    uint8_t *data = file(&size);
    if (model_open_memory(data, size, &m, &err))
        fail_msg("%s", err.text);
    assert_int_equal(model_get_graph(m)->node_count, MODEL_MAX_NODES);
    model_close(m);
    base_free(data);
    chain(MODEL_MAX_NODES + 1), BAD("lists of nodes differ in length, or are too long");
    chain(1), BAD("a graph of 1 nodes; 2 to 65536 are possible");
    chain(2), ints[0] = 512, ints[1] = 512, set_numbers("dermis.graph.ints", I32, 3, ints);
    refuse(DERMIS_E_MODEL_UNSUPPORTED, "786432 answers; a classifier has at most 65536");
}

/* Each allocation of opening fails once. */
static void test_out_of_memory(void **state)
{
    (void)state;
    size_t size;
    valid();
    uint8_t *data = file(&size);
    base_memory before, after;
    base_memory_read(&before);
    for (uint64_t n = 1;; n++) {
        model *m = NULL;
        dermis_error err = {0};
        base_memory_fail_at(n);
        dermis_status status = model_open_memory(data, size, &m, &err);
        base_memory_fail_at(0);
        assert_true(status == DERMIS_OK || (status == DERMIS_E_MEMORY && !m && strstr(err.text, "memory")));
        model_close(m);
        base_memory_read(&after);
        assert_true(after.live_total == before.live_total);
        if (status == DERMIS_OK) {
            assert_true(n > 8);
            break;
        }
    }
    base_free(data);
}

/* ---- files ---- */

static void write_file(const void *data, size_t size)
{
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_true(fwrite(data, 1, size, f) == size);
    fclose(f);
}

static void same_graph(const model_graph *a, const model_graph *b)
{
    assert_int_equal(a->node_count, b->node_count);
    for (uint32_t i = 0; i < a->node_count; i++) {
        const model_node *x = &a->nodes[i], *y = &b->nodes[i];
        assert_true(x->op == y->op && x->input_count == y->input_count);
        assert_string_equal(x->name, y->name);
        if (x->input_count)
            assert_memory_equal(x->inputs, y->inputs, x->input_count * 4);
        assert_memory_equal(&x->at, &y->at, sizeof x->at);
        for (int r = 0; r < MODEL_ROLE_COUNT; r++) {
            assert_true(x->tensors[r].bytes == y->tensors[r].bytes && x->tensors[r].type == y->tensors[r].type);
            assert_true(!x->tensors[r].data == !y->tensors[r].data);
            if (x->tensors[r].data)
                assert_memory_equal(x->tensors[r].data, y->tensors[r].data, x->tensors[r].bytes);
        }
    }
    assert_true(a->layer_count == b->layer_count && a->cam_layer == b->cam_layer && a->class_count == b->class_count);
    for (uint32_t i = 0; i < a->layer_count; i++) {
        assert_string_equal(a->layers[i].name, b->layers[i].name);
        assert_true(a->layers[i].node == b->layers[i].node &&
                    a->layers[i].after_activation == b->layers[i].after_activation);
    }
    for (uint32_t i = 0; i < a->class_count; i++)
        assert_string_equal(a->classes[i], b->classes[i]);
    assert_int_equal(a->warning_count, b->warning_count);
    for (uint32_t i = 0; i < a->warning_count; i++)
        assert_string_equal(a->warnings[i], b->warnings[i]);
    const char *const x[] = {a->name, a->source, a->license, a->preprocess, a->class_card, a->source_sha256};
    const char *const y[] = {b->name, b->source, b->license, b->preprocess, b->class_card, b->source_sha256};
    for (int i = 0; i < 6; i++) {
        assert_true(!x[i] == !y[i]);
        if (x[i])
            assert_string_equal(x[i], y[i]);
    }
}

static void test_round_trip(void **state)
{
    (void)state;
    size_t size;
    model *m, *again;
    dermis_error err;
    valid();
    set_text("dermis.class_card", "{\n\"a\": \"\xe1\xba\xbf\"}");
    set_text("dermis.source", "x.keras, Keras 3.8.0");
    set_text("dermis.source_sha256", "00ff");
    set_texts("dermis.warnings", 2, (const char *[]){"first", "second"});
    set_text("dermis.preprocess", "0..1");
    set_text("general.license", "CC0-1.0");
    uint8_t *data = file(&size);
    assert_int_equal(model_open_memory(data, size, &m, &err), DERMIS_OK);
    assert_int_equal(model_write(model_get_graph(m), path, &err), DERMIS_OK);
    if (model_open(path, &again, &err))
        fail_msg("%s", err.text);
    same_graph(model_get_graph(m), model_get_graph(again));
    /* and what has been read is written as the same bytes */
    uint8_t *first, *second;
    size_t n, k;
    assert_int_equal(base_file_read(path, 1 << 20, BASE_TAG_BASE, &first, &n, &err), DERMIS_OK);
    assert_int_equal(model_write(model_get_graph(again), path, &err), DERMIS_OK); /* over its own file */
    assert_int_equal(base_file_read(path, 1 << 20, BASE_TAG_BASE, &second, &k, &err), DERMIS_OK);
    assert_int_equal(n, k);
    assert_memory_equal(first, second, n);
    base_free(first);
    base_free(second);
    model_close(again);
    model_close(m);
    base_free(data);
}

/* What could not be read again is not written, and what stands there stays. */
static void test_write_refused(void **state)
{
    (void)state;
    size_t size;
    model *m;
    dermis_error err;
    valid();
    uint8_t *data = file(&size);
    assert_int_equal(model_open_memory(data, size, &m, &err), DERMIS_OK);
    write_file("kept", 4);
    char *longer = calloc(MODEL_MAX_TEXT + 2, 1);
    memset(longer, 'x', MODEL_MAX_TEXT + 1);
    for (int i = 0; i < 9; i++) {
        model_graph g = *model_get_graph(m);
        model_node nodes[5];
        memcpy(nodes, g.nodes, sizeof nodes);
        model_layer layer = g.layers[0];
        const char *classes[] = {"a", "\x80"};
        static const char *const what[] = {"the model's name", "the licence", "the source", "the preprocessing",
                                           "the class card", "a node's name", "a layer's name", "a class's name",
                                           "a warning"};
        g.nodes = nodes;
        g.layers = &layer;
        if (i == 0) g.name = "\x1b[0m";
        if (i == 1) g.license = longer;
        if (i == 2) g.source = "anh \xe1\xba";
        if (i == 3) g.preprocess = "\n";
        if (i == 4) g.class_card = longer;
        if (i == 5) nodes[2].name = longer;
        if (i == 6) layer.name = "\xc2\x85";
        if (i == 7) g.classes = classes;
        if (i == 8) g.warnings = classes, g.warning_count = 2;
        assert_int_equal(model_write(&g, path, &err), DERMIS_E_MODEL_INVALID);
        if (!strstr(err.text, what[i]))
            fail_msg("\"%s\" does not name %s", err.text, what[i]);
    }
    uint8_t *kept;
    size_t n;
    assert_int_equal(base_file_read(path, 100, BASE_TAG_BASE, &kept, &n, &err), DERMIS_OK);
    assert_true(n == 4 && memcmp(kept, "kept", 4) == 0);
    base_free(kept);
    free(longer);
    assert_int_equal(model_write(model_get_graph(m), "/nonexistent/x.gguf", &err), DERMIS_E_NOT_FOUND);
    model_close(m);
    base_free(data);
}

static void test_files(void **state)
{
    (void)state;
    size_t size;
    model *m = NULL;
    dermis_error err;
    valid();
    uint8_t *data = file(&size);
    write_file(data, 0);
    assert_int_equal(model_open(path, &m, &err), DERMIS_E_MODEL_INVALID);
    assert_non_null(strstr(err.text, "the file is empty"));
    write_file(data, size - 1);
    assert_int_equal(model_open(path, &m, &err), DERMIS_E_MODEL_INVALID);
    assert_non_null(strstr(err.text, path)); /* and which file */
    assert_non_null(strstr(err.text, "node.3.weight runs past the end: the file is cut short"));
    assert_int_equal(model_open(folder, &m, &err), DERMIS_E_IO);
    assert_non_null(strstr(err.text, "not a regular file"));
    assert_int_equal(model_open("/nonexistent.gguf", &m, &err), DERMIS_E_NOT_FOUND);
    assert_null(m);

    write_file(data, size);
    assert_int_equal(model_open(path, &m, &err), DERMIS_OK);
    char other[80];
    snprintf(other, sizeof other, "%s.new", path);
    assert_int_equal(rename(path, other), 0); /* another renamed into place: the mapped one is whole */
    write_file(data, 10);
    assert_int_equal(model_check_unchanged(m, &err), DERMIS_OK);
    unlink(other);
    assert_int_equal(model_check_unchanged(m, &err), DERMIS_OK);
    model_close(m);

    write_file(data, size);
    assert_int_equal(model_open(path, &m, &err), DERMIS_OK);
    assert_int_equal(truncate(path, 64), 0);
    assert_int_equal(model_check_unchanged(m, &err), DERMIS_E_MODEL_CHANGED);
    assert_non_null(strstr(err.text, "written to while in use"));
    model_close(m);
    base_free(data);
}

/* Weights of a file that is cut while they are read: a line and an exit code, not a crash. */
static void test_cut_while_read(void **state)
{
    (void)state;
    size_t size;
    model *m;
    dermis_error err;
    valid();
    size_t more = (size_t)1 << 16; /* the page that is cut away is not the last one that stays */
    data_bytes += more;
    for (int i = 0; i < 4; i++)
        tensors[i].offset += more;
    uint8_t *data = file(&size);
    write_file(data, size);
    base_free(data);
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    if (child == 0) {
        dup2(ends[1], STDERR_FILENO);
        base_map_guard_install();
        if (model_open(path, &m, &err) || truncate(path, 4096))
            _exit(1);
        const volatile uint8_t *w = model_get_graph(m)->nodes[3].tensors[MODEL_WEIGHT].data;
        _exit(w[0] == 0 ? 2 : 3);
    }
    close(ends[1]);
    char text[256] = "";
    ssize_t n = read(ends[0], text, sizeof text - 1);
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(n > 0);
    close(ends[0]);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), base_status_exit(DERMIS_E_MODEL_CHANGED));
    assert_non_null(strstr(text, "cut short while in use"));
}

static int finish(void **state)
{
    (void)state;
    while (entry_count)
        drop(entries[0].key);
    return 0;
}

int main(void)
{
    if (!mkdtemp(folder))
        return 2;
    snprintf(path, sizeof path, "%s/m.gguf", folder);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_valid),      cmocka_unit_test(test_header),
        cmocka_unit_test(test_keys),       cmocka_unit_test(test_texts),
        cmocka_unit_test(test_lists),      cmocka_unit_test(test_graph),
        cmocka_unit_test(test_tensors),    cmocka_unit_test(test_truncated),
        cmocka_unit_test(test_counts),     cmocka_unit_test(test_out_of_memory),
        cmocka_unit_test(test_round_trip), cmocka_unit_test(test_write_refused),
        cmocka_unit_test(test_files),      cmocka_unit_test(test_cut_while_read),
    };
    int failed = cmocka_run_group_tests(tests, NULL, finish);
    unlink(path);
    rmdir(folder);
    return failed;
}
