/* settings.h - the settings of the service as options of a command. */
#ifndef CLI_SETTINGS_H
#define CLI_SETTINGS_H

#include "cli/cli.h"
#include "server/server.h"

/* Parses argv into *out, with `more` options of the command's own. *operands as cli_parse; where it is
 * -1 the returned value is the exit code. */
int cli_read_settings(const cli_command *self, int argc, char **argv, const cli_option *more, size_t more_count,
                      const char *help, server_settings *out, int *operands);

#endif
