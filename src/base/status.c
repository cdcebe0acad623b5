/* status.c - names and texts of the status list, and errors' one line. */
#include "base/base.h"

#include <stdarg.h>
#include <string.h>

static const struct {
    const char *name, *text;
    int http, exit;
} table[DERMIS_STATUS_COUNT] = {
#define ROW(code, name, text, http, exit) {name, text, http, exit},
    DERMIS_STATUS_LIST(ROW)
#undef ROW
};

static unsigned row(dermis_status status)
{
    return (unsigned)status < DERMIS_STATUS_COUNT ? (unsigned)status : DERMIS_E_INTERNAL;
}

const char *base_status_name(dermis_status status)
{
    return table[row(status)].name;
}

const char *base_status_text(dermis_status status)
{
    return table[row(status)].text;
}

int base_status_http(dermis_status status)
{
    return table[row(status)].http;
}

int base_status_exit(dermis_status status)
{
    return table[row(status)].exit;
}

static void clean(char *text)
{
    for (; *text; text++)
        if ((unsigned char)*text < 0x20 || *text == 0x7f)
            *text = '?';
}

dermis_status base_fail(dermis_error *err, dermis_status status, const char *format, ...)
{
    if (err) {
        char text[DERMIS_ERROR_TEXT_BYTES]; /* the arguments may point into err->text */
        va_list args;
        va_start(args, format);
        vsnprintf(text, sizeof text, format, args);
        va_end(args);
        clean(text);
        err->status = status;
        memcpy(err->text, text, sizeof text);
    }
    return status;
}

dermis_status base_fail_prefix(dermis_error *err, const char *format, ...)
{
    if (!err)
        return DERMIS_E_INTERNAL;
    char prefix[DERMIS_ERROR_TEXT_BYTES];
    va_list args;
    va_start(args, format);
    vsnprintf(prefix, sizeof prefix, format, args);
    va_end(args);
    char old[DERMIS_ERROR_TEXT_BYTES];
    memcpy(old, err->text, sizeof old);
    return base_fail(err, err->status, "%s: %s", prefix, old);
}
