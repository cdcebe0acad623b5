/* options.c - one parser and one help text for all commands, from their tables of options. */
#include "cli/cli.h"

#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MAX_OPTIONS 40

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

int cli_parse(const cli_command *command, const cli_option *options, size_t count,
              const char *notes, int argc, char **argv, int *exit_code)
{
    struct option longs[MAX_OPTIONS + 2] = {{0}};
    char shorts[2 * MAX_OPTIONS + 3] = ":h";
    size_t n = 2;
    for (size_t i = 0; i < count && i < MAX_OPTIONS; i++) {
        bool argument = options[i].kind != CLI_FLAG;
        longs[i] = (struct option){options[i].name, argument ? required_argument : no_argument, NULL,
                                   256 + (int)i};
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
            *exit_code = 0;
            return -1;
        }
        if (c == '?' || c == ':') {
            const char *what = argv[optind - 1];
            fprintf(stderr, c == '?' ? "dermis %s: unknown option %s; `dermis %s --help` lists all\n"
                                     : "dermis %s: the option %s needs a value; see `dermis %s "
                                       "--help`\n",
                    command->name, what, command->name);
            return -1;
        }
        size_t i = (size_t)c - 256;
        for (size_t k = 0; c < 256 && k < count; k++)
            if (options[k].letter == c)
                i = k;
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
