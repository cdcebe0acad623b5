/* dermis_status.h - the one list of status codes, with the texts that users, HTTP clients and
 * shells see. Included by the public dermis.h; depends on nothing. */
#ifndef DERMIS_STATUS_H
#define DERMIS_STATUS_H

#define DERMIS_ERROR_TEXT_BYTES 480

/* X(code, name, text, HTTP status, exit code) */
#define DERMIS_STATUS_LIST(X)                                                                      \
    X(DERMIS_OK, "ok", "success", 200, 0)                                                          \
    X(DERMIS_E_USAGE, "usage", "wrong use of the command or function", 400, 2)                     \
    X(DERMIS_E_NOT_FOUND, "not-found", "there is no such thing", 404, 3)                                     \
    X(DERMIS_E_IO, "io", "reading or writing failed", 500, 4)                                      \
    X(DERMIS_E_MEMORY, "out-of-memory", "not enough memory", 503, 5)                               \
    X(DERMIS_E_NOT_PICTURE, "not-a-picture", "not a picture that can be read here", 415, 6)        \
    X(DERMIS_E_PICTURE_DAMAGED, "picture-damaged", "the picture is truncated or damaged", 400, 7)  \
    X(DERMIS_E_PICTURE_LIMIT, "picture-too-large", "the picture is past a limit", 413, 8)          \
    X(DERMIS_E_MODEL_INVALID, "model-invalid", "the model file is not valid", 500, 9)              \
    X(DERMIS_E_MODEL_UNSUPPORTED, "model-unsupported", "the model uses what is not supported",     \
      501, 10)                                                                                     \
    X(DERMIS_E_MODEL_CHANGED, "model-changed", "the model file changed while in use", 503, 11)     \
    X(DERMIS_E_BUDGET, "over-memory-budget", "it would need more memory than allowed", 413, 12)    \
    X(DERMIS_E_CONVERTER, "converter-failed", "the converter's process failed", 500, 13)           \
    X(DERMIS_E_EXISTS, "exists", "it is there already", 409, 14)                                   \
    X(DERMIS_E_BUSY, "busy", "too much to do at this moment", 503, 15)                             \
    X(DERMIS_E_DENIED, "denied", "not allowed", 403, 16)                                           \
    X(DERMIS_E_INTERNAL, "internal", "a fault of the program itself", 500, 70)

typedef enum dermis_status {
#define DERMIS_STATUS_ENUM(code, name, text, http, exit) code,
    DERMIS_STATUS_LIST(DERMIS_STATUS_ENUM)
#undef DERMIS_STATUS_ENUM
        DERMIS_STATUS_COUNT
} dermis_status;

/* What went wrong: filled by the function that fails, untouched on success. */
typedef struct dermis_error {
    dermis_status status;
    char text[DERMIS_ERROR_TEXT_BYTES]; /* one line of UTF-8: what, with what, what to do */
} dermis_error;

#endif
