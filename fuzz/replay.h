/* replay.h - main of a fuzz target that is built without the fuzzer: each file of the paths given, or
 * of the folders, goes through LLVMFuzzerTestOneInput. Included once, at the target's end. */
#include <dirent.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/base.h"

static int replay(const char *path)
{
    struct stat st;
    if (stat(path, &st) != 0)
        return 1;
    if (S_ISDIR(st.st_mode)) {
        DIR *folder = opendir(path);
        int bad = folder == NULL;
        for (struct dirent *e; folder && (e = readdir(folder));) {
            char name[4096];
            if (e->d_name[0] == '.')
                continue;
            snprintf(name, sizeof name, "%s/%s", path, e->d_name);
            bad |= replay(name);
        }
        if (folder)
            closedir(folder);
        return bad;
    }
    uint8_t *data;
    size_t size;
    if (base_file_read(path, (size_t)64 << 20, BASE_TAG_BASE, &data, &size, NULL) != DERMIS_OK)
        return 1;
    LLVMFuzzerTestOneInput(data, size);
    base_free(data);
    return 0;
}

int main(int argc, char **argv)
{
    int bad = 0;
    for (int i = 1; i < argc; i++)
        bad |= replay(argv[i]);
    return bad;
}
