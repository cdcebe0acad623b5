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

size_t base_utf8_next(const char *text, size_t n)
{
    const unsigned char *s = (const unsigned char *)text;
    if (n == 0 || s[0] < 0x80)
        return n != 0;
    size_t length = s[0] >= 0xc2 && s[0] < 0xe0   ? 2
                    : s[0] >= 0xe0 && s[0] < 0xf0 ? 3
                    : s[0] >= 0xf0 && s[0] < 0xf5 ? 4
                                                  : 0;
    if (length == 0 || length > n)
        return 0;
    uint32_t c = s[0] & (0x7fu >> length);
    for (size_t i = 1; i < length; i++) {
        if ((s[i] & 0xc0) != 0x80)
            return 0;
        c = c << 6 | (s[i] & 0x3f);
    }
    bool shortest = length == 2 || (length == 3 ? c >= 0x800 : c >= 0x10000);
    return shortest && c <= 0x10ffff && !(c >= 0xd800 && c < 0xe000) ? length : 0;
}

size_t base_utf8_next_printable(const char *text, size_t n)
{
    const unsigned char *s = (const unsigned char *)text;
    size_t length = base_utf8_next(text, n);
    if ((length == 1 && (s[0] < 0x20 || s[0] == 0x7f)) || (length == 2 && s[0] == 0xc2 && s[1] < 0xa0))
        return 0;
    return length;
}

bool base_utf8(const char *text)
{
    for (size_t left = strlen(text); left;) {
        size_t n = base_utf8_next(text, left);
        if (n == 0)
            return false;
        text += n;
        left -= n;
    }
    return true;
}

static void clean(char *text)
{
    for (size_t left = strlen(text); left > 0;) {
        size_t length = base_utf8_next_printable(text, left);
        if (length == 0) {
            *text = '?';
            length = 1;
        }
        text += length;
        left -= length;
    }
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
