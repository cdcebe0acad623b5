/* settings.h - the settings of the service as options of a command. */
#ifndef CLI_SETTINGS_H
#define CLI_SETTINGS_H

#include "cli/cli.h"
#include "server/server.h"

/* Parses argv into *out, with `more` options of the command's own. `only`: the one setting that is an option
 * of the command; NULL: all. *operands as cli_parse; where it is -1 the returned value is the exit code. */
int cli_read_settings(const cli_command *self, int argc, char **argv, const char *only, const cli_option *more,
                      size_t more_count, const char *help, server_settings *out, int *operands);
/* A line to standard error for each DERMIS_* in the environment that is none of the settings. */
void cli_warn_of_variables(void);

#endif
