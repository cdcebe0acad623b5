/* serve.c - `dermis serve`: reads the settings, finds the model, and hands over to the server. */
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "server/server.h"

static const char notes[] =
    "Every setting NAME can also stand in the environment as DERMIS_NAME (upper case, _ for -), the older\n"
    "names HOST, PORT, MODEL, DATA_DIR, ENABLE_GRADCAM, DEBUG, SECRET_KEY and ALLOWED_HOSTS without the\n"
    "prefix, and in the file of --config as `name = value`. The command line comes first, then DERMIS_*,\n"
    "then the older names, then the file. docs/settings.md lists them.\n\n"
    "Signals: SIGTERM and SIGINT finish what was begun and end, SIGHUP takes the model's file anew.\n\n"
    "Example: dermis serve --port 8000 --data-dir /var/lib/dermis\n";

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

static int run(const cli_command *self, int argc, char **argv)
{
    server_settings settings;
    dermis_error err;
    bool document = false;
    int operands;
    const cli_option more[] = {
        {"settings", 0, CLI_FLAG, &document, NULL, "print all settings as a table and end", 0, 0},
    };
    int exit_code = cli_read_settings(self, argc, argv, more, 1, notes, &settings, &operands);
    if (operands < 0)
        return exit_code;
    if (document) {
        server_settings_document(stdout);
        server_settings_release(&settings);
        return cli_end(0);
    }
    dermis_status status = DERMIS_OK;
    char *model = NULL;
    if (operands > 0)
        status = base_fail(&err, DERMIS_E_USAGE, "serve: '%s' is no option; see `dermis serve --help`", argv[1]);
    if (!status)
        status = cli_find_model(*settings.model ? settings.model : NULL, &model, &err);
    if (!status)
        status = server_run(&settings, model, cli_memory_limit(), cli_program_bytes, &err);
    base_free(model);
    server_settings_release(&settings);
    return status ? cli_report(&err) : cli_end(0);
}

const cli_command cli_serve = {"serve", "[OPTION...]", "serves the pages and the API", run};
