/* check.c - `dermis check`: whether this machine and a model go together, before deployment. Each
 * thing is tried, not only looked at; the exit code is that of the first that failed. */
#include <stdlib.h>
#include <sys/resource.h>

#include "cli/cli.h"

static const char notes[] =
    "Tries: the CPU level, the model's validity, a forward pass and its explanation, the memory that a\n"
    "prediction of a 12-megapixel JPEG can take against --memory and this process's limits, and the\n"
    "converter. Without MODEL the bundled one is checked.\n"
    "Exit code: 0 all well, or the first failure's (2 usage, 3 no such file, 9 model not valid, 10 not\n"
    "supported, 12 over the memory limit, 13 converter, 70 the answer is wrong).\n\n"
    "Example: DERMIS_CPU=avx2 dermis check --memory 64M model.gguf\n";

static double mb(size_t bytes)
{
    return (double)bytes / 1e6;
}

static void print_cpu(const char *used)
{
    const char *cap = getenv("DERMIS_CPU"), *level;
    bool available;
    printf("cpu        available:");
    for (unsigned i = 0; (level = dermis_cpu_level(i, &available)); i++)
        if (available)
            printf(" %s", level);
    printf("; used: %s%s%s; %u CPUs\n", used, cap && *cap ? ", DERMIS_CPU=" : "",
           cap && *cap ? cap : "", base_cpu_count());
}

/* One run over a grey picture: the answer must be numbers. */
static dermis_status try_run(dermis_session *session, const dermis_model_info *info, dermis_error *err)
{
    float *input = dermis_session_input(session);
    size_t n = (size_t)info->input_height * info->input_width * info->input_channels;
    for (size_t i = 0; i < n; i++)
        input[i] = 128;
    double start = base_now_ms();
    dermis_session_run(session);
    double run = base_now_ms() - start;
    dermis_status status = dermis_session_check(session, err);
    if (status != DERMIS_OK)
        return status;
    printf("forward    ok, %.1f ms", run);
    if (info->cam_layer) {
        dermis_map map;
        status = dermis_session_explain(session, 0, DERMIS_SCORE_PROBABILITY, &map, err);
        if (status != DERMIS_OK) {
            printf("\n");
            return status;
        }
        printf("; explained at %s, %ux%u", info->cam_layer, map.height, map.width);
    }
    printf("\n");
    return DERMIS_OK;
}

static dermis_status try_memory(const dermis_model *model, const dermis_session *session,
                                size_t budget, dermis_error *err)
{
    cli_memory m;
    cli_memory_read(model, dermis_session_threads(session), &m);
    size_t photo = cli_memory_sample_photo(model), bound = m.fixed_bytes + photo;
    size_t group = cli_memory_limit(), limit = budget;
    const char *whose = "--memory";
    if (group && (!limit || group < limit)) {
        limit = group;
        whose = "the control group";
    }
    struct rlimit space;
    bool limited = getrlimit(RLIMIT_AS, &space) == 0 && space.rlim_cur != RLIM_INFINITY;
    printf("memory     at most %.1f MB resident: program %.1f, model %.1f, session %.1f, photograph %.1f\n",
           mb(bound), mb(m.program_bytes), mb(m.model_bytes), mb(m.session_bytes), mb(photo));
    if (limit)
        printf("limit      %.4g MiB, %.1f MB (%s)\n", (double)limit / 1048576, mb(limit), whose);
    else
        printf("limit      none by --memory or control group\n");
    if (limited)
        printf("addresses  %.1f MB allowed (RLIMIT_AS)\n", mb((size_t)space.rlim_cur));
    if (limit && bound > limit)
        return base_fail(err, DERMIS_E_BUDGET,
                         "a prediction can take %.1f MB, %s allows %.4g MiB (%.1f MB); allow more, or "
                         "convert the model with --type f16",
                         mb(bound), whose, (double)limit / 1048576, mb(limit));
    if (limited && bound > space.rlim_cur)
        return base_fail(err, DERMIS_E_BUDGET,
                         "a prediction can take %.1f MB, RLIMIT_AS allows %.1f MB of addresses; see "
                         "`ulimit -v`",
                         mb(bound), mb((size_t)space.rlim_cur));
    return DERMIS_OK;
}

static dermis_status try_converter(dermis_error *err)
{
    char *arguments[] = {"--help", NULL};
    int exit_code = 0;
    const cli_conversion job = {.arguments = arguments, .silent = true};
    dermis_status status = cli_run_converter(&job, &exit_code, err);
    if (status == DERMIS_OK && exit_code != 0)
        status = base_fail(err, DERMIS_E_CONVERTER, "the converter does not start: it ended with %d",
                           exit_code);
    if (status == DERMIS_OK)
        printf("converter  starts\n");
    return status;
}

static int run(const cli_command *self, int argc, char **argv)
{
    size_t memory = 0;
    unsigned threads = 0;
    const char *model_path = NULL;
    const cli_option options[] = {
        {"model", 'm', CLI_TEXT, &model_path, "FILE", "the same as MODEL", 0, 0},
        {"memory", 0, CLI_SIZE, &memory, "SIZE", "what a prediction may make resident, such as 64M (none)", 0, 0},
        {"threads", 0, CLI_NUMBER, &threads, "N", "threads (as many as CPUs)", 1, 256},
    };
    int exit_code;
    int operands = cli_parse(self, options, sizeof options / sizeof *options, notes, argc, argv,
                             &exit_code);
    if (operands < 0)
        return exit_code;
    dermis_error err;
    if (operands + (model_path != NULL) > 1) {
        base_fail(&err, DERMIS_E_USAGE, "check takes one model, not also %s", argv[operands]);
        return cli_report(&err);
    }
    char *path = NULL;
    dermis_model *model = NULL;
    dermis_session *session = NULL;
    dermis_options session_options;
    dermis_options_default(&session_options);
    session_options.threads = threads;
    exit_code = 0;
    printf("program    dermis %s\n", dermis_version());
    if (cli_find_model(operands > 0 ? argv[1] : model_path, &path, &err) ||
        dermis_model_open(path, &model, &err) ||
        cli_session_open(model, &session_options, memory, &session, &err)) {
        exit_code = cli_report(&err);
    } else {
        dermis_model_info info;
        dermis_model_get_info(model, &info);
        print_cpu(dermis_session_cpu(session));
        printf("model      %s: valid\n", path);
        for (uint32_t i = 0; i < info.warning_count; i++)
            printf("warning    %s\n", dermis_model_warning(model, i));
        if (try_run(session, &info, &err) || try_memory(model, session, memory, &err))
            exit_code = cli_report(&err);
    }
    if (try_converter(&err) != DERMIS_OK) {
        int failed = cli_report(&err);
        exit_code = exit_code ? exit_code : failed;
    }
    printf("%s\n", exit_code ? "FAILED" : "ok");
    dermis_session_close(session);
    dermis_model_close(model);
    base_free(path);
    return cli_end(exit_code);
}

const cli_command cli_check = {"check", "[OPTION...] [MODEL]",
                               "checks machine and model before deployment", run};
