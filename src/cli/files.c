/* files.c - where models and the converter are found, the user's cache, .npy files. */
#include "cli/cli.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

bool cli_terminal(FILE *stream)
{
    const char *term = getenv("TERM");
    return isatty(fileno(stream)) && !getenv("NO_COLOR") && !(term && strcmp(term, "dumb") == 0);
}

char *cli_beside_program(const char *const *candidates)
{
    char self[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    if (n <= 0)
        return NULL;
    self[n] = 0;
    char *slash = strrchr(self, '/');
    if (!slash)
        return NULL;
    *slash = 0;
    for (; *candidates; candidates++) {
        char path[PATH_MAX + 64];
        snprintf(path, sizeof path, "%s/%s", self, *candidates);
        if (access(path, R_OK) == 0)
            return base_strdup(BASE_TAG_CLI, path);
    }
    return NULL;
}

dermis_status cli_run_converter(char *const *arguments, bool silent, int *exit_code,
                                dermis_error *err)
{
    static const char *const places[] = {"dermis-convert", "../libexec/dermis/dermis-convert", NULL};
    char *program = cli_beside_program(places);
    if (!program)
        return base_fail(err, DERMIS_E_CONVERTER,
                         "dermis-convert is not beside this program; install both");
    size_t n = 0;
    while (arguments[n])
        n++;
    char **argv = base_calloc(BASE_TAG_CLI, n + 2, sizeof *argv);
    if (!argv) {
        base_free(program);
        return base_fail(err, DERMIS_E_MEMORY, "not enough memory to start the converter");
    }
    argv[0] = program;
    memcpy(argv + 1, arguments, n * sizeof *argv);
    pid_t pid;
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    if (silent)
        posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
    int failed = posix_spawn(&pid, program, &actions, NULL, argv, environ), status = 0;
    posix_spawn_file_actions_destroy(&actions);
    base_free(argv);
    base_free(program);
    if (failed)
        return base_fail(err, DERMIS_E_CONVERTER, "the converter cannot be started: %s",
                         strerror(failed));
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            return base_fail(err, DERMIS_E_CONVERTER, "the converter was lost: %s", strerror(errno));
    if (WIFSIGNALED(status))
        return base_fail(err, DERMIS_E_CONVERTER,
                         "the converter died of %s reading the model: the file is damaged, or past "
                         "its limits of memory and time",
                         strsignal(WTERMSIG(status)));
    *exit_code = WEXITSTATUS(status);
    return DERMIS_OK;
}

/* ---- the model ---- */

/* Whether the file begins as a zip or as HDF5 does: what Keras writes. */
static bool is_keras(const char *path)
{
    unsigned char head[8] = {0};
    FILE *f = fopen(path, "rb");
    if (!f)
        return false;
    size_t n = fread(head, 1, sizeof head, f);
    fclose(f);
    return n == sizeof head &&
           (memcmp(head, "PK\003\004", 4) == 0 || memcmp(head, "\211HDF\r\n\032\n", 8) == 0);
}

static dermis_status make_directory(const char *path, dermis_error *err)
{
    if (mkdir(path, 0700) == 0 || errno == EEXIST)
        return DERMIS_OK;
    return base_fail(err, DERMIS_E_IO, "%s: cannot make the cache's folder: %s", path,
                     strerror(errno));
}

/* A name in the cache that changes with the file: device, inode, size and time of its last write. */
static dermis_status cache_path(const char *path, char *out, size_t size, dermis_error *err)
{
    const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    char folder[PATH_MAX];
    int n = cache && *cache ? snprintf(folder, sizeof folder, "%s", cache)
                            : snprintf(folder, sizeof folder, "%s/.cache", home ? home : "/tmp");
    if (n < 0 || (size_t)n > sizeof folder - 32)
        return base_fail(err, DERMIS_E_IO, "the cache's path is too long");
    dermis_status status = make_directory(folder, err);
    if (status != DERMIS_OK)
        return status;
    strcat(folder, "/dermis");
    if ((status = make_directory(folder, err)) != DERMIS_OK)
        return status;
    struct stat st;
    /* what others may write to could hold a model that they put there under the expected name */
    if (lstat(folder, &st) != 0 || !S_ISDIR(st.st_mode) || st.st_uid != geteuid() ||
        (st.st_mode & (S_IWGRP | S_IWOTH)))
        return base_fail(err, DERMIS_E_IO,
                         "%s: not a folder that only you can write to; remove it, or set "
                         "XDG_CACHE_HOME",
                         folder);
    if (stat(path, &st) != 0)
        return base_fail(err, DERMIS_E_NOT_FOUND, "%s: cannot open: %s", path, strerror(errno));
    uint64_t parts[] = {st.st_dev, st.st_ino, (uint64_t)st.st_size, (uint64_t)st.st_mtim.tv_sec,
                        (uint64_t)st.st_mtim.tv_nsec};
    uint64_t hash = 14695981039346656037u; /* FNV-1a */
    for (size_t i = 0; i < sizeof parts; i++)
        hash = (hash ^ ((const uint8_t *)parts)[i]) * 1099511628211u;
    const char *name = strrchr(path, '/');
    name = name ? name + 1 : path;
    if (snprintf(out, size, "%s/%.100s.%s.%016llx.gguf", folder, name, dermis_version(),
                 (unsigned long long)hash) >= (int)size)
        return base_fail(err, DERMIS_E_IO, "%s: the cache's path is too long", path);
    return DERMIS_OK;
}

static dermis_status convert_into_cache(const char *path, char **out, dermis_error *err)
{
    char cached[PATH_MAX + 256];
    dermis_status status = cache_path(path, cached, sizeof cached, err);
    if (status != DERMIS_OK)
        return status;
    if (access(cached, R_OK) != 0) {
        fprintf(stderr, "dermis: converting %s once into %s\n", path, cached);
        char *arguments[] = {"--quiet", (char *)(uintptr_t)path, cached, NULL};
        int exit_code = 0;
        status = cli_run_converter(arguments, false, &exit_code, err);
        if (status == DERMIS_OK && exit_code != 0)
            status = base_fail(err, DERMIS_E_CONVERTER, "%s: it could not be converted", path);
        if (status != DERMIS_OK)
            return status;
    }
    *out = base_strdup(BASE_TAG_CLI, cached);
    return *out ? DERMIS_OK : base_fail(err, DERMIS_E_MEMORY, "not enough memory");
}

dermis_status cli_find_model(const char *given, char **out, dermis_error *err)
{
    static const char *const places[] = {"../models/dermis-lite0.gguf",
                                         "../share/dermis/dermis-lite0.gguf", NULL};
    if (!given)
        given = getenv("DERMIS_MODEL");
    if (!given || !*given) {
        *out = cli_beside_program(places);
        if (*out)
            return DERMIS_OK;
        return base_fail(err, DERMIS_E_NOT_FOUND,
                         "the bundled model is not there; name one with -m MODEL");
    }
    if (is_keras(given))
        return convert_into_cache(given, out, err);
    *out = base_strdup(BASE_TAG_CLI, given);
    return *out ? DERMIS_OK : base_fail(err, DERMIS_E_MEMORY, "not enough memory");
}

/* ---- .npy ---- */

dermis_status cli_write_npy(const char *path, const float *data, const uint32_t *shape,
                            unsigned dimensions, dermis_error *err)
{
    char header[128], extents[64] = "";
    size_t n = 1, used = 0;
    for (unsigned i = 0; i < dimensions; i++) {
        n *= shape[i];
        used += (size_t)snprintf(extents + used, sizeof extents - used, "%u, ", shape[i]);
    }
    /* magic, version, length of the rest: 10 bytes; all together a multiple of 64 */
    memset(header, ' ', sizeof header);
    memcpy(header, "\x93NUMPY\x01\x00\x76\x00", 10);
    int text = snprintf(header + 10, sizeof header - 10,
                        "{'descr': '<f4', 'fortran_order': False, 'shape': (%s), }", extents);
    header[10 + text] = ' ';
    header[sizeof header - 1] = '\n';
    base_out out;
    dermis_status status = base_out_open(path, &out, err);
    if (status != DERMIS_OK)
        return status;
    fwrite(header, 1, sizeof header, out.file);
    fwrite(data, sizeof *data, n, out.file);
    return base_out_commit(&out, err);
}
