/* upload.h - the photograph of a request, wherever it stands in it. */
#ifndef SERVER_UPLOAD_H
#define SERVER_UPLOAD_H

#include "server/app.h"

typedef struct upload {
    const uint8_t *data;
    size_t size;
    uint8_t *owned; /* decoded from base64, or NULL */
    dermis_crop crop;
} upload;

/* From the fields `image` (file or data URL), `image_data`, `crop`. False: answered. */
bool upload_from_form(server_call *call, upload *out);
/* Whether bytes begin as one of the pictures that are read here. */
bool upload_is_picture(const void *data, size_t size);
void upload_release(upload *upload);
/* "x,y,width,height"; "" is the whole picture. */
bool upload_crop(const char *text, dermis_crop *out);

#endif
