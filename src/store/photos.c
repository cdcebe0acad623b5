/* photos.c - the photographs' files: written and synced before their row, removed after it; and what a
 * kill left behind is cleared away. Names are random and come from the rows. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/store_private.h"

static void folder_path(const store *s, const char *name, char *out, size_t size)
{
    snprintf(out, size, "%s/photos/%.2s", s->folder, name);
}

static void file_path(const store *s, const char *name, bool thumb, char *out, size_t size)
{
    snprintf(out, size, "%s/photos/%.2s/%s%s.jpg", s->folder, name, name, thumb ? ".thumb" : "");
}

int store_sync_folder(const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), failed = fd < 0 || fsync(fd) != 0;
    if (fd >= 0)
        close(fd);
    return failed ? -1 : 0;
}

/* Whatever the umask; one that is there already is left as it is. *made: it was not there. */
static bool make_folder(const char *path, bool *made)
{
    *made = mkdir(path, 0700) == 0;
    return *made ? chmod(path, 0700) == 0 : errno == EEXIST;
}

static bool write_file(const char *path, const void *bytes, size_t size)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    bool fine = fd >= 0 && fchmod(fd, 0600) == 0 && base_write_all(fd, bytes, size) && fsync(fd) == 0;
    int why = errno;
    if (fd >= 0 && close(fd) != 0 && fine) {
        fine = false;
        why = errno;
    }
    errno = why;
    return fine;
}

/* Under their own names at once: nobody looks for them before the row, and without one they are orphans. */
dermis_status store_photo_write(store *s, const char *name, const void *const bytes[2], const size_t sizes[2],
                                dermis_error *err)
{
    char photos[4200], folder[4300], path[4400];
    bool made, made_below;
    snprintf(photos, sizeof photos, "%s/photos", s->folder);
    folder_path(s, name, folder, sizeof folder);
    bool fine = make_folder(photos, &made) && make_folder(folder, &made_below);
    for (int thumb = 0; thumb < 2 && fine; thumb++) {
        file_path(s, name, thumb, path, sizeof path);
        fine = write_file(path, bytes[thumb], sizes[thumb]);
    }
    /* another thread may have made the folders a moment ago and not synced them yet */
    fine = fine && store_sync_folder(folder) == 0 && store_sync_folder(photos) == 0 &&
           ((atomic_load(&s->rooted) && !made) || store_sync_folder(s->folder) == 0);
    if (fine) {
        atomic_store(&s->rooted, true);
        return DERMIS_OK;
    }
    int why = errno;
    store_photo_delete(s, name, 1, NULL);
    return store_fail_file(err, "a photograph cannot be stored in the data folder", why);
}

dermis_status store_photo_delete(store *s, const char *names, size_t count, dermis_error *err)
{
    char path[4400];
    int why = 0;
    for (size_t i = 0; i < count; i++)
        for (int thumb = 0; thumb < 2; thumb++) {
            file_path(s, names + i * (STORE_FILE_CHARS + 1), thumb, path, sizeof path);
            if (unlink(path) != 0 && errno != ENOENT && errno != ENOTDIR)
                why = errno;
        }
    if (count == 1) {
        folder_path(s, names, path, sizeof path);
        store_sync_folder(path);
    } else if (count) { /* up to 4096 folders: all at once */
        int fd = open(s->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd >= 0) {
            syncfs(fd);
            close(fd);
        }
    }
    return why ? store_fail_file(err, "a photograph's file cannot be removed", why) : DERMIS_OK;
}

dermis_status store_photo_open(store *s, const char *name, bool thumb, int *fd, dermis_error *err)
{
    char path[4400];
    file_path(s, name, thumb, path, sizeof path);
    int opened = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (opened < 0)
        return errno == ENOENT ? base_fail(err, DERMIS_E_NOT_FOUND, "a photograph's file is not there")
                               : store_fail_file(err, "a photograph cannot be read", errno);
    *fd = opened;
    return DERMIS_OK;
}

/* ---- what a kill left ---- */

/* Whether the file is named as those that are written here; its name without ending into `name`. */
static bool ours(const char *file, char name[STORE_FILE_CHARS + 1])
{
    if (strspn(file, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") != STORE_FILE_CHARS ||
        file[STORE_FILE_CHARS] != '.')
        return false;
    memcpy(name, file, STORE_FILE_CHARS);
    name[STORE_FILE_CHARS] = 0;
    return true;
}

/* NULL: there is no such folder, or *status says why it cannot be read. */
static DIR *open_folder(int at, const char *name, int flags, dermis_status *status, dermis_error *err)
{
    int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | flags);
    DIR *folder = fd >= 0 ? fdopendir(fd) : NULL;
    int why = errno;
    if (!folder && fd >= 0)
        close(fd);
    if (!folder && why != ENOENT && why != ENOTDIR && why != ELOOP)
        *status = store_fail_file(err, "a folder of photographs cannot be read", why);
    return folder;
}

static dermis_status clean_folder(store *s, DIR *folder, dermis_error *err)
{
    struct dirent *entry;
    dermis_status status = DERMIS_OK;
    while (!status && (entry = readdir(folder))) {
        char name[STORE_FILE_CHARS + 1];
        if (!ours(entry->d_name, name))
            continue;
        status = store_ask(s, &(store_query){.sql = "SELECT 1 FROM results WHERE file = ?1",
                                             .values = {STORE_TEXT(name)}, .none = "result"}, err);
        if (status != DERMIS_E_NOT_FOUND)
            continue;
        status = DERMIS_OK;
        if (unlinkat(dirfd(folder), entry->d_name, 0) != 0 && errno != ENOENT)
            status = store_fail_file(err, "what a stop of the program left of a photograph cannot be removed", errno);
    }
    return status;
}

dermis_status store_photo_clean(store *s, dermis_error *err)
{
    char path[4200];
    struct dirent *entry;
    dermis_status status = DERMIS_OK;
    snprintf(path, sizeof path, "%s/photos", s->folder);
    DIR *photos = open_folder(AT_FDCWD, path, 0, &status, err);
    while (photos && !status && (entry = readdir(photos))) {
        if (strlen(entry->d_name) != 2 || *entry->d_name == '.')
            continue;
        DIR *folder = open_folder(dirfd(photos), entry->d_name, O_NOFOLLOW, &status, err);
        if (folder) {
            status = clean_folder(s, folder, err);
            closedir(folder);
        }
    }
    if (photos)
        closedir(photos);
    return status;
}
