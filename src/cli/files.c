/* files.c - where models and the converter are found, the user's cache, .npy files. */
#include "cli/cli.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
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

/* What the converter said last goes to `complaint`; its warnings stand in the model file too (cli_warn),
 * and the rest (what the C library prints when it finds the heap broken) is thrown away. */
static void listen_to(int fd, char *complaint, size_t size)
{
    static const char mine[] = "dermis-convert: ";
    FILE *f = fdopen(fd, "r");
    char line[1024];
    *complaint = 0;
    while (f && fgets(line, sizeof line, f)) {
        line[strcspn(line, "\n")] = 0;
        if (strncmp(line, mine, sizeof mine - 1) == 0 && strncmp(line + sizeof mine - 1, "warning: ", 9) != 0)
            snprintf(complaint, size, "%s", line + sizeof mine - 1);
    }
    if (f)
        fclose(f);
    else
        close(fd);
}

static dermis_status why_it_died(int signal_number, const char *in, dermis_error *err)
{
    switch (signal_number) {
    case SIGXCPU:
        return base_fail(err, DERMIS_E_CONVERTER,
                         "%s: converting it took longer than allowed; allow more with `dermis convert "
                         "--time SECONDS`, or the file is damaged",
                         in);
    case SIGKILL:
    case SIGTERM:
    case SIGINT:
    case SIGHUP:
        return base_fail(err, DERMIS_E_CONVERTER,
                         "%s: the converter was ended from outside (%s); is there enough memory?", in,
                         strsignal(signal_number));
    default:
        return base_fail(err, DERMIS_E_CONVERTER,
                         "%s: the converter died of it (%s): the file is damaged; copy or save it anew",
                         in, strsignal(signal_number));
    }
}

dermis_status cli_run_converter(const cli_conversion *job, int *exit_code, dermis_error *err)
{
    static const char *const places[] = {"dermis-convert", "../libexec/dermis/dermis-convert", NULL};
    char *program = cli_beside_program(places);
    if (!program)
        return base_fail(err, DERMIS_E_CONVERTER,
                         "dermis-convert is not beside this program; install both");
    size_t n = 0;
    while (job->arguments[n])
        n++;
    int ends[2] = {-1, -1};
    char **argv = base_calloc(BASE_TAG_CLI, n + 2, sizeof *argv);
    if (!argv || (job->complaint && pipe2(ends, O_CLOEXEC) != 0)) {
        base_free(argv);
        base_free(program);
        return base_fail(err, DERMIS_E_MEMORY, "not enough memory to start the converter");
    }
    argv[0] = job->called ? job->called : program;
    memcpy(argv + 1, job->arguments, n * sizeof *argv);
    pid_t pid;
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    if (job->silent)
        posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
    if (job->complaint)
        posix_spawn_file_actions_adddup2(&actions, ends[1], STDERR_FILENO);
    int failed = posix_spawn(&pid, program, &actions, NULL, argv, environ), status = 0;
    posix_spawn_file_actions_destroy(&actions);
    base_free(argv);
    base_free(program);
    if (job->complaint) {
        close(ends[1]);
        listen_to(ends[0], job->complaint, job->complaint_size);
    }
    if (failed)
        return base_fail(err, DERMIS_E_CONVERTER, "the converter cannot be started: %s",
                         strerror(failed));
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            return base_fail(err, DERMIS_E_CONVERTER, "the converter was lost: %s", strerror(errno));
    if (WIFSIGNALED(status)) {
        if (job->out)
            base_out_clean(job->out, (int)pid);
        return why_it_died(WTERMSIG(status), job->in ? job->in : "the model", err);
    }
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

/* ---- the cache of converted models ----
 *
 * A folder that only its owner can write to. A converted model's name changes with the file it was
 * made of. One conversion at a time (a lock on the folder itself), each in a folder of its own below
 * it that is removed whatever becomes of the converter; the model is then renamed into place. */

#define WORKPLACE "converting."

/* The folder, made where it is missing. */
static dermis_status cache_folder(char *out, size_t size, dermis_error *err)
{
    const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    int n = cache && *cache ? snprintf(out, size, "%s", cache)
                            : snprintf(out, size, "%s/.cache", home && *home ? home : "/tmp");
    if (n < 0 || (size_t)n + 32 > size)
        return base_fail(err, DERMIS_E_IO, "the cache's path is too long; set XDG_CACHE_HOME");
    dermis_status status = make_directory(out, err);
    if (status != DERMIS_OK)
        return status;
    strcat(out, "/dermis");
    if ((status = make_directory(out, err)) != DERMIS_OK)
        return status;
    struct stat st;
    /* what others may write to could hold a model that they put there under the expected name */
    if (lstat(out, &st) != 0 || !S_ISDIR(st.st_mode) || st.st_uid != geteuid() ||
        (st.st_mode & (S_IWGRP | S_IWOTH)))
        return base_fail(err, DERMIS_E_IO,
                         "%s: not a folder that only you can write to; remove it, or set "
                         "XDG_CACHE_HOME",
                         out);
    return DERMIS_OK;
}

/* What tells this file from any other and from itself after a change. The time of the last change of
 * the inode cannot be set by a program: a file replaced by one of the same size and the same time of
 * writing (cp -p, rsync -t) is told apart without reading it. */
static dermis_status identity(const char *path, uint64_t *out, dermis_error *err)
{
    struct stat st;
    if (stat(path, &st) != 0)
        return base_fail(err, errno == ENOENT ? DERMIS_E_NOT_FOUND : DERMIS_E_IO,
                         "%s: cannot open: %s", path, strerror(errno));
    const uint64_t parts[] = {st.st_dev, st.st_ino, (uint64_t)st.st_size,
                              (uint64_t)st.st_mtim.tv_sec, (uint64_t)st.st_mtim.tv_nsec,
                              (uint64_t)st.st_ctim.tv_sec, (uint64_t)st.st_ctim.tv_nsec};
    uint64_t hash = 14695981039346656037u; /* FNV-1a */
    for (size_t i = 0; i < sizeof parts; i++)
        hash = (hash ^ ((const uint8_t *)parts)[i]) * 1099511628211u;
    *out = hash;
    return DERMIS_OK;
}

/* Removes a conversion's own folder, which holds files only. */
static void clear_workplace(const char *path)
{
    DIR *folder = opendir(path);
    const struct dirent *entry;
    while (folder && (entry = readdir(folder)))
        if (entry->d_name[0] != '.')
            unlinkat(dirfd(folder), entry->d_name, 0);
    if (folder)
        closedir(folder);
    rmdir(path);
}

/* What conversions left that died together with their parent. Under the lock none is alive. */
static void clear_left_behind(const char *folder)
{
    DIR *all = opendir(folder);
    const struct dirent *entry;
    while (all && (entry = readdir(all)))
        if (strncmp(entry->d_name, WORKPLACE, strlen(WORKPLACE)) == 0) {
            char path[2 * PATH_MAX];
            snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
            clear_workplace(path);
        }
    if (all)
        closedir(all);
}

/* Converts `path` to `cached`, which appears whole or not at all. */
static dermis_status convert_to(const char *path, uint64_t before, const char *folder,
                                const char *cached, dermis_error *err)
{
    char workplace[PATH_MAX + 32], made[PATH_MAX + 64];
    snprintf(workplace, sizeof workplace, "%s/" WORKPLACE "XXXXXX", folder);
    if (!mkdtemp(workplace))
        return base_fail(err, DERMIS_E_IO, "%s: cannot write to the cache: %s; set XDG_CACHE_HOME",
                         folder, strerror(errno));
    snprintf(made, sizeof made, "%s/model.gguf", workplace);
    fprintf(stderr, "dermis: converting %s once into %s\n", path, cached);
    char *arguments[] = {"--quiet", "--", (char *)(uintptr_t)path, made, NULL};
    char complaint[DERMIS_ERROR_TEXT_BYTES];
    const cli_conversion job = {.arguments = arguments,
                                .in = path,
                                .complaint = complaint,
                                .complaint_size = sizeof complaint};
    int exit_code = 0;
    uint64_t after;
    dermis_status status = cli_run_converter(&job, &exit_code, err);
    if (status == DERMIS_OK && exit_code != 0) {
        status = DERMIS_E_CONVERTER;
        for (int i = 1; i < DERMIS_STATUS_COUNT; i++)
            if (base_status_exit((dermis_status)i) == exit_code)
                status = (dermis_status)i;
        base_fail(err, status, "%s", *complaint ? complaint : "the converter failed without a word");
    }
    if (status == DERMIS_OK && (status = identity(path, &after, err)) == DERMIS_OK && before != after)
        status = base_fail(err, DERMIS_E_MODEL_CHANGED,
                           "%s: it changed while it was converted; try again", path);
    if (status == DERMIS_OK && rename(made, cached) != 0)
        status = base_fail(err, DERMIS_E_IO, "%s: cannot write: %s", cached, strerror(errno));
    clear_workplace(workplace);
    return status;
}

static dermis_status convert_into_cache(const char *path, char **out, dermis_error *err)
{
    char folder[PATH_MAX], cached[2 * PATH_MAX];
    uint64_t key;
    dermis_status status = cache_folder(folder, sizeof folder, err);
    if (status != DERMIS_OK || (status = identity(path, &key, err)) != DERMIS_OK)
        return status;
    const char *name = strrchr(path, '/');
    snprintf(cached, sizeof cached, "%s/%.100s.%s.%016llx.gguf", folder, name ? name + 1 : path,
             dermis_version(), (unsigned long long)key);
    if (access(cached, R_OK) != 0) {
        int lock = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        /* where the file system knows no locks, two may convert the same: both are whole */
        bool alone = lock >= 0 && flock(lock, LOCK_EX) == 0;
        if (alone)
            clear_left_behind(folder);
        if (!alone || access(cached, R_OK) != 0) /* another may have made it meanwhile */
            status = convert_to(path, key, folder, cached, err);
        if (lock >= 0)
            close(lock);
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

void cli_warn(const dermis_model *model)
{
    dermis_model_info info;
    dermis_model_get_info(model, &info);
    for (uint32_t i = 0; i < info.warning_count; i++)
        fprintf(stderr, "dermis: warning: %s\n", dermis_model_warning(model, i));
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
