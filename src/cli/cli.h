/* cli.h - what the commands of `dermis` share: the table of commands, options, outputs. */
#ifndef CLI_CLI_H
#define CLI_CLI_H

#include "base/base.h"
#include "engine/dermis.h"

/* ---- options ---- */

typedef enum cli_kind {
    CLI_FLAG,   /* bool */
    CLI_SWITCH, /* const char *: the value, or "on" where the next word is an option (no operands beside it) */
    CLI_TEXT,   /* const char * */
    CLI_NUMBER, /* unsigned, between minimum and maximum */
    CLI_REAL,   /* float, likewise */
    CLI_SIZE    /* size_t bytes: 64M, 1G, 500K */
} cli_kind;

typedef struct cli_option {
    const char *name;  /* without the dashes */
    char letter;       /* short form, or 0 */
    cli_kind kind;
    void *target;      /* holds the default before parsing */
    const char *value; /* what help calls the argument */
    const char *help;  /* says the default */
    double minimum, maximum;
} cli_option;

typedef struct cli_command cli_command;
struct cli_command {
    const char *name;
    const char *arguments; /* for the usage line */
    const char *summary;   /* one line */
    int (*run)(const cli_command *self, int argc, char **argv); /* argv[0] is the name */
};

extern const cli_command cli_predict, cli_convert, cli_inspect, cli_bench, cli_check, cli_serve, cli_user;

/* Parses argv into the options' targets. Operands move to the front of argv + 1; returns how many,
 * or -1 when the command is to end with *exit_code (help asked for, or a wrong option). `notes` is
 * what help prints behind the options: an example, limits, exit codes. */
int cli_parse(const cli_command *command, const cli_option *options, size_t count,
              const char *notes, int argc, char **argv, int *exit_code);

/* The one of `count` names that `wrong` looks like a slip of, or NULL. */
const char *cli_nearest(const char *wrong, const char *const *names, size_t count);

/* One line to standard error; returns the exit code of err->status. */
int cli_report(const dermis_error *err);

/* Last of a command: an answer that could not be written is a failure. Returns the exit code. */
int cli_end(int exit_code);

/* ---- files ---- */

/* Path of `name` beside the running program (or below it, for an installed one): NULL when there is
 * none. Free with base_free. */
char *cli_beside_program(const char *const *candidates);
/* The model to use: `given`, DERMIS_MODEL, or the bundled one; a Keras file is converted once into
 * the user's cache. *out is to be freed with base_free. */
dermis_status cli_find_model(const char *given, char **out, dermis_error *err);
/* What the conversion left to say about the model, to standard error: each use says it. */
void cli_warn(const dermis_model *model);
/* One run of dermis-convert. */
typedef struct cli_conversion {
    char *const *arguments; /* without argv[0], NULL-terminated */
    const char *in, *out;   /* among them, or NULL: for messages, and for what a dead one leaves */
    char *called;               /* its argv[0], for its messages; NULL: its path */
    bool silent;            /* throw away what it prints to standard output */
    char *complaint;        /* or NULL: takes its error, in the place of standard error */
    size_t complaint_size;
} cli_conversion;
/* Runs it and waits. An error of its own is *exit_code, its death is a failure of this call. */
dermis_status cli_run_converter(const cli_conversion *job, int *exit_code, dermis_error *err);

/* Writes a float32 array as .npy (version 1.0, C order) of `dimensions` extents. */
dermis_status cli_write_npy(const char *path, const float *data, const uint32_t *shape,
                            unsigned dimensions, dermis_error *err);

/* ---- language ---- */

/* `asked`, or else what the locale says, as "en" or "vi"; into out. */
void cli_language(const char *asked, char *out, size_t size);

/* ---- memory ---- */

/* The most that can be resident of this process, before any photograph. */
typedef struct cli_memory {
    size_t program_bytes; /* program and libraries as mapped, stacks, the allocator's slack */
    size_t model_bytes;   /* the model's file as mapped */
    size_t session_bytes; /* all that is allocated now: arena, plan, tables */
    size_t fixed_bytes;   /* the sum */
} cli_memory;
void cli_memory_read(const dermis_model *model, unsigned threads, cli_memory *out);
/* Program and libraries as mapped, and the allocator's slack. */
size_t cli_program_bytes(void);
/* What the usual photograph adds: a 12-megapixel baseline JPEG of 4 MiB, file and decoding. */
size_t cli_memory_sample_photo(const dermis_model *model);
/* What this process's control group allows it (Linux cgroups, both versions); 0: no limit. */
size_t cli_memory_limit(void);
/* Opens a session within `budget` bytes for the whole process (0: no limit). */
dermis_status cli_session_open(dermis_model *model, const dermis_options *options, size_t budget,
                               dermis_session **out, dermis_error *err);

bool cli_terminal(FILE *stream); /* and NO_COLOR, TERM=dumb not set */

#endif
