/* user.c - `dermis user`: the operator's way to accounts. Passwords come from the terminal, without
 * echo and twice, or as one line of standard input; never from the command line. */
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "cli/settings.h"

static const char actions_help[] =
    "makes, lists and deletes accounts. ACTION is\n"
    "  add NAME [--operator]  make an account; operators may see /status/\n"
    "  list                   all accounts\n"
    "  passwd NAME            set another password and end all sessions\n"
    "  delete NAME [--yes]    delete the account and all that it keeps";

static const char notes[] =
    "The password is asked for at the terminal, or read as one line of standard input. The data folder is the\n"
    "service's: the same --data-dir, DERMIS_DATA_DIR or --config. Only add makes one that is not there.\n\n"
    "Example: dermis user add anna --operator --data-dir /var/lib/dermis\n";

/* What the command line asked for. */
typedef struct request {
    const char *action, *name, *folder;
    bool is_operator, yes;
} request;

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

/* Whether deleting is meant. Without a terminal nobody can be asked. */
static dermis_status confirm(const request *r, unsigned results, dermis_error *err)
{
    char answer[16] = "";
    if (r->yes)
        return DERMIS_OK;
    if (!isatty(STDIN_FILENO))
        return base_fail(err, DERMIS_E_USAGE, "user delete: nothing was deleted: say --yes where nobody can be asked");
    fprintf(stderr, "Delete %s with %u result%s from %s? [y/N] ", r->name, results, results == 1 ? "" : "s", r->folder);
    if (read_line(answer, sizeof answer) && (strcmp(answer, "y") == 0 || strcmp(answer, "yes") == 0))
        return DERMIS_OK;
    return base_fail(err, DERMIS_E_USAGE, "user delete: nothing was deleted");
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

static bool none(void *context, const store_result *result)
{
    (void)context, (void)result;
    return false;
}

static dermis_status delete_user(store *db, const request *r, dermis_error *err)
{
    store_user user;
    unsigned results = 0;
    const store_filter all = {.now = (int64_t)time(NULL), .limit = 1};
    dermis_status status = store_user_by_name(db, r->name, &user, err);
    if (!status)
        status = store_result_list(db, user.id, &all, none, NULL, &results, err);
    if (!status)
        status = confirm(r, results, err);
    if (!status)
        status = store_user_delete(db, user.id, err);
    if (!status)
        printf("deleted %s with %u result%s from %s\n", user.name, results, results == 1 ? "" : "s", r->folder);
    return status;
}

static dermis_status act(store *db, const request *r, dermis_error *err)
{
    char password[600] = "";
    if (strcmp(r->action, "list") == 0) {
        fprintf(stderr, "accounts in %s:\n", r->folder);
        return store_user_list(db, print_user, NULL, err);
    }
    if (strcmp(r->action, "delete") == 0)
        return delete_user(db, r, err);
    bool add = strcmp(r->action, "add") == 0;
    dermis_status status = ask_password(password, sizeof password, err);
    if (status == DERMIS_OK)
        status = add ? server_user_add(db, r->name, password, r->is_operator, err)
                     : server_user_set_password(db, r->name, password, err);
    explicit_bzero(password, sizeof password);
    if (status == DERMIS_OK)
        printf(add ? "added %s%s to %s\n" : "another password for %s%s in %s; its sessions are ended\n", r->name,
               r->is_operator ? ", an operator," : "", r->folder);
    return status;
}

/* Only an account that is made may make the folder; a mistyped name of one is said. */
static dermis_status find_folder(const server_settings *settings, bool make, char *out, size_t size, dermis_error *err)
{
    char file[3700];
    dermis_status status = server_data_path(settings, out, size, err);
    if (status || make)
        return status ? status : server_data_dir(settings, out, size, err);
    snprintf(file, sizeof file, "%s/dermis.db", out);
    if (access(file, F_OK) == 0)
        return DERMIS_OK;
    return base_fail(err, DERMIS_E_NOT_FOUND, "%s: no accounts are kept here (%s); name the service's folder with --data-dir or "
                     "DERMIS_DATA_DIR", out, access(out, F_OK) == 0 ? "no dermis.db in it" : "no such folder");
}

static int run(const cli_command *self, int argc, char **argv)
{
    static const char *const actions[] = {"add", "list", "passwd", "delete"};
    server_settings settings;
    dermis_error err;
    request r = {.action = "", .name = ""};
    bool known = false;
    int operands;
    const cli_option more[] = {
        {"operator", 0, CLI_FLAG, &r.is_operator, NULL, "with add: may see /status/", 0, 0},
        {"yes", 0, CLI_FLAG, &r.yes, NULL, "with delete: do not ask", 0, 0},
    };
    int exit_code = cli_read_settings(self, argc, argv, "data-dir", more, 2, notes, &settings, &operands);
    if (operands < 0)
        return exit_code;
    if (operands > 0)
        r.action = argv[1];
    if (operands > 1)
        r.name = argv[2];
    for (int i = 0; i < 4; i++)
        known |= strcmp(r.action, actions[i]) == 0;
    bool list = strcmp(r.action, "list") == 0, add = strcmp(r.action, "add") == 0, drop = strcmp(r.action, "delete") == 0;
    dermis_status status = DERMIS_OK;
    store *db = NULL;
    char folder[3600];
    if (!known)
        status = base_fail(&err, DERMIS_E_USAGE, "user: the action is add, list, passwd or delete; see `dermis user --help`");
    else if (operands != (list ? 1 : 2))
        status = base_fail(&err, DERMIS_E_USAGE, "user %s: %s", r.action, list ? "takes no name" : "name one account");
    else if ((r.is_operator && !add) || (r.yes && !drop))
        status = base_fail(&err, DERMIS_E_USAGE, "user %s: --%s belongs to %s", r.action, r.yes ? "yes" : "operator",
                           r.yes ? "delete" : "add");
    r.folder = folder;
    if (!status)
        status = find_folder(&settings, add, folder, sizeof folder, &err);
    if (!status)
        status = store_open(folder, false, (int64_t)time(NULL), &db, &err);
    if (!status)
        status = act(db, &r, &err);
    store_close(db);
    server_settings_release(&settings);
    return status ? cli_report(&err) : cli_end(0);
}

const cli_command cli_user = {"user", "ACTION [NAME] [OPTION...]", actions_help, run};
