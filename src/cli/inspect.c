/* inspect.c - `dermis inspect`: what stands in a model file, and what running it will cost. */
#include <jansson.h>
#include <string.h>

#include "cli/cli.h"

static const char notes[] = "Example: dermis inspect model.gguf --layers\n";

static double mb(size_t bytes)
{
    return (double)bytes / 1e6;
}

static void print_text(dermis_model *model, dermis_session *session, bool layers)
{
    dermis_model_info i;
    dermis_memory m;
    cli_memory p;
    dermis_model_get_info(model, &i);
    dermis_session_memory(session, &m);
    cli_memory_read(model, dermis_session_threads(session), &p);
    size_t photo = cli_memory_sample_photo(model);
    printf("name         %s\n", i.name ? i.name : "(none)");
    printf("source       %s\n", i.source ? i.source : "(unknown)");
    if (i.source_sha256)
        printf("sha256       %s\n", i.source_sha256);
    if (i.license)
        printf("licence      %s\n", i.license);
    printf("input        %u x %u x %u, preprocess %s\n", i.input_height, i.input_width,
           i.input_channels, i.preprocess ? i.preprocess : "none");
    printf("explained    %s\n", i.cam_layer ? i.cam_layer : "(no convolution)");
    printf("weights      %s, %.1f MB, %.2f million numbers\n", i.weight_type, mb(i.weight_bytes),
           (double)i.parameters / 1e6);
    printf("operations   %.3f billion multiply-adds a picture\n", (double)i.macs / 1e9);
    printf("arena        %.2f MB: activations %.2f, gradients %.2f, scratch %.2f (%u threads, %s)\n",
           mb(m.arena_bytes), mb(m.activation_bytes), mb(m.gradient_bytes), mb(m.scratch_bytes),
           dermis_session_threads(session), dermis_session_cpu(session));
    printf("prediction   at most %.1f MB resident: program %.1f, model %.1f, session %.1f, photograph "
           "%.1f (JPEG of 12 megapixels, 4 MiB)\n",
           mb(p.fixed_bytes + photo), mb(p.program_bytes), mb(p.model_bytes), mb(p.session_bytes),
           mb(photo));
    for (uint32_t k = 0; k < i.warning_count; k++)
        printf("warning      %s\n", dermis_model_warning(model, k));
    printf("classes      %u\n", i.class_count);
    for (uint32_t k = 0; k < i.class_count; k++)
        printf("  %3u  %s\n", k, dermis_model_class(model, k));
    if (!layers)
        return;
    printf("\n%5s  %-12s %-16s %10s %10s %10s %10s  %s\n", "step", "operator", "output", "M MACs",
           "weight KB", "arena at", "KB", "layer");
    for (unsigned s = 0; s < dermis_session_steps(session); s++) {
        dermis_step step;
        char shape[40];
        dermis_session_step(session, s, &step);
        snprintf(shape, sizeof shape, "%ux%ux%u", step.height, step.width, step.channels);
        printf("%5u  %-12s %-16s %10.2f %10.1f %10zu %10.1f  %s\n", s, step.op, shape,
               (double)step.macs / 1e6, (double)step.weight_bytes / 1e3, step.arena_offset,
               (double)step.arena_bytes / 1e3, step.name);
    }
}

static json_t *text_or_null(const char *text)
{
    return text ? json_string(text) : json_null();
}

static void print_json(dermis_model *model, dermis_session *session, bool layers)
{
    dermis_model_info i;
    dermis_memory m;
    cli_memory p;
    dermis_model_get_info(model, &i);
    dermis_session_memory(session, &m);
    cli_memory_read(model, dermis_session_threads(session), &p);
    size_t photo = cli_memory_sample_photo(model);
    json_t *classes = json_array(), *warnings = json_array(), *out;
    for (uint32_t k = 0; k < i.warning_count; k++)
        json_array_append_new(warnings, json_string(dermis_model_warning(model, k)));
    for (uint32_t k = 0; k < i.class_count; k++)
        json_array_append_new(classes, json_string(dermis_model_class(model, k)));
    out = json_pack(
        "{s:o, s:o, s:o, s:o, s:o, s:{s:i, s:i, s:i}, s:o, s:o, s:o, s:s, s:I, s:I, s:I, s:I, "
        "s:{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}}",
        "name", text_or_null(i.name), "source", text_or_null(i.source), "source_sha256",
        text_or_null(i.source_sha256), "license", text_or_null(i.license), "preprocess",
        text_or_null(i.preprocess), "input", "height", (int)i.input_height, "width",
        (int)i.input_width, "channels", (int)i.input_channels, "cam_layer",
        text_or_null(i.cam_layer), "classes", classes, "warnings", warnings, "weight_type", i.weight_type, "file_bytes",
        (json_int_t)i.file_bytes, "weight_bytes", (json_int_t)i.weight_bytes, "parameters",
        (json_int_t)i.parameters, "macs", (json_int_t)i.macs, "memory", "arena_bytes",
        (json_int_t)m.arena_bytes, "activation_bytes", (json_int_t)m.activation_bytes,
        "gradient_bytes", (json_int_t)m.gradient_bytes, "scratch_bytes",
        (json_int_t)m.scratch_bytes, "program_bytes", (json_int_t)p.program_bytes, "model_bytes",
        (json_int_t)p.model_bytes, "session_bytes", (json_int_t)p.session_bytes, "photo_bytes",
        (json_int_t)photo, "prediction_bytes", (json_int_t)(p.fixed_bytes + photo));
    json_t *rows = json_array();
    for (unsigned s = 0; layers && s < dermis_session_steps(session); s++) {
        dermis_step step;
        dermis_session_step(session, s, &step);
        json_array_append_new(
            rows, json_pack("{s:s, s:s, s:[i, i, i], s:I, s:I, s:I, s:I}", "layer", step.name,
                            "operator", step.op, "shape", (int)step.height, (int)step.width,
                            (int)step.channels, "macs", (json_int_t)step.macs, "weight_bytes",
                            (json_int_t)step.weight_bytes, "arena_offset",
                            (json_int_t)step.arena_offset, "arena_bytes",
                            (json_int_t)step.arena_bytes));
    }
    if (layers)
        json_object_set(out, "layers", rows);
    json_dumpf(out, stdout, JSON_INDENT(2));
    putchar('\n');
    json_decref(rows);
    json_decref(out);
}

static int run(const cli_command *self, int argc, char **argv)
{
    bool layers = false, json = false;
    unsigned threads = 0;
    const char *model_path = NULL;
    const cli_option options[] = {
        {"model", 'm', CLI_TEXT, &model_path, "FILE", "the same as MODEL", 0, 0},
        {"layers", 0, CLI_FLAG, &layers, NULL, "also each step, with its place in the arena", 0, 0},
        {"json", 0, CLI_FLAG, &json, NULL, "print JSON", 0, 0},
        {"threads", 0, CLI_NUMBER, &threads, "N", "plan for N threads (as many as CPUs)", 1, 256},
    };
    int exit_code;
    int operands = cli_parse(self, options, sizeof options / sizeof *options, notes, argc, argv,
                             &exit_code);
    if (operands < 0)
        return exit_code;
    dermis_error err;
    if (operands + (model_path != NULL) > 1) {
        base_fail(&err, DERMIS_E_USAGE, "inspect takes one model");
        return cli_report(&err);
    }
    char *path = NULL;
    dermis_model *model = NULL;
    dermis_session *session = NULL;
    dermis_options session_options;
    dermis_options_default(&session_options);
    session_options.threads = threads;
    exit_code = 0;
    if (cli_find_model(operands == 1 ? argv[1] : model_path, &path, &err) ||
        dermis_model_open(path, &model, &err) ||
        dermis_session_open(model, &session_options, &session, &err))
        exit_code = cli_report(&err);
    else if (json)
        print_json(model, session, layers);
    else
        print_text(model, session, layers);
    dermis_session_close(session);
    dermis_model_close(model);
    base_free(path);
    return cli_end(exit_code);
}

const cli_command cli_inspect = {"inspect", "[OPTION...] [MODEL]",
                                 "shows what a model is and what running it takes", run};
