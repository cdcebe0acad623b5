/* test_cam.c - Grad-CAM against maps worked out by hand: a 1x1 convolution of the identity, global
 * mean, Dense, so that a channel's weight is the Dense layer's weight over the pixels' count. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "cam/cam.h"

/* Input 2x2x3; conv = identity + bias; logits = sum_c dense[c][o] mean_c. Returns the status of the
 * explanation; `dense` [3][2] as Keras has it. */
static void explain(const float picture[12], const float dense[6], const float t[3], uint32_t index,
                    bool flip, float map[4], cam_result *result)
{
    static const float identity[9] = {1, 0, 0, 0, 1, 0, 0, 0, 1};
    static const uint32_t at[] = {0, 1, 2};
    float w1[48], w2[48], shift[16], weights[3];
    model_conv_pack(identity, 1, 1, 3, 3, 1, w1);
    model_conv_pack(dense, 1, 1, 3, 2, 1, w2);
    model_block_vector_pack(t, 3, 1, shift);
    model_conv one = {.kernel_h = 1, .kernel_w = 1, .stride_h = 1, .stride_w = 1, .dilation_h = 1,
                      .dilation_w = 1, .groups = 1, .out_c = 3};
    model_conv two = one;
    two.out_c = 2;
    model_node nodes[] = {
        {.op = MODEL_INPUT, .name = "in", .at.input = {2, 2, 3}},
        {.op = MODEL_CONV, .name = "conv", .inputs = at, .input_count = 1, .at.conv = one,
         .tensors = {[MODEL_WEIGHT] = {MODEL_F32, w1, sizeof w1},
                     [MODEL_BIAS] = {MODEL_F32, shift, sizeof shift},
                     [MODEL_SHIFT] = {MODEL_F32, shift, sizeof shift}}},
        {.op = MODEL_GLOBAL_POOL, .name = "pool", .inputs = at + 1, .input_count = 1,
         .at.global_pool.kind = KERNELS_POOL_MEAN},
        {.op = MODEL_CONV, .name = "dense", .inputs = at + 2, .input_count = 1, .at.conv = two,
         .tensors = {[MODEL_WEIGHT] = {MODEL_F32, w2, sizeof w2}}},
    };
    model_layer layer = {"conv", 1, false};
    model_graph graph = {.nodes = nodes, .node_count = 4, .layers = &layer, .layer_count = 1,
                         .name = "hand"};
    dermis_error err = {0};
    if (model_graph_check(&graph, &err))
        fail_msg("%s", err.text);
    nn_plan *plan;
    nn_session *session;
    nn_options options = {.cap = KERNELS_SCALAR, .threads = 1, .cam_layer = 0};
    assert_int_equal(DERMIS_OK, nn_plan_new(&graph, &options, &plan, &err));
    assert_int_equal(DERMIS_OK, nn_session_new(plan, NULL, &session, &err));
    memcpy(nn_session_input(session), picture, 12 * sizeof *picture);
    nn_run(session);
    cam_grad_cam(session, index, NN_SCORE_PROBABILITY, flip, weights, map, result);
    nn_session_free(session);
    nn_plan_free(plan);
}

static void assert_map(const float map[4], float a, float b, float c, float d)
{
    float want[4] = {a, b, c, d};
    for (int i = 0; i < 4; i++)
        assert_float_equal(map[i], want[i], 1e-6f);
}

static const float picture[12] = {1, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4};
static const float dense[6] = {1, 0, -1, 0, 2, 0}; /* second class depends on nothing */
static const float none[3], t[3] = {5, -7, 11};

static void test_map(void **state)
{
    (void)state;
    float map[4];
    cam_result r;
    explain(picture, dense, none, 0, false, map, &r); /* 1, 2, -3, 8 over 4, rectified */
    assert_true(r.height == 2 && r.width == 2 && !r.blank);
    assert_map(map, 0.125f, 0.25f, 0, 1);
    explain(picture, dense, none, 0, true, map, &r); /* the signs turned: only -(-3) is left */
    assert_false(r.blank);
    assert_map(map, 0, 0, 1, 0);
}

static void test_shift(void **state) /* what folding added to z is taken off again */
{
    (void)state;
    float map[4];
    cam_result r;
    explain(picture, dense, t, 0, false, map, &r);
    assert_map(map, 0.125f, 0.25f, 0, 1);
}

static void test_absolute(void **state) /* nothing positive: the absolute values */
{
    (void)state;
    static const float negative[12] = {-1, 0, 0, -2, 0, 0, 0, 3, 0, 0, 0, -4};
    float map[4];
    cam_result r;
    explain(negative, dense, none, 0, false, map, &r);
    assert_false(r.blank);
    assert_map(map, 0.125f, 0.25f, 0.375f, 1);
}

static void test_blank(void **state)
{
    (void)state;
    float map[4];
    cam_result r;
    explain(picture, dense, none, 1, false, map, &r);
    assert_true(r.blank);
    assert_map(map, 0, 0, 0, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_map), cmocka_unit_test(test_shift),
                                       cmocka_unit_test(test_absolute),
                                       cmocka_unit_test(test_blank)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
