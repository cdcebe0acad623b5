/* serve_main.c - the program dermis-serve: the commands `dermis serve` and `dermis user`. */
#include <malloc.h>
#include <string.h>

#include "cli/cli.h"

int main(int argc, char **argv)
{
    static const cli_command *const commands[] = {&cli_serve, &cli_user};
    dermis_error err;
    base_map_guard_install();
    base_out_guard_install();
    mallopt(M_MMAP_THRESHOLD, 128 * 1024); /* as in main.c: the allocator must not learn to keep buffers */
    for (size_t i = 0; argc > 1 && i < sizeof commands / sizeof *commands; i++)
        if (strcmp(argv[1], commands[i]->name) == 0)
            return commands[i]->run(commands[i], argc - 1, argv + 1);
    base_fail(&err, DERMIS_E_USAGE, "this program is started by `dermis serve` and `dermis user`");
    return cli_report(&err);
}
