/* convert.c - `dermis convert`: hands the work to dermis-convert, a process of its own. */
#include <string.h>

#include "cli/cli.h"

static int run(const cli_command *self, int argc, char **argv)
{
    (void)argc;
    (void)self;
    dermis_error err;
    int exit_code = 0;
    /* options, help included, are the converter's own */
    if (cli_run_converter(argv + 1, false, &exit_code, &err) != DERMIS_OK)
        return cli_report(&err);
    return exit_code;
}

const cli_command cli_convert = {"convert", "IN OUT.gguf [OPTION...]",
                                 "turns a Keras model (.keras, .h5) into a model file", run};
