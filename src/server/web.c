/* web.c - finding one of the embedded files. */
#include <string.h>

#include "server/web.h"

const server_web_file *server_web_find(const char *path)
{
    for (unsigned i = 0; i < server_web_count; i++)
        if (strcmp(server_web_files[i].path, path) == 0)
            return &server_web_files[i];
    return NULL;
}
