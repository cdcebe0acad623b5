/* serve.c - `dermis serve`: reads the settings, finds the model, and hands over to the server. */
#include "cli/settings.h"

static const char notes[] =
    "Every setting NAME can also stand in the environment as DERMIS_NAME (upper case, _ for -), the older\n"
    "names HOST, PORT, MODEL, DATA_DIR, ENABLE_GRADCAM, DEBUG, SECRET_KEY and ALLOWED_HOSTS without the\n"
    "prefix, and in the file of --config as `name = value`. The command line comes first, then DERMIS_*,\n"
    "then the older names, then the file. docs/settings.md lists them.\n\n"
    "A setting of on or off alone, such as --debug, is on. Defaults stand in brackets.\n\n"
    "Signals: SIGTERM and SIGINT finish what was begun and end, SIGHUP takes the model's file anew.\n\n"
    "Example: dermis serve --port 8000 --data-dir /var/lib/dermis\n";

/* What the conversion left to say is said once, at the start; a model that cannot be opened is the server's
 * to report. */
static void warn_of(const char *path)
{
    dermis_model *model = NULL;
    if (dermis_model_open(path, &model, NULL) == DERMIS_OK)
        cli_warn(model);
    dermis_model_close(model);
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
    int exit_code = cli_read_settings(self, argc, argv, NULL, more, 1, notes, &settings, &operands);
    if (operands < 0)
        return exit_code;
    if (document) {
        server_settings_document(stdout);
        server_settings_release(&settings);
        return cli_end(0);
    }
    cli_warn_of_variables();
    dermis_status status = DERMIS_OK;
    char *model = NULL;
    if (operands > 0)
        status = base_fail(&err, DERMIS_E_USAGE, "serve: '%s' is no option; see `dermis serve --help`", argv[1]);
    if (!status)
        status = cli_find_model(*settings.model ? settings.model : NULL, &model, &err);
    if (!status)
        warn_of(model);
    if (!status)
        status = server_run(&settings, model, cli_memory_limit(), cli_program_bytes, &err);
    base_free(model);
    server_settings_release(&settings);
    return status ? cli_report(&err) : cli_end(0);
}

const cli_command cli_serve = {"serve", "[OPTION...]", "serves the pages and the API", run};
