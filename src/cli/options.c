/* options.c - one parser and one help text for all commands, from their tables of options. */
#include "cli/cli.h"

#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MAX_OPTIONS 64

static void print_help(const cli_command *command, const cli_option *options, size_t count,
                       const char *notes)
{
    printf("Usage: dermis %s %s\n%s\n\nOptions:\n", command->name, command->arguments,
           command->summary);
    for (size_t i = 0; i < count; i++) {
        char left[64];
        char letter[8] = "    ";
        if (options[i].letter)
            snprintf(letter, sizeof letter, "-%c, ", options[i].letter);
        snprintf(left, sizeof left, "%s--%s %s", letter, options[i].name,
                 options[i].value ? options[i].value : "");
        printf("  %-28s %s\n", left, options[i].help);
    }
    printf("  %-28s %s\n", "-h, --help", "this text");
    if (notes)
        printf("\n%s", notes);
}

static bool parse_size(const char *text, size_t *out)
{
    char *end;
    errno = 0;
    double v = strtod(text, &end);
    if (end == text || errno || !(v >= 0))
        return false;
    switch (*end) {
    case 'k':
    case 'K':
        v *= 1024;
        end++;
        break;
    case 'm':
    case 'M':
        v *= 1024 * 1024;
        end++;
        break;
    case 'g':
    case 'G':
        v *= 1024.0 * 1024 * 1024;
        end++;
        break;
    }
    if (*end == 'B')
        end++;
    if (*end || v > 9e15)
        return false;
    *out = (size_t)v;
    return true;
}

static bool take(const cli_command *command, const cli_option *o, const char *text)
{
    char *end;
    double v;
    switch (o->kind) {
    case CLI_FLAG:
        *(bool *)o->target = true;
        return true;
    case CLI_SWITCH:
    case CLI_TEXT:
        *(const char **)o->target = text;
        return true;
    case CLI_SIZE:
        if (parse_size(text, o->target))
            return true;
        fprintf(stderr, "dermis %s: --%s takes a size such as 64M, not '%s'\n", command->name,
                o->name, text);
        return false;
    case CLI_NUMBER:
    case CLI_REAL:
        v = strtod(text, &end);
        if (end == text || *end || !(v >= o->minimum && v <= o->maximum) ||
            (o->kind == CLI_NUMBER && v != floor(v))) {
            fprintf(stderr, "dermis %s: --%s takes a number from %g to %g, not '%s'\n",
                    command->name, o->name, o->minimum, o->maximum, text);
            return false;
        }
        if (o->kind == CLI_NUMBER)
            *(unsigned *)o->target = (unsigned)v;
        else
            *(float *)o->target = (float)v;
        return true;
    }
    return false;
}

/* Edits that make `a` of `b`: letters put in, left out, changed, or two neighbours swapped. */
static unsigned distance(const char *a, const char *b)
{
    enum { LONGEST = 24 };
    unsigned d[LONGEST + 1][LONGEST + 1];
    size_t n = strlen(a), m = strlen(b);
    if (n > LONGEST || m > LONGEST)
        return LONGEST;
    for (size_t i = 0; i <= n; i++)
        for (size_t k = 0; k <= m; k++) {
            if (i == 0 || k == 0) {
                d[i][k] = (unsigned)(i + k);
                continue;
            }
            unsigned least = d[i - 1][k - 1] + (a[i - 1] != b[k - 1]);
            if (d[i - 1][k] + 1 < least)
                least = d[i - 1][k] + 1;
            if (d[i][k - 1] + 1 < least)
                least = d[i][k - 1] + 1;
            if (i > 1 && k > 1 && a[i - 1] == b[k - 2] && a[i - 2] == b[k - 1] &&
                d[i - 2][k - 2] + 1 < least)
                least = d[i - 2][k - 2] + 1;
            d[i][k] = least;
        }
    return d[n][m];
}

const char *cli_nearest(const char *wrong, const char *const *names, size_t count)
{
    const char *best = NULL;
    unsigned least = strlen(wrong) < 4 ? 2 : 3; /* not everything is like everything */
    for (size_t i = 0; i < count; i++) {
        unsigned d = distance(wrong, names[i]);
        if (d < least) {
            least = d;
            best = names[i];
        }
    }
    return best;
}

/* A line about an option that is unknown or lacks its value. */
static void complain(const cli_command *command, const cli_option *options, size_t count, int what,
                     const char *given)
{
    const char *names[MAX_OPTIONS], *near = NULL;
    dermis_error err; /* its text is clean of control characters */
    char bare[64];
    snprintf(bare, sizeof bare, "%.*s", (int)strcspn(given + strspn(given, "-"), "="),
             given + strspn(given, "-"));
    for (size_t i = 0; i < count && i < MAX_OPTIONS; i++)
        names[i] = options[i].name;
    if (what == '?' && given[0] == '-' && given[1] == '-')
        near = cli_nearest(bare, names, count);
    if (what == ':')
        base_fail(&err, DERMIS_E_USAGE, "the option %s needs a value; see `dermis %s --help`", given,
                  command->name);
    else if (near)
        base_fail(&err, DERMIS_E_USAGE, "unknown option %s; did you mean --%s? `dermis %s --help` lists all",
                  given, near, command->name);
    else
        base_fail(&err, DERMIS_E_USAGE, "unknown or ambiguous option %s; `dermis %s --help` lists all",
                  given, command->name);
    fprintf(stderr, "dermis %s: %s\n", command->name, err.text);
}

int cli_parse(const cli_command *command, const cli_option *options, size_t count,
              const char *notes, int argc, char **argv, int *exit_code)
{
    struct option longs[MAX_OPTIONS + 2] = {{0}};
    static char on[] = "on";
    char shorts[2 * MAX_OPTIONS + 3] = ":h";
    size_t n = 2;
    for (size_t i = 0; i < count && i < MAX_OPTIONS; i++) {
        bool argument = options[i].kind != CLI_FLAG && options[i].kind != CLI_SWITCH;
        longs[i] = (struct option){options[i].name,
                                   argument                        ? required_argument
                                   : options[i].kind == CLI_SWITCH ? optional_argument
                                                                   : no_argument,
                                   NULL, 256 + (int)i};
        if (options[i].letter) {
            shorts[n++] = options[i].letter;
            if (argument)
                shorts[n++] = ':';
        }
    }
    longs[count] = (struct option){"help", no_argument, NULL, 'h'};
    *exit_code = base_status_exit(DERMIS_E_USAGE);
    optind = 0; /* glibc: start anew, for each command */
    int c;
    while ((c = getopt_long(argc, argv, shorts, longs, NULL)) != -1) {
        if (c == 'h') {
            print_help(command, options, count, notes);
            *exit_code = cli_end(0);
            return -1;
        }
        if (c == '?' || c == ':') {
            complain(command, options, count, c, argv[optind - 1]);
            return -1;
        }
        size_t i = (size_t)c - 256;
        for (size_t k = 0; c < 256 && k < count; k++)
            if (options[k].letter == c)
                i = k;
        if (options[i].kind == CLI_SWITCH && !optarg)
            optarg = optind < argc && argv[optind][0] != '-' ? argv[optind++] : on;
        if (!take(command, &options[i], optarg))
            return -1;
    }
    int operands = argc - optind;
    for (int i = 0; i < operands; i++)
        argv[1 + i] = argv[optind + i];
    return operands;
}

int cli_report(const dermis_error *err)
{
    fprintf(stderr, "dermis: %s\n", err->text);
    return base_status_exit(err->status);
}

int cli_end(int exit_code)
{
    dermis_error err;
    bool earlier = ferror(stdout);
    if (fflush(stdout) == 0 && !earlier)
        return exit_code;
    base_fail(&err, DERMIS_E_IO, "standard output: cannot write: %s",
              errno ? strerror(errno) : "an earlier write failed");
    int failed = cli_report(&err);
    return exit_code ? exit_code : failed;
}

void cli_language(const char *asked, char *out, size_t size)
{
    static const char *const variables[] = {"LC_ALL", "LC_MESSAGES", "LANG"};
    for (size_t i = 0; !asked && i < 3; i++) {
        const char *value = getenv(variables[i]);
        asked = value && *value ? value : NULL;
    }
    asked = asked ? asked : "en";
    snprintf(out, size, "%.*s", (int)strcspn(asked, "_.@-"), asked);
}
