/* scrub.c - between SQLite and its database file: secure_delete overwrites what is deleted, but where rows move from
 * page to page their copies stay in the unused middle of the page that they left, and outlive them. Here that middle
 * is zeroed in each page on its way to the file. Any thread; nothing to free. */
#include <pthread.h>
#include <string.h>

#include "store/store_private.h"

#define PAGE 4096 /* SQLite's own size where none is chosen; larger and smaller ones pass as they are */

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER; /* of what follows while it is set, once */
static sqlite3_vfs *real, scrubbing;
static const sqlite3_io_methods *_Atomic real_methods;
static sqlite3_io_methods methods;

static unsigned at16(const uint8_t *p)
{
    return (unsigned)p[0] << 8 | p[1];
}

/* Between the array of cells and their content (https://www.sqlite.org/fileformat2.html, 1.6). */
static void scrub(uint8_t *page, bool first)
{
    uint8_t *header = page + (first ? 100 : 0);
    /* inner and leaf pages of indexes and tables; others begin with a page's number, below STORE_MAX_PAGES: 0 or 1 */
    bool inner = *header == 2 || *header == 5, leaf = *header == 10 || *header == 13;
    size_t from = (size_t)(header - page) + (inner ? 12 : 8) + 2 * (size_t)at16(header + 3), to = at16(header + 5);
    if ((inner || leaf) && from < to && to <= PAGE)
        memset(page + from, 0, to - from);
}

static int write_scrubbed(sqlite3_file *file, const void *bytes, int size, sqlite3_int64 at)
{
    uint8_t page[PAGE];
    if (size != PAGE || at % PAGE)
        return real_methods->xWrite(file, bytes, size, at);
    memcpy(page, bytes, PAGE);
    scrub(page, at == 0);
    return real_methods->xWrite(file, page, PAGE, at);
}

/* The file stays the real one; its methods are a copy of the real ones but for writing. */
static int open_scrubbed(sqlite3_vfs *vfs, const char *name, sqlite3_file *file, int flags, int *out_flags)
{
    (void)vfs;
    int code = real->xOpen(real, name, file, flags, out_flags);
    if (code != SQLITE_OK || !(flags & SQLITE_OPEN_MAIN_DB))
        return code;
    pthread_mutex_lock(&mutex);
    if (!real_methods) {
        methods = *file->pMethods;
        methods.xWrite = write_scrubbed;
        real_methods = file->pMethods;
    }
    bool same = file->pMethods == real_methods; /* all are on one kind of file system's locks */
    if (same)
        file->pMethods = &methods;
    pthread_mutex_unlock(&mutex);
    if (same)
        return SQLITE_OK;
    file->pMethods->xClose(file);
    file->pMethods = NULL;
    return SQLITE_CANTOPEN;
}

bool store_scrub_install(void)
{
    pthread_mutex_lock(&mutex);
    sqlite3_vfs *found = real ? real : sqlite3_vfs_find(NULL);
    if (found && !real) {
        scrubbing = *found;
        scrubbing.zName = STORE_VFS;
        scrubbing.pNext = NULL;
        scrubbing.xOpen = open_scrubbed;
        real = sqlite3_vfs_register(&scrubbing, 0) == SQLITE_OK ? found : NULL;
    }
    bool installed = real != NULL;
    pthread_mutex_unlock(&mutex);
    return installed;
}
