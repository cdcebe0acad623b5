/* main.c - finds the command and runs it. */
#include <malloc.h>
#include <string.h>

#include "cli/cli.h"

static const cli_command *const commands[] = {&cli_predict, &cli_convert, &cli_inspect, &cli_bench,
                                              &cli_check};

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
        return 0;
    }
    if (strcmp(name, "--version") == 0 || strcmp(name, "version") == 0) {
        printf("dermis %s\n", dermis_version());
        return 0;
    }
    base_map_guard_install();
    /* pictures' buffers go back to the system when freed: the allocator must not learn to keep them */
    mallopt(M_MMAP_THRESHOLD, 128 * 1024);
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        if (strcmp(name, commands[i]->name) == 0)
            return commands[i]->run(commands[i], argc - 1, argv + 1);
    fprintf(stderr, "dermis: there is no command '%s'; `dermis --help` lists them\n", name);
    return base_status_exit(DERMIS_E_USAGE);
}
