/* settings.c - the server's table of settings as options of a command. */
#include <stdlib.h>
#include <string.h>

#include "cli/settings.h"

extern char **environ;

enum { MOST = 64, HELP_BYTES = 256 };

/* The option of one setting; its help, with the default, goes to `help`. */
static cli_option option_of(const server_setting *s, const char **text, char *help)
{
    bool choice = s->kind == SERVER_SWITCH;
    snprintf(help, HELP_BYTES, *s->standard ? "%s (%s)" : "%s", s->help, s->standard);
    return (cli_option){.name = s->name,
                        .letter = strcmp(s->name, "model") == 0 ? 'm' : 0,
                        .kind = choice ? CLI_SWITCH : CLI_TEXT,
                        .target = text,
                        .value = choice ? "[on|off]" : s->value,
                        .help = help};
}

int cli_read_settings(const cli_command *self, int argc, char **argv, const char *only, const cli_option *more,
                      size_t more_count, const char *help, server_settings *out, int *operands)
{
    cli_option options[MOST];
    char helps[MOST][HELP_BYTES];
    const char *texts[MOST] = {NULL}, *config = getenv("DERMIS_CONFIG");
    size_t count = 0;
    int exit_code = 0;
    dermis_error err;
    for (size_t i = 0; i < server_setting_count; i++)
        if (!only || strcmp(server_setting_table[i].name, only) == 0) {
            options[count] = option_of(&server_setting_table[i], &texts[i], helps[i]);
            count++;
        }
    options[count++] = (cli_option){"config", 0, CLI_TEXT, &config, "FILE", "settings, one `name = value` a line", 0, 0};
    for (size_t i = 0; i < more_count; i++)
        options[count++] = more[i];
    *operands = cli_parse(self, options, count, help, argc, argv, &exit_code);
    if (*operands < 0)
        return exit_code;
    if (server_settings_read(texts, config, out, &err) != DERMIS_OK) {
        *operands = -1;
        return cli_report(&err);
    }
    return 0;
}

void cli_warn_of_variables(void)
{
    char names[MOST][64];
    const char *list[MOST];
    size_t count = 0;
    for (; count < server_setting_count; count++)
        server_setting_variable(&server_setting_table[count], names[count], sizeof names[count]);
    snprintf(names[count++], sizeof names[0], "DERMIS_CONFIG");
    for (size_t i = 0; i < count; i++)
        list[i] = names[i];
    for (char **e = environ; *e; e++) {
        char name[64];
        bool known = strncmp(*e, "DERMIS_", 7) != 0;
        snprintf(name, sizeof name, "%.*s", (int)strcspn(*e, "="), *e);
        for (size_t i = 0; i < count && !known; i++)
            known = strcmp(name, names[i]) == 0;
        if (known)
            continue;
        for (char *c = name; *c; c++)
            if (*c < 0x20 || *c >= 0x7f)
                *c = '?';
        const char *near = cli_nearest(name, list, count);
        fprintf(stderr, "dermis: warning: %s in the environment is no setting%s%s\n", name, near ? "; did you mean " : "",
                near ? near : "");
    }
}
