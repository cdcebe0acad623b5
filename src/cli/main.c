/* main.c - finds the command and runs it. */
#include <malloc.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"

static const cli_command *const commands[] = {&cli_predict, &cli_serve, &cli_user,  &cli_convert,
                                              &cli_inspect, &cli_bench, &cli_check};

static void usage(FILE *out)
{
    fprintf(out, "dermis %s: what a photograph of skin looks like to a model, and where it shows. "
                 "No diagnosis.\n\nUsage: dermis COMMAND [OPTION...]\n\nCommands:\n",
            dermis_version());
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        fprintf(out, "  %-10s %s\n", commands[i]->name, commands[i]->summary);
    fprintf(out, "\n`dermis COMMAND --help` explains each.\nExample: dermis predict photo.jpg\n");
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        usage(stderr);
        return base_status_exit(DERMIS_E_USAGE);
    }
    const char *name = argv[1];
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 || strcmp(name, "help") == 0) {
        usage(stdout);
        return cli_end(0);
    }
    if (strcmp(name, "--version") == 0 || strcmp(name, "version") == 0) {
        printf("dermis %s\n", dermis_version());
        return cli_end(0);
    }
    base_map_guard_install();
    base_out_guard_install();
    /* pictures' buffers go back to the system when freed: the allocator must not learn to keep them */
    mallopt(M_MMAP_THRESHOLD, 128 * 1024);
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        if (strcmp(name, commands[i]->name) == 0)
            return commands[i]->run(commands[i], argc - 1, argv + 1);
    const char *names[sizeof commands / sizeof *commands];
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        names[i] = commands[i]->name;
    const char *near = cli_nearest(name, names, sizeof commands / sizeof *commands);
    dermis_error err;
    if (near)
        base_fail(&err, DERMIS_E_USAGE, "there is no command '%s'; did you mean %s?", name, near);
    else if (access(name, F_OK) == 0)
        base_fail(&err, DERMIS_E_USAGE, "'%s' is a file, not a command; `dermis predict %s` answers for "
                  "a photograph", name, name);
    else
        base_fail(&err, DERMIS_E_USAGE, "there is no command '%s'; `dermis --help` lists them", name);
    return cli_report(&err);
}
