/* bench.c - `dermis bench`: latency of the forward pass, and where its time goes. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"

#define WARM_UP 3

static const char notes[] =
    "The input is fixed noise; decoding is not timed. The first 3 runs do not count.\n"
    "Example: dermis bench -m model.gguf --threads 1 --layers\n";

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

/* Noise of 0..255 from a linear congruential generator: the same on every machine. */
static void fill_noise(dermis_session *session, const dermis_model_info *info)
{
    float *input = dermis_session_input(session);
    size_t n = (size_t)info->input_height * info->input_width * info->input_channels;
    uint32_t state = 1;
    for (size_t i = 0; i < n; i++) {
        state = state * 1664525u + 1013904223u;
        input[i] = (float)(state >> 24);
    }
}

static void print_layers(const dermis_session *session, const double *sum, unsigned repeat)
{
    unsigned steps = dermis_session_steps(session);
    double whole = 0;
    for (unsigned s = 0; s < steps; s++)
        whole += sum[s];
    printf("\n%9s %7s %9s  %-12s %-14s %s\n", "ms", "share", "GMAC/s", "operator", "output", "layer");
    for (unsigned s = 0; s < steps; s++) {
        dermis_step step;
        char shape[40];
        dermis_session_step(session, s, &step);
        snprintf(shape, sizeof shape, "%ux%ux%u", step.height, step.width, step.channels);
        double ms = sum[s] / repeat;
        printf("%9.4f %6.2f%% %9.1f  %-12s %-14s %s\n", ms, whole > 0 ? 100 * sum[s] / whole : 0,
               ms > 0 ? (double)step.macs / ms / 1e6 : 0, step.op, shape, step.name);
    }
}

static json_t *json_layers(const dermis_session *session, const double *sum, unsigned repeat)
{
    unsigned steps = dermis_session_steps(session);
    json_t *rows = json_array();
    double whole = 0;
    for (unsigned s = 0; s < steps; s++)
        whole += sum[s];
    for (unsigned s = 0; s < steps; s++) {
        dermis_step step;
        dermis_session_step(session, s, &step);
        double ms = sum[s] / repeat;
        json_array_append_new(
            rows, json_pack("{s:s, s:s, s:[i, i, i], s:I, s:f, s:f, s:f}", "layer", step.name,
                            "operator", step.op, "shape", (int)step.height, (int)step.width,
                            (int)step.channels, "macs", (json_int_t)step.macs, "ms", ms, "share",
                            whole > 0 ? sum[s] / whole : 0, "gmac_per_second",
                            ms > 0 ? (double)step.macs / ms / 1e6 : 0));
    }
    return rows;
}

static int run(const cli_command *self, int argc, char **argv)
{
    const char *model_path = NULL, *cpu = NULL;
    unsigned threads = 0, repeat = 20;
    bool layers = false, json = false;
    const cli_option options[] = {
        {"model", 'm', CLI_TEXT, &model_path, "FILE", "model file or Keras model (the bundled one)", 0, 0},
        {"threads", 0, CLI_NUMBER, &threads, "N", "threads (as many as CPUs)", 1, 256},
        {"repeat", 0, CLI_NUMBER, &repeat, "N", "runs that count (20)", 1, 100000},
        {"cpu", 0, CLI_TEXT, &cpu, "LEVEL", "at most scalar, avx2 or avx512 (the best there is)", 0, 0},
        {"layers", 0, CLI_FLAG, &layers, NULL, "also a table by layer", 0, 0},
        {"json", 0, CLI_FLAG, &json, NULL, "print JSON", 0, 0},
    };
    int exit_code;
    int operands = cli_parse(self, options, sizeof options / sizeof *options, notes, argc, argv,
                             &exit_code);
    if (operands < 0)
        return exit_code;
    dermis_error err;
    if (operands > 0) {
        base_fail(&err, DERMIS_E_USAGE, "bench takes no operand; name the model with -m");
        return cli_report(&err);
    }
    char *path = NULL;
    dermis_model *model = NULL;
    dermis_session *session = NULL;
    double *times = NULL, *sum = NULL, *step_ms = NULL;
    dermis_options session_options;
    dermis_options_default(&session_options);
    session_options.threads = threads;
    session_options.cpu = cpu;
    exit_code = 0;
    double start = base_now_ms();
    if (cli_find_model(model_path, &path, &err) || dermis_model_open(path, &model, &err) ||
        dermis_session_open(model, &session_options, &session, &err)) {
        exit_code = cli_report(&err);
        goto out;
    }
    double load_ms = base_now_ms() - start, cam_ms = 0;
    dermis_model_info info;
    dermis_model_get_info(model, &info);
    cli_warn(model);
    unsigned steps = dermis_session_steps(session);
    times = base_calloc(BASE_TAG_CLI, repeat, sizeof *times);
    sum = base_calloc(BASE_TAG_CLI, steps + 1, sizeof *sum);
    step_ms = base_calloc(BASE_TAG_CLI, steps + 1, sizeof *step_ms);
    if (!times || !sum || !step_ms) {
        base_fail(&err, DERMIS_E_MEMORY, "not enough memory");
        exit_code = cli_report(&err);
        goto out;
    }
    fill_noise(session, &info);
    for (unsigned i = 0; i < WARM_UP; i++)
        dermis_session_run(session);
    for (unsigned i = 0; i < repeat; i++) {
        double at = base_now_ms();
        if (layers)
            dermis_session_run_timed(session, step_ms);
        else
            dermis_session_run(session);
        times[i] = base_now_ms() - at;
        for (unsigned s = 0; layers && s < steps; s++)
            sum[s] += step_ms[s];
    }
    if (info.cam_layer) {
        dermis_map map;
        dermis_session_explain(session, 0, DERMIS_SCORE_PROBABILITY, &map, NULL);
        double at = base_now_ms();
        for (unsigned i = 0; i < repeat; i++)
            dermis_session_explain(session, 0, DERMIS_SCORE_PROBABILITY, &map, NULL);
        cam_ms = (base_now_ms() - at) / repeat;
    }
    qsort(times, repeat, sizeof *times, ascending);
    double p50 = times[repeat / 2], p95 = times[repeat * 95 / 100];
    if (json) {
        json_t *out = json_pack(
            "{s:{s:f, s:f, s:f}, s:f, s:f, s:i, s:s, s:I, s:f}", "latency_ms", "p50", p50, "p95",
            p95, "min", times[0], "load_ms", load_ms, "cam_ms", cam_ms, "threads",
            (int)dermis_session_threads(session), "cpu", dermis_session_cpu(session),
            "peak_rss_bytes", (json_int_t)base_rss_peak_bytes(), "gmac_per_second",
            (double)info.macs / p50 / 1e6);
        if (layers)
            json_object_set_new(out, "layers", json_layers(session, sum, repeat));
        json_dumpf(out, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(6));
        putchar('\n');
        json_decref(out);
    } else {
        printf("%s: median %.2f ms, 95 %% %.2f, least %.2f; map %.3f ms (%.2f %%); %.1f GMAC/s; %u "
               "threads, %s; peak %.1f MB\n",
               info.name ? info.name : path, p50, p95, times[0], cam_ms, 100 * cam_ms / p50,
               (double)info.macs / p50 / 1e6, dermis_session_threads(session),
               dermis_session_cpu(session), (double)base_rss_peak_bytes() / 1e6);
        if (layers)
            print_layers(session, sum, repeat);
    }
out:
    base_free(times);
    base_free(sum);
    base_free(step_ms);
    dermis_session_close(session);
    dermis_model_close(model);
    base_free(path);
    return cli_end(exit_code);
}

const cli_command cli_bench = {"bench", "[OPTION...]", "times the forward pass of a model", run};
