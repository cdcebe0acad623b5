/* convert.c - `dermis convert`: hands the work to dermis-convert, a process of its own. */
#include <string.h>

#include "cli/cli.h"

/* IN and OUT among the converter's arguments, for what is to be said and done when it dies: every
 * option but --quiet and --help takes a value. */
static void find_operands(char *const *argv, cli_conversion *job)
{
    for (bool options = true; *argv; argv++) {
        const char *a = *argv;
        if (options && strcmp(a, "--") == 0) {
            options = false;
        } else if (options && a[0] == '-' && a[1]) {
            bool flag = a[1] != '-' || strchr("qh", a[2]) || strchr(a, '=');
            if (!flag && argv[1])
                argv++;
        } else if (!job->in) {
            job->in = a;
        } else {
            job->out = a;
            return;
        }
    }
}

static int run(const cli_command *self, int argc, char **argv)
{
    (void)argc;
    (void)self;
    dermis_error err;
    int exit_code = 0;
    static char called[] = "dermis convert";
    cli_conversion job = {.arguments = argv + 1, .called = called}; /* options, help included, are its own */
    find_operands(argv + 1, &job);
    if (cli_run_converter(&job, &exit_code, &err) != DERMIS_OK)
        return cli_report(&err);
    return exit_code;
}

const cli_command cli_convert = {"convert", "IN OUT.gguf [OPTION...]",
                                 "turns a Keras model (.keras, .h5) into a model file", run};
