/* test_engine.c - the public face: answers, explanations, top, budgets, no allocation in a run, and
 * every allocation failing once. The model is written here: a 3x3 convolution, the mean, a dense
 * layer with one sigmoid or three softmax outputs. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "engine/dermis.h"
#include "kernels/kernels.h"
#include "model/model.h"

#define SIDE     8
#define FEATURES 4

static char folder[64] = "/tmp/dermis-engine-XXXXXX";
static char path[128];
static const char *photo_file; /* a JPEG of the source tree */

static float number(uint32_t *state)
{
    *state = *state * 1664525u + 1013904223u;
    return (float)(*state >> 8) / (1 << 24) - 0.5f;
}

static model_tensor vector(const float *values, uint32_t n)
{
    size_t bytes = model_block_vector_count(n, 1) * sizeof(float);
    float *out = base_alloc(BASE_TAG_MODEL, bytes);
    assert_non_null(out);
    model_block_vector_pack(values, n, 1, out);
    return (model_tensor){MODEL_F32, out, bytes};
}

static model_tensor weight(const float *values, uint32_t k, uint32_t in, uint32_t out_c)
{
    size_t bytes = model_conv_weight_count(k, k, in, out_c, 1) * sizeof(float);
    float *out = base_alloc(BASE_TAG_MODEL, bytes);
    assert_non_null(out);
    model_conv_pack(values, k, k, in, out_c, 1, out);
    return (model_tensor){MODEL_F32, out, bytes};
}

static void write_model(uint32_t outputs, const char **classes, uint32_t class_count)
{
    uint32_t from[] = {0, 1, 2, 3}, state = 7;
    float k[9 * 3 * FEATURES], d[FEATURES * 3], bias[FEATURES] = {0.1f, 0.2f, 0.3f, 0.4f};
    for (size_t i = 0; i < sizeof k / sizeof *k; i++)
        k[i] = number(&state) / 64;
    for (size_t i = 0; i < sizeof d / sizeof *d; i++)
        d[i] = number(&state);
    model_node n[5] = {{.op = MODEL_INPUT, .name = "input"},
                       {.op = MODEL_CONV, .name = "conv", .inputs = from, .input_count = 1},
                       {.op = MODEL_GLOBAL_POOL, .name = "mean", .inputs = from + 1, .input_count = 1},
                       {.op = MODEL_CONV, .name = "dense", .inputs = from + 2, .input_count = 1},
                       {.op = MODEL_ACTIVATION, .name = "answer", .inputs = from + 3, .input_count = 1}};
    n[0].at.input = (model_shape){SIDE, SIDE, 3};
    n[1].at.conv = (model_conv){.kernel_h = 3, .kernel_w = 3, .stride_h = 1, .stride_w = 1,
                                .dilation_h = 1, .dilation_w = 1, .pad_top = 1, .pad_left = 1,
                                .pad_bottom = 1, .pad_right = 1, .groups = 1, .out_c = FEATURES,
                                .activation = KERNELS_ACT_RELU,
                                .activation_p1 = INFINITY};
    n[1].tensors[MODEL_WEIGHT] = weight(k, 3, 3, FEATURES);
    n[1].tensors[MODEL_BIAS] = vector(bias, FEATURES);
    n[2].at.global_pool.kind = KERNELS_POOL_MEAN;
    n[3].at.conv = (model_conv){.kernel_h = 1, .kernel_w = 1, .stride_h = 1, .stride_w = 1,
                                .dilation_h = 1, .dilation_w = 1, .groups = 1,
                                .out_c = (int32_t)outputs};
    n[3].tensors[MODEL_WEIGHT] = weight(d, 1, FEATURES, outputs);
    n[4].at.activation.kind = outputs == 1 ? KERNELS_ACT_SIGMOID : KERNELS_ACT_SOFTMAX;
    model_layer layer = {"conv", 1, true};
    model_graph graph = {.nodes = n, .node_count = 5, .layers = &layer, .layer_count = 1,
                         .cam_layer = 0, .classes = classes, .class_count = class_count,
                         .name = "small", .source = "test", .preprocess = "none"};
    dermis_error err;
    if (model_graph_check(&graph, &err) || model_write(&graph, path, &err))
        fail_msg("%s", err.text);
    base_free((void *)(uintptr_t)n[1].tensors[MODEL_WEIGHT].data);
    base_free((void *)(uintptr_t)n[1].tensors[MODEL_BIAS].data);
    base_free((void *)(uintptr_t)n[3].tensors[MODEL_WEIGHT].data);
}

static void open_both(const dermis_options *options, dermis_model **m, dermis_session **s)
{
    dermis_error err;
    if (dermis_model_open(path, m, &err) || dermis_session_open(*m, options, s, &err))
        fail_msg("%s", err.text);
    float *input = dermis_session_input(*s);
    uint32_t state = 3;
    for (int i = 0; i < SIDE * SIDE * 3; i++)
        input[i] = (number(&state) + 0.5f) * 255;
}

static void close_both(dermis_model *m, dermis_session *s)
{
    dermis_session_close(s);
    dermis_model_close(m);
}

static void three_classes(void **state)
{
    (void)state;
    const char *names[] = {"Alpha", "beta", "alpha"};
    write_model(3, names, 3);
    dermis_model *m;
    dermis_session *s;
    open_both(NULL, &m, &s);
    const float *p = dermis_session_run(s);
    uint32_t order[3];
    assert_true(p[0] + p[1] + p[2] > 0.9999f && p[0] + p[1] + p[2] < 1.0001f);
    assert_int_equal(dermis_session_top(s, 3, order), 3);
    assert_true(p[order[0]] >= p[order[1]] && p[order[1]] >= p[order[2]]);
    uint32_t best = order[0], few[2] = {9, 9};
    assert_int_equal(dermis_session_top(s, 1, few), 1);
    assert_int_equal(few[0], best);
    assert_int_equal(few[1], 9); /* not written past n */
    assert_int_equal(dermis_session_top(s, 0, few), 0);
    assert_int_equal(dermis_model_find_class(m, "alpha"), 2); /* exact before any case */
    assert_int_equal(dermis_model_find_class(m, "BETA"), 1);
    assert_int_equal(dermis_model_find_class(m, "2"), 2);
    assert_int_equal(dermis_model_find_class(m, "3"), -1);
    assert_int_equal(dermis_model_find_class(m, "-1"), -1);
    close_both(m, s);
}

static void one_output(void **state)
{
    (void)state;
    for (uint32_t named = 0; named < 2; named++) {
        const char *name = "lesion";
        write_model(1, &name, named);
        dermis_model *m;
        dermis_session *s;
        open_both(NULL, &m, &s);
        dermis_model_info info;
        dermis_model_get_info(m, &info);
        const float *p = dermis_session_run(s);
        if (named) { /* p alone */
            assert_int_equal(info.class_count, 1);
            assert_string_equal(dermis_model_class(m, 0), "lesion");
        } else { /* 1 - p, p */
            assert_int_equal(info.class_count, 2);
            assert_true(p[0] == 1 - p[1]);
            assert_string_equal(dermis_model_class(m, 1), "class 1");
        }
        dermis_map map;
        assert_int_equal(dermis_session_explain(s, info.class_count, 0, &map, NULL), DERMIS_E_USAGE);
        close_both(m, s);
    }
}

static void runs_do_not_allocate(void **state)
{
    (void)state;
    write_model(3, NULL, 0);
    dermis_model *m;
    dermis_session *s;
    open_both(NULL, &m, &s);
    dermis_map map;
    base_memory before, after;
    base_memory_read(&before);
    for (int i = 0; i < 3; i++) {
        dermis_session_run(s);
        assert_int_equal(dermis_session_explain(s, 1, DERMIS_SCORE_PROBABILITY, &map, NULL), DERMIS_OK);
        assert_int_equal(dermis_session_explain(s, 2, DERMIS_SCORE_LOGIT, &map, NULL), DERMIS_OK);
    }
    base_memory_read(&after);
    assert_int_equal(after.allocations, before.allocations);
    assert_int_equal(map.height, SIDE);
    assert_string_equal(map.layer, "conv");
    close_both(m, s);
}

static void wrong_options(void **state)
{
    (void)state;
    write_model(3, NULL, 0);
    dermis_model *m;
    dermis_session *s = NULL;
    dermis_error err;
    dermis_options options;
    assert_int_equal(dermis_model_open(path, &m, &err), DERMIS_OK);
    dermis_options_default(&options);
    options.layer = "dense-9";
    assert_int_equal(dermis_session_open(m, &options, &s, &err), DERMIS_E_USAGE);
    dermis_options_default(&options);
    options.cpu = "z80";
    assert_int_equal(dermis_session_open(m, &options, &s, &err), DERMIS_E_USAGE);
    dermis_options_default(&options);
    options.memory_bytes = 16;
    assert_int_equal(dermis_session_open(m, &options, &s, &err), DERMIS_E_BUDGET);
    assert_null(s); /* untouched */
    dermis_options_default(&options);
    options.explain = false;
    assert_int_equal(dermis_session_open(m, &options, &s, &err), DERMIS_OK);
    dermis_map map;
    dermis_session_run(s);
    assert_int_equal(dermis_session_explain(s, 0, DERMIS_SCORE_LOGIT, &map, &err), DERMIS_E_USAGE);
    close_both(m, s);
    assert_int_equal(dermis_model_open("/nonexistent.gguf", &m, &err), DERMIS_E_NOT_FOUND);
}

/* A model written over while it is mapped is refused at the next photograph. */
static void model_changed(void **state)
{
    (void)state;
    write_model(3, NULL, 0);
    dermis_model *m;
    dermis_session *s;
    open_both(NULL, &m, &s);
    uint8_t *data;
    size_t size;
    dermis_error err;
    assert_int_equal(base_file_read(photo_file, 1 << 24, BASE_TAG_CLI, &data, &size, &err), DERMIS_OK);
    assert_int_equal(dermis_session_load(s, data, size, NULL, NULL, 0, NULL, &err), DERMIS_OK);
    usleep(20000); /* a tick of the file's clock */
    FILE *f = fopen(path, "ab");
    assert_non_null(f);
    fputc(0, f);
    fclose(f);
    assert_int_equal(dermis_session_load(s, data, size, NULL, NULL, 0, NULL, &err), DERMIS_E_MODEL_CHANGED);
    base_free(data);
    close_both(m, s);
}

/* Each allocation of opening fails once: an error, nothing kept, outputs untouched. */
static void out_of_memory(void **state)
{
    (void)state;
    write_model(3, NULL, 0);
    base_memory before, after;
    base_memory_read(&before);
    for (uint64_t n = 1;; n++) {
        dermis_model *m = NULL;
        dermis_session *s = NULL;
        dermis_options options = {.threads = 2, .explain = true};
        base_memory_fail_at(n);
        dermis_status status = dermis_model_open(path, &m, NULL);
        if (!status)
            status = dermis_session_open(m, &options, &s, NULL);
        base_memory_fail_at(0);
        close_both(m, s);
        base_memory_read(&after);
        assert_int_equal(after.live_total, before.live_total);
        if (!status) {
            assert_true(n > 5);
            return;
        }
        assert_int_equal(status, DERMIS_E_MEMORY);
        assert_null(s);
    }
}

int main(int argc, char **argv)
{
    if (argc != 2 || !mkdtemp(folder))
        return 2;
    photo_file = argv[1];
    snprintf(path, sizeof path, "%s/model.gguf", folder);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(three_classes),        cmocka_unit_test(one_output),
        cmocka_unit_test(runs_do_not_allocate), cmocka_unit_test(wrong_options),
        cmocka_unit_test(model_changed),        cmocka_unit_test(out_of_memory),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    unlink(path);
    rmdir(folder);
    return failed;
}
