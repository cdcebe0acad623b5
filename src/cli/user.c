/* user.c - `dermis user`: the operator's way to accounts. Passwords come from the terminal, without
 * echo and twice, or as one line of standard input; never from the command line. */
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "cli/settings.h"

static const char notes[] =
    "ACTION is\n"
    "  add NAME [--operator]  make an account; operators may see /status/\n"
    "  list                   all accounts\n"
    "  passwd NAME            set another password and end all sessions\n"
    "  delete NAME            delete the account and all that it keeps\n\n"
    "The password is asked for at the terminal, or read as one line of standard input.\n\n"
    "Example: dermis user add anna --operator --data-dir /var/lib/dermis\n";

static bool read_line(char *out, size_t size)
{
    if (!fgets(out, (int)size, stdin))
        return false;
    size_t n = strcspn(out, "\r\n");
    if (!out[n] && n + 1 == size)
        return false; /* longer than any password */
    out[n] = 0;
    return true;
}

static bool ask(const char *prompt, char *out, size_t size)
{
    struct termios old, silent;
    if (!isatty(STDIN_FILENO))
        return read_line(out, size);
    fprintf(stderr, "%s", prompt);
    tcgetattr(STDIN_FILENO, &old);
    silent = old;
    silent.c_lflag &= ~(tcflag_t)ECHO;
    tcsetattr(STDIN_FILENO, TCSAFLUSH, &silent);
    bool fine = read_line(out, size);
    tcsetattr(STDIN_FILENO, TCSAFLUSH, &old);
    fputc('\n', stderr);
    return fine;
}

static dermis_status ask_password(char *out, size_t size, dermis_error *err)
{
    char again[600];
    dermis_status status = DERMIS_OK;
    if (!ask("Password: ", out, size))
        return base_fail(err, DERMIS_E_USAGE, "user: no password was given");
    if (isatty(STDIN_FILENO) && (!ask("The same again: ", again, sizeof again) || strcmp(out, again) != 0))
        status = base_fail(err, DERMIS_E_USAGE, "user: the two passwords are not the same");
    explicit_bzero(again, sizeof again);
    return status;
}

static bool print_user(void *context, const store_user *user)
{
    char day[32];
    time_t at = (time_t)user->created;
    struct tm t;
    (void)context;
    gmtime_r(&at, &t);
    strftime(day, sizeof day, "%Y-%m-%d", &t);
    printf("%s  %s%s\n", day, user->name, user->is_operator ? "  (operator)" : "");
    return true;
}

static dermis_status act(store *db, const char *action, const char *name, bool is_operator, dermis_error *err)
{
    char password[600] = "";
    store_user user;
    dermis_status status;
    if (strcmp(action, "list") == 0)
        return store_user_list(db, print_user, NULL, err);
    if (strcmp(action, "delete") == 0) {
        status = store_user_by_name(db, name, &user, err);
        return status ? status : store_user_delete(db, user.id, err);
    }
    status = ask_password(password, sizeof password, err);
    if (status == DERMIS_OK)
        status = strcmp(action, "add") == 0 ? server_user_add(db, name, password, is_operator, err)
                                            : server_user_set_password(db, name, password, err);
    explicit_bzero(password, sizeof password);
    return status;
}

static int run(const cli_command *self, int argc, char **argv)
{
    static const char *const actions[] = {"add", "list", "passwd", "delete"};
    server_settings settings;
    dermis_error err;
    bool is_operator = false, known = false;
    int operands;
    const cli_option more[] = {
        {"operator", 0, CLI_FLAG, &is_operator, NULL, "with add: may see /status/", 0, 0},
    };
    int exit_code = cli_read_settings(self, argc, argv, "data-dir", more, 1, notes, &settings, &operands);
    if (operands < 0)
        return exit_code;
    const char *action = operands > 0 ? argv[1] : "";
    for (int i = 0; i < 4; i++)
        known |= strcmp(action, actions[i]) == 0;
    dermis_status status = DERMIS_OK;
    store *db = NULL;
    char folder[3600];
    if (!known)
        status = base_fail(&err, DERMIS_E_USAGE, "user: the action is add, list, passwd or delete; see `dermis user --help`");
    else if (operands != (strcmp(action, "list") == 0 ? 1 : 2))
        status = base_fail(&err, DERMIS_E_USAGE, "user %s: %s", action,
                           strcmp(action, "list") == 0 ? "takes no name" : "name one account");
    if (!status)
        status = server_data_dir(&settings, folder, sizeof folder, &err);
    if (!status)
        status = store_open(folder, false, (int64_t)time(NULL), &db, &err);
    if (!status)
        status = act(db, action, operands > 1 ? argv[2] : "", is_operator, &err);
    store_close(db);
    server_settings_release(&settings);
    return status ? cli_report(&err) : cli_end(0);
}

const cli_command cli_user = {"user", "ACTION [NAME] [OPTION...]", "makes, lists and deletes accounts", run};
