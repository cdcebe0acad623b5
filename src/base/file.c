/* file.c - mapped files, whole files, unnamed ones, and output files that appear whole or not at all. */
#include "base/base.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static dermis_status fail_errno(dermis_error *err, const char *path, const char *what)
{
    int e = errno;
    return base_fail(err, e == ENOENT ? DERMIS_E_NOT_FOUND : DERMIS_E_IO, "%s: cannot %s: %s", path,
                     what, strerror(e));
}

static int64_t mtime_ns(const struct stat *st)
{
    return (int64_t)st->st_mtim.tv_sec * 1000000000 + st->st_mtim.tv_nsec;
}

dermis_status base_map_open(const char *path, base_map *out, dermis_error *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return fail_errno(err, path, "open");
    dermis_status status = DERMIS_OK;
    struct stat st;
    void *data = MAP_FAILED;
    if (fstat(fd, &st) != 0) {
        status = fail_errno(err, path, "stat");
    } else if (!S_ISREG(st.st_mode)) {
        status = base_fail(err, DERMIS_E_IO, "%s: not a regular file", path);
    } else if (st.st_size == 0) {
        status = base_fail(err, DERMIS_E_MODEL_INVALID, "%s: the file is empty", path);
    } else {
        data = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
        if (data == MAP_FAILED)
            status = fail_errno(err, path, "map");
    }
    if (status != DERMIS_OK) {
        close(fd);
        return status;
    }
    *out = (base_map){.data = data,
                      .size = (size_t)st.st_size,
                      .fd = fd,
                      .device = st.st_dev,
                      .inode = st.st_ino,
                      .mtime_ns = mtime_ns(&st)};
    return DERMIS_OK;
}

void base_map_close(base_map *map)
{
    if (!map || !map->data)
        return;
    munmap((void *)(uintptr_t)map->data, map->size);
    close(map->fd);
    *map = (base_map){.fd = -1};
}

dermis_status base_map_check(const base_map *map, const char *path, dermis_error *err)
{
    struct stat st;
    if (fstat(map->fd, &st) != 0)
        return fail_errno(err, path, "stat");
    if ((size_t)st.st_size != map->size || mtime_ns(&st) != map->mtime_ns)
        return base_fail(err, DERMIS_E_MODEL_CHANGED,
                         "%s: the file was written to while in use; put a new model in place by "
                         "renaming it",
                         path);
    return DERMIS_OK;
}

/* Temporary files that stand now, for a signal's handler to remove. A slot is taken and given back
 * by one exchange; what finds none free (many threads writing) goes without. */
static char *_Atomic pending[16];

static void remember(char *temporary)
{
    for (size_t i = 0; i < sizeof pending / sizeof *pending; i++) {
        char *none = NULL;
        if (atomic_compare_exchange_strong(&pending[i], &none, temporary))
            return;
    }
}

static void forget(char *temporary)
{
    for (size_t i = 0; temporary && i < sizeof pending / sizeof *pending; i++) {
        char *it = temporary;
        if (atomic_compare_exchange_strong(&pending[i], &it, NULL))
            return;
    }
}

static void unlink_pending(void) /* only what a signal handler may do */
{
    for (size_t i = 0; i < sizeof pending / sizeof *pending; i++) {
        const char *temporary = atomic_load(&pending[i]);
        if (temporary)
            unlink(temporary);
    }
}

static void on_end(int signal_number)
{
    unlink_pending();
    raise(signal_number); /* its default answer by now (SA_RESETHAND), when this one returns */
}

void base_out_guard_install(void)
{
    static const int signals[] = {SIGINT, SIGTERM, SIGHUP, SIGXCPU};
    struct sigaction action = {.sa_handler = on_end, .sa_flags = (int)SA_RESETHAND}, now;
    sigemptyset(&action.sa_mask);
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++)
        if (sigaction(signals[i], NULL, &now) == 0 && now.sa_handler == SIG_DFL) /* nohup ignores */
            sigaction(signals[i], &action, NULL);
}

static void on_sigbus(int signal_number)
{
    static volatile sig_atomic_t ending;
    (void)signal_number;
    if (__sync_lock_test_and_set(&ending, 1)) /* another thread of the run met it too, and says so */
        for (;;)
            pause();
    unlink_pending();
    static const char text[] = "dermis: a mapped file (the model) was cut short while in use; put "
                               "a new model in place by renaming it\n";
    ssize_t ignored = write(STDERR_FILENO, text, sizeof text - 1);
    (void)ignored;
    _exit(base_status_exit(DERMIS_E_MODEL_CHANGED));
}

void base_map_guard_install(void)
{
    struct sigaction action = {.sa_handler = on_sigbus};
    sigemptyset(&action.sa_mask);
    sigaction(SIGBUS, &action, NULL);
}

dermis_status base_file_read(const char *path, size_t limit, base_tag tag, uint8_t **data,
                             size_t *size, dermis_error *err)
{
    bool standard = strcmp(path, "-") == 0;
    const char *name = standard ? "standard input" : path;
    int fd = standard ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return fail_errno(err, name, "open");

    dermis_status status = DERMIS_OK;
    uint8_t *buffer = NULL;
    size_t capacity = 0, n = 0;
    struct stat st;
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size > 0) {
        if ((size_t)st.st_size > limit) {
            n = (size_t)st.st_size;
            goto too_large;
        }
        capacity = (size_t)st.st_size + 1; /* one more: the end is seen without growing */
        if (!(buffer = base_alloc(tag, capacity)))
            goto no_memory;
    }
    for (;;) {
        if (n == capacity) {
            size_t wanted = capacity ? capacity * 2 : 65536;
            uint8_t *bigger = base_realloc(tag, buffer, wanted);
            if (!bigger)
                goto no_memory;
            buffer = bigger;
            capacity = wanted;
        }
        ssize_t got = read(fd, buffer + n, capacity - n);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0) {
            status = fail_errno(err, name, "read");
            goto out;
        }
        if (got == 0)
            break;
        n += (size_t)got;
        if (n > limit)
            goto too_large;
    }
    *data = buffer;
    *size = n;
    buffer = NULL;
    goto out;

too_large:
    status = base_fail(err, DERMIS_E_PICTURE_LIMIT, "%s: more than the limit of %zu bytes", name,
                       limit);
    goto out;
no_memory:
    status = base_fail(err, DERMIS_E_MEMORY, "%s: not enough memory to read it", name);
out:
    base_free(buffer);
    if (!standard)
        close(fd);
    return status;
}

dermis_status base_out_open(const char *path, base_out *out, dermis_error *err)
{
    struct stat st;
    bool exists = stat(path, &st) == 0;
    if (exists && !S_ISREG(st.st_mode))
        return base_fail(err, DERMIS_E_IO, "%s: not a regular file, which alone can be replaced",
                         path);
    char *real = exists ? realpath(path, NULL) : NULL; /* a link stays, its target is replaced */
    const char *place = real ? real : path;
    size_t n = strlen(place);
    base_out o = {.path = base_strdup(BASE_TAG_BASE, place),
                  .temporary = base_alloc(BASE_TAG_BASE, n + 24)};
    dermis_status status = DERMIS_OK;
    int fd = -1;
    if (!o.path || !o.temporary) {
        status = base_fail(err, DERMIS_E_MEMORY, "%s: not enough memory", path);
        goto fail;
    }
    snprintf(o.temporary, n + 24, "%s.%d.XXXXXX", place, (int)getpid());
    remember(o.temporary); /* before the file stands: a signal in between would leave it */
    fd = mkstemp(o.temporary);
    if (fd < 0) {
        status = fail_errno(err, path, "create");
        goto fail;
    }
    mode_t mask = umask(0);
    umask(mask);
    if (fchmod(fd, 0666 & ~mask) != 0 || !(o.file = fdopen(fd, "wb"))) {
        status = fail_errno(err, path, "create");
        unlink(o.temporary);
        close(fd);
        goto fail;
    }
    *out = o;
    free(real);
    return DERMIS_OK;
fail:
    free(real);
    forget(o.temporary);
    base_free(o.path);
    base_free(o.temporary);
    return status;
}

static void out_release(base_out *out)
{
    forget(out->temporary);
    base_free(out->path);
    base_free(out->temporary);
    *out = (base_out){0};
}

dermis_status base_out_commit(base_out *out, dermis_error *err)
{
    dermis_status status = DERMIS_OK;
    bool earlier = ferror(out->file); /* its errno is long gone; flushing mostly meets it again */
    errno = 0;
    bool ok = fflush(out->file) == 0 && !earlier && fsync(fileno(out->file)) == 0;
    if (!ok && errno == 0)
        errno = EIO;
    if (!ok)
        status = fail_errno(err, out->path, "write");
    if (fclose(out->file) != 0 && ok)
        status = fail_errno(err, out->path, "write");
    if (status == DERMIS_OK && rename(out->temporary, out->path) != 0)
        status = fail_errno(err, out->path, "rename");
    if (status != DERMIS_OK)
        unlink(out->temporary);
    out_release(out);
    return status;
}

bool base_write_all(int fd, const void *bytes, size_t size)
{
    const uint8_t *at = bytes;
    while (size) {
        ssize_t n = write(fd, at, size);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        at += n;
        size -= (size_t)n;
    }
    return true;
}

int base_unnamed_file(const char *folder)
{
    char path[PATH_MAX];
    int fd = open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd >= 0)
        return fd;
    snprintf(path, sizeof path, "%s/unnamed-XXXXXX", folder); /* a file system without them */
    fd = mkostemp(path, O_CLOEXEC);
    if (fd >= 0)
        unlink(path);
    return fd;
}

void base_out_abort(base_out *out)
{
    if (!out || !out->file)
        return;
    fclose(out->file);
    unlink(out->temporary);
    out_release(out);
}

void base_out_clean(const char *path, int process)
{
    char *real = realpath(path, NULL), folder[PATH_MAX], start[NAME_MAX + 24];
    const char *place = real ? real : path, *slash = strrchr(place, '/');
    const struct dirent *entry;
    int n = snprintf(start, sizeof start, "%s.%d.", slash ? slash + 1 : place, process);
    snprintf(folder, sizeof folder, "%.*s", slash ? (int)(slash - place) + 1 : 1, slash ? place : ".");
    DIR *all = n > 0 && (size_t)n < sizeof start ? opendir(folder) : NULL;
    while (all && (entry = readdir(all)))
        if (strncmp(entry->d_name, start, (size_t)n) == 0 && strlen(entry->d_name + n) == 6)
            unlinkat(dirfd(all), entry->d_name, 0);
    if (all)
        closedir(all);
    free(real);
}
