/* bench_kernels.c - test_kernels --bench: what each kernel reaches at each level on one thread, on
 * the shapes of EfficientNetV2-S and its like. Least of several runs; arrays stay in the caches as
 * far as they fit, so these are the kernels' own limits, not a network's. */
#include <time.h>

#include "kernels_harness.h"

static double now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

typedef void (*work)(const kernels_table *k, void *context);

/* Least time of one run, ms: at least 5 runs and 50 ms of them. */
static double least(work run, const kernels_table *k, void *context)
{
    double best = 1e30, start = now_ms();
    for (unsigned i = 0; i < 5 || now_ms() - start < 50; i++) {
        double t = now_ms();
        run(k, context);
        t = now_ms() - t;
        best = t < best ? t : best;
    }
    return best;
}

/* One line: `amount` is of MACs or bytes, in 1e9. */
static void report(const char *name, work run, void *context, double amount, const char *unit)
{
    double scalar = 0;
    printf("%-44s", name);
    for (kernels_level level = 0; level <= kernels_level_best(); level++) {
        double ms = least(run, kernels_get(level), context);
        scalar = level == KERNELS_SCALAR ? ms : scalar;
        printf("  %9.4f ms %7.1f %s %5.1fx", ms, amount / ms * 1e3, unit, scalar / ms);
    }
    printf("\n");
    fflush(stdout);
}

typedef struct conv_bench {
    conv_case t;
    array scratch;
} conv_bench;

static void run_conv(const kernels_table *k, void *context)
{
    conv_bench *b = context;
    (b->t.depthwise ? kernels_depthwise_run : kernels_conv_run)(k, &b->t.c, b->scratch.data, NULL);
}

static void conv(uint32_t size, uint32_t in_c, uint32_t out_c, uint32_t kernel, uint32_t stride,
                 bool depthwise, kernels_type type)
{
    uint32_t out = (size + stride - 1) / stride;
    conv_bench b = {.t = {.depthwise = depthwise}};
    b.t.c = (kernels_conv){.in_h = size, .in_w = size, .in_c = in_c, .out_h = out, .out_w = out,
                           .out_c = out_c, .kernel_h = kernel, .kernel_w = kernel, .stride_h = stride,
                           .stride_w = stride, .dilation_h = 1, .dilation_w = 1, .groups = 1,
                           .pad_top = (kernel - 1) / 2, .pad_left = (kernel - 1) / 2,
                           .weight_type = type, .act = {.kind = KERNELS_ACT_LINEAR}};
    conv_fill(&b.t, true, false);
    array result = array_new((size_t)out * out * out_c);
    b.t.c.out = result.data;
    size_t most = 0;
    for (kernels_level level = 0; level <= kernels_level_best(); level++) {
        size_t n = (depthwise ? kernels_depthwise_scratch : kernels_conv_scratch)(kernels_get(level),
                                                                                  &b.t.c, 1);
        most = n > most ? n : most;
    }
    b.scratch = array_bytes(most);
    char name[64];
    snprintf(name, sizeof name, "%s %ux%u/%u %ux%ux%u to %u %s", depthwise ? "depthwise" : "conv",
             kernel, kernel, stride, size, size, in_c, out_c, type == KERNELS_F16 ? "f16" : "f32");
    double macs = (double)out * out * out_c * kernel * kernel * (depthwise ? 1 : in_c);
    report(name, run_conv, &b, macs / 1e9, "GMAC/s");
    conv_free(&b.t);
    array_free(b.scratch);
    array_free(result);
}

#define ELEMENTS ((size_t)128 * 1024)

typedef struct elements {
    array in, other, out;
    kernels_act act;
    bool gradient;
} elements;

static void run_act(const kernels_table *k, void *context)
{
    elements *e = context;
    if (e->gradient)
        kernels_activation_grad(k, e->act, e->in.data, e->other.data, e->out.data, 1, ELEMENTS, NULL);
    else
        kernels_activation_run(k, e->act, e->in.data, e->out.data, 1, ELEMENTS, NULL);
}

static void run_add(const kernels_table *k, void *context)
{
    elements *e = context;
    kernels_binary op = {KERNELS_ADD, {1, 1, ELEMENTS}, {1, 1, ELEMENTS}, {1, 1, ELEMENTS}};
    kernels_binary_run(k, &op, e->in.data, e->other.data, e->out.data, NULL);
}

static void run_mean(const kernels_table *k, void *context)
{
    elements *e = context;
    kernels_global_pool_run(k, KERNELS_POOL_MEAN, e->in.data, ELEMENTS / 1024, 1024, e->out.data, NULL);
}

static void run_pool(const kernels_table *k, void *context)
{
    elements *e = context;
    kernels_pool p = {KERNELS_POOL_MAX, 32, 32, 128, 16, 16, 3, 3, 2, 2, 0, 0};
    kernels_pool_run(k, &p, e->in.data, e->out.data, NULL);
}

static void run_layernorm(const kernels_table *k, void *context)
{
    elements *e = context;
    kernels_layernorm_run(k, e->in.data, e->out.data, ELEMENTS / 256, 256, 1e-6f, e->other.data,
                          e->other.data, NULL);
}

void bench_kernels(void)
{
    printf("%-44s", "one thread");
    for (kernels_level level = 0; level <= kernels_level_best(); level++)
        printf("  %-35s", kernels_level_name(level));
    printf("\n");
    for (kernels_type type = KERNELS_F32; type <= KERNELS_F16; type++) {
        conv(300, 3, 24, 3, 2, false, type);
        conv(75, 48, 192, 3, 1, false, type);
        conv(38, 64, 256, 3, 1, false, type);
        conv(75, 48, 192, 3, 2, false, type);
        conv(19, 160, 960, 1, 1, false, type);
        conv(19, 960, 160, 1, 1, false, type);
        conv(10, 256, 1536, 1, 1, false, type);
        conv(1, 1280, 1000, 1, 1, false, type);
        conv(19, 960, 960, 3, 1, true, type);
        conv(38, 256, 256, 3, 2, true, type);
        conv(19, 480, 480, 5, 1, true, type);
    }
    elements e = {.in = array_random(ELEMENTS, 4), .other = array_random(ELEMENTS, 1),
                  .out = array_new(ELEMENTS)};
    static const struct {
        const char *name;
        kernels_act act;
    } acts[] = {{"silu", {KERNELS_ACT_SILU, {0}}}, {"gelu", {KERNELS_ACT_GELU, {0}}},
                {"hard silu", {KERNELS_ACT_HARD_SILU, {1.0f / 6, 0.5f}}}};
    char name[64];
    for (size_t i = 0; i < sizeof acts / sizeof *acts; i++)
        for (int gradient = 0; gradient < 2; gradient++) {
            e.act = acts[i].act;
            e.gradient = gradient;
            snprintf(name, sizeof name, "%s%s, 128 Ki elements", acts[i].name,
                     gradient ? " gradient" : "");
            report(name, run_act, &e, ELEMENTS / 1e9, "Gelt/s");
        }
    report("add, 128 Ki elements", run_add, &e, ELEMENTS / 1e9, "Gelt/s");
    report("global mean of 128 pixels, 1024 channels", run_mean, &e, ELEMENTS / 1e9, "Gelt/s");
    report("pool max 3x3/2 32x32x128", run_pool, &e, ELEMENTS / 1e9, "Gelt/s");
    report("layernorm of 256, 512 rows", run_layernorm, &e, ELEMENTS / 1e9, "Gelt/s");
    array_free(e.in);
    array_free(e.other);
    array_free(e.out);
}
