/* web.h - the files of web/ as they were when the program was built (scripts/embed.py writes them). */
#ifndef SERVER_WEB_H
#define SERVER_WEB_H

#include <stddef.h>

typedef struct server_web_file {
    const char *path; /* below web/: "pages/home.html", "static/app.css" */
    const unsigned char *data; /* with a NUL behind */
    size_t size;
    const char *hash; /* of the content */
} server_web_file;

extern const server_web_file server_web_files[];
extern const unsigned server_web_count;

/* By path; NULL: there is none. */
const server_web_file *server_web_find(const char *path);

#endif
