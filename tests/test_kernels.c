/* test_kernels.c - every kernel at every level of instructions against a plain formula in double or
 * against the scalar level: random geometry with odd sizes and tails, extreme values, guard bytes
 * round every array, one to three threads (whose results must be equal to the bit).
 *
 * test_kernels [--seed N] [--rounds N]: the seed of a run is printed; the same seed repeats it.
 * test_kernels --bench: times instead (bench_kernels.c). */
#include <float.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

#include "kernels/conv.h"
#include "kernels_harness.h"

#define THREADS_MAX 3

static unsigned rounds = 300;
static base_pool *pools[THREADS_MAX + 1]; /* by number of threads; 1: NULL */

static const uint32_t CHANNELS[] = {1, 2, 3, 5, 7, 8, 15, 16, 17, 24, 31, 32, 33, 40, 48, 64, 65};
static const kernels_act ACTS[] = {
    {KERNELS_ACT_LINEAR, {0}},
    {KERNELS_ACT_RELU, {0, INFINITY, 0}},
    {KERNELS_ACT_RELU, {0, 0.5f, 0}},
    {KERNELS_ACT_RELU, {0.1f, INFINITY, 0}},
    {KERNELS_ACT_SILU, {0}},
    {KERNELS_ACT_HARD_SILU, {1.0f / 6, 0.5f}},
    {KERNELS_ACT_HARD_TANH, {0}},
};

/* For messages: what is being tried. */
static char what[256];

static void conv_describe(const conv_case *t, kernels_level level, unsigned threads)
{
    const kernels_conv *c = &t->c;
    snprintf(what, sizeof what,
             "%s%s in %ux%ux%u out %ux%ux%u kernel %ux%u stride %ux%u dilation %ux%u pad %u,%u "
             "groups %u %s act %d residual %d scale %d, %s, %u threads",
             t->depthwise ? "depthwise" : "conv", c->bias ? " with bias" : "", c->in_h, c->in_w,
             c->in_c, c->out_h, c->out_w, c->out_c, c->kernel_h, c->kernel_w, c->stride_h,
             c->stride_w, c->dilation_h, c->dilation_w, c->pad_top, c->pad_left, c->groups,
             c->weight_type == KERNELS_F16 ? "f16" : "f32", c->act.kind, c->residual_mode,
             c->in_scale != NULL, kernels_level_name(level), threads);
}

static bool same_float(float a, float b)
{
    return a == b || (isnan(a) && isnan(b));
}

/* ---- convolutions ---- */

/* One axis: sizes that fit together, padding that leaves windows outside the picture included. */
static void draw_axis(uint32_t *in, uint32_t *out, uint32_t kernel, uint32_t stride,
                      uint32_t dilation, uint32_t *pad)
{
    uint32_t reach = (kernel - 1) * dilation + 1;
    *in = 1 + draw_upto(20);
    *pad = draw_upto(reach - 1);
    while (*in + *pad < reach)
        ++*in;
    *out = (*in + *pad - reach) / stride + 1;
    if (draw_upto(1)) /* padding behind: windows may begin anywhere inside */
        *out = (*in + *pad - 1) / stride + 1;
}

static conv_case draw_conv(bool depthwise)
{
    static const uint32_t kernels[] = {1, 1, 3, 3, 3, 3, 2, 5, 7};
    conv_case t = {.depthwise = depthwise};
    kernels_conv *c = &t.c;
    c->kernel_h = DRAW_FROM(kernels);
    c->kernel_w = draw_upto(3) ? c->kernel_h : DRAW_FROM(kernels);
    c->stride_h = draw_upto(2) ? 1 : 1 + draw_upto(2);
    c->stride_w = draw_upto(3) ? c->stride_h : 1 + draw_upto(2);
    c->dilation_h = draw_upto(4) ? 1 : 2;
    c->dilation_w = draw_upto(4) ? 1 : 2;
    draw_axis(&c->in_h, &c->out_h, c->kernel_h, c->stride_h, c->dilation_h, &c->pad_top);
    draw_axis(&c->in_w, &c->out_w, c->kernel_w, c->stride_w, c->dilation_w, &c->pad_left);
    c->groups = 1;
    c->in_c = DRAW_FROM(CHANNELS);
    c->out_c = DRAW_FROM(CHANNELS);
    if (depthwise) {
        c->out_c = c->in_c * (draw_upto(3) ? 1 : 1 + draw_upto(2));
    } else if (!draw_upto(4)) {
        static const uint32_t per_group[] = {1, 3, 8, 16, 17, 20};
        c->groups = 2 + draw_upto(2);
        c->in_c = c->groups * DRAW_FROM(per_group);
        c->out_c = c->groups * DRAW_FROM(per_group);
    }
    c->weight_type = draw_upto(1) ? KERNELS_F16 : KERNELS_F32;
    c->act = DRAW_FROM(ACTS);
    c->residual_mode = (kernels_residual)draw_upto(2);
    bool scale = !depthwise && c->kernel_h == 1 && c->kernel_w == 1 && c->groups == 1;
    conv_fill(&t, draw_upto(1), scale && draw_upto(1));
    return t;
}

/* Before activation, in double; magnitude: sum of the terms' absolute values. */
static void conv_formula(const conv_case *t, double *sum, double *magnitude)
{
    const kernels_conv *c = &t->c;
    uint32_t groups = t->depthwise ? c->in_c : c->groups;
    uint32_t in_cg = c->in_c / groups, out_cg = c->out_c / groups;
    for (uint32_t oy = 0, p = 0; oy < c->out_h; oy++)
        for (uint32_t ox = 0; ox < c->out_w; ox++, p++)
            for (uint32_t o = 0; o < c->out_c; o++) {
                uint32_t g = o / out_cg, blocks = (uint32_t)conv_blocks_of(out_cg);
                size_t bias_at = t->depthwise ? o : g * blocks * KERNELS_BLOCK + o % out_cg;
                double s = c->bias ? c->bias[bias_at] : 0, m = fabs(s);
                for (uint32_t ky = 0; ky < c->kernel_h; ky++)
                    for (uint32_t kx = 0; kx < c->kernel_w; kx++) {
                        int64_t y = (int64_t)oy * c->stride_h + ky * c->dilation_h - c->pad_top;
                        int64_t x = (int64_t)ox * c->stride_w + kx * c->dilation_w - c->pad_left;
                        if (y < 0 || x < 0 || y >= c->in_h || x >= c->in_w)
                            continue;
                        for (uint32_t i = 0; i < in_cg; i++) {
                            uint32_t ic = g * in_cg + i;
                            size_t k = ((size_t)ky * c->kernel_w + kx) * in_cg + i;
                            size_t at = t->depthwise ? conv_weight_at(t, 0, o, k)
                                                     : conv_weight_at(t, g, o % out_cg, k);
                            double v = (double)c->in[((size_t)y * c->in_w + (size_t)x) * c->in_c + ic] *
                                       (c->in_scale ? c->in_scale[ic] : 1.0f) * conv_weight(t, at);
                            s += v;
                            m += fabs(v);
                        }
                    }
                size_t at = (size_t)p * c->out_c + o;
                if (c->residual_mode == KERNELS_RESIDUAL_BEFORE_ACT) {
                    s += c->residual[at];
                    m += fabsf(c->residual[at]);
                }
                sum[at] = s;
                magnitude[at] = m;
            }
}

/* What the driver must write, of sums before activation. */
static void conv_finish(const kernels_conv *c, const double *sum, float *out, size_t n)
{
    for (size_t i = 0; i < n; i++)
        out[i] = (float)sum[i];
    kernels_activation_run(kernels_get(KERNELS_SCALAR), c->act, out, out, 1, n, NULL);
    if (c->residual_mode == KERNELS_RESIDUAL_AFTER_ACT)
        for (size_t i = 0; i < n; i++)
            out[i] += c->residual[i];
}

static array conv_run(const conv_case *t, kernels_level level, unsigned threads)
{
    const kernels_table *k = kernels_get(level);
    kernels_conv c = t->c;
    array out = array_new((size_t)c.out_h * c.out_w * c.out_c);
    array scratch = array_bytes(t->depthwise ? kernels_depthwise_scratch(k, &c, threads)
                                             : kernels_conv_scratch(k, &c, threads));
    c.out = out.data;
    (t->depthwise ? kernels_depthwise_run : kernels_conv_run)(k, &c, scratch.data, pools[threads]);
    if (!array_intact(out) || !array_intact(scratch) || !array_intact(t->in) ||
        !array_intact(t->weight))
        fail_msg("%s: wrote outside its arrays", what);
    array_free(scratch);
    return out;
}

static double worst[KERNELS_LEVEL_COUNT][2]; /* error / magnitude; [1]: Winograd */

/* Sums may be off by 2e-6 of the terms' magnitude (a few roundings of 6e-8 each), Winograd's by
 * 1e-5 of the largest in the picture, since a tile's terms mix. An activation may add half. */
static void conv_compare(const conv_case *t, const double *sum, const double *magnitude,
                         kernels_level level, array out)
{
    size_t n = out.count;
    bool winograd = !t->depthwise && kernels_winograd_fits(kernels_get(level), &t->c);
    float *want = malloc(n * sizeof *want);
    double most = 0;
    conv_finish(&t->c, sum, want, n);
    for (size_t i = 0; i < n; i++)
        most = magnitude[i] > most ? magnitude[i] : most;
    for (size_t i = 0; i < n; i++) {
        double scale = (winograd ? most : magnitude[i]) + fabsf(want[i]) + 1e-30;
        double error = fabs((double)f32(out)[i] - want[i]) / scale;
        if (error > worst[level][winograd])
            worst[level][winograd] = error;
        if (!(error <= (winograd ? 1e-5 : 2e-6)))
            fail_msg("%s: output %zu is %.9g, should be %.9g", what, i, f32(out)[i], want[i]);
    }
    free(want);
}

static void conv_rounds(bool depthwise)
{
    unsigned winograd = 0;
    for (unsigned round = 0; round < rounds; round++) {
        conv_case t = draw_conv(depthwise);
        size_t n = (size_t)t.c.out_h * t.c.out_w * t.c.out_c;
        double *sum = malloc(n * sizeof *sum), *magnitude = malloc(n * sizeof *magnitude);
        conv_formula(&t, sum, magnitude);
        for (kernels_level level = 0; level <= kernels_level_best(); level++) {
            conv_describe(&t, level, 1);
            array out = conv_run(&t, level, 1);
            conv_compare(&t, sum, magnitude, level, out);
            winograd += !depthwise && kernels_winograd_fits(kernels_get(level), &t.c);
            unsigned threads = 2 + draw_upto(1);
            conv_describe(&t, level, threads);
            array other = conv_run(&t, level, threads);
            if (memcmp(out.data, other.data, out.bytes))
                fail_msg("%s: another result than with one thread", what);
            array_free(out);
            array_free(other);
        }
        free(sum);
        free(magnitude);
        conv_free(&t);
    }
    for (kernels_level level = 0; level <= kernels_level_best(); level++)
        print_message("%s, %s: worst error %.1e of the terms' magnitude\n", kernels_level_name(level),
                      depthwise ? "depthwise" : "conv", worst[level][0]);
    if (!depthwise)
        print_message("Winograd: %u runs, worst error %.1e\n", winograd, worst[kernels_level_best()][1]);
    if (!depthwise && kernels_level_best() > KERNELS_SCALAR && rounds >= 100)
        assert_true(winograd > 0);
    memset(worst, 0, sizeof worst);
}

static void conv(void **state)
{
    (void)state;
    conv_rounds(false);
}

static void depthwise(void **state)
{
    (void)state;
    conv_rounds(true);
}

/* What is not finite in the input reaches the outputs whose windows hold it, at every level, and
 * (Winograd's tiles excepted) no other. */
static void conv_not_finite(void **state)
{
    (void)state;
    for (unsigned round = 0; round < rounds / 4; round++) {
        conv_case t = draw_conv(round % 2);
        static const float values[] = {NAN, INFINITY, -INFINITY};
        if (t.c.act.kind != KERNELS_ACT_LINEAR)
            t.c.act = ACTS[1]; /* relu */
        float put = DRAW_FROM(values);
        f32(t.in)[draw_bits() % t.in.count] = put;
        size_t n = (size_t)t.c.out_h * t.c.out_w * t.c.out_c;
        double *sum = malloc(n * sizeof *sum), *magnitude = malloc(n * sizeof *magnitude);
        float *want = malloc(n * sizeof *want);
        conv_formula(&t, sum, magnitude);
        conv_finish(&t.c, sum, want, n);
        for (kernels_level level = 0; level <= kernels_level_best(); level++) {
            bool winograd = !t.depthwise && kernels_winograd_fits(kernels_get(level), &t.c);
            conv_describe(&t, level, 1);
            array out = conv_run(&t, level, 1);
            for (size_t i = 0; i < n; i++) {
                bool got = isfinite(f32(out)[i]), should = isfinite(want[i]);
                bool same = isnan(want[i]) ? isnan(f32(out)[i]) : want[i] == f32(out)[i] || should;
                if (winograd ? isnan(want[i]) && got : got != should || !same)
                    fail_msg("%s, %g in the input: output %zu is %g, should be %g", what, put, i,
                             f32(out)[i], want[i]);
            }
            array_free(out);
        }
        free(want);
        free(sum);
        free(magnitude);
        conv_free(&t);
    }
}

/* The gradient is the transposed product: what each output gathered, given back. */
static void conv_gradient(void **state)
{
    (void)state;
    for (unsigned round = 0; round < rounds; round++) {
        conv_case t = draw_conv(round % 2);
        const kernels_conv *c = &t.c;
        uint32_t groups = t.depthwise ? c->in_c : c->groups;
        uint32_t in_cg = c->in_c / groups, out_cg = c->out_c / groups;
        array g = array_random((size_t)c->out_h * c->out_w * c->out_c, 1.0f);
        double *sum = calloc(t.in.count, sizeof *sum), *magnitude = calloc(t.in.count, sizeof *sum);
        for (uint32_t oy = 0; oy < c->out_h; oy++)
            for (uint32_t ox = 0; ox < c->out_w; ox++)
                for (size_t k = 0; k < (size_t)c->kernel_h * c->kernel_w; k++) {
                    int64_t y = (int64_t)oy * c->stride_h - c->pad_top;
                    int64_t x = (int64_t)ox * c->stride_w - c->pad_left;
                    y += (int64_t)(k / c->kernel_w * c->dilation_h);
                    x += (int64_t)(k % c->kernel_w * c->dilation_w);
                    if (y < 0 || x < 0 || y >= c->in_h || x >= c->in_w)
                        continue;
                    for (uint32_t o = 0; o < c->out_c; o++)
                        for (uint32_t i = 0; i < in_cg; i++) {
                            uint32_t group = o / out_cg;
                            size_t at = t.depthwise
                                            ? conv_weight_at(&t, 0, o, k)
                                            : conv_weight_at(&t, group, o % out_cg, k * in_cg + i);
                            size_t to = ((size_t)y * c->in_w + (size_t)x) * c->in_c + group * in_cg + i;
                            double v = (double)conv_weight(&t, at) *
                                       f32(g)[((size_t)oy * c->out_w + ox) * c->out_c + o];
                            sum[to] += v;
                            magnitude[to] += fabs(v);
                        }
                }
        for (kernels_level level = 0; level <= kernels_level_best(); level++) {
            unsigned threads = 1 + draw_upto(2);
            array in = array_new(t.in.count);
            conv_describe(&t, level, threads);
            (t.depthwise ? kernels_depthwise_grad : kernels_conv_grad)(
                kernels_get(level), c, g.data, in.data, pools[threads]);
            assert_true(array_intact(in));
            for (size_t i = 0; i < in.count; i++)
                if (!(fabs(f32(in)[i] - sum[i]) <= 2e-6 * magnitude[i]))
                    fail_msg("gradient of %s: %zu is %.9g, should be %.9g", what, i, f32(in)[i], sum[i]);
            array_free(in);
        }
        free(sum);
        free(magnitude);
        array_free(g);
        conv_free(&t);
    }
}

/* ---- activations ---- */

static const float EXTREMES[] = {0.0f, -0.0f, 1e-45f, -1e-45f, FLT_MIN, -FLT_MIN, FLT_MAX, -FLT_MAX,
                                 1e30f, -1e30f, 87.5f, -87.5f, 89.0f, -89.0f, 104.0f, -104.0f,
                                 3.0f, -3.0f, 1.0f, -1.0f, 0.5f, -0.5f, 6.0f, INFINITY, -INFINITY, NAN};

/* Every kind with parameters that matter; the same values for those that have none. */
static kernels_act draw_act(kernels_act_kind kind)
{
    kernels_act a = {kind, {0.5f + 0.5f * fabsf(draw_float()), 0, 0}};
    if (kind == KERNELS_ACT_RELU)
        a = (kernels_act){kind, {draw_upto(1) ? 0.2f : 0, draw_upto(1) ? 6 : INFINITY,
                                 draw_upto(1) ? 0 : 0.25f}};
    else if (kind == KERNELS_ACT_HARD_SIGMOID || kind == KERNELS_ACT_HARD_SILU)
        a = (kernels_act){kind, {draw_upto(1) ? 1.0f / 6 : 0.2f, 0.5f, 0}};
    return a;
}

static array draw_for_elements(size_t n)
{
    array a = array_random(n, DRAW_FROM(((const float[]){0.01f, 1, 5, 20})));
    for (size_t i = 0; i < n; i++)
        if (!draw_upto(7))
            f32(a)[i] = DRAW_FROM(EXTREMES);
    return a;
}

/* A few roundings of the result, and what a rounding of the input makes of it. Where the scalar
 * formula itself meets infinity times zero a vector's clipped exponential may say otherwise. */
static void compare_elements(const char *name, kernels_level level, const float *in, const float *got,
                             const float *want, size_t n, double tolerance)
{
    for (size_t i = 0; i < n; i++) {
        if (isnan(in[i]) ? isnan(got[i]) : isinf(in[i]) && (isnan(want[i]) || got[i] == want[i]))
            continue;
        double allowed = tolerance * fabs((double)want[i]) + 3e-7 * fmin(fabs(in[i]), 1) + 1e-37;
        if (isinf(in[i]))
            allowed = 1e-30; /* the limit */
        if (!(got[i] == want[i] || fabs((double)got[i] - want[i]) <= allowed))
            fail_msg("%s %s: element %zu of %zu, %.9g, gives %.9g, should be %.9g", name,
                     kernels_level_name(level), i, n, in[i], got[i], want[i]);
    }
}

static void activations(void **state)
{
    (void)state;
    for (kernels_act_kind kind = 0; kind < KERNELS_ACT_COUNT; kind++)
        for (unsigned round = 0; round < rounds / 4; round++) {
            kernels_act act = draw_act(kind);
            size_t rows = 1 + draw_upto(3), c = 1 + draw_upto(70), n = rows * c;
            bool rowwise = kernels_act_is_rowwise(kind);
            array in = rowwise ? array_random(n, 5) : draw_for_elements(n), want = array_new(n);
            char name[32];
            snprintf(name, sizeof name, "activation %d", kind);
            kernels_activation_run(kernels_get(KERNELS_SCALAR), act, in.data, want.data, rows, c, NULL);
            for (kernels_level level = 1; level <= kernels_level_best(); level++) {
                array out = array_new(n);
                kernels_activation_run(kernels_get(level), act, in.data, out.data, rows, c,
                                       pools[1 + draw_upto(2)]);
                assert_true(array_intact(out));
                compare_elements(name, level, in.data, out.data, want.data, n, 2e-6);
                array place = array_new(n);
                memcpy(place.data, in.data, in.bytes);
                kernels_activation_run(kernels_get(level), act, place.data, place.data, rows, c, NULL);
                assert_memory_equal(place.data, out.data, out.bytes);
                array_free(place);
                array_free(out);
            }
            array_free(in);
            array_free(want);
        }
}

static void activation_gradients(void **state)
{
    (void)state;
    for (kernels_act_kind kind = 0; kind < KERNELS_ACT_COUNT; kind++)
        for (unsigned round = 0; round < rounds / 4; round++) {
            kernels_act act = draw_act(kind);
            size_t rows = 1 + draw_upto(3), c = 1 + draw_upto(70), n = rows * c;
            array in = array_random(n, DRAW_FROM(((const float[]){0.01f, 1, 5, 200})));
            array g = array_random(n, 1), want = array_new(n);
            kernels_activation_grad(kernels_get(KERNELS_SCALAR), act, in.data, g.data, want.data, rows,
                                    c, NULL);
            for (kernels_level level = 1; level <= kernels_level_best(); level++) {
                array out = array_new(n);
                kernels_activation_grad(kernels_get(level), act, in.data, g.data, out.data, rows, c,
                                        pools[1 + draw_upto(2)]);
                assert_true(array_intact(out));
                for (size_t i = 0; i < n; i++) /* slopes cancel near their zeros: relative to g */
                    if (!same_float(f32(out)[i], f32(want)[i]) &&
                        !(fabsf(f32(out)[i] - f32(want)[i]) <=
                          2e-6f * (fabsf(f32(g)[i]) + fabsf(f32(want)[i]))))
                        fail_msg("gradient of activation %d, %s, at %.9g: %.9g, should be %.9g", kind,
                                 kernels_level_name(level), f32(in)[i], f32(out)[i], f32(want)[i]);
                array_free(out);
            }
            array_free(in);
            array_free(g);
            array_free(want);
        }
}

/* ---- element-wise ---- */

static void binaries(void **state)
{
    (void)state;
    for (unsigned round = 0; round < rounds; round++) {
        kernels_binary op = {.kind = (kernels_binary_kind)draw_upto(KERNELS_MIN)};
        for (int i = 0; i < 3; i++) {
            op.out[i] = i == 2 ? DRAW_FROM(CHANNELS) : 1 + draw_upto(9);
            op.a[i] = draw_upto(3) ? op.out[i] : 1;
            op.b[i] = op.a[i] == op.out[i] && !draw_upto(2) ? 1 : op.out[i];
        }
        array a = draw_for_elements((size_t)op.a[0] * op.a[1] * op.a[2]);
        array b = draw_for_elements((size_t)op.b[0] * op.b[1] * op.b[2]);
        array want = array_new((size_t)op.out[0] * op.out[1] * op.out[2]);
        kernels_binary_run(kernels_get(KERNELS_SCALAR), &op, a.data, b.data, want.data, NULL);
        for (kernels_level level = 1; level <= kernels_level_best(); level++) {
            array out = array_new(want.count);
            kernels_binary_run(kernels_get(level), &op, a.data, b.data, out.data,
                               pools[1 + draw_upto(2)]);
            assert_true(array_intact(out));
            for (size_t i = 0; i < out.count; i++)
                if (!same_float(f32(out)[i], f32(want)[i]))
                    fail_msg("binary %d %s: element %zu is %.9g, should be %.9g", op.kind,
                             kernels_level_name(level), i, f32(out)[i], f32(want)[i]);
            array_free(out);
        }
        array_free(a);
        array_free(b);
        array_free(want);
    }
}

static void affine_and_prelu(void **state)
{
    (void)state;
    for (unsigned round = 0; round < rounds; round++) {
        size_t pixels = 1 + draw_upto(200), c = DRAW_FROM(CHANNELS), n = pixels * c;
        array in = draw_for_elements(n), scale = array_random(c, 2), shift = array_random(c, 2);
        const float *s = draw_upto(3) ? scale.data : NULL, *t = draw_upto(3) ? shift.data : NULL;
        array alpha = array_random(draw_upto(1) ? c : n, 1);
        for (kernels_level level = 0; level <= kernels_level_best(); level++) {
            array out = array_new(n);
            kernels_affine_run(kernels_get(level), in.data, out.data, pixels, c, s, t,
                               pools[1 + draw_upto(2)]);
            assert_true(array_intact(out));
            for (size_t i = 0; i < n; i++) {
                double x = f32(in)[i], a = s ? s[i % c] : 1, b = t ? t[i % c] : 0, y = x * a + b;
                if (!isfinite(x) ? !same_float(f32(out)[i], (float)y)
                                 : !(fabs(f32(out)[i] - y) <= 2e-7 * (fabs(x * a) + fabs(b)) + 1e-44) &&
                                       f32(out)[i] != (float)y)
                    fail_msg("affine %s: %.9g gives %.9g, should be %.9g", kernels_level_name(level), x,
                             f32(out)[i], y);
            }
            kernels_prelu_run(kernels_get(level), in.data, out.data, n, alpha.data, alpha.count,
                              pools[1 + draw_upto(2)]);
            assert_true(array_intact(out));
            for (size_t i = 0; i < n; i++) {
                float x = f32(in)[i], y = x > 0 ? x : x * f32(alpha)[i % alpha.count];
                if (!same_float(f32(out)[i], y))
                    fail_msg("prelu %s: %.9g gives %.9g, should be %.9g", kernels_level_name(level), x,
                             f32(out)[i], y);
            }
            array_free(out);
        }
        array_free(in);
        array_free(scale);
        array_free(shift);
        array_free(alpha);
    }
}

static void layernorms(void **state)
{
    (void)state;
    for (unsigned round = 0; round < rounds; round++) {
        size_t rows = 1 + draw_upto(5), c = 1 + draw_upto(70);
        float offset = draw_upto(1) ? 0 : 100 * draw_float(), epsilon = 1e-3f;
        array in = array_random(rows * c, 1), gamma = array_random(c, 2), beta = array_random(c, 1);
        for (size_t i = 0; i < in.count; i++)
            f32(in)[i] += offset;
        for (kernels_level level = 0; level <= kernels_level_best(); level++) {
            array out = array_new(in.count);
            kernels_layernorm_run(kernels_get(level), in.data, out.data, rows, c, epsilon, gamma.data,
                                  beta.data, pools[1 + draw_upto(2)]);
            assert_true(array_intact(out));
            for (size_t r = 0; r < rows; r++) {
                const float *x = f32(in) + r * c;
                double mean = 0, variance = 0;
                for (size_t i = 0; i < c; i++)
                    mean += x[i] / (double)c;
                for (size_t i = 0; i < c; i++)
                    variance += (x[i] - mean) * (x[i] - mean) / (double)c;
                for (size_t i = 0; i < c; i++) {
                    double y = (x[i] - mean) / sqrt(variance + epsilon) * f32(gamma)[i] + f32(beta)[i];
                    double allowed = 1e-5 * (1 + fabs(y)) + fabsf(offset) * 1e-5;
                    if (!(fabs(f32(out)[r * c + i] - y) <= allowed))
                        fail_msg("layernorm %s of %zu: %.9g, should be %.9g", kernels_level_name(level),
                                 c, f32(out)[r * c + i], y);
                }
            }
            array_free(out);
        }
        array_free(in);
        array_free(gamma);
        array_free(beta);
    }
}

/* ---- pooling ---- */

static void pools_of_windows(void **state)
{
    (void)state;
    for (unsigned round = 0; round < rounds; round++) {
        kernels_pool p = {.kind = (kernels_pool_kind)draw_upto(1), .c = DRAW_FROM(CHANNELS)};
        p.kernel_h = 1 + draw_upto(3);
        p.kernel_w = 1 + draw_upto(3);
        p.stride_h = 1 + draw_upto(2);
        p.stride_w = 1 + draw_upto(2);
        draw_axis(&p.in_h, &p.out_h, p.kernel_h, p.stride_h, 1, &p.pad_top);
        draw_axis(&p.in_w, &p.out_w, p.kernel_w, p.stride_w, 1, &p.pad_left);
        array in = array_random((size_t)p.in_h * p.in_w * p.c, 3);
        size_t n = (size_t)p.out_h * p.out_w * p.c;
        for (kernels_level level = 0; level <= kernels_level_best(); level++) {
            array out = array_new(n);
            kernels_pool_run(kernels_get(level), &p, in.data, out.data, pools[1 + draw_upto(2)]);
            assert_true(array_intact(out));
            for (size_t i = 0; i < n; i++) {
                size_t pixel = i / p.c, ch = i % p.c, count = 0;
                double sum = 0, most = -INFINITY;
                for (size_t k = 0; k < (size_t)p.kernel_h * p.kernel_w; k++) {
                    int64_t y = (int64_t)(pixel / p.out_w * p.stride_h + k / p.kernel_w) - p.pad_top;
                    int64_t x = (int64_t)(pixel % p.out_w * p.stride_w + k % p.kernel_w) - p.pad_left;
                    if (y < 0 || x < 0 || y >= p.in_h || x >= p.in_w)
                        continue;
                    double v = f32(in)[((size_t)y * p.in_w + (size_t)x) * p.c + ch];
                    sum += v;
                    most = v > most ? v : most;
                    count++;
                }
                double want = p.kind == KERNELS_POOL_MAX ? most : sum / (double)count;
                if (!(fabs(f32(out)[i] - want) <= (p.kind == KERNELS_POOL_MAX ? 0 : 1e-6)))
                    fail_msg("pool %d %s %ux%u: %.9g, should be %.9g", p.kind, kernels_level_name(level),
                             p.kernel_h, p.kernel_w, f32(out)[i], want);
            }
            array_free(out);
        }
        array_free(in);
    }
}

static void global_pools(void **state)
{
    (void)state;
    for (unsigned round = 0; round < rounds; round++) {
        kernels_pool_kind kind = (kernels_pool_kind)draw_upto(1);
        size_t pixels = 1 + draw_upto(150), c = DRAW_FROM(CHANNELS);
        array in = array_random(pixels * c, 3);
        for (kernels_level level = 0; level <= kernels_level_best(); level++) {
            array out = array_new(c);
            kernels_global_pool_run(kernels_get(level), kind, in.data, pixels, c, out.data,
                                    pools[1 + draw_upto(2)]);
            assert_true(array_intact(out));
            for (size_t i = 0; i < c; i++) {
                double sum = 0, most = -INFINITY;
                for (size_t p = 0; p < pixels; p++) {
                    double v = f32(in)[p * c + i];
                    sum += v;
                    most = v > most ? v : most;
                }
                double want = kind == KERNELS_POOL_MAX ? most : sum / (double)pixels;
                if (!(fabs(f32(out)[i] - want) <= (kind == KERNELS_POOL_MAX ? 0 : 2e-6)))
                    fail_msg("global pool %d %s of %zu: %.9g, should be %.9g", kind,
                             kernels_level_name(level), pixels, f32(out)[i], want);
            }
            array_free(out);
        }
        array_free(in);
    }
}

int main(int argc, char **argv)
{
    uint64_t seed = (uint64_t)time(NULL);
    if (argc == 2 && strcmp(argv[1], "--bench") == 0) {
        bench_kernels();
        return 0;
    }
    for (int i = 1; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--seed") == 0)
            seed = strtoull(argv[i + 1], NULL, 10);
        else if (strcmp(argv[i], "--rounds") == 0)
            rounds = (unsigned)strtoul(argv[i + 1], NULL, 10);
    }
    if (argc % 2 == 0) {
        fprintf(stderr, "usage: test_kernels [--seed N] [--rounds N] | --bench\n");
        return 2;
    }
    printf("# seed %llu, %u rounds\n", (unsigned long long)seed, rounds);
    levels_announce();
    dermis_error err;
    harness_state = seed * 0x9e3779b97f4a7c15u + 1;
    for (unsigned threads = 2; threads <= THREADS_MAX; threads++)
        if (base_pool_new(threads, &pools[threads], &err) != DERMIS_OK) {
            fprintf(stderr, "%s\n", err.text);
            return 1;
        }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(conv),
        cmocka_unit_test(depthwise),
        cmocka_unit_test(conv_not_finite),
        cmocka_unit_test(conv_gradient),
        cmocka_unit_test(activations),
        cmocka_unit_test(activation_gradients),
        cmocka_unit_test(binaries),
        cmocka_unit_test(affine_and_prelu),
        cmocka_unit_test(layernorms),
        cmocka_unit_test(pools_of_windows),
        cmocka_unit_test(global_pools),
    };
    int failed = cmocka_run_group_tests_name("kernels", tests, NULL, NULL);
    for (unsigned threads = 2; threads <= THREADS_MAX; threads++)
        base_pool_free(pools[threads]);
    return failed ? 1 : 0;
}
