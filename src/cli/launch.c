/* launch.c - `dermis serve` and `dermis user` are the program dermis-serve: HTTP, TLS and the database do
 * not stand in the address space of a prediction. This process becomes that one. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"

static int launch(const cli_command *self, int argc, char **argv)
{
    static const char *const candidates[] = {"dermis-serve", "../libexec/dermis/dermis-serve", NULL};
    (void)self, (void)argc;
    dermis_error err;
    char *path = cli_beside_program(candidates);
    if (!path) {
        base_fail(&err, DERMIS_E_NOT_FOUND, "the program dermis-serve does not stand beside dermis: build or install it");
        return cli_report(&err);
    }
    execv(path, argv - 1); /* argv[0] of main is in front: the command's name is the first argument */
    base_fail(&err, DERMIS_E_IO, "%s: cannot be started: %s", path, strerror(errno));
    base_free(path);
    return cli_report(&err);
}

const cli_command cli_serve = {"serve", "[OPTION...]", "serves the pages and the API", launch};
const cli_command cli_user = {"user", "ACTION [NAME] [OPTION...]", "makes, lists and deletes accounts", launch};
