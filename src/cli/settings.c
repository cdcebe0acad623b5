/* settings.c - the server's table of settings as options of a command. */
#include <stdlib.h>
#include <string.h>

#include "cli/settings.h"

int cli_read_settings(const cli_command *self, int argc, char **argv, const cli_option *more, size_t more_count,
                      const char *help, server_settings *out, int *operands)
{
    enum { MOST = 64 };
    cli_option options[MOST];
    const char *texts[MOST] = {NULL}, *config = getenv("DERMIS_CONFIG");
    bool flags[MOST] = {false};
    size_t count = 0;
    int exit_code = 0;
    dermis_error err;
    for (; count < server_setting_count; count++) {
        const server_setting *s = &server_setting_table[count];
        bool flag = s->kind == SERVER_SWITCH && strcmp(s->standard, "off") == 0;
        options[count] = (cli_option){.name = s->name,
                                      .letter = strcmp(s->name, "model") == 0 ? 'm' : 0,
                                      .kind = flag ? CLI_FLAG : CLI_TEXT,
                                      .target = flag ? (void *)&flags[count] : (void *)&texts[count],
                                      .value = flag ? NULL : s->value,
                                      .help = s->help};
    }
    options[count++] = (cli_option){"config", 0, CLI_TEXT, &config, "FILE", "settings, one `name = value` a line", 0, 0};
    for (size_t i = 0; i < more_count; i++)
        options[count++] = more[i];
    *operands = cli_parse(self, options, count, help, argc, argv, &exit_code);
    if (*operands < 0)
        return exit_code;
    for (size_t i = 0; i < server_setting_count; i++)
        if (flags[i])
            texts[i] = "on";
    if (server_settings_read(texts, config, out, &err) != DERMIS_OK) {
        *operands = -1;
        return cli_report(&err);
    }
    return 0;
}
