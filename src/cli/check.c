/* check.c - `dermis check`: whether this machine and a model go together, before deployment. */
#include <stdlib.h>

#include "cli/cli.h"

static const char notes[] = "Example: DERMIS_CPU=avx2 dermis check\n";

static int run(const cli_command *self, int argc, char **argv)
{
    size_t memory = 0;
    const cli_option options[] = {
        {"memory", 0, CLI_SIZE, &memory, "SIZE", "budget for arena and decoding, such as 64M (none)", 0, 0},
    };
    int exit_code;
    int operands = cli_parse(self, options, 1, notes, argc, argv, &exit_code);
    if (operands < 0)
        return exit_code;
    dermis_error err;
    char *path = NULL;
    dermis_model *model = NULL;
    dermis_session *session = NULL;
    dermis_options session_options;
    dermis_options_default(&session_options);
    session_options.memory_bytes = memory;
    exit_code = 0;
    if (cli_find_model(operands > 0 ? argv[1] : NULL, &path, &err) ||
        dermis_model_open(path, &model, &err) ||
        dermis_session_open(model, &session_options, &session, &err)) {
        exit_code = cli_report(&err);
    } else {
        dermis_memory m;
        dermis_session_memory(session, &m);
        const char *cap = getenv("DERMIS_CPU");
        printf("program  dermis %s\n", dermis_version());
        printf("cpu      %s chosen%s%s, %u CPUs\n", dermis_session_cpu(session),
               cap ? ", DERMIS_CPU=" : "", cap ? cap : "", base_cpu_count());
        printf("model    %s: valid\n", path);
        printf("memory   weights %.1f MB mapped, arena %.1f MB, resident now %.1f MB\n",
               (double)m.weight_bytes / 1e6, (double)m.arena_bytes / 1e6,
               (double)m.resident_bytes / 1e6);
        printf("ok\n");
    }
    dermis_session_close(session);
    dermis_model_close(model);
    base_free(path);
    return exit_code;
}

const cli_command cli_check = {"check", "[OPTION...] [MODEL]",
                               "checks machine and model before deployment", run};
