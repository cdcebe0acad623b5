/* test_import.c - Keras files of tests/golden/import (golden/make_bad_models.py wrote them): good
 * ones become the model that their numbers say, each wrong one gives its own error and leaves no
 * output behind. Whole networks against Keras are in the golden tests. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "import/codes.h"
#include "import/import.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *folder;
static char out_path[64];
static char warned[512];

static void keep_warning(void *context, const char *text)
{
    (void)context;
    snprintf(warned, sizeof warned, "%s", text);
}

static dermis_status convert(const char *name, import_options o, dermis_error *err)
{
    char path[1024];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    o.in = path;
    o.out = out_path;
    o.warn = keep_warning;
    warned[0] = 0;
    unlink(out_path);
    return import_run(&o, NULL, err);
}

static void check_wrong(const char *name, import_options o, dermis_status want, const char *text)
{
    dermis_error err = {0};
    dermis_status got = convert(name, o, &err);
    if (got != want || !strstr(err.text, text))
        fail_msg("%s: status %s, text \"%s\"; wanted %s and \"%s\"", name, base_status_name(got),
                 err.text, base_status_name(want), text);
    assert_int_equal(err.status, want);
    assert_int_not_equal(access(out_path, F_OK), 0);
}

/* ---- good files ---- */

static model *open_good(const char *name, import_options o)
{
    dermis_error err = {0};
    model *m;
    if (convert(name, o, &err) != DERMIS_OK)
        fail_msg("%s: %s", name, err.text);
    if (model_open(out_path, &m, &err) != DERMIS_OK)
        fail_msg("%s: its model file: %s", name, err.text);
    return m;
}

static const model_node *find(const model_graph *g, const char *name)
{
    for (uint32_t i = 0; i < g->node_count; i++)
        if (!strcmp(g->nodes[i].name, name))
            return &g->nodes[i];
    fail_msg("no node '%s'", name);
    return NULL;
}

/* Convolution with its normalisation folded: s = gamma / sqrt(variance) = 1, 6;
 * t = beta - mean s = -0.75, 6.75; W' = W s, b' = b s + t. */
static void check_folded(const model_graph *g)
{
    const model_node *conv = find(g, "conv");
    const float *w = conv->tensors[MODEL_WEIGHT].data, *b = conv->tensors[MODEL_BIAS].data;
    const float *t = conv->tensors[MODEL_SHIFT].data;
    static const float want_w[3][2] = {{1, 12}, {3, 24}, {5, 36}};
    assert_int_equal(conv->op, MODEL_CONV);
    for (int k = 0; k < 3; k++)
        for (int lane = 0; lane < 16; lane++)
            assert_float_equal(w[k * 16 + lane], lane < 2 ? want_w[k][lane] : 0, 1e-6);
    assert_float_equal(b[0], 0.5 - 0.75, 1e-6);
    assert_float_equal(b[1], -3 + 6.75, 1e-6);
    assert_float_equal(t[0], -0.75, 1e-6);
    assert_float_equal(t[1], 6.75, 1e-6);
    assert_int_equal(conv->at.conv.activation, 1); /* the ReLU behind it */
    assert_int_equal(g->layer_count, 1);
    assert_string_equal(g->layers[0].name, "conv");
    assert_false(g->layers[0].after_activation);
    assert_int_equal(g->cam_layer, 0);
    /* input, affine, convolution, pool, dense, softmax: nothing else is left */
    assert_int_equal(g->node_count, 6);
    assert_int_equal(g->nodes[5].op, MODEL_ACTIVATION);
}

static void test_good(void **state)
{
    static const char *const names[] = {"good.keras", "good.h5", "good_hdf5.keras", "half.keras"};
    (void)state;
    for (size_t i = 0; i < 4; i++) {
        model *m = open_good(names[i], (import_options){0});
        check_folded(model_get_graph(m));
        model_close(m);
    }
}

/* Scores without a last activation become probabilities, unless they are wanted as they are. */
static void test_answers(void **state)
{
    static const struct {
        const char *name;
        import_answer answer;
        int32_t kind; /* of the last activation; -1: none */
    } tries[] = {
        {"scores.keras", IMPORT_ANSWER_AUTO, CODE_ACT_SOFTMAX},     {"scores.keras", IMPORT_ANSWER_SOFTMAX, CODE_ACT_SOFTMAX},
        {"scores.keras", IMPORT_ANSWER_SIGMOID, CODE_ACT_SIGMOID},  {"scores.keras", IMPORT_ANSWER_AS_IS, -1},
        {"score.keras", IMPORT_ANSWER_AUTO, CODE_ACT_SIGMOID},      {"score.keras", IMPORT_ANSWER_AS_IS, -1},
        {"good.keras", IMPORT_ANSWER_AS_IS, CODE_ACT_SOFTMAX},
    };
    (void)state;
    for (size_t i = 0; i < sizeof tries / sizeof *tries; i++) {
        model *m = open_good(tries[i].name, (import_options){.answer = tries[i].answer});
        const model_graph *g = model_get_graph(m);
        const model_node *last = &g->nodes[g->node_count - 1];
        if (tries[i].kind < 0) {
            assert_int_equal(last->op, MODEL_CONV);
        } else {
            assert_int_equal(last->op, MODEL_ACTIVATION);
            assert_int_equal(last->at.activation.kind, tries[i].kind);
            assert_int_equal(g->node_count, 6);
        }
        model_close(m);
    }
    check_wrong("good.keras", (import_options){.answer = IMPORT_ANSWER_SIGMOID}, DERMIS_E_USAGE, "has an activation already");
}

static void test_options(void **state)
{
    (void)state;
    model *m = open_good(
        "good.keras",
        (import_options){.classes = "acne, eczema", .name = "mine", .license = "CC0-1.0"});
    const model_graph *g = model_get_graph(m);
    assert_int_equal(g->class_count, 2);
    assert_string_equal(g->classes[1], "eczema");
    assert_string_equal(g->name, "mine");
    assert_string_equal(g->license, "CC0-1.0");
    assert_int_equal(strlen(g->source_sha256), 64);
    model_close(m);

    char card[1024];
    snprintf(card, sizeof card, "%s/card.json", folder);
    m = open_good("good.keras", (import_options){.classes = card, .type = MODEL_F16});
    g = model_get_graph(m);
    assert_string_equal(g->classes[0], "A");
    assert_string_equal(g->classes[1], "second");
    assert_non_null(strstr(g->class_card, "urgency"));
    assert_int_equal(find(g, "conv")->tensors[MODEL_WEIGHT].type, MODEL_F16);
    assert_int_equal(find(g, "conv")->tensors[MODEL_BIAS].type, MODEL_F32);
    model_close(m);

    /* a list of objects keeps what it says, as a card does */
    char list[] = "/tmp/dermis_classes_XXXXXX";
    int fd = mkstemp(list);
    static const char objects[] = "[{\"code\": \"A\", \"name\": {\"en\": \"first\"}}, {\"name\": \"second\"}]";
    assert_true(fd >= 0 && write(fd, objects, sizeof objects - 1) == (ssize_t)sizeof objects - 1);
    close(fd);
    m = open_good("good.keras", (import_options){.classes = list});
    g = model_get_graph(m);
    assert_string_equal(g->classes[0], "A");
    assert_string_equal(g->classes[1], "second");
    assert_string_equal(g->class_card, "{\"classes\":[{\"code\":\"A\",\"name\":{\"en\":\"first\"}},{\"name\":\"second\"}]}");
    model_close(m);
    unlink(list);

    m = open_good("free_size.keras", (import_options){.input_h = 10, .input_w = 12});
    g = model_get_graph(m);
    assert_int_equal(g->nodes[0].out.h, 10);
    assert_int_equal(g->nodes[0].out.w, 12);
    model_close(m);

    m = open_good("no_scaling.keras", (import_options){.preprocess = "caffe"});
    g = model_get_graph(m);
    assert_int_equal(g->nodes[1].op, MODEL_SLICE);
    assert_int_equal(g->nodes[2].op, MODEL_AFFINE);
    assert_float_equal(((const float *)g->nodes[2].tensors[MODEL_SHIFT].data)[0], -103.939, 1e-4);
    assert_string_equal(g->preprocess, "caffe");
    assert_string_equal(warned, "");
    model_close(m);
}

static void test_warning(void **state)
{
    (void)state;
    model_close(open_good("good.keras", (import_options){0}));
    assert_string_equal(warned, "");
    model *m = open_good("no_scaling.keras", (import_options){0});
    assert_non_null(strstr(warned, "`dermis convert IN OUT.gguf --preprocess 0..1`"));
    assert_int_equal(model_get_graph(m)->warning_count, 1); /* and whoever uses the file later knows it */
    assert_string_equal(model_get_graph(m)->warnings[0], warned);
    model_close(m);
    m = open_good("no_scaling.keras", (import_options){.preprocess = "none"}); /* said, so known */
    assert_string_equal(warned, "");
    assert_int_equal(model_get_graph(m)->warning_count, 0);
    model_close(m);
}

/* ---- wrong files ---- */

static void test_wrong(void **state)
{
    static const struct {
        const char *name;
        dermis_status status;
        const char *text;
    } list[] = {
        {"nowhere.keras", DERMIS_E_NOT_FOUND, "nowhere.keras"},
        {"text.keras", DERMIS_E_MODEL_INVALID, "neither a zip (.keras) nor HDF5 (.h5)"},
        {"empty.keras", DERMIS_E_MODEL_INVALID, "neither a zip"},
        {"truncated.keras", DERMIS_E_MODEL_INVALID, "truncated"},
        {"truncated.h5", DERMIS_E_MODEL_INVALID, "truncated"},
        {"damaged.keras", DERMIS_E_MODEL_INVALID, "damaged"},
        {"no_config.keras", DERMIS_E_MODEL_INVALID, "config.json"},
        {"bad_json.keras", DERMIS_E_MODEL_INVALID, "not valid JSON"},
        {"deep_json.keras", DERMIS_E_MODEL_INVALID, "depth"},
        {"not_hdf5.keras", DERMIS_E_MODEL_INVALID, "no HDF5"},
        {"nan.keras", DERMIS_E_MODEL_INVALID, "'conv' (Conv2D), weight 'kernel': element 0 is NaN"},
        {"infinite.keras", DERMIS_E_MODEL_INVALID, "is infinite"},
        {"integers.keras", DERMIS_E_MODEL_INVALID, "not of type"},
        {"shape.keras", DERMIS_E_MODEL_INVALID, "the file has 12 elements"},
        {"filters.keras", DERMIS_E_MODEL_INVALID, "the file has 6 elements"},
        {"terabytes.keras", DERMIS_E_MODEL_INVALID, "past the limit"},
        {"negative.keras", DERMIS_E_MODEL_INVALID, "'filters'"},
        {"wrong_type.keras", DERMIS_E_MODEL_INVALID, "'filters'"},
        {"missing.keras", DERMIS_E_MODEL_INVALID, "not in the file"},
        {"external.keras", DERMIS_E_MODEL_INVALID, "another file"},
        {"virtual.keras", DERMIS_E_MODEL_INVALID, "virtual"},
        {"soft_link.keras", DERMIS_E_MODEL_INVALID, "link"},
        {"external_link.keras", DERMIS_E_MODEL_INVALID, "link"},
        {"filter.keras", DERMIS_E_MODEL_INVALID, "filter"},
        {"group.keras", DERMIS_E_MODEL_INVALID, "not an array"},
        {"variance.keras", DERMIS_E_MODEL_INVALID, "'bn'"},
        {"cycle.keras", DERMIS_E_MODEL_INVALID, "cycle"},
        {"unknown_input.keras", DERMIS_E_MODEL_INVALID, "'conv'"},
        {"channels_first.keras", DERMIS_E_MODEL_UNSUPPORTED, "channels_last"},
        {"lambda.keras", DERMIS_E_MODEL_UNSUPPORTED, "'odd' (Lambda)"},
        {"custom.keras", DERMIS_E_MODEL_UNSUPPORTED, "'odd' (MyAttention)"},
        {"lstm.keras", DERMIS_E_MODEL_UNSUPPORTED, "recurrent"},
        {"activation.keras", DERMIS_E_MODEL_UNSUPPORTED, "my_activation"},
        {"subclass.keras", DERMIS_E_MODEL_UNSUPPORTED, "MyModel"},
        {"two_inputs.keras", DERMIS_E_MODEL_UNSUPPORTED, "2 inputs"},
        {"two_outputs.keras", DERMIS_E_MODEL_UNSUPPORTED, "2 outputs"},
        {"free_size.keras", DERMIS_E_MODEL_UNSUPPORTED, "--input-size"},
        {"vector_input.keras", DERMIS_E_MODEL_UNSUPPORTED, "2 axes"},
        {"deep_models.keras", DERMIS_E_MODEL_UNSUPPORTED, "nested"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof list / sizeof list[0]; i++)
        check_wrong(list[i].name, (import_options){0}, list[i].status, list[i].text);
}

static void test_wrong_options(void **state)
{
    (void)state;
    check_wrong("good.keras", (import_options){.classes = "a,b,c"}, DERMIS_E_USAGE, "3 names");
    check_wrong("good.keras", (import_options){.classes = "a,,b"}, DERMIS_E_USAGE, "empty");
    check_wrong("good.keras", (import_options){.classes = "a, a"}, DERMIS_E_USAGE, "'a' stands there twice");
    check_wrong("good.keras", (import_options){.classes = "nosuch.txt"}, DERMIS_E_NOT_FOUND, "nosuch.txt: no such file");
    check_wrong("good.keras", (import_options){.classes = "nosuch"}, DERMIS_E_NOT_FOUND, "nosuch: no such file");
    check_wrong("score.keras", (import_options){.classes = "nosuch.JSON"}, DERMIS_E_NOT_FOUND, "no such file");
    check_wrong("good.keras", (import_options){.preprocess = "zscore"}, DERMIS_E_USAGE, "caffe");
    check_wrong("good.keras", (import_options){.input_h = 9, .input_w = 9}, DERMIS_E_USAGE,
                "fixed at 8x8");
    check_wrong("good.keras", (import_options){.entry_limit_bytes = 100}, DERMIS_E_MODEL_INVALID,
                "limit");
    check_wrong("large.keras", (import_options){.type = MODEL_F16}, DERMIS_E_MODEL_UNSUPPORTED,
                "'conv'");
}

/* Every allocation of ours fails once: an error, nothing lost, nothing left behind. */
static void test_no_memory(void **state)
{
    static const char *const names[] = {"good.keras", "good.h5"};
    base_memory before, after;
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        base_memory_read(&before);
        dermis_status status = DERMIS_E_MEMORY;
        for (uint64_t n = 1; status != DERMIS_OK; n++) {
            dermis_error err = {0};
            base_memory_fail_at(n);
            status = convert(names[i], (import_options){.classes = "a,b"}, &err);
            base_memory_fail_at(0);
            if (status != DERMIS_OK && access(out_path, F_OK) == 0)
                fail_msg("%s: output left behind after allocation %llu failed", names[i],
                         (unsigned long long)n);
            assert_true(n < 10000);
        }
        base_memory_read(&after);
        assert_int_equal(before.live_total, after.live_total);
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),          cmocka_unit_test(test_answers),
        cmocka_unit_test(test_options),
        cmocka_unit_test(test_warning),       cmocka_unit_test(test_wrong),
        cmocka_unit_test(test_wrong_options), cmocka_unit_test(test_no_memory),
    };
    if (argc != 2)
        return 2;
    folder = argv[1];
    snprintf(out_path, sizeof out_path, "/tmp/dermis-test-import-%d.gguf", (int)getpid());
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    unlink(out_path);
    return failed;
}
