/* photos.c - the photographs' files: written under a temporary name, synced, renamed; removed; and what
 * a kill left behind is cleared away. Names are random and come from the rows. */
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

static bool write_all(int fd, const uint8_t *at, size_t size)
{
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

dermis_status store_photo_write(store *s, const char *name, bool thumb, const void *bytes, size_t size,
                                dermis_error *err)
{
    char folder[4300], path[4400], temporary[4420], photos[4200];
    snprintf(photos, sizeof photos, "%s/photos", s->folder);
    folder_path(s, name, folder, sizeof folder);
    file_path(s, name, thumb, path, sizeof path);
    snprintf(temporary, sizeof temporary, "%s.new", path);
    bool made = mkdir(photos, 0700) == 0 && chmod(photos, 0700) == 0;
    mkdir(folder, 0700);
    int fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    bool fine = fd >= 0 && fchmod(fd, 0600) == 0 && write_all(fd, bytes, size) && fsync(fd) == 0;
    int why = errno;
    if (fd >= 0 && close(fd) != 0 && fine) {
        fine = false;
        why = errno;
    }
    if (fine && rename(temporary, path) != 0) {
        fine = false;
        why = errno;
    }
    /* another thread may have made the folders a moment ago and not synced them yet */
    if (fine && (store_sync_folder(folder) != 0 || store_sync_folder(photos) != 0 ||
                 (made && store_sync_folder(s->folder) != 0))) {
        fine = false;
        why = errno;
        unlink(path);
    }
    if (fine)
        return DERMIS_OK;
    if (fd >= 0)
        unlink(temporary);
    return base_fail(err, DERMIS_E_IO, "a photograph cannot be stored in the data folder: %s", strerror(why));
}

dermis_status store_photo_delete(store *s, const char *name, dermis_error *err)
{
    char path[4400];
    int why = 0;
    for (int thumb = 0; thumb < 2; thumb++) {
        file_path(s, name, thumb, path, sizeof path);
        if (unlink(path) != 0 && errno != ENOENT)
            why = errno;
    }
    folder_path(s, name, path, sizeof path);
    store_sync_folder(path);
    return why ? base_fail(err, DERMIS_E_IO, "a photograph's file cannot be removed: %s", strerror(why)) : DERMIS_OK;
}

dermis_status store_photo_open(store *s, const char *name, bool thumb, int *fd, dermis_error *err)
{
    char path[4400];
    file_path(s, name, thumb, path, sizeof path);
    int opened = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (opened < 0)
        return base_fail(err, errno == ENOENT ? DERMIS_E_NOT_FOUND : DERMIS_E_IO, "a photograph cannot be read: %s",
                         strerror(errno));
    *fd = opened;
    return DERMIS_OK;
}

/* ---- what a kill left ---- */

/* Whether the file is of the shape that is written here; its name without endings into `name`. */
static bool ours(const char *file, char name[STORE_FILE_CHARS + 1], bool *temporary)
{
    static const char *const endings[] = {".jpg", ".thumb.jpg", ".jpg.new", ".thumb.jpg.new"};
    if (strlen(file) <= STORE_FILE_CHARS ||
        strspn(file, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") != STORE_FILE_CHARS)
        return false;
    for (int i = 0; i < 4; i++)
        if (strcmp(file + STORE_FILE_CHARS, endings[i]) == 0) {
            memcpy(name, file, STORE_FILE_CHARS);
            name[STORE_FILE_CHARS] = 0;
            *temporary = i >= 2;
            return true;
        }
    return false;
}

static dermis_status clean_folder(store *s, const char *path, dermis_error *err)
{
    DIR *folder = opendir(path);
    struct dirent *entry;
    dermis_status status = DERMIS_OK;
    while (folder && !status && (entry = readdir(folder))) {
        char name[STORE_FILE_CHARS + 1];
        bool orphan;
        if (!ours(entry->d_name, name, &orphan))
            continue;
        if (!orphan) {
            sqlite3_stmt *ask = store_prepare(s, "SELECT 1 FROM results WHERE file = ?1", err);
            if (!ask) {
                status = err->status;
                break;
            }
            sqlite3_bind_text(ask, 1, name, -1, SQLITE_STATIC);
            int code = sqlite3_step(ask);
            if (code != SQLITE_ROW && code != SQLITE_DONE)
                status = store_fail(s, err);
            orphan = code == SQLITE_DONE;
            sqlite3_reset(ask);
        }
        if (orphan)
            unlinkat(dirfd(folder), entry->d_name, 0);
    }
    if (folder)
        closedir(folder);
    return status;
}

dermis_status store_photo_clean(store *s, dermis_error *err)
{
    char path[4200], below[4500];
    snprintf(path, sizeof path, "%s/photos", s->folder);
    DIR *photos = opendir(path);
    struct dirent *entry;
    dermis_error own;
    dermis_status status = DERMIS_OK;
    err = err ? err : &own;
    if (!photos && errno != ENOENT)
        return base_fail(err, DERMIS_E_IO, "%s: the folder of photographs cannot be read: %s", path, strerror(errno));
    pthread_mutex_lock(&s->mutex);
    while (photos && !status && (entry = readdir(photos))) {
        if (strlen(entry->d_name) != 2 || *entry->d_name == '.')
            continue;
        snprintf(below, sizeof below, "%s/%s", path, entry->d_name);
        status = clean_folder(s, below, err);
    }
    pthread_mutex_unlock(&s->mutex);
    if (photos)
        closedir(photos);
    return status;
}
