/* test_nn.c - graphs built in memory: shared places against places of their own, threads and
 * instruction sets against each other, the tail's gradients against central differences of the run
 * itself, the n-th allocation failing. The seed of random weights is fixed; arithmetic against Keras
 * is test_golden.c's. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "nn/nn.h"

/* ---- a graph in memory, with weights drawn as nodes are added ---- */

#define ROOM 96
static model_node nodes[ROOM];
static uint32_t inputs[ROOM][3];
static void *owned[4 * ROOM];
static size_t owned_count;
static model_layer layers[1];
static model_graph graph;
static uint32_t seed = 1;

static float draw(void) /* -1..1 */
{
    seed = seed * 1664525u + 1013904223u;
    return (float)(seed >> 8) / 8388608.0f - 1.0f;
}

static void put(model_node *n, model_role role, size_t count, float scale, float add)
{
    float *w = malloc(count * sizeof *w);
    owned[owned_count++] = w;
    for (size_t i = 0; i < count; i++)
        w[i] = draw() * scale + add;
    n->tensors[role] = (model_tensor){MODEL_F32, w, count * sizeof *w};
}

static void begin(uint32_t h, uint32_t w, uint32_t c)
{
    memset(nodes, 0, sizeof nodes);
    graph = (model_graph){.nodes = nodes, .node_count = 1, .layers = layers, .cam_layer = -1,
                          .name = "test"};
    nodes[0] = (model_node){.op = MODEL_INPUT, .name = "in", .at.input = {h, w, c}};
    nodes[0].out = (model_shape){h, w, c};
}

static void finish(void)
{
    while (owned_count)
        free(owned[--owned_count]);
}

static void check(void)
{
    dermis_error err = {0};
    if (model_graph_check(&graph, &err))
        fail_msg("%s", err.text);
}

static model_node *add(model_op op, uint32_t a, uint32_t b, uint32_t count)
{
    uint32_t i = graph.node_count++;
    assert_true(i < ROOM);
    inputs[i][0] = a;
    inputs[i][1] = b;
    nodes[i] = (model_node){.op = op, .name = model_op_name(op), .inputs = inputs[i],
                            .input_count = count};
    return &nodes[i];
}

static uint32_t last(void)
{
    return graph.node_count - 1;
}

/* `residual`: a node, or 0 for none. Zeros stand behind a group's last channel, as in the file. */
static uint32_t conv(model_op op, uint32_t in, uint32_t k, uint32_t c, uint32_t groups, int act,
                     int mode, uint32_t residual)
{
    model_shape s = nodes[in].out;
    model_node *n = add(op, in, residual, residual ? 2 : 1);
    int pad = (int)k / 2;
    n->at.conv = (model_conv){.kernel_h = (int)k, .kernel_w = (int)k, .stride_h = 1, .stride_w = 1,
                              .dilation_h = 1, .dilation_w = 1, .pad_top = pad, .pad_left = pad,
                              .pad_bottom = pad, .pad_right = pad, .groups = (int)groups,
                              .out_c = (int)c, .activation = act, .residual = mode};
    if (act == KERNELS_ACT_RELU)
        n->at.conv.activation_p1 = INFINITY;
    uint32_t per = op == MODEL_CONV ? s.c / groups : 1;
    float plain[16384];
    assert_true((size_t)k * k * per * c <= 16384);
    for (size_t i = 0; i < (size_t)k * k * per * c; i++)
        plain[i] = draw() / sqrtf((float)(k * k * per)) * 1.5f;
    put(n, MODEL_WEIGHT, model_conv_weight_count(k, k, per * groups, c, groups), 0, 0);
    model_conv_pack(plain, k, k, per * groups, c, groups, (float *)n->tensors[MODEL_WEIGHT].data);
    for (uint32_t i = 0; i < c; i++)
        plain[i] = draw() * 0.3f;
    put(n, MODEL_BIAS, model_block_vector_count(c, groups), 0, 0);
    model_block_vector_pack(plain, c, groups, (float *)n->tensors[MODEL_BIAS].data);
    check();
    return last();
}

static uint32_t binary(int kind, uint32_t a, uint32_t b)
{
    add(MODEL_BINARY, a, b, 2)->at.binary.kind = kind;
    check();
    return last();
}

static uint32_t activation(int kind, uint32_t in, float p0)
{
    add(MODEL_ACTIVATION, in, 0, 1)->at.activation = (model_activation){kind, p0, INFINITY, 0};
    check();
    return last();
}

static uint32_t plain(model_op op, uint32_t in, model_attributes at)
{
    add(op, in, 0, 1)->at = at;
    check();
    return last();
}

static uint32_t global_pool(int kind, uint32_t in)
{
    return plain(MODEL_GLOBAL_POOL, in, (model_attributes){.global_pool = {kind}});
}

static void explain_node(uint32_t node, bool after)
{
    layers[0] = (model_layer){"target", node, after};
    graph.layer_count = 1;
    check();
}

/* ---- a run ---- */

typedef struct runner {
    base_pool *pool;
    nn_plan *plan;
    nn_session *session;
} runner;

static runner start(kernels_level cap, unsigned threads, int cam, bool keep_all)
{
    runner r = {0};
    dermis_error err = {0};
    nn_options options = {cap, threads, cam, keep_all};
    assert_int_equal(DERMIS_OK, base_pool_new(threads, &r.pool, &err));
    if (nn_plan_new(&graph, &options, &r.plan, &err) ||
        nn_session_new(r.plan, r.pool, &r.session, &err))
        fail_msg("%s", err.text);
    return r;
}

static void stop(runner *r)
{
    nn_session_free(r->session);
    nn_plan_free(r->plan);
    base_pool_free(r->pool);
}

static void fill(runner *r, uint32_t with)
{
    uint32_t before = seed;
    seed = with;
    model_shape s = nodes[0].out;
    float *in = nn_session_input(r->session);
    for (size_t i = 0; i < (size_t)s.h * s.w * s.c; i++)
        in[i] = draw();
    seed = before;
}

/* A random network: every operator that keeps or changes shapes, several readers of one tensor. */
static void random_graph(void)
{
    begin(6, 5, 3);
    uint32_t c = 4 + seed % 17, x = conv(MODEL_CONV, 0, 3, c, 1, KERNELS_ACT_SILU, 0, 0), old = x;
    uint32_t many = 6 + (seed >> 9) % 12;
    for (uint32_t i = 0; i < many; i++) {
        uint32_t was = x;
        switch ((uint32_t)((draw() + 1) * 5)) {
        case 0: x = conv(MODEL_CONV, x, 1, c, 1, KERNELS_ACT_RELU, KERNELS_RESIDUAL_AFTER_ACT, old); break;
        case 1: x = conv(MODEL_CONV, x, 3, c, 1, KERNELS_ACT_RELU, KERNELS_RESIDUAL_BEFORE_ACT, old); break;
        case 2: x = conv(MODEL_DEPTHWISE, x, 3, c, 1, KERNELS_ACT_SILU, 0, 0); break;
        case 3: x = binary(KERNELS_ADD, x, old); break;
        case 4: x = activation(KERNELS_ACT_TANH, x, 0); break;
        case 5: { /* squeeze and excite, read by a pointwise convolution */
            uint32_t s = conv(MODEL_CONV, global_pool(KERNELS_POOL_MEAN, x), 1, c, 1, KERNELS_ACT_SIGMOID, 0, 0);
            x = conv(MODEL_CONV, binary(KERNELS_MUL, x, s), 1, c, 1, KERNELS_ACT_LINEAR, 0, 0);
            break;
        }
        case 6: x = binary(KERNELS_MAX, x, old); break;
        case 7:
            add(MODEL_CONCAT, x, old, 2)->at.concat.axis = 2;
            check();
            x = conv(MODEL_CONV, last(), 1, c, 1, KERNELS_ACT_LINEAR, 0, 0);
            break;
        case 8:
            plain(MODEL_RESHAPE, x, (model_attributes){.reshape = {5, 6, (int)c}});
            x = plain(MODEL_RESHAPE, last(), (model_attributes){.reshape = {6, 5, (int)c}});
            break;
        default:
            put(add(MODEL_AFFINE, x, 0, 1), MODEL_SCALE, c, 0.5f, 1);
            check();
            x = last();
        }
        if (draw() > 0)
            old = was;
    }
    conv(MODEL_CONV, global_pool(KERNELS_POOL_MEAN, x), 1, 4, 1, KERNELS_ACT_LINEAR, 0, 0);
    activation(KERNELS_ACT_SOFTMAX, last(), 0);
    explain_node(1, false);
}

static void answer(runner *r, uint32_t with, float probability[4], float *gradient, size_t n)
{
    size_t count;
    fill(r, with);
    nn_run(r->session);
    memcpy(probability, nn_session_output(r->session, &count), 4 * sizeof(float));
    assert_int_equal(count, 4);
    const float *g = nn_backward(r->session, 2, NN_SCORE_PROBABILITY, false);
    memcpy(gradient, g, n * sizeof *g);
}

static void test_places(void **state)
{
    (void)state;
    for (uint32_t round = 1; round <= 60; round++) {
        seed = round * 7919;
        random_graph();
        model_shape s = nodes[1].out;
        size_t n = (size_t)s.h * s.w * s.c;
        float p[4][4], *g[4];
        runner r[4] = {start(KERNELS_SCALAR, 1, 0, true), start(KERNELS_SCALAR, 1, 0, false),
                       start(KERNELS_SCALAR, 2, 0, false), start(KERNELS_SCALAR, 3, 0, false)};
        nn_plan_info whole, shared;
        nn_plan_get_info(r[0].plan, &whole);
        nn_plan_get_info(r[1].plan, &shared);
        assert_true(shared.arena_bytes <= whole.arena_bytes);
        assert_true(shared.largest_live_bytes <= shared.activation_bytes + shared.gradient_bytes);
        for (int i = 0; i < 4; i++) {
            g[i] = malloc(n * sizeof **g);
            answer(&r[i], 5, p[i], g[i], n);
            if (memcmp(p[0], p[i], sizeof *p) || memcmp(g[0], g[i], n * sizeof **g))
                fail_msg("round %u: session %d differs", round, i);
        }
        float *again = malloc(n * sizeof *again), fresh[4];
        const float *other = nn_backward(r[1].session, 0, NN_SCORE_LOGIT, false);
        assert_non_null(other);
        const float *second = nn_backward(r[1].session, 2, NN_SCORE_PROBABILITY, false);
        assert_memory_equal(g[0], second, n * sizeof *second); /* one run, several classes */
        answer(&r[1], 6, fresh, again, n);
        answer(&r[1], 5, fresh, again, n); /* nothing of a run reaches the next */
        assert_memory_equal(fresh, p[0], sizeof fresh);
        assert_memory_equal(again, g[0], n * sizeof *again);
        for (int cap = KERNELS_AVX2; cap <= (int)kernels_level_best(); cap++) {
            runner fast = start((kernels_level)cap, 2, 0, false), bare = start((kernels_level)cap, 2, -1, false);
            size_t count;
            answer(&fast, 5, fresh, again, n);
            fill(&bare, 5); /* without explanation: fused, the excite read by its convolution */
            nn_run(bare.session);
            const float *q = nn_session_output(bare.session, &count);
            for (int k = 0; k < 4; k++) {
                assert_float_equal(fresh[k], p[0][k], 1e-4f);
                assert_float_equal(q[k], p[0][k], 1e-4f);
            }
            stop(&fast);
            stop(&bare);
        }
        free(again);
        for (int i = 0; i < 4; i++) {
            free(g[i]);
            stop(&r[i]);
        }
        finish();
    }
}

/* ---- gradients: the target is the convolution whose bias is moved up and down ---- */

/* With z of one element moved by a one-hot 1x1 bias the derivative of the sum over pixels of that
 * channel is what backward's column must add to. Moved by the input instead, element by element,
 * through an identity convolution, each element is seen alone: the input has 3 channels. */
static void identity_target(uint32_t h, uint32_t w)
{
    begin(h, w, 3);
    uint32_t t = conv(MODEL_CONV, 0, 1, 3, 1, KERNELS_ACT_LINEAR, 0, 0);
    float eye[9] = {1, 0, 0, 0, 1, 0, 0, 0, 1};
    model_conv_pack(eye, 1, 1, 3, 3, 1, (float *)nodes[t].tensors[MODEL_WEIGHT].data);
}

static void head(uint32_t x)
{
    model_shape s = nodes[x].out;
    uint32_t flat = plain(MODEL_RESHAPE, x, (model_attributes){.reshape = {1, 1, (int)(s.h * s.w * s.c)}});
    conv(MODEL_CONV, flat, 1, 4, 1, KERNELS_ACT_LINEAR, 0, 0);
    activation(KERNELS_ACT_SOFTMAX, last(), 0);
    explain_node(1, false);
}

static double score_of(runner *r, uint32_t index, nn_score score)
{
    size_t count;
    nn_run(r->session);
    const float *p = nn_session_output(r->session, &count);
    if (score == NN_SCORE_PROBABILITY)
        return p[index];
    return nn_session_tensor(r->session, graph.node_count - 2)[index];
}

static void compare_gradient(const char *what)
{
    runner r = start(KERNELS_SCALAR, 2, 0, false), probe = start(KERNELS_SCALAR, 1, 0, true);
    model_shape s = nodes[1].out;
    size_t n = (size_t)s.h * s.w * s.c;
    fill(&r, 99);
    fill(&probe, 99);
    nn_run(r.session);
    for (int score = 0; score < 2; score++) {
        const float *g = nn_backward(r.session, 1, (nn_score)score, false);
        assert_non_null(g);
        float *in = nn_session_input(probe.session), most = 0;
        for (size_t i = 0; i < n; i++)
            most = fmaxf(most, fabsf(g[i]));
        assert_true(most > 0);
        for (size_t i = 0; i < n; i++) {
            const double step = 0x1p-9;
            float was = in[i];
            in[i] = was + (float)step;
            double up = score_of(&probe, 1, (nn_score)score);
            in[i] = was - (float)step;
            double down = score_of(&probe, 1, (nn_score)score);
            in[i] = was;
            double want = (up - down) / (2 * step);
            if (fabs(want - g[i]) > 2e-4 + 4e-3 * most) /* float's rounding over the step */
                fail_msg("%s, element %zu: %g, differences give %g", what, i, g[i], want);
        }
        float kept = g[0];
        g = nn_backward(r.session, 1, (nn_score)score, true);
        assert_true(g[0] == -kept);
    }
    stop(&r);
    stop(&probe);
    finish();
}

static void test_gradients(void **state)
{
    (void)state;
    seed = 4711;
    for (int kind = KERNELS_ADD; kind <= KERNELS_MIN; kind++) { /* both sides move, one broadcast */
        identity_target(3, 4);
        uint32_t a = conv(MODEL_CONV, 1, 3, 5, 1, KERNELS_ACT_SILU, 0, 0);
        uint32_t b = activation(KERNELS_ACT_EXPONENTIAL, global_pool(KERNELS_POOL_MEAN, a), 0);
        head(binary(kind, a, b));
        compare_gradient("binary");
        identity_target(3, 4);
        a = activation(KERNELS_ACT_EXPONENTIAL, 1, 0);
        head(binary(kind, conv(MODEL_CONV, a, 1, 3, 1, KERNELS_ACT_TANH, 0, 0), a));
        compare_gradient("binary, same shape");
    }
    static const int acts[] = {KERNELS_ACT_SIGMOID, KERNELS_ACT_SILU, KERNELS_ACT_TANH, KERNELS_ACT_GELU,
                               KERNELS_ACT_GELU_TANH, KERNELS_ACT_ELU, KERNELS_ACT_SELU, KERNELS_ACT_CELU,
                               KERNELS_ACT_SOFTPLUS, KERNELS_ACT_SOFTSIGN, KERNELS_ACT_MISH,
                               KERNELS_ACT_LOG_SIGMOID, KERNELS_ACT_SOFTMAX, KERNELS_ACT_LOG_SOFTMAX};
    for (size_t i = 0; i < sizeof acts / sizeof *acts; i++) {
        identity_target(3, 4);
        head(activation(acts[i], 1, 0.7f));
        compare_gradient("activation");
    }
    for (int mode = KERNELS_RESIDUAL_NONE; mode <= KERNELS_RESIDUAL_AFTER_ACT; mode++) {
        identity_target(5, 4);
        uint32_t a = conv(MODEL_CONV, 1, 3, 6, 3, KERNELS_ACT_SILU, 0, 0);
        head(conv(MODEL_DEPTHWISE, a, 3, 6, 1, KERNELS_ACT_SILU, mode, mode ? a : 0));
        compare_gradient("convolutions");
    }
    for (int kind = 0; kind < 2; kind++) {
        identity_target(5, 4);
        head(plain(MODEL_POOL, 1, (model_attributes){.pool = {kind, 3, 2, 2, 1, 1, 0, 1, 1}}));
        compare_gradient("pool");
        identity_target(5, 4);
        head(global_pool(kind, 1));
        compare_gradient("global pool");
        identity_target(4, 3);
        head(plain(MODEL_RESIZE, 1, (model_attributes){.resize = {kind, 7, 5}}));
        compare_gradient("resize");
        identity_target(7, 5);
        head(plain(MODEL_RESIZE, 1, (model_attributes){.resize = {kind, 6, 4}}));
        compare_gradient("resize down");
    }
    for (int axis = 0; axis < 3; axis++) {
        identity_target(3, 4);
        add(MODEL_CONCAT, activation(KERNELS_ACT_TANH, 1, 0), 1, 2)->at.concat.axis = axis;
        check();
        head(last());
        compare_gradient("concat");
    }
    identity_target(3, 4);
    plain(MODEL_PAD, 1, (model_attributes){.pad = {1, 0, 2, 1, 0.5f}});
    head(plain(MODEL_SLICE, last(), (model_attributes){.slice = {0, 3, 2, 2, -1, -1, 2, 3, 3}}));
    compare_gradient("pad, slice");
    identity_target(3, 4);
    put(add(MODEL_AFFINE, 1, 0, 1), MODEL_SCALE, 3, 1, 0.5f);
    put(&nodes[last()], MODEL_SHIFT, 3, 1, 0);
    check();
    uint32_t affine = last();
    put(add(MODEL_PRELU, affine, 0, 1), MODEL_WEIGHT, 36, 0.3f, 0.2f);
    check();
    head(last());
    compare_gradient("affine, prelu");
    identity_target(3, 4);
    uint32_t wide = conv(MODEL_CONV, 1, 1, 8, 1, KERNELS_ACT_LINEAR, 0, 0);
    model_node *n = add(MODEL_LAYERNORM, wide, 0, 1);
    n->at.layernorm.epsilon = 1e-3f;
    put(n, MODEL_SCALE, 8, 0.5f, 1);
    put(n, MODEL_BIAS, 8, 0.5f, 0);
    check();
    head(last());
    compare_gradient("layer normalisation");
}

/* ---- the target ---- */

static void test_target(void **state) /* grouped: the file's blocks have gaps, channels have none */
{
    (void)state;
    seed = 3;
    begin(2, 2, 3);
    uint32_t t = conv(MODEL_CONV, 0, 1, 6, 3, KERNELS_ACT_RELU, 0, 0);
    const float shift[6] = {1, 2, 3, 4, 5, 6};
    put(&nodes[t], MODEL_SHIFT, model_block_vector_count(6, 3), 0, 0);
    model_block_vector_pack(shift, 6, 3, (float *)nodes[t].tensors[MODEL_SHIFT].data);
    conv(MODEL_CONV, global_pool(KERNELS_POOL_MAX, t), 1, 4, 1, KERNELS_ACT_SIGMOID, 0, 0);
    for (int after = 0; after < 2; after++) {
        explain_node(t, after);
        runner r = start(kernels_level_best(), 1, 0, false);
        nn_target target;
        fill(&r, 8);
        nn_run(r.session);
        nn_session_target(r.session, &target);
        assert_memory_equal(target.shift, shift, sizeof shift);
        bool negative = false;
        for (int i = 0; i < 24; i++)
            negative |= target.z[i] < 0;
        assert_true(negative == !after);
        stop(&r);
    }
    finish();
}

/* ---- far more values than networks have ---- */

/* Half of the nodes are numbers of their own that all live together, the other half adds them up
 * from the last to the first: one place given to two of them shows in the sum. */
static void test_many_nodes(void **state)
{
    (void)state;
    enum { COUNT = 1 << 15 };
    model_node *n = calloc(COUNT, sizeof *n);
    uint32_t (*in)[2] = calloc(COUNT, sizeof *in);
    n[0] = (model_node){.op = MODEL_INPUT, .name = "in", .at.input = {1, 2, 3}};
    for (uint32_t i = 1; i < COUNT; i++) {
        bool number = i < COUNT / 2;
        in[i][0] = number ? 0 : i - 1;
        in[i][1] = COUNT - 1 - i;
        n[i] = (model_node){.op = number ? MODEL_ACTIVATION : MODEL_BINARY, .name = "n",
                            .inputs = in[i], .input_count = number ? 1 : 2};
        if (number)
            n[i].at.activation = (model_activation){KERNELS_ACT_THRESHOLD, INFINITY, (float)(i % 256), 0};
        else
            n[i].at.binary.kind = KERNELS_ADD;
    }
    model_layer layer = {"n", 1, false};
    model_graph big = {.nodes = n, .node_count = COUNT, .layers = &layer, .layer_count = 1, .name = "big"};
    dermis_error err;
    assert_int_equal(model_graph_check(&big, &err), DERMIS_OK);
    for (int cam = -1; cam < 1; cam++) {
        nn_options options = {kernels_level_best(), 1, cam, false};
        nn_plan *plan;
        nn_session *session;
        size_t count;
        double begun = base_now_ms(), sum = 0;
        assert_int_equal(nn_plan_new(&big, &options, &plan, &err), DERMIS_OK);
        assert_true(base_now_ms() - begun < 10000); /* 50 ms; 2 s before it was made linear */
        nn_plan_info info;
        nn_plan_get_info(plan, &info);
        assert_true(info.largest_live_bytes >= (size_t)(COUNT / 2 - 1) * BASE_ALIGNMENT);
        assert_int_equal(nn_session_new(plan, NULL, &session, &err), DERMIS_OK);
        for (int i = 0; i < 6; i++)
            nn_session_input(session)[i] = (float)i;
        nn_run(session);
        const float *out = nn_session_output(session, &count);
        for (uint32_t i = 1; i < COUNT / 2; i++)
            sum += i % 256;
        assert_true(count == 6);
        sum += (COUNT / 2 - 1) % 256; /* the first addition takes the last number twice */
        for (int i = 0; i < 6; i++) /* sums of integers below 2^24: exact */
            assert_true(out[i] == (float)sum + (float)i);
        nn_session_free(session);
        nn_plan_free(plan);
    }
    free(in);
    free(n);
}

/* ---- memory ---- */

static void test_no_allocation(void **state)
{
    (void)state;
    seed = 12;
    random_graph();
    runner r = start(kernels_level_best(), 2, 0, false);
    base_memory before, after;
    base_memory_read(&before);
    fill(&r, 1);
    nn_run(r.session);
    nn_backward(r.session, 1, NN_SCORE_PROBABILITY, false);
    nn_backward(r.session, 1, NN_SCORE_LOGIT, true);
    base_memory_read(&after);
    assert_true(before.allocations == after.allocations);
    stop(&r);
    finish();
}

static void test_out_of_memory(void **state)
{
    (void)state;
    seed = 13;
    random_graph();
    base_memory before, after;
    base_memory_read(&before);
    nn_options options = {KERNELS_SCALAR, 1, 0, false};
    unsigned failures = 0;
    for (uint64_t n = 1;; n++) {
        nn_plan *plan = NULL;
        nn_session *session = NULL;
        dermis_error err = {0};
        base_memory_fail_at(n);
        dermis_status status = nn_plan_new(&graph, &options, &plan, &err);
        if (status == DERMIS_OK)
            status = nn_session_new(plan, NULL, &session, &err);
        base_memory_fail_at(0);
        assert_true(status == DERMIS_OK || (status == DERMIS_E_MEMORY && !session && err.text[0]));
        nn_session_free(session);
        nn_plan_free(plan);
        base_memory_read(&after);
        assert_true(after.live_total == before.live_total);
        if (status == DERMIS_OK)
            break;
        failures++;
    }
    assert_true(failures > 8); /* each room of the plan, the session and its arena */
    finish();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_places),        cmocka_unit_test(test_gradients),
        cmocka_unit_test(test_target),        cmocka_unit_test(test_no_allocation),
        cmocka_unit_test(test_out_of_memory), cmocka_unit_test(test_many_nodes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
